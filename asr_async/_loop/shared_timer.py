"""A timer that all callers in an event loop share, instead of one each.

With a timer each, thousands of paced sessions would wake the event loop for every frame of every session. The shared
timer divides time into *ticks*, and makes the calls that are due in the same tick together, at its end.

Does not know sessions or frames.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable

__all__ = ["EARLY_S", "TICK_S", "SharedTimer"]

TICK_S = 0.0125
"""The longest delay of a call: an eighth of a frame. Only recordings are paced, so the delay affects no live speech.
The loop wakes eighty times a second at most, whatever the number of sessions, and waking is expensive: with ticks half
as long, 300 sessions cost an eighth more (benchmarks/bench_sessions.py)."""

EARLY_S = 0.00001
"""The longest time by which a call may be early: an instant at the end of a tick is not moved to the next tick because
of rounding. A callback that reads the clock has to ignore a difference as small as this."""

_timers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[SharedTimer]] = weakref.WeakKeyDictionary()
"""The timer of each loop. The references are weak, since a timer refers to its callbacks, and through them to its loop;
a timer lives as long as a caller refers to it."""


class SharedTimer:
    """The timer of one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        # the callbacks that are due, by the end of their tick
        self._due: dict[float, list[Callable[[], None]]] = {}

    def __repr__(self) -> str:
        return f"<SharedTimer {sum(map(len, self._due.values()))} due>"

    @classmethod
    def of_running_loop(cls) -> SharedTimer:
        """Return the timer that all callers in the running event loop share."""
        loop = asyncio.get_running_loop()
        reference = _timers.get(loop)
        timer = None if reference is None else reference()
        if timer is None:
            timer = cls()
            _timers[loop] = weakref.ref(timer)
        return timer

    def call_at(self, when: float, callback: Callable[[], None], *, tick_s: float = TICK_S) -> None:
        """Call at an instant of the loop's clock, at most `EARLY_S` before it and a tick after it."""
        end = ((when - EARLY_S) // tick_s + 1) * tick_s
        due = self._due.get(end)
        if due is None:
            due = self._due[end] = []
            self._loop.call_at(end, self._end_tick, end)
        due.append(callback)

    def _end_tick(self, end: float) -> None:
        for callback in self._due.pop(end):  # removed first, so that a callback may call `call_at`
            try:
                callback()
            except Exception as error:  # noqa: BLE001 - as the loop does: an error must not stop the other callbacks
                context = {"message": f"Exception in callback {callback!r}", "exception": error}
                self._loop.call_exception_handler(context)
