"""HTTP requests of a service beside its WebSocket: for a token, or to open a session before the connection.

A request has the TLS context and the proxy of its service, one deadline, and a connection of its own. It fails with the
errors of this library only, and no text of an error holds a credential of its URL or headers. Does not know a vendor.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPMethod
from typing import TYPE_CHECKING, TypeVar

import msgspec

from .._net.http import REQUEST_TIMEOUT_S, HttpResponse, request
from .._net.network_options import NetworkOptions
from .._text.redaction import Redactor, secrets_of
from .._text.secret import SecretBytes, SecretHeaders, secret_url
from ..errors import RemoteProtocolError

if TYPE_CHECKING:
    from .vendor_errors import VendorErrors

__all__ = ["HttpResponse", "NetworkOptions", "request", "request_json", "utc_now"]

T = TypeVar("T")


def utc_now() -> datetime:
    """Return the time of day: the clock by which a `Retry-After` with a date is read, and a request is signed."""
    return datetime.now(UTC)


async def request_json(
    url: str,
    response_type: type[T],
    *,
    errors: VendorErrors,
    network: NetworkOptions,
    method: str = HTTPMethod.POST,
    headers: Mapping[str, str] | None = None,
    content: object = None,
    timeout_s: float = REQUEST_TIMEOUT_S,
) -> T:
    """Send a request, and return the JSON of its response as this type.

    Args:
        url: the URL, sent as it is written.
        response_type: the type of the response, such as a `msgspec.Struct`; members that it lacks are ignored.
        errors: makes the error of a response that refuses.
        network: the TLS context and the proxy; those of the service are `ServiceBase.network`.
        method: the HTTP method.
        headers: further headers, credentials included.
        content: the body, anything that `msgspec` writes as JSON; None sends none.
        timeout_s: the deadline of the whole request.

    Raises:
        ASRError: as `request`; or the server refused, as `errors` says.
        RemoteProtocolError: the response is not JSON of this type.
    """
    # first, so that no local variable in a traceback shows a secret
    url, headers = secret_url(url), SecretHeaders(headers or {})
    body, content = SecretBytes(b"" if content is None else msgspec.json.encode(content)), None
    if body:
        headers["Content-Type"] = "application/json"
    response = await request(method, url, headers=headers, body=body, timeout_s=timeout_s, network=network)
    if not 200 <= response.status < 300:
        refusal = errors.of_response(response.status, response.headers, response.body)
        refusal.change_texts(Redactor(secrets_of(url, headers)).text)
        raise refusal
    try:
        return msgspec.json.decode(response.body, type=response_type)
    except (msgspec.MsgspecError, RecursionError) as error:
        reason = f"{method} {url.partition('?')[0]}: the response is not as expected: {error}"
    raise RemoteProtocolError(Redactor(secrets_of(url, headers)).text(reason))
