"""Fields one by one: reading, writing, presence, oneofs, names, extensions."""

import math

import pytest
import stubless as sl
from message_schemas import All, Extra, Names, Node, Old, Outer, schema

SCALARS = {
    "f_double": -1.5, "f_float": 0.25, "f_int32": -(2**31), "f_int64": -(2**63), "f_uint32": 2**32 - 1,
    "f_uint64": 2**64 - 1, "f_sint32": 2**31 - 1, "f_sint64": 2**63 - 1, "f_fixed32": 7, "f_fixed64": 2**63,
    "f_sfixed32": -8, "f_sfixed64": -9, "f_bool": True, "f_string": "Grüße, 世界 🙂", "f_bytes": b"\x00\xff",
    "f_color": "DARK",
}


def both_ways(message):
    return type(message).from_bytes(message.to_bytes())


@pytest.mark.parametrize("name", SCALARS)
def test_each_scalar_survives_writing_encoding_and_reading(name):
    value = SCALARS[name]
    built, written, by_name = All(**{name: value}), All(), All()
    setattr(written, name, value)
    by_name[name] = value
    for message in (built, written, by_name, both_ways(built)):
        assert getattr(message, name) == value and message[name] == value
        assert type(getattr(message, name)) is type(value)
        assert message.has(name) and name in message
        assert message.to_bytes() == built.to_bytes()


def test_an_unset_message_reads_as_its_defaults():
    empty = All()
    assert [empty[name] for name in SCALARS] == [0.0, 0.0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, False, "", b"", "RED"]
    assert not any(empty.has(name) for name in SCALARS) and empty.to_bytes() == b""
    assert empty == both_ways(empty) and repr(empty) == "t.v1.All()"
    old = Old()
    assert (old.text, old.level, old.id) == ("none", "HIGH", 0) and not old.has("text")


def test_floats_are_rounded_to_their_field():
    message = All(f_float=0.1, f_double=3)
    assert message.f_float == pytest.approx(0.1, rel=1e-7) and message.f_float != 0.1
    assert message.f_float == both_ways(message).f_float and message.f_double == 3.0
    assert math.isnan(both_ways(All(f_double=math.nan)).f_double)
    assert both_ways(All(f_float=math.inf)).f_float == math.inf
    assert math.copysign(1, both_ways(All(f_double=-0.0)).f_double) == -1.0, "-0.0 is not the default"


def test_enums_read_as_names_and_take_names_and_numbers():
    message = All(f_color=1)
    assert message.f_color == "GREEN" and All(f_color="LIME").f_color == "GREEN", "the first of two names"
    message.f_color = 77
    assert message.f_color == 77 and both_ways(message).f_color == 77, "unknown numbers stay numbers"
    old = Old(id=1, level=1)
    assert old.level == "LOW"
    with pytest.raises(ValueError, match="t.v2.Old.level: 9 is no value of t.v2.Level; its values are LOW, HIGH"):
        old.level = 9
    assert old.level == "LOW"


def test_fields_without_presence_are_set_when_not_zero():
    message = All(f_int32=0, f_string="", f_bool=False, numbers=[], labels={})
    assert not any(message.has(n) for n in ("f_int32", "f_string", "f_bool", "numbers", "labels"))
    assert message.to_bytes() == b""


def test_optional_fields_tell_zero_from_unset():
    message = All(maybe=0, maybe_text="")
    assert message.has("maybe") and "maybe_text" in message
    assert both_ways(message).has("maybe") and both_ways(message).maybe_text == ""
    message.clear("maybe")
    message.maybe_text = None
    assert not message.has("maybe") and message.to_bytes() == b"" and message.maybe == 0


def test_clearing_by_every_way():
    message = both_ways(All(f_int32=1, f_string="x", f_node={"n": 1}, numbers=[1], labels={"a": "b"}, maybe=1))
    message.clear("f_int32")
    del message.f_string
    del message["f_node"]
    message.numbers = None
    message["labels"] = None
    assert message.has("maybe") and repr(message) == "t.v1.All(maybe=1)"
    message.clear()
    assert message == All() and message.to_bytes() == b""


def test_an_unset_message_joins_its_parent_when_written_to():
    top = Node()
    deep = top.next.next
    assert not top.has("next") and top.next is top.next and top.to_bytes() == b""
    deep.name = "deep"
    assert top.has("next") and top.next.next.name == "deep" and top.next.next is deep
    assert both_ways(top).next.next.name == "deep"


def test_a_container_of_an_unset_message_joins_too():
    top = Node()
    tags, counts = top.next.tags, top.next.next.counts
    assert not top.has("next")
    tags.append("a")
    assert top.next.tags is tags and list(both_ways(top).next.tags) == ["a"]
    counts["x"] = 1
    assert both_ways(top).next.next.counts == {"x": 1}


def test_an_unset_message_that_was_replaced_stays_alone():
    top = Node()
    loose = top.next
    top.next = Node(name="other")
    loose.name = "late"
    assert top.next.name == "other"
    loose = top.next.next
    top.clear("next")
    loose.n = 5
    assert not top.has("next")


def test_an_empty_message_can_be_set():
    top = Node(next=Node())
    assert top.has("next") and top.to_bytes() == b"\x1a\x00" and both_ways(top).has("next")
    other = Node(next=top.next.next)
    assert other.has("next"), "an unset message of another one counts as an empty one"
    other.next.name = "mine"
    assert not top.next.has("next")


def test_messages_are_set_as_they_are():
    kid = Node(name="kid")
    top = Node(next=kid)
    kid.n = 4
    assert top.next is kid and both_ways(top).next.n == 4


def test_nested_messages_of_a_decoded_one_can_be_written():
    data = Node(name="top", next={"name": "a", "next": {"name": "b"}}, kids=[{"n": 1}, {"n": 2}]).to_bytes()
    top = Node.from_bytes(data)
    top.next.next.name = "changed"
    top.kids[1].tags.append("t")
    assert top.kids[1] is top.kids[1]
    again = both_ways(top)
    assert (again.name, again.next.name, again.next.next.name) == ("top", "a", "changed")
    assert again.kids[0].n == 1 and list(again.kids[1].tags) == ["t"] and again.kids[1].n == 2


def test_a_oneof_holds_one_member():
    message = All(as_text="x")
    assert message.which_oneof("kind") == "as_text"
    message.as_number = 0
    assert message.which_oneof("kind") == "as_number" and not message.has("as_text") and message.has("as_number")
    message.as_node.name = "n"
    assert message.which_oneof("kind") == "as_node" and message.as_number == 0 and not message.has("as_number")
    again = both_ways(message)
    assert again.which_oneof("kind") == "as_node"
    again.as_text = "back"
    assert again.which_oneof("kind") == "as_text" and both_ways(again).as_text == "back" and not again.has("as_node")
    again.clear("kind")
    assert again.which_oneof("kind") is None
    with pytest.raises(ValueError, match="has no oneof \"sort\"; its oneofs are kind"):
        again.which_oneof("sort")


def test_a_field_always_wins_over_a_method():
    message = Names(copy="c", has=3, items=["i"], full_name="f", to_bytes=b"tb", from_bytes="fb", merge={"copy": "m"})
    assert (message.copy, message.has, list(message.items), message.full_name) == ("c", 3, ["i"], "f")
    assert (message.to_bytes, message.from_bytes, message.merge.copy) == (b"tb", "fb", "m")
    assert sl.has(message, "copy") and sl.which_oneof is not None
    data = sl.to_bytes(message)
    assert data == bytes(message) and Names.from_bytes(data) == message, "on the class it is the method"
    assert Names.full_name == "t.v1.Names"
    other = sl.copy(message)
    sl.merge(other, {"has": 4})
    assert other["has"] == 4 and message["has"] == 3
    assert sl.to_dict(message)["copy"] == "c" and '"copy":"c"' in sl.to_json(message)
    sl.clear(other, "copy")
    assert not sl.has(other, "copy")


def test_fields_called_like_keywords():
    message = Names({"from": "a", "class": "b"})
    assert (message["from"], message["class"]) == ("a", "b")
    message["from"] = "z"
    assert getattr(both_ways(message) if False else Names.from_bytes(bytes(message)), "from") == "z"


def test_python_s_own_names_are_reached_by_name():
    message = Names()
    message["__init__"] = "x"
    assert Names.from_bytes(bytes(message))["__init__"] == "x"


def test_nested_types_have_python_s_nested_names():
    inner = schema["t.v1.Outer.Inner"]
    assert (inner.__qualname__, inner.__name__) == ("Outer.Inner", "Inner")
    assert type(Outer().inner) is inner


def test_extensions_go_by_their_name_in_brackets():
    message = Old(id=1)
    assert message["[t.v2.rank]"] == 0 and "[t.v2.rank]" not in message
    message["[t.v2.rank]"] = 5
    message["[t.v2.marks]"].append("a")
    message["[t.v2.extra]"].note = "deep"
    again = both_ways(message)
    assert again["[t.v2.rank]"] == 5 and list(again["[t.v2.marks]"]) == ["a"]
    assert again["[t.v2.extra]"] == Extra(note="deep") and again == message
    assert again.to_dict() == {"id": 1, "[t.v2.rank]": 5, "[t.v2.marks]": ["a"], "[t.v2.extra]": {"note": "deep"}}
    again.clear("[t.v2.rank]")
    again["[t.v2.extra]"].note = "new"
    again = both_ways(again)
    assert not again.has("[t.v2.rank]") and again["[t.v2.extra]"].note == "new"
    assert Old({"id": 1, "[t.v2.rank]": 2})["[t.v2.rank]"] == 2
    with pytest.raises(KeyError, match="no field"):
        message["[t.v2.nothing]"]
    with pytest.raises(KeyError, match="no field"):
        Node()["[t.v2.rank]"]


def test_groups_and_required_fields_of_proto2():
    message = Old(id=1, part={"n": 3}, numbers=[1, 2])
    assert message.to_bytes() == b"\x08\x01\x20\x01\x20\x02\x2b\x30\x03\x2c"
    assert both_ways(message).part.n == 3
    with pytest.raises(ValueError, match=r"t\.v2\.Old\.id"):
        Old(text="x").to_bytes()
    with pytest.raises(ValueError, match=r"id"):
        Old(id=1, next={"text": "x"}).to_bytes()
    assert repr(Old(text="x")) == "t.v2.Old(text='x')", "an incomplete message can be looked at"


def test_unknown_fields_are_kept():
    data = All(f_int32=1, maybe=7, f_node={"n": 3}).to_bytes()
    part = Node.from_bytes(data)
    assert part.to_bytes() == data
    part.name = "named"
    kept = All.from_bytes(part.to_bytes())
    assert kept.maybe == 7
    part.clear()
    assert part.to_bytes() == b""


def test_a_message_in_itself_is_refused_when_encoded():
    node = Node(name="loop")
    node.next = node
    with pytest.raises(ValueError, match="in itself"):
        node.to_bytes()
    assert "in itself" in repr(node)
