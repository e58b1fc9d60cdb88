"""Blocking channels: `stubless.connect`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from typing import Any, Union

from . import _core
from ._core import Metadata, Schema, StreamCall
from ._errors import MetadataLike, MetadataValue

__all__ = ["CallMetadata", "Channel", "ClientCall", "Service", "connect"]


class CallMetadata(MutableMapping[str, Any]):
    """Metadata of a call that has not started: a mapping whose keys may have several values.

    Setting a key replaces its values; `add` keeps them. Iteration gives each key once.
    """

    __slots__ = ("_pairs",)

    def __init__(self, given: MetadataLike | None = None) -> None:
        self._pairs: list[tuple[str, MetadataValue]] = list(Metadata(given)) if given is not None else []

    def __getitem__(self, key: str) -> MetadataValue:
        for known, value in self._pairs:
            if known == key.lower():
                return value
        raise KeyError(key)

    def __setitem__(self, key: str, value: MetadataValue) -> None:
        Metadata([(key, value)])  # refuses what gRPC cannot carry, here and not at the call
        key = key.lower()
        self._pairs = [pair for pair in self._pairs if pair[0] != key]
        self._pairs.append((key, value))

    def __delitem__(self, key: str) -> None:
        kept = [pair for pair in self._pairs if pair[0] != key.lower()]
        if len(kept) == len(self._pairs):
            raise KeyError(key)
        self._pairs = kept

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key for key, _ in self._pairs))

    def __len__(self) -> int:
        return len({key for key, _ in self._pairs})

    def add(self, key: str, value: MetadataValue) -> None:
        """Adds a value to a key, beside those it has."""
        Metadata([(key, value)])
        self._pairs.append((key.lower(), value))

    def get_all(self, key: str) -> list[MetadataValue]:
        """All values of a key, in order."""
        return [value for known, value in self._pairs if known == key.lower()]

    def pairs(self) -> list[tuple[str, MetadataValue]]:
        """All pairs, in order."""
        return list(self._pairs)

    def __repr__(self) -> str:
        return f"CallMetadata({self._pairs!r})"


class ClientCall:
    """A call about to start, as interceptors see and change it.

    `request` is the only request (or `None` where requests are streamed); `requests` is what the caller gave to be
    streamed (or `None`). `options` are the call's other options. After `proceed`, `finished` has the metadata and
    status of a call with one answer.
    """

    def __init__(
        self,
        method: str,
        client_streaming: bool,
        server_streaming: bool,
        request: Any,
        options: dict[str, Any],
    ) -> None:
        self.method = method
        self.client_streaming = client_streaming
        self.server_streaming = server_streaming
        self.request = None if client_streaming else request
        self.requests = request if client_streaming else None
        self.metadata = CallMetadata(options.pop("metadata", None))
        self.timeout: float | None = options.pop("timeout", None)
        self.options = options
        self.finished: Any = None

    def _arguments(self) -> tuple[Any, dict[str, Any]]:
        options = dict(self.options)
        if self.metadata:
            options["metadata"] = self.metadata.pairs()
        if self.timeout is not None:
            options["timeout"] = self.timeout
        return (self.requests if self.client_streaming else self.request), options


#: ``(call, proceed) -> answer``: calls `proceed(call)` once, several times, or not at all.
ClientInterceptor = Callable[[ClientCall, Callable[[ClientCall], Any]], Any]


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
        return self._run(ClientCall(self.path, *self._streaming, request, options))

    def with_call(self, request: Any = None, /, **options: Any) -> tuple[Any, Any]:
        """As calling it, but gives `(answer, call)`."""
        call = ClientCall(self.path, *self._streaming, request, options)
        return self._run(call), call.finished

    def future(self, request: Any = None, /, **options: Any) -> Any:
        """Runs the call in a thread and gives a `concurrent.futures.Future`."""
        from ._futures import in_thread

        return in_thread(self.__call__, request, options)

    def _run(self, call: ClientCall, at: int = 0) -> Any:
        if at < len(self._interceptors):
            return self._interceptors[at](call, lambda call: self._run(call, at + 1))
        request, options = call._arguments()
        if call.server_streaming or (call.client_streaming and request is None):
            return self._method(request, **options)
        answer, call.finished = self._method.with_call(request, **options)
        return answer


class Service:
    """A service of a channel: one attribute per method, named as in the ``.proto`` file."""

    def __init__(self, name: str, methods: dict[str, Any]) -> None:
        self.__dict__.update(methods)
        self.__dict__.setdefault("_name", name)

    def __getattr__(self, name: str) -> Any:
        methods = ", ".join(key for key in self.__dict__ if not key.startswith("_"))
        raise AttributeError(f"service {self._name} has no method {name!r}; it has {methods}")

    def __getitem__(self, name: str) -> Any:
        """A method by name, whatever the name."""
        return getattr(self, name)

    def __repr__(self) -> str:
        return f"<Service {self._name}>"


def _methods(
    core: Any, schema: Schema | None, name: str, interceptors: Sequence[Any], intercepted: Any
) -> dict[str, Any]:
    if schema is None:
        raise ValueError(f"service({name!r}): neither the channel nor the call of service() has a schema")
    rows = _core._service_methods(schema, name)
    if rows is None:
        raise LookupError(f"the schema has no service {name!r}; it has {', '.join(map(str, schema.services()))}")
    methods = {}
    for method, path, client_streaming, server_streaming in rows:
        callable_ = core.method(path, schema)
        if interceptors:
            callable_ = intercepted(callable_, client_streaming, server_streaming, interceptors)
        methods[method] = callable_
    return methods


class Channel:
    """A connection to a target, for any number of threads. Made by `connect`; a context manager."""

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
        self._core = _core.ChannelCore(target, options, schema)
        self._services: dict[str, Service] = {}

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

    def close(self) -> None:
        """Ends the channel: calls that wait for a connection fail, those that run may finish."""
        self._core.close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Channel {self.target}>"


def connect(
    target: str,
    *,
    schema: Schema | None = None,
    tls: Union[_core.TLS, bool, None] = None,
    interceptors: Sequence[ClientInterceptor] = (),
    **options: Any,
) -> Channel:
    """A channel to a target: ``host:port``, ``dns:///host:port``, ``ipv4:``, ``ipv6:``, ``unix:/path``. It connects when
    the first call needs it.

    `tls=True` trusts the system's roots; without it the connection is cleartext. Options: `authority user_agent
    default_timeout wait_for_ready compression max_receive_message_bytes max_send_message_bytes max_metadata_bytes
    keepalive_time keepalive_timeout keepalive_without_calls idle_timeout connect_timeout initial_backoff max_backoff
    stream_window_bytes connection_window_bytes`; sizes in bytes, times in seconds.
    """
    return Channel(target, schema=schema, tls=tls, interceptors=interceptors, **options)


def _feed(call: StreamCall, requests: Iterable[Any]) -> None:
    """Sends the requests of a bidirectional call from a thread of their own: an iterable may wait for answers."""
    iterator = iter(requests)
    threading.Thread(target=call._feed, args=(iterator,), name="stubless-requests", daemon=True).start()
