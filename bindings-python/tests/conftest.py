"""What the call tests share: one echo service, served by grpcio, by our blocking and by our asynchronous server."""

from __future__ import annotations

import asyncio
import pathlib
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import pytest

import stubless as sl

PROTOS = pathlib.Path(__file__).parent / "protos"


@pytest.fixture(scope="session")
def schema() -> sl.Schema:
    return sl.Schema.load("echo.proto", include=[PROTOS])


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """grpcio's generated modules of the echo service: (messages, services)."""
    pytest.importorskip("grpc_tools")
    from grpc_tools import protoc

    out = tmp_path_factory.mktemp("generated")
    arguments = ["protoc", f"-I{PROTOS}", f"--python_out={out}", f"--grpc_python_out={out}", "echo.proto"]
    assert protoc.main(arguments) == 0
    sys.path.insert(0, str(out))
    import echo_pb2
    import echo_pb2_grpc

    return echo_pb2, echo_pb2_grpc


class Blocking:
    """Our handlers, as plain functions. What a handler saw of its end is in `seen`."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.waiting = threading.Semaphore(0)

    def Unary(self, request: Any, context: sl.Context) -> Any:
        match request.text:
            case "missing":
                context.set_trailing_metadata({"x-why": "because", "x-why-bin": b"\x00\xff"})
                detail = type(request)(text="a detail", n=7)
                context.abort(sl.StatusCode.NOT_FOUND, "nothing here ü", status_details=[detail])
            case "broken":
                raise ZeroDivisionError("a secret")
            case "wait":
                ended = threading.Event()
                context.add_callback(ended.set)
                self.waiting.release()
                self.seen.append("told" if ended.wait(10) and not context.is_active() else "not told")
            case "metadata":
                pairs = [pair for pair in context.invocation_metadata() if pair[0].startswith("x-")]
                context.send_initial_metadata(pairs)
                context.set_trailing_metadata(pairs)
            case "remaining":
                left = context.time_remaining()
                return {"n": -1 if left is None else int(left * 1000)}
            case "nothing":
                return None
        return {"text": request.text, "n": request.n}

    def ServerStream(self, request: Any, context: sl.Context) -> Iterator[Any]:
        try:
            for n in range(request.n):
                yield {"n": n, "text": request.text}
            if request.text == "missing":
                raise sl.NotFound("the rest")
        finally:
            self.seen.append("closed")

    def ClientStream(self, requests: Any, context: sl.Context) -> Any:
        total = 0
        for request in requests:
            total += request.n
            if request.text == "enough":
                break
        return {"n": total}

    def Bidi(self, requests: Any, context: sl.Context) -> Iterator[Any]:
        try:
            for request in requests:
                yield request
        except sl.RpcError as error:
            self.seen.append(error.code().name)
            raise
        else:
            self.seen.append("end")


class Looped:
    """The same, as coroutines."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.waiting = threading.Semaphore(0)

    async def Unary(self, request: Any, context: sl.Context) -> Any:
        match request.text:
            case "missing":
                context.set_trailing_metadata({"x-why": "because", "x-why-bin": b"\x00\xff"})
                detail = type(request)(text="a detail", n=7)
                context.abort(sl.StatusCode.NOT_FOUND, "nothing here ü", status_details=[detail])
            case "broken":
                raise ZeroDivisionError("a secret")
            case "wait":
                self.waiting.release()
                try:
                    await asyncio.sleep(10)
                    self.seen.append("not told")
                except asyncio.CancelledError:
                    self.seen.append("told")
                    raise
            case "metadata":
                pairs = [pair for pair in context.invocation_metadata() if pair[0].startswith("x-")]
                await context.send_initial_metadata(pairs)
                context.set_trailing_metadata(pairs)
            case "remaining":
                left = context.time_remaining()
                return {"n": -1 if left is None else int(left * 1000)}
            case "nothing":
                return None
        return {"text": request.text, "n": request.n}

    async def ServerStream(self, request: Any, context: sl.Context) -> Any:
        try:
            for n in range(request.n):
                yield {"n": n, "text": request.text}
            if request.text == "missing":
                raise sl.NotFound("the rest")
        finally:
            self.seen.append("closed")

    async def ClientStream(self, requests: Any, context: sl.Context) -> Any:
        total = 0
        async for request in requests:
            total += request.n
            if request.text == "enough":
                break
        return {"n": total}

    async def Bidi(self, requests: Any, context: sl.Context) -> Any:
        try:
            async for request in requests:
                yield request
        except (sl.RpcError, asyncio.CancelledError):
            self.seen.append("CANCELLED")
            raise
        else:
            self.seen.append("end")


class Running:
    """A running server: its port, and what its handlers saw."""

    def __init__(self, port: int, handlers: Any) -> None:
        self.target = f"127.0.0.1:{port}"
        self.port = port
        self.handlers = handlers


class LoopThread:
    """An event loop in a thread, for tests that are not asynchronous themselves."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop) -> None:
        self.loop = new_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@pytest.fixture(params=["blocking", "asyncio"])
def ours(request: pytest.FixtureRequest, schema: sl.Schema) -> Iterator[Running]:
    """Our server, of both kinds."""
    if request.param == "blocking":
        handlers = Blocking()
        with sl.Server(schema=schema) as server:
            server.add_service("demo.v1.Echo", handlers)
            yield Running(server.start("127.0.0.1:0"), handlers)
    else:
        looped = Looped()
        thread = LoopThread()
        aserver = sl.aio.Server(schema=schema)
        aserver.add_service("demo.v1.Echo", looped)
        yield Running(thread.run(aserver.start("127.0.0.1:0")), looped)
        thread.run(aserver.stop(0))
        thread.stop()


@pytest.fixture(scope="session")
def grpcio_server(generated: Any) -> Iterator[str]:
    """grpcio's blocking server with the same behaviour, as far as tests of clients ask; gives its target."""
    import grpc

    messages, services = generated

    class Echo(services.EchoServicer):  # type: ignore[misc, name-defined]
        def Unary(self, request: Any, context: Any) -> Any:
            if request.text == "missing":
                from google.protobuf import any_pb2

                context.set_trailing_metadata((("x-why", "because"), ("x-why-bin", b"\x00\xff")))
                detail = any_pb2.Any()
                detail.Pack(messages.Msg(text="a detail", n=7))
                status = b"\x08\x05" + b"\x1a" + bytes([detail.ByteSize()]) + detail.SerializeToString()
                context.set_trailing_metadata(
                    (("x-why", "because"), ("x-why-bin", b"\x00\xff"), ("grpc-status-details-bin", status))
                )
                context.abort(grpc.StatusCode.NOT_FOUND, "nothing here ü")
            if request.text == "metadata":
                pairs = [(k, v) for k, v in context.invocation_metadata() if k.startswith("x-")]
                context.send_initial_metadata(pairs)
                context.set_trailing_metadata(pairs)
            if request.text == "wait":
                ended = threading.Event()
                context.add_callback(ended.set)
                ended.wait(10)
            return messages.Msg(text=request.text, n=request.n)

        def ServerStream(self, request: Any, context: Any) -> Any:
            for n in range(request.n):
                yield messages.Msg(n=n, text=request.text)
            if request.text == "missing":
                context.abort(grpc.StatusCode.NOT_FOUND, "the rest")

        def ClientStream(self, requests: Any, context: Any) -> Any:
            total = 0
            for request in requests:
                total += request.n
                if request.text == "enough":
                    break
            return messages.Msg(n=total)

        def Bidi(self, requests: Any, context: Any) -> Any:
            yield from requests

    server = grpc.server(futures.ThreadPoolExecutor(32))
    services.add_EchoServicer_to_server(Echo(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0)


def until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    """Waits for another thread to make something true."""
    import time

    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


@pytest.fixture
def eventually() -> Callable[..., bool]:
    return until
