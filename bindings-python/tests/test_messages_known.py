"""Well-known types: messages like any other that take and give natural Python values."""

import datetime as dt
import math

import pytest
from message_schemas import All, Node, schema

UTC = dt.timezone.utc


def through(message):
    return type(message).from_bytes(message.to_bytes())


@pytest.mark.parametrize(
    ("at", "seconds", "nanos"),
    [
        (dt.datetime(1970, 1, 1, tzinfo=UTC), 0, 0),
        (dt.datetime(2026, 11, 20, 17, 8, 19, 123456, tzinfo=UTC), 1795194499, 123456000),
        (dt.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), -1, 999999000),
        (dt.datetime(2026, 1, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2))), 1767225600, 0),
        (dt.datetime(2026, 1, 1), 1767225600, 0),
        (dt.datetime(1, 1, 1, tzinfo=UTC), -62135596800, 0),
        (dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), 253402300799, 999999000),
    ],
)
def test_timestamps_take_and_give_datetimes(at, seconds, nanos):
    message = through(All(at=at))
    assert (message.at.seconds, message.at.nanos) == (seconds, nanos)
    back = message.at.to_datetime()
    assert back == (at if at.tzinfo else at.replace(tzinfo=UTC)) and back.tzinfo is UTC


def test_nanoseconds_stay_in_the_fields():
    message = All(at={"seconds": 5, "nanos": 123456789}, took={"seconds": -5, "nanos": -999})
    assert message.at.to_datetime().microsecond == 123456 and message.at.nanos == 123456789
    assert message.took.to_timedelta() == dt.timedelta(seconds=-5) and message.took.nanos == -999
    message.at.nanos += 1
    assert through(message).at.nanos == 123456790
    with pytest.raises(ValueError, match="datetime"):
        All(at={"seconds": 2**60}).at.to_datetime()
    with pytest.raises(ValueError, match="timedelta"):
        All(took={"seconds": 2**62}).took.to_timedelta()


@pytest.mark.parametrize(
    ("took", "seconds", "nanos"),
    [
        (dt.timedelta(0), 0, 0),
        (dt.timedelta(days=1, microseconds=1), 86400, 1000),
        (dt.timedelta(seconds=-1.5), -1, -500_000_000),
        (dt.timedelta(microseconds=-1), 0, -1000),
        (dt.timedelta(days=-3), -259200, 0),
    ],
)
def test_durations_take_and_give_timedeltas(took, seconds, nanos):
    message = All(took=took)
    assert (message.took.seconds, message.took.nanos) == (seconds, nanos)
    assert through(message).took.to_timedelta() == took and message.has("took")


def test_wrappers_take_plain_values():
    message = through(All(w_int=-5, w_text="t", w_bytes=b"b", w_bool=False, w_double=2))
    assert [message[n].to_python() for n in ("w_int", "w_text", "w_bytes", "w_bool", "w_double")] == [-5, "t", b"b", False, 2.0]
    assert message.has("w_bool") and message.w_int.value == -5
    message.w_int.value = 6
    assert through(message).w_int.to_python() == 6
    assert All(w_int={"value": 3}).w_int.value == 3
    message.w_int = None
    assert not message.has("w_int")


PLAIN = {"a": None, "b": True, "c": 1.5, "d": "text", "e": [1.0, "x", [None], {"y": False}], "f": {"g": {}}, "": []}


def test_structs_are_plain_values():
    message = through(All(data=PLAIN, list=PLAIN["e"], value={"deep": [1, 2]}))
    assert message.data.to_python() == PLAIN and message.list.to_python() == PLAIN["e"]
    assert message.value.to_python() == {"deep": [1.0, 2.0]}
    assert message.data.fields["c"].number_value == 1.5 and message.data.fields["c"].which_oneof("kind") == "number_value"
    message.data.fields["new"] = [True]
    assert through(message).data.to_python()["new"] == [True]
    value = schema["google.protobuf.Value"]
    assert value(None).which_oneof("kind") == "null_value" and value(3).number_value == 3.0
    assert schema["google.protobuf.Struct"]({"fields": 1}).to_python() == {"fields": 1.0}
    assert schema["google.protobuf.ListValue"]([1, "a"]).to_python() == [1.0, "a"]
    assert math.isinf(value(math.inf).to_python())


def test_a_plain_value_in_itself_ends():
    loop: list = []
    loop.append(loop)
    with pytest.raises(ValueError, match="nested deeper"):
        All(list=loop)


def test_field_masks_are_lists_of_paths():
    message = through(All(mask=["a.b", "c"]))
    assert message.mask.to_python() == ["a.b", "c"] == list(message.mask.paths)
    assert message.to_json() == '{"mask":"a.b,c"}'


def test_any_packs_and_unpacks():
    message = All()
    message.any.pack(Node(name="in"))
    assert message.has("any") and message.any.type_url == "type.googleapis.com/t.v1.Node"
    again = through(message)
    assert again.any.is_type("t.v1.Node") and again.any.is_type(Node) and not again.any.is_type("t.v1.All")
    assert again.any.unpack() == Node(name="in") and type(again.any.unpack()) is Node
    assert All(any=Node(n=3)).any.unpack().n == 3, "a message is packed when it is set"
    assert schema["google.protobuf.Any"](Node(n=3)).unpack().n == 3
    with pytest.raises(KeyError, match="x.Y"):
        schema["google.protobuf.Any"](type_url="a/x.Y").unpack()
    with pytest.raises(TypeError, match="takes a message"):
        message.any.pack("text")
    assert '"@type":"type.googleapis.com/t.v1.Node"' in message.to_json()


def test_only_their_own_types_have_these_methods():
    assert not hasattr(Node(), "to_datetime") and not hasattr(All().at, "to_python") and not hasattr(All().any, "to_timedelta")


def test_lists_and_maps_of_well_known_types():
    day = dt.datetime(2026, 1, 1, tzinfo=UTC)
    message = through(All(times=[day, {"seconds": 1}]))
    assert [t.to_datetime() for t in message.times] == [day, dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)]
    message.times.append(day)
    assert len(through(message).times) == 3
