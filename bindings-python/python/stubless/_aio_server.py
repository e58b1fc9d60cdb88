"""Asynchronous servers: `stubless.aio.Server`. Handlers are coroutines and asynchronous generators."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from . import _core
from ._aio_loop import _in_trio, current_hub
from ._core import Context, Schema, ServerTLS
from ._server import ServerBase, ServerCall, _name, _serving

__all__ = ["Server", "health"]

#: ``async (call, proceed) -> answer``: what `proceed(call)` gives is the handler's answer, or its iterator of answers.
ServerInterceptor = Callable[[ServerCall, Callable[[ServerCall], Awaitable[Any]]], Awaitable[Any]]

_EAGER = sys.version_info >= (3, 12)


def _spawn(driver: Any, loop: Any, variables: Any) -> Any:
    """Makes a task of a handler and runs its first step at once."""
    if loop is None:
        return _TrioTask(driver)
    if _EAGER:
        return asyncio.Task(driver, loop=loop, context=variables, eager_start=True)  # type: ignore[call-arg]
    task: asyncio.Task[Any] = asyncio.Task(driver, loop=loop, context=variables)
    ready = getattr(loop, "_ready", None)
    if ready:
        # the step the task has just put at the end of the loop's list; no task runs now, so it may run here
        ready.pop()._run()
    return task


class _TrioTask:
    """A handler under trio: a system task with a scope to cancel."""

    def __init__(self, driver: Any) -> None:
        import trio

        self._scope = trio.CancelScope()
        trio.lowlevel.spawn_system_task(self._run, driver)

    async def _run(self, driver: Any) -> None:
        with self._scope:
            await driver

    def cancel(self) -> None:
        self._scope.cancel()


async def _awaited(awaitable: Any) -> Any:
    """A coroutine of an awaitable that is none."""
    return await awaitable


async def _answers(result: Any) -> AsyncIterator[Any]:
    """An asynchronous generator of whatever a handler gave instead of one."""
    if hasattr(result, "__await__"):
        result = await result
    if hasattr(result, "__aiter__"):
        async for answer in result:
            yield answer
    else:
        for answer in result:
            yield answer


class Server(ServerBase):
    """A server whose handlers are coroutines (``async def`` that returns the answer) and asynchronous generators (that
    yield the answers), called as ``(request, context)``. They begin in the turn of the loop in which the call came in.
    A plain function is called on the loop too and must not block. A client's cancel cancels the handler.

    Options as for `stubless.Server`, but for `handler_threads`.
    """

    def __init__(
        self,
        *,
        schema: Schema | None = None,
        tls: ServerTLS | None = None,
        interceptors: Sequence[ServerInterceptor] = (),
        **options: Any,
    ) -> None:
        super().__init__(schema, tls, interceptors, options)
        self._hub: Any = None
        self._pending: list[tuple[str, dict[str, Any], Schema]] = []
        self._stop_requested: Any = None
        self._health: _LateHealth | None = None
        _core._check_server_options(options)

    # a server may be made, and given its services, before the loop runs: all of it is entered at start()

    def _make_core(self) -> Any:
        raise RuntimeError("the server has not been started")

    def _register(self, name: str, handlers: dict[str, Any], schema: Schema) -> None:
        if self._made is not None:
            super()._register(name, handlers, schema)
            return
        self._registered[name] = handlers
        self._schemas[name] = schema

    def remove_service(self, name: str) -> bool:
        """Stops serving a service: its running calls go on, new ones get UNIMPLEMENTED. `False`: there was none."""
        if self._made is not None:
            return super().remove_service(name)
        self._schemas.pop(name, None)
        return self._registered.pop(name, None) is not None

    def enable_health(self) -> Any:
        """Serves ``grpc.health.v1.Health``; the object it gives sets the status of services."""
        if self._health is None:
            self._health = _LateHealth()
            if self._made is not None:
                self._health._enter(self._made.enable_health())
        return self._health

    def enable_reflection(self) -> None:
        """Serves reflection, v1 and v1alpha, of the registered services."""
        self._reflects = True
        if self._made is not None:
            self._reflect()

    def _wrap(self, handler: Any, path: str, client_streaming: bool, server_streaming: bool) -> Any:
        if not self._interceptors:
            return handler
        interceptors = self._interceptors

        async def run(call: ServerCall, at: int) -> Any:
            if at < len(interceptors):
                return await interceptors[at](call, lambda call: run(call, at + 1))
            result = handler(call.request, call.context)
            if hasattr(result, "__await__"):
                result = await result
            return result

        def intercepted(request: Any, context: Context) -> Any:
            return run(ServerCall(path, client_streaming, server_streaming, request, context), 0)

        return intercepted

    async def start(self, *addresses: str, tls: ServerTLS | None = None) -> int:
        """Listens (``host:port``, ``[::]:port``, ``unix:/path``; port 0 picks one) and serves on the running loop; gives
        the first port."""
        if self._made is None:
            self._hub = current_hub()
            self._made = _core.ServerCore(self._options, self._hub)
            for name, handlers in list(self._registered.items()):
                super()._register(name, handlers, self._schemas[name])
            if self._health is not None:
                self._health._enter(self._made.enable_health())
            if self._reflects:
                self._reflect()
        return self._listen(addresses, tls)

    async def stop(self, grace: float | None = None) -> None:
        """Stops: no new calls, those that run may finish within `grace` seconds (`None`: none), then they are
        cancelled. Returns when all connections are closed."""
        if self._made is None:
            return
        self._made.shutdown(grace or 0)
        while not self._made.is_stopped():
            await _sleep(0.01)
        self._made.close()

    async def wait(self, *, signals: bool = True, grace: float = 5) -> None:
        """Serves until `stop` is called elsewhere, or, with `signals`, until SIGINT or SIGTERM: then it stops with this
        grace; a second signal cancels what runs."""
        if self._made is None:
            raise RuntimeError("start the server first")
        if _in_trio():
            await self._wait_trio(signals, grace)
            return
        loop = asyncio.get_running_loop()
        received: list[int] = []
        entered: list[int] = []

        def on_signal(number: int) -> None:
            received.append(number)
            self._made.shutdown(grace if len(received) == 1 else 0)

        if signals:
            for wanted in (signal.SIGINT, signal.SIGTERM):
                try:
                    loop.add_signal_handler(wanted, on_signal, wanted)
                    entered.append(wanted)
                except (NotImplementedError, RuntimeError, ValueError):
                    pass
        try:
            while not self._made.is_stopped():
                await asyncio.sleep(0.02 if self._made.is_stopping() else 0.1)
            self._made.close()
        finally:
            for number in entered:
                loop.remove_signal_handler(number)

    async def _wait_trio(self, signals: bool, grace: float) -> None:
        import contextlib

        import trio

        async def listen(nursery: Any) -> None:
            first = True
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as numbers:
                async for _ in numbers:
                    self._made.shutdown(grace if first else 0)
                    first = False

        async with trio.open_nursery() as nursery:
            with contextlib.suppress(RuntimeError):
                if signals:
                    nursery.start_soon(listen, nursery)
            while not self._made.is_stopped():
                await trio.sleep(0.02 if self._made.is_stopping() else 0.1)
            self._made.close()
            nursery.cancel_scope.cancel()

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop(0)


class _LateHealth:
    """The health of a server that may not have been started yet."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}
        self._health: Any = None

    def _enter(self, health: Any) -> None:
        self._health = health
        for service, status in self._known.items():
            health.set(service, status)

    def set(self, service: str, status: str | bool) -> None:
        """Sets a service's status: ``"SERVING"`` or ``"NOT_SERVING"``. The service ``""`` is the whole server."""
        self._known[service] = status
        if self._health is not None:
            self._health.set(service, status)

    def clear(self, service: str) -> None:
        """Forgets a service: it is unknown to clients that ask."""
        self._known.pop(service, None)
        if self._health is not None:
            self._health.clear(service)


async def _sleep(seconds: float) -> None:
    if _in_trio():
        import trio

        await trio.sleep(seconds)
    else:
        await asyncio.sleep(seconds)


async def health(channel: Any, service: str = "", *, timeout: float | None = 5) -> str:
    """The health of a service (``""``: the whole server) by ``grpc.health.v1``: ``"SERVING"``, ``"NOT_SERVING"``, ..."""
    method = channel._core.method("/grpc.health.v1.Health/Check")
    return _serving(await method(_name(service), raw=True, timeout=timeout))
