"""Nothing is left behind: object counts and memory stay flat, circles are collected, threads share messages."""

import gc
import sys
import threading
import weakref

import pytest
from message_schemas import All, Node

resource = pytest.importorskip("resource")

DATA = Node(name="top", next={"name": "a", "tags": ["x", "y"]}, kids=[{"n": 1}, {"n": 2}], counts={"a": 1}).to_bytes()


def one_round(i):
    node = Node.from_bytes(DATA)
    node.name, node.next.tags[0], [kid.n for kid in node.kids], node.counts["a"], node.next.next.next.name
    node.next.next.name = str(i)
    node.kids.append({"n": i})
    node.counts["b"] = i
    loose = node.kids[0].next
    node.to_bytes(), node.to_dict(), repr(node), node == node.copy()
    with pytest.raises(TypeError):
        node.n = "x"
    built = Node(name="b", next=node, kids=[node.next], tags=["t"])
    return built.to_bytes(), loose


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_hundred_thousand_messages_leave_nothing():
    for i in range(2000):
        one_round(i)
    gc.collect()
    objects, memory = len(gc.get_objects()), resident()
    for i in range(100_000 // 4):
        # four messages a round
        one_round(i)
    gc.collect()
    assert len(gc.get_objects()) - objects < 200
    assert resident() - memory < 8 << 20


def test_reading_makes_no_circles():
    gc.collect()
    gc.disable()
    try:
        node = Node.from_bytes(DATA)
        node.next.next.name, node.kids[0].next.tags, list(node.counts), node.next.next.kids
        gone = weakref.ref(node)
        del node
        assert gone() is None
    finally:
        gc.enable()


def test_circles_are_collected():
    node = Node(name="a")
    node.next.next = node
    gone = weakref.ref(node)
    lists = Node()
    lists.kids.append(lists)
    gone_too = weakref.ref(lists)
    del node, lists
    gc.collect()
    assert gone() is None and gone_too() is None


def test_a_part_keeps_what_it_needs():
    kid = Node.from_bytes(DATA).kids[1]
    tags = Node.from_bytes(DATA).next.tags
    gc.collect()
    assert kid.n == 2 and tags == ["x", "y"]


def test_threads_read_and_write_one_message():
    node = Node.from_bytes(DATA)
    wrong = []

    def work(me):
        try:
            for i in range(3000):
                assert node.next.tags[0] == "x" and node.kids[0].n == 1
                node.counts[f"t{me}"] = i
                node.n = i
                node.kids.append({"n": i}) if i % 500 == 0 else None
                node.to_bytes()
        except Exception as e:  # noqa: BLE001
            wrong.append(e)

    threads = [threading.Thread(target=work, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    again = Node.from_bytes(node.to_bytes())
    assert {f"t{i}" for i in range(4)} <= set(again.counts) and len(again.kids) == 2 + 4 * 6


def test_first_reads_by_many_threads_give_one_object():
    for _ in range(50):
        node = Node.from_bytes(DATA)
        seen: list = []
        go = threading.Barrier(4)

        def read():
            go.wait()
            seen.append((id(node.next), id(node.kids), id(node.counts), id(node.kids[0]), id(node.next.next)))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({s[:4] for s in seen}) == 1


def test_a_finalizer_may_touch_messages():
    node = Node.from_bytes(DATA)
    held = All.from_bytes(All(by_id={1: {"n": 1}}, f_node=node, nodes=[{}]).to_bytes())
    touched = []

    class Watch:
        def __del__(self):
            touched.append(node.next.name)
            node.n += 1
            held.by_id[1].name, held.f_node.n, held.nodes[0].n, held.labels.get("a"), held.to_bytes()
            node.tags.append("gone")

    previous = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        for i in range(300):
            circle = Watch()
            circle.me = circle
            del circle
            node.kids[i % 2].next.tags.append("a")
            list(node.kids), dict(node.counts), node.to_bytes(), All(nodes=[node, {"n": 1}]).to_bytes()
            held.by_id[1].n = held.f_node.n = i
            held.to_bytes(), list(held.nodes), held.copy(), repr(held), held.to_dict(), held == held.copy()
            fresh = All.from_bytes(held.to_bytes())
            fresh.by_id[1].n, fresh.to_bytes(), list(fresh.nodes)
    finally:
        gc.set_threshold(*previous)
    gc.collect()
    assert len(touched) == 300 and len(node.tags) == 300
