"""What the Python subjects of the benches share: the command line, the messages, the loop that counts.

    SUBJECT serve                                           prints `ready PORT`, serves until its input closes
    SUBJECT load --target T --workload W --inflight N       reads `run SECONDS`, prints `done MESSAGES`
"""

import argparse
import sys
import threading
import time
from pathlib import Path

PROTO = Path(__file__).resolve().parents[1] / "proto"
PER_STREAM = 5_000  # messages per stream; the loader's figure
SERVICE = "bench.v1.Bench"
TEXT = "x" * 93

ADDRESS = {
    "name": "Ada Lovelace", "street": "12 St James's Square", "city": "London", "postcode": "SW1Y 4JH", "country": "GB",
}  # fmt: skip
ORDER = {
    "id": 918273645546372819, "reference": "SO-2031-000417", "customer": "Analytical Engines Ltd",
    "email": "ada@engines.example", "state": 2, "created_us": 1763654400000000, "updated_us": 1763658000123456,
    "ship_to": ADDRESS, "bill_to": ADDRESS,
    "items": [
        {"sku": f"AE-{n:05}", "title": f"Difference wheel no. {n}, brass", "quantity": n + 1, "price_micros": 129900000 + n}
        for n in range(4)
    ],
    "currency": "GBP", "net_micros": 519600006, "tax_micros": 103920001, "discount": 0.125, "gift": True,
    "note": "Leave with the porter; ring twice.", "tags": ["brass", "fragile", "priority"], "ratings": [5, 4, 5, 3, 5],
    "labels": {"region": "eu-west", "channel": "web", "tier": "gold"}, "signature": bytes(range(32)),
    "weight_kg": 12.5, "zone_offset_minutes": -60,
}  # fmt: skip
SCALARS = [name for name, value in ORDER.items() if not isinstance(value, (dict, list))]


def read_order(order) -> int:
    """Reads all 22 fields, as a program that wants the order would; gives something that depends on them."""
    total = 0
    for name in SCALARS:
        total += bool(getattr(order, name))
    for address in (order.ship_to, order.bill_to):
        total += len(address.name) + len(address.street) + len(address.city) + len(address.postcode) + len(address.country)
    for item in order.items:
        total += len(item.sku) + len(item.title) + item.quantity + item.price_micros
    for tag in order.tags:
        total += len(tag)
    for rating in order.ratings:
        total += rating
    for key, value in order.labels.items():
        total += len(key) + len(value)
    return total


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["serve", "load", "once"])
    parser.add_argument("--target")
    parser.add_argument("--workload", default="unary")
    parser.add_argument("--inflight", type=int, default=1)
    parser.add_argument("--payload")  # the loader's canned bytes: a subject builds its own
    return parser.parse_args()


def protobuf_messages():
    """(Msg, Order) as classes of google.protobuf, for the peers that use it."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    pool = descriptor_pool.DescriptorPool()
    described = Path(__file__).resolve().parents[2] / "build" / "bench" / "bench.binpb"
    for file in descriptor_pb2.FileDescriptorSet.FromString(described.read_bytes()).file:
        pool.Add(file)
    return [message_factory.GetMessageClass(pool.FindMessageTypeByName(f"bench.v1.{name}")) for name in ("Msg", "Order")]


def ready(port: int) -> None:
    print(f"ready {port}", flush=True)


def until_input_closes() -> None:
    sys.stdin.read()


def commands():
    for line in sys.stdin:
        yield time.perf_counter() + float(line.split()[1])


def measure(call, inflight: int) -> None:
    """Runs `call`, which gives how many messages it moved, on so many threads for as long as each command says."""

    def lane(until: float, counts: list) -> None:
        count = 0
        while time.perf_counter() < until:
            count += call()
        counts.append(count)

    for until in commands():
        counts: list[int] = []
        threads = [threading.Thread(target=lane, args=(until, counts)) for _ in range(inflight - 1)]
        for thread in threads:
            thread.start()
        lane(until, counts)
        for thread in threads:
            thread.join()
        print(f"done {sum(counts)}", flush=True)


async def measure_async(call, inflight: int) -> None:
    """The same with so many tasks."""
    import asyncio

    async def lane(until: float) -> int:
        count = 0
        while time.perf_counter() < until:
            count += await call()
        return count

    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        until = time.perf_counter() + float(line.split()[1])
        counts = await asyncio.gather(*(lane(until) for _ in range(inflight)))
        print(f"done {sum(counts)}", flush=True)
