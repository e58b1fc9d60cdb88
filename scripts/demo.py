"""The main job, on real input: one `.proto`, loaded at run time; servers and clients of three makers, all four kinds.

Prints a line per pair of client and server; exits 0 only if every answer was right. Needs the package `stubless`, grpcio,
and the Rust examples (`make demo` provides all three).
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc

import stubless as sl

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
EXAMPLES = TARGET / "release" / "examples"
SERVICE = "hello.v1.Greeter"

schema = sl.Schema.load("hello.proto", include=[str(ROOT / "examples" / "hello")])
Name = schema.message("hello.v1.Name")
Greeting = schema.message("hello.v1.Greeting")


def greet(names: Iterable[str]) -> dict[str, str]:
    return {"text": f"Hello, {' and '.join(names)}!"}


EXPECTED = {
    "unary": ["Hello, Ada!"],
    "server streaming": ["Hello, Ada!"] * 3,
    "client streaming": ["Hello, Ada and Grace!"],
    "bidi": ["Hello, Ada!", "Hello, Grace!"],
}

# ---- servers --------------------------------------------------------------------------------------------------------


class Greeter:
    """Ours: plain functions and generators."""

    def Greet(self, request: Any, context: sl.Context) -> dict[str, str]:
        if not request.name:
            raise sl.InvalidArgument("the name is empty")
        return greet([request.name])

    def GreetOften(self, request: Any, context: sl.Context) -> Iterator[dict[str, str]]:
        for _ in range(request.times):
            yield greet([request.name])

    def GreetAll(self, requests: Iterable[Any], context: sl.Context) -> dict[str, str]:
        return greet([request.name for request in requests])

    def Chat(self, requests: Iterable[Any], context: sl.Context) -> Iterator[dict[str, str]]:
        for request in requests:
            yield greet([request.name])


def grpcio_server() -> tuple[grpc.Server, int]:
    """grpcio's, with our messages as its (de)serializers."""

    def reply(names: Iterable[str]) -> Any:
        return Greeting(greet(names))

    def unary(request: Any, context: grpc.ServicerContext) -> Any:
        if not request.name:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the name is empty")
        return reply([request.name])

    kinds = {"request_deserializer": Name.from_bytes, "response_serializer": lambda m: m.to_bytes()}
    handlers = {
        "Greet": grpc.unary_unary_rpc_method_handler(unary, **kinds),
        "GreetOften": grpc.unary_stream_rpc_method_handler(
            lambda request, _: (reply([request.name]) for _ in range(request.times)), **kinds
        ),
        "GreetAll": grpc.stream_unary_rpc_method_handler(
            lambda requests, _: reply([r.name for r in requests]), **kinds
        ),
        "Chat": grpc.stream_stream_rpc_method_handler(
            lambda requests, _: (reply([r.name]) for r in requests), **kinds
        ),
    }
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


# ---- clients --------------------------------------------------------------------------------------------------------

Answers = dict[str, list[str]]


def ours_blocking(target: str) -> Answers:
    with sl.connect(target, schema=schema) as channel:
        greeter = channel.service(SERVICE)
        with greeter.Chat() as chat:
            talk = []
            for name in ("Ada", "Grace"):
                chat.send({"name": name})
                talk.append(chat.recv().text)
            chat.done()
        return {
            "unary": [greeter.Greet({"name": "Ada"}, timeout=5).text],
            "server streaming": [m.text for m in greeter.GreetOften({"name": "Ada", "times": 3})],
            "client streaming": [greeter.GreetAll({"name": n} for n in ("Ada", "Grace")).text],
            "bidi": talk,
        }


def ours_asyncio(target: str) -> Answers:
    async def run() -> Answers:
        async def names() -> AsyncIterator[dict[str, str]]:
            for name in ("Ada", "Grace"):
                yield {"name": name}

        async with sl.aio.connect(target, schema=schema) as channel:
            greeter = channel.service(SERVICE)
            return {
                "unary": [(await greeter.Greet({"name": "Ada"}, timeout=5)).text],
                "server streaming": [m.text async for m in greeter.GreetOften({"name": "Ada", "times": 3})],
                "client streaming": [(await greeter.GreetAll(names())).text],
                "bidi": [m.text async for m in greeter.Chat(names())],
            }

    return asyncio.run(run())


def grpcio_client(target: str) -> Answers:
    with grpc.insecure_channel(target) as channel:
        kinds = {"request_serializer": lambda m: m.to_bytes(), "response_deserializer": Greeting.from_bytes}
        path = f"/{SERVICE}/"
        names = [Name(name="Ada"), Name(name="Grace")]
        return {
            "unary": [channel.unary_unary(path + "Greet", **kinds)(Name(name="Ada"), timeout=5).text],
            "server streaming": [
                m.text for m in channel.unary_stream(path + "GreetOften", **kinds)(Name(name="Ada", times=3))
            ],
            "client streaming": [channel.stream_unary(path + "GreetAll", **kinds)(iter(names)).text],
            "bidi": [m.text for m in channel.stream_stream(path + "Chat", **kinds)(iter(names))],
        }


def ours_rust(target: str) -> Answers:
    done = subprocess.run(
        [EXAMPLES / "hello_client", target], capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    said: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        kind, _, text = line.partition(": ")
        said.setdefault(kind, []).append(text)
    # the Rust example counts its stream and greets one person more
    counted = ["Hello, Ada!"] * int(said["server streaming"][0].split()[0])
    everybody = said["client streaming"][0].replace(" and Edsger", "")
    return {
        "unary": said["unary"],
        "server streaming": counted,
        "client streaming": [everybody],
        "bidi": said["bidi"],
    }


def main() -> int:
    wrong = 0

    def show(server: str, client: str, call: Callable[[str], Answers], target: str) -> None:
        nonlocal wrong
        try:
            answers = call(target)
        except Exception as error:  # one pair's failure must not hide the others'
            traceback.print_exc()
            answers = {"error": [repr(error)]}
        for kind, expected in EXPECTED.items():
            right = answers.get(kind) == expected
            wrong += not right
            shown = ", ".join(expected) if right else f"expected {expected}, got {answers.get(kind)}"
            print(f"{'ok  ' if right else 'FAIL'} {client:>18} -> {server:<15} {kind:<17} {shown}", flush=True)

    clients: list[tuple[str, Callable[[str], Answers]]] = [
        ("stubless blocking", ours_blocking),
        ("stubless asyncio", ours_asyncio),
        ("stubless Rust", ours_rust),
    ]

    with sl.Server(schema=schema) as server:
        server.add_service(SERVICE, Greeter())
        port = server.start("127.0.0.1:0")
        for name, client in [*clients, ("grpcio", grpcio_client)]:
            show("stubless Python", name, client, f"127.0.0.1:{port}")
        server.stop(grace=1)

    theirs, port = grpcio_server()
    for name, client in clients:
        show("grpcio", name, client, f"127.0.0.1:{port}")
    theirs.stop(1).wait()

    rust = subprocess.Popen([EXAMPLES / "hello_server", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
    try:
        assert rust.stdout is not None
        port = int(rust.stdout.readline().split()[1])
        for name, client in [*clients, ("grpcio", grpcio_client)]:
            show("stubless Rust", name, client, f"127.0.0.1:{port}")
    finally:
        rust.kill()
        rust.wait()

    print("all answers are right" if not wrong else f"{wrong} answers are wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
