"""Messages as values: equality, copies, merges, pickle, dicts, JSON, and the same bytes as `google.protobuf`."""

import copy
import importlib
import json
import math
import pickle
import random
import subprocess
import sys

import pytest
import stubless as sl
from message_schemas import PROTOS, All, Node, schema

FULL = {
    "f_double": -1.5, "f_float": 0.25, "f_int32": -7, "f_int64": -(2**63), "f_uint32": 2**32 - 1, "f_uint64": 2**64 - 1,
    "f_sint32": -2, "f_sint64": -3, "f_fixed32": 7, "f_fixed64": 8, "f_sfixed32": -8, "f_sfixed64": -9, "f_bool": True,
    "f_string": "Grüße", "f_bytes": b"\x00\xff", "f_color": "DARK", "f_node": {"name": "n", "next": {"n": 2}},
    "maybe": 0, "as_number": 5, "numbers": [1, -2, 300], "texts": ["a", ""], "nodes": [{"n": 1}, {}],
    "colors": ["GREEN", "DARK"], "bools": [True, False], "doubles": [0.5], "blobs": [b"x"], "labels": {"k": "v"},
    "by_id": {-1: {"n": 1}}, "by_flag": {True: "GREEN"}, "by_big": {2**63: b"z"},
    "at": {"seconds": 5, "nanos": 7}, "took": {"seconds": 1}, "data": {"a": [1.0, None]}, "value": "v", "list": [True],
    "mask": {"paths": ["a"]}, "w_int": 0, "w_text": "t", "times": [{"seconds": 1}],
}


def states(values):
    """The same message built, decoded, read and partly touched."""
    built = All(values)
    data = built.to_bytes()
    read = All.from_bytes(data)
    read.to_dict(), read.f_node.next.n, list(read.nodes), dict(read.by_id), read.texts[0]
    touched = All.from_bytes(data)
    touched.f_node.name = touched.f_node.name
    touched.f_int32 = touched.f_int32
    touched.numbers.append(1)
    touched.numbers.pop()
    return [built, All.from_bytes(data), read, touched]


def test_every_state_is_equal_and_encodes_alike():
    for a in states(FULL):
        for b in states(FULL):
            assert a == b and not a != b and a.to_bytes() == b.to_bytes() and repr(a) == repr(b)
            assert a.to_dict() == FULL and a.to_json() == b.to_json()
        for name in FULL:
            other = a.copy()
            other.clear(name)
            assert other != a and a.to_dict() == FULL


def test_equality_looks_at_presence_type_and_nan():
    assert All() != All(maybe=0) and All() == All(f_int32=0) and All() != Node() and All() != 5 and Node() != {}
    assert All(f_node={}) != All() and All(f_node={}).f_node == All().f_node
    assert All(f_double=math.nan) != All(f_double=math.nan)
    assert All(labels={"a": "1", "b": "2"}) == All(labels={"b": "2", "a": "1"}), "maps have no order"
    other = sl.Schema.from_descriptor_set(schema.to_descriptor_set())
    assert Node(n=1) == other["t.v1.Node"](n=1) and Node(n=1) != other["t.v1.Node"](n=2)


@pytest.mark.parametrize("how", [lambda m: m.copy(), copy.copy, copy.deepcopy, sl.copy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_shares_nothing_that_changes(how):
    for message in states(FULL):
        twin = how(message)
        assert twin == message and type(twin) is All
        twin.f_node.next.n = 99
        twin.numbers.append(5)
        twin.by_id[-1].n = 4
        twin.nodes[0].name = "x"
        assert message.to_dict() == FULL and twin != message
        message.f_string = "mine"
        assert twin.f_string == "Grüße"


def test_pickle_carries_the_schema_once():
    one = pickle.dumps(Node(n=1))
    many = pickle.dumps([Node(n=i) for i in range(100)])
    assert len(many) < len(one) + 100 * 60
    assert [node.n for node in pickle.loads(many)] == list(range(100))


def test_a_pickle_is_read_in_another_process(tmp_path):
    (tmp_path / "m.pickle").write_bytes(pickle.dumps([All(FULL), Node(n=2)]))
    code = (
        "import pickle, sys, stubless; m, n = pickle.load(open(sys.argv[1], 'rb'));"
        "print(m.full_name, m.f_node.next.n, n.n, type(m.f_node) is type(n))"
    )
    out = subprocess.run([sys.executable, "-c", code, tmp_path / "m.pickle"], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["t.v1.All", "2", "2", "True"]


def test_a_pickled_incomplete_message_stays_incomplete():
    old = schema["t.v2.Old"]
    assert pickle.loads(pickle.dumps(old(text="x"))) == old(text="x")


def test_containers_copy_as_plain_ones():
    message = All(FULL)
    assert type(copy.copy(message.numbers)) is list and copy.deepcopy(message.labels) == {"k": "v"}
    nodes = copy.deepcopy(message.nodes)
    nodes[0].n = 50
    assert message.nodes[0].n == 1


def test_dicts_there_and_back():
    for message in states(FULL):
        assert All.from_dict(message.to_dict()) == message
    assert All().to_dict() == {} and All.from_dict({}) == All()
    plain = schema["google.protobuf.Struct"]({"a": 1})
    assert plain.to_dict() == {"a": 1.0}


def test_json_there_and_back():
    for message in states(FULL):
        text = message.to_json()
        assert All.from_json(text) == message == All.from_json(text.encode())
        parsed = json.loads(text)
        assert parsed["fInt64"] == "-9223372036854775808" and parsed["at"] == "1970-01-01T00:00:05.000000007Z"
        assert json.loads(message.to_json(preserve_proto_names=True))["f_int64"] == "-9223372036854775808"
        assert message.to_json(indent=2).startswith('{\n  "')
    assert Node.from_json('{"name": "x", "what": 1}', ignore_unknown_fields=True).name == "x"


def test_merge_follows_protobuf():
    into = All.from_bytes(All(f_int32=1, f_string="keep", f_node={"name": "a", "n": 1}, numbers=[1], labels={"a": "1", "b": "1"}).to_bytes())
    node = into.f_node
    source = All(f_int32=2, f_node={"n": 2, "tags": ["t"]}, numbers=[2, 3], labels={"b": "2"}, as_node={"n": 1}, nodes=[{"n": 1}])
    into.merge(source)
    assert (into.f_int32, into.f_string, into.numbers, into.labels) == (2, "keep", [1, 2, 3], {"a": "1", "b": "2"})
    assert into.f_node is node and node == Node(name="a", n=2, tags=["t"]) and into.which_oneof("kind") == "as_node"
    source.nodes[0].n = 7
    assert into.nodes[0].n == 1, "what was merged was copied"
    into.merge({"f_int32": 5})
    sl.merge(into, All(maybe=0))
    assert into.f_int32 == 5 and into.has("maybe")
    node.merge(node)
    assert node.tags == ["t", "t"]
    with pytest.raises(TypeError, match="t.v1.All"):
        into.merge(Node())


def test_merging_keeps_unknown_fields_and_extensions():
    data = All(maybe=7).to_bytes()
    node = Node(name="x")
    node.merge(Node.from_bytes(data))
    assert All.from_bytes(node.to_bytes()).maybe == 7 and node == Node.from_bytes(node.to_bytes())
    old = schema["t.v2.Old"]
    one = old({"id": 1, "[t.v2.marks]": ["a"]})
    one.merge(old.from_bytes(old({"id": 2, "[t.v2.marks]": ["b"], "[t.v2.rank]": 3}).to_bytes()))
    assert one.id == 2 and list(one["[t.v2.marks]"]) == ["a", "b"] and one["[t.v2.rank]"] == 3


# ---- beside google.protobuf ----


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    """The same types, generated."""
    pytest.importorskip("google.protobuf")
    tools = pytest.importorskip("grpc_tools.protoc")
    folder = tmp_path_factory.mktemp("generated")
    assert tools.main(["protoc", f"-I{PROTOS}", f"-I{next(iter(importlib.import_module('grpc_tools').__path__))}/_proto", f"--python_out={folder}", "messages.proto"]) == 0
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("messages_pb2")
    finally:
        sys.path.remove(str(folder))


def test_the_peer_reads_what_we_write_and_the_reverse(peer):
    for message in states(FULL):
        theirs = peer.All.FromString(message.to_bytes())
        assert All.from_bytes(theirs.SerializeToString()) == message
        assert theirs.SerializeToString(deterministic=True) == message.to_bytes()
        from google.protobuf import json_format

        assert json_format.Parse(message.to_json(), peer.All()) == theirs
        assert All.from_json(json_format.MessageToJson(theirs)) == message


def test_a_message_of_the_peer_is_taken(peer):
    assert All(f_node=peer.Node(name="x", tags=["t"])).f_node == Node(name="x", tags=["t"])
    assert Node(peer.Node(n=4)).n == 4
    with pytest.raises(TypeError, match="f_node"):
        All(f_node=peer.All())


def test_random_edits_agree_with_the_peer(peer):
    source = random.Random(20)
    for _ in range(150):
        ours, theirs = Node(), peer.Node()
        for _ in range(source.randrange(25)):
            a, b = ours, theirs
            for _ in range(source.randrange(3)):
                a, b = a.next, b.next
            pick, number = source.randrange(8), source.randrange(-(2**31), 2**31)
            if pick == 0:
                a.n = b.n = number
            elif pick == 1:
                a.name = b.name = str(number)
            elif pick == 2:
                a.tags.append(str(number))
                b.tags.append(str(number))
            elif pick == 3:
                a.counts[str(number % 3)] = number
                b.counts[str(number % 3)] = number
            elif pick == 4:
                a.kids.append({"n": number})
                b.kids.add().n = number
            elif pick == 5 and len(a.kids):
                a.kids[-1].next.n = number
                b.kids[-1].next.n = number
            elif pick == 6:
                a.clear("next")
                b.ClearField("next")
            else:
                ours = Node.from_bytes(ours.to_bytes())
        assert peer.Node.FromString(ours.to_bytes()) == theirs
        assert ours == Node.from_bytes(theirs.SerializeToString())
