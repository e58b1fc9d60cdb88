"""The table of the benches, as data: what is measured, which of ours, against which peers, and what it should reach."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    name: str
    ours: str
    peers: tuple[str, ...]
    least: float  # how many times less (or quicker) ours must be than the best of the peers
    aim: float
    workload: str
    side: str = "client"  # which side is under test; the loader is the other
    inflight: int = 1
    measure: str = "load"


STREAM_PEERS = ("grpcio-sync", "grpcio-aio", "grpclib")

ROWS = [
    Row("python-blocking-client", "stubless-blocking", ("grpcio-sync",), 3, 5, "unary"),
    Row("python-asyncio-client-16", "stubless-asyncio", ("grpcio-aio", "grpclib"), 3, 4.5, "unary", inflight=16),
    Row("python-asyncio-server-16", "stubless-asyncio", ("grpcio-aio", "grpclib"), 4, 10, "unary", "server", 16),
    Row("python-blocking-server-16", "stubless-blocking", ("grpcio-sync",), 3, 7, "unary", "server", 16),
    Row("python-blocking-receive", "stubless-blocking", STREAM_PEERS, 2.5, 7, "receive"),
    Row("python-asyncio-receive", "stubless-asyncio", STREAM_PEERS, 2.5, 7, "receive"),
    Row("python-blocking-send", "stubless-blocking", STREAM_PEERS, 2.5, 7, "send"),
    Row("python-asyncio-send", "stubless-asyncio", STREAM_PEERS, 2.5, 7, "send"),
    Row("python-asyncio-server-sends", "stubless-asyncio", STREAM_PEERS, 2.5, 7, "receive", "server"),
    Row("python-asyncio-server-receives", "stubless-asyncio", STREAM_PEERS, 2.5, 7, "send", "server"),
    Row("python-order-blocking-client", "stubless-blocking", ("grpcio-sync",), 2, 3, "order"),
    Row("python-order-asyncio-client-16", "stubless-asyncio", ("grpcio-aio",), 2, 3, "order", inflight=16),
    Row("python-order-asyncio-server-16", "stubless-asyncio", ("grpcio-aio",), 2, 3, "order", "server", 16),
    Row("engine-client-16", "engine", ("tonic",), 1.6, 2, "unary", inflight=16),
    Row("engine-server-16", "engine", ("tonic",), 1.6, 2, "unary", "server", 16),
    Row("codec-decode", "stubless", ("prost",), 1.25, 2.5, "decode", measure="codec"),
    Row("codec-encode", "stubless", ("prost",), 1, 1.67, "encode", measure="codec"),
    Row("python-import", "stubless-blocking", ("grpcio-sync",), 4, 12, "import", measure="wall"),
    Row("python-first-answer", "stubless-blocking", ("grpcio-sync",), 2.5, 4, "once", measure="wall"),
    Row("idle-connection", "engine", ("tonic",), 2, 5, "connection", "server", measure="idle"),
    Row("idle-stream", "engine", ("tonic",), 2, 5, "stream", "server", measure="idle"),
]

IMPORTS = {"stubless-blocking": "stubless", "grpcio-sync": "grpc"}
