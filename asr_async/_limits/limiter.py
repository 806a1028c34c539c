"""How many sessions at once, and how many starts per second: for each account and model, as the vendors count.

A session has a `SessionPermit`, which its connections ask before they connect and before they start a task, and tell
what the vendor said. What is counted is in `_counts`, in this event loop, or in `_redis_counts`, for several processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self, TypeVar

from ..config import Limits, without_credentials
from ..errors import ASRError, ConfigurationError, DeadlineError, RateLimitedError
from .local import PermitKind, RateLimiter, local_limiter, loop_now

if TYPE_CHECKING:
    from ..vendors.options import Options
    from ..vendors.service import Endpoint
    from .redis import RedisLimits

__all__ = ["Limiter", "SessionPermit"]

T = TypeVar("T")


class Limiter:
    """The limits of one client; an async context manager, open as long as the client is."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._stack = AsyncExitStack()
        self._board: RedisLimits | None = None

    def __repr__(self) -> str:
        return f"<Limiter {self.limits!r}>"

    async def __aenter__(self) -> Self:
        if self.limits.shared is not None:
            self._board = await self._stack.enter_async_context(_board(self.limits.shared))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._board = None
        await self._stack.aclose()

    def seat(self, options: Options) -> SessionPermit:
        """For one session."""
        return SessionPermit(self, options)

    def counts(self, key: str) -> RateLimiter:
        """Those of an account and model."""
        return local_limiter(key) if self._board is None else self._board.counts(key)


class SessionPermit:
    """One session among those that the limits let in.

    Of a service with several members it may be in at each of them: what it has had, it keeps until it leaves.
    """

    def __init__(self, limiter: Limiter, options: Options) -> None:
        self._limiter = limiter
        self._limits = limiter.limits
        self._options = options
        # what gives a place back, by the key of its counts
        self._places: dict[str, Callable[[], None]] = {}
        # when a connection or start began of which the vendor has said nothing yet
        self._began_at: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<SessionPermit {', '.join(self._places) or 'outside'}>"

    async def enter(self, target: Endpoint) -> None:
        """Take a place among the sessions at this target; once.

        Raises:
            ASRError: the shared counts are not to be reached.
            DeadlineError: no session has left within `Limits.wait`.
        """
        key, _ = self._about(target)
        if key in self._places:
            return
        counts = self._limiter.counts(key)
        at_most = self._limits.max_sessions
        leave = await self._in_time(counts.enter(at_most), counts, target, f"max_sessions={at_most}")
        if key in self._places:  # another connection of this session was quicker
            leave()
        else:
            self._places[key] = leave

    async def connect(self, target: Endpoint) -> None:
        """Wait until another connection may be made.

        Raises:
            ASRError: the shared counts are not to be reached.
            DeadlineError: not within `Limits.wait`.
        """
        await self._take_turn("connect", target)

    async def start(self, target: Endpoint) -> None:
        """Wait until another task may be started; as `connect`."""
        await self._take_turn("start", target)

    def started(self, target: Endpoint) -> None:
        """The vendor took the start."""
        key, _ = self._about(target)
        self._limiter.counts(key).accepted(self._began_at.pop(key, loop_now()))

    def refused(self, target: Endpoint, error: ASRError) -> None:
        """The vendor refused a connection or a start, or ended a task; if because of too many, all slow down."""
        if isinstance(error, RateLimitedError):
            key, _ = self._about(target)
            self._limiter.counts(key).refused(self._began_at.pop(key, loop_now()), error.retry_after)

    def leave(self) -> None:
        """Give all places back. Idempotent."""
        while self._places:
            self._places.popitem()[1]()

    async def _take_turn(self, turn: PermitKind, target: Endpoint) -> None:
        key, options = self._about(target)
        per_second = self._limits.starts_per_second
        if per_second == "published":
            per_second = None if target.is_local else options.starts_per_second
        counts = self._limiter.counts(key)
        await self._in_time(counts.turn(turn, per_second), counts, target, f"starts_per_second={per_second}")
        self._began_at[key] = loop_now()

    async def _in_time(self, waiting: Awaitable[T], counts: RateLimiter, target: Endpoint, limit: str) -> T:
        try:
            async with asyncio.timeout(self._limits.wait):
                return await waiting
        except TimeoutError:
            raise self._too_late(counts, target, limit) from None

    def _too_late(self, counts: RateLimiter, target: Endpoint, limit: str) -> DeadlineError:
        _, options = self._about(target)
        rest_s = counts.rest_s
        reason = f"the vendor has refused as too many, and is left alone for {rest_s:.3g} s more" if rest_s else limit
        text = f"{options.model}: not let in within {self._limits.wait:g} s (Limits.wait): {reason}"
        return DeadlineError(f"{text}; others waiting: {counts.waiting}", retryable=True)

    def _about(self, target: Endpoint) -> tuple[str, Options]:
        """What is counted together with this target, and the options that it is for."""
        options = self._options if target.choice is None else target.choice.options
        account = target.host if target.is_local else target.account or target.host
        return f"{options.vendor}:{account}:{options.model}", options


def _board(url: str) -> RedisLimits:
    try:
        # not before it is used: it is an extra, and loads much
        from .redis import RedisLimits  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError("Limits(shared=...) needs redis: pip install 'asr-async[redis]'") from None
    return RedisLimits(url, where=without_credentials(url))
