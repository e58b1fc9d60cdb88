"""A server that misbehaves on order, for the client rows: each connection plays the case's script."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from wire import END_HEADERS, END_STREAM, HEADERS, Fields, Peer, as_fields, data, frame, literal_block, lpm, msg

REPLY = lpm(msg("hello"))


def block(stream: int, *fields: tuple, end: bool = False, flags: int = END_HEADERS) -> bytes:
    """A HEADERS frame of these fields and no others."""
    return frame(HEADERS, flags | (END_STREAM if end else 0), stream, literal_block(as_fields(fields)))


def head(stream: int, *extra: tuple, status: str = "200", kind: str | None = "application/grpc", end: bool = False) -> bytes:
    """A response's headers."""
    fields = [(":status", status), *([("content-type", kind)] if kind is not None else []), *extra]
    return block(stream, *fields, end=end)


def tail(stream: int, status: str = "0", *extra: tuple) -> bytes:
    """A response's trailers."""
    return block(stream, ("grpc-status", status), *extra, end=True)


def good(stream: int) -> bytes:
    """A right answer."""
    return head(stream) + data(stream, REPLY) + tail(stream)


def serve(peer: Peer, respond: Callable[[Peer, int], bytes], complete: bool = True) -> None:
    """Answers every request on a connection, when it is complete or as soon as its headers are there."""
    seen: set[int] = set()
    while True:
        def fresh() -> list[int]:
            return [i for i, s in peer.streams.items() if i not in seen and s.blocks and (s.ended or not complete)]

        if not peer.wait(lambda: fresh(), 30.0):
            return
        for stream in fresh():
            seen.add(stream)
            peer.send(respond(peer, stream))


Script = Callable[[Peer, int], None]


class Hostile:
    """Listens, and plays `script(peer, number of the connection)` on each connection."""

    def __init__(self, script: Script, hello: bytes | None = None, raw: Callable[[socket.socket], None] | None = None,
                 windows: bool = True) -> None:
        self.script, self.hello, self.raw, self.windows = script, hello, raw, windows
        self.peers: list[Peer] = []
        self.connections = 0
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = self.socket.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.socket.accept()
            except OSError:
                return
            number = self.connections
            self.connections += 1
            threading.Thread(target=self._play, args=(sock, number), daemon=True).start()

    def _play(self, sock: socket.socket, number: int) -> None:
        if self.raw:
            self.raw(sock)
            return
        peer = Peer(sock, server=True, hello=self.hello, windows=self.windows, acks=self.hello != b"")
        self.peers.append(peer)
        self.script(peer, number)

    def close(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
        for peer in self.peers:
            peer.close()


@dataclass(frozen=True)
class ClientCase:
    """One row's server and what the client's calls must come to."""

    row: str
    name: str
    #: The code's name, or several separated by ` | `; for all calls of the order.
    expect: str
    script: Script
    #: What the order to the client holds besides the defaults.
    order: dict = field(default_factory=dict)
    #: The status message must contain this.
    text: str = ""
    #: The first connection must get this GOAWAY code from the client.
    goaway: int | None = None
    #: The calls must end within so many seconds.
    within: float = 2.5
    #: At most so many connections are opened.
    connections: int = 12
    hello: bytes | None = None
    raw: Callable[[socket.socket], None] | None = None
    windows: bool = True
    slow: bool = False

    @property
    def id(self) -> str:
        return f"{self.row}: {self.name}"


def on_request(respond: Callable[[Peer, int], bytes], complete: bool = True) -> Script:
    """Every connection answers so."""
    return lambda peer, number: serve(peer, respond, complete)


def first_then_good(first: Script) -> Script:
    """The first connection misbehaves, later ones are right."""
    def script(peer: Peer, number: int) -> None:
        if number == 0:
            first(peer, number)
        else:
            serve(peer, lambda p, i: good(i))

    return script


def answered(row: str, name: str, expect: str, respond: Callable[[int], bytes], **more) -> ClientCase:
    """A case that is only an odd answer: `respond(stream)` gives its bytes."""
    return ClientCase(row, name, expect, on_request(lambda peer, stream: respond(stream)), **more)
