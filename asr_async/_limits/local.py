"""What is counted of one account and model: open sessions, starts, refusals; and who waits for them to become fewer.

All clients of an event loop count together, since the vendor does; each holds itself to its own numbers. Knows no
vendor and no options. `_redis_counts` has the same for several processes.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable
from typing import Literal, TypeAlias, TypeVar

import anyio
from anyio.lowlevel import RunVar

from .window import RefusalBackoff, SlidingWindow

__all__ = [
    "SHORTEST_PAUSE_S",
    "FifoLock",
    "LocalRateLimiter",
    "PermitKind",
    "RateLimiter",
    "get_or_create",
    "local_limiter",
    "loop_now",
    "pause",
]

PermitKind: TypeAlias = Literal["connect", "start"]
"""What is limited per second: connections that are made, and tasks that are started on them."""

SHORTEST_PAUSE_S = 0.001
"""Less than that is not waited: a clock may not even move."""


class FifoLock:
    """One after the other, in the order in which they came. Where nobody is, it costs no turn of the loop."""

    def __init__(self) -> None:
        self._lock = anyio.Lock(fast_acquire=True)

    @property
    def length(self) -> int:
        """How many there are, with the one whose turn it is."""
        return self._lock.statistics().tasks_waiting + self._lock.locked()

    async def __aenter__(self) -> None:
        await self._lock.acquire()

    async def __aexit__(self, *exc_info: object) -> None:
        self._lock.release()


class RateLimiter(ABC):
    """The counts of one account and model, as one event loop sees them. Who is cancelled in waiting leaves no trace."""

    def __init__(self) -> None:
        self._backoff = RefusalBackoff()
        # by what they wait for and the limit: who has a higher one does not wait behind those with a lower
        self._locks: defaultdict[tuple[PermitKind | None, int | None], FifoLock] = defaultdict(FifoLock)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.waiting_count} waiting>"

    @abstractmethod
    async def acquire_session(self, max_sessions: int | None) -> Callable[[], None]:
        """Wait until fewer than `max_sessions` sessions are open; what is returned gives the place back.

        Raises:
            ASRError: the counts are kept elsewhere, and that is not to be reached.
        """

    @abstractmethod
    async def wait_for_permit(self, kind: PermitKind, per_second: int | None) -> None:
        """Wait until one more is within the limit of any second, and nobody is to rest; None limits nothing.

        Raises:
            ASRError: as `acquire_session`.
        """

    @property
    @abstractmethod
    def is_idle(self) -> bool:
        """Whether nothing would be forgotten with it."""

    def record_refusal(self, began_at: float, requested_s: float | None) -> None:
        """The vendor refused as too much what began at that instant of the loop's clock: all rest."""
        self._backoff.record_refusal(loop_now(), began_at, requested_s)

    def record_start(self, began_at: float) -> None:
        """The vendor took what began at that instant of the loop's clock."""
        self._backoff.record_start(began_at)

    @property
    def backoff_s(self) -> float:
        """How long nobody starts."""
        return self._backoff.remaining_s(loop_now())

    @property
    def waiting_count(self) -> int:
        """How many wait in this event loop, for whatever."""
        return sum(lock.length for lock in self._locks.values())


class LocalRateLimiter(RateLimiter):
    """RateLimiter that are kept in this event loop."""

    def __init__(self) -> None:
        super().__init__()
        self._open = 0
        self._windows: dict[PermitKind, SlidingWindow] = {"connect": SlidingWindow(), "start": SlidingWindow()}
        # set when a session leaves; there only while somebody waits for that
        self._released: anyio.Event | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be forgotten with it."""
        now = loop_now()
        is_quiet = not any(window.count(now) for window in self._windows.values())
        return is_quiet and self._open == 0 and self.waiting_count == 0 and self.backoff_s == 0

    async def acquire_session(self, max_sessions: int | None) -> Callable[[], None]:
        """As `RateLimiter.acquire_session`."""
        async with self._locks[None, max_sessions]:
            while max_sessions is not None and self._open >= max_sessions:
                self._released = self._released or anyio.Event()
                await self._released.wait()
            self._open += 1
        return self._release

    def _release(self) -> None:
        self._open -= 1
        if self._released is not None:
            self._released.set()
            self._released = None

    async def wait_for_permit(self, kind: PermitKind, per_second: int | None) -> None:
        """As `RateLimiter.wait_for_permit`."""
        window = self._windows[kind]
        async with self._locks[kind, per_second]:
            while (wait_s := max(self.backoff_s, window.wait_s(loop_now(), per_second))) > 0:
                await pause(wait_s)
            window.record_start(loop_now())


C = TypeVar("C", bound=RateLimiter)

_local: RunVar[dict[str, LocalRateLimiter]] = RunVar("asr_async counts")


def local_limiter(key: str) -> LocalRateLimiter:
    """The counts of this event loop by their key."""
    try:
        counts = _local.get()
    except LookupError:
        _local.set(counts := {})
    return get_or_create(counts, key, LocalRateLimiter)


def get_or_create(counts: dict[str, C], key: str, make: Callable[[], C]) -> C:
    """Those of a key. When new ones are made, those that hold nothing any more are let go of."""
    if key not in counts:
        for idle in [name for name, each in counts.items() if each.is_idle]:
            del counts[idle]
        counts[key] = make()
    return counts[key]


async def pause(seconds: float) -> None:
    """Sleep so long, and a little at least."""
    await asyncio.sleep(max(seconds, SHORTEST_PAUSE_S))


def loop_now() -> float:
    """The clock of this event loop."""
    return asyncio.get_running_loop().time()
