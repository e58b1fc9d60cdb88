"""``method.future(...)``: calls as `concurrent.futures.Future`s."""

from __future__ import annotations

import concurrent.futures
import threading
from typing import Any

from . import _core

__all__ = ["CallFuture", "in_thread", "start"]


class CallFuture(concurrent.futures.Future[Any]):
    """A call's answer to come, and the call: `cancel` ends it on the wire."""

    def __init__(self) -> None:
        super().__init__()
        self._started: Any = None
        self._call: Any = None

    def _finish(self, answer: Any, error: BaseException | None, call: Any) -> None:
        self._call = call
        if not self.set_running_or_notify_cancel():
            return
        if error is not None:
            self.set_exception(error)
        else:
            self.set_result(answer)

    def cancel(self) -> bool:
        """Ends the call with CANCELLED, here and on the wire. `False`: it has ended already."""
        cancelled = super().cancel()
        if cancelled and self._started is not None:
            self._started.cancel()
        return cancelled

    def code(self) -> Any:
        """The status code; `None` while the call is open."""
        return None if self._call is None else self._call.code()

    def details(self) -> Any:
        """The status text; `None` while the call is open."""
        return None if self._call is None else self._call.details()

    def initial_metadata(self) -> Any:
        """Metadata the server sent before its answer; `None` while the call is open."""
        return None if self._call is None else self._call.initial_metadata()

    def trailing_metadata(self) -> Any:
        """Metadata the server sent at the end; `None` while the call is open."""
        return None if self._call is None else self._call.trailing_metadata()


_lock = threading.Lock()
_futures: Any = None


def _queue() -> Any:
    global _futures
    with _lock:
        if _futures is None or _futures.is_forked():
            _futures = _core.Futures()
            threading.Thread(target=_work, args=(_futures,), name="stubless-futures", daemon=True).start()
        return _futures


def _work(futures: Any) -> None:
    while not futures.is_forked():
        futures.work()


def start(method: Any, request: Any, options: dict[str, Any] | None) -> CallFuture:
    """Starts a call with one request and one answer."""
    future = CallFuture()
    future._started = _queue().start(method, request, options, future)
    return future


def in_thread(method: Any, request: Any, options: dict[str, Any]) -> CallFuture:
    """Runs a call in a thread of its own."""
    future = CallFuture()

    def run() -> None:
        try:
            answer, error = method(request, **options), None
        except BaseException as caught:
            answer, error = None, caught
        future._finish(answer, error, None)

    threading.Thread(target=run, name="stubless-call", daemon=True).start()
    return future
