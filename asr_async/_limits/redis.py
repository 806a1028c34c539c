"""Rate limiters that several processes and machines share, in Redis; the only module that imports its client.

The rules are those of `local.py`, written as Lua scripts, the `.lua` files beside this module. Redis runs one script at
a time, by its own clock: a start is compared with the earlier ones and recorded at one instant of one clock. No library
does this. The moving window of `limits` 5.8 records the time of each client's clock, before the request is sent: if the
clocks of two machines differ by a second, twice as many starts may pass. The semaphore of `steindamm` 0.11 is a list of
tokens, and those of a killed process are missing from it until the whole list expires. redis-py provides the
connection, its pool and the loading of the scripts.

A session has a *lease*: it counts until an instant that is postponed for as long as the session lives, by one task of
the client. Of the sessions of a client that wait for the same limit, only one at a time waits in Redis, where requests
are granted in the order of arrival; so processes alternate, however many sessions wait in each. A request is repeated
until it is granted; one that is not repeated in time loses its position.

Redis may lose its data, by a restart or by FLUSHALL, while sessions are open. Each client looks for one of its leases
twice a second, and registers all of them again if it is lost. No lease is granted until all clients have had the time
for that: a key beside the leases, the *epoch*, is lost with them. While Redis does not answer, a request is repeated
until `Limits.wait` has passed.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.resources
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Self

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from .._loop.tasks import TaskSet
from .._text.lines import one_line
from ..errors import ASRError, ConfigurationError, ConnectionLostError
from .local import SHORTEST_PAUSE_S, PermitKind, RateLimiter, get_or_create, loop_now, pause

__all__ = ["RedisLimitStore", "RedisRateLimiter"]

logger = logging.getLogger("asr_async")

LEASE_S = 30.0
"""The time for which the session of a process that died still counts."""

RENEWALS_PER_LEASE = 3
"""The number of renewals while a lease lasts: one or two may fail, or be late."""

REPLY_TIMEOUT_S = 5.0
"""The longest time for one request to Redis, and for its connection."""

CLOSE_TIMEOUT_S = 1.0
"""The longest time that a client spends on releasing its leases when it is closed; they expire by themselves."""

CHECK_S = 0.5
"""The time between two looks for a lease of this client, of each limit."""

SETTLE_S = 1.2
"""The time after a loss of data in which no lease is granted: two looks, and some delay."""

EPOCH_KEPT_S = 86_400.0
"""The time for which the epoch is kept after the last session."""

RETRY_S = 0.2
"""The time between two requests while Redis cannot be reached."""

SILENT_S = 0.2
"""The time without a reply from which on that is the reason why a session could not start."""

POLL_S = 0.2
"""The time between two requests for a session."""

GRACE_S = 1.0
"""The tolerated delay of a repeated request; a request that is later loses its position in the queue."""

SHARED_WINDOW_S = 1.1
MAX_REPLY_DELAY_S = 0.05
"""Redis records a start, and this process makes it when the reply arrives. If the reply takes longer than
`MAX_REPLY_DELAY_S`, the request is repeated; so starts are at least as far apart as `window.WINDOW_S`, the difference
of the two."""

LONGEST_PAUSE_S = 5.0
"""The longest time between two requests for a start: a backoff may be long."""

_Script = tuple[str, ...]
"""The files that make up a script, without `.lua`."""

_ACQUIRE_SESSION = ("clock", "queue", "kept", "acquire_session")
_ACQUIRE_START = ("clock", "queue", "acquire_start")
_RENEW_LEASES = ("clock", "kept", "renew_leases")
_EXTEND_BACKOFF = ("clock", "extend_backoff")

# The names of the keys in Redis. Processes with different versions of this package share them, so they do not change.
_LEASES = "sessions"
_BACKOFF = "rest"
_EPOCH = "sessions:epoch"
_SESSION_QUEUE = ("sessions:queue", "sessions:promises")
_STARTS: dict[PermitKind, str] = {"connect": "connects", "start": "starts"}
_START_QUEUES: dict[PermitKind, tuple[str, str]] = {
    "connect": ("connects:queue", "connects:promises"),
    "start": ("starts:queue", "starts:promises"),
}

_MICROSECONDS = 1_000_000


class RedisLimitStore:
    """The connection of one client to the shared limits; an async context manager that keeps the leases alive.

    Args:
        url: the URL for redis-py, which `Limits` has checked.
        display_url: the same without credentials, for texts.
        lease_s: how long a session counts after the last renewal.
        settle_s: see `SETTLE_S`.

    Raises:
        ConfigurationError: the URL has an option that redis-py does not know.
    """

    def __init__(self, url: str, *, display_url: str, lease_s: float = LEASE_S, settle_s: float = SETTLE_S) -> None:
        self._display_url = display_url
        self._lease_s = lease_s
        self._settle_s = settle_s
        self.failure: ConnectionLostError | None = None
        """The reason why Redis does not grant requests at present; None if it does."""
        try:
            self._redis: Redis = Redis.from_url(
                url,
                # one retry, for a pooled connection that has died; a repeated request has the same token, so it is safe
                retry=Retry(NoBackoff(), 1),
            )
            # checks the options, but does not connect
            self._redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        except (TypeError, ValueError):  # its text is not shown: it may contain a value from the URL
            raise ConfigurationError(
                f"Limits(shared=...): {display_url}: an option after '?' is unknown or has a wrong value"
            ) from None
        settings = self._redis.connection_pool.connection_kwargs
        self._reply_timeout_s: float = settings.get("socket_timeout") or REPLY_TIMEOUT_S
        # for that timeout redis-py uses `asyncio.wait_for`, which may lose a cancellation in Python 3.11
        settings["socket_timeout"] = None
        scripts: list[_Script] = [_ACQUIRE_SESSION, _ACQUIRE_START, _RENEW_LEASES, _EXTEND_BACKOFF]
        self._scripts = {script: self._redis.register_script(_source(script)) for script in scripts}
        self._rate_limiters: dict[str, RedisRateLimiter] = {}
        # changes that the maintenance task sends: tokens to remove from keys, and until when to back off, by key
        self._has_changes = asyncio.Event()
        self._removals: list[tuple[Sequence[str], str]] = []
        self._backoffs: dict[str, float] = {}
        self._tasks = TaskSet()

    def __repr__(self) -> str:
        return f"<RedisLimitStore {self._display_url}>"

    async def __aenter__(self) -> Self:
        await self._tasks.group.__aenter__()
        self._tasks.start(self._maintain())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._tasks.cancel_others()
        try:
            # not given the exception of the caller, which the group would wrap
            await self._tasks.group.__aexit__(None, None, None)
            with suppress(ASRError, TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self._send_changes()
        finally:
            await self._redis.aclose()

    def rate_limiter(self, key: str) -> RedisRateLimiter:
        """Return the rate limiter of an account and model."""
        return get_or_create(self._rate_limiters, key, functools.partial(RedisRateLimiter, self, key))

    async def request_session(self, key: str, token: str, max_sessions: int) -> float:
        """Request a lease; return 0 if it is granted, else the seconds after which to repeat the request.

        Raises:
            ASRError: Redis is unreachable, or refuses.
        """
        durations = _microseconds(self._lease_s, POLL_S, GRACE_S, self._settle_s, EPOCH_KEPT_S)
        keys = _keys(key, _LEASES, *_SESSION_QUEUE, _EPOCH)
        wait_s = await self._run(_ACQUIRE_SESSION, keys, token, max_sessions, *durations)
        if wait_s < 0:
            reason = "it has just started or lost its data, and sessions that are open are counted first"
            self.failure = self._error(reason, retryable=True)
        return abs(wait_s)

    async def request_permit(self, key: str, token: str, kind: PermitKind, per_second: int | None) -> float:
        """Request a permit; return 0 if it is granted, else the seconds after which to repeat the request.

        Raises:
            ASRError: Redis is unreachable, or refuses.
        """
        durations = _microseconds(SHARED_WINDOW_S, LONGEST_PAUSE_S, GRACE_S)
        keys = _keys(key, _STARTS[kind], *_START_QUEUES[kind], _BACKOFF)
        return await self._run(_ACQUIRE_START, keys, token, per_second or 0, *durations)

    def release_session(self, key: str, token: str) -> None:
        """Remove a session, or the request for one, in the background."""
        self._removals.append((_keys(key, _LEASES, *_SESSION_QUEUE), token))
        self._has_changes.set()

    def withdraw_request(self, key: str, token: str, kind: PermitKind) -> None:
        """Remove the request for a permit, in the background."""
        self._removals.append((_keys(key, *_START_QUEUES[kind]), token))
        self._has_changes.set()

    def share_backoff(self, key: str, backoff_s: float) -> None:
        """Extend the backoff of all clients, in the background."""
        self._backoffs[key] = loop_now() + backoff_s
        self._has_changes.set()

    async def _maintain(self) -> None:
        """Send changes, renew the leases, and look for a loss of leases, until cancelled."""
        renew_at = look_at = loop_now()
        while True:
            now = loop_now()
            try:
                await self._send_changes()
                if now >= renew_at or (now >= look_at and await self._has_lost_leases()):
                    await self._renew_leases()
            except ASRError as error:
                if now >= renew_at:  # one warning for each renewal, not for each look
                    logger.warning("sessions continue, but their leases are not renewed: %s", error)
            if now >= renew_at:
                renew_at = now + self._lease_s / RENEWALS_PER_LEASE
            if now >= look_at:
                look_at = now + CHECK_S
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(renew_at, look_at)):
                    await self._has_changes.wait()

    async def _send_changes(self) -> None:
        """Send the changes once. A failure is not retried, since leases and requests expire."""
        self._has_changes.clear()
        removals, self._removals = self._removals, []
        backoffs, self._backoffs = self._backoffs, {}
        if removals:
            async with self._request(), self._redis.pipeline(transaction=False) as pipeline:
                for keys, token in removals:
                    for key in keys:
                        pipeline.zrem(key, token)
                await pipeline.execute()
        for key, until in backoffs.items():
            await self._run(_EXTEND_BACKOFF, _keys(key, _BACKOFF), *_microseconds(max(0.0, until - loop_now())))

    async def _has_lost_leases(self) -> bool:
        """Return True if Redis has lost a lease of this client. The newest is the first to be lost."""
        newest = {key: next(reversed(limiter.leases)) for key, limiter in self._rate_limiters.items() if limiter.leases}
        if not newest:
            return False
        async with self._request(), self._redis.pipeline(transaction=False) as pipeline:
            for key, token in newest.items():
                pipeline.zscore(_keys(key, _LEASES)[0], token)
            return None in await pipeline.execute()

    async def _renew_leases(self) -> None:
        durations = _microseconds(self._lease_s, EPOCH_KEPT_S)
        for key, rate_limiter in list(self._rate_limiters.items()):
            if rate_limiter.leases:
                keys = _keys(key, _LEASES, _EPOCH)
                expired = await self._run(_RENEW_LEASES, keys, *durations, *rate_limiter.leases)
                if expired:
                    logger.warning("%r: leases were lost: more sessions than the limit may have been open", self)

    async def _run(self, script: _Script, keys: Sequence[str], *arguments: str | int) -> float:
        """Run a script and return its result, microseconds as seconds."""
        async with self._request():
            return int(await self._scripts[script](keys=keys, args=arguments)) / _MICROSECONDS

    async def repeat(self, request: Callable[[], Awaitable[float]]) -> None:
        """Repeat a request as long as its result says, and also while Redis cannot be reached.

        Raises:
            ASRError: Redis refuses.
        """
        while True:
            try:
                wait_s = await request()
            except ConnectionLostError as error:
                if not error.retryable:
                    raise
                wait_s = RETRY_S
            if wait_s <= 0:
                return
            await pause(wait_s)

    def _error(self, reason: str, *, retryable: bool) -> ConnectionLostError:
        text = f"cannot start a session without Redis at {self._display_url} (Limits.shared): {reason}"
        return ConnectionLostError(text, retryable=retryable)

    @asynccontextmanager
    async def _request(self) -> AsyncIterator[None]:
        """Limit the time of a request, raise its errors as those of this package, and keep them as `failure`."""
        began_at = loop_now()
        try:
            async with asyncio.timeout(self._reply_timeout_s):
                yield
        except TimeoutError:
            self.failure = self._silence_error(began_at)
            raise self.failure from None
        except (RedisError, OSError) as error:
            reason = one_line(str(error)).rstrip(".") or type(error).__name__
            may_pass = isinstance(error, RedisConnectionError | RedisTimeoutError | OSError)
            # redis-py reports wrong credentials as a lost connection with that cause
            is_refused = any(isinstance(each, AuthenticationError) for each in (error, error.__cause__))
            self.failure = self._error(reason, retryable=may_pass and not is_refused)
            raise self.failure from None
        except asyncio.CancelledError:
            if loop_now() - began_at >= SILENT_S:
                self.failure = self._silence_error(began_at)
            raise
        self.failure = None

    def _silence_error(self, began_at: float) -> ConnectionLostError:
        return self._error(f"it has not answered for {loop_now() - began_at:.2g} s", retryable=True)


class RedisRateLimiter(RateLimiter):
    """A rate limiter with its state in Redis. A session is a lease; see the module."""

    def __init__(self, store: RedisLimitStore, key: str) -> None:
        super().__init__()
        self._store = store
        self._key = key
        self.leases: dict[str, None] = {}
        """The tokens of this client's open sessions, the newest last."""

    @property
    def failure(self) -> ConnectionLostError | None:
        """See `RateLimiter.failure`."""
        return self._store.failure

    @property
    def is_idle(self) -> bool:
        """See `RateLimiter.is_idle`."""
        return not self.leases and self.waiting_count == 0 and self.backoff_s == 0

    async def acquire_session(self, max_sessions: int | None) -> Callable[[], None]:
        """See `RateLimiter.acquire_session`. Without a limit the session is not counted and needs no lease."""
        if max_sessions is None:
            return _release_nothing
        token = uuid.uuid4().hex
        async with self._locks[None, max_sessions]:
            try:
                await self._store.repeat(lambda: self._store.request_session(self._key, token, max_sessions))
            except BaseException:  # also if cancelled: Redis may have granted the session, and the reply is lost
                self._store.release_session(self._key, token)
                raise
        self.leases[token] = None
        return functools.partial(self._release_session, token)

    def _release_session(self, token: str) -> None:
        self.leases.pop(token, None)
        self._store.release_session(self._key, token)

    async def wait_for_permit(self, kind: PermitKind, per_second: int | None) -> None:
        """See `RateLimiter.wait_for_permit`."""
        token = uuid.uuid4().hex
        async with self._locks[kind, per_second]:
            try:
                await self._store.repeat(lambda: self._request_permit(kind, token, per_second))
            except BaseException:
                self._store.withdraw_request(self._key, token, kind)
                raise

    async def _request_permit(self, kind: PermitKind, token: str, per_second: int | None) -> float:
        """Request a permit, after the backoff. One that arrives late is not used; see `MAX_REPLY_DELAY_S`."""
        if self.backoff_s > 0:
            return self.backoff_s
        requested_at = loop_now()
        wait_s = await self._store.request_permit(self._key, token, kind, per_second)
        return wait_s if loop_now() - requested_at <= MAX_REPLY_DELAY_S else max(wait_s, SHORTEST_PAUSE_S)

    def record_refusal(self, began_at: float, requested_s: float | None) -> None:
        """See `RateLimiter.record_refusal`. The clients of all processes back off."""
        super().record_refusal(began_at, requested_s)
        self._store.share_backoff(self._key, self.backoff_s)


@functools.cache
def _source(script: _Script) -> str:
    """Return the text of a script. The files are read once, when the first client with shared limits is made."""
    folder = importlib.resources.files(__name__.rpartition(".")[0])
    return "\n".join(folder.joinpath(f"{name}.lua").read_text(encoding="utf-8") for name in script)


def _keys(key: str, *names: str) -> list[str]:
    """Return names of keys in Redis. Those with the same text in braces are on one node of a cluster."""
    return [f"asr_async:{{{key}}}:{name}" for name in names]


def _microseconds(*durations_s: float) -> list[int]:
    return [round(each * _MICROSECONDS) for each in durations_s]


def _release_nothing() -> None:
    """Do nothing: the session was not counted."""
