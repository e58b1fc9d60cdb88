"""Rows 17 to 36: one call. Message framing, compression, protobuf, paths, header fields, deadlines."""

from __future__ import annotations

import gzip
import struct
import zlib

from cases import HELLO, Arena, Case, call, raw
from wire import data, frame, lpm, msg, outcome, request, varint

KINDS = ["Unary", "ServerStream", "ClientStream", "Bidi"]


def to(kind: str, *extra, **over):
    return request(f"/fault.Echo/{kind}", *extra, **over)


# --- 17 to 20: message framing -------------------------------------------------------------------------------------

FRAMING = [
    *[call("17", f"flag {flag}", "S:13", body=lpm(msg("hello"), flag))
      for flag in (2, 3, 4, 8, 16, 32, 64, 127, 128, 129, 254, 255)],
    *[call("17", f"flag 2 to {kind}", "S:13", fields=to(kind), body=lpm(msg("hello"), 2)) for kind in KINDS[1:]],
    call("17", "flag 2 in the second message", "S:13", fields=to("ClientStream"), body=HELLO + lpm(msg("hello"), 2)),
    *[call("18", f"{length} bytes declared", "S:8", body=lpm(b"some", length=length), end=False, memory_mib=16)
      for length in ((4 << 20) + 1, 5 << 20, 16 << 20, 1 << 30, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)],
    *[call("18", f"4 GiB declared to {kind}", "S:8", fields=to(kind), body=lpm(b"", length=(1 << 32) - 1), end=False,
           memory_mib=16) for kind in KINDS[1:]],
    call("18", "4 GiB declared in the second message", "S:8", fields=to("ClientStream"),
         body=HELLO + lpm(b"x", length=(1 << 32) - 1), end=False),
    call("18", "5 MiB declared and the stream ended", "S:8", body=lpm(b"some", length=5 << 20)),
    *[call("19", f"the end after {cut} bytes", "S:13", body=HELLO[:cut]) for cut in range(1, len(HELLO))],
    *[call("19", f"the end after {cut} bytes to {kind}", "S:13", fields=to(kind), body=HELLO[:cut])
      for kind in KINDS[1:] for cut in (3, 8)],
    call("19", "the end inside the second message", "S:13", fields=to("ClientStream"), body=HELLO + HELLO[:7]),
    *[raw("20", f"no message to {kind}", "S:12", lambda p, kind=kind: p.headers(1, to(kind), True)) for kind in KINDS[:2]],
    *[call("20", f"no message and an empty DATA to {kind}", "S:12", fields=to(kind), body=b"") for kind in KINDS[:2]],
    *[call("20", f"two messages to {kind}", "S:12", fields=to(kind), body=HELLO * 2) for kind in KINDS[:2]],
    *[call("20", f"five messages to {kind}", "S:12", fields=to(kind), body=HELLO * 5) for kind in KINDS[:2]],
    *[call("20", f"bytes after the message to {kind}", "S:13", fields=to(kind), body=HELLO + b"\0\0") for kind in KINDS[:2]],
    raw("20", "no message to ClientStream is fine", "OK", lambda p: p.headers(1, to("ClientStream"), True)),
    raw("20", "no message to Bidi is fine", "OK", lambda p: p.headers(1, to("Bidi"), True)),
]


# --- 21 to 24: compression -----------------------------------------------------------------------------------------


def deflated(raw_bytes: bytes) -> bytes:
    return zlib.compress(raw_bytes)


def zstd_raw(payload: bytes) -> bytes:
    """A Zstandard frame of one uncompressed block (RFC 8878)."""
    block = struct.pack("<I", len(payload) << 3 | 1)[:3]
    return b"\x28\xb5\x2f\xfd\x20" + bytes([len(payload)]) + block + payload


def zstd_bomb(blocks: int) -> bytes:
    """A Zstandard frame that repeats a zero 128 KiB times, over and over."""
    one = struct.pack("<I", (128 << 10) << 3 | 2)[:3] + b"\0"
    last = struct.pack("<I", (128 << 10) << 3 | 3)[:3] + b"\0"
    return b"\x28\xb5\x2f\xfd\x00\x58" + one * (blocks - 1) + last


GOOD = {"gzip": gzip.compress(msg("hello")), "deflate": deflated(msg("hello")), "zstd": zstd_raw(msg("hello"))}


def coded(row: str, name: str, expect: str, coding: str, payload: bytes, flag: int = 1, kind: str = "Unary", **more) -> Case:
    return call(row, name, expect, fields=to(kind, grpc_encoding=coding), body=lpm(payload, flag), **more)


def accepted_list(coding: str, flag: int):
    """An unknown coding is refused, and the answer lists what is known."""
    def play(arena: Arena) -> str:
        peer = arena.dial()
        peer.send(peer.headers(1, to("Unary", grpc_encoding=coding)) + data(1, lpm(msg("hello"), flag), True))
        seen = outcome(peer, 1)
        listed = peer.stream(1).get("grpc-accept-encoding") or ""
        return seen if "gzip" in listed else f"{seen} WITHOUT grpc-accept-encoding"

    return play


def flipped(good: bytes, at: int) -> bytes:
    return good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1:]


CODINGS = [
    *[call("21", f"flag 1 without grpc-encoding to {kind}", "S:13", fields=to(kind), body=lpm(msg("hello"), 1)) for kind in KINDS],
    *[coded("21", f"flag 1 with identity to {kind}", "S:13", "identity", msg("hello"), kind=kind) for kind in KINDS],
    *[Case("22", f"grpc-encoding {coding}, flag {flag}", "S:12", accepted_list(coding, flag))
      for coding in ("foo", "br", "snappy", "x-gzip", "gzip2") for flag in (0, 1)],
    *[coded("23", f"{name} bomb of {size} MiB", "S:8", name, payload)
      for name, payload, size in (("gzip", gzip.compress(bytes(64 << 20)), 64), ("deflate", deflated(bytes(64 << 20)), 64),
                                  ("gzip", gzip.compress(bytes(5 << 20)), 5), ("deflate", deflated(bytes((4 << 20) + 1)), 4),
                                  ("zstd", zstd_bomb(512), 64))],
    *[coded("24", f"{coding}, well-formed", "OK", coding, good) for coding, good in GOOD.items()],
    *[coded("24", f"{coding} announced, flag 0", "OK", coding, msg("hello"), 0) for coding in GOOD],
    *[coded("24", f"{coding}, an empty message", "OK", coding, payload) for coding, payload in
      (("gzip", gzip.compress(b"")), ("deflate", deflated(b"")), ("zstd", zstd_raw(b"")))],
    *[coded("24", f"{coding}, {name}", "S:13", coding, payload)
      for coding, good in GOOD.items() for name, payload in [
          ("an empty body", b""), ("truncated", good[:-3]), ("a byte of trailing garbage", good + b"\0"),
          ("plain bytes", msg("hello")), ("a broken header", flipped(good, 0)), ("two members", good + good)]],
    coded("24", "gzip, a wrong checksum", "S:13", "gzip", flipped(GOOD["gzip"], len(GOOD["gzip"]) - 8)),
    coded("24", "gzip, a wrong length", "S:13", "gzip", flipped(GOOD["gzip"], len(GOOD["gzip"]) - 1)),
    coded("24", "deflate, a wrong checksum", "S:13", "deflate", flipped(GOOD["deflate"], len(GOOD["deflate"]) - 1)),
    coded("24", "gzip in a client stream, broken", "S:13", "gzip", b"no gzip", kind="ClientStream"),
]


# --- 25: protobuf --------------------------------------------------------------------------------------------------


def groups(depth: int) -> bytes:
    """Unknown groups inside each other (field 9)."""
    return b"\x4b" * depth + b"\x4c" * depth


PROTOBUF = [
    *[call("25", name, "S:13", body=lpm(payload)) for name, payload in [
        ("UTF-8: a lone byte", b"\x0a\x01\xff"), ("UTF-8: overlong", b"\x0a\x02\xc0\x80"),
        ("UTF-8: a surrogate", b"\x0a\x03\xed\xa0\x80"), ("UTF-8: cut short", b"\x0a\x02\xe2\x82"),
        ("UTF-8: over U+10FFFF", b"\x0a\x04\xf4\x90\x80\x80"), ("UTF-8: a bare continuation", b"\x0a\x02a\x80"),
        ("a varint of 11 bytes", b"\x10" + b"\x80" * 10 + b"\x01"), ("a varint without end", b"\x10\x80\x80"),
        ("field number 0", b"\x00\x01"), ("field number 0, a string", b"\x02\x01x"), ("a length past the end", b"\x0a\x09abc"),
        ("a length of 2^63", b"\x0a" + varint(1 << 63) + b"abc"), ("a length of 2^31", b"\x0a" + varint(1 << 31) + b"abc"),
        ("a key cut short", b"\x0a\x01x\x80"), ("wire type 6", b"\x0e\x01"), ("wire type 7", b"\x1f\x01"),
        ("fixed32 cut short", b"\x4d\x01\x02"), ("fixed64 cut short", b"\x49\x01\x02\x03"), ("a group without end", b"\x4b\x08\x01"),
        ("the end of no group", b"\x4c"), ("a group ended by another", b"\x4b\x54"), ("groups 101 deep", groups(101)),
        ("groups 100,000 deep", groups(100_000)), ("a field number over 2^29", varint((1 << 35) | 2) + b"\0"),
        ("random bytes", bytes(range(128, 192)))]],
    *[call("25", name, "OK", body=lpm(payload)) for name, payload in [
        ("unknown fields of every type", b"\x48\x01\x49" + bytes(8) + b"\x4a\x01x\x4d" + bytes(4) + b"\x4b\x4c"),
        ("a known field of another wire type", b"\x0d" + bytes(4) + b"\x12\x01x"), ("a field twice", msg("a") + msg("b")),
        ("a varint of 10 bytes", b"\x10" + b"\xff" * 9 + b"\x01"), ("groups 90 deep", groups(90)),
        ("the largest field number", varint((1 << 29) - 1 << 3) + b"\x01")]],
    call("25", "invalid UTF-8 in the second message", "S:13", fields=to("ClientStream"), body=HELLO + lpm(b"\x0a\x01\xff")),
    call("25", "invalid UTF-8 to Bidi", "S:13", fields=to("Bidi"), body=lpm(b"\x0a\x01\xff")),
]


# --- 27 to 36: the request's header fields -------------------------------------------------------------------------

BAD_FIELD = "RST:1"
H2_FIELD = "GOAWAY:1"
FIELDS = [
    *[call("27", f"path {path!r}", "RST:1", path=path)
      for path in ("fault.Echo/Unary", "", "http://localhost/fault.Echo/Unary", "/fault.Echo/Un ary", " /fault.Echo/Unary")],
    *[call("28", f"path {path!r}", "S:12", path=path) for path in (
        "*", "//fault.Echo/Unary", "/fault.Echo/Unary/", "/fault.Echo/Unary?x", "/fault.Echo/%55nary", "/fault.Echo/../Unary",
        "/fault.Echo/./Unary", "/x/../fault.Echo/Unary", "/fault.Echo/Unary;v", "/fault.echo/Unary", "/fault.Echo/unary",
        "/FAULT.ECHO/UNARY", "/", "/fault.Echo", "/fault.Echo/", "//", "/Unary", "/fault.Echo/Unary\\", "/fault.Echo\\Unary",
        "/.fault.Echo/Unary", "/fault.Echo/Other", "/other.Service/Unary", "/fault.Echo/Unary/Unary",
        "/fault.Echo/Un\u00e4ry".encode(), "/fault.Echo/\U0001f980".encode())],
    call("28", "path '/fault.Echo/Unary#f'", "S:12", path="/fault.Echo/Unary#f", debt="OK"),
    *[call("28a", f"path {path!r}", "S:12", path=path, debt=H2_FIELD)
      for path in (b"/fault.Echo/\xff", b"/fault.Echo/Un\xc0ry", b"/\xed\xa0\x80/x")],
    *[call("30", f"method {method}", "HTTP:405", fields=request(method=method))
      for method in ("GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "PURGE", "post")],
    call("30", "method CONNECT", "HTTP:405 | RST:1", fields=request(method="CONNECT")),
    call("30", "an empty method", "HTTP:405 | RST:1", fields=request(method=""), debt=H2_FIELD),
    call("31", "no content-type", "HTTP:415", fields=request(drop=["content-type"])),
    *[call("31", f"content-type {value!r}", "HTTP:415", fields=request(content_type=value))
      for value in ("", "text/plain", "application/json", "application/grp", "application/grpcx", "application/grpc-web",
                    "application/grpc-web+proto", "application/proto", "grpc", "*/*", "text/html; charset=utf-8")],
    *[call("31", f"content-type {value!r}", "OK", fields=request(content_type=value))
      for value in ("application/grpc+proto", "application/grpc; charset=utf-8", "application/grpc+proto;v=1")],
    *[call("31", f"content-type {value!r}", "S:2 | S:12", fields=request(content_type=value))
      for value in ("application/grpc+thrift", "application/grpc+x", "application/grpc+avro")],
    call("31", "two content-types that differ", "HTTP:415", fields=request("/fault.Echo/Unary", ("content-type", "text/plain"))),
    call("31", "two equal content-types", "OK", fields=request("/fault.Echo/Unary", ("content-type", "application/grpc"))),
    *[call("32", f"te {value!r}", "RST:1", fields=request(te=value)) for value in ("gzip", "trailers, deflate", "chunked")],
    *[call("32", f"{name}: {value}", "RST:1", fields=request("/fault.Echo/Unary", (name, value)))
      for name, value in (("connection", "close"), ("transfer-encoding", "chunked"), ("keep-alive", "timeout=5"),
                          ("proxy-connection", "close"), ("upgrade", "h2c"))],
    *[call("32a", name, BAD_FIELD, fields=request("/fault.Echo/Unary", field), debt=H2_FIELD) for name, field in [
        ("an upper-case name", (b"X-Upper", b"v")), ("a name with a space", (b"x y", b"v")), ("an empty name", (b"", b"v")),
        ("a name with a colon", (b"x:y", b"v")), ("a non-ASCII name", ("x-\u00e4".encode(), b"v")), ("a name with NUL", (b"x\0", b"v")),
        ("CR in a value", (b"x-v", b"a\rb")), ("LF in a value", (b"x-v", b"a\nb")), ("CR LF in a value", (b"x-v", b"a\r\nb: c")),
        ("NUL in a value", (b"x-v", b"a\0b")), ("DEL in a value", (b"x-v", b"a\x7fb")),
        ("an unknown pseudo-header", (b":what", b"v")), (":status in a request", (b":status", b"200"))]],
    call("32a", "a pseudo-header after a field", BAD_FIELD, fields=[*request()[1:], request()[0]], debt=H2_FIELD),
    *[call("32a", f"no {name}", BAD_FIELD, fields=request(drop=[name]), debt=H2_FIELD) for name in (":method", ":scheme", ":path")],
    *[call("32a", f"{name} twice", BAD_FIELD, fields=[field, *request()], debt=H2_FIELD)
      for name, field in ((":method", (b":method", b"POST")), (":path", (b":path", b"/fault.Echo/Unary")),
                          (":scheme", (b":scheme", b"http")))],
    call("33", "host beside :authority", "OK", fields=request(host="elsewhere")),
    call("33", "host without :authority", "OK", fields=request(drop=[":authority"], host="localhost")),
    call("33", "two :authority", "HTTP:400", fields=[(b":authority", b"elsewhere"), *request()], debt="RST:1 | GOAWAY:1"),
    call("33", "two hosts without :authority", "HTTP:400",
         fields=request("/fault.Echo/Unary", ("host", "a"), ("host", "b"), drop=[":authority"])),
    call("33", "user-info in :authority", "HTTP:400", fields=request(authority="user:pass@localhost"), debt="RST:1"),
    raw("33", "a pseudo-header in trailers", "RST:1",
        lambda p: p.headers(1, request()) + data(1, HELLO) + p.headers(1, [(b":path", b"/x")], True), debt="OK | GOAWAY:1"),
    *[call("34", name, "OK", fields=request("/fault.Echo/Unary", field)) for name, field in [
        ("a key with odd characters", ("x!y", "v")), ("a key with tilde and hash", ("~x#", "v")), ("a grpc- name", ("grpc-what", "v")),
        ("another grpc- name", ("grpc-internal-encoding-request", "gzip")), ("a value in UTF-8", ("x-v", "gr\u00fc\u00df".encode())),
        ("a value in Latin-1", (b"x-v", b"gr\xfc\xdf")), ("a value with a tab", (b"x-v", b"a\tb")),
        ("spaces around a value", (b"x-v", b"  v  ")), ("the same key 50 times", ("x-v", "v"))]],
    *[call("35", f"-bin value {value!r}", "S:13", fields=request("/fault.Echo/Unary", ("x-bin", value)))
      for value in ("%%%", "a", "====", "ab=c", "a b c", "YWJj!", "YWJjZ")],
    *[call("35", f"-bin value {value!r}", "OK", fields=request("/fault.Echo/Unary", ("x-bin", value)))
      for value in ("YWI=", "YWI", "YWJj", "YWI=,YWJj", "YWI,YWI", "", "+/+/")],
    *[call("36", f"grpc-timeout {value!r}", "S:4", fields=request(grpc_timeout=value), body=lpm(msg("sleep:300")))
      for value in ("0n", "0S", "1n", "00000000m", "50m", "50000u")],
    *[call("36", f"grpc-timeout {value!r}", "S:13", fields=request(grpc_timeout=value))
      for value in ("123456789S", "000000001S", "10", "S", "-1S", "+1S", "1.5S", "1x", "1s", "1 S", "0x1S", "", "1SS", "1M1")],
    *[call("36", f"grpc-timeout {value!r}", "OK", fields=request(grpc_timeout=value))
      for value in ("99999999H", "99999999M", "99999999S", "5S", "00000005S", "5000m", "5000000u")],
]

CASES = [*FRAMING, *CODINGS, *PROTOBUF, *FIELDS]
