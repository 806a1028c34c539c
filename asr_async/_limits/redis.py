"""RateLimiter that several processes and machines share, in Redis; the only importer of its client.

The rules are those of `_quota`, as scripts that Redis runs one at a time, by Redis' own clock: what a start is held
against and what it is stamped with is one instant of one clock. That is why they are here and not a library's. The
moving window of `limits` 5.8 stamps with each client's clock, before the way to Redis: machines whose clocks differ by
a second may let twice as many through. The semaphore of `steindamm` 0.11 is a list of tokens, from which those of a
killed process are missing until the whole list expires. The connection, its pool and the loading of the scripts are
redis-py's.

A session has a *lease*: it counts until an instant that is moved on while the session lives, by one task of the client.
Of a client's waiting sessions one at a time waits in Redis, where they wait in the order in which they came; so
processes take turns, however many wait in each. Who does not come back when it said it would is passed over.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Self

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..errors import ASRError, ConfigurationError, ConnectionLostError
from .local import SHORTEST_PAUSE_S, PermitKind, RateLimiter, get_or_create, loop_now, pause

__all__ = ["RedisLimitStore", "RedisRateLimiter"]

logger = logging.getLogger("asr_async")

LEASE_S = 30.0
"""How long the session of a process that died still counts."""

RENEWALS = 3
"""Renewals of a lease while it lasts: one or two may fail, or come late."""

REPLY_S = 5.0
"""How long Redis may take to be connected to, and to answer."""

GOODBYE_S = 1.0
"""How long a client that closes waits for Redis to take back its leases; they lapse by themselves otherwise."""

POLL_S = 0.2
"""Between questions of one who waits for a session to end."""

PATIENCE_S = 1.0
"""How late one who waits may come back before the next takes its turn."""

SHARED_WINDOW_S = 1.1
LATE_S = 0.05
"""A start is stamped in Redis and made here, later by the way of the answer. Who gets it later than that asks again; so
starts are made as far apart as `_quota.WINDOW_S` says."""

LONGEST_PAUSE_S = 5.0
"""Between questions of one who waits for a turn: a rest may be long."""

_SESSION_KEYS = ("sessions", "sessions:queue", "sessions:promises")
_PERMIT_KEYS: dict[PermitKind, tuple[str, ...]] = {
    "connect": ("connects", "connects:queue", "connects:promises", "rest"),
    "start": ("starts", "starts:queue", "starts:promises", "rest"),
}
"""What the keys of each script are called."""

_MICRO = 1_000_000

_CLOCK = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
"""
"""Instants are whole microseconds, which a double holds exactly."""

_QUEUE = """
local function place_in_queue(queue, promises, token)
  for _, late in ipairs(redis.call('ZRANGEBYSCORE', promises, '-inf', now)) do
    redis.call('ZREM', queue, late)
    redis.call('ZREM', promises, late)
  end
  redis.call('ZADD', queue, 'NX', now, token)
  return redis.call('ZRANK', queue, token)
end
local function come_back(queue, promises, token, wait, patience)
  redis.call('ZADD', promises, now + wait + patience, token)
  redis.call('PEXPIRE', queue, math.ceil((wait + patience) / 1000) + 10000)
  redis.call('PEXPIRE', promises, math.ceil((wait + patience) / 1000) + 10000)
  return wait
end
local function leave_queue(queue, promises, token)
  redis.call('ZREM', queue, token)
  redis.call('ZREM', promises, token)
end
"""
"""`queue`: who waits, by when it came. `promises`: the same, by when it must have asked again."""

_ENTER = (
    _CLOCK
    + _QUEUE
    + """
local leases, queue, promises = KEYS[1], KEYS[2], KEYS[3]
local token, at_most, lease = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local poll, patience = tonumber(ARGV[4]), tonumber(ARGV[5])
redis.call('ZREMRANGEBYSCORE', leases, '-inf', now)
local is_in = redis.call('ZSCORE', leases, token)
local ahead = place_in_queue(queue, promises, token)
if not is_in and redis.call('ZCARD', leases) + ahead >= at_most then
  return come_back(queue, promises, token, poll, patience)
end
leave_queue(queue, promises, token)
redis.call('ZADD', leases, now + lease, token)
redis.call('PEXPIRE', leases, math.ceil(lease / 1000))
return 0
"""
)
"""Microseconds to wait before asking again; 0: the session is in. `leases`: sessions, by when they stop counting."""

_TURN = (
    _CLOCK
    + _QUEUE
    + """
local starts, queue, promises, rest = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local token, limit, window = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local longest, patience = tonumber(ARGV[4]), tonumber(ARGV[5])
redis.call('ZREMRANGEBYSCORE', starts, '-inf', now - window)
redis.call('ZREM', starts, token)
local wait = (redis.call('GET', rest) or now) - now
local ahead = place_in_queue(queue, promises, token)
local too_many = limit > 0 and redis.call('ZCARD', starts) + ahead + 1 - limit or 0
if too_many > 0 then
  local last = redis.call('ZRANGE', starts, too_many - 1, too_many - 1, 'WITHSCORES')[2]
  wait = math.max(wait, last and last + window - now or window)
end
if wait > 0 then
  return come_back(queue, promises, token, math.min(wait, longest), patience)
end
leave_queue(queue, promises, token)
redis.call('ZADD', starts, now, token)
redis.call('PEXPIRE', starts, math.ceil(window / 1000) + 1000)
return 0
"""
)
"""Microseconds to wait before asking again; 0: it may be now. `starts`: those of the last second, by their instants.
Who has one and asks again has not made use of it."""

_RENEW = (
    _CLOCK
    + """
local lease, added = tonumber(ARGV[1]), 0
for i = 2, #ARGV do
  added = added + redis.call('ZADD', KEYS[1], now + lease, ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], math.ceil(lease / 1000))
return added
"""
)
"""How many had lapsed. They count again, whatever the limit says: their sessions are there."""

_REST = (
    _CLOCK
    + """
local rest, seconds = KEYS[1], tonumber(ARGV[1])
if now + seconds > tonumber(redis.call('GET', rest) or 0) then
  redis.call('SET', rest, now + seconds, 'PX', math.ceil(seconds / 1000) + 1)
end
return 0
"""
)


class RedisLimitStore:
    """The counts of one client in Redis; an async context manager that keeps its leases alive.

    Args:
        url: as redis-py takes it; checked by `Limits`.
        where: the same without credentials, for texts.
        lease_s: how long a session counts without a sign of life.
    """

    def __init__(self, url: str, *, where: str, lease_s: float = LEASE_S) -> None:
        self._where = where
        self._lease_s = lease_s
        try:
            self._redis: Redis = Redis.from_url(
                url,
                socket_timeout=REPLY_S,
                socket_connect_timeout=REPLY_S,
                # once more, for a connection that has died meanwhile; asking twice is no harm, the token is the same
                retry=Retry(NoBackoff(), 1),
            )
            self._redis.connection_pool.make_connection()  # type: ignore[no-untyped-call] # only reads them
        except (TypeError, ValueError):  # what it says may hold a value of the URL
            raise ConfigurationError(f"Limits(shared=...): Redis at {where}: an option behind '?' is wrong") from None
        self._scripts = {source: self._redis.register_script(source) for source in (_ENTER, _TURN, _RENEW, _REST)}
        self._rate_limiters: dict[str, RedisRateLimiter] = {}
        # what the keeper has to tell
        self._news = asyncio.Event()
        self._gone: list[tuple[Sequence[str], str]] = []
        self._rests: dict[str, float] = {}
        self._group = asyncio.TaskGroup()
        self._keeper: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<RedisLimitStore {self._where}>"

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._keeper = self._group.create_task(self._keep())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
        try:
            # without the caller's exception: the group would wrap it
            await self._group.__aexit__(None, None, None)
            with suppress(ASRError, TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    await self._tell()
        finally:
            await self._redis.aclose()

    def rate_limiter(self, key: str) -> RedisRateLimiter:
        """Those of a key."""
        return get_or_create(self._rate_limiters, key, functools.partial(RedisRateLimiter, self, key))

    async def request_session(self, key: str, token: str, max_sessions: int) -> float:
        """How many seconds to wait before asking again; 0 when the session is in.

        Raises:
            ASRError: Redis is not to be reached, or refuses.
        """
        times = _micros(self._lease_s, POLL_S, PATIENCE_S)
        return await self._ask(_ENTER, _names(key, *_SESSION_KEYS), token, max_sessions, *times)

    async def request_permit(self, key: str, token: str, kind: PermitKind, per_second: int | None) -> float:
        """How many seconds to wait before asking again; 0 when it may be now.

        Raises:
            ASRError: as `request_session`.
        """
        times = _micros(SHARED_WINDOW_S, LONGEST_PAUSE_S, PATIENCE_S)
        return await self._ask(_TURN, _names(key, *_PERMIT_KEYS[kind]), token, per_second or 0, *times)

    def release_session(self, key: str, token: str) -> None:
        """A session has ended, or waits no more to begin: tell Redis soon."""
        self._gone.append((_names(key, *_SESSION_KEYS), token))
        self._news.set()

    def withdraw_request(self, key: str, token: str, kind: PermitKind) -> None:
        """Somebody waits no more for its turn: tell Redis soon."""
        self._gone.append((_names(key, *_PERMIT_KEYS[kind][1:3]), token))
        self._news.set()

    def share_backoff(self, key: str, seconds: float) -> None:
        """Nobody is to start for so long: tell Redis soon."""
        self._rests[key] = loop_now() + seconds
        self._news.set()

    async def _keep(self) -> None:
        """Tell what there is to tell, and renew the leases, as long as the client is open."""
        renew_at = loop_now() + self._lease_s / RENEWALS
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(renew_at):
                    await self._news.wait()
            try:
                await self._tell()
                if loop_now() >= renew_at:
                    await self._renew()
            except ASRError as error:
                logger.warning("sessions go on, but their leases are not kept: %s", error)
            if loop_now() >= renew_at:
                renew_at = loop_now() + self._lease_s / RENEWALS

    async def _tell(self) -> None:
        """Give back and tell once; what fails is not tried again, since leases lapse."""
        self._news.clear()
        gone, self._gone = self._gone, []
        rests, self._rests = self._rests, {}
        if gone:
            with self._in_our_words():
                async with self._redis.pipeline(transaction=False) as pipeline:
                    for names, token in gone:
                        for name in names:
                            pipeline.zrem(name, token)
                    await pipeline.execute()
        for key, until in rests.items():
            await self._ask(_REST, _names(key, "rest"), *_micros(max(0.0, until - loop_now())))

    async def _renew(self) -> None:
        for key, rate_limiter in list(self._rate_limiters.items()):
            if rate_limiter.leases:
                lapsed = await self._ask(_RENEW, _names(key, "sessions"), *_micros(self._lease_s), *rate_limiter.leases)
                if lapsed:
                    logger.warning("%r: leases had lapsed: for a time there may have been too many sessions", self)

    async def _ask(self, script: str, names: Sequence[str], *arguments: str | int) -> float:
        with self._in_our_words():
            return int(await self._scripts[script](keys=names, args=arguments)) / _MICRO

    @contextmanager
    def _in_our_words(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            text = f"no session begins without Redis at {self._where} (Limits.shared): {reason}"
            may_pass = isinstance(error, RedisConnectionError | RedisTimeoutError | OSError)
            # a refusal while connecting comes as the cause of a lost connection
            is_refused = any(isinstance(each, AuthenticationError) for each in (error, error.__cause__))
            raise ConnectionLostError(text, retryable=may_pass and not is_refused) from None


class RedisRateLimiter(RateLimiter):
    """The counts of one key. Places are leases; see the module."""

    def __init__(self, store: RedisLimitStore, key: str) -> None:
        super().__init__()
        self._store = store
        self._key = key
        self.leases: set[str] = set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be forgotten with it."""
        return not self.leases and self.waiting_count == 0 and self.backoff_s == 0

    async def acquire_session(self, max_sessions: int | None) -> Callable[[], None]:
        """As `RateLimiter.acquire_session`. Without a limit nothing is counted, so there is no lease to keep alive."""
        if max_sessions is None:
            return _nothing
        token = uuid.uuid4().hex
        async with self._locks[None, max_sessions]:
            try:
                while (wait_s := await self._store.request_session(self._key, token, max_sessions)) > 0:
                    await pause(wait_s)
            except BaseException:  # the answer may have been on its way
                self._store.release_session(self._key, token)
                raise
        self.leases.add(token)
        return functools.partial(self._release, token)

    def _release(self, token: str) -> None:
        self.leases.discard(token)
        self._store.release_session(self._key, token)

    async def wait_for_permit(self, kind: PermitKind, per_second: int | None) -> None:
        """As `RateLimiter.wait_for_permit`."""
        token = uuid.uuid4().hex
        async with self._locks[kind, per_second]:
            try:
                while (wait_s := self.backoff_s or await self._ask(kind, token, per_second)) > 0:
                    await pause(wait_s)
            except BaseException:
                self._store.withdraw_request(self._key, token, kind)
                raise

    async def _ask(self, kind: PermitKind, token: str, per_second: int | None) -> float:
        """As `RedisLimitStore.request_permit`; an answer that comes late is none."""
        asked_at = loop_now()
        wait_s = await self._store.request_permit(self._key, token, kind, per_second)
        return wait_s if loop_now() - asked_at <= LATE_S else max(wait_s, SHORTEST_PAUSE_S)

    def record_refusal(self, began_at: float, requested_s: float | None) -> None:
        """As `RateLimiter.record_refusal`, and all who share the counts rest."""
        super().record_refusal(began_at, requested_s)
        self._store.share_backoff(self._key, self.backoff_s)


def _names(key: str, *what: str) -> list[str]:
    """What Redis calls them: in braces what keeps them on one machine of a cluster."""
    return [f"asr_async:{{{key}}}:{name}" for name in what]


def _micros(*seconds: float) -> list[int]:
    return [round(each * _MICRO) for each in seconds]


def _nothing() -> None:
    """There is no place to give back."""
