"""Tokens that a service requests over HTTP, cached while they are valid.

Does not know a vendor, nor how a token is requested.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from weakref import WeakKeyDictionary, WeakValueDictionary

import msgspec

from .._text.secret import SecretText, ShownByRepr

__all__ = ["Token", "TokenSource"]

MAX_CACHED = 1_000
"""The number of tokens that are cached; beyond it, the oldest is dropped."""

Key = tuple[str, ...]


class Token(ShownByRepr, frozen=True):
    """A token that authenticates connections or requests."""

    value: str
    valid_s: float
    """The time for which it is used, from its request on: less than its lifetime, since clocks differ and handshakes
    take time."""
    valid_until: float = 0.0
    """The same by the clock of the event loop."""
    is_cached: bool = False
    """True if the token was requested for an earlier call, so that a new one may be accepted where it is refused."""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "value", SecretText(self.value))

    def __repr__(self) -> str:
        return f"<Token {'cached' if self.is_cached else 'new'}>"


class TokenSource:
    """The source of the tokens for certain credentials.

    Tokens are cached for the whole event loop, so that services that are made anew for each call, or many sessions that
    begin at once, request one token. The key of the cache holds everything that a token depends on, a secret included:
    a wrong password must not get the token of the right one. Only hashes of the parts are kept.
    """

    def __init__(self, key: Key, fetch: Callable[[], Awaitable[Token]]) -> None:
        """Make a source.

        Args:
            key: everything that the token depends on: the URL, the user, the secret.
            fetch: requests a new token.
        """
        self._key: Key = tuple(hashlib.sha256(part.encode()).hexdigest() for part in key)
        self._fetch = fetch

    def __repr__(self) -> str:
        return "<TokenSource>"

    async def get(self) -> Token:
        """Return the cached token, or request a new one.

        Raises:
            ASRError: the error of `fetch`.
        """
        cache = _cache()
        async with cache.lock(self._key):
            cached = cache.tokens.get(self._key)
            if cached is not None and _now() < cached.valid_until:
                return msgspec.structs.replace(cached, is_cached=True)
            requested_at = _now()
            token = await self._fetch()
            token = msgspec.structs.replace(token, valid_until=requested_at + token.valid_s)
            cache.add(self._key, token)
            return token

    def discard(self, token: Token) -> bool:
        """Drop a refused token from the cache, and return True if a new one may be accepted.

        It is the `Endpoint.refresh_credentials` of a service, for errors that a new token may mend.
        """
        tokens = _cache().tokens
        if (cached := tokens.get(self._key)) is not None and cached.value == token.value:
            del tokens[self._key]
        return token.is_cached


class _TokenCache:
    """The tokens of one event loop: locks cannot be shared with another loop."""

    def __init__(self) -> None:
        self.tokens: OrderedDict[Key, Token] = OrderedDict()
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    def lock(self, key: Key) -> asyncio.Lock:
        """Return the lock of all concurrent requests for one token; it exists while a task holds or awaits it."""
        return self._locks.setdefault(key, asyncio.Lock())

    def add(self, key: Key, token: Token) -> None:
        self.tokens[key] = token
        if len(self.tokens) > MAX_CACHED:
            self.tokens.popitem(last=False)


_caches: WeakKeyDictionary[asyncio.AbstractEventLoop, _TokenCache] = WeakKeyDictionary()


def _cache() -> _TokenCache:
    return _caches.setdefault(asyncio.get_running_loop(), _TokenCache())


def _now() -> float:
    return asyncio.get_running_loop().time()
