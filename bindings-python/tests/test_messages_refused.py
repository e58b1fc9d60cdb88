"""What is refused, and how the refusal names the field and what it takes. Nothing changes when it happens."""

import pytest
from message_schemas import All, Names, Node, Old


@pytest.mark.parametrize(
    ("field", "value", "error", "says"),
    [
        ("f_int32", "1", TypeError, r"t\.v1\.All\.f_int32: expected an int \(int32\), got str"),
        ("f_int32", 1.0, TypeError, "f_int32: expected an int"),
        ("f_int32", True, TypeError, "got bool"),
        ("f_int32", 2**31, ValueError, r"2147483648 is out of range for int32 \(-2147483648 to 2147483647\)"),
        ("f_int32", 10**40, ValueError, "f_int32"),
        ("f_int64", 2**63, ValueError, "int64"),
        ("f_uint32", -1, ValueError, r"uint32 \(0 to 4294967295\)"),
        ("f_uint64", -1, ValueError, "uint64"),
        ("f_uint64", 2**64, ValueError, "uint64"),
        ("f_bool", 1, TypeError, "f_bool: expected a bool, got int"),
        ("f_string", b"x", TypeError, "f_string: expected a str, got bytes"),
        ("f_string", "\ud800", ValueError, "f_string.*surrogates"),
        ("f_bytes", "x", TypeError, "f_bytes: expected bytes, got str"),
        ("f_double", "1", TypeError, "f_double: expected a float or int"),
        ("f_double", True, TypeError, "f_double"),
        ("f_float", 1e39, ValueError, "f_float: 1e.39 is out of range for float"),
        ("f_color", "PINK", ValueError, "PINK.*is no value of t.v1.Color; its values are RED, GREEN"),
        ("f_color", 1.5, TypeError, "a name or number of t.v1.Color"),
        ("f_color", 2**40, ValueError, "f_color"),
        ("f_node", 5, TypeError, "f_node: expected a t.v1.Node or a mapping, got int"),
        ("f_node", Old(), TypeError, "f_node: expected a t.v1.Node"),
        ("f_node", {"nme": "x"}, ValueError, 't.v1.Node has no field "nme"; its fields are name, n, next, kids'),
        ("f_node", {"next": {"n": "x"}}, TypeError, r"t\.v1\.Node\.n: expected an int"),
        ("numbers", 5, TypeError, "numbers: expected a list"),
        ("numbers", "12", TypeError, "numbers: expected a list"),
        ("numbers", [1, "2"], TypeError, "numbers: expected an int"),
        ("numbers", [1, None], TypeError, "numbers"),
        ("texts", "abc", TypeError, "texts: expected a list"),
        ("nodes", [{}, 5], TypeError, "nodes: expected a t.v1.Node"),
        ("labels", [("a", "b")], TypeError, "labels: expected a mapping"),
        ("labels", {1: "b"}, TypeError, r"labels \(key\): expected a str"),
        ("labels", {"a": 1}, TypeError, "labels: expected a str"),
        ("labels", {"a": None}, TypeError, "labels: expected a str"),
        ("by_id", {"1": {}}, TypeError, r"by_id \(key\): expected an int"),
        ("by_id", {2**31: {}}, ValueError, "by_id"),
        ("by_flag", {0: "RED"}, TypeError, r"by_flag \(key\): expected a bool"),
        ("at", 5, TypeError, "at: expected a google.protobuf.Timestamp, a datetime or a mapping, got int"),
        ("took", "3s", TypeError, "timedelta"),
        ("mask", [1], TypeError, "paths: expected a str"),
        ("w_int", "5", TypeError, "google.protobuf.Int64Value.value: expected an int"),
        ("w_int", 2**63, ValueError, "Int64Value"),
        ("data", {1: 2}, TypeError, "a key is a str"),
        ("data", {"a": object()}, TypeError, "expected None, bool, int, float, str, list or dict, got object"),
        ("any", 5, TypeError, "google.protobuf.Any"),
    ],
)
def test_a_wrong_value_is_refused_by_every_door(field, value, error, says):
    with pytest.raises(error, match=says):
        All(**{field: value})
    with pytest.raises(error, match=says):
        All({field: value})
    with pytest.raises(error, match=says):
        All.from_dict({field: value})
    message = All(f_int32=7, numbers=[1], labels={"k": "v"})
    before = message.to_bytes()
    with pytest.raises(error, match=says):
        setattr(message, field, value)
    with pytest.raises(error, match=says):
        message[field] = value
    assert message.to_bytes() == before


def test_a_name_that_is_no_field():
    with pytest.raises(ValueError, match='t.v1.Node has no field "nam"; its fields are name, n, next'):
        Node(nam="x")
    with pytest.raises(ValueError, match='no field "nam"'):
        Node({"nam": "x"})
    with pytest.raises(TypeError, match="a field's name is a str, not int"):
        Node({1: "x"})
    node = Node()
    with pytest.raises(AttributeError, match="nam"):
        node.nam
    with pytest.raises(AttributeError, match="nam"):
        node.nam = 1
    for ask in (lambda: node["nam"], lambda: node.__setitem__("nam", 1), lambda: node.__delitem__("nam")):
        with pytest.raises(KeyError, match="no field"):
            ask()
    for ask in (lambda: node.has("nam"), lambda: node.clear("nam")):
        with pytest.raises(ValueError, match="no field"):
            ask()
    assert "nam" not in node


def test_misuse_of_the_constructor():
    with pytest.raises(TypeError, match="one mapping or keywords"):
        Node({}, {})
    with pytest.raises(TypeError, match="expected a mapping"):
        Node(5)
    with pytest.raises(TypeError):
        Node("text")


def test_messages_are_no_containers_and_not_hashable():
    with pytest.raises(TypeError):
        iter(Node())
    with pytest.raises(TypeError):
        hash(Node())
    with pytest.raises(TypeError):
        len(Node())
    assert bool(Node())


def test_a_field_belongs_to_its_class():
    with pytest.raises(TypeError, match="t.v1.Node.name is a field of another type than All"):
        Node.name.__get__(All(), All)
    with pytest.raises(TypeError):
        Node.name.__set__(5, "x")


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05a", b"\x0a\x01\xff", b"\x00", b"\x0b", b"\x0c"])
def test_bytes_that_are_no_message(data):
    with pytest.raises(ValueError, match=r"t\.v1\.Node"):
        Node.from_bytes(data)


def test_from_bytes_takes_buffers_and_no_text():
    data = Node(name="x").to_bytes()
    assert Node.from_bytes(bytearray(data)) == Node.from_bytes(memoryview(data)) == Node(name="x")
    for wrong in ("x", 5, None):
        with pytest.raises(TypeError):
            Node.from_bytes(wrong)


@pytest.mark.parametrize("text", ["", "{", '{"nme": 1}', '{"n": "x"}', '{"n": 1, "n": 2}', "[]", '{"n": 99999999999}'])
def test_json_that_is_no_message(text):
    with pytest.raises(ValueError):
        Node.from_json(text)


def test_one_refused_argument_leaves_the_others_alone():
    node = Node(name="a")
    kid = Node(name="kid")
    with pytest.raises(TypeError):
        Node(next=kid, kids=[kid, 5])
    assert kid.name == "kid" and node.name == "a"
    assert Names().to_bytes == b""
