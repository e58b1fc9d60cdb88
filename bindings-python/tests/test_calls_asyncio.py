"""Asynchronous calls against grpcio's server, under asyncio and uvloop, trio and anyio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import stubless as sl

Run = Callable[[Any], Any]


def _uvloop(coroutine: Any) -> Any:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine)


@pytest.fixture(params=["asyncio", "uvloop", "debug"])
def run(request: pytest.FixtureRequest) -> Run:
    return {"asyncio": asyncio.run, "uvloop": _uvloop, "debug": lambda c: asyncio.run(c, debug=True)}[request.param]


def with_echo(target: str, schema: sl.Schema, body: Callable[[Any], Any], **options: Any) -> Any:
    async def main() -> Any:
        async with sl.aio.connect(target, schema=schema, **options) as channel:
            return await body(channel.service("demo.v1.Echo"))

    return main()


def test_all_kinds(run: Run, grpcio_server: str, schema: sl.Schema) -> None:
    async def body(echo: Any) -> None:
        assert (await echo.Unary({"text": "hi"})).text == "hi"
        assert [m.n async for m in echo.ServerStream({"n": 300})] == list(range(300))
        assert (await echo.ClientStream({"n": n} for n in range(1000))).n == 499500

        async def requests() -> AsyncIterator[dict[str, int]]:
            for n in range(300):
                yield {"n": n}
                if n % 100 == 0:
                    await asyncio.sleep(0)

        assert (await echo.ClientStream(requests())).n == sum(range(300))
        assert [m.n async for m in echo.Bidi(requests())] == list(range(300))
        async with echo.Bidi() as call:
            for n in range(3):
                await call.send({"n": n})
                assert (await call.recv()).n == n
            call.done()
            assert await call.recv() is None and call.code() is sl.StatusCode.OK

    run(with_echo(grpcio_server, schema, body))


def test_errors_metadata_and_details(run: Run, grpcio_server: str, schema: sl.Schema) -> None:
    async def body(echo: Any) -> None:
        with pytest.raises(sl.NotFound) as caught:
            await echo.Unary({"text": "missing"})
        assert caught.value.trailing_metadata().get("x-why-bin") == b"\x00\xff"
        assert caught.value.status_details[0].text == "a detail"
        answer, call = await echo.Unary.with_call({"text": "metadata"}, metadata={"x-b-bin": b"\xff"})
        assert (await call.initial_metadata()).get("x-b-bin") == b"\xff"
        assert call.trailing_metadata().get("x-b-bin") == b"\xff" and answer.text == "metadata"
        got = []
        with pytest.raises(sl.NotFound, match="the rest"):
            async for message in echo.ServerStream({"n": 3, "text": "missing"}):
                got.append(message.n)
        assert got == [0, 1, 2]
        with pytest.raises(sl.DeadlineExceeded):
            await echo.Unary({"text": "wait"}, timeout=0.1)
        with pytest.raises((TypeError, ValueError), match="nope"):
            await echo.Unary({"nope": 1})

    run(with_echo(grpcio_server, schema, body))


def test_ten_thousand_calls_at_once_on_one_channel(run: Run, ours: Any, schema: sl.Schema) -> None:
    async def body(echo: Any) -> None:
        answers = await asyncio.gather(*(echo.Unary({"n": n}) for n in range(10_000)))
        assert [m.n for m in answers] == list(range(10_000))

    run(with_echo(ours.target, schema, body))


def test_cancelling_a_task_cancels_its_call(run: Run, ours: Any, schema: sl.Schema, eventually: Any) -> None:
    async def body(echo: Any) -> None:
        task = asyncio.create_task(echo.Unary({"text": "wait"}))
        await asyncio.to_thread(ours.handlers.waiting.acquire)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(eventually, lambda: ours.handlers.seen == ["told"])
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(echo.Unary({"text": "wait"}), 0.05)
        async with asyncio.timeout(10):
            assert (await echo.Unary({"n": 1})).n == 1
        call = echo.Unary({"text": "wait"})
        assert call.cancel() and call.cancelled() and not call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    run(with_echo(ours.target, schema, body))


def test_waiting_for_a_message_with_a_timeout(run: Run, grpcio_server: str, schema: sl.Schema) -> None:
    async def body(echo: Any) -> None:
        async with echo.Bidi() as call:
            await call.send({"n": 1})
            assert (await asyncio.wait_for(call.recv(), 10)).n == 1
            assert (await asyncio.wait_for(anext(echo.ServerStream({"n": 1})), 10)).n == 0
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(call.recv(), 0.05)

    run(with_echo(grpcio_server, schema, body))


def test_leaving_a_stream_early_cancels_it(run: Run, ours: Any, schema: sl.Schema, eventually: Any) -> None:
    async def body(echo: Any) -> None:
        async for message in echo.ServerStream({"n": 10**8}):
            if message.n == 5:
                break
        assert await asyncio.to_thread(eventually, lambda: ours.handlers.seen == ["closed"])
        async with echo.Bidi() as call:
            await call.send({"n": 1})
            await call.recv()
        assert await asyncio.to_thread(eventually, lambda: ours.handlers.seen == ["closed", "CANCELLED"])

    run(with_echo(ours.target, schema, body))


def test_interceptors(run: Run, grpcio_server: str, schema: sl.Schema) -> None:
    async def token(call: sl.ClientCall, proceed: Any) -> Any:
        await asyncio.sleep(0)
        call.metadata["x-token"] = "t"
        if call.request is not None and dict(call.request).get("text") == "no":
            raise sl.PermissionDenied("refused here")
        answer = await proceed(call)
        if not call.server_streaming:
            return answer

        async def even() -> AsyncIterator[Any]:
            async for message in answer:
                if message.n % 2 == 0:
                    yield message

        return even()

    async def body(echo: Any) -> None:
        _, call = await echo.Unary.with_call({"text": "metadata"})
        assert call.trailing_metadata().get("x-token") == "t"
        with pytest.raises(sl.PermissionDenied):
            await echo.Unary({"text": "no"})
        assert [m.n async for m in echo.ServerStream({"n": 5})] == [0, 2, 4]
        assert (await echo.ClientStream([{"n": 1}, {"n": 2}])).n == 3
        assert [m.n async for m in echo.Bidi({"n": n} for n in range(4))] == [0, 2]

    run(with_echo(grpcio_server, schema, body, interceptors=[token]))


def test_loops_one_after_the_other_leave_nothing_behind(grpcio_server: str, schema: sl.Schema) -> None:
    import gc
    import os

    async def body(echo: Any) -> None:
        await echo.Unary({})

    def descriptors() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    asyncio.run(with_echo(grpcio_server, schema, body))
    before = descriptors()
    for _ in range(20):
        asyncio.run(with_echo(grpcio_server, schema, body))
    assert descriptors() <= before + 2


def test_a_channel_closed_twice_and_used_after(run: Run, grpcio_server: str, schema: sl.Schema) -> None:
    async def main() -> None:
        channel = sl.aio.connect(grpcio_server, schema=schema)
        echo = channel.service("demo.v1.Echo")
        await echo.Unary({})
        await channel.close()
        await channel.close()
        with pytest.raises(sl.Unavailable, match="closed"):
            await echo.Unary({})

    run(main())


async def _everywhere(target: str, schema: sl.Schema) -> None:
    async with sl.aio.connect(target, schema=schema) as channel:
        echo = channel.service("demo.v1.Echo")
        assert (await echo.Unary({"text": "hi"})).text == "hi"
        assert [m.n async for m in echo.ServerStream({"n": 300})] == list(range(300))
        assert [m.n async for m in echo.Bidi({"n": n} for n in range(300))] == list(range(300))
        with pytest.raises(sl.NotFound):
            await echo.Unary({"text": "missing"})


def test_trio(grpcio_server: str, schema: sl.Schema) -> None:
    trio = pytest.importorskip("trio")

    async def main() -> None:
        await _everywhere(grpcio_server, schema)
        async with sl.aio.connect(grpcio_server, schema=schema) as channel:
            echo = channel.service("demo.v1.Echo")
            with trio.move_on_after(0.05) as scope:
                await echo.Unary({"text": "wait"})
            assert scope.cancelled_caught
            assert (await echo.Unary({"n": 2})).n == 2

    trio.run(main)


def test_a_server_under_trio(schema: sl.Schema) -> None:
    trio = pytest.importorskip("trio")
    seen = []

    class Echo:
        async def Unary(self, request: Any, context: Any) -> Any:
            try:
                await trio.sleep(10 if request.text == "wait" else 0.001)
            except trio.Cancelled:
                seen.append("cancelled")
                raise
            return request

        async def ServerStream(self, request: Any, context: Any) -> Any:
            for n in range(request.n):
                await trio.sleep(0)
                yield {"n": n}

        async def Bidi(self, requests: Any, context: Any) -> Any:
            async for request in requests:
                yield request

    async def main() -> None:
        server = sl.aio.Server(schema=schema)
        server.add_service("demo.v1.Echo", Echo())
        port = await server.start("127.0.0.1:0")
        async with sl.aio.connect(f"127.0.0.1:{port}", schema=schema) as channel:
            echo = channel.service("demo.v1.Echo")
            assert (await echo.Unary({"text": "hi"})).text == "hi"
            assert [m.n async for m in echo.ServerStream({"n": 30})] == list(range(30))
            assert [m.n async for m in echo.Bidi({"n": n} for n in range(30))] == list(range(30))
            with pytest.raises(sl.DeadlineExceeded):
                await echo.Unary({"text": "wait"}, timeout=0.1)
            with trio.fail_after(5):
                while not seen:
                    await trio.sleep(0.01)
        await server.stop(1)

    trio.run(main)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_anyio(backend: str, grpcio_server: str, schema: sl.Schema) -> None:
    anyio = pytest.importorskip("anyio")
    anyio.run(_everywhere, grpcio_server, schema, backend=backend)
