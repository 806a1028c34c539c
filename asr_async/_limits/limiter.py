"""The limits of a client: sessions at once and starts per second, for each account and model, as the vendors count.

Each session has a `SessionPermit`. Before a connection is made, and before a task is started on it, the permit waits
until the limits allow it; afterwards it records the vendor's answer. The state is in a `RateLimiter`: of this event
loop (`local.py`), or shared by several processes (`redis.py`).

Does not know connections or codecs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self, TypeVar

from .._text.secret import shown_url
from ..config import Limits
from ..errors import ASRError, ConfigurationError, ConnectionLostError, DeadlineError, RateLimitedError
from .local import PermitKind, RateLimiter, local_rate_limiter, loop_now

if TYPE_CHECKING:
    from ..vendors.service import MemberChoice
    from .redis import RedisLimitStore

__all__ = ["Limiter", "SessionPermit", "rate_limiter_key"]

T = TypeVar("T")


class Limiter:
    """The limits of one client; an async context manager that is entered and exited with the client."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._stack = AsyncExitStack()
        self._store: RedisLimitStore | None = None

    def __repr__(self) -> str:
        return f"<Limiter {self.limits!r}>"

    async def __aenter__(self) -> Self:
        if self.limits.shared is not None:
            self._store = await self._stack.enter_async_context(_redis_store(self.limits.shared))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._store = None
        await self._stack.aclose()

    def session_permit(self) -> SessionPermit:
        """Return the permit of a new session, which counts from its first `acquire_session`."""
        return SessionPermit(self)

    def rate_limiter(self, key: str) -> RateLimiter:
        """Return the rate limiter of an account and model."""
        return local_rate_limiter(key) if self._store is None else self._store.rate_limiter(key)


class SessionPermit:
    """The permit of one session.

    The session of a service with several members may count at each of them. It keeps what it has acquired until
    `release`.
    """

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self._limits = limiter.limits
        # what releases the session, by the key of the rate limiter
        self._releases: dict[str, Callable[[], None]] = {}
        # the instant of the last connection or start that the vendor has not answered yet, by the same key
        self._began_at: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<SessionPermit {', '.join(self._releases) or 'not acquired'}>"

    async def acquire_session(self, choice: MemberChoice) -> None:
        """Wait until the limits allow one more session at this member, and count it. Idempotent.

        Raises:
            ASRError: the store of the shared limits refuses, or was unreachable for all of that time.
            DeadlineError: no session ended within `Limits.wait`.
        """
        key = rate_limiter_key(choice)
        if key in self._releases:
            return
        rate_limiter = self._limiter.rate_limiter(key)
        max_sessions = self._limits.max_sessions
        waiting = rate_limiter.acquire_session(max_sessions)
        release = await self._wait(waiting, rate_limiter, choice, limit=f"max_sessions={max_sessions}")
        if key in self._releases:  # another connection of this session was faster
            release()
        else:
            self._releases[key] = release

    async def wait_to_connect(self, choice: MemberChoice) -> None:
        """Wait until the limits allow one more connection.

        Raises:
            ASRError: the store of the shared limits refuses, or was unreachable for all of that time.
            DeadlineError: the limits did not allow it within `Limits.wait`.
        """
        await self._wait_for_permit("connect", choice)

    async def wait_to_start(self, choice: MemberChoice) -> None:
        """Wait until the limits allow one more start of a task.

        Raises:
            ASRError: the store of the shared limits refuses, or was unreachable for all of that time.
            DeadlineError: the limits did not allow it within `Limits.wait`.
        """
        await self._wait_for_permit("start", choice)

    def record_start(self, choice: MemberChoice) -> None:
        """Record that the vendor accepted the start of a task."""
        key = rate_limiter_key(choice)
        self._limiter.rate_limiter(key).record_start(self._began_at.pop(key, loop_now()))

    def record_refusal(self, choice: MemberChoice, error: ASRError) -> None:
        """Record that the vendor refused a connection or a start, or ended a task.

        If the reason is that there are too many (`RateLimitedError`), all sessions of the account and model back off.
        """
        if isinstance(error, RateLimitedError):
            key = rate_limiter_key(choice)
            self._limiter.rate_limiter(key).record_refusal(self._began_at.pop(key, loop_now()), error.retry_after)

    def release(self) -> None:
        """Stop counting the session, at all members. Idempotent."""
        while self._releases:
            _, release = self._releases.popitem()
            release()

    async def _wait_for_permit(self, kind: PermitKind, choice: MemberChoice) -> None:
        key = rate_limiter_key(choice)
        per_second = self._limits.starts_per_second
        if per_second == "published":
            per_second = None if choice.endpoint.is_local else choice.options.starts_per_second
        rate_limiter = self._limiter.rate_limiter(key)
        waiting = rate_limiter.wait_for_permit(kind, per_second)
        await self._wait(waiting, rate_limiter, choice, limit=f"starts_per_second={per_second}")
        self._began_at[key] = loop_now()

    async def _wait(self, waiting: Awaitable[T], rate_limiter: RateLimiter, choice: MemberChoice, *, limit: str) -> T:
        try:
            async with asyncio.timeout(self._limits.wait):
                return await waiting
        except TimeoutError:
            raise self._deadline_error(rate_limiter, choice, limit) from None

    def _deadline_error(self, rate_limiter: RateLimiter, choice: MemberChoice, limit: str) -> ASRError:
        if (failure := rate_limiter.failure) is not None:
            text = f"{failure.message}; no permit within {self._limits.wait:g} s (Limits.wait)"
            return ConnectionLostError(text, retryable=True)
        reason = limit
        if backoff_s := rate_limiter.backoff_s:
            reason = f"the vendor reports too many sessions or starts, and the backoff lasts {backoff_s:.3g} s more"
        return DeadlineError(
            f"{choice.options.model}: no permit within {self._limits.wait:g} s (Limits.wait): {reason}; "
            f"others waiting: {rate_limiter.waiting_count}",
            retryable=True,
        )


def rate_limiter_key(choice: MemberChoice) -> str:
    """Return the key of the rate limiter that counts connections to this member."""
    endpoint, options = choice.endpoint, choice.options
    account = endpoint.host if endpoint.is_local else endpoint.account or endpoint.host
    return f"{options.vendor}:{account}:{options.model}"


def _redis_store(url: str) -> RedisLimitStore:
    try:
        # imported only when used: it is an optional dependency, and takes long to import
        from .redis import RedisLimitStore  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError("Limits(shared=...) needs redis: pip install 'asr-async[redis]'") from None
    return RedisLimitStore(url, display_url=shown_url(url))
