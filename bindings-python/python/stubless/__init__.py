"""Dynamic gRPC from one Rust engine: clients and servers without generated code."""

# ---- schema and messages ----
from ._core import (
    EnumType,
    Message,
    MessageList,
    MessageMap,
    Schema,
    clear,
    copy,
    has,
    merge,
    to_bytes,
    to_dict,
    to_json,
    which_oneof,
)

__all__ = [
    "EnumType",
    "Message",
    "MessageList",
    "MessageMap",
    "Schema",
    "clear",
    "copy",
    "has",
    "merge",
    "to_bytes",
    "to_dict",
    "to_json",
    "which_oneof",
]
