"""Tokens of Huawei's identity service (IAM): bought with a password, kept while they last, let go of when refused.

Source: page "authentication" of the SIS API reference (2021-10): the token is scoped to a project, whose name is the
region, comes in a header of the answer and lasts 24 hours.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from datetime import timedelta
from weakref import WeakKeyDictionary, WeakValueDictionary

import msgspec

from ..._net.http import request
from ..._net.network_options import NetworkOptions
from ...errors import RemoteProtocolError
from .credentials import Account
from .errors import VENDOR, error_from_iam
from .rest_wire import Auth, Domain, Identity, Password, Project, Scope, TokenRequest, TokenResponse, User

__all__ = ["Token", "Tokens"]

LIFETIME = timedelta(hours=24)
"""Where the answer does not say."""

MARGIN = timedelta(minutes=30)
"""So long before its end a token is replaced: clocks differ, and handshakes take their time."""

MAX_KEPT = 1_000
"""Tokens that are kept; the one bought first goes first."""

Key = tuple[str, ...]


class Token(msgspec.Struct, frozen=True):
    """A token for one account in one project."""

    value: str
    good_until: float
    """By the clock of the event loop."""
    is_kept: bool = False
    """Whether it was bought for an earlier request, so that a fresh one may do what this one cannot."""

    def __repr__(self) -> str:
        return f"<Token {'kept' if self.is_kept else 'new'}>"


class Tokens:
    """The tokens of one account in one project, from one address.

    What was bought is kept for the whole event loop, so that services made anew for each call, or many sessions that
    begin at once, buy one token. It is kept under everything that it depends on, the password included: a wrong one
    must not get what the right one bought.
    """

    def __init__(self, account: Account, *, iam_endpoint: str, project: str, network: NetworkOptions) -> None:
        self._account = account
        self._url = f"{iam_endpoint}/v3/auth/tokens"
        self._project = project
        self._network = network
        password_hash = hashlib.sha256(account.password.encode()).hexdigest()
        self._key: Key = (self._url, project, account.domain, account.username, password_hash)

    def __repr__(self) -> str:
        return f"<Tokens of {self._project}>"

    async def get(self) -> Token:
        """The kept token, or a new one.

        Raises:
            ASRError: IAM was not reached, or refused.
        """
        shelf = _shelf()
        async with shelf.lock(self._key):
            kept = shelf.tokens.get(self._key)
            if kept is not None and _now() < kept.good_until:
                return msgspec.structs.replace(kept, is_kept=True)
            token = await self._buy()
            shelf.keep(self._key, token)
            return token

    def let_go(self, token: Token) -> bool:
        """Keep a refused token no longer; say whether another one is worth a try."""
        tokens = _shelf().tokens
        if (kept := tokens.get(self._key)) is not None and kept.value == token.value:
            del tokens[self._key]
        return token.is_kept

    async def _buy(self) -> Token:
        account = self._account
        user = User(account.username, account.password, Domain(account.domain))
        wanted = TokenRequest(Auth(Identity(("password",), Password(user)), Scope(project=Project(name=self._project))))
        asked_at = _now()
        answer = await request(
            "POST",
            self._url,
            headers={"Content-Type": "application/json"},
            body=msgspec.json.encode(wanted),
            network=self._network,
        )
        if not 200 <= answer.status < 300:
            raise error_from_iam(answer.status, answer.headers, answer.body)
        value = answer.headers.get("X-Subject-Token", "")
        if not value:
            raise RemoteProtocolError("IAM answered without a token (header X-Subject-Token)", vendor=VENDOR)
        return Token(value, asked_at + (_lifetime(answer.body) - MARGIN).total_seconds())


def _lifetime(body: bytes) -> timedelta:
    """How long the token lasts, by the vendor's clock alone: ours need not agree with it."""
    try:
        times = msgspec.json.decode(body, type=TokenResponse).token
        if times.expires_at is not None and times.issued_at is not None:
            return times.expires_at - times.issued_at
    except (msgspec.DecodeError, TypeError):
        pass  # a body without times, or with one of them lacking its zone: the documents have a figure
    return LIFETIME


class _Shelf:
    """What was bought in one event loop; its locks could not be shared with another."""

    def __init__(self) -> None:
        self.tokens: OrderedDict[Key, Token] = OrderedDict()
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    def lock(self, key: Key) -> asyncio.Lock:
        """One for all who want the same token at the same time; it lasts as long as anybody holds or awaits it."""
        return self._locks.setdefault(key, asyncio.Lock())

    def keep(self, key: Key, token: Token) -> None:
        self.tokens[key] = token
        if len(self.tokens) > MAX_KEPT:
            self.tokens.popitem(last=False)


_shelves: WeakKeyDictionary[asyncio.AbstractEventLoop, _Shelf] = WeakKeyDictionary()


def _shelf() -> _Shelf:
    return _shelves.setdefault(asyncio.get_running_loop(), _Shelf())


def _now() -> float:
    return asyncio.get_running_loop().time()
