"""Blocking servers: `stubless.Server`. Handlers are plain functions and generators, run on the server's own threads."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from . import _core
from ._client import CallMetadata
from ._core import Context, Health, Schema, ServerTLS

__all__ = ["Server", "ServerCall"]

T = TypeVar("T")


class ServerCall:
    """A call on its way to its handler, as interceptors see and change it.

    `request` is the request, or the iterator of requests where they are streamed; `context` is the handler's.
    """

    def __init__(
        self, method: str, client_streaming: bool, server_streaming: bool, request: Any, context: Context
    ) -> None:
        self.method = method
        self.client_streaming = client_streaming
        self.server_streaming = server_streaming
        self.request = request
        self.context = context
        self.metadata = CallMetadata(context.invocation_metadata())


#: ``(call, proceed) -> answer``: what `proceed(call)` gives is the handler's answer, or its iterator of answers.
ServerInterceptor = Callable[[ServerCall, Callable[[ServerCall], Any]], Any]


class ServerBase:
    """What blocking and asynchronous servers share."""

    def __init__(
        self, schema: Schema | None, tls: ServerTLS | None, interceptors: Sequence[Any], options: dict[str, Any]
    ) -> None:
        self._schema = schema
        self._tls = tls
        self._interceptors = tuple(interceptors)
        self._options = options
        self._registered: dict[str, dict[str, Any]] = {}
        self._schemas: dict[str, Schema] = {}
        self._reflects = False
        self._made: Any = None

    def _make_core(self) -> Any:
        raise NotImplementedError

    def _wrap(self, handler: Any, path: str, client_streaming: bool, server_streaming: bool) -> Any:
        raise NotImplementedError

    @property
    def _core(self) -> Any:
        if self._made is None:
            self._made = self._make_core()
        return self._made

    def service(self, name: str, *, schema: Schema | None = None) -> Callable[[T], T]:
        """A decorator that serves a class (made without arguments) or an object: its methods are the service's."""

        def register(served: T) -> T:
            self.add_service(name, served() if isinstance(served, type) else served, schema=schema)
            return served

        return register

    def add_service(self, name: str, served: Any, *, schema: Schema | None = None) -> None:
        """Serves a service: `served` is an object with a method per method, or a mapping of functions by name. What it
        lacks is UNIMPLEMENTED; a public method that the schema lacks is refused. Also while the server runs."""
        schema = schema or self._schema
        if schema is None:
            raise ValueError(f"add_service({name!r}): neither the server nor the call has a schema")
        rows = _core._service_methods(schema, name)
        if rows is None:
            raise LookupError(f"the schema has no service {name!r}")
        known = {row[0]: row for row in rows}
        if isinstance(served, Mapping):
            handlers = dict(served)
        else:
            members = (key for key in dir(served) if not key.startswith("_"))
            handlers = {key: getattr(served, key) for key in members}
            handlers = {key: value for key, value in handlers.items() if callable(value)}
        extra = sorted(set(handlers) - set(known))
        if extra:
            raise ValueError(f"service {name} has no method {extra[0]!r} in the schema; it has {', '.join(known)}")
        if name in self._registered:
            raise ValueError(f"service {name!r} is registered already")
        self._register(name, handlers, schema)

    def method(self, path: str, *, schema: Schema | None = None) -> Callable[[T], T]:
        """A decorator that serves one method: ``server.method("demo.v1.Echo/Unary")(function)``."""
        service, _, method = path.lstrip("/").rpartition("/")

        def register(handler: T) -> T:
            use = schema or self._schemas.get(service) or self._schema
            if use is None:
                raise ValueError(f"method({path!r}): neither the server nor the call has a schema")
            rows = _core._service_methods(use, service)
            if rows is None or method not in {row[0] for row in rows}:
                raise LookupError(f"the schema has no method {path!r}")
            handlers = dict(self._registered.get(service, {}))
            if method in handlers:
                raise ValueError(f"method {path!r} is registered already")
            handlers[method] = handler
            if service in self._registered:
                self.remove_service(service)
            self._register(service, handlers, use)
            return handler

        return register

    def _register(self, name: str, handlers: dict[str, Any], schema: Schema) -> None:
        rows = {row[0]: row for row in _core._service_methods(schema, name) or ()}
        wrapped = {key: self._wrap(handler, *rows[key][1:]) for key, handler in handlers.items()}
        self._core.register(name, wrapped, schema)
        self._registered[name] = handlers
        self._schemas[name] = schema
        if self._reflects:
            self._reflect()

    def remove_service(self, name: str) -> bool:
        """Stops serving a service: its running calls go on, new ones get UNIMPLEMENTED. `False`: there was none."""
        self._registered.pop(name, None)
        self._schemas.pop(name, None)
        removed: bool = self._core.unregister(name)
        return removed

    def enable_health(self) -> Health:
        """Serves ``grpc.health.v1.Health``; the object it gives sets the status of services."""
        health: Health = self._core.enable_health()
        return health

    def enable_reflection(self) -> None:
        """Serves reflection, v1 and v1alpha, of the registered services."""
        self._reflects = True
        self._reflect()

    def _reflect(self) -> None:
        schemas: list[Schema] = []
        for schema in (self._schema, *self._schemas.values()):
            if schema is not None and not any(schema is known for known in schemas):
                schemas.append(schema)
        if not schemas:
            return
        merged = schemas[0]
        for schema in schemas[1:]:
            merged = merged.merge(schema)
        self._core.enable_reflection(merged)

    @property
    def running_calls(self) -> int:
        """Handlers that have not returned."""
        running: int = self._core.running_calls()
        return running

    def _listen(self, addresses: tuple[str, ...], tls: ServerTLS | None) -> int:
        if not addresses:
            raise TypeError("start() needs an address, such as \"127.0.0.1:0\"")
        port = 0
        for address in addresses:
            bound = self._core.listen(address, tls if tls is not None else self._tls)
            port = port or bound
        return port


class Server(ServerBase):
    """A server whose handlers are plain functions: ``(request, context)`` gives the answer, or yields the answers.

    Options: `schema tls interceptors compression max_receive_message_bytes max_send_message_bytes max_metadata_bytes
    max_concurrent_streams max_concurrent_calls handler_threads keepalive_time keepalive_timeout min_ping_interval
    max_connection_age max_connection_age_grace max_connection_idle debug_errors`; sizes in bytes, times in seconds.
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
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._made = self._make_core()

    def _make_core(self) -> Any:
        return _core.ServerCore(self._options)

    def _wrap(self, handler: Any, path: str, client_streaming: bool, server_streaming: bool) -> Any:
        import inspect  # slow to import, and a client never needs it

        if inspect.iscoroutinefunction(handler) or inspect.isasyncgenfunction(handler):
            raise TypeError(f"{path}: an async handler needs a stubless.aio.Server")
        if not self._interceptors:
            return handler
        interceptors = self._interceptors

        def run(call: ServerCall, at: int) -> Any:
            if at < len(interceptors):
                return interceptors[at](call, lambda call: run(call, at + 1))
            return handler(call.request, call.context)

        def intercepted(request: Any, context: Context) -> Any:
            return run(ServerCall(path, client_streaming, server_streaming, request, context), 0)

        return intercepted

    def start(self, *addresses: str, tls: ServerTLS | None = None) -> int:
        """Listens (``host:port``, ``[::]:port``, ``unix:/path``; port 0 picks one) and serves; gives the first port."""
        port = self._listen(addresses, tls)
        with self._lock:
            started = bool(self._threads)
        if not started:
            self._grow()
            self._grow()
        _running.add(self)
        return port

    def _grow(self) -> None:
        # threads come as handlers block: most servers never need more than two
        with self._lock:
            if len(self._threads) >= self._core.handler_threads:
                return
            name = f"stubless-handler-{len(self._threads)}"
            thread = threading.Thread(target=self._core.work, args=(self._grow,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, grace: float | None = None) -> None:
        """Stops: no new calls, those that run may finish within `grace` seconds (`None`: none), then they are
        cancelled. Returns when all connections are closed."""
        self._core.shutdown(grace or 0)
        while not self._core.wait_stopped(0.1):
            pass
        self._core.close()
        _running.discard(self)
        self._stopped.set()

    def wait(self, *, signals: bool = True, grace: float = 5, timeout: float | None = None) -> bool:
        """Serves until `stop` is called elsewhere, or, with `signals`, until SIGINT or SIGTERM: then it stops with this
        grace; a second signal cancels what runs. `False`: `timeout` seconds have passed first."""
        until = None if timeout is None else time.monotonic() + timeout
        received: list[int] = []
        previous: dict[int, Any] = {}
        if signals and threading.current_thread() is threading.main_thread():
            for wanted in (signal.SIGINT, signal.SIGTERM):
                previous[wanted] = signal.signal(wanted, lambda number, _: received.append(number))
        try:
            while not self._stopped.is_set():
                if received:
                    self._core.shutdown(grace)
                    while not self._core.wait_stopped(0.1):
                        if len(received) > 1:
                            self._core.shutdown(0)
                    self.stop(0)
                    return True
                if until is not None and time.monotonic() >= until:
                    return False
                self._stopped.wait(0.1)
            return True
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(0)


#: Servers with threads, to be stopped at the interpreter's end.
_running: set[Server] = set()


def _stop_all() -> None:
    for server in list(_running):
        if not server._core.is_stopping():
            server._core.shutdown(0)
        server._core.close()
    _running.clear()


def health(channel: Any, service: str = "", *, timeout: float | None = 5) -> str:
    """The health of a service (``""``: the whole server) by ``grpc.health.v1``: ``"SERVING"``, ``"NOT_SERVING"``, ...

    Raises `NotFound` where the server knows no such name, `Unimplemented` where it has no health service. For an
    asynchronous channel use `stubless.aio.health`.
    """
    method = channel._core.method("/grpc.health.v1.Health/Check")
    return _serving(method(_name(service), raw=True, timeout=timeout))


def _name(service: str) -> bytes:
    """``HealthCheckRequest``: one string field."""
    from ._errors import _field

    return _field(1, service.encode()) if service else b""


def _serving(response: bytes) -> str:
    """``HealthCheckResponse``: one enum field."""
    number = response[1] if len(response) >= 2 and response[0] == 8 else 0
    names = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
    return names[number] if number < len(names) else "UNKNOWN"


