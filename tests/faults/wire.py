"""HTTP/2 by hand: a peer that can say anything, and remembers what it heard.

`Peer` is one connection, in either role. What it sends is bytes that a case put together, right or wrong; what it
receives is sorted by a thread of its own into streams, so that a flood can go on while answers come. Nothing here is a
gRPC implementation: a message is five bytes and a payload.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import hpack

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR, \
    REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM, INADEQUATE_SECURITY, \
    HTTP_1_1_REQUIRED = range(14)

Fields = list[tuple[bytes, bytes]]


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"", length: int | None = None) -> bytes:
    """One frame; `length` lies about the payload's length."""
    n = len(payload) if length is None else length
    return struct.pack(">I", n)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def settings(*pairs: tuple[int, int], flags: int = 0) -> bytes:
    return frame(SETTINGS, flags, 0, b"".join(struct.pack(">HI", i, v) for i, v in pairs))


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def rst(stream: int, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def goaway(last: int, code: int = NO_ERROR, text: bytes = b"") -> bytes:
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code) + text)


def ping(payload: bytes = b"12345678", flags: int = 0) -> bytes:
    return frame(PING, flags, 0, payload)


def data(stream: int, payload: bytes = b"", end: bool = False, pad: int | None = None) -> bytes:
    flags = END_STREAM if end else 0
    if pad is not None:
        return frame(DATA, flags | PADDED, stream, bytes([pad]) + payload + bytes(pad))
    return frame(DATA, flags, stream, payload)


def varint(n: int) -> bytes:
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def msg(text: str | bytes = "", n: int = 0) -> bytes:
    """`fault.Msg` in protobuf."""
    text = text.encode() if isinstance(text, str) else text
    out = b"\x0a" + varint(len(text)) + text if text else b""
    return out + (b"\x10" + varint(n) if n else b"")


def parse_msg(raw: bytes) -> tuple[str, int]:
    """`fault.Msg` back, strictly: `ValueError` for whatever a protobuf parser must refuse."""
    def read_varint(at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            if at >= len(raw) or shift > 63:
                raise ValueError("varint")
            byte = raw[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value & (1 << 64) - 1, at

    def skip(at: int, kind: int, number: int, depth: int) -> int:
        if depth > 100:
            raise ValueError("depth")
        if kind == 0:
            return read_varint(at)[1]
        if kind == 2:
            length, at = read_varint(at)
            at += length
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == 3:
            while True:
                key, at = read_varint(at)
                if key & 7 == 4:
                    if key >> 3 != number:
                        raise ValueError("group")
                    return at
                at = skip(at, key & 7, key >> 3, depth + 1)
        else:
            raise ValueError("wire type")
        if at > len(raw):
            raise ValueError("length")
        return at

    text, n, at = "", 0, 0
    while at < len(raw):
        key, at = read_varint(at)
        if key >> 3 == 0 or key >> 32:
            raise ValueError("field number")
        if key == 0x0A:
            length, at = read_varint(at)
            if at + length > len(raw):
                raise ValueError("length")
            text = raw[at:at + length].decode()
            at += length
        elif key == 0x10:
            value, at = read_varint(at)
            n = struct.unpack("<i", struct.pack("<I", value & 0xFFFFFFFF))[0]
        else:
            at = skip(at, key & 7, key >> 3, 1)
    return text, n


def lpm(payload: bytes, flag: int = 0, length: int | None = None) -> bytes:
    """A length-prefixed message; `length` lies about the payload's length."""
    return struct.pack(">BI", flag, len(payload) if length is None else length) + payload


def split_messages(body: bytes) -> list[bytes]:
    """The payloads in a body, as far as they are whole."""
    out = []
    while len(body) >= 5:
        length = int.from_bytes(body[1:5], "big")
        if len(body) < 5 + length:
            break
        out.append(body[5:5 + length])
        body = body[5 + length:]
    return out


def as_fields(fields: Iterable[tuple[str | bytes, str | bytes]]) -> Fields:
    return [(k.encode() if isinstance(k, str) else k, v.encode() if isinstance(v, str) else v) for k, v in fields]


def request(path: str | bytes = "/fault.Echo/Unary", *extra, drop: Iterable[str] = (), **over) -> Fields:
    """A call's header fields. `over` replaces a field by name (`_` for `-`, `method` for `:method`, ...); `drop` leaves
    some out; `extra` come last."""
    base = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"), ("te", "trailers"),
            ("content-type", "application/grpc")]
    out = []
    for name, value in base:
        key = name.lstrip(":").replace("-", "_")
        if name in drop:
            continue
        out.append((name, over.pop(key, value)))
    out += [(name.replace("_", "-"), value) for name, value in over.items()]
    return as_fields([*out, *extra])


@dataclass
class Stream:
    """What came on one stream."""

    blocks: list[Fields] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    data_frames: int = 0
    ended: bool = False
    reset: int | None = None

    def get(self, name: str) -> str | None:
        """A field's last value, trailers before headers."""
        for block in reversed(self.blocks):
            for key, value in reversed(block):
                if key == name.encode():
                    return value.decode("latin-1")
        return None

    @property
    def done(self) -> bool:
        return self.ended or self.reset is not None

    @property
    def messages(self) -> list[bytes]:
        return split_messages(bytes(self.body))


def literal_block(fields: Fields) -> bytes:
    """A header block that leaves the compression tables alone, so that one copy of it does for many streams."""
    def string(raw: bytes) -> bytes:
        if len(raw) < 127:
            return bytes([len(raw)]) + raw
        return b"\x7f" + varint(len(raw) - 127) + raw

    return b"".join(b"\0" + string(name) + string(value) for name, value in fields)


class Peer:
    """One connection spoken by hand. `server=True`: we accepted it."""

    def __init__(self, sock: socket.socket, *, server: bool = False, hello: bytes | None = None, reading: bool = True,
                 windows: bool = True, acks: bool = True) -> None:
        self.sock = sock
        self.server = server
        self.windows = windows
        self.acks = acks
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder(max_header_list_size=1 << 24)
        self.streams: dict[int, Stream] = {}
        self.goaway: tuple[int, int, bytes] | None = None
        self.closed = False
        self.closed_at = 0.0
        self.settings: dict[int, int] = {}
        self.settings_acks = 0
        self.pongs: list[bytes] = []
        self.pings = 0
        self.window_updates = 0
        self.credit: dict[int, int] = {0: 65_535}
        self.received = 0
        self.changed = threading.Condition()
        self._lock = threading.Lock()
        self._preface = len(PREFACE) if server else 0
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) if sock.family != socket.AF_UNIX else None
        if hello is None:
            hello = settings((4, 1 << 20)) if server else PREFACE + settings((2, 0), (4, 1 << 20))
        if hello:
            self.send(hello)
        if hello and windows:
            self.send(window_update(0, 1 << 24))
        self.reader = threading.Thread(target=self._read, daemon=True)
        if reading:
            self.reader.start()

    @classmethod
    def dial(cls, address: tuple[str, int], **options) -> "Peer":
        return cls(socket.create_connection(address, timeout=10), **options)

    def start_reading(self) -> None:
        self.reader.start()

    # --- saying

    def send(self, *chunks: bytes) -> bool:
        """Sends; false if the other side is gone (which is for the case to judge)."""
        try:
            with self._lock:
                for chunk in chunks:
                    self.sock.sendall(chunk)
            return True
        except OSError:
            return False

    def headers(self, stream: int, fields: Fields, end: bool = False, flags: int = 0) -> bytes:
        """A HEADERS frame (with CONTINUATIONs if it needs them)."""
        block = self.encoder.encode(fields, huffman=False)
        pieces = [block[i:i + 16_384] for i in range(0, len(block), 16_384)] or [b""]
        out = b""
        for i, piece in enumerate(pieces):
            last = END_HEADERS if i == len(pieces) - 1 else 0
            if i == 0:
                out += frame(HEADERS, last | flags | (END_STREAM if end else 0), stream, piece)
            else:
                out += frame(CONTINUATION, last, stream, piece)
        return out

    def call(self, stream: int, path: str = "/fault.Echo/Unary", body: bytes | None = None, end: bool = True,
             fields: Fields | None = None) -> None:
        """Opens a call and sends its body in one DATA frame (or in as many as 16 KiB allow)."""
        body = lpm(msg("hello")) if body is None else body
        out = self.headers(stream, request(path) if fields is None else fields)
        pieces = [body[i:i + 16_384] for i in range(0, len(body), 16_384)] or [b""]
        for i, piece in enumerate(pieces):
            out += data(stream, piece, end and i == len(pieces) - 1)
        self.send(out)

    def _open_window(self, stream: int) -> None:
        self.credit.setdefault(stream, self.settings.get(4, 65_535))

    def flow(self, stream: int, frames: Iterable[bytes], size: int, timeout: float = 30.0) -> bool:
        """Sends DATA frames of `size` flow-controlled bytes each, no faster than the windows allow."""
        frames = iter(frames)
        while True:
            with self.changed:
                self._open_window(stream)
                room = min(self.credit[0], self.credit[stream]) // size
            batch = []
            for one in frames:
                batch.append(one)
                if len(batch) >= max(1, min(room, 2_000)):
                    break
            if not batch:
                return True
            need = len(batch) * size
            if not self.wait(lambda: min(self.credit[0], self.credit[stream]) >= need, timeout) or self.closed:
                return False
            with self.changed:
                self.credit[0] -= need
                self.credit[stream] -= need
            if not self.send(b"".join(batch)):
                return False

    def close(self) -> None:
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()

    # --- hearing

    def stream(self, stream: int) -> Stream:
        with self.changed:
            return self.streams.setdefault(stream, Stream())

    def wait(self, until: Callable[[], object], timeout: float = 5.0) -> bool:
        """Waits for a condition on what was heard; also ends when the connection is closed."""
        end = time.monotonic() + timeout
        with self.changed:
            while not until():
                left = end - time.monotonic()
                if left <= 0 or self.closed:
                    return bool(until())
                self.changed.wait(min(left, 0.5))
            return True

    def wait_closed(self, timeout: float = 5.0) -> bool:
        return self.wait(lambda: self.closed, timeout)

    def alive(self, timeout: float = 5.0) -> bool:
        """Whether the other side still answers a PING here."""
        token = struct.pack(">Q", time.monotonic_ns())
        return self.send(ping(token)) and self.wait(lambda: token in self.pongs, timeout)

    def _take(self, n: int) -> bytes | None:
        out = bytearray()
        while len(out) < n:
            try:
                piece = self.sock.recv(min(n - len(out), 1 << 16))
            except TimeoutError:
                continue
            except OSError:
                return None
            if not piece:
                return None
            self.received += len(piece)
            out += piece
        return bytes(out)

    def _read(self) -> None:
        self.sock.settimeout(None)
        if self._preface and self._take(self._preface) is None:
            return self._end()
        block: tuple[int, bool, bytes] | None = None
        while (head := self._take(9)) is not None:
            length = int.from_bytes(head[:3], "big")
            kind, flags = head[3], head[4]
            stream = int.from_bytes(head[5:], "big") & 0x7FFFFFFF
            payload = self._take(length) if length else b""
            if payload is None:
                break
            reply = b""
            with self.changed:
                if kind == DATA:
                    s = self.streams.setdefault(stream, Stream())
                    if flags & PADDED:
                        payload = payload[1:len(payload) - payload[0]]
                    s.body += payload
                    s.data_frames += 1
                    s.ended |= bool(flags & END_STREAM)
                    if self.windows and length:
                        reply = window_update(0, length) + (b"" if s.ended else window_update(stream, length))
                elif kind in (HEADERS, CONTINUATION):
                    if kind == HEADERS:
                        if flags & PADDED:
                            payload = payload[1:len(payload) - payload[0]]
                        if flags & HAS_PRIORITY:
                            payload = payload[5:]
                        block = (stream, bool(flags & END_STREAM), payload)
                    elif block:
                        block = (block[0], block[1], block[2] + payload)
                    if flags & END_HEADERS and block:
                        s = self.streams.setdefault(block[0], Stream())
                        s.blocks.append([(bytes(k), bytes(v)) for k, v in self.decoder.decode(block[2], raw=True)])
                        s.ended |= block[1]
                        block = None
                elif kind == RST_STREAM:
                    s = self.streams.setdefault(stream, Stream())
                    if s.reset is None:
                        s.reset = int.from_bytes(payload, "big")
                elif kind == SETTINGS:
                    if flags & ACK:
                        self.settings_acks += 1
                    else:
                        for i in range(0, len(payload), 6):
                            key, value = struct.unpack(">HI", payload[i:i + 6])
                            if key == 4:
                                for other in self.credit:
                                    if other:
                                        self.credit[other] += value - self.settings.get(4, 65_535)
                            self.settings[key] = value
                        reply = settings(flags=ACK) if self.acks else b""
                elif kind == PING:
                    if flags & ACK:
                        self.pongs.append(payload)
                    else:
                        self.pings += 1
                        reply = ping(payload, ACK) if self.acks else b""
                elif kind == GOAWAY:
                    last, code = struct.unpack(">II", payload[:8])
                    self.goaway = (last, code, payload[8:])
                elif kind == WINDOW_UPDATE:
                    self.window_updates += 1
                    self._open_window(stream)
                    self.credit[stream] += int.from_bytes(payload, "big")
                self.changed.notify_all()
            if reply:
                self.send(reply)
        self._end()

    def _end(self) -> None:
        with self.changed:
            self.closed = True
            self.closed_at = time.monotonic()
            self.changed.notify_all()


def outcome(peer: Peer, stream: int = 1, timeout: float = 5.0) -> str:
    """What became of `stream`, in the words of the cases: `S:13`, `OK`, `RST:1`, `GOAWAY:11:text`, `HTTP:415`, `CLOSED`
    (without GOAWAY), `HANG`."""
    s = peer.stream(stream)
    peer.wait(lambda: s.done or (peer.goaway and peer.goaway[1]) or peer.closed, timeout)
    if s.ended or (s.reset == NO_ERROR and s.get("grpc-status")):
        http = s.get(":status")
        if http != "200":
            return f"HTTP:{http}"
        status = s.get("grpc-status")
        return "OK" if status == "0" else f"S:{status}"
    if s.reset is not None:
        return f"RST:{s.reset}"
    if peer.goaway and peer.goaway[1]:
        peer.wait_closed(3)
        text = peer.goaway[2].decode("utf-8", "replace")
        return f"GOAWAY:{peer.goaway[1]}:{text}" if peer.closed else "GOAWAY WITHOUT CLOSE"
    return "CLOSED" if peer.closed else "HANG"


def matches(seen: str, expected: str) -> bool:
    """Whether `seen` is one of the alternatives in `expected` (separated by ` | `). `GOAWAY:11` stands for any text, `S:8`
    is exact, `GOAWAY:11:too_many` for any text that contains `too_many`."""
    for one in expected.split(" | "):
        if one.startswith("GOAWAY:") and seen.startswith("GOAWAY:"):
            _, code, *text = one.split(":", 2)
            _, seen_code, seen_text = seen.split(":", 2)
            if code in (seen_code, "*") and (not text or text[0] in seen_text):
                return True
        elif one == seen:
            return True
    return False


class TlsSocket:
    """A TLS session that one thread may read while another writes, which `ssl.SSLSocket` does not allow."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server_hostname: str | None = None) -> None:
        self.sock, self.family = sock, sock.family
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self.incoming, self.outgoing, server_hostname is None, server_hostname)
        self.lock = threading.Lock()
        while True:
            try:
                self.session.do_handshake()
                self._flush()
                return
            except ssl.SSLWantReadError:
                self._flush()
                self._feed()
            except ssl.SSLError:
                self._flush()
                raise

    def _flush(self) -> None:
        if self.outgoing.pending:
            self.sock.sendall(self.outgoing.read())

    def _feed(self) -> None:
        raw = self.sock.recv(65_536)
        with self.lock:
            self.incoming.write(raw) if raw else self.incoming.write_eof()

    def recv(self, n: int) -> bytes:
        while True:
            with self.lock:
                try:
                    return self.session.read(n)
                except ssl.SSLWantReadError:
                    pass
                except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                    return b""
            self._feed()

    def sendall(self, payload: bytes) -> None:
        with self.lock:
            self.session.write(payload)
            self._flush()

    def settimeout(self, timeout: float | None) -> None:
        self.sock.settimeout(timeout)

    def setsockopt(self, *option) -> None:
        self.sock.setsockopt(*option)

    def shutdown(self, how: int) -> None:
        self.sock.shutdown(how)

    def close(self) -> None:
        self.sock.close()
