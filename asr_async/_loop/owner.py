"""The check that an object is used in the event loop that it belongs to."""

from __future__ import annotations

import asyncio

from ..errors import LocalProtocolError

__all__ = ["check_loop", "is_other_loop"]

RUN_THERE = "asyncio.run_coroutine_threadsafe(coroutine, loop)"


def check_loop(loop: asyncio.AbstractEventLoop, subject: str, advice: str = RUN_THERE) -> None:
    """Refuse a call outside the event loop that an object belongs to.

    Without the check, such a call waits for ever, or wakes tasks of a loop in another thread.

    Args:
        loop: the loop of the object.
        subject: the object, for the error text.
        advice: a call that reaches the loop from another thread, for the error text.

    Raises:
        LocalProtocolError: another loop runs in this thread, or none.
    """
    running = _running_loop()
    if running is loop:
        return
    state = "has ended" if loop.is_closed() else "runs elsewhere"
    raise LocalProtocolError(
        f"{subject} belongs to an event loop that {state}: use it in that loop only; from another thread, call {advice}"
    )


def is_other_loop(loop: asyncio.AbstractEventLoop) -> bool:
    """Return True if another event loop than this one runs in this thread; False if none runs."""
    running = _running_loop()
    return running is not None and running is not loop


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
