"""Rows 1 to 12: the connection. Resets, header blocks, floods, silence, closed windows."""

from __future__ import annotations

import struct
import time

from cases import BIDI, HELLO, UNARY, Arena, Case, call, headers, ids, raw
from wire import (ACK, CANCEL, CONTINUATION, END_HEADERS, HEADERS, PREFACE, PRIORITY, data, frame, literal_block, lpm, msg,
                  outcome, ping, request, rst, settings, window_update)

# --- 1 to 4: resets and streams ------------------------------------------------------------------------------------


def rapid_reset(body: bytes, code: int):
    def play(arena: Arena) -> str:
        peer = arena.dial()
        burst = [headers(i) + (data(i, body, True) if body else b"") + rst(i, code) for i in ids(5_000)]
        for i in range(0, len(burst), 100):
            if not peer.send(b"".join(burst[i:i + 100])):
                break
        return outcome(peer, 99_999)

    return play


def paced_reset(arena: Arena) -> str:
    peer = arena.dial()
    body = lpm(msg("block:3000"))
    for i in ids(6_000):
        if not peer.send(headers(i) + data(i, body, True) + rst(i)) or peer.goaway:
            break
        time.sleep(0.0005)
    return outcome(peer, 99_999)


def made_you_reset(provoke):
    def play(arena: Arena) -> str:
        peer = arena.dial()
        for i in ids(400):
            if not peer.send(headers(i, BIDI) + provoke(i)) or peer.goaway:
                break
        return outcome(peer, 99_999)

    return play


def after_the_end(late: bytes, ended: str):
    """`late` on stream 1 after it was `answered`, `half-closed` or `reset`."""
    def play(arena: Arena) -> str:
        peer = arena.dial()
        if ended == "answered":
            peer.call(1)
            if outcome(peer, 1) != "OK":
                return "THE CALL WAS NOT ANSWERED"
        elif ended == "half-closed":
            peer.call(1, body=lpm(msg("sleep:300")))
            time.sleep(0.05)
        else:
            peer.send(headers(1) + rst(1))
            time.sleep(0.05)
        peer.send(late)
        stream = peer.stream(1)
        peer.wait(lambda: stream.reset is not None or peer.goaway, 1.0)
        if stream.reset is not None:
            return f"RST:{stream.reset}"
        if peer.goaway:
            return outcome(peer, 99_999)
        return "OK" if stream.get("grpc-status") == "0" else "IGNORED"

    return play


CLOSED = "RST:5 | RST:1 | GOAWAY:5 | GOAWAY:1"
STREAMS = [
    Case("1", "HEADERS and RST_STREAM in pairs", "GOAWAY:11", rapid_reset(b"", CANCEL)),
    Case("1", "HEADERS, DATA and RST_STREAM", "GOAWAY:11", rapid_reset(HELLO, CANCEL)),
    Case("1", "pairs with RST NO_ERROR", "GOAWAY:11", rapid_reset(b"", 0)),
    Case("2", "2,000 a second, handlers that do not listen", "GOAWAY:11", paced_reset),
    raw("3", "window overflow on a stream", "RST:3", headers(1, BIDI), window_update(1, 0x7FFFFFFF)),
    raw("3", "window overflow on the connection", "GOAWAY:3", window_update(0, 0x7FFFFFFF), window_update(0, 0x7FFFFFFF)),
    call("3", "content-length too small", "RST:1", fields=request(content_length="3")),
    call("3", "content-length too large", "RST:1", fields=request(content_length="300")),
    call("3", "content-length that is no number", "RST:1", fields=request(content_length="many")),
    call("3", "right content-length", "OK", fields=request(content_length=str(len(HELLO)))),
    Case("3", "window overflows at a rate", "GOAWAY:11", made_you_reset(lambda i: window_update(i, 0x7FFFFFFF))),
    Case("3", "wrong content-lengths at a rate", "GOAWAY:11", lambda arena: wrong_lengths(arena)),
    Case("3", "window updates of 0 at a rate", "GOAWAY:11 | GOAWAY:1", made_you_reset(lambda i: window_update(i, 0))),
    raw("4", "WINDOW_UPDATE of 0 on a stream", "RST:1 | GOAWAY:1", window_update(1, 0), during_call=True),
    raw("4", "WINDOW_UPDATE of 0 on the connection", "GOAWAY:1", window_update(0, 0)),
    raw("4", "DATA on an idle stream", "GOAWAY:1 | GOAWAY:5", data(5, HELLO), stream=5),
    raw("4", "DATA with END_STREAM on an idle stream", "GOAWAY:1 | GOAWAY:5", data(5, HELLO, True), stream=5),
    raw("4", "empty DATA on an idle stream", "GOAWAY:1 | GOAWAY:5", data(5), stream=5),
    raw("4", "WINDOW_UPDATE on an idle stream", "GOAWAY:1", window_update(5, 1), stream=5),
    raw("4", "RST_STREAM on an idle stream", "GOAWAY:1", rst(5), stream=7),
    raw("4", "CONTINUATION on an idle stream", "GOAWAY:1", frame(CONTINUATION, END_HEADERS, 5, UNARY), stream=5),
    Case("4", "DATA on an answered stream", CLOSED, after_the_end(data(1, b"late"), "answered")),
    Case("4", "DATA on a half-closed stream", CLOSED, after_the_end(data(1, b"late"), "half-closed")),
    Case("4", "DATA on a stream we reset", CLOSED + " | IGNORED", after_the_end(data(1, b"late"), "reset")),
    Case("4", "HEADERS on an answered stream", CLOSED, after_the_end(headers(1), "answered")),
    Case("4", "HEADERS on a half-closed stream", CLOSED, after_the_end(headers(1), "half-closed")),
    Case("4", "HEADERS on a stream we reset", CLOSED, after_the_end(headers(1), "reset")),
    Case("4", "WINDOW_UPDATE on an answered stream", "OK", after_the_end(window_update(1, 5), "answered")),
    Case("4", "RST_STREAM on an answered stream", "OK", after_the_end(rst(1), "answered")),
    Case("4", "PRIORITY on an answered stream", "OK", after_the_end(frame(PRIORITY, 0, 1, bytes(5)), "answered")),
]


def wrong_lengths(arena: Arena) -> str:
    peer = arena.dial()
    block = literal_block(request(content_length="3"))
    for i in ids(400):
        if not peer.send(headers(i, block) + data(i, HELLO, True)) or peer.goaway:
            break
    return outcome(peer, 99_999)


# --- 5 to 8: header blocks -----------------------------------------------------------------------------------------


def fields_of(total: int, each: int) -> list[tuple[str, str]]:
    """Metadata of about `total` bytes as HTTP/2 counts them, in fields of `each`."""
    return [(f"x-{i:05}", "v" * (each - 39)) for i in range(total // each)]


def continuation_flood(piece: bytes, n: int = 20_000):
    def play(arena: Arena) -> str:
        peer = arena.dial(acks=False)
        peer.send(headers(1, UNARY, flags=0))
        for _ in range(n // 100):
            if not peer.send(frame(CONTINUATION, 0, 1, piece) * 100):
                break
        return outcome(peer, 1)

    return play


def bomb(entry: tuple[bytes, bytes], references: int, streams: int = 1, window: int | None = None):
    """One entry in the dynamic table, then one byte for each time it is named."""
    def play(arena: Arena) -> str:
        hello = PREFACE + settings((2, 0), (4, window if window is not None else 1 << 20))
        peer = arena.dial(hello=hello)
        name, value = entry
        first = UNARY + b"\x40" + literal_block([(name, value)])[1:] + b"\xbe" * references
        later = UNARY + b"\xbe" * references
        for i, stream in enumerate(ids(streams)):
            block = later if i else first
            pieces = [block[k:k + 16_384] for k in range(0, len(block), 16_384)]
            out = b""
            for k, piece in enumerate(pieces):
                out += frame(CONTINUATION if k else HEADERS, END_HEADERS if k == len(pieces) - 1 else 0, stream, piece)
            if not peer.send(out + data(stream, HELLO, True)):
                break
        return outcome(peer, 1)

    return play


TOO_BIG = "S:8 | HTTP:431 | GOAWAY:11"
HEADER_BLOCKS = [
    Case("5", "CONTINUATION of one byte without end", "GOAWAY:11", continuation_flood(b"\0")),
    Case("5", "empty CONTINUATION without end", "GOAWAY:11", continuation_flood(b"")),
    Case("5", "CONTINUATION of 16 KiB without end", "GOAWAY:11", continuation_flood(bytes(16_384), 2_000), debt="GOAWAY:9"),
    *[call("6", f"{size} KiB of metadata", "S:8", fields=request("/fault.Echo/Unary", *fields_of(size << 10, each)))
      for size, each in ((17, 1024), (24, 2048), (32, 512), (48, 4096), (60, 1024))],
    *[call("6", f"{n} fields", "S:8", fields=request("/fault.Echo/Unary", *[(f"x-{i}", "v") for i in range(n)]))
      for n in (129, 160, 200, 300)],
    call("6", "one field of 40 KiB", "S:8", fields=request("/fault.Echo/Unary", ("x-one", "v" * 40_000))),
    call("6", "a name of 20 KiB", "S:8", fields=request("/fault.Echo/Unary", ("x" * 20_000, "v"))),
    call("6", "a path of 20 KiB", "S:8 | S:12", path="/fault.Echo/" + "U" * 20_000),
    call("6", "8 KiB of metadata", "OK", fields=request("/fault.Echo/Unary", *fields_of(8 << 10, 1024))),
    call("6", "15 KiB of metadata", "OK", fields=request("/fault.Echo/Unary", *fields_of(15 << 10, 1024))),
    call("6", "100 fields", "OK", fields=request("/fault.Echo/Unary", *[(f"x-{i}", "v") for i in range(100)])),
    *[call("7", f"{size} KiB of metadata", TOO_BIG, fields=request("/fault.Echo/Unary", *fields_of(size << 10, 4096)),
           memory_mib=16) for size in (70, 100, 180, 250, 300, 1_024, 4_096)],
    call("7", "one field of 100 KiB", TOO_BIG, fields=request("/fault.Echo/Unary", ("x-one", "v" * 100_000))),
    Case("8", "an entry of 3.9 KB named 16,000 times", TOO_BIG, bomb((b"x-bomb", b"v" * 3_900), 16_000), memory_mib=32),
    Case("8", "an entry of 3.9 KB named 200 times", TOO_BIG, bomb((b"x-bomb", b"v" * 3_900), 200), memory_mib=32),
    Case("8", "a tiny entry named 4,000 times", TOO_BIG, bomb((b"a", b""), 4_000), memory_mib=32),
    Case("8", "a tiny entry named 1,000 times", TOO_BIG, bomb((b"a", b""), 1_000), memory_mib=32),
    Case("8", "tiny entries on 100 streams, window 0", TOO_BIG, bomb((b"a", b""), 1_500, 100, 0), memory_mib=32, goes_on=False),
    Case("8", "crumbs of cookie", TOO_BIG, bomb((b"cookie", b""), 4_000, 10, 0), memory_mib=32, goes_on=False),
]


# --- 9 to 12: floods, silence, closed windows ----------------------------------------------------------------------


def flood(one: bytes, n: int, during_call: bool = False, reading: bool = True):
    def play(arena: Arena) -> str:
        peer = arena.dial()
        if during_call:
            peer.call(1, "/fault.Echo/Bidi", end=False)
            peer.wait(lambda: peer.stream(1).messages)
        for _ in range(n // 100):
            if not peer.send(one * 100):
                break
        return outcome(peer, 99_999)

    return play


CONTROL = "GOAWAY:11:too_many_control_frames"
FLOODS = [
    *[Case("9", f"{name} flood{', a call open' if busy else ''}", expect, flood(one, n, busy))
      for busy in (False, True)
      for name, one, n, expect in [
          ("PING", ping(), 20_000, "GOAWAY:11:too_many_pings"),
          ("PING ACK", ping(flags=ACK), 20_000, "GOAWAY:11:too_many_pings"),
          ("SETTINGS", settings(), 20_000, CONTROL),
          ("SETTINGS with entries", settings((4, 65_535), (3, 100)), 10_000, CONTROL),
          ("SETTINGS ACK", settings(flags=ACK), 20_000, CONTROL),
          ("PRIORITY", frame(PRIORITY, 0, 9, struct.pack(">IB", 0, 5)), 20_000, CONTROL),
          ("WINDOW_UPDATE", window_update(0, 1), 60_000, CONTROL),
          ("unknown frame", frame(0xFA, 0, 0, b"?"), 20_000, CONTROL),
          ("unknown frame on a stream", frame(0xFB, 0, 1, b"?"), 20_000, CONTROL),
      ]],
    Case("9", "WINDOW_UPDATE flood on a stream", CONTROL, flood(window_update(1, 1), 60_000, True)),
    Case("9", "empty DATA flood", "GOAWAY:11:too_many_empty_frames", flood(data(1), 20_000, True)),
    Case("9", "three PINGs too soon, no call", "GOAWAY:11:too_many_pings", flood(ping(), 100)),
]


def silent(said: bytes, drip: bytes = b""):
    """Says `said`, then one byte of `drip` a second; answers with the seconds until the end."""
    def play(arena: Arena) -> str:
        peer = arena.dial(hello=b"", windows=False, acks=False)
        start = time.monotonic()
        peer.send(said)
        while not peer.closed and time.monotonic() - start < 80:
            if drip:
                peer.send(drip[:1])
                drip_left.append(0)
            peer.wait_closed(1.0)
        return f"closed after {round(peer.closed_at - start)} s" if peer.closed else "HANG"

    drip_left: list[int] = []
    return play


def never_reading(one: bytes):
    """Floods and reads nothing: the server's memory must stay flat and the connection end in time."""
    def play(arena: Arena) -> str:
        peer = arena.dial(reading=False)
        peer.sock.settimeout(1.0)
        start = time.monotonic()
        while time.monotonic() - start < 75:
            try:
                peer.sock.sendall(one * 1_000)
            except TimeoutError:
                continue
            except OSError:
                return "closed in time"
        return "HANG"

    return play


def stalled_answers(arena: Arena) -> str:
    """Asks for answers and never reads a byte from the socket."""
    peer = arena.dial(reading=False, hello=PREFACE + settings((4, 0x7FFFFFFF)) + window_update(0, 0x7FFF0000 - 65_535))
    peer.send(b"".join(headers(i) + data(i, lpm(msg("size:1000000")), True) for i in ids(50)))
    start = time.monotonic()
    while time.monotonic() - start < 75:
        time.sleep(1)
        if not peer.send(window_update(0, 1)):
            return "closed in time"
    return "HANG"


def closes(around: int) -> str:
    return " | ".join(f"closed after {s} s" for s in (around - 1, around, around + 1))


SILENCE = [
    Case("11", "not a word", closes(20), silent(b""), slow=True),
    Case("11", "half a preface", closes(20), silent(PREFACE[:12]), slow=True),
    Case("11", "a preface and no SETTINGS", closes(20), silent(PREFACE), slow=True),
    Case("11", "a header block without end", closes(10), silent(PREFACE + settings() + headers(1, UNARY, flags=0)), slow=True),
    Case("11", "one header byte a second", closes(10),
         silent(PREFACE + settings() + frame(HEADERS, 0, 1, b"", length=200), b"\0"), slow=True),
    Case("10", "PING flood, nothing read", "closed in time", never_reading(ping()), slow=True),
    Case("10", "SETTINGS flood, nothing read", "closed in time", never_reading(settings((4, 70_000))), slow=True),
    Case("10", "bad calls, nothing read", "closed in time", never_reading(headers(1, BIDI, True)), slow=True),
    Case("10", "answers, nothing read", "closed in time", stalled_answers, slow=True, memory_mib=200),
]


def closed_window(text: str, window: int, calls: int, timeout: str = "500m", path: str = "/fault.Echo/Unary", n: int = 0):
    """Calls whose answers have no room; the outcome all of them share."""
    def play(arena: Arena) -> str:
        peer = arena.dial(hello=PREFACE + settings((4, window)), windows=False)
        block = literal_block(request(path, ("grpc-timeout", timeout)))
        peer.send(b"".join(headers(i, block) + data(i, lpm(msg(text, n)), True) for i in ids(calls)))
        seen = {outcome(peer, i, 4.0) for i in ids(calls)}
        return seen.pop() if len(seen) == 1 else f"MIXED {sorted(seen)}"

    return play


def byte_by_byte(arena: Arena) -> str:
    peer = arena.dial(hello=PREFACE + settings((4, 1)), windows=False)
    peer.call(1)
    stream = peer.stream(1)
    for i in range(1, len(HELLO) + 1):
        if not peer.wait(lambda: len(stream.body) >= i or stream.done, 2.0):
            return "HANG"
        peer.send(window_update(1, 1))
    seen = outcome(peer, 1)
    return seen if stream.messages == [msg("hello")] else f"{seen} BUT WRONG"


def window_opened_later(arena: Arena) -> str:
    peer = arena.dial(hello=PREFACE + settings((4, 0)), windows=False)
    peer.call(1)
    time.sleep(0.2)
    if peer.stream(1).body:
        return "DATA WITHOUT WINDOW"
    peer.send(settings((4, 65_535)))
    return outcome(peer, 1)


WINDOWS = [
    Case("12", "window 0 and a deadline", "S:4", closed_window("size:1000", 0, 1), goes_on=False),
    Case("12", "window 0, 200 streams", "S:4", closed_window("size:100000", 0, 199), goes_on=False),
    Case("12", "window 1, 100 streams", "S:4", closed_window("size:1000", 1, 100), goes_on=False),
    Case("12", "window 0, a stream of answers", "S:4", closed_window("hello", 0, 20, "500m", "/fault.Echo/ServerStream", 9), goes_on=False),
    Case("12", "window 0, an error needs none", "S:5", closed_window("fail:5:none", 0, 1, "5S"), goes_on=False),
    Case("12", "window 0, no answers need none", "OK", closed_window("x", 0, 1, "5S", "/fault.Echo/ServerStream", 0), goes_on=False),
    Case("12", "one byte at a time", "OK", byte_by_byte, goes_on=False),
    Case("12", "window opened by SETTINGS later", "OK", window_opened_later),
]

CASES = [*STREAMS, *HEADER_BLOCKS, *FLOODS, *SILENCE, *WINDOWS]
