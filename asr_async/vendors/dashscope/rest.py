"""The client of DashScope's REST interfaces: requests with a key, responses as values or typed errors."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from ..._net.http import REQUEST_TIMEOUT_S, request
from ..._net.network_options import NetworkOptions
from ...errors import DeadlineError, RemoteProtocolError
from ..api_key import ApiKey
from ..credentials import with_fresh_credentials
from .credentials import is_temporary
from .errors import error_from_response

__all__ = ["RestClient"]

T = TypeVar("T")


class RestClient:
    """The REST interfaces of one account.

    Args:
        base: returns the HTTP base, `https://host/api/v1`; called for each request.
        key: the source of the key.
        headers: returns the headers for a key, the key included.
        network: the TLS context and the proxy.
    """

    def __init__(
        self, base: Callable[[], str], key: ApiKey, headers: Callable[[str], dict[str, str]], network: NetworkOptions
    ) -> None:
        self._base = base
        self._key = key
        self._headers = headers
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
        url = f"{self._base()}{path}"
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
            raise error_from_response(
                response.status,
                response.headers,
                response.body,
                temporary_key=is_temporary(key),
                clock=functools.partial(datetime.now, UTC),
            )
        try:
            return msgspec.json.decode(response.body, type=response_type)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            # without the response itself, which may hold a key
            raise RemoteProtocolError(f"DashScope's response to {method} {url} cannot be decoded: {error}") from None
