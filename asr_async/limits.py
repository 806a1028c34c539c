"""How many sessions at once, and how many starts per second: for each account and model, as the vendors count.

A session has a `Seat`, which its connections ask before they connect and before they start a task, and tell what the
vendor said. What is counted is in `_counts`, in this event loop, or in `_redis_counts`, for several processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Literal, Self, TypeVar
from urllib.parse import urlsplit

import msgspec

from ._counts import Counts, Turn, local_counts, loop_now
from .errors import ASRError, ConfigurationError, DeadlineError, RateLimitedError

if TYPE_CHECKING:
    from ._redis_counts import RedisBoard
    from .vendors.options import Options
    from .vendors.service import Target

__all__ = ["Limiter", "Limits", "Seat"]

SCHEMES = ("redis", "rediss", "unix")

T = TypeVar("T")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How many sessions and starts a client allows itself, for each account and model.

    Who would exceed a limit waits: first come, first served. All clients of an event loop count together, of several
    processes and machines with `shared`; each client holds itself to its own numbers. The members of a `Fallback` are
    counted apart. When the vendor refuses because of too many (`RateLimitedError`), nobody starts with that account and
    model for as long as it asks, or for a second, and twice as long each time, up to 30 seconds.

    Raises:
        ConfigurationError: a value out of range, or a URL that is not one of Redis.
    """

    max_sessions: int | None = None
    """Sessions at once. None, since no vendor publishes a number: any. A session counts from before its first
    connection until it has ended, while it reconnects too."""
    starts_per_second: int | Literal["published"] | None = "published"
    """Starts of tasks in any second, whatever second: of sessions, and of connections that replace another. New
    connections are held to the same number. "published" is the vendor's figure for the model (`models()` has it), on
    this machine (`Local()`) and where there is none, any; None is any."""
    wait: float = 30.0
    """Seconds that a session waits for its place, and each connection for its turn; then a `DeadlineError`."""
    shared: str | None = None
    """The Redis (5 or later) where processes and machines count together: `redis://host:6379/0`, `rediss://...` with
    TLS, or `unix:///path`; extra `redis`. It has to answer within 50 ms for a start to be made. A killed process's
    sessions count for 30 seconds more. While Redis is not to be reached no session begins (`ConnectionLostError`);
    running ones go on, until they need another connection."""

    def __post_init__(self) -> None:
        for name, word in (("max_sessions", None), ("starts_per_second", "published")):
            value = getattr(self, name)
            if value is not None and value != word and (type(value) is not int or value < 1):
                words = f"{word!r} or " if word else ""
                raise ConfigurationError(f"Limits({name}={value!r}): must be a whole number, 1 or more, {words}None")
        if not isinstance(self.wait, int | float) or not self.wait > 0:
            raise ConfigurationError(f"Limits(wait={self.wait!r}): must be a positive number of seconds")
        if self.shared is not None:
            _check_redis_url(self.shared)

    def __repr__(self) -> str:
        shared = None if self.shared is None else _without_credentials(self.shared)
        numbers = f"max_sessions={self.max_sessions!r}, starts_per_second={self.starts_per_second!r}"
        return f"Limits({numbers}, wait={self.wait!r}, shared={shared!r})"


class Limiter:
    """The limits of one client; an async context manager, open as long as the client is."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._stack = AsyncExitStack()
        self._board: RedisBoard | None = None

    def __repr__(self) -> str:
        return f"<Limiter {self.limits!r}>"

    async def __aenter__(self) -> Self:
        if self.limits.shared is not None:
            self._board = await self._stack.enter_async_context(_board(self.limits.shared))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._board = None
        await self._stack.aclose()

    def seat(self, options: Options) -> Seat:
        """For one session."""
        return Seat(self, options)

    def counts(self, key: str) -> Counts:
        """Those of an account and model."""
        return local_counts(key) if self._board is None else self._board.counts(key)


class Seat:
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
        return f"<Seat {', '.join(self._places) or 'outside'}>"

    async def enter(self, target: Target) -> None:
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

    async def connect(self, target: Target) -> None:
        """Wait until another connection may be made.

        Raises:
            ASRError: the shared counts are not to be reached.
            DeadlineError: not within `Limits.wait`.
        """
        await self._take_turn("connect", target)

    async def start(self, target: Target) -> None:
        """Wait until another task may be started; as `connect`."""
        await self._take_turn("start", target)

    def started(self, target: Target) -> None:
        """The vendor took the start."""
        key, _ = self._about(target)
        self._limiter.counts(key).accepted(self._began_at.pop(key, loop_now()))

    def refused(self, target: Target, error: ASRError) -> None:
        """The vendor refused a connection or a start, or ended a task; if because of too many, all slow down."""
        if isinstance(error, RateLimitedError):
            key, _ = self._about(target)
            self._limiter.counts(key).refused(self._began_at.pop(key, loop_now()), error.retry_after)

    def leave(self) -> None:
        """Give all places back. Idempotent."""
        while self._places:
            self._places.popitem()[1]()

    async def _take_turn(self, turn: Turn, target: Target) -> None:
        key, options = self._about(target)
        per_second = self._limits.starts_per_second
        if per_second == "published":
            per_second = None if target.is_local else options.starts_per_second
        counts = self._limiter.counts(key)
        await self._in_time(counts.turn(turn, per_second), counts, target, f"starts_per_second={per_second}")
        self._began_at[key] = loop_now()

    async def _in_time(self, waiting: Awaitable[T], counts: Counts, target: Target, limit: str) -> T:
        try:
            async with asyncio.timeout(self._limits.wait):
                return await waiting
        except TimeoutError:
            raise self._too_late(counts, target, limit) from None

    def _too_late(self, counts: Counts, target: Target, limit: str) -> DeadlineError:
        _, options = self._about(target)
        rest_s = counts.rest_s
        reason = f"the vendor has refused as too many, and is left alone for {rest_s:.3g} s more" if rest_s else limit
        text = f"{options.model}: not let in within {self._limits.wait:g} s (Limits.wait): {reason}"
        return DeadlineError(f"{text}; others waiting: {counts.waiting}", retryable=True)

    def _about(self, target: Target) -> tuple[str, Options]:
        """What is counted together with this target, and the options that it is for."""
        options = self._options if target.choice is None else target.choice.options
        account = target.host if target.is_local else target.account or target.host
        return f"{options.vendor}:{account}:{options.model}", options


def _board(url: str) -> RedisBoard:
    try:
        # not before it is used: it is an extra, and loads much
        from ._redis_counts import RedisBoard  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError("Limits(shared=...) needs redis: pip install 'asr-async[redis]'") from None
    return RedisBoard(url, where=_without_credentials(url))


def _check_redis_url(url: object) -> None:
    """Refuse what is not a URL of Redis. No text says what was given: it may hold a password."""
    form = "must be redis://host:port/0, rediss://host:port/0 or unix:///path"
    if not isinstance(url, str):
        raise ConfigurationError(f"Limits(shared=...): {form}")
    try:
        parts = urlsplit(url)
        _ = parts.port  # looked at when it is asked for
    except ValueError:
        raise ConfigurationError(f"Limits(shared=...): {form}") from None
    if parts.scheme not in SCHEMES or not (parts.path if parts.scheme == "unix" else parts.hostname):
        raise ConfigurationError(f"Limits(shared=...): {form}")


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
