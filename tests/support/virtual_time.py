"""An event loop with a virtual clock: a test that waits for an hour by this clock takes milliseconds.

The clock stands still while the loop has something to do: a ready callback, a readable socket, work in an executor.
When the loop would sleep until its next timer, the clock jumps there instead. The sockets are real, so both ends of a
loopback connection must belong to this loop or to its executor: the loop cannot see that another one is busy.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from concurrent.futures import Executor

__all__ = ["VirtualLoop", "now", "run_virtual"]

QUIET_POLLS = 3
QUIET_POLL_S = 0.001
"""The clock jumps after so many polls of so much real time found nothing: sent bytes need some time to arrive."""

BUSY_POLL_S = 0.01
"""The real time of one poll while an executor works for the loop."""

_T = TypeVar("_T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """A selector event loop with a virtual clock, which starts at 0."""

    def __init__(self, *, quiet_polls: int = QUIET_POLLS) -> None:
        self._now_s = 0.0
        self._in_executor = 0
        super().__init__(_JumpingSelector(self, quiet_polls))

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now_s

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., _T], *args: Any
    ) -> asyncio.Future[_T]:
        """Run the function in an executor; the clock stands still until it returns."""
        self._in_executor += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._on_executor_done)
        return future

    async def shutdown_default_executor(self, _timeout: float | None = None) -> None:
        """Wait for the executor's threads; the clock stands still, so a timeout of virtual time would never expire."""
        self._in_executor += 1
        try:
            await super().shutdown_default_executor()
        finally:
            self._in_executor -= 1

    def _on_executor_done(self, _future: asyncio.Future[Any]) -> None:
        self._in_executor -= 1

    @property
    def is_busy(self) -> bool:
        """True if an executor works for this loop."""
        return self._in_executor > 0

    def jump(self, seconds: float) -> None:
        """Advance the clock."""
        self._now_s += seconds


class _JumpingSelector(selectors.BaseSelector):
    """A selector that advances the clock of its loop instead of sleeping."""

    def __init__(self, loop: VirtualLoop, quiet_polls: int) -> None:
        self._loop = loop
        self._quiet_polls = quiet_polls
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return the sockets that are ready; if there are none, advance the clock by `timeout`."""
        if timeout is None:
            return self._real.select(None)
        ready = self._real.select(0)
        if ready or timeout <= 0:
            return ready
        if self._loop.is_busy:
            return self._real.select(BUSY_POLL_S)
        for _ in range(self._quiet_polls):
            if ready := self._real.select(QUIET_POLL_S):
                return ready
        self._loop.jump(timeout)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


def run_virtual(scenario: Callable[[], Coroutine[Any, Any, _T]], *, quiet_polls: int = QUIET_POLLS) -> _T:
    """Run a coroutine function in a new `VirtualLoop` and return its result.

    Args:
        scenario: the coroutine function.
        quiet_polls: the number of polls without a ready socket before the clock jumps. 0 saves real time in scenarios
            of thousands of frames: on loopback, bytes arrive at once.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(quiet_polls=quiet_polls)) as runner:
        return runner.run(scenario())


def now() -> float:
    """Return the time of the running loop."""
    return asyncio.get_running_loop().time()
