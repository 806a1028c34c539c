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
    from .redis import RedisLimitStore

__all__ = ["Limiter", "SessionPermit"]

T = TypeVar("T")


class Limiter:
    """The limits of one client; an async context manager, open as long as the client is."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._stack = AsyncExitStack()
        self._store: RedisLimitStore | None = None

    def __repr__(self) -> str:
        return f"<Limiter {self.limits!r}>"

    async def __aenter__(self) -> Self:
        if self.limits.shared is not None:
            self._store = await self._stack.enter_async_context(_open_store(self.limits.shared))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._store = None
        await self._stack.aclose()

    def session_permit(self, options: Options) -> SessionPermit:
        """For one session."""
        return SessionPermit(self, options)

    def rate_limiter(self, key: str) -> RateLimiter:
        """Those of an account and model."""
        return local_limiter(key) if self._store is None else self._store.rate_limiter(key)


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

    async def acquire_session(self, endpoint: Endpoint) -> None:
        """Take a place among the sessions at this endpoint; once.

        Raises:
            ASRError: the shared counts are not to be reached.
            DeadlineError: no session has left within `Limits.wait`.
        """
        key, _ = self._about(endpoint)
        if key in self._places:
            return
        rate_limiter = self._limiter.rate_limiter(key)
        at_most = self._limits.max_sessions
        leave = await self._in_time(
            rate_limiter.acquire_session(at_most), rate_limiter, endpoint, f"max_sessions={at_most}"
        )
        if key in self._places:  # another connection of this session was quicker
            leave()
        else:
            self._places[key] = leave

    async def wait_to_connect(self, endpoint: Endpoint) -> None:
        """Wait until another connection may be made.

        Raises:
            ASRError: the shared counts are not to be reached.
            DeadlineError: not within `Limits.wait`.
        """
        await self._wait_for_permit("connect", endpoint)

    async def wait_to_start(self, endpoint: Endpoint) -> None:
        """Wait until another task may be started; as `connect`."""
        await self._wait_for_permit("start", endpoint)

    def record_start(self, endpoint: Endpoint) -> None:
        """The vendor took the start."""
        key, _ = self._about(endpoint)
        self._limiter.rate_limiter(key).record_start(self._began_at.pop(key, loop_now()))

    def record_refusal(self, endpoint: Endpoint, error: ASRError) -> None:
        """The vendor refused a connection or a start, or ended a task; if because of too many, all slow down."""
        if isinstance(error, RateLimitedError):
            key, _ = self._about(endpoint)
            self._limiter.rate_limiter(key).record_refusal(self._began_at.pop(key, loop_now()), error.retry_after)

    def release(self) -> None:
        """Give all places back. Idempotent."""
        while self._places:
            self._places.popitem()[1]()

    async def _wait_for_permit(self, kind: PermitKind, endpoint: Endpoint) -> None:
        key, options = self._about(endpoint)
        per_second = self._limits.starts_per_second
        if per_second == "published":
            per_second = None if endpoint.is_local else options.starts_per_second
        rate_limiter = self._limiter.rate_limiter(key)
        await self._in_time(
            rate_limiter.wait_for_permit(kind, per_second), rate_limiter, endpoint, f"starts_per_second={per_second}"
        )
        self._began_at[key] = loop_now()

    async def _in_time(self, waiting: Awaitable[T], rate_limiter: RateLimiter, endpoint: Endpoint, limit: str) -> T:
        try:
            async with asyncio.timeout(self._limits.wait):
                return await waiting
        except TimeoutError:
            raise self._too_late(rate_limiter, endpoint, limit) from None

    def _too_late(self, rate_limiter: RateLimiter, endpoint: Endpoint, limit: str) -> DeadlineError:
        _, options = self._about(endpoint)
        backoff_s = rate_limiter.backoff_s
        reason = (
            f"the vendor has refused as too many, and is left alone for {backoff_s:.3g} s more" if backoff_s else limit
        )
        text = f"{options.model}: not let in within {self._limits.wait:g} s (Limits.wait): {reason}"
        return DeadlineError(f"{text}; others waiting: {rate_limiter.waiting_count}", retryable=True)

    def _about(self, endpoint: Endpoint) -> tuple[str, Options]:
        """What is counted together with this endpoint, and the options that it is for."""
        options = self._options if endpoint.choice is None else endpoint.choice.options
        account = endpoint.host if endpoint.is_local else endpoint.account or endpoint.host
        return f"{options.vendor}:{account}:{options.model}", options


def _open_store(url: str) -> RedisLimitStore:
    try:
        # not before it is used: it is an extra, and loads much
        from .redis import RedisLimitStore  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError("Limits(shared=...) needs redis: pip install 'asr-async[redis]'") from None
    return RedisLimitStore(url, where=without_credentials(url))
