"""Tokens of Huawei's identity service (IAM): requested with a password, cached while they are valid.

Source: page "authentication" of the SIS API reference (2021-10): the token is scoped to a project, whose name is the
region; it is in a header of the response, and is valid for 24 hours.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from weakref import WeakKeyDictionary, WeakValueDictionary

import msgspec

from ..._net.http import request
from ..._net.network_options import NetworkOptions
from ..._text.redaction import Redactor
from ..._text.secret import SecretBytes, SecretText, ShownByRepr
from ...errors import ASRError, RemoteProtocolError
from .credentials import IamUser
from .errors import VENDOR, error_from_iam
from .rest_wire import Auth, Domain, Identity, Password, Project, Scope, TokenRequest, TokenResponse, User

__all__ = ["IamToken", "TokenSource"]

LIFETIME = timedelta(hours=24)
"""The lifetime of a token if the response does not state it."""

MARGIN = timedelta(minutes=30)
"""The time before its end at which a token is replaced: clocks differ, and handshakes take time."""

MAX_CACHED = 1_000
"""The number of tokens that are cached; beyond it, the oldest is dropped."""

Key = tuple[str, ...]


class IamToken(ShownByRepr, frozen=True):
    """A token of one user in one project."""

    value: str
    valid_until: float
    """By the clock of the event loop."""
    is_cached: bool = False
    """True if the token was requested for an earlier call, so that a new one may be accepted where it is refused."""

    def __repr__(self) -> str:
        return f"<IamToken {'cached' if self.is_cached else 'new'}>"


class TokenSource:
    """The source of one user's tokens in one project, at one IAM endpoint.

    Tokens are cached for the whole event loop, so that services that are made anew for each call, or many sessions that
    begin at once, request one token. The key of the cache holds everything that a token depends on, the password
    included: a wrong password must not get the token of the right one.
    """

    def __init__(self, user: IamUser, *, iam_endpoint: str, project: str, network: NetworkOptions) -> None:
        self._user = user
        self._url = f"{iam_endpoint}/v3/auth/tokens"
        self._project = project
        self._network = network
        password_hash = hashlib.sha256(user.password.encode()).hexdigest()
        self._key: Key = (self._url, project, user.domain, user.username, password_hash)

    def __repr__(self) -> str:
        return f"<TokenSource {self._project}>"

    async def get(self) -> IamToken:
        """Return the cached token, or request a new one.

        Raises:
            ASRError: IAM cannot be reached, or refuses.
        """
        cache = _cache()
        async with cache.lock(self._key):
            cached = cache.tokens.get(self._key)
            if cached is not None and _now() < cached.valid_until:
                return msgspec.structs.replace(cached, is_cached=True)
            token = await self._request_token()
            cache.add(self._key, token)
            return token

    def discard(self, token: IamToken) -> bool:
        """Drop a refused token from the cache, and return True if a new one may be accepted."""
        tokens = _cache().tokens
        if (cached := tokens.get(self._key)) is not None and cached.value == token.value:
            del tokens[self._key]
        return token.is_cached

    def _token_request(self) -> bytes:
        user = User(str(self._user.username), str(self._user.password), Domain(str(self._user.domain)))
        scope = Scope(project=Project(name=self._project))
        return SecretBytes(msgspec.json.encode(TokenRequest(Auth(Identity(("password",), Password(user)), scope))))

    async def _request_token(self) -> IamToken:
        requested_at = _now()
        redactor = Redactor({self._user.password})
        try:
            response = await request(
                "POST",
                self._url,
                headers={"Content-Type": "application/json"},
                body=self._token_request(),
                network=self._network,
            )
        except ASRError as error:
            error.change_texts(redactor.text)
            raise
        if not 200 <= response.status < 300:
            body = redactor.bytes(response.body)
            clock = functools.partial(datetime.now, UTC)
            refusal = error_from_iam(response.status, response.headers, body, clock=clock)
            refusal.change_texts(redactor.text)
            raise refusal
        value = SecretText(response.headers.get("X-Subject-Token", ""))
        if not value:
            raise RemoteProtocolError("IAM's response holds no token (header X-Subject-Token)", vendor=VENDOR)
        return IamToken(value, requested_at + (_lifetime(response.body) - MARGIN).total_seconds())


def _lifetime(body: bytes) -> timedelta:
    """Return the lifetime of a token by the vendor's clock alone, which need not agree with ours."""
    try:
        times = msgspec.json.decode(body, type=TokenResponse).token
        if times.expires_at is not None and times.issued_at is not None:
            return times.expires_at - times.issued_at
    except (msgspec.DecodeError, TypeError):
        pass  # a body without times, or a time without its zone: the documents state a lifetime
    return LIFETIME


class _TokenCache:
    """The tokens of one event loop: locks cannot be shared with another loop."""

    def __init__(self) -> None:
        self.tokens: OrderedDict[Key, IamToken] = OrderedDict()
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    def lock(self, key: Key) -> asyncio.Lock:
        """Return the lock of all concurrent requests for one token; it exists while a task holds or awaits it."""
        return self._locks.setdefault(key, asyncio.Lock())

    def add(self, key: Key, token: IamToken) -> None:
        self.tokens[key] = token
        if len(self.tokens) > MAX_CACHED:
            self.tokens.popitem(last=False)


_caches: WeakKeyDictionary[asyncio.AbstractEventLoop, _TokenCache] = WeakKeyDictionary()


def _cache() -> _TokenCache:
    return _caches.setdefault(asyncio.get_running_loop(), _TokenCache())


def _now() -> float:
    return asyncio.get_running_loop().time()
