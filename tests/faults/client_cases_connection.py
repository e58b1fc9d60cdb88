"""Rows 42, 43, 47 and 48: what becomes of a connection, and of the calls on it."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time

from hostile import REPLY, ClientCase, Script, first_then_good, good, head, on_request, serve, tail
from wire import (ACK, CONTINUATION, DATA, END_HEADERS, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIORITY, PUSH_PROMISE,
                  RST_STREAM, SETTINGS, WINDOW_UPDATE, Peer, as_fields, data, frame, goaway, literal_block, lpm, msg, ping, rst,
                  settings, window_update)

LAST = (1 << 31) - 1


def said(answer) -> Script:
    """A connection that answers requests with `answer(stream)`."""
    return on_request(lambda peer, stream: answer(stream))


def then_close(answer, reset: bool = False) -> Script:
    def script(peer: Peer, number: int) -> None:
        def respond(p: Peer, stream: int) -> bytes:
            p.send(answer(stream))
            if reset:
                # a blocked read would keep the socket alive past its close
                p.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                p.sock.shutdown(socket.SHUT_RD)
                p.reader.join(5)
                p.sock.close()
            else:
                p.close()
            return b""

        serve(peer, respond)

    return script


def leave_then_answer(*goaways: bytes) -> Script:
    """GOAWAY while a call runs, then its answer."""
    return said(lambda i: b"".join(goaways) + good(i))


def split_calls(peer: Peer, number: int) -> None:
    """Two calls: the first is within the GOAWAY's last id, the second is not."""
    if number:
        return serve(peer, lambda p, i: good(i))
    peer.wait(lambda: len([s for s in peer.streams.values() if s.ended]) >= 2)
    peer.send(goaway(1))
    time.sleep(0.1)
    peer.send(good(1))
    peer.wait_closed(5)


DRAIN = [
    ClientCase("42", "GOAWAY 1, then the answer", "OK", leave_then_answer(goaway(1)), connections=1),
    ClientCase("42", "GOAWAY 2^31-1, then the answer", "OK", leave_then_answer(goaway(LAST)), connections=1),
    ClientCase("42", "GOAWAY twice, as servers do", "OK", leave_then_answer(goaway(LAST), goaway(1)), connections=1),
    ClientCase("42", "GOAWAY with a text", "OK", leave_then_answer(goaway(1, 0, b"max_age")), connections=1),
    ClientCase("42", "GOAWAY 0: sent again", "OK", first_then_good(said(lambda i: goaway(0)))),
    ClientCase("42", "GOAWAY 0 and closed: sent again", "OK", first_then_good(then_close(lambda i: goaway(0)))),
    ClientCase("42", "GOAWAY 0 with a code: sent again", "OK", first_then_good(then_close(lambda i: goaway(0, 2)))),
    ClientCase("42", "GOAWAY between two calls", "OK", split_calls, order={"calls": 2, "concurrent": 1}),
    ClientCase("42", "GOAWAY after each answer", "OK", said(lambda i: good(i) + goaway(i)), order={"calls": 5}),
    ClientCase("42", "GOAWAY after each answer, then closed", "OK", then_close(lambda i: good(i) + goaway(i)), order={"calls": 5}),
    ClientCase("42", "GOAWAY in the middle of an answer", "OK", said(lambda i: head(i) + goaway(i) + data(i, REPLY) + tail(i)), connections=1),
    ClientCase("42", "a stream goes on past GOAWAY", "OK",
               said(lambda i: head(i) + goaway(i) + data(i, REPLY) * 50 + tail(i)), order={"method": "ServerStream"}, connections=1),
    ClientCase("42", "REFUSED_STREAM once: sent again", "OK", lambda p, n: serve(p, refuse_first()), connections=2),
    ClientCase("42", "GOAWAY 1, then closed without an answer", "UNAVAILABLE", then_close(lambda i: goaway(i))),
    ClientCase("43", "too_many_pings in a call", "UNAVAILABLE", then_close(lambda i: goaway(i, 11, b"too_many_pings")), text="too_many_pings"),
    ClientCase("43", "too_many_pings, then a new connection", "OK",
               first_then_good(then_close(lambda i: good(i) + goaway(i, 11, b"too_many_pings"))), order={"calls": 3}),
    *[ClientCase("43", f"GOAWAY code {code} in a call", "UNAVAILABLE", then_close(lambda i, code=code: goaway(i, code)))
      for code in (1, 2, 3, 6, 9, 12, 0xFFFF)],
]


def refuse_first():
    refused: list[int] = []

    def respond(peer: Peer, stream: int) -> bytes:
        if refused:
            return good(stream)
        refused.append(stream)
        return rst(stream, 7)

    return respond


# --- 47: the server breaks the connection's rules ------------------------------------------------------------------


def in_call(bad: bytes) -> Script:
    """Answers with the headers and then with something that ends the connection."""
    return said(lambda i: head(i) + bad)


def broken(name: str, bad: bytes, text: str = "", code: int | None = None) -> ClientCase:
    return ClientCase("47a", name, "UNAVAILABLE", in_call(bad), text=text, goaway=code, within=1.5, order={"timeout_ms": 5_000})


def wrong_length(kind: int, name: str, lengths: list[int], stream: int, flags: int = 0) -> list[ClientCase]:
    return [broken(f"{name} of {n} bytes", frame(kind, flags, stream, bytes(n)), name.split()[0], 6) for n in lengths]


def flood(name: str, one: bytes, n: int) -> ClientCase:
    def script(peer: Peer, number: int) -> None:
        def respond(p: Peer, stream: int) -> bytes:
            p.send(head(stream))
            for _ in range(n // 100):
                if not p.send(one * 100):
                    break
            return b""

        serve(peer, respond)

    return ClientCase("47", f"{name} flood", "UNAVAILABLE", script, goaway=11, order={"timeout_ms": 8_000}, within=6)


def hpack_case(name: str, raw: bytes) -> ClientCase:
    return ClientCase("47a", f"HPACK: {name}", "UNAVAILABLE", said(lambda i: frame(HEADERS, END_HEADERS, i, raw)), text="HEADERS",
                      within=1.5, order={"timeout_ms": 5_000})


HEAD = literal_block(as_fields([(":status", "200"), ("content-type", "application/grpc")]))
BROKEN = [
    ClientCase("47", "PUSH_PROMISE", "UNAVAILABLE", in_call(frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">I", 2) + HEAD)),
               goaway=1, text="PUSH_PROMISE", within=1.5),
    ClientCase("47", "PUSH_PROMISE on stream 0", "UNAVAILABLE", in_call(frame(PUSH_PROMISE, END_HEADERS, 0, struct.pack(">I", 2) + HEAD)),
               goaway=1, within=1.5),
    flood("PING", ping(), 20_000), flood("PING ACK", ping(flags=ACK), 20_000), flood("SETTINGS", settings(), 20_000),
    flood("SETTINGS ACK", settings(flags=ACK), 20_000), flood("PRIORITY", frame(PRIORITY, 0, 1, bytes(5)), 20_000),
    flood("WINDOW_UPDATE", window_update(0, 1), 60_000), flood("unknown frame", frame(0xEE, 0, 0, b"x"), 20_000),
    flood("empty DATA", data(1), 20_000),
    *wrong_length(PING, "PING", [0, 7, 9], 0), *wrong_length(SETTINGS, "SETTINGS", [1, 5, 7], 0),
    *wrong_length(SETTINGS, "SETTINGS ACK", [6], 0, ACK), *wrong_length(GOAWAY, "GOAWAY", [0, 7], 0),
    *wrong_length(WINDOW_UPDATE, "WINDOW_UPDATE", [0, 3, 5], 0), *wrong_length(RST_STREAM, "RST_STREAM", [0, 3, 5], 1),
    *wrong_length(PRIORITY, "PRIORITY", [4, 6], 1), *wrong_length(DATA, "DATA", [16_385, 65_536], 1),
    *wrong_length(0xEE, "unknown", [16_385], 0),
    broken("DATA on stream 0", data(0, b"x"), "DATA", 1), broken("HEADERS on stream 0", frame(HEADERS, END_HEADERS, 0, HEAD), "HEADERS", 1),
    broken("RST_STREAM on stream 0", rst(0), "RST_STREAM", 1), broken("DATA on an idle stream", data(99, b"x"), "DATA", 1),
    broken("HEADERS on an idle stream", frame(HEADERS, END_HEADERS, 99, HEAD), "HEADERS", 1),
    broken("HEADERS on an even stream", frame(HEADERS, END_HEADERS, 2, HEAD), "HEADERS", 1),
    broken("WINDOW_UPDATE on an idle stream", window_update(99, 1), "WINDOW_UPDATE", 1), broken("RST_STREAM on an idle stream", rst(99), "RST_STREAM", 1),
    broken("SETTINGS on a stream", frame(SETTINGS, 0, 1), "SETTINGS", 1), broken("PING on a stream", frame(PING, 0, 1, bytes(8)), "PING", 1),
    broken("GOAWAY on a stream", frame(GOAWAY, 0, 1, bytes(8)), "GOAWAY", 1),
    broken("CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1, b""), "CONTINUATION", 1),
    broken("a frame inside a header block", frame(HEADERS, 0, 1, b"") + ping(), "PING", 1),
    broken("DATA with too much padding", frame(DATA, PADDED, 1, b"\x99abc"), "DATA", 1),
    broken("WINDOW_UPDATE of 0 on the connection", window_update(0, 0), "WINDOW_UPDATE", 1),
    broken("the connection's window overflows", window_update(0, LAST) * 2, "WINDOW_UPDATE", 3),
    broken("SETTINGS window 2^31", settings((4, 1 << 31)), "SETTINGS", 3), broken("MAX_FRAME_SIZE 1", settings((5, 1)), "SETTINGS", 1),
    broken("ENABLE_PUSH 5", settings((2, 5)), "SETTINGS", 1),
    hpack_case("index 0", b"\x80"), hpack_case("an empty table's index", HEAD + b"\xbe"), hpack_case("a huge index", b"\xff\x80\x80\x10"),
    hpack_case("bad Huffman padding", HEAD + b"\x00\x81\x00\x01v"), hpack_case("a table size over the limit", b"\x3f\xe1\xff\x03" + HEAD),
    hpack_case("a truncated block", HEAD[:-3]), hpack_case("a string past the end", HEAD + b"\x00\x7f\xff\x7fname"),
    ClientCase("47a", "WINDOW_UPDATE of 0 on a stream", "INTERNAL | UNAVAILABLE", said(lambda i: head(i) + window_update(i, 0)), within=1.5),
    # our side of the stream has ended, so nobody counts its window any more
    ClientCase("47a", "the stream's window overflows", "OK | INTERNAL | UNAVAILABLE",
               said(lambda i: head(i) + window_update(i, LAST) + data(i, REPLY) + tail(i)), within=1.5),
    ClientCase("47a", "a content-length too small", "INTERNAL", said(lambda i: head(i, ("content-length", "3")) + data(i, REPLY) + tail(i)), within=1.5),
    *[ClientCase("47a", name, "INTERNAL | UNAVAILABLE", said(lambda i, field=field: head(i, field) + data(i, REPLY) + tail(i)), within=1.5)
      for name, field in (("an upper-case name", ("X-Upper", "v")), ("LF in a value", ("x-v", b"a\nb")), ("NUL in a value", ("x-v", b"a\0b")),
                          ("connection: close", ("connection", "close")), ("an unknown pseudo-header", (":what", "v")),
                          ("a request's pseudo-header", (":path", "/x")))],
]


# --- 47b, 47c: SETTINGS, and GOAWAY without calls ------------------------------------------------------------------


def later(first: bytes, then: bytes, after: float = 0.3) -> Script:
    """Sends `first` at once and `then` a little later; answers calls."""
    def script(peer: Peer, number: int) -> None:
        peer.send(first)
        timer = threading.Timer(after, lambda: peer.send(then))
        timer.daemon = True
        timer.start()
        serve(peer, lambda p, i: good(i))

    return script


def drip(peer: Peer, number: int) -> None:
    """Window for the request's body, one byte at a time."""
    peer.wait(lambda: peer.streams)
    for _ in range(12):
        time.sleep(0.01)
        peer.send(window_update(1, 1))
    serve(peer, lambda p, i: good(i))


def shrink(peer: Peer, number: int) -> None:
    """The window shrinks below zero while a request is being sent, and opens again."""
    peer.wait(lambda: peer.streams and len(peer.stream(1).body) > 0)
    peer.send(settings((4, 0)))
    time.sleep(0.2)
    peer.send(settings((4, 1 << 20)) + window_update(1, 1 << 20) + window_update(0, 1 << 20))
    serve(peer, lambda p, i: good(i))


def hello(*pairs: tuple[int, int]) -> bytes:
    return settings(*pairs)


LONG = "y" * 60_000
SETTINGS_ROWS = [
    ClientCase("47b", "MAX_CONCURRENT_STREAMS 0", "DEADLINE_EXCEEDED", on_request(lambda p, i: good(i)), hello=hello((3, 0)), order={"timeout_ms": 500}),
    ClientCase("47b", "MAX_CONCURRENT_STREAMS 0, raised later", "OK", later(b"", settings((3, 10))), hello=hello((3, 0))),
    ClientCase("47b", "MAX_CONCURRENT_STREAMS 1, 20 calls", "OK", on_request(lambda p, i: good(i)), hello=hello((3, 1)),
               order={"calls": 20, "concurrent": 1}, connections=1, within=5),
    ClientCase("47b", "MAX_CONCURRENT_STREAMS 7, 100 calls", "OK", on_request(lambda p, i: good(i)), hello=hello((3, 7)),
               order={"calls": 100, "concurrent": 1, "timeout_ms": 8_000}, connections=1, within=8),
    ClientCase("47b", "MAX_CONCURRENT_STREAMS falls to 0 and rises", "OK", later(settings((3, 0)), settings((3, 100))), hello=hello((3, 100)),
               order={"calls": 5, "concurrent": 1}),
    ClientCase("47b", "window 0", "DEADLINE_EXCEEDED", on_request(lambda p, i: good(i)), hello=hello((4, 0)), order={"timeout_ms": 500}),
    ClientCase("47b", "window 0, raised later", "OK", later(b"", settings((4, 65_535))), hello=hello((4, 0))),
    ClientCase("47b", "window 0, opened by WINDOW_UPDATE", "OK", later(b"", window_update(1, 1_000)), hello=hello((4, 0))),
    ClientCase("47b", "window one byte at a time", "OK", drip, hello=hello((4, 0))),
    ClientCase("47b", "window shrinks in mid-call", "OK", shrink, hello=hello((4, 10_000)), order={"messages": LONG, "timeout_ms": 4_000}, within=4),
    ClientCase("47b", "connection window used up, opened later", "OK", later(b"", window_update(0, 1 << 20)), hello=hello((4, 1 << 20)),
               windows=False, order={"messages": LONG * 2, "timeout_ms": 4_000}, within=4),
    ClientCase("47b", "MAX_FRAME_SIZE 2^24-1", "OK", on_request(lambda p, i: good(i)), hello=hello((5, 16_777_215)), order={"messages": LONG}),
    ClientCase("47b", "a header table of 0", "OK", on_request(lambda p, i: good(i)), hello=hello((1, 0)), order={"calls": 3}),
    ClientCase("47b", "SETTINGS a second late", "OK", lambda p, n: late_settings(p), hello=b"", order={"timeout_ms": 4_000}, within=3),
    ClientCase("47b", "no SETTINGS at all", "DEADLINE_EXCEEDED | UNAVAILABLE", lambda p, n: p.wait_closed(5), hello=b"", order={"timeout_ms": 700}),
]


def late_settings(peer: Peer) -> None:
    time.sleep(1.0)
    peer.send(settings())
    serve(peer, lambda p, i: good(i))


def leave_at_once(peer: Peer, number: int) -> None:
    peer.send(goaway(0))
    peer.close()


def leave_and_stay(peer: Peer, number: int) -> None:
    peer.send(goaway(0))
    peer.wait_closed(5)


def close_at_once(peer: Peer, number: int) -> None:
    peer.close()


LEAVING = [
    ClientCase("47c", "GOAWAY with every connection", "UNAVAILABLE | DEADLINE_EXCEEDED", leave_at_once, order={"timeout_ms": 2_000}, within=3),
    ClientCase("47c", "GOAWAY with every connection, wait for ready", "DEADLINE_EXCEEDED", leave_at_once,
               order={"wait_for_ready": 1, "timeout_ms": 2_000}, within=3),
    ClientCase("47c", "GOAWAY with every connection, kept open", "UNAVAILABLE | DEADLINE_EXCEEDED", leave_and_stay, order={"timeout_ms": 2_000}, within=3),
    ClientCase("47c", "GOAWAY on the first connection only", "OK | UNAVAILABLE", first_then_good(leave_at_once), order={"timeout_ms": 4_000}, within=4),
    ClientCase("47c", "GOAWAY on the first connection only, wait for ready", "OK", first_then_good(leave_at_once),
               order={"wait_for_ready": 1, "timeout_ms": 4_000}, within=4),
    ClientCase("47c", "closed at once, always", "UNAVAILABLE", close_at_once, order={"timeout_ms": 2_000}, within=3),
    ClientCase("47c", "closed at once, always, wait for ready", "DEADLINE_EXCEEDED | UNAVAILABLE", close_at_once,
               order={"wait_for_ready": 1, "timeout_ms": 2_000}, within=3),
    ClientCase("47c", "closed at once, the first time", "OK | UNAVAILABLE", first_then_good(close_at_once), order={"wait_for_ready": 1, "timeout_ms": 5_000}, within=5),
]


# --- 48: lost ------------------------------------------------------------------------------------------------------


def say_raw(text: bytes, close: bool = True):
    def raw(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(text)
        if close:
            sock.close()
        else:
            time.sleep(5)

    return raw


def nothing(peer: Peer, number: int) -> None:
    peer.acks = False
    peer.wait_closed(60)


LOST = [
    *[ClientCase("48", f"closed {place}{' by a reset' if reset else ''}", "UNAVAILABLE", then_close(answer, reset), within=1.5)
      for reset in (False, True)
      for place, answer in (("after the request", lambda i: b""), ("after the headers", head), ("in a message", lambda i: head(i) + data(i, REPLY[:7])),
                            ("after the message", lambda i: head(i) + data(i, REPLY)), ("in a frame header", lambda i: head(i) + data(i, REPLY)[:5]),
                            ("in a frame", lambda i: head(i) + data(i, REPLY)[:12]), ("in a header block", lambda i: head(i)[:15]))],
    *[ClientCase("48", f"{n} calls, then closed", "UNAVAILABLE", (lambda p, k, n=n: close_after(p, n)),
                 order={"calls": n, "concurrent": 1, "timeout_ms": 5_000}, within=3) for n in (2, 20, 90)],
    ClientCase("48", "silent after SETTINGS", "DEADLINE_EXCEEDED", nothing, order={"timeout_ms": 700}, within=1.7),
    ClientCase("48", "silent after the headers", "DEADLINE_EXCEEDED", said(head), order={"timeout_ms": 700}, within=1.7),
    ClientCase("48", "silent after a message", "DEADLINE_EXCEEDED", said(lambda i: head(i) + data(i, REPLY)), order={"timeout_ms": 700, "method": "ServerStream"}, within=1.7),
    ClientCase("48", "accepted and silent", "DEADLINE_EXCEEDED | UNAVAILABLE", nothing, raw=lambda sock: time.sleep(5), order={"timeout_ms": 700}, within=1.7),
    ClientCase("48", "an HTTP/1.1 answer", "UNAVAILABLE", nothing, raw=say_raw(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")),
    ClientCase("48", "an HTTP/1.1 answer, kept open", "UNAVAILABLE", nothing, raw=say_raw(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", False)),
    ClientCase("48", "random bytes", "UNAVAILABLE", nothing, raw=say_raw(os.urandom(4_000))),
    ClientCase("48", "zeros", "UNAVAILABLE", nothing, raw=say_raw(bytes(4_000))),
    ClientCase("48", "a TLS alert", "UNAVAILABLE | DEADLINE_EXCEEDED", nothing, raw=say_raw(b"\x15\x03\x01\x00\x02\x02\x46")),
    ClientCase("48", "closed before a byte", "UNAVAILABLE", nothing, raw=lambda sock: sock.close()),
    ClientCase("48", "silent, found by keepalive", "UNAVAILABLE", nothing, slow=True, within=13,
               order={"timeout_ms": 30_000, "keepalive_ms": 10_000, "keepalive_timeout_ms": 1_000}),
]


def close_after(peer: Peer, n: int) -> None:
    peer.wait(lambda: len([s for s in peer.streams.values() if s.ended]) >= n)
    peer.close()


CASES: list[ClientCase] = [*DRAIN, *BROKEN, *SETTINGS_ROWS, *LEAVING, *LOST]
