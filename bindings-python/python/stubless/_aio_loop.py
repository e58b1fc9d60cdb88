"""Which event loop runs, and its hub."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

from ._core import Hub

__all__ = ["current_hub"]

_local = threading.local()


def _in_trio() -> bool:
    trio = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_run())


def current_hub() -> Hub:
    """The hub of the loop that runs here; made, and entered in the loop, at first use."""
    if _in_trio():
        from ._trio import current_hub as of_trio

        return of_trio()
    loop = asyncio.get_running_loop()
    hub: Hub | None = getattr(_local, "hub", None)
    if hub is not None and hub.loop_ is loop and not hub.is_forked():
        return hub
    hubs: list[Hub] = getattr(_local, "hubs", [])
    kept = []
    for old in hubs:
        if old.is_forked():
            continue
        if old.loop_ is loop:
            hub = _local.hub = old
            return hub
        if old.loop_.is_closed():
            old._close()
        else:
            kept.append(old)
    hub = Hub(loop)
    kept.append(hub)
    _local.hubs = kept
    _local.hub = hub
    _enter(loop, hub)
    return hub


def _enter(loop: asyncio.AbstractEventLoop, hub: Hub) -> None:
    try:
        loop.add_reader(hub.fileno(), hub._on_ready)
    except NotImplementedError:
        # a loop that cannot watch descriptors: a thread waits, and one wake-up serves a batch
        def wait() -> None:
            done = threading.Event()

            def ready() -> None:
                hub._on_ready()
                done.set()

            while not loop.is_closed() and not hub.is_forked():
                if hub._wait(1.0):
                    done.clear()
                    try:
                        loop.call_soon_threadsafe(ready)
                    except RuntimeError:
                        return
                    done.wait(1.0)

        threading.Thread(target=wait, name="stubless-loop", daemon=True).start()


def _forget_all() -> None:
    """At the interpreter's end: nothing of the engines may need Python after it."""
    for hub in getattr(_local, "hubs", []):
        if not hub.is_forked():
            hub._close()
    _local.__dict__.clear()


def run_soon(coroutine: Any) -> Any:
    """Runs a coroutine beside the current task, under whichever loop runs."""
    if _in_trio():
        import trio

        async def guarded() -> None:
            try:
                await coroutine
            except Exception:
                import logging

                logging.getLogger("stubless").exception("a background task failed")

        return trio.lowlevel.spawn_system_task(guarded)
    task = asyncio.ensure_future(coroutine)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


_tasks: set[Any] = set()
