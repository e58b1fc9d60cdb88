"""Waiting under trio: one system task watches the engine's descriptor."""

from __future__ import annotations

from typing import Any

import trio

from ._core import Hub

__all__ = ["current_hub", "wait"]

_hub: trio.lowlevel.RunVar[Hub] = trio.lowlevel.RunVar("stubless_hub")


def current_hub() -> Hub:
    """The hub of this run of trio."""
    try:
        return _hub.get()
    except LookupError:
        hub = Hub()
        _hub.set(hub)
        hub._flush()  # from here on the engine raises its descriptor
        trio.lowlevel.spawn_system_task(_watch, hub)
        return hub


async def _watch(hub: Hub) -> None:
    try:
        while True:
            await trio.lowlevel.wait_readable(hub.fileno())
            hub._on_ready()
    finally:
        hub._close()


async def wait(waiting: Any) -> Any:
    """Awaits something of ours whose `_poll` says what to wait on."""
    while True:
        done, value = waiting._poll()
        if done:
            return value
        task = trio.lowlevel.current_task()

        def wake(_: object, task: Any = task) -> None:
            trio.lowlevel.reschedule(task)

        value.add_done_callback(wake)

        def abort(_: object, parked: Any = value, wake: Any = wake) -> Any:
            parked.remove_done_callback(wake)
            waiting._give_up()
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
