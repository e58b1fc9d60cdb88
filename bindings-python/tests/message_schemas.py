"""The schemas of the message tests, loaded once."""

from pathlib import Path

import stubless as sl

PROTOS = Path(__file__).parent / "protos"
schema = sl.Schema.load(["messages.proto", "messages2.proto"], include=[PROTOS])

All = schema["t.v1.All"]
Node = schema["t.v1.Node"]
Names = schema["t.v1.Names"]
Outer = schema["t.v1.Outer"]
Old = schema["t.v2.Old"]
Extra = schema["t.v2.Extra"]
