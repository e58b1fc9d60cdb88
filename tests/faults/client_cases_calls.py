"""Rows 41 and 44 to 46, and odd but legal answers: what becomes of one call."""

from __future__ import annotations

import gzip
import struct
import zlib

from hostile import REPLY, ClientCase, answered, block, good, head, tail
from wire import (CONTINUATION, DATA, END_HEADERS, END_STREAM, HAS_PRIORITY, HEADERS, PADDED, PRIORITY, as_fields, data, frame,
                  literal_block, lpm, msg, ping, rst, settings, window_update)

CODES = ["OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
         "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
         "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"]
RESETS = {7: "UNAVAILABLE", 8: "CANCELLED", 11: "RESOURCE_EXHAUSTED", 12: "PERMISSION_DENIED"}

RESET = [
    answered("41", f"RST_STREAM {code} {place}", RESETS.get(code, "INTERNAL"), lambda i, code=code, said=said: said(i) + rst(i, code))
    for code in (*range(14), 0xFFFF)
    for place, said in (("at once", lambda i: b""), ("after the headers", head),
                        ("in the data", lambda i: head(i) + data(i, REPLY[:7])),
                        ("after the data", lambda i: head(i) + data(i, REPLY)))
]


def plain(i: int) -> bytes:
    return head(i) + data(i, REPLY)


STATUS = [
    *[answered("44", f"trailers-only {code}", name, lambda i, code=code: head(i, ("grpc-status", str(code)), end=True))
      for code, name in enumerate(CODES) if code],
    *[answered("44", f"trailers {code}", name, lambda i, code=code: head(i) + tail(i, str(code))) for code, name in enumerate(CODES) if code],
    answered("44", "a message, then NOT_FOUND", "NOT_FOUND", lambda i: plain(i) + tail(i, "5")),
    answered("44", "headers that end the stream", "UNKNOWN | INTERNAL", lambda i: head(i, end=True)),
    answered("44", "data that ends the stream", "UNKNOWN | INTERNAL", lambda i: head(i) + data(i, REPLY, True)),
    answered("44", "empty data that ends the stream", "UNKNOWN | INTERNAL", lambda i: plain(i) + data(i, end=True)),
    answered("44", "trailers without grpc-status", "UNKNOWN | INTERNAL", lambda i: plain(i) + block(i, ("x", "y"), end=True)),
    answered("44", "empty trailers", "UNKNOWN | INTERNAL", lambda i: plain(i) + block(i, end=True)),
    *[answered("44", f"grpc-status {value!r}", "UNKNOWN", lambda i, value=value: head(i) + tail(i, value))
      for value in ("abc", "", "17", "99", "-1", "1.0", "0x1", "999999999999", "5,5", "OK", "5 5")],
    *[answered("44", f"trailers-only grpc-status {value!r}", "UNKNOWN", lambda i, value=value: head(i, ("grpc-status", value), end=True))
      for value in ("abc", "17", "-5")],
    answered("44", "status in headers, then data and the end", "INTERNAL | UNKNOWN",
             lambda i: head(i, ("grpc-status", "0")) + data(i, REPLY, True)),
    answered("44", "status in headers, then trailers of another", "OK",
             lambda i: head(i, ("grpc-status", "5")) + data(i, REPLY) + tail(i, "0")),
    answered("44", "status in headers, then trailers without one", "INTERNAL | UNKNOWN",
             lambda i: head(i, ("grpc-status", "0")) + data(i, REPLY) + block(i, ("x", "y"), end=True)),
    answered("44", "two statuses that differ", "UNKNOWN", lambda i: plain(i) + tail(i, "0", ("grpc-status", "5"))),
    answered("44", "two statuses that differ, trailers-only", "UNKNOWN",
             lambda i: head(i, ("grpc-status", "5"), ("grpc-status", "7"), end=True)),
    answered("44", "two equal statuses", "NOT_FOUND | UNKNOWN", lambda i: head(i) + tail(i, "5", ("grpc-status", "5"))),
    *[answered("44", f"grpc-message {value!r}", "NOT_FOUND", lambda i, value=value: head(i) + tail(i, "5", ("grpc-message", value)), text=text)
      for value, text in (("%", "%"), ("a%4", "a%4"), ("%zz", "%zz"), ("%e2%82%ac", "\u20ac"), ("%ff", ""), ("a%20b", "a b"),
                          ("100%", "100%"), ("%%41", "%A"), ("x" * 8_000, "xxx"))],
    answered("44", "grpc-message in raw UTF-8", "NOT_FOUND", lambda i: head(i) + tail(i, "5", ("grpc-message", "gr\u00fc\u00df".encode()))),
    *[answered("44", f"details that are {name}", "NOT_FOUND", lambda i, value=value: head(i) + tail(i, "5", ("grpc-status-details-bin", value)))
      for name, value in (("no base64", "%%%"), ("half base64", "abc=d"), ("no protobuf", "/////w"), ("of another code", "CAcSAmhp"),
                          ("empty", ""), ("of the right code", "CAUSAmhp"))],
    answered("44", "a -bin trailer that is no base64", "NOT_FOUND | INTERNAL", lambda i: head(i) + tail(i, "5", ("x-bin", "%%%"))),
    answered("44", "a -bin header that is no base64", "INTERNAL | OK", lambda i: head(i, ("x-bin", "%%%")) + data(i, REPLY) + tail(i)),
    answered("44", "trailers without END_STREAM", "INTERNAL", lambda i: plain(i) + block(i, ("grpc-status", "0"))),
    answered("44", "data after the trailers without END_STREAM", "INTERNAL",
             lambda i: plain(i) + block(i, ("grpc-status", "0")) + data(i, REPLY, True)),
]

HTTP = {"400": "INTERNAL", "401": "UNAUTHENTICATED", "403": "PERMISSION_DENIED", "404": "UNIMPLEMENTED", "429": "UNAVAILABLE",
        "502": "UNAVAILABLE", "503": "UNAVAILABLE", "504": "UNAVAILABLE", "500": "UNKNOWN", "302": "UNKNOWN", "418": "UNKNOWN",
        "431": "UNKNOWN", "204": "UNKNOWN", "599": "UNKNOWN"}
PROXY = [
    *[answered("45", f"HTTP {status} with a page", code,
               lambda i, status=status: head(i, status=status, kind="text/html") + data(i, b"<html>no</html>", True))
      for status, code in HTTP.items()],
    *[answered("45", f"HTTP {status} without a body", code, lambda i, status=status: head(i, status=status, kind=None, end=True))
      for status, code in HTTP.items()],
    answered("45", "HTTP 503 with a grpc-status", "NOT_FOUND", lambda i: head(i, ("grpc-status", "5"), status="503", end=True)),
    answered("45", "HTTP 200 with a page", "UNKNOWN", lambda i: head(i, kind="text/html") + data(i, b"<html>hi</html>", True), text="text/html"),
    answered("45", "HTTP 200 without content-type", "UNKNOWN | INTERNAL", lambda i: head(i, kind=None) + data(i, b"hello", True)),
    answered("45", "HTTP 404 with trailers", "UNIMPLEMENTED",
             lambda i: head(i, status="404", kind="text/plain") + data(i, b"no") + block(i, ("x", "y"), end=True)),
    answered("45", "100 with END_STREAM", "INTERNAL | UNAVAILABLE", lambda i: block(i, (":status", "100"), end=True)),
    answered("45", "no :status", "INTERNAL | UNKNOWN | UNAVAILABLE", lambda i: block(i, ("content-type", "application/grpc")) + data(i, REPLY) + tail(i)),
    answered("45", ":status that is no number", "INTERNAL | UNKNOWN | UNAVAILABLE", lambda i: head(i, status="abc", end=True)),
]

BIDI = {"method": "Bidi"}
STREAMED = {"method": "ServerStream"}
MESSAGES = [
    *[answered("46", f"{n} bytes declared", "RESOURCE_EXHAUSTED", lambda i, n=n: head(i) + data(i, lpm(b"some", length=n)))
      for n in ((4 << 20) + 1, 16 << 20, 1 << 31, (1 << 32) - 1)],
    *[answered("46", f"4 GiB declared to {method}", "RESOURCE_EXHAUSTED", lambda i: head(i) + data(i, lpm(b"", length=(1 << 32) - 1)),
               order={"method": method}) for method in ("ServerStream", "ClientStream", "Bidi")],
    *[answered("46", f"flag 1, encoding {coding}", "INTERNAL",
               lambda i, coding=coding: head(i, *([("grpc-encoding", coding)] if coding else [])) + data(i, lpm(msg("x"), 1)) + tail(i))
      for coding in (None, "identity", "foo", "br")],
    *[answered("46", f"flag {flag}", "INTERNAL", lambda i, flag=flag: head(i) + data(i, lpm(msg("x"), flag)) + tail(i))
      for flag in (2, 3, 4, 16, 64, 128, 129, 255)],
    *[answered("46", f"the end after {cut} bytes", "INTERNAL", lambda i, cut=cut: head(i) + data(i, REPLY[:cut]) + tail(i))
      for cut in range(1, len(REPLY))],
    *[answered("46", f"the end after {cut} bytes of a stream", "INTERNAL",
               lambda i, cut=cut: head(i) + data(i, REPLY + REPLY[:cut]) + tail(i), order=STREAMED) for cut in (1, 4, 5, 8)],
    *[answered("46", f"{n} messages to {method}", "UNIMPLEMENTED", lambda i, n=n: head(i) + data(i, REPLY * n) + tail(i), order={"method": method})
      for n in (0, 2, 3) for method in ("Unary", "ClientStream")],
    answered("46", "no message, trailers-only OK", "UNIMPLEMENTED", lambda i: head(i, ("grpc-status", "0"), end=True)),
    answered("46", "no message to a stream", "OK", lambda i: head(i) + tail(i), order=STREAMED),
    answered("46", "no message to a stream, trailers-only", "OK", lambda i: head(i, ("grpc-status", "0"), end=True), order=STREAMED),
    *[answered("46", f"{name} that was not announced", "OK", lambda i, name=name, pack=pack: head(i, ("grpc-encoding", name)) + data(i, lpm(pack(msg("hello")), 1)) + tail(i))
      for name, pack in (("gzip", gzip.compress), ("deflate", zlib.compress))],
    *[answered("46", f"a {name} bomb", "RESOURCE_EXHAUSTED", lambda i, name=name, bomb=bomb: head(i, ("grpc-encoding", name)) +
               b"".join(data(i, lpm(bomb, 1)[k:k + 16_000]) for k in range(0, len(bomb) + 5, 16_000)) + tail(i))
      for name, bomb in (("gzip", gzip.compress(bytes(64 << 20))), ("deflate", zlib.compress(bytes(64 << 20))))],
    *[answered("46", f"gzip, {name}", "INTERNAL", lambda i, body=body: head(i, ("grpc-encoding", "gzip")) + data(i, lpm(body, 1)) + tail(i))
      for name, body in (("truncated", gzip.compress(msg("x"))[:-4]), ("no gzip", b"what"), ("empty", b""), ("twice", gzip.compress(msg("x")) * 2))],
    *[answered("46", f"protobuf: {name}", "INTERNAL", lambda i, body=body: head(i) + data(i, lpm(body)) + tail(i))
      for name, body in (("invalid UTF-8", b"\x0a\x01\xff"), ("a length past the end", b"\x0a\x09abc"), ("field 0", b"\x00\x01"),
                         ("a varint without end", b"\x10\x80"), ("groups 200 deep", b"\x4b" * 200 + b"\x4c" * 200))],
    answered("46", "protobuf: broken in a stream", "INTERNAL", lambda i: head(i) + data(i, REPLY + lpm(b"\x0a\x01\xff")) + tail(i), order=STREAMED),
]


def split_head(i: int, pieces: int) -> bytes:
    raw = literal_block(as_fields([(":status", "200"), ("content-type", "application/grpc"), ("x-long", "v" * 600)]))
    cuts = [len(raw) * k // pieces for k in range(pieces + 1)]
    return b"".join(frame(CONTINUATION if k else HEADERS, END_HEADERS if k == pieces - 1 else 0, i, raw[cuts[k]:cuts[k + 1]])
                    for k in range(pieces))


HEAD = literal_block(as_fields([(":status", "200"), ("content-type", "application/grpc")]))
PRIO = struct.pack(">IB", 0, 9)
LEGAL = [
    answered("13", "an ordinary answer", "OK", good),
    answered("13", "one byte at a time", "OK", lambda i: head(i) + b"".join(data(i, bytes([b])) for b in REPLY) + tail(i)),
    *[answered("13", f"split after byte {cut}", "OK", lambda i, cut=cut: head(i) + data(i, REPLY[:cut]) + data(i, REPLY[cut:]) + tail(i))
      for cut in (1, 4, 5, 6, 11)],
    answered("13", "150 empty DATA frames", "OK", lambda i: head(i) + data(i) * 150 + data(i, REPLY) + tail(i)),
    answered("13", "an empty DATA frame in each of 150 answers", "OK", lambda i: head(i) + data(i) + data(i, REPLY) + tail(i),
             order={"calls": 150}, within=20),
    answered("13", "255 bytes of padding", "OK", lambda i: head(i) + data(i, REPLY, pad=255) + tail(i)),
    answered("13", "padding around nothing", "OK", lambda i: head(i) + data(i, b"", pad=9) * 5 + data(i, REPLY) + tail(i)),
    answered("13", "padded headers", "OK", lambda i: frame(HEADERS, END_HEADERS | PADDED, i, b"\x07" + HEAD + bytes(7)) + data(i, REPLY) + tail(i)),
    answered("13", "headers with priority", "OK", lambda i: frame(HEADERS, END_HEADERS | HAS_PRIORITY, i, PRIO + HEAD) + data(i, REPLY) + tail(i)),
    answered("13", "unknown flags", "OK", lambda i: frame(HEADERS, END_HEADERS | 0xD2, i, HEAD) + frame(DATA, 0xF6, i, REPLY) + tail(i)),
    answered("13", "unknown frames everywhere", "OK", lambda i: frame(0xAA, 9, 0, b"x") + head(i) + frame(0xAA, 9, i, b"x") + data(i, REPLY) + tail(i)),
    answered("13", "PRIORITY frames", "OK", lambda i: frame(PRIORITY, 0, i, PRIO) + good(i) + frame(PRIORITY, 0, i, PRIO)),
    answered("13", "PING and SETTINGS in between", "OK", lambda i: head(i) + ping() + data(i, REPLY) + settings((4, 65_536)) + tail(i)),
    answered("13", "unknown SETTINGS", "OK", lambda i: settings((0xABCD, 1)) + good(i)),
    answered("13", "a header block in 4 frames", "OK", lambda i: split_head(i, 4) + data(i, REPLY) + tail(i)),
    answered("13", "12 KiB of metadata", "OK", lambda i: head(i, *[(f"x-{k}", "v" * 1_000) for k in range(11)]) + data(i, REPLY) + tail(i)),
    answered("13", "content-type with a suffix", "OK", lambda i: head(i, kind="application/grpc+proto") + data(i, REPLY) + tail(i)),
    answered("13", "RST_STREAM NO_ERROR after the trailers", "OK", lambda i: good(i) + rst(i, 0)),
    answered("13", "WINDOW_UPDATE after the trailers", "OK", lambda i: good(i) + window_update(i, 9)),
    answered("13", "a message of 900 KiB", "OK",
             lambda i: head(i) + b"".join(data(i, lpm(msg("x" * (900 << 10)))[k:k + 16_000]) for k in range(0, (900 << 10) + 20, 16_000)) + tail(i)),
    answered("13", "1,000 messages to a stream", "OK", lambda i: head(i) + data(i, lpm(b"")) * 1_000 + tail(i), order=STREAMED),
    answered("13", "20,000 empty messages to a stream", "OK", lambda i: head(i) + data(i, lpm(b"")) * 20_000 + tail(i), order=STREAMED, within=20),
    answered("13", "a field twice", "OK", lambda i: head(i, ("x-a", "1"), ("x-a", "2")) + data(i, REPLY) + tail(i)),
    answered("13", "non-ASCII metadata", "OK", lambda i: head(i, ("x-a", b"\xff\xfe")) + data(i, REPLY) + tail(i)),
    *[answered("47d", f"{n} answers of {status}", "OK", lambda i, n=n, status=status: block(i, (":status", status)) * n + good(i), within=10)
      for n in (1, 3, 100, 10_000) for status in ("100", "103")],
]

TOO_MUCH = [
    answered("46", f"{size} KiB of headers", "RESOURCE_EXHAUSTED | INTERNAL | UNAVAILABLE",
             lambda i, size=size: split_fields(i, size) + data(i, REPLY) + tail(i)) for size in (17, 40, 63, 100, 300, 1_000)
] + [
    answered("46", f"{n} header fields", "RESOURCE_EXHAUSTED | INTERNAL", lambda i, n=n: head(i, *[(f"x-{k}", "v") for k in range(n)]) + data(i, REPLY) + tail(i))
    for n in (129, 300)
] + [
    answered("46", f"{size} KiB of trailers", "RESOURCE_EXHAUSTED | INTERNAL | UNAVAILABLE",
             lambda i, size=size: head(i) + data(i, REPLY) + split_fields(i, size, True)) for size in (17, 40, 100)
]


def split_fields(i: int, kib: int, trailers: bool = False) -> bytes:
    first = [("grpc-status", "0")] if trailers else [(":status", "200"), ("content-type", "application/grpc")]
    raw = literal_block(as_fields([*first, *[(f"x-{k:05}", "v" * 985) for k in range(kib)]]))
    pieces = [raw[k:k + 16_384] for k in range(0, len(raw), 16_384)]
    return b"".join(frame(CONTINUATION if k else HEADERS, (END_HEADERS if k == len(pieces) - 1 else 0) |
                          (END_STREAM if trailers and not k else 0), i, piece) for k, piece in enumerate(pieces))


CASES: list[ClientCase] = [*RESET, *STATUS, *PROXY, *MESSAGES, *LEGAL, *TOO_MUCH]
