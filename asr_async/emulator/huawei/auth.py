"""The credentials check of the emulated Huawei endpoints, as done by the API gateway and IAM.

Knows neither recognition nor routes. A request carries its credentials in one of two forms: a token of IAM, or a
signature with an access key. Sources: the vendor's API signing guide, the authentication page of the SIS API reference
(2021-10), the service's FAQ (2025/26).
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

__all__ = ["TOKEN_LIFETIME_S", "Authenticator", "json_response"]

CLOCK_TOLERANCE = timedelta(minutes=15)
"""The largest accepted deviation of a signature's date (FAQ, signing guide)."""

TOKEN_LIFETIME_S = 24 * 3_600
"""The lifetime of a token (authentication page)."""

MAX_TOKENS = 1_000
"""The most tokens that are kept; beyond this number the oldest is dropped."""

_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} Access=(?P<ak>[^\s,]+), ?SignedHeaders=(?P<names>[^\s,]+), ?Signature=(?P<signature>[0-9a-f]{{64}})"
)


def json_response(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a plain HTTP response in JSON, or without a body, with a request id as the vendor's have."""
    return web.Response(
        status=status,
        body=None if body is None else msgspec.json.encode(body),
        content_type="application/json",
        headers={"X-Request-Id": uuid.uuid4().hex, **(headers or {})},
    )


class _DeniedError(Exception):
    """The credentials are missing or not valid."""

    def __init__(self, message: str, *, code: str = "APIGW.0301") -> None:
        super().__init__(message)
        self.code = code


def _bad_credentials(reason: str) -> _DeniedError:
    return _DeniedError(f"Incorrect IAM authentication information: {reason}")


class _Token(msgspec.Struct, frozen=True):
    """The stored facts of an issued token."""

    expires_at: float
    """In the event loop's time."""
    for_project: bool


class Authenticator:
    """The checker of credentials and the issuer of tokens."""

    def __init__(self, api_keys: Collection[str] | Mapping[str, str] | None) -> None:
        self._api_keys = api_keys
        self._tokens: dict[str, _Token] = {}

    def reject(self, request: web.Request, body: bytes = b"") -> web.Response | None:
        """Return the response that rejects a request by its credentials; None if they are accepted.

        The documents do not give the status of a rejection. The gateway answers 401 to a bad signature.
        """
        try:
            self._check(request, body)
        except _DeniedError as denied:
            return json_response({"error_msg": str(denied), "error_code": denied.code}, status=401)
        return None

    def knows_user(self, name: str, password: str) -> bool:
        """Return True if this user may receive a token."""
        secret = self._secret(name)
        return self._knows(name) and (secret is None or _same(secret, password))

    def issue(self, *, for_project: bool) -> str:
        """Create a token."""
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
    """Return the headers that the signature of a request covers, by their names in lower case."""
    listed = names.lower().split(";")
    for name in ("host", "x-sdk-date"):
        if name not in listed:
            raise _bad_credentials(f"SignedHeaders must name {name}")
    headers: dict[str, str] = {}
    for name in listed:
        values = request.headers.getall(name, [])
        # two Host headers are known to be refused (comment in the official SDK); a signature cannot cover two values
        if len(values) != 1:
            raise _bad_credentials(f"the signed header {name} appears {len(values)} times")
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
