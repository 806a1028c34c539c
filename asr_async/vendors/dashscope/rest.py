"""DashScope's REST side for one account: sends a request with a key, and makes the answer a value or a typed error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import msgspec

from ..._net.http import REQUEST_TIMEOUT_S, request
from ..._net.network_options import NetworkOptions
from ...errors import AuthenticationError, DeadlineError, RemoteProtocolError
from .credentials import ApiKey, is_temporary
from .errors import error_from_response

__all__ = ["RestClient"]

T = TypeVar("T")


class RestClient:
    """Where and as whom to ask.

    Args:
        base: says the HTTP base, `https://host/api/v1`, at each request.
        key: where the key comes from.
        headers: makes the headers that name the caller, key included.
        network: the TLS context and the proxy.
    """

    def __init__(
        self, base: Callable[[], str], key: ApiKey, headers: Callable[[str], dict[str, str]], network: NetworkOptions
    ) -> None:
        self._base = base
        self._key = key
        self._headers = headers
        self._network = network

    async def call(self, method: str, path: str, answer: type[T], body: msgspec.Struct | None = None) -> T:
        """Send one request, and once more where the caller's function may have a newer key than the one refused.

        Args:
            method: the HTTP method.
            path: behind the base, with the query, as it goes over the wire.
            answer: the shape of the answer's JSON.
            body: sent as JSON.

        Raises:
            AuthenticationError: there is no key, or it was refused.
            ConfigurationError: the base is no URL that a key may be sent to.
            ConnectionLostError: nobody is there.
            DeadlineError: no key, or no answer, in time.
            RemoteProtocolError: the answer cannot be read.
            VendorError: the vendor refused, with its code.
        """
        url = f"{self._base()}{path}"
        content = b"" if body is None else msgspec.json.encode(body)
        key = await self._find_key()
        try:
            return await self._ask(key, method, url, content, answer)
        except AuthenticationError as error:
            if not self._key.renew(key, error):
                raise
        return await self._ask(await self._find_key(), method, url, content, answer)

    async def _find_key(self) -> str:
        deadline = asyncio.timeout(REQUEST_TIMEOUT_S)
        try:
            async with deadline:
                return await self._key.find()
        except TimeoutError:
            if not deadline.expired():  # the caller's function raised it
                raise
            raise DeadlineError(f"no key from the function given as api_key= within {REQUEST_TIMEOUT_S:g} s") from None

    async def _ask(self, key: str, method: str, url: str, content: bytes, answer: type[T]) -> T:
        headers = self._headers(key)
        if content:
            headers["Content-Type"] = "application/json"
        came = await request(method, url, headers=headers, body=content, network=self._network)
        if came.status != 200:
            raise error_from_response(came.status, came.headers, came.body, temporary_key=is_temporary(key))
        try:
            return msgspec.json.decode(came.body, type=answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            # not the answer itself: it may hold a key
            raise RemoteProtocolError(f"DashScope's answer to {method} {url} cannot be read: {error}") from None
