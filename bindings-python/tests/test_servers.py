"""Our servers, blocking and asyncio, called by grpcio: all kinds, errors, cancels, shutdown, services while running."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

import stubless as sl

grpc = pytest.importorskip("grpc")


@pytest.fixture
def stub(ours: Any, generated: Any) -> Any:
    with grpc.insecure_channel(ours.target) as channel:
        yield generated[1].EchoStub(channel)


@pytest.fixture
def msg(generated: Any) -> Any:
    return generated[0].Msg


def test_all_kinds(stub: Any, msg: Any) -> None:
    assert stub.Unary(msg(text="hi", n=3)) == msg(text="hi", n=3)
    assert [m.n for m in stub.ServerStream(msg(n=500))] == list(range(500))
    assert stub.ClientStream(msg(n=n) for n in range(500)).n == sum(range(500))
    assert [m.n for m in stub.Bidi(msg(n=n) for n in range(500))] == list(range(500))


def test_a_raised_status_has_text_metadata_and_details(stub: Any, msg: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Unary(msg(text="missing"))
    error = caught.value
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "nothing here ü")
    trailers = dict(error.trailing_metadata())
    assert trailers["x-why-bin"] == b"\x00\xff" and trailers["x-why"] == "because"
    assert b"demo.v1.Msg" in trailers["grpc-status-details-bin"]
    with pytest.raises(grpc.RpcError, match="the rest"):
        list(stub.ServerStream(msg(n=3, text="missing")))


def test_an_exceptions_text_stays_here(stub: Any, msg: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Unary(msg(text="broken"))
    assert caught.value.code() is grpc.StatusCode.UNKNOWN and "secret" not in caught.value.details()
    with pytest.raises(grpc.RpcError) as caught:
        stub.Unary(msg(text="nothing"))
    assert caught.value.code() is grpc.StatusCode.INTERNAL


def test_metadata_and_deadline_reach_the_handler(stub: Any, msg: Any) -> None:
    _, call = stub.Unary.with_call(msg(text="metadata"), metadata=(("x-a", "1"), ("x-b-bin", b"\xff")))
    assert dict(call.initial_metadata()) == {"x-a": "1", "x-b-bin": b"\xff"}
    assert dict(call.trailing_metadata()) == {"x-a": "1", "x-b-bin": b"\xff"}
    assert stub.Unary(msg(text="remaining")).n == -1
    assert 0 < stub.Unary(msg(text="remaining"), timeout=10).n <= 11_000  # grpcio rounds up


def test_a_cancel_reaches_the_handler_and_never_looks_like_the_end(
    stub: Any, msg: Any, ours: Any, eventually: Any
) -> None:
    future = stub.Unary.future(msg(text="wait"))
    assert ours.handlers.waiting.acquire(timeout=10)
    future.cancel()
    assert eventually(lambda: ours.handlers.seen == ["told"])
    more = threading.Event()

    def requests() -> Any:
        yield msg(n=1)
        more.wait(10)

    call = stub.Bidi(requests())
    assert next(call).n == 1
    call.cancel()
    assert eventually(lambda: ours.handlers.seen == ["told", "CANCELLED"])
    more.set()
    with pytest.raises(grpc.RpcError):
        stub.Unary(msg(text="wait"), timeout=0.1)
    assert eventually(lambda: ours.handlers.seen == ["told", "CANCELLED", "told"])
    stream = stub.ServerStream(msg(n=10**8))
    assert next(stream).n == 0
    stream.cancel()
    assert eventually(lambda: ours.handlers.seen[-1] == "closed")


def test_more_blocking_handlers_at_once_than_one(stub: Any, msg: Any, ours: Any, eventually: Any) -> None:
    slow = [stub.Unary.future(msg(text="wait")) for _ in range(8)]
    for _ in slow:
        assert ours.handlers.waiting.acquire(timeout=10)
    assert stub.Unary(msg(n=1), timeout=10).n == 1
    for future in slow:
        future.cancel()
    assert eventually(lambda: ours.handlers.seen == ["told"] * 8)


def test_calls_made_in_a_handler_inherit_its_deadline(ours: Any, schema: sl.Schema) -> None:
    with sl.connect(ours.target, schema=schema) as there, sl.Server(schema=schema) as server:

        class Front:
            def Unary(self, request: Any, context: sl.Context) -> Any:
                options = {"timeout": float("inf")} if request.n else {}
                return there.service("demo.v1.Echo").Unary({"text": "remaining"}, **options)

        server.add_service("demo.v1.Echo", Front())
        port = server.start("127.0.0.1:0")
        with sl.connect(f"127.0.0.1:{port}", schema=schema) as channel:
            echo = channel.service("demo.v1.Echo")
            assert 0 < echo.Unary({}, timeout=30).n <= 30_000
            assert echo.Unary({"n": 1}, timeout=30).n == -1
            assert echo.Unary({}).n == -1


def test_calls_made_in_a_coroutine_handler_inherit_its_deadline(ours: Any, schema: sl.Schema) -> None:
    async def main() -> None:
        server = sl.aio.Server(schema=schema)
        there = sl.aio.connect(ours.target, schema=schema)

        @server.method("demo.v1.Echo/Unary")
        async def unary(request: Any, context: sl.Context) -> Any:
            await asyncio.sleep(0)
            return await there.service("demo.v1.Echo").Unary({"text": "remaining"})

        port = await server.start("127.0.0.1:0")
        async with sl.aio.connect(f"127.0.0.1:{port}", schema=schema) as channel:
            echo = channel.service("demo.v1.Echo")
            assert 0 < (await echo.Unary({}, timeout=30)).n <= 30_000
            assert (await echo.Unary({})).n == -1
        await server.stop(1)

    asyncio.run(main())


def test_services_come_and_go_while_the_server_runs(schema: sl.Schema) -> None:
    with sl.Server(schema=schema) as server:
        port = server.start("127.0.0.1:0")
        with sl.connect(f"127.0.0.1:{port}", schema=schema) as channel:
            echo = channel.service("demo.v1.Echo")
            with pytest.raises(sl.Unimplemented, match="demo.v1.Echo"):
                echo.Unary({})
            server.method("demo.v1.Echo/Unary")(lambda request, context: request)
            assert echo.Unary({"n": 1}).n == 1
            server.method("/demo.v1.Echo/ClientStream")(lambda requests, context: {"n": sum(m.n for m in requests)})
            assert echo.Unary({"n": 1}).n == 1 and echo.ClientStream([{"n": 2}]).n == 2
            with pytest.raises(sl.Unimplemented, match="Bidi"):
                list(echo.Bidi([]))
            assert server.remove_service("demo.v1.Echo") and not server.remove_service("demo.v1.Echo")
            with pytest.raises(sl.Unimplemented):
                echo.Unary({})


def test_what_the_schema_lacks_is_refused_at_registration(schema: sl.Schema) -> None:
    class Extra:
        def Unary(self, request: Any, context: Any) -> Any: ...

        def Other(self) -> None: ...

    server = sl.Server(schema=schema)
    with pytest.raises(ValueError, match="Other"):
        server.service("demo.v1.Echo")(Extra)
    with pytest.raises(LookupError, match="demo.v1.Nope"):
        server.add_service("demo.v1.Nope", object())
    with pytest.raises(LookupError, match="Nope"):
        server.method("demo.v1.Echo/Nope")(lambda request, context: request)
    with pytest.raises(TypeError, match="handler_thread"):
        sl.Server(schema=schema, handler_thread=3)
    with pytest.raises(ValueError, match="handler_threads"):
        sl.aio.Server(schema=schema, handler_threads=0)

    async def coroutine(request: Any, context: Any) -> Any: ...

    with pytest.raises(TypeError, match="aio"):
        server.method("demo.v1.Echo/Unary")(coroutine)


def test_a_stop_lets_calls_finish_within_the_grace_and_cancels_the_rest(schema: sl.Schema) -> None:
    begun = threading.Semaphore(0)
    go_on = threading.Event()

    def unary(request: Any, context: sl.Context) -> Any:
        begun.release()
        ended = threading.Event()
        context.add_callback(ended.set)
        (go_on if request.n else ended).wait(10)
        return request

    server = sl.Server(schema=schema)
    server.method("demo.v1.Echo/Unary")(unary)
    port = server.start("127.0.0.1:0")
    with sl.connect(f"127.0.0.1:{port}", schema=schema) as channel:
        echo = channel.service("demo.v1.Echo")
        polite, stubborn = echo.Unary.future({"n": 1}), echo.Unary.future({})
        assert begun.acquire(timeout=10) and begun.acquire(timeout=10)
        threading.Timer(0.1, go_on.set).start()
        began = time.monotonic()
        server.stop(0.5)
        assert time.monotonic() - began < 5
        assert polite.result(10).n == 1
        assert isinstance(stubborn.exception(10), (sl.Cancelled, sl.Unavailable))
    assert server.wait(timeout=1)


def test_interceptors_of_a_blocking_server(schema: sl.Schema) -> None:
    log = []

    def guard(call: Any, proceed: Any) -> Any:
        if "x-token" not in call.metadata:
            raise sl.Unauthenticated("who are you?")
        try:
            answer = proceed(call)
        except ZeroDivisionError:
            raise sl.InvalidArgument("by zero") from None
        log.append(call.method)
        return (a for a in answer if a["n"] % 2) if call.server_streaming else answer

    class Echo:
        def Unary(self, request: Any, context: Any) -> Any:
            return {"n": 10 // request.n}

        def ServerStream(self, request: Any, context: Any) -> Any:
            return [{"n": n} for n in range(request.n)]

    with sl.Server(schema=schema, interceptors=[guard]) as server:
        server.add_service("demo.v1.Echo", Echo())
        port = server.start("127.0.0.1:0")
        with sl.connect(f"127.0.0.1:{port}", schema=schema) as channel:
            echo, token = channel.service("demo.v1.Echo"), {"x-token": "t"}
            with pytest.raises(sl.Unauthenticated, match="who are you"):
                echo.Unary({"n": 1})
            assert echo.Unary({"n": 5}, metadata=token).n == 2
            with pytest.raises(sl.InvalidArgument):
                echo.Unary({}, metadata=token)
            assert [m.n for m in echo.ServerStream({"n": 6}, metadata=token)] == [1, 3, 5]
    assert log == ["/demo.v1.Echo/Unary", "/demo.v1.Echo/ServerStream"]


def test_interceptors_of_an_asyncio_server(schema: sl.Schema) -> None:
    async def guard(call: Any, proceed: Any) -> Any:
        if "x-token" not in call.metadata:
            raise sl.Unauthenticated("who are you?")
        return await proceed(call)

    class Echo:
        async def Unary(self, request: Any, context: Any) -> Any:
            return request

        async def ServerStream(self, request: Any, context: Any) -> Any:
            for n in range(request.n):
                yield {"n": n}

        def Bidi(self, requests: Any, context: Any) -> Any:
            return requests

    async def main() -> None:
        server = sl.aio.Server(schema=schema, interceptors=[guard])
        server.add_service("demo.v1.Echo", Echo())
        port = await server.start("127.0.0.1:0")
        async with sl.aio.connect(f"127.0.0.1:{port}", schema=schema) as channel:
            echo, token = channel.service("demo.v1.Echo"), {"x-token": "t"}
            with pytest.raises(sl.Unauthenticated):
                await echo.Unary({"n": 1})
            with pytest.raises(sl.Unauthenticated):
                [m async for m in echo.ServerStream({"n": 1})]
            assert (await echo.Unary({"n": 5}, metadata=token)).n == 5
            assert [m.n async for m in echo.ServerStream({"n": 3}, metadata=token)] == [0, 1, 2]
            assert [m.n async for m in echo.Bidi([{"n": 1}], metadata=token)] == [1]
        await server.stop(1)

    asyncio.run(main())


def test_health_and_reflection_without_generated_code(schema: sl.Schema) -> None:
    with sl.Server(schema=schema) as server:
        server.method("demo.v1.Echo/Unary")(lambda request, context: request)
        health = server.enable_health()
        health.set("demo.v1.Echo", "NOT_SERVING")
        server.enable_reflection()
        target = f"127.0.0.1:{server.start('127.0.0.1:0')}"
        with sl.connect(target) as channel:
            assert sl.health(channel) == "SERVING" and sl.health(channel, "demo.v1.Echo") == "NOT_SERVING"
            with pytest.raises(sl.NotFound):
                sl.health(channel, "nope")
        reflected = sl.Schema.reflect(target)
        assert "demo.v1.Echo" in reflected.services()
        with sl.connect(target, schema=reflected) as channel:
            assert channel.service("demo.v1.Echo").Unary({"n": 3}).n == 3


def test_limits_of_a_server(schema: sl.Schema) -> None:
    with sl.Server(schema=schema, max_receive_message_bytes=1000, max_concurrent_calls=1) as server:
        entered, leave = threading.Event(), threading.Event()

        def unary(request: Any, context: Any) -> Any:
            if request.n:
                entered.set()
                leave.wait(10)
            return request

        server.method("demo.v1.Echo/Unary")(unary)
        with sl.connect(f"127.0.0.1:{server.start('127.0.0.1:0')}", schema=schema) as channel:
            echo = channel.service("demo.v1.Echo")
            with pytest.raises(sl.ResourceExhausted):
                echo.Unary({"text": "x" * 2000})
            first = echo.Unary.future({"n": 1})
            assert entered.wait(10)
            with pytest.raises(sl.ResourceExhausted):
                echo.Unary({})
            leave.set()
            assert first.result(10).n == 1


def test_a_unix_socket_and_several_addresses(schema: sl.Schema, tmp_path: Any) -> None:
    with sl.Server(schema=schema) as server:
        server.method("demo.v1.Echo/Unary")(lambda request, context: {"text": context.peer()})
        port = server.start("127.0.0.1:0", f"unix:{tmp_path}/s")
        with sl.connect(f"unix:{tmp_path}/s", schema=schema) as channel:
            assert channel.service("demo.v1.Echo").Unary({}).text.startswith("unix:")
        with sl.connect(f"127.0.0.1:{port}", schema=schema) as channel:
            assert channel.service("demo.v1.Echo").Unary({}).text.startswith("ipv4:127.0.0.1:")
