"""Read by mypy --strict and pyright, not run: what the surface of schemas and messages promises to a checker."""

import copy
import datetime
import pickle
from collections.abc import MutableMapping, MutableSequence

import stubless as sl

schema = sl.Schema.load("demo/v1/echo.proto", include=["protos"])
both = schema.merge(sl.Schema.from_source({"a.proto": 'syntax = "proto3";'}))
Msg: type[sl.Message] = both.message("demo.v1.Msg")
same: type[sl.Message] = schema["demo.v1.Msg"]
name: str = Msg.full_name
color: sl.EnumType = schema.enum("demo.v1.Color")
number: int = color["RED"]
services: list[str] = schema.services()

m = Msg(text="hi", n=3)
m = Msg({"text": "hi"})
m.n = 4
m["n"] = 4
m.at = datetime.datetime.now(datetime.timezone.utc)
text: str = m.text
present: bool = "n" in m and m.has("n") and sl.has(m, "n")
m.clear("n")
kind: str | None = m.which_oneof("kind")
b: bytes = m.to_bytes() + bytes(m)
back: sl.Message = Msg.from_bytes(b)
plain: dict[str, object] = m.to_dict()
again: sl.Message = Msg.from_dict(plain)
json: str = m.to_json(indent=2)
from_json: sl.Message = Msg.from_json(json)
m.merge(back)
twin: sl.Message = copy.deepcopy(copy.copy(m.copy()))
equal: bool = m == pickle.loads(pickle.dumps(m))


def lists(values: sl.MessageList[int], entries: sl.MessageMap[str, sl.Message]) -> None:
    values.append(3)
    values += [4]
    total: int = sum(values)
    entries["a"] = Msg(n=total)
    sequence: MutableSequence[int] = values
    mapping: MutableMapping[str, sl.Message] = entries
    print(len(sequence), list(mapping), values[0], values[1:])
