"""One timer for everybody who waits for a moment in an event loop, instead of one each.

Thousands of paced sessions would wake the loop for each frame of each; here those whose moment falls into the same tick
are woken together, at its end. It does not know what they wait for.
"""

from __future__ import annotations

import asyncio
import math
import weakref
from collections.abc import Awaitable

__all__ = ["Ticker"]

TICK_S = 0.005
"""How late a waiter may be woken. A twentieth of a frame: nobody hears it, and it is well below what a busy loop or a
network adds; the wake-ups of a loop are bounded by 200 a second for any number of sessions."""

ROUNDING = 0.001
"""Of a tick: a moment that is the end of a tick but for the rounding of floats is not moved to the next one."""

_tickers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Ticker] = weakref.WeakKeyDictionary()


class Ticker:
    """The timer of one event loop."""

    def __init__(self) -> None:
        # by tick, those who are woken at its end
        self._waiting: dict[int, list[asyncio.Future[None]]] = {}

    @classmethod
    def of_running_loop(cls) -> Ticker:
        """The one that all in this loop share."""
        loop = asyncio.get_running_loop()
        ticker = _tickers.get(loop)
        if ticker is None:
            ticker = _tickers[loop] = cls()
        return ticker

    def after(self, delay_s: float) -> Awaitable[None]:
        """Wait at least so long, and at most a tick longer; without a delay for the others' turn only."""
        if delay_s <= 0:
            return asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        tick = math.ceil((loop.time() + delay_s) / TICK_S - ROUNDING)
        woken = loop.create_future()
        if tick in self._waiting:
            self._waiting[tick].append(woken)
        else:
            self._waiting[tick] = [woken]
            loop.call_at(tick * TICK_S, self._wake, tick)
        return woken

    def _wake(self, tick: int) -> None:
        for waiter in self._waiting.pop(tick):
            if not waiter.done():  # not given up meanwhile
                waiter.set_result(None)
