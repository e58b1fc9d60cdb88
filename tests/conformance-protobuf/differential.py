"""Random messages and broken JSON, held against Python's own protobuf (upb and json_format).

Every random message has to come out of our printer so that json_format reads the same message from it, and the other way
round. Every text that was broken by chance has to be refused by us wherever json_format refuses it; where both accept it,
they have to agree. (json_format accepts more: booleans for floats, "1" for enums, base64 with holes.)

    differential.py [SEED] [COUNT]     needs what scripts/conformance.sh left behind, and the package protobuf
"""

import json
import os
import random
import re
import struct
import subprocess
import sys
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor as F
from google.protobuf.message import Message

ROOT = Path(__file__).resolve().parents[2]
SET = ROOT / "build/conformance-protobuf/set.binpb"
TESTEE = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/stubless-conformance-protobuf"

POOL = descriptor_pool.DescriptorPool()
for file in descriptor_pb2.FileDescriptorSet.FromString(SET.read_bytes()).file:
    POOL.Add(file)

TYPES = [
    "protobuf_test_messages.proto3.TestAllTypesProto3",
    "protobuf_test_messages.proto2.TestAllTypesProto2",
    "protobuf_test_messages.editions.proto3.TestAllTypesProto3",
    "protobuf_test_messages.editions.TestAllTypesEdition2023",
]
IN_ANY = ["Duration", "Timestamp", "Struct", "Int64Value", "Any"]
PROTOBUF, JSON = 1, 2


def class_of(name: str) -> type[Message]:
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))


class Testee:
    """Our side, over the protocol of the conformance runner."""

    def __init__(self) -> None:
        self.request = class_of("conformance.ConformanceRequest")
        self.response = class_of("conformance.ConformanceResponse")
        env = os.environ | {"CONFORMANCE_SET": str(SET)}
        self.process = subprocess.Popen([TESTEE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)

    def ask(self, **fields: object) -> Message:
        data = self.request(test_category=1, **fields).SerializeToString()
        self.process.stdin.write(struct.pack("<I", len(data)) + data)
        self.process.stdin.flush()
        (length,) = struct.unpack("<I", self.process.stdout.read(4))
        return self.response.FromString(self.process.stdout.read(length))


class Maker:
    """Random values; the same ones on every run with one seed."""

    def __init__(self, seed: int) -> None:
        self.r = random.Random(seed)

    def integer(self, bits: int, signed: bool) -> int:
        value = self.r.getrandbits(self.r.randint(1, bits))
        if not signed:
            return value
        least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        return max(least, min(most, self.r.choice([value, -value, least, most])))

    def text(self) -> str:
        r = self.r
        ranges = [(0, 0x7F), (0x80, 0x7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF), (0x22, 0x22), (0x5C, 0x5C)]
        return "".join(chr(r.randint(*r.choice(ranges))) for _ in range(r.randint(0, 12)))

    def floating(self, double: bool) -> float:
        if self.r.random() < 0.3:
            return self.r.choice([0.0, -0.0, 1.0, 1.5, 1e15, 1e16, 1e17, 0.1, 1e-5, 1e-6, 1e22, 1e23, float("inf"), float("-inf")])
        form, bits = ("<d", "<Q") if double else ("<f", "<I")
        (value,) = struct.unpack(form, struct.pack(bits, self.r.getrandbits(64 if double else 32)))
        return value if value == value else 0.5  # NaN is equal to nothing

    def value(self, field: F) -> object:
        kind = field.type
        if kind in (F.TYPE_INT32, F.TYPE_SINT32, F.TYPE_SFIXED32):
            return self.integer(32, True)
        if kind in (F.TYPE_INT64, F.TYPE_SINT64, F.TYPE_SFIXED64):
            return self.integer(64, True)
        if kind in (F.TYPE_UINT32, F.TYPE_FIXED32):
            return self.integer(32, False)
        if kind in (F.TYPE_UINT64, F.TYPE_FIXED64):
            return self.integer(64, False)
        if kind == F.TYPE_BOOL:
            return self.r.random() < 0.5
        if kind == F.TYPE_STRING:
            return self.text()
        if kind == F.TYPE_BYTES:
            return self.r.randbytes(self.r.randint(0, 9))
        if kind == F.TYPE_ENUM:
            return self.r.choice(field.enum_type.values).number
        return self.floating(kind == F.TYPE_DOUBLE)

    def well_known(self, m: Message, name: str, depth: int) -> bool:
        r = self.r
        nanos = r.choice([0, 1, 1000, 1_000_000, 500_000_000, 999_999_999, r.randint(0, 999_999_999)])
        if name == "Timestamp":
            m.seconds, m.nanos = r.randint(-62135596800, 253402300799), nanos
        elif name == "Duration":
            sign = r.choice([1, -1])
            m.seconds, m.nanos = sign * r.randint(0, 315_576_000_000), sign * nanos
        elif name == "FieldMask":
            m.paths.extend(r.choice(["a", "foo_bar", "a.b_c", "x1"]) for _ in range(r.randint(0, 3)))
        elif name == "Any":
            if depth > 0 and r.random() < 0.8:
                full = r.choice([f"google.protobuf.{n}" for n in IN_ANY] + TYPES[:1])
                inner = class_of(full)()
                self.fill(inner, depth - 1)
                m.type_url, m.value = f"type.googleapis.com/{full}", inner.SerializeToString()
        elif name == "Value":
            kind = r.choice(m.DESCRIPTOR.fields if depth > 0 else m.DESCRIPTOR.fields[:4])
            if kind.message_type:
                getattr(m, kind.name).SetInParent()
                self.fill(getattr(m, kind.name), depth - 1)
            else:
                value = self.value(kind)
                setattr(m, kind.name, 2.5 if value in (float("inf"), float("-inf")) else value)
        else:
            return False
        return True

    def fill(self, m: Message, depth: int) -> None:
        name = m.DESCRIPTOR.full_name
        if name.startswith("google.protobuf.") and self.well_known(m, name.rsplit(".", 1)[1], depth):
            return
        if m.DESCRIPTOR.GetOptions().message_set_wire_format:
            return
        fields = [f for f in m.DESCRIPTOR.fields if f.message_type is None or depth > 0]
        if len(fields) > 12:
            fields = self.r.sample(fields, self.r.randint(0, 12))
        for field in fields:
            child = getattr(m, field.name)
            if field.message_type and field.message_type.GetOptions().map_entry:
                key, value = field.message_type.fields
                for _ in range(self.r.randint(0, 3)):
                    if value.message_type:
                        self.fill(child[self.value(key)], depth - 1)
                    else:
                        child[self.value(key)] = self.value(value)
            elif field.is_repeated:
                for _ in range(self.r.randint(0, 3)):
                    if field.message_type:
                        self.fill(child.add(), depth - 1)
                    else:
                        child.append(self.value(field))
            elif field.message_type:
                child.SetInParent()
                self.fill(child, depth - 1)
            else:
                setattr(m, field.name, self.value(field))


def printed(m: Message, ascii_only: bool = False) -> str:
    return json_format.MessageToJson(m, indent=None, descriptor_pool=POOL, ensure_ascii=ascii_only)


def meaning(text: str) -> object:
    """JSON in a form that compares: maps in any order, -0.0 apart from 0."""

    def plain(x: object) -> object:
        if isinstance(x, list):
            return [plain(i) for i in x]
        if isinstance(x, dict):
            return {k: plain(v) for k, v in x.items()}
        return repr(x) if isinstance(x, float) else x

    return plain(json.loads(text))


def round_trips(testee: Testee, make: Maker, count: int) -> None:
    for _ in range(count):
        kind = class_of(make.r.choice(TYPES))
        message = kind()
        make.fill(message, 3)
        name, theirs = kind.DESCRIPTOR.full_name, printed(message, make.r.random() < 0.5)
        ours = testee.ask(protobuf_payload=message.SerializeToString(), message_type=name, requested_output_format=JSON)
        assert ours.json_payload, f"{theirs}\nnot printed: {ours}"
        back = json_format.Parse(ours.json_payload, kind(), descriptor_pool=POOL)
        assert meaning(printed(back)) == meaning(theirs), f"{theirs}\nprinted as\n{ours.json_payload}"
        read = testee.ask(json_payload=theirs, message_type=name, requested_output_format=PROTOBUF)
        assert read.WhichOneof("result") == "protobuf_payload", f"{theirs}\nnot read: {read}"
        assert meaning(printed(kind.FromString(read.protobuf_payload))) == meaning(theirs), f"{theirs}\nread wrongly"


TOKENS = (
    'null true false 1 -1 1.0 1e2 "1" "a" {} [] , : "NaN" "1e3" 0.5 1e400 0e9 "\\ud800" "\\u0041" "FOO" 7 "@type" "value" '
    '"optionalInt32" "optional_int32" "1s" "1970-01-01T00:00:00Z" "AQI" "-_" "a.b" 01 .5 +1 NaN { } [ ] \x00 \x0b \ufeff'
).split(" ")


def broken_texts(testee: Testee, make: Maker, count: int) -> tuple[int, int]:
    kind, r = class_of(TYPES[0]), make.r
    seeds: list[str] = []
    while len(seeds) < 60:
        message = kind()
        make.fill(message, 2)
        if len(text := printed(message, r.random() < 0.5)) < 400:
            seeds.append(text)
    accepted = refused = 0
    for _ in range(count):
        text = r.choice(seeds)
        for _ in range(r.randint(1, 2)):
            if tokens := list(re.finditer(r'"(?:[^"\\]|\\.)*"|[-+0-9.eE]+|[a-z]+|[{}\[\]:,]', text)):
                token, new = r.choice(tokens), r.choice([*TOKENS, ""])
                text = text[: token.start()] + new + text[r.choice([token.start(), token.end()]) :]
        theirs = kind()
        try:
            json_format.Parse(text, theirs, descriptor_pool=POOL)
            their_print = printed(theirs)
        except (json_format.Error, ValueError, TypeError, AttributeError, OverflowError):
            their_print = None
        read = testee.ask(json_payload=text, message_type=TYPES[0], requested_output_format=PROTOBUF)
        if read.WhichOneof("result") != "protobuf_payload":
            refused += 1
            continue
        accepted += 1
        assert their_print is not None, f"read by us alone:\n{text}"
        ours = printed(kind.FromString(read.protobuf_payload))
        # "-0" is an integer to Python's json
        same = meaning(ours.replace("-0.0", "0.0")) == meaning(their_print.replace("-0.0", "0.0"))
        assert same, f"{text}\nread as\n{ours}\nand by json_format as\n{their_print}"
    return accepted, refused


def main() -> None:
    numbers = [int(a) for a in sys.argv[1:]]
    seed, count = (numbers + [1, 2000][len(numbers) :])[:2]
    testee, make = Testee(), Maker(seed)
    round_trips(testee, make, count)
    accepted, refused = broken_texts(testee, make, count * 5)
    print(f"differential: {count} messages both ways; of {accepted + refused} broken texts {accepted} were still good")


if __name__ == "__main__":
    main()
