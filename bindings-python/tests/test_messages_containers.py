"""Lists and maps of messages: sequences and mappings like Python's own, fresh, decoded and changed."""

import collections.abc as abc
import random

import pytest
from message_schemas import All, Node
import stubless as sl


def decoded(**fields):
    return All.from_bytes(All(**fields).to_bytes())


def both(**fields):
    return [All(**fields), decoded(**fields)]


LISTS = {
    "numbers": [1, -2, 3, 2**31 - 1],
    "texts": ["a", "", "ü", "d"],
    "bools": [True, False, True, True],
    "doubles": [0.5, -1.0, 2.0, 3.25],
    "blobs": [b"a", b"", b"\x00", b"z"],
    "colors": ["GREEN", "RED", "DARK", 9],
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_read_like_lists(name):
    values = LISTS[name]
    for message in both(**{name: values}):
        found = message[name]
        assert isinstance(found, abc.MutableSequence) and isinstance(found, sl.MessageList)
        assert found == values and list(found) == values and len(found) == 4 and message[name] is found
        assert (found[0], found[-1], found[1:3], found[::-1]) == (values[0], values[-1], values[1:3], values[::-1])
        assert values[2] in found and found.index(values[2]) == values.index(values[2])
        assert found.count(values[0]) == values.count(values[0])
        assert list(reversed(found)) == values[::-1] and repr(found) == repr(values)
        assert found + [values[0]] == [*values, values[0]] and found != values[:3]
        for past in (4, -5, 10**10):
            with pytest.raises(IndexError):
                found[past]
        assert message.to_bytes() == All(**{name: values}).to_bytes(), "reading changes nothing"


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("fresh", [True, False])
def test_lists_do_what_lists_do(name, fresh):
    values = LISTS[name]
    source = random.Random(name)
    message = (All if fresh else decoded)(**{name: values})
    found, mirror = message[name], list(values)
    steps = [
        lambda x: x.append(values[1]),
        lambda x: x.extend([values[0], values[3]]),
        lambda x: x.insert(source.randrange(3), values[2]),
        lambda x: x.pop(),
        lambda x: x.pop(0),
        lambda x: x.reverse(),
        lambda x: x.__setitem__(1, values[3]),
        lambda x: x.__setitem__(slice(0, 2), [values[0], values[1], values[2]]),
        lambda x: x.__delitem__(-1),
        lambda x: x.__delitem__(slice(1, 2)),
        lambda x: x.remove(x[1]),
        lambda x: x.__iadd__([values[2]]),
        lambda x: x.sort(key=str),
    ]
    for step in steps * 2:
        seed = source.random()
        source.seed(seed)
        a = step(found)
        source.seed(seed)
        b = step(mirror)
        if b is not mirror:
            assert a == b
        assert found == mirror and len(found) == len(mirror)
        assert list(All.from_bytes(message.to_bytes())[name]) == mirror
    found.clear()
    assert found == [] and not message.has(name) and message.to_bytes() == b""


def test_in_place_addition_keeps_the_list():
    message = All(numbers=[1])
    numbers = message.numbers
    message.numbers += [2, 3]
    assert message.numbers is numbers and numbers == [1, 2, 3]
    message.numbers = numbers
    assert message.numbers is numbers
    message.numbers = [9]
    assert message.numbers == [9] and numbers == [1, 2, 3]
    other = All(numbers=numbers)
    other.numbers.append(4)
    assert numbers == [1, 2, 3], "a list that is set elsewhere is copied"


def test_a_refused_value_leaves_the_list_alone():
    for message in both(numbers=[1, 2], texts=["a"]):
        for change in (
            lambda m: m.numbers.append("x"),
            lambda m: m.numbers.extend([3, "x"]),
            lambda m: m.numbers.insert(0, 2.5),
            lambda m: m.numbers.__setitem__(0, None),
            lambda m: m.numbers.__setitem__(slice(0, 1), ["x"]),
            lambda m: m.texts.append(b"x"),
            lambda m: m.texts.__iadd__([1]),
        ):
            with pytest.raises(TypeError, match=r"t\.v1\.All\.(numbers|texts)"):
                change(message)
        assert (message.numbers, message.texts) == ([1, 2], ["a"])
        with pytest.raises(ValueError):
            message.numbers.remove(7)
        with pytest.raises(IndexError):
            All().numbers.pop()


def test_lists_of_messages_convert_and_keep_what_they_hold():
    kid = Node(name="kid")
    for message in both(nodes=[{"n": 1}, Node(n=2)]):
        nodes = message.nodes
        assert [node.n for node in nodes] == [1, 2] and nodes[0] is nodes[0] and next(iter(nodes)) is nodes[0]
        nodes[1].name = "two"
        nodes.append(kid)
        nodes.append({"n": 4, "kids": [{"n": 5}]})
        kid.n = 3
        assert nodes[2] is kid
        again = All.from_bytes(message.to_bytes())
        assert [(node.n, node.name) for node in again.nodes] == [(1, ""), (2, "two"), (3, "kid"), (4, "")]
        assert again.nodes[3].kids[0].n == 5 and Node(n=3, name="kid") in again.nodes
        popped = nodes.pop(0)
        assert popped.n == 1 and [node.n for node in nodes] == [2, 3, 4]
        kid.n = 0


def test_the_middle_of_a_decoded_list_of_messages():
    message = decoded(nodes=[{"n": i} for i in range(5)])
    middle = message.nodes[2]
    middle.n = 20
    assert [node.n for node in All.from_bytes(message.to_bytes()).nodes] == [0, 1, 20, 3, 4]
    del message.nodes[0]
    assert [node.n for node in message.nodes] == [1, 20, 3, 4] and message.nodes[1] is middle
    message.nodes.sort(key=lambda node: -node.n)
    assert [node.n for node in All.from_bytes(message.to_bytes()).nodes] == [20, 4, 3, 1]


MAPS = {
    "labels": ({"a": "1", "": "", "ü": "3"}, "b", "x"),
    "by_flag": ({True: "GREEN", False: "DARK"}, True, "RED"),
    "by_big": ({0: b"", 2**64 - 1: b"x"}, 5, b"y"),
}


@pytest.mark.parametrize("name", MAPS)
def test_maps_are_like_dicts(name):
    values, key, value = MAPS[name]
    for message in both(**{name: values}):
        found = message[name]
        assert isinstance(found, abc.MutableMapping) and isinstance(found, sl.MessageMap)
        assert len(found) == len(values) and found == values and dict(found) == values and message[name] is found
        assert list(found) == list(values) == list(found.keys()) and list(found.items()) == list(values.items())
        assert list(found.values()) == list(values.values()) and repr(found) == repr(values)
        first = next(iter(values))
        assert first in found and found[first] == values[first] == found.get(first)
        assert found.get("nothing", 7) == 7 and "nothing" not in found and None not in found
        assert message.to_bytes() == All(**{name: values}).to_bytes()
        mirror = dict(values)
        for step in (
            lambda x: x.__setitem__(key, value),
            lambda x: x.setdefault(key, value),
            lambda x: x.pop(key),
            lambda x: x.pop(key, None),
            lambda x: x.update({key: value}),
            lambda x: x.__delitem__(first),
            lambda x: x.__ior__({first: values[first]}),
            lambda x: x.popitem(),
            lambda x: x.copy(),
        ):
            a, b = step(found), step(mirror)
            assert found == mirror and (b is mirror or a == b)
            assert dict(All.from_bytes(message.to_bytes())[name]) == mirror
        found.clear()
        assert not found and not message.has(name) and message.to_bytes() == b""
        with pytest.raises(KeyError):
            found[key]
        with pytest.raises(KeyError):
            found.pop(key)
        with pytest.raises(KeyError):
            del found[key]


def test_a_refused_entry_leaves_the_map_alone():
    for message in both(labels={"a": "b"}):
        for change in (
            lambda m: m.labels.__setitem__("x", 1),
            lambda m: m.labels.__setitem__(1, "x"),
            lambda m: m.labels.update({"x": "y", "z": 2}),
            lambda m: m.labels.setdefault("x", 5),
            lambda m: m.labels.__setitem__("x", None),
        ):
            with pytest.raises(TypeError, match=r"t\.v1\.All\.labels"):
                change(message)
        assert message.labels == {"a": "b"}


def test_maps_of_messages():
    for message in both(by_id={1: {"n": 1}, -1: Node(n=2)}):
        message.by_id[1].name = "changed"
        assert message.by_id[1] is message.by_id[1]
        made = message.by_id.setdefault(5, {"n": 5})
        made.tags.append("late")
        message.by_id[6] = {"n": 6}
        again = All.from_bytes(message.to_bytes())
        assert again.by_id[1] == Node(n=1, name="changed") and again.by_id[-1].n == 2
        assert again.by_id[5] == Node(n=5, tags=["late"]) and again.by_id[6].n == 6
        with pytest.raises(KeyError):
            again.by_id[99]


def test_a_large_list_answers_without_being_taken_out():
    message = decoded(numbers=range(100_000), texts=(str(i) for i in range(1000)))
    assert len(message.numbers) == 100_000 and message.numbers[99_999] == 99_999
    assert sum(message.numbers) == sum(range(100_000)) and message.texts[-1] == "999"
    message.numbers.append(-1)
    assert len(All.from_bytes(message.to_bytes()).numbers) == 100_001
