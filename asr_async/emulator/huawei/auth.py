"""Who may come into the emulator's Huawei room: what the API gateway and IAM check.

Knows neither recognition nor routes. A request names its credentials in one of two ways: a token of IAM, or a signature
with an access key. Sources: the vendor's API signing guide, the authentication page of the SIS API reference (2021-10),
the service's FAQ (2025/26).
"""

from __future__ import annotations

import asyncio
import hmac
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from ...vendors.huawei.signing import ALGORITHM, canonical_request, signature

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["TOKEN_LIFETIME_S", "Authenticator", "answer"]

CLOCK_TOLERANCE = timedelta(minutes=15)
"""How far the date of a signature may be off (FAQ, signing guide)."""

TOKEN_LIFETIME_S = 24 * 3_600
"""How long a token holds (authentication page)."""

MAX_TOKENS = 1_000
"""So many are remembered; the oldest goes first."""

_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} Access=(?P<ak>[^\s,]+), ?SignedHeaders=(?P<names>[^\s,]+), ?Signature=(?P<signature>[0-9a-f]{{64}})"
)


def answer(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A plain HTTP answer in JSON, or without a body, with an id to ask the vendor about."""
    return web.Response(
        status=status,
        body=None if body is None else msgspec.json.encode(body),
        content_type="application/json",
        headers={"X-Request-Id": uuid.uuid4().hex, **(headers or {})},
    )


class _DeniedError(Exception):
    """The credentials are not good enough."""

    def __init__(self, message: str, *, code: str = "APIGW.0301") -> None:
        super().__init__(message)
        self.code = code


def _bad_credentials(reason: str) -> _DeniedError:
    return _DeniedError(f"Incorrect IAM authentication information: {reason}")


class _Token(msgspec.Struct, frozen=True):
    """What is remembered of a token."""

    expires_at: float
    """In the loop's time."""
    for_project: bool


class Authenticator:
    """Checks credentials, and gives out tokens."""

    def __init__(self, api_keys: Collection[str] | Mapping[str, str] | None) -> None:
        self._api_keys = api_keys
        self._tokens: dict[str, _Token] = {}

    def refusal(self, request: web.Request, body: bytes = b"") -> web.Response | None:
        """The answer to a request that may not come in; None if it may.

        The documents do not say which status a refusal has. 401 is what the gateway answers to a bad signature.
        """
        try:
            self._check(request, body)
        except _DeniedError as denied:
            return answer({"error_msg": str(denied), "error_code": denied.code}, status=401)
        return None

    def knows_user(self, name: str, password: str) -> bool:
        """Whether a user may have a token."""
        secret = self._secret(name)
        return self._knows(name) and (secret is None or _same(secret, password))

    def issue(self, *, for_project: bool) -> str:
        """Make a token."""
        token = uuid.uuid4().hex
        now = asyncio.get_running_loop().time()
        self._tokens[token] = _Token(now + TOKEN_LIFETIME_S, for_project)
        if len(self._tokens) > MAX_TOKENS:
            del self._tokens[next(iter(self._tokens))]
        return token

    def _knows(self, key: str) -> bool:
        return self._api_keys is None or key in self._api_keys

    def _secret(self, key: str) -> str | None:
        return self._api_keys.get(key) if isinstance(self._api_keys, Mapping) else None

    def _check(self, request: web.Request, body: bytes) -> None:
        if token := request.headers.get("X-Auth-Token"):
            self._check_token(token)
        elif authorization := request.headers.get("Authorization"):
            self._check_signature(authorization, request, body)
        else:
            raise _bad_credentials("neither X-Auth-Token nor Authorization was found")

    def _check_token(self, token: str) -> None:
        issued = self._tokens.get(token)
        if issued is None:
            if self._api_keys is not None:
                raise _bad_credentials("decrypt token fail")
            return
        if asyncio.get_running_loop().time() >= issued.expires_at:
            raise _bad_credentials("token expired")
        if not issued.for_project:
            raise _DeniedError("the token is not that of a project", code="SIS.0101")

    def _check_signature(self, authorization: str, request: web.Request, body: bytes) -> None:
        parts = _AUTHORIZATION.fullmatch(authorization)
        if parts is None:
            form = f"{ALGORITHM} Access=..., SignedHeaders=..., Signature=..."
            raise _bad_credentials(f"Authorization is not of the form '{form}'")
        headers = _signed_headers(parts["names"], request)
        _check_date(headers["x-sdk-date"])
        if not self._knows(parts["ak"]):
            raise _bad_credentials("verify ak fail, no such access key")
        secret = self._secret(parts["ak"])
        if secret is None:
            return
        canonical = canonical_request(request.method, f"http://host{request.raw_path}", headers, body)
        if not _same(signature(secret, headers["x-sdk-date"], canonical), parts["signature"]):
            raise _bad_credentials("verify aksk signature fail")


def _signed_headers(names: str, request: web.Request) -> dict[str, str]:
    """The headers of a request that its signature is about, by their names in lower case."""
    listed = names.lower().split(";")
    for name in ("host", "x-sdk-date"):
        if name not in listed:
            raise _bad_credentials(f"SignedHeaders must name {name}")
    headers: dict[str, str] = {}
    for name in listed:
        values = request.headers.getall(name, [])
        # two Host headers are known to be refused (comment in the official SDK); no signature can be about two values
        if len(values) != 1:
            raise _bad_credentials(f"the signed header {name} came {len(values)} times")
        headers[name] = values[0]
    return headers


def _check_date(text: str) -> None:
    try:
        date = datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise _bad_credentials("X-Sdk-Date is not of the form YYYYMMDDTHHMMSSZ") from None
    if abs(datetime.now(UTC) - date) > CLOCK_TOLERANCE:
        raise _bad_credentials("signature expired")


def _same(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.encode())
