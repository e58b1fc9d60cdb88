"""Messages in Python against `google.protobuf` (upb): decode, read, build, encode of the order message.

Both sides in one process on one core, rounds interleaved, CPU time of the thread, medians; ratio = theirs / ours.
    taskset -c 1 python benches/python_messages.py [--json]
Needs `protobuf` and `grpcio-tools` beside `stubless`.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import stubless as sl

PROTO = Path(__file__).parent / "proto" / "bench.proto"

ADDRESS = {"name": "Ada Lovelace", "street": "12 St James's Square", "city": "London", "postcode": "SW1Y 4JH", "country": "GB"}
ORDER: dict[str, Any] = {
    "id": 123456789012, "reference": "2026-000123-A", "customer": "Analytical Engines Ltd", "email": "ada@example.org",
    "state": "ORDER_STATE_PAID", "created_us": 1_763_640_000_000_000, "updated_us": 1_763_640_055_123_456,
    "ship_to": ADDRESS, "bill_to": ADDRESS,
    "items": [{"sku": f"SKU-{i:05}", "title": f"Brass gear with {i + 12} teeth", "quantity": i + 1, "price_micros": 1_990_000 * (i + 1)} for i in range(8)],
    "currency": "GBP", "net_micros": 71_640_000, "tax_micros": 14_328_000, "discount": 0.125, "gift": True,
    "note": "Leave with the porter; ring twice.", "tags": ["brass", "gears", "express"], "ratings": [5, 4, 5, 3, 5],
    "labels": {"team": "engines", "campaign": "autumn", "origin": "web"}, "signature": bytes(range(32)),
    "weight_kg": 12.5, "zone_offset_minutes": -60,
}


def theirs() -> Any:
    """The generated module of the peer."""
    folder = tempfile.mkdtemp()
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO.parent}", f"--python_out={folder}", PROTO.name], check=True
    )
    sys.path.insert(0, folder)
    return importlib.import_module("bench_pb2")


def read_some(m: Any) -> Any:
    return m.id, m.customer, m.net_micros


def read_all(m: Any) -> Any:
    a, b = m.ship_to, m.bill_to
    return (
        m.id, m.reference, m.customer, m.email, m.state, m.created_us, m.updated_us,
        a.name, a.street, a.city, a.postcode, a.country, b.name, b.street, b.city, b.postcode, b.country,
        [(i.sku, i.title, i.quantity, i.price_micros) for i in m.items],
        m.currency, m.net_micros, m.tax_micros, m.discount, m.gift, m.note, list(m.tags), list(m.ratings),
        dict(m.labels.items()), m.signature, m.weight_kg, m.zone_offset_minutes,
    )


def measure(cases: dict[str, tuple[Callable[[], Any], Callable[[], Any]]], rounds: int = 31) -> dict[str, tuple[float, float]]:
    """Nanoseconds a call: theirs, ours."""
    result = {}
    for name, pair in cases.items():
        for f in pair:
            for _ in range(200):
                f()
        count = max(20, int(3_000_000 / max(1, single(pair[0], 50))))
        samples: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            for f, into in zip(pair, samples, strict=True):
                into.append(single(f, count))
        result[name] = (statistics.median(samples[0]), statistics.median(samples[1]))
    return result


def single(f: Callable[[], Any], count: int) -> float:
    begin = time.thread_time_ns()
    for _ in range(count):
        f()
    return (time.thread_time_ns() - begin) / count


def main() -> None:
    if hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    pb = theirs()
    schema = sl.Schema.load("bench.proto", include=[str(PROTO.parent)])
    Order, Address, Item = schema["bench.v1.Order"], schema["bench.v1.Address"], schema["bench.v1.Item"]
    mine, other = Order(ORDER), pb.Order(**ORDER)
    data = other.SerializeToString()
    assert Order.from_bytes(data) == mine and pb.Order.FromString(mine.to_bytes()) == other
    ready, other_ready = Order.from_bytes(data), pb.Order.FromString(data)
    msg, other_msg = schema["bench.v1.Msg"], pb.Msg
    small = other_msg(n=1, text="x" * 93).SerializeToString()

    lines = [(i["sku"], i["title"], i["quantity"], i["price_micros"]) for i in ORDER["items"]]
    signature = ORDER["signature"]

    def build_mine() -> Any:
        return Order(
            id=123456789012, reference="2026-000123-A", customer="Analytical Engines Ltd", email="ada@example.org",
            state="ORDER_STATE_PAID", created_us=1_763_640_000_000_000, updated_us=1_763_640_055_123_456,
            ship_to=Address(name="Ada Lovelace", street="12 St James's Square", city="London", postcode="SW1Y 4JH", country="GB"),
            bill_to=Address(name="Ada Lovelace", street="12 St James's Square", city="London", postcode="SW1Y 4JH", country="GB"),
            items=[Item(sku=sku, title=title, quantity=n, price_micros=price) for sku, title, n, price in lines],
            currency="GBP", net_micros=71_640_000, tax_micros=14_328_000, discount=0.125, gift=True,
            note="Leave with the porter; ring twice.", tags=["brass", "gears", "express"], ratings=[5, 4, 5, 3, 5],
            labels={"team": "engines", "campaign": "autumn", "origin": "web"}, signature=signature,
            weight_kg=12.5, zone_offset_minutes=-60,
        )

    def build_theirs() -> Any:
        return pb.Order(
            id=123456789012, reference="2026-000123-A", customer="Analytical Engines Ltd", email="ada@example.org",
            state="ORDER_STATE_PAID", created_us=1_763_640_000_000_000, updated_us=1_763_640_055_123_456,
            ship_to=pb.Address(name="Ada Lovelace", street="12 St James's Square", city="London", postcode="SW1Y 4JH", country="GB"),
            bill_to=pb.Address(name="Ada Lovelace", street="12 St James's Square", city="London", postcode="SW1Y 4JH", country="GB"),
            items=[pb.Item(sku=sku, title=title, quantity=n, price_micros=price) for sku, title, n, price in lines],
            currency="GBP", net_micros=71_640_000, tax_micros=14_328_000, discount=0.125, gift=True,
            note="Leave with the porter; ring twice.", tags=["brass", "gears", "express"], ratings=[5, 4, 5, 3, 5],
            labels={"team": "engines", "campaign": "autumn", "origin": "web"}, signature=signature,
            weight_kg=12.5, zone_offset_minutes=-60,
        )

    assert build_mine() == mine and build_theirs() == other

    cases: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "small: decode, read 2": (lambda: (lambda m: (m.n, m.text))(other_msg.FromString(small)), lambda: (lambda m: (m.n, m.text))(msg.from_bytes(small))),
        "small: build, encode": (lambda: other_msg(n=1, text="hi").SerializeToString(), lambda: msg(n=1, text="hi").to_bytes()),
        "decode": (lambda: pb.Order.FromString(data), lambda: Order.from_bytes(data)),
        "decode, read 3": (lambda: read_some(pb.Order.FromString(data)), lambda: read_some(Order.from_bytes(data))),
        "decode, read all": (lambda: read_all(pb.Order.FromString(data)), lambda: read_all(Order.from_bytes(data))),
        "decode, encode": (lambda: pb.Order.FromString(data).SerializeToString(), lambda: Order.from_bytes(data).to_bytes()),
        "read 3 again": (lambda: read_some(other_ready), lambda: read_some(ready)),
        "build": (build_theirs, build_mine),
        "build, encode": (lambda: build_theirs().SerializeToString(), lambda: build_mine().to_bytes()),
        "encode what was built": (lambda: other.SerializeToString(), lambda: mine.to_bytes()),
        "from dict, encode": (lambda: pb.Order(**ORDER).SerializeToString(), lambda: Order(ORDER).to_bytes()),
    }
    result = measure(cases)
    if "--json" in sys.argv:
        print(json.dumps({name: {"protobuf_ns": a, "stubless_ns": b, "ratio": a / b} for name, (a, b) in result.items()}))
        return
    print(f"{len(data)} bytes, {sys.version.split()[0]}, times in ns\n{'':26}{'protobuf':>10}{'stubless':>10}{'ratio':>8}")
    for name, (a, b) in result.items():
        print(f"{name:26}{a:10.0f}{b:10.0f}{a / b:8.2f}")


if __name__ == "__main__":
    main()
