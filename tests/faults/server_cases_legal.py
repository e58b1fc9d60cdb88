"""Rows 13 to 16: odd but legal traffic, and frames that are plainly wrong."""

from __future__ import annotations

import os
import socket
import struct
import time

from cases import BIDI, HELLO, UNARY, Arena, Case, call, headers, hello_call, ids, raw
from wire import (ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HAS_PRIORITY, HEADERS, PADDED, PING, PREFACE,
                  PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, data, frame, goaway, literal_block, lpm, msg,
                  outcome, parse_msg, ping, request, rst, settings, window_update)


def many_messages(n: int, pad: int | None = None, payload: bytes = b"", path: str = "/fault.Echo/ClientStream"):
    """`n` messages, each in a DATA frame of its own."""
    def play(arena: Arena) -> str:
        peer = arena.dial()
        peer.wait(lambda: peer.settings)
        peer.send(peer.headers(1, request(path)))
        one = data(1, lpm(payload), pad=pad)
        if not peer.flow(1, (one for _ in range(n)), len(one) - 9):
            return outcome(peer, 1, 1) + " WHILE SENDING"
        peer.send(data(1, end=True))
        seen = outcome(peer, 1, 60)
        if seen == "OK" and parse_msg(peer.stream(1).messages[0])[1] != n:
            return "OK BUT WRONG"
        return seen

    return play


def empty_data_in_calls(calls: int, each: int):
    def play(arena: Arena) -> str:
        peer = arena.dial()
        for i in ids(calls):
            peer.send(headers(i) + data(i) * each + data(i, HELLO, True))
            seen = outcome(peer, i)
            if seen != "OK":
                return f"{seen} AT STREAM {i}"
        return "OK"

    return play


def many_cancels(n: int):
    """Server-streaming calls, cancelled when the first answer came."""
    def play(arena: Arena) -> str:
        peer = arena.dial(hello=PREFACE + settings((4, 2_000)) + window_update(0, 1 << 24), windows=False)
        block = literal_block(request("/fault.Echo/ServerStream"))
        for i in ids(n):
            peer.send(headers(i, block) + data(i, lpm(msg("x", 100_000)), True))
            stream = peer.stream(i)
            peer.wait(lambda: stream.messages or stream.done)
            if not peer.send(rst(i)) or peer.closed:
                return outcome(peer, 99_999)
        return hello_call(peer, 2 * n + 1)

    return play


def cancels_at_once(n: int):
    def play(arena: Arena) -> str:
        peer = arena.dial()
        body = lpm(msg("sleep:200"))
        peer.send(b"".join(headers(i) + data(i, body, True) for i in ids(n)))
        time.sleep(0.1)
        peer.send(b"".join(rst(i) for i in ids(n)))
        return hello_call(peer, 2 * n + 1)

    return play


def at_once(n: int):
    def play(arena: Arena) -> str:
        peer = arena.dial()
        peer.send(b"".join(headers(i) + data(i, HELLO, True) for i in ids(n)))
        seen = {outcome(peer, i) for i in ids(n)}
        return seen.pop() if len(seen) == 1 else f"MIXED {sorted(seen)}"

    return play


def between(noise: bytes):
    """An ordinary call with `noise` before, between and after its frames."""
    def play(arena: Arena) -> str:
        peer = arena.dial()
        peer.send(noise + headers(1) + noise + data(1, HELLO[:3]) + noise + data(1, HELLO[3:], True) + noise)
        seen = outcome(peer, 1)
        return "OK BUT WRONG" if seen == "OK" and peer.stream(1).messages != [msg("hello")] else seen

    return play


def goaway_from_client(arena: Arena) -> str:
    peer = arena.dial()
    peer.call(1, body=lpm(msg("sleep:100")))
    peer.send(goaway(0))
    return outcome(peer, 1)


def pinged(arena: Arena) -> str:
    peer = arena.dial()
    peer.call(1, "/fault.Echo/Bidi", end=False)
    peer.wait(lambda: peer.stream(1).messages)
    if not peer.alive():
        return "NO PONG"
    peer.send(data(1, end=True))
    return outcome(peer, 1)


def split_block(pieces: int):
    def play(arena: Arena) -> str:
        peer = arena.dial()
        cuts = [len(UNARY) * i // pieces for i in range(pieces + 1)]
        out = b""
        for i in range(pieces):
            last = END_HEADERS if i == pieces - 1 else 0
            out += frame(CONTINUATION if i else HEADERS, last, 1, UNARY[cuts[i]:cuts[i + 1]])
        peer.send(out + data(1, HELLO, True))
        return outcome(peer, 1)

    return play


PRIO = struct.pack(">IB", 0, 15)
LEGAL = [
    Case("13", "100,000 messages of 0 bytes", "OK", many_messages(100_000)),
    Case("13", "1,000,000 messages of 0 bytes", "OK", many_messages(1_000_000), slow=True),
    Case("13", "20,000 messages of 2 bytes", "OK", many_messages(20_000, payload=b"\x10\x01")),
    Case("13", "2,000 messages with 255 bytes of padding", "OK", many_messages(2_000, 255)),
    Case("13", "1,000 messages with 0 bytes of padding", "OK", many_messages(1_000, 0)),
    Case("13", "an empty DATA frame in each of 150 calls", "OK", empty_data_in_calls(150, 1)),
    Case("13", "20 empty DATA frames in each of 40 calls", "OK", empty_data_in_calls(40, 20)),
    Case("13", "1,050 cancels on one connection", "OK", many_cancels(1_050)),
    Case("13", "100 cancels at once", "OK", cancels_at_once(100)),
    Case("13", "100 calls at once", "OK", at_once(100)),
    Case("13", "199 calls at once", "OK", at_once(199)),
    *[Case("13", f"{name} between the frames", "OK", between(noise)) for name, noise in [
        ("PRIORITY on the stream", frame(PRIORITY, 0, 1, PRIO)),
        ("PRIORITY on an idle stream", frame(PRIORITY, 0, 77, PRIO)),
        ("unknown frames", frame(0xAA, 0xFF, 0, b"what?")),
        ("unknown frames, empty", frame(0xAB, 0xFF, 0, b"")),
        ("unknown frames of 16 KiB", frame(0xAC, 0, 0, bytes(16_384))),
        ("unknown SETTINGS", settings((0xFFFF, 7), (0x0A0A, 9))),
        ("SETTINGS with unknown flags", frame(SETTINGS, 0xFE, 0, b"")),
        ("WINDOW_UPDATE of 1", window_update(0, 1)),
        ("the reserved bit", frame(WINDOW_UPDATE, 0, 0x80000000, struct.pack(">I", 0x80000001))),
        ("PING ACK nobody asked for", ping(flags=ACK)),
    ]],
    raw("13", "a header table of 0", "OK", settings((1, 0)), lambda p: p.headers(1, request()) + data(1, HELLO, True)),
    raw("13", "a header table of 2^32-1", "OK", settings((1, 0xFFFFFFFF)),
        lambda p: p.headers(1, request()) + data(1, HELLO, True)),
    raw("13", "the largest MAX_FRAME_SIZE", "OK", settings((5, 16_777_215)), headers(1) + data(1, HELLO, True)),
    raw("13", "MAX_CONCURRENT_STREAMS 0 from a client", "OK", settings((3, 0)), headers(1) + data(1, HELLO, True)),
    raw("13", "a tiny MAX_HEADER_LIST_SIZE, not in force", "OK", settings((6, 4_000)), headers(1) + data(1, HELLO, True)),
    raw("13", "padded HEADERS", "OK", frame(HEADERS, END_HEADERS | PADDED, 1, b"\x09" + UNARY + bytes(9)) + data(1, HELLO, True)),
    raw("13", "PRIORITY in HEADERS", "OK",
        frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, PRIO + UNARY) + data(1, HELLO, True)),
    raw("13", "padding and PRIORITY in HEADERS", "OK",
        frame(HEADERS, END_HEADERS | PADDED | HAS_PRIORITY, 1, b"\xff" + PRIO + UNARY + bytes(255)) + data(1, HELLO, True)),
    raw("13", "unknown flags on HEADERS and DATA", "OK",
        frame(HEADERS, END_HEADERS | 0xD2, 1, UNARY) + frame(DATA, END_STREAM | 0xF6, 1, HELLO)),
    raw("13", "a stream id far ahead", "OK", headers(9_001) + data(9_001, HELLO, True), stream=9_001),
    raw("13", "the last stream id", "OK", headers(0x7FFFFFFF) + data(0x7FFFFFFF, HELLO, True), stream=0x7FFFFFFF,
        goes_on=False),
    raw("13", "END_STREAM in an empty frame", "OK", headers(1) + data(1, HELLO) + data(1, end=True)),
    raw("13", "END_STREAM in a padded empty frame", "OK", headers(1) + data(1, HELLO) + data(1, end=True, pad=20)),
    Case("13", "a header block in 2 frames", "OK", split_block(2)),
    Case("13", "a header block in 4 frames", "OK", split_block(4)),
    Case("13", "GOAWAY from the client, then its call ends", "OK", goaway_from_client, goes_on=False),
    Case("13", "PING in the middle of a call", "OK", pinged),
    call("13", "no te", "OK", fields=request(drop=["te"])),
    call("13", "a field in upper-case value", "OK", fields=request(x_shout="HELLO")),
    call("13", "an empty field value", "OK", fields=request(x_empty="")),
    call("13", "priority and cookie fields", "OK", fields=request("/fault.Echo/Unary", ("priority", "u=1"), ("cookie", "a=b"))),
    call("13", "an empty message", "OK", body=lpm(b"")),
    call("13", "a message of 3 MiB", "OK", body=lpm(msg("x" * (3 << 20))), timeout=20, memory_mib=128),
    call("13", "a message of just 4 MiB", "OK", body=lpm(msg("x" * ((4 << 20) - 5))), timeout=20, memory_mib=128),
]


# --- 14: pieces ----------------------------------------------------------------------------------------------------


def one_byte_frames(path: str, messages: int):
    def play(arena: Arena) -> str:
        peer = arena.dial()
        body = lpm(msg("split me")) * messages
        frames = b"".join(data(1, bytes([b]), i == len(body) - 1) for i, b in enumerate(body))
        peer.send(peer.headers(1, request(path)) + frames)
        return outcome(peer, 1)

    return play


def two_frames(cut: int):
    return raw("14", f"split after byte {cut}", "OK", headers(1) + data(1, HELLO[:cut]) + data(1, HELLO[cut:], True))


def byte_by_byte(arena: Arena) -> str:
    peer = arena.dial(hello=b"", windows=False, acks=False)
    for byte in PREFACE + settings() + headers(1) + data(1, HELLO[:2]) + data(1) + data(1, HELLO[2:], True):
        peer.send(bytes([byte]))
        time.sleep(0.0005)
    return outcome(peer, 1)


PIECES = [
    *[two_frames(cut) for cut in range(1, len(HELLO))],
    *[Case("14", f"1-byte frames to {path}, {n} messages", "OK", one_byte_frames(f"/fault.Echo/{path}", n))
      for path, n in (("Unary", 1), ("ClientStream", 50), ("Bidi", 50), ("ServerStream", 1))],
    Case("14", "a byte at a time over TCP", "OK", byte_by_byte),
    raw("14", "ten messages in one frame", "OK",
        lambda p: p.headers(1, request("/fault.Echo/ClientStream")) + data(1, HELLO * 10, True)),
    raw("14", "a message and a half, then the rest", "OK",
        lambda p: p.headers(1, request("/fault.Echo/ClientStream")) + data(1, HELLO + HELLO[:6]) + data(1, HELLO[6:], True)),
]


# --- 15, 16: wrong frames ------------------------------------------------------------------------------------------

SIZE, PROTOCOL, FLOW = "GOAWAY:6", "GOAWAY:1", "GOAWAY:3"


def wrong_length(kind: int, name: str, lengths: list[int], stream: int, during_call: bool = True, flags: int = 0):
    return [raw("15", f"{name} of {n} bytes", SIZE, frame(kind, flags, stream, bytes(n)), during_call=during_call, stream=9_999)
            for n in lengths]


def hpack_case(name: str, block: bytes) -> Case:
    return raw("15a", name, "GOAWAY:9", headers(1, block, True))


def junk(name: str, said: bytes) -> Case:
    """Anything that is not HTTP/2: closed within a second, whatever is said."""
    def play(arena: Arena) -> str:
        with socket.create_connection(arena.server.address, timeout=1.0) as sock:
            start = time.monotonic()
            try:
                sock.sendall(said)
                while sock.recv(65_536):
                    if time.monotonic() - start > 1.0:
                        return "OPEN AFTER A SECOND"
            except TimeoutError:
                return "OPEN AFTER A SECOND"
            except OSError:
                pass
        return "CLOSED"

    return Case("15b", name, "CLOSED", play)


def over_the_limit(arena: Arena) -> str:
    peer = arena.dial()
    peer.wait(lambda: peer.settings)
    limit = peer.settings.get(3, 200)
    body = lpm(msg("sleep:700"))
    peer.send(b"".join(headers(i) + data(i, body, True) for i in ids(limit + 20)))
    seen = [outcome(peer, i, 20) for i in ids(limit + 20)]
    if set(seen[:limit]) != {"OK"}:
        return f"WITHIN THE LIMIT {sorted(set(seen[:limit]))}"
    return seen[-1] if len(set(seen[limit:])) == 1 else f"MIXED {sorted(set(seen[limit:]))}"


WRONG = [
    *wrong_length(PRIORITY, "PRIORITY", [0, 4, 6], 1),
    *wrong_length(RST_STREAM, "RST_STREAM", [0, 3, 5], 1),
    *wrong_length(SETTINGS, "SETTINGS", [1, 5, 7], 0),
    *wrong_length(SETTINGS, "SETTINGS ACK", [6], 0, flags=ACK),
    *wrong_length(PING, "PING", [0, 7, 9], 0),
    *wrong_length(GOAWAY, "GOAWAY", [0, 7], 0),
    *wrong_length(WINDOW_UPDATE, "WINDOW_UPDATE", [0, 3, 5], 0),
    *wrong_length(WINDOW_UPDATE, "WINDOW_UPDATE on a stream", [5], 1),
    *wrong_length(DATA, "DATA", [16_385, 20_000, 65_536], 1),
    *wrong_length(HEADERS, "HEADERS", [16_385], 3, flags=END_HEADERS),
    *wrong_length(0xEE, "unknown frame", [16_385], 0),
    raw("15", "a frame of 2^24-1 announced", SIZE, frame(DATA, 0, 1, b"x", length=0xFFFFFF), during_call=True, stream=9_999),
    raw("15", "SETTINGS window 2^31", FLOW, settings((4, 0x80000000))),
    raw("15", "SETTINGS window 2^32-1", FLOW, settings((4, 0xFFFFFFFF))),
    raw("15", "SETTINGS window 2^31 in the preface", FLOW, hello=PREFACE + settings((4, 0x80000000))),
    raw("15", "MAX_FRAME_SIZE 16,383", PROTOCOL, settings((5, 16_383))),
    raw("15", "MAX_FRAME_SIZE 0", PROTOCOL, settings((5, 0))),
    raw("15", "MAX_FRAME_SIZE 2^24", PROTOCOL, settings((5, 1 << 24))),
    raw("15", "ENABLE_PUSH 2", PROTOCOL, settings((2, 2))),
    raw("15", "an even stream", PROTOCOL, headers(2) + data(2, HELLO, True), stream=2),
    raw("15", "stream 0", PROTOCOL, headers(0)),
    raw("15", "a lower stream", PROTOCOL, headers(5, BIDI), headers(3) + data(3, HELLO, True), stream=3),
    raw("15", "a much lower stream", PROTOCOL, headers(1_001, BIDI), headers(7) + data(7, HELLO, True), stream=7),
    raw("15", "DATA on stream 0", PROTOCOL, data(0, b"x")),
    raw("15", "RST_STREAM on stream 0", PROTOCOL, rst(0)),
    raw("15", "PRIORITY on stream 0", PROTOCOL, frame(PRIORITY, 0, 0, PRIO)),
    raw("15", "SETTINGS on a stream", PROTOCOL, frame(SETTINGS, 0, 1), during_call=True, stream=9_999),
    raw("15", "PING on a stream", PROTOCOL, frame(PING, 0, 1, bytes(8)), during_call=True, stream=9_999),
    raw("15", "GOAWAY on a stream", PROTOCOL, frame(GOAWAY, 0, 1, bytes(8)), during_call=True, stream=9_999),
    raw("15", "PUSH_PROMISE from a client", PROTOCOL, frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">I", 2) + UNARY),
        during_call=True, stream=9_999),
    raw("15", "DATA inside a header block", PROTOCOL, headers(1, UNARY[:9], flags=0) + data(1, b"x")),
    raw("15", "PING inside a header block", PROTOCOL, headers(1, UNARY[:9], flags=0) + ping()),
    raw("15", "HEADERS inside a header block", PROTOCOL, headers(1, UNARY[:9], flags=0) + headers(3)),
    raw("15", "CONTINUATION of another stream", PROTOCOL, headers(1, UNARY[:9], flags=0) + frame(CONTINUATION, 4, 3, UNARY[9:])),
    raw("15", "CONTINUATION after the end", PROTOCOL, headers(1, BIDI), frame(CONTINUATION, END_HEADERS, 1, b"")),
    raw("15", "DATA with more padding than frame", PROTOCOL, frame(DATA, PADDED, 1, b"\x09abc"), during_call=True, stream=9_999),
    raw("15", "HEADERS with more padding than frame", PROTOCOL, frame(HEADERS, END_HEADERS | PADDED, 1, b"\xf0" + UNARY[:20])),
    raw("15", "DATA padded, of 0 bytes", "GOAWAY:1 | GOAWAY:6", frame(DATA, PADDED, 1, b""), during_call=True, stream=9_999),
    raw("15", "a stream that depends on itself", "RST:1 | GOAWAY:1 | OK",
        frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, struct.pack(">IB", 1, 1) + UNARY) + data(1, HELLO, True)),
    hpack_case("index 0", b"\x80"),
    hpack_case("index 62 in an empty table", UNARY + b"\xbe"),
    hpack_case("a huge index", UNARY + b"\xff\x80\x80\x10"),
    hpack_case("an index without end", UNARY + b"\xff" + b"\xff" * 20),
    hpack_case("Huffman padding of zeros", UNARY + b"\x00\x81\x00\x01v"),
    hpack_case("Huffman padding of more than 7 bits", UNARY + b"\x00\x01a\x82\xff\xff"),
    hpack_case("Huffman EOS", UNARY + b"\x00\x01a\x84\xff\xff\xff\xff"),
    hpack_case("a table size over the limit", b"\x3f\xe1\xff\x03" + UNARY),
    hpack_case("a table size update at the end", UNARY + b"\x20"),
    hpack_case("a truncated block", UNARY[:-4]),
    hpack_case("a string longer than the block", UNARY + b"\x00\x7f\xff\x7fname"),
    junk("GET over HTTP/1.1", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    junk("POST over HTTP/1.0", b"POST /fault.Echo/Unary HTTP/1.0\r\nContent-Length: 0\r\n\r\n"),
    junk("an Upgrade request", b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                               b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"),
    junk("a wrong preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX" + settings()),
    junk("a preface of HTTP/3", b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n" + settings()),
    junk("frames without a preface", settings() + headers(1) + data(1, HELLO, True)),
    junk("random bytes", os.urandom(4096)),
    junk("zeros", bytes(4096)),
    junk("a TLS hello", bytes.fromhex("16030100dc010000d80303") + os.urandom(220)),
    junk("no SETTINGS after the preface", PREFACE + headers(1) + data(1, HELLO, True)),
    raw("15c", "request trailers", "OK", lambda p: p.headers(1, request()) + data(1, HELLO) + p.headers(1, [(b"x-t", b"v")], True)),
    raw("15c", "trailers in a client stream", "OK",
        lambda p: p.headers(1, request("/fault.Echo/ClientStream")) + data(1, HELLO) + p.headers(1, [(b"x-t", b"v")], True)),
    raw("15c", "trailers without END_STREAM", "RST:1",
        lambda p: p.headers(1, request()) + data(1, HELLO) + p.headers(1, [(b"x-t", b"v")])),
    Case("16", "20 streams over the limit", "RST:7", over_the_limit),
]

CASES = [*LEGAL, *PIECES, *WRONG]
