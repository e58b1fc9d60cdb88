"""What a case is, and the small words the tables of cases are written in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from subjects import Server
from wire import END_HEADERS, END_STREAM, HEADERS, Fields, Peer, data, frame, literal_block, lpm, msg, outcome, request

UNARY = literal_block(request())
BIDI = literal_block(request("/fault.Echo/Bidi"))
HELLO = lpm(msg("hello"))


def headers(stream: int, block: bytes = UNARY, end: bool = False, flags: int = END_HEADERS) -> bytes:
    """A HEADERS frame with a ready block."""
    return frame(HEADERS, flags | (END_STREAM if end else 0), stream, block)


def ids(n: int, first: int = 1) -> range:
    """The next `n` stream ids."""
    return range(first, first + 2 * n, 2)


class Arena:
    """One case's connections to the server under test."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.peers: list[Peer] = []

    def dial(self, **options) -> Peer:
        peer = Peer.dial(self.server.address, **options)
        self.peers.append(peer)
        return peer

    def close(self) -> None:
        for peer in self.peers:
            peer.close()


@dataclass(frozen=True)
class Case:
    """One row's input and its outcome. `play` acts and says what it saw, in the words of `wire.outcome`."""

    row: str
    name: str
    expect: str
    play: Callable[[Arena], str]
    #: What the HTTP/2 crate underneath makes of it: accepted, counted as its debt (ARCHITECTURE.md lists them).
    debt: str = ""
    #: The connection must serve another call afterwards; `None`: if the outcome leaves it open.
    goes_on: bool | None = None
    #: The server may grow by so much.
    memory_mib: float = 64
    slow: bool = False
    #: Known to fail on these subjects.
    known: frozenset[str] = field(default_factory=frozenset)

    @property
    def id(self) -> str:
        return f"{self.row}: {self.name}"


def call(row: str, name: str, expect: str, *, fields: Fields | None = None, path: str | bytes = "/fault.Echo/Unary",
         body: bytes | None = None, end: bool = True, timeout: float = 5.0, **more) -> Case:
    """One call on a connection of its own; the outcome is that call's."""
    def play(arena: Arena) -> str:
        peer = arena.dial()
        payload = lpm(msg("hello")) if body is None else body
        out = peer.headers(1, request(path) if fields is None else fields)
        pieces = [payload[i:i + 16_384] for i in range(0, len(payload), 16_384)] or [b""]
        frames = [data(1, piece, end and i == len(pieces) - 1) for i, piece in enumerate(pieces)]
        if len(payload) < 60_000:
            peer.send(out + b"".join(frames))
        else:
            peer.send(out)
            peer.wait(lambda: peer.settings, 5)
            peer.flow(1, frames, 16_384)
        return outcome(peer, 1, timeout)

    return Case(row, name, expect, play, **more)


def raw(row: str, name: str, expect: str, *chunks: bytes | Callable[[Peer], bytes], during_call: bool = False,
        stream: int = 1, timeout: float = 5.0, hello: bytes | None = None, **more) -> Case:
    """Bytes after the preface; `during_call`: stream 1 is an open bidirectional call that was answered once."""
    def play(arena: Arena) -> str:
        peer = arena.dial(hello=hello)
        if during_call:
            peer.call(1, "/fault.Echo/Bidi", end=False)
            if not peer.wait(lambda: peer.stream(1).messages):
                return "THE CALL WAS NOT ANSWERED"
        for chunk in chunks:
            if not peer.send(chunk(peer) if callable(chunk) else chunk):
                break
        return outcome(peer, stream, timeout)

    return Case(row, name, expect, play, **more)


def hello_call(peer: Peer, stream: int, timeout: float = 5.0) -> str:
    """An ordinary call; `OK` only if the answer is the right one."""
    peer.call(stream)
    seen = outcome(peer, stream, timeout)
    if seen == "OK" and peer.stream(stream).messages != [msg("hello")]:
        return "OK BUT WRONG"
    return seen
