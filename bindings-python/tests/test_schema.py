"""Schemas: where they come from, what they answer, what they say when something is wrong."""

import copy
import gc
import pickle
import weakref

import pytest
import stubless as sl
from message_schemas import PROTOS, schema

ECHO = 'syntax = "proto3"; package demo.v1; message Msg { string text = 1; int32 n = 2; }'


def test_proto_text_becomes_a_class():
    made = sl.Schema.from_source({"demo/v1/echo.proto": ECHO})
    msg = made.message("demo.v1.Msg")
    assert made["demo.v1.Msg"] is msg and made.message("demo.v1.Msg") is msg
    assert msg.full_name == "demo.v1.Msg" and issubclass(msg, sl.Message)
    assert (msg.__name__, msg.__qualname__, msg.__module__) == ("Msg", "Msg", "demo.v1")
    assert msg(text="hi").text == "hi"


def test_texts_import_each_other_and_the_well_known_types():
    made = sl.Schema.from_source({
        "a.proto": 'syntax = "proto3"; package a; import "b.proto"; message A { b.B b = 1; }',
        "b.proto": 'syntax = "proto3"; package b; import "google/protobuf/duration.proto";'
        "message B { google.protobuf.Duration d = 1; }",
    })
    assert made["a.A"](b={"d": {"seconds": 3}}).b.d.seconds == 3
    assert made.file_names() == ["google/protobuf/duration.proto", "b.proto", "a.proto"]


def test_files_are_found_below_the_include_folders():
    one = sl.Schema.load("messages.proto", include=str(PROTOS))
    other = sl.Schema.load(PROTOS / "messages.proto", include=[PROTOS])
    assert "t.v1.All" in one and "t.v1.All" in other and "t.v1.Nothing" not in one
    assert one.services() == ["t.v1.Echo"]
    assert "t.v1.Outer.Inner" in one.messages() and "t.v1.Color" in one.enums()
    assert not any("Entry" in name and name.startswith("t.v1") for name in one.messages())


def test_a_descriptor_set_is_the_same_schema_again():
    data = schema.to_descriptor_set()
    again = sl.Schema.from_descriptor_set(data)
    assert again.to_descriptor_set() == data and again.messages() == schema.messages()
    message = schema["t.v1.Node"](name="a", kids=[{"n": 2}])
    assert again["t.v1.Node"].from_bytes(message.to_bytes()) == message
    assert again["t.v1.Node"](next=message).next.kids[0].n == 2, "a message of the other schema is taken by its bytes"
    assert schema.file_bytes("messages.proto") in data


def test_merged_schemas_know_both_sides():
    both = sl.Schema.from_source({"e.proto": ECHO}).merge(schema)
    assert "demo.v1.Msg" in both and "t.v1.All" in both
    with pytest.raises(ValueError, match="given twice"):
        sl.Schema.from_source({"messages.proto": ECHO}).merge(schema)


def test_methods_of_a_service():
    unary, bidi = schema.methods("t.v1.Echo")
    assert (unary.name, unary.path, unary.input, unary.output) == ("Unary", "t.v1.Echo/Unary", "t.v1.Node", "t.v1.All")
    assert (unary.client_streaming, unary.server_streaming) == (False, False)
    assert (bidi.client_streaming, bidi.server_streaming) == (True, True)


def test_enums_map_names_to_numbers():
    color = schema.enum("t.v1.Color")
    assert color.full_name == "t.v1.Color" and len(color) == 4
    assert color["LIME"] == 1 and color.name_of(1) == "GREEN" and color.name_of(7) is None
    assert list(color) == ["RED", "GREEN", "LIME", "DARK"] and dict(color.items())["DARK"] == -5
    assert "RED" in color and -5 in color and "PINK" not in color and 9 not in color
    with pytest.raises(KeyError, match="RED, GREEN, LIME, DARK"):
        color["PINK"]


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda: schema["All"], r'no message \\?"All\\?"; did you mean \\?"t.v1.All'),
        (lambda: schema.message("t.v1.Nope"), "no message"),
        (lambda: schema.enum("Color"), 'did you mean "t.v1.Color"'),
        (lambda: schema.methods("Echo"), 'did you mean "t.v1.Echo"'),
        (lambda: schema.file_bytes("x.proto"), "no file"),
    ],
)
def test_a_name_that_is_not_there_is_a_key_error(ask, says):
    with pytest.raises(KeyError, match=says):
        ask()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: sl.Schema.from_source({"x.proto": 'syntax = "proto3";\nmessage {'}), "x.proto:2:9"),
        (lambda: sl.Schema.from_source({"x.proto": 'syntax = "proto3"; message A { B b = 1; }'}), "x.proto.*B"),
        (lambda: sl.Schema.from_source({"x.proto": 'syntax = "proto3"; import "y.proto";'}), "y.proto"),
        (lambda: sl.Schema.load("nowhere.proto", include=[PROTOS]), "nowhere.proto"),
        (lambda: sl.Schema.from_descriptor_set(b"\xff\xff"), "descriptor"),
    ],
)
def test_what_does_not_compile_says_where(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_misuse_is_a_type_error():
    for wrong in (5, None, ["x"]):
        with pytest.raises(TypeError):
            sl.Schema.from_source(wrong)
    with pytest.raises(TypeError, match="comes from a schema"):
        sl.Message()


def test_a_pickled_schema_is_the_one_at_hand():
    assert pickle.loads(pickle.dumps(schema)) is schema
    assert copy.copy(schema) is schema and copy.deepcopy(schema) is schema


def test_a_schema_nobody_uses_is_given_back_with_its_classes():
    made = sl.Schema.from_source({"e.proto": ECHO + "message Rec { Rec r = 1; Msg m = 2; }"})
    message = made["demo.v1.Rec"](r={"m": {"n": 1}})
    assert message.r.m.n == 1
    gone = [weakref.ref(made), weakref.ref(made["demo.v1.Rec"]), weakref.ref(made["demo.v1.Msg"])]
    del made
    gc.collect()
    assert message.r.r.m.n == 0, "an instance keeps its schema"
    del message
    gc.collect()
    assert [ref() for ref in gone] == [None, None, None]
