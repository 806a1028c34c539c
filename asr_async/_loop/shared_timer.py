"""One timer for everybody who waits for a moment in an event loop, instead of one each.

Thousands of paced sessions would wake the loop for each frame of each; here those whose moment falls into the same tick
are called together, at its end. It does not know what they wait for.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable

__all__ = ["EARLY_S", "TICK_S", "SharedTimer"]

TICK_S = 0.01
"""How late somebody may be called: a tenth of a frame. It is recordings that wait for their time, so nobody hears it.
However many they are, they wake the loop a hundred times a second at most, and waking is dear: with half the length,
300 sessions cost an eighth more (benchmarks/bench_sessions.py)."""

EARLY_S = 0.00001
"""How early somebody may be called: a moment that is the end of a tick but for the rounding of floats is not moved to
the next one. Who asks the clock again takes so much for nothing."""

_tickers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[SharedTimer]] = weakref.WeakKeyDictionary()
"""Neither is held here: a ticker holds what it will call, and so its loop, for as long as somebody has it."""


class SharedTimer:
    """The timer of one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        # by the end of a tick, those who are called then
        self._due: dict[float, list[Callable[[], None]]] = {}

    @classmethod
    def of_running_loop(cls) -> SharedTimer:
        """The one that all in this loop share."""
        loop = asyncio.get_running_loop()
        kept = _tickers.get(loop)
        ticker = None if kept is None else kept()
        if ticker is None:
            ticker = cls()
            _tickers[loop] = weakref.ref(ticker)
        return ticker

    def call_at(self, when: float, callback: Callable[[], None], *, tick_s: float = TICK_S) -> None:
        """Call at an instant of the loop's clock, at most `EARLY_S` before it and a tick after it."""
        end = ((when - EARLY_S) // tick_s + 1) * tick_s
        due = self._due.get(end)
        if due is None:
            due = self._due[end] = []
            self._loop.call_at(end, self._end, end)
        due.append(callback)

    def _end(self, end: float) -> None:
        for callback in self._due.pop(end):  # whoever comes now has a timer of its own
            try:
                callback()
            except Exception as error:  # noqa: BLE001 - as the loop does: one defect is not the others' loss
                context = {"message": f"Exception in callback {callback!r}", "exception": error}
                self._loop.call_exception_handler(context)
