"""An event loop whose clock jumps: minutes of waiting pass in a test as soon as nothing else is left to do.

The clock stands still while anything happens: a ready callback, a readable socket, work in an executor. When the loop
would sleep until its next timer, the clock jumps there. Sockets are real; both ends of a loopback connection must live
in this loop, or in its executor, for "nothing happens" to mean what it says.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from concurrent.futures import Executor

__all__ = ["VirtualLoop", "run_virtual"]

QUIET_POLLS = 3
QUIET_POLL_S = 0.001
"""How long nothing must happen in real time before the clock jumps: what one end sent must reach the other first."""

BUSY_POLL_S = 0.01
"""How long the loop sleeps at a time, in real time, while an executor works for it."""

_T = TypeVar("_T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """A selector event loop with a clock of its own, which starts at 0."""

    def __init__(self, *, quiet_polls: int = QUIET_POLLS) -> None:
        self._now_s = 0.0
        self._in_executor = 0
        super().__init__(_JumpingSelector(self, quiet_polls))

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._now_s

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., _T], *args: Any
    ) -> asyncio.Future[_T]:
        """As ever; the clock stands still until it is done."""
        self._in_executor += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._left_executor)
        return future

    def _left_executor(self, _future: asyncio.Future[Any]) -> None:
        self._in_executor -= 1

    @property
    def busy(self) -> bool:
        """Whether an executor works for this loop."""
        return self._in_executor > 0

    def jump(self, seconds: float) -> None:
        """Move the clock on."""
        self._now_s += seconds


class _JumpingSelector(selectors.BaseSelector):
    """A real selector that moves its loop's clock on instead of sleeping."""

    def __init__(self, loop: VirtualLoop, quiet_polls: int) -> None:
        self._loop = loop
        self._quiet_polls = quiet_polls
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now; if that is nothing, jump over the wait."""
        if timeout is None:
            return self._real.select(None)
        ready = self._real.select(0)
        if ready or timeout <= 0:
            return ready
        if self._loop.busy:
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


def run_virtual(scenario: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Run a coroutine function in a loop of its own with a jumping clock; a decorator's job done at the call."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scenario())
