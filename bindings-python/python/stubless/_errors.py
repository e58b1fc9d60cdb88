"""How calls end: status codes, and one exception class per code."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Union

from . import _core
from ._core import Metadata

__all__ = ["RpcError", "StatusCode", "StatusDetail"]

MetadataValue = Union[str, bytes]
MetadataLike = Union[
    Mapping[str, Union[MetadataValue, Sequence[MetadataValue]]],
    Iterable[tuple[str, MetadataValue]],
    Metadata,
]


class StatusCode(enum.IntEnum):
    """gRPC's status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class StatusDetail:
    """A detail whose type the schema does not know: the content of a ``google.protobuf.Any``."""

    __slots__ = ("type_url", "value")

    def __init__(self, type_url: str, value: bytes) -> None:
        self.type_url = type_url
        self.value = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StatusDetail):
            return NotImplemented
        return (self.type_url, self.value) == (other.type_url, other.value)

    def __hash__(self) -> int:
        return hash((self.type_url, self.value))

    def __repr__(self) -> str:
        return f"StatusDetail({self.type_url!r}, {self.value!r})"


class RpcError(Exception):
    """A call that did not succeed. Raise it in a handler to end the call with its status.

    ``RpcError(code, text, status_details=[messages])`` gives the class of the code; the class of a code takes
    ``(text)`` or ``(code, text)``.
    """

    _code: StatusCode
    _default: StatusCode = StatusCode.UNKNOWN

    def __new__(cls, *args: Any, **kwargs: Any) -> RpcError:
        if cls is RpcError and args and isinstance(args[0], int):
            of_code = _CLASSES.get(int(args[0]), RpcError)
            return Exception.__new__(of_code, *args)
        return Exception.__new__(cls, *args)

    def __init__(
        self,
        code: StatusCode | int | str | None = None,
        details: str | None = None,
        *,
        status_details: Iterable[Any] = (),
        trailing_metadata: MetadataLike | None = None,
    ) -> None:
        if isinstance(code, str):
            if details is not None:
                raise TypeError("give the code first, then the text")
            code, details = None, code
        own = type(self)._default
        if code is None:
            if type(self) is RpcError:
                raise TypeError("RpcError needs a code; or raise the class of the code, such as NotFound(text)")
            code = own
        self._code = StatusCode(code)
        if type(self)._default is not StatusCode.UNKNOWN and self._code is not own:
            raise ValueError(f"{type(self).__name__} is for {own.name}, not {self._code.name}")
        self._details = details or ""
        self._trailing = trailing_metadata if isinstance(trailing_metadata, Metadata) else Metadata(trailing_metadata)
        self._initial = Metadata()
        self._schema: Any = None
        self.origin = "local"
        packed = list(status_details)
        self.status_details_bytes = _pack(int(self._code), self._details, packed) if packed else b""
        super().__init__(self._code, self._details)

    def code(self) -> StatusCode:
        """The status code."""
        return self._code

    def details(self) -> str:
        """The status text."""
        return self._details

    def trailing_metadata(self) -> Metadata:
        """Metadata the server sent with the status."""
        return self._trailing

    def initial_metadata(self) -> Metadata:
        """Metadata the server sent before the answer."""
        return self._initial

    @property
    def status_details(self) -> list[Any]:
        """The messages of ``google.rpc.Status``; a `StatusDetail` where the schema does not know the type."""
        return _unpack(self.status_details_bytes, self._schema)

    def __str__(self) -> str:
        return f"{self._code.name}: {self._details}" if self._details else self._code.name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._code.name}, {self._details!r}, origin={self.origin!r})"

    def __reduce__(self) -> Any:
        state = (
            int(self._code),
            self._details,
            self.status_details_bytes,
            list(self._initial),
            list(self._trailing),
            self.origin,
        )
        return (_remake, state)


class Cancelled(RpcError):
    """CANCELLED: the call was cancelled, most often by its caller."""

    _default = StatusCode.CANCELLED


class Unknown(RpcError):
    """UNKNOWN: an error nobody classified, such as an exception in a handler."""

    _default = StatusCode.UNKNOWN


class InvalidArgument(RpcError):
    """INVALID_ARGUMENT: the argument is wrong whatever the state of the system."""

    _default = StatusCode.INVALID_ARGUMENT


class DeadlineExceeded(RpcError):
    """DEADLINE_EXCEEDED: the deadline passed before the call ended."""

    _default = StatusCode.DEADLINE_EXCEEDED


class NotFound(RpcError):
    """NOT_FOUND: something the request names does not exist."""

    _default = StatusCode.NOT_FOUND


class AlreadyExists(RpcError):
    """ALREADY_EXISTS: something the request would make exists already."""

    _default = StatusCode.ALREADY_EXISTS


class PermissionDenied(RpcError):
    """PERMISSION_DENIED: the caller is known and may not do this."""

    _default = StatusCode.PERMISSION_DENIED


class ResourceExhausted(RpcError):
    """RESOURCE_EXHAUSTED: a quota, a limit or memory is used up."""

    _default = StatusCode.RESOURCE_EXHAUSTED


class FailedPrecondition(RpcError):
    """FAILED_PRECONDITION: the system is not in the state the call needs."""

    _default = StatusCode.FAILED_PRECONDITION


class Aborted(RpcError):
    """ABORTED: the call lost against a concurrent one."""

    _default = StatusCode.ABORTED


class OutOfRange(RpcError):
    """OUT_OF_RANGE: the call went past a valid range."""

    _default = StatusCode.OUT_OF_RANGE


class Unimplemented(RpcError):
    """UNIMPLEMENTED: the server does not offer this service or method."""

    _default = StatusCode.UNIMPLEMENTED


class Internal(RpcError):
    """INTERNAL: an invariant is broken, such as a message that cannot be read."""

    _default = StatusCode.INTERNAL


class Unavailable(RpcError):
    """UNAVAILABLE: the service cannot be reached now; trying again may help."""

    _default = StatusCode.UNAVAILABLE


class DataLoss(RpcError):
    """DATA_LOSS: data is lost or damaged beyond recovery."""

    _default = StatusCode.DATA_LOSS


class Unauthenticated(RpcError):
    """UNAUTHENTICATED: the caller's credentials are missing or wrong."""

    _default = StatusCode.UNAUTHENTICATED


_CLASSES: dict[int, type[RpcError]] = {
    int(error._default): error
    for error in (
        Cancelled, Unknown, InvalidArgument, DeadlineExceeded, NotFound, AlreadyExists, PermissionDenied,
        ResourceExhausted, FailedPrecondition, Aborted, OutOfRange, Unimplemented, Internal, Unavailable, DataLoss,
        Unauthenticated,
    )
}  # fmt: skip


def _make(
    number: int,
    details: str,
    status_details_bytes: bytes,
    initial: Metadata,
    trailing: Metadata,
    origin: str,
    schema: Any,
) -> RpcError:
    """The exception of a call's status. A code gRPC does not know reads as UNKNOWN."""
    known = number if 0 <= number <= 16 else 2
    error = RpcError(known, details, trailing_metadata=trailing)
    error.status_details_bytes = status_details_bytes
    error.origin = origin
    error._initial = initial
    error._schema = schema
    return error


def _remake(
    number: int, details: str, status_details_bytes: bytes, initial: Any, trailing: Any, origin: str
) -> RpcError:
    return _make(number, details, status_details_bytes, Metadata(initial), Metadata(trailing), origin, None)


# google.rpc.Status and google.protobuf.Any, by hand: four fields do not need a schema


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _any(message: Any) -> bytes:
    if isinstance(message, StatusDetail):
        return _field(1, message.type_url.encode()) + _field(2, message.value)
    descriptor = getattr(type(message), "DESCRIPTOR", None)
    if descriptor is not None and hasattr(message, "SerializeToString"):
        name, value = descriptor.full_name, message.SerializeToString()
    elif isinstance(message, _core.Message):
        name, value = type(message).full_name, _core.to_bytes(message)
    else:
        raise TypeError(f"status_details takes messages, not {type(message).__name__}")
    return _field(1, b"type.googleapis.com/" + name.encode()) + _field(2, value)


def _pack(code: int, text: str, messages: list[Any]) -> bytes:
    status = b"\x08" + _varint(code) if code else b""
    if text:
        status += _field(2, text.encode())
    return status + b"".join(_field(3, _any(message)) for message in messages)


def _fields(data: bytes) -> list[tuple[int, bytes]]:
    """The length-delimited fields of a message; empty where the bytes are no message."""
    found: list[tuple[int, bytes]] = []
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 63:
                raise IndexError

    try:
        while at < len(data):
            tag = number()
            kind = tag & 7
            if kind == 0:
                number()
            elif kind == 1:
                at += 8
            elif kind == 5:
                at += 4
            elif kind == 2:
                length = number()
                if at + length > len(data):
                    return []
                found.append((tag >> 3, data[at : at + length]))
                at += length
            else:
                return []
    except IndexError:
        return []
    return found


def _unpack(data: bytes, schema: Any) -> list[Any]:
    details: list[Any] = []
    for number, packed in _fields(data):
        if number != 3:
            continue
        parts = dict(_fields(packed))
        type_url = parts.get(1, b"").decode("utf-8", "replace")
        value = parts.get(2, b"")
        details.append(_decode(type_url, value, schema))
    return details


def _decode(type_url: str, value: bytes, schema: Any) -> Any:
    if schema is not None:
        try:
            return schema.message(type_url.rpartition("/")[2]).from_bytes(value)
        except (LookupError, ValueError):
            pass
    return StatusDetail(type_url, value)


_core._set_errors(RpcError, _make)
