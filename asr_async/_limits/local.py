"""The rate limiter of one account and model: open sessions, starts per second, and the backoff after a refusal.

All clients of an event loop share one `LocalRateLimiter` for each account and model, since the vendor counts them
together; each client keeps to its own limits. `RedisRateLimiter` in `redis.py` is shared by several processes.

Does not know vendors, options or endpoints.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable
from typing import Literal, TypeAlias, TypeVar

import anyio
from anyio.lowlevel import RunVar

from ..errors import ConnectionLostError
from .backoff import RateLimitBackoff
from .window import SlidingWindow

__all__ = [
    "SHORTEST_PAUSE_S",
    "FifoLock",
    "LocalRateLimiter",
    "PermitKind",
    "RateLimiter",
    "get_or_create",
    "local_rate_limiter",
    "loop_now",
    "pause",
]

PermitKind: TypeAlias = Literal["connect", "start"]
"""The two things that are limited per second: new connections, and the starts of tasks on them."""

SHORTEST_PAUSE_S = 0.001
"""The shortest time to sleep: in less, the clock may not advance, and a loop that waits for it would not end."""


class FifoLock:
    """A lock that is acquired in the order of the requests, and without yielding to the event loop while it is free."""

    def __init__(self) -> None:
        self._lock = anyio.Lock(fast_acquire=True)

    @property
    def user_count(self) -> int:
        """The number of tasks that hold the lock or wait for it."""
        return self._lock.statistics().tasks_waiting + self._lock.locked()

    async def __aenter__(self) -> None:
        await self._lock.acquire()

    async def __aexit__(self, *exc_info: object) -> None:
        self._lock.release()


class RateLimiter(ABC):
    """The rate limiter of one account and model. A caller that is cancelled while it waits leaves no trace."""

    def __init__(self) -> None:
        self._backoff = RateLimitBackoff()
        # by kind (None: sessions) and limit, so that a request with a higher limit does not wait behind lower ones
        self._locks: defaultdict[tuple[PermitKind | None, int | None], FifoLock] = defaultdict(FifoLock)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.waiting_count} waiting>"

    @abstractmethod
    async def acquire_session(self, max_sessions: int | None) -> Callable[[], None]:
        """Wait until fewer than `max_sessions` sessions are open, count one more, and return what releases it.

        Raises:
            ASRError: the limiter is shared, and its store is unreachable.
        """

    @abstractmethod
    async def wait_for_permit(self, kind: PermitKind, per_second: int | None) -> None:
        """Wait until the backoff is over and one more is within the limit of every second; None is no limit.

        Raises:
            ASRError: the limiter is shared, and its store is unreachable.
        """

    @property
    def failure(self) -> ConnectionLostError | None:
        """The reason why the store of a shared limiter does not answer; None if it does, or if there is none."""
        return None

    @property
    @abstractmethod
    def is_idle(self) -> bool:
        """True if the limiter has no state: a new one would act the same."""

    def record_refusal(self, began_at: float, requested_s: float | None) -> None:
        """Record that the vendor refused a connection or a start as too many: all wait.

        Args:
            began_at: the instant of the loop's clock at which the connection or start was made.
            requested_s: the delay that the vendor requests; None if it requests none.
        """
        self._backoff.record_refusal(loop_now(), began_at, requested_s)

    def record_start(self, began_at: float) -> None:
        """Record that the vendor accepted the start that was made at an instant of the loop's clock."""
        self._backoff.record_start(began_at)

    @property
    def backoff_s(self) -> float:
        """The time until connections and starts are allowed again after a refusal, or 0 if they are."""
        return self._backoff.remaining_s(loop_now())

    @property
    def waiting_count(self) -> int:
        """The number of callers of this event loop that wait, for a session or a permit."""
        return sum(lock.user_count for lock in self._locks.values())


class LocalRateLimiter(RateLimiter):
    """A rate limiter with its state in this event loop."""

    def __init__(self) -> None:
        super().__init__()
        self._open_sessions = 0
        self._windows: dict[PermitKind, SlidingWindow] = {"connect": SlidingWindow(), "start": SlidingWindow()}
        # set when a session is released; exists only while a caller waits for it
        self._released: anyio.Event | None = None

    @property
    def is_idle(self) -> bool:
        """See `RateLimiter.is_idle`."""
        now = loop_now()
        has_recent_starts = any(window.count(now) for window in self._windows.values())
        return not has_recent_starts and self._open_sessions == 0 and self.waiting_count == 0 and self.backoff_s == 0

    async def acquire_session(self, max_sessions: int | None) -> Callable[[], None]:
        """See `RateLimiter.acquire_session`."""
        async with self._locks[None, max_sessions]:
            while max_sessions is not None and self._open_sessions >= max_sessions:
                self._released = self._released or anyio.Event()
                await self._released.wait()
            self._open_sessions += 1
        return self._release_session

    def _release_session(self) -> None:
        self._open_sessions -= 1
        if self._released is not None:
            self._released.set()
            self._released = None

    async def wait_for_permit(self, kind: PermitKind, per_second: int | None) -> None:
        """See `RateLimiter.wait_for_permit`."""
        window = self._windows[kind]
        async with self._locks[kind, per_second]:
            while (wait_s := max(self.backoff_s, window.wait_s(loop_now(), per_second))) > 0:
                await pause(wait_s)
            window.record_start(loop_now())


L = TypeVar("L", bound=RateLimiter)

_local_rate_limiters: RunVar[dict[str, LocalRateLimiter]] = RunVar("asr_async rate limiters")


def local_rate_limiter(key: str) -> LocalRateLimiter:
    """Return the rate limiter that all clients of this event loop share for an account and model."""
    try:
        limiters = _local_rate_limiters.get()
    except LookupError:
        _local_rate_limiters.set(limiters := {})
    return get_or_create(limiters, key, LocalRateLimiter)


def get_or_create(limiters: dict[str, L], key: str, create: Callable[[], L]) -> L:
    """Return the rate limiter of a key. Creating one removes those that are idle."""
    if key not in limiters:
        for idle in [name for name, limiter in limiters.items() if limiter.is_idle]:
            del limiters[idle]
        limiters[key] = create()
    return limiters[key]


async def pause(delay_s: float) -> None:
    """Sleep for a time, and for `SHORTEST_PAUSE_S` at least."""
    await asyncio.sleep(max(delay_s, SHORTEST_PAUSE_S))


def loop_now() -> float:
    """Return the time of the running event loop's clock."""
    return asyncio.get_running_loop().time()
