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


# ---- calls ----
from ._client import CallMetadata, Channel, ClientCall, Service, connect
from ._core import TLS, Context, Health, Metadata, ServerTLS, TLSIdentity
from ._errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    RpcError,
    StatusCode,
    StatusDetail,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    Unknown,
)
from ._server import Server, ServerCall, health
from ._lifetime import install as _install

_install()

# asyncio is three quarters of the time an import would take: `stubless.aio` comes when it is first named
TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import aio
else:

    def __getattr__(name: str) -> object:
        if name == "aio":
            from importlib import import_module

            return import_module(".aio", __name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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
    # calls
    "Aborted",
    "AlreadyExists",
    "CallMetadata",
    "Cancelled",
    "Channel",
    "ClientCall",
    "DataLoss",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Internal",
    "InvalidArgument",
    "Metadata",
    "NotFound",
    "OutOfRange",
    "PermissionDenied",
    "ResourceExhausted",
    "RpcError",
    "ServerTLS",
    "Service",
    "StatusCode",
    "StatusDetail",
    "TLS",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unknown",
    "Context",
    "Health",
    "Server",
    "ServerCall",
    "TLSIdentity",
    "health",
    "aio",
    "connect",
]
