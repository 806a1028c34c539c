"""The client of a vendor's REST interfaces: requests with a key, responses as values or typed errors.

Does not know a vendor: the paths, the headers and the errors are arguments.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol, TypeVar

import msgspec

from .._net.http import REQUEST_TIMEOUT_S, request
from .._net.network_options import NetworkOptions
from .._text.redaction import Redactor, secrets_of
from .._text.secret import secret_url
from ..errors import ASRError, DeadlineError, RemoteProtocolError
from .api_key import ApiKey
from .credentials import with_fresh_credentials
from .http import utc_now

__all__ = ["RestClient"]

T = TypeVar("T")


class ResponseErrorFunction(Protocol):
    """Makes the error of a response; see `error_from_response` of the vendors."""

    def __call__(
        self,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        *,
        subject: str,
        temporary_key: bool,
        clock: Callable[[], datetime],
    ) -> ASRError: ...


class RestClient:
    """The REST interfaces of one account.

    Args:
        base: returns the HTTP base, such as `https://host/api/v1`; called for each request.
        key: the source of the key.
        headers: returns the headers for a key, the key included.
        error: makes the error of a response with a status other than 200.
        network: the TLS context and the proxy.
    """

    def __init__(
        self,
        base: Callable[[], str],
        key: ApiKey,
        *,
        headers: Callable[[str], dict[str, str]],
        error: ResponseErrorFunction,
        network: NetworkOptions,
    ) -> None:
        self._base = base
        self._key = key
        self._headers = headers
        self._error = error
        self._network = network

    async def call(self, method: str, path: str, response_type: type[T], body: msgspec.Struct | None = None) -> T:
        """Send a request; if the key is refused and the caller's function may return a newer one, send it once more.

        Args:
            method: the HTTP method.
            path: the path behind the base, with the query, encoded.
            response_type: the type of the response's JSON.
            body: sent as JSON.

        Raises:
            AuthenticationError: there is no key, or the vendor refuses it.
            ConfigurationError: the base is not a URL that a key may be sent to.
            ConnectionLostError: the host cannot be reached.
            DeadlineError: there is no key, or no response, in time.
            RemoteProtocolError: the response cannot be decoded.
            VendorError: the vendor refuses the request, with its code.
        """
        url = secret_url(f"{self._base()}{path}")
        content = b"" if body is None else msgspec.json.encode(body)
        return await with_fresh_credentials(
            await self._find_key(),
            lambda key: self._send(key, method, url, content, response_type),
            discard=self._key.refresh,
            obtain=self._find_key,
        )

    async def _find_key(self) -> str:
        deadline = asyncio.timeout(REQUEST_TIMEOUT_S)
        try:
            async with deadline:
                return await self._key.find()
        except TimeoutError:
            if not deadline.expired():  # raised by the caller's function
                raise
            raise DeadlineError(f"no key from the function given as api_key= within {REQUEST_TIMEOUT_S:g} s") from None

    async def _send(self, key: str, method: str, url: str, content: bytes, response_type: type[T]) -> T:
        headers = self._headers(key)
        if content:
            headers["Content-Type"] = "application/json"
        response = await request(method, url, headers=headers, body=content, network=self._network)
        if response.status != 200:
            raise self._error(
                response.status,
                response.headers,
                response.body,
                subject="request",
                temporary_key=self._key.is_temporary(key),
                clock=utc_now,
            )
        try:
            return msgspec.json.decode(response.body, type=response_type)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            # without the response itself, which may hold a key
            text = f"{self._key.vendor_name}'s response to {method} {url} cannot be decoded: {error}"
            raise RemoteProtocolError(Redactor(secrets_of(url, headers)).text(text)) from None
