"""Tokens of Huawei's identity service (IAM): requested with a password, cached while they are valid.

Source: page "authentication" of the SIS API reference (2021-10): the token is scoped to a project, whose name is the
region; it is in a header of the response, and is valid for 24 hours.
"""

from __future__ import annotations

import functools
from datetime import timedelta

import msgspec

from ..._text.redaction import Redactor
from ..._text.secret import SecretBytes, SecretText
from ...errors import ASRError, RemoteProtocolError
from ..http import NetworkOptions, request, utc_now
from ..tokens import Token, TokenSource
from .credentials import IamUser
from .errors import VENDOR, error_from_iam
from .rest_wire import Auth, Domain, Identity, Password, Project, Scope, TokenRequest, TokenResponse, User

__all__ = ["iam_tokens"]

LIFETIME = timedelta(hours=24)
"""The lifetime of a token if the response does not state it."""

MARGIN = timedelta(minutes=30)
"""The time before its end at which a token is replaced: clocks differ, and handshakes take time."""


def iam_tokens(user: IamUser, *, iam_endpoint: str, project: str, network: NetworkOptions) -> TokenSource:
    """Return the source of one user's tokens in one project, at one IAM endpoint."""
    url = f"{iam_endpoint}/v3/auth/tokens"
    key = (url, project, user.domain, user.username, user.password)
    return TokenSource(key, functools.partial(_request_token, user, url, project, network))


def _token_request(user: IamUser, project: str) -> bytes:
    name = User(str(user.username), str(user.password), Domain(str(user.domain)))
    scope = Scope(project=Project(name=project))
    return SecretBytes(msgspec.json.encode(TokenRequest(Auth(Identity(("password",), Password(name)), scope))))


async def _request_token(user: IamUser, url: str, project: str, network: NetworkOptions) -> Token:
    redactor = Redactor({user.password})
    try:
        response = await request(
            "POST",
            url,
            headers={"Content-Type": "application/json"},
            body=_token_request(user, project),
            network=network,
        )
    except ASRError as error:
        error.change_texts(redactor.text)
        raise
    if not 200 <= response.status < 300:
        body = redactor.bytes(response.body)
        refusal = error_from_iam(response.status, response.headers, body, clock=utc_now)
        refusal.change_texts(redactor.text)
        raise refusal
    value = SecretText(response.headers.get("X-Subject-Token", ""))
    if not value:
        raise RemoteProtocolError("IAM's response holds no token (header X-Subject-Token)", vendor=VENDOR)
    return Token(value, valid_s=(_lifetime(response.body) - MARGIN).total_seconds())


def _lifetime(body: bytes) -> timedelta:
    """Return the lifetime of a token by the vendor's clock alone, which need not agree with ours."""
    try:
        times = msgspec.json.decode(body, type=TokenResponse).token
        if times.expires_at is not None and times.issued_at is not None:
            return times.expires_at - times.issued_at
    except (msgspec.DecodeError, TypeError):
        pass  # a body without times, or a time without its zone: the documents state a lifetime
    return LIFETIME
