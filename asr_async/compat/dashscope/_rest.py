"""Requests to the vendor's HTTP interfaces, with the responses of the SDK."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from ..._net.http import HttpResponse, request
from ...errors import ASRError
from ...errors import AuthenticationError as CredentialsError
from ...sync._loop import background_loop
from ...vendors.dashscope.credentials import DashScopeKey
from ...vendors.lenient import UnreadableError, parse_json
from ._settings import NO_KEY, key_of, resolve_base_url
from .api_entities.dashscope_response import DashScopeAPIResponse, DictMixin
from .common.error import AuthenticationError

__all__ = ["call_rest"]

NO_CONNECTION = -1


def call_rest(
    method: str,
    path: str,
    *,
    body: bytes = b"",
    api_key: str | None = None,
    workspace: str | None = None,
    base_address: str | None = None,
    headers: dict[str, str] | None = None,
    **_: Any,
) -> DashScopeAPIResponse:
    """Send a request and return its response; one that did not reach the vendor has the status -1.

    Raises:
        AuthenticationError: there is no key.
        InputRequired: the URL needs the id of a workspace.
    """
    from .. import dashscope as settings  # noqa: PLC0415 - this module is a part of it

    # first, so that no local variable in a traceback shows a key
    key, api_key = DashScopeKey(key_of(api_key)), None
    base = resolve_base_url(base_address or settings.base_http_api_url, workspace).rstrip("/")
    all_headers = {"Content-Type": "application/json", **(headers or {})}
    if workspace is not None:
        all_headers["X-DashScope-WorkSpace"] = workspace

    async def send() -> HttpResponse:
        authorization = f"Bearer {await key.find()}"
        return await request(
            method, f"{base}{path}", headers={**all_headers, "Authorization": authorization}, body=body
        )

    try:
        return _to_response(background_loop().run(send))
    except CredentialsError:
        raise AuthenticationError(NO_KEY) from None
    except ASRError as error:
        return DashScopeAPIResponse(NO_CONNECTION, code=type(error).__name__, message=error.message)


def _to_response(response: HttpResponse) -> DashScopeAPIResponse:
    try:
        members = parse_json(response.body.decode(errors="replace"))
    except UnreadableError:
        members = None
    members = members if isinstance(members, dict) else {}
    output = members.get("output")
    is_ok = response.status == HTTPStatus.OK
    return DashScopeAPIResponse(
        response.status,
        request_id=members.get("request_id") or "",
        code="" if is_ok else members.get("code") or "Unknown",
        message="" if is_ok else members.get("message") or response.body.decode(errors="replace"),
        output=DictMixin(output) if isinstance(output, dict) else output,
        usage=members.get("usage"),
    )
