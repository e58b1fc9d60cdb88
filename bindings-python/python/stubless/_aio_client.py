"""Asynchronous channels: `stubless.aio.connect`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Union

from . import _core
from ._aio_loop import current_hub, run_soon
from ._client import ClientCall, Service, _methods
from ._core import AsyncStreamCall, Schema

__all__ = ["Channel", "connect"]

#: ``async (call, proceed) -> answer``: awaits `proceed(call)` once, several times, or not at all.
ClientInterceptor = Callable[[ClientCall, Callable[[ClientCall], Awaitable[Any]]], Awaitable[Any]]


async def _send_all(call: AsyncStreamCall, requests: Any) -> None:
    if hasattr(requests, "__aiter__"):
        async for request in requests:
            if not call.is_active():
                return
            await call.send(request)
    else:
        for request in requests:
            if not call.is_active():
                return
            await call.send(request)
    call.done()


async def _feed(call: AsyncStreamCall, requests: Any) -> None:
    try:
        await _send_all(call, requests)
    except Exception as error:
        if call.is_active():
            call._fail(error)


def _feed_soon(call: AsyncStreamCall, requests: Any) -> None:
    """Sends the requests of a bidirectional call from a task of their own: an iterable may wait for answers."""
    run_soon(_feed(call, requests))


async def _one_answer(call: AsyncStreamCall, requests: Any) -> Any:
    try:
        await _send_all(call, requests)
    except _core_error():
        pass  # the call has ended: its status comes as the answer
    except BaseException:
        call.cancel()
        raise
    return await call._answer()


def _core_error() -> Any:
    from ._errors import RpcError

    return RpcError


async def _answer_and_call(call: AsyncStreamCall, requests: Any) -> tuple[Any, AsyncStreamCall]:
    return await _one_answer(call, requests), call


class LazyStream:
    """A stream behind interceptors: the call starts when it is first used."""

    def __init__(self, start: Callable[[], Awaitable[Any]]) -> None:
        self._start = start
        self._stream: Any = None
        self._starting: Any = None
        self._cancelled = False

    async def _ready(self) -> Any:
        if self._stream is None:
            if self._starting is None:
                self._starting = _Once(self._start)
            self._stream = await self._starting.get()
            if self._cancelled:
                self.cancel()
        return self._stream

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[Any]:
        async for message in await self._ready():
            yield message

    async def __aenter__(self) -> LazyStream:
        await self._ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()

    async def send(self, message: Any) -> None:
        """Sends one message; waits for room for the next."""
        await (await self._ready()).send(message)

    async def recv(self) -> Any:
        """The next answer; `None` at the end."""
        return await (await self._ready()).recv()

    async def done(self) -> None:
        """No more messages will be sent."""
        (await self._ready()).done()

    async def initial_metadata(self) -> Any:
        """Metadata the server sent before its first answer."""
        return await (await self._ready()).initial_metadata()

    def cancel(self) -> bool:
        """Ends the call with CANCELLED."""
        self._cancelled = True
        cancel = getattr(self._stream, "cancel", None)
        return bool(cancel()) if cancel is not None else self._stream is None

    def trailing_metadata(self) -> Any:
        """Metadata the server sent at the end; `None` while the call is open."""
        return None if self._stream is None else self._stream.trailing_metadata()

    def code(self) -> Any:
        """The status code; `None` while the call is open."""
        return None if self._stream is None else self._stream.code()

    def details(self) -> Any:
        """The status text; `None` while the call is open."""
        return None if self._stream is None else self._stream.details()

    def time_remaining(self) -> Any:
        """Seconds until the deadline; `None` without one."""
        return None if self._stream is None else self._stream.time_remaining()


class _Once:
    """Runs a coroutine function once, for any number of waiting tasks."""

    def __init__(self, run: Callable[[], Awaitable[Any]]) -> None:
        self._run = run
        self._task: Any = None
        self._lock: Any = None

    async def get(self) -> Any:
        from ._aio_loop import _in_trio

        if _in_trio():
            import trio

            self._lock = self._lock or trio.Lock()
            async with self._lock:
                if self._task is None:
                    self._task = (await self._run(),)
                return self._task[0]
        import asyncio

        if self._task is None:
            self._task = asyncio.ensure_future(self._run())
        return await asyncio.shield(self._task)


class InterceptedMethod:
    """A method whose calls pass through interceptors."""

    def __init__(
        self,
        method: Any,
        client_streaming: bool,
        server_streaming: bool,
        interceptors: Sequence[ClientInterceptor],
    ) -> None:
        self._method = method
        self._streaming = (client_streaming, server_streaming)
        self._interceptors = interceptors
        self.path: str = method.path

    def __call__(self, request: Any = None, /, **options: Any) -> Any:
        call = ClientCall(self.path, *self._streaming, request, options)
        if self._is_stream(call):
            return LazyStream(lambda: self._run(call, 0))
        return self._run(call, 0)

    async def with_call(self, request: Any = None, /, **options: Any) -> tuple[Any, Any]:
        """As calling it, but gives `(answer, call)`."""
        call = ClientCall(self.path, *self._streaming, request, options)
        return await self._run(call, 0), call.finished

    @staticmethod
    def _is_stream(call: ClientCall) -> bool:
        return call.server_streaming or (call.client_streaming and call.requests is None)

    async def _run(self, call: ClientCall, at: int) -> Any:
        if at < len(self._interceptors):
            return await self._interceptors[at](call, lambda call: self._run(call, at + 1))
        request, options = call._arguments()
        if self._is_stream(call):
            return self._method(request, **options)
        answer, call.finished = await self._method.with_call(request, **options)
        return answer


class Channel:
    """A connection to a target, for the tasks of one event loop. Made by `connect`; an async context manager."""

    def __init__(
        self,
        target: str,
        *,
        schema: Schema | None = None,
        interceptors: Sequence[ClientInterceptor] = (),
        **options: Any,
    ) -> None:
        self._interceptors = tuple(interceptors)
        self.schema = schema
        self.target = target
        self._options = options
        self._bound: Any = None
        self._services: dict[str, Service] = {}
        try:
            hub = current_hub()
        except RuntimeError:
            hub = None  # made outside of a loop: entered at first use
        if hub is not None:
            self._bound = _core.ChannelCore(target, options, schema, hub)

    @property
    def _core(self) -> Any:
        if self._bound is None:
            self._bound = _core.ChannelCore(self.target, self._options, self.schema, current_hub())
        return self._bound

    def service(self, name: str, *, schema: Schema | None = None) -> Service:
        """The service with this full name: one callable per method."""
        if schema is None and name in self._services:
            return self._services[name]
        methods = _methods(self._core, schema or self.schema, name, self._interceptors, InterceptedMethod)
        service = Service(name, methods)
        if schema is None:
            self._services[name] = service
        return service

    def state(self, try_to_connect: bool = False) -> str:
        """IDLE, CONNECTING, READY, TRANSIENT_FAILURE or SHUTDOWN."""
        state: str = self._core.state(try_to_connect)
        return state

    async def close(self) -> None:
        """Ends the channel: calls that wait for a connection fail, those that run may finish."""
        if self._bound is not None:
            self._bound.close()

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<aio.Channel {self.target}>"


def connect(
    target: str,
    *,
    schema: Schema | None = None,
    tls: Union[_core.TLS, bool, None] = None,
    interceptors: Sequence[ClientInterceptor] = (),
    **options: Any,
) -> Channel:
    """A channel for the running event loop; targets and options as for `stubless.connect`."""
    return Channel(target, schema=schema, tls=tls, interceptors=interceptors, **options)
