"""The beginning and end of the engines: a fork leaves them to the parent, the interpreter's end stops them."""

from __future__ import annotations

import atexit
import os
import sys

from . import _core

__all__ = ["install"]


def install() -> None:
    """Registers the hooks; once, at import."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_leave_to_parent)
    atexit.register(_end)


def _leave_to_parent() -> None:
    # closed without a byte: the connections are the parent's, whose descriptors stay open
    for descriptor in _core._after_fork_in_child():
        try:
            os.close(descriptor)
        except OSError:
            pass


def _end() -> None:
    from ._server import _stop_all

    _stop_all()
    loops = sys.modules.get("stubless._aio_loop")  # not to be imported at the end, if nobody used it
    if loops is not None:
        loops._forget_all()
    _core._shutdown()
