"""The emulated REST interface of OpenAI for temporary keys ("client secrets").

A key that is issued is for sessions of transcription, and without a configuration: the client sends that in
session.update. Source: PyPI `openai` 3.57.0 (`resources/realtime/client_secrets.py`, `types/realtime`).
"""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from aiohttp import web

from ...vendors.openai.rest_wire import CLIENT_SECRETS_PATH, MAX_LIFETIME_S, MIN_LIFETIME_S, ClientSecret
from ..api_keys import key_of
from ..realtime import new_id

if TYPE_CHECKING:
    from ..api_keys import ApiKeys

__all__ = ["add_routes", "error_body", "reject_by_key"]


class _ExpiresAfter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    anchor: Literal["created_at"]
    seconds: Annotated[int, msgspec.Meta(ge=MIN_LIFETIME_S, le=MAX_LIFETIME_S)] = 600


class _Session(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    type: Literal["transcription"]


class _Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    session: _Session
    expires_after: _ExpiresAfter = _ExpiresAfter(anchor="created_at")


def add_routes(application: web.Application, path: str, *, keys: ApiKeys) -> None:
    """Add the route behind the path of the sessions."""

    async def create(request: web.Request) -> web.Response:
        if rejection := reject_by_key(request, keys):
            return rejection
        try:
            wanted = msgspec.json.decode(await request.read(), type=_Request)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            # a session of another type, or with a configuration, is refused too: see the module's docstring
            return _json(error_body("invalid_value", str(error)), status=HTTPStatus.BAD_REQUEST)
        lifetime_s = wanted.expires_after.seconds
        session = {
            "type": wanted.session.type,
            "object": "realtime.transcription_session",
            "id": new_id("sess"),
            "expires_at": 0,
        }
        expires_at = int(time.time()) + lifetime_s
        return _json(ClientSecret(value=keys.issue(lifetime_s), expires_at=expires_at, session=session))

    application.router.add_post(f"{path}{CLIENT_SECRETS_PATH}", create)


def reject_by_key(request: web.Request, keys: ApiKeys) -> web.Response | None:
    """Return the response that rejects a client by its API key, here and at a WebSocket; None if it is accepted."""
    key = key_of(request.headers.get("Authorization", ""))
    if not key:
        text = "You didn't provide an API key."
    elif not keys.accepts(key):
        text = "Incorrect API key provided."
    else:
        return None
    return _json(error_body("invalid_api_key", text), status=HTTPStatus.UNAUTHORIZED)


def error_body(code: str, message: str) -> dict[str, Any]:
    """Return the body of a refusal in plain HTTP."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


def _json(content: msgspec.Struct | dict[str, Any], *, status: int = HTTPStatus.OK) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), status=status, content_type="application/json")
