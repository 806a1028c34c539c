"""Acme's service: its addresses, its key, and the tokens that are made of the key."""

from __future__ import annotations

import os
import ssl
from typing import Literal
from urllib.parse import urlencode

import msgspec

from asr_async import AuthenticationError, ConfigurationError
from asr_async.vendors.api_key import ApiKey, KeyFunction
from asr_async.vendors.codec import TaskDescription
from asr_async.vendors.http import request_json
from asr_async.vendors.options import Options
from asr_async.vendors.service import Endpoint, ServiceBase, check_endpoint, fingerprint
from asr_async.vendors.tokens import Token, TokenSource

from .codec import ERRORS, AcmeCodec, describe
from .options import Acme

KEY_VARIABLE = "ACME_API_KEY"
ENDPOINT_VARIABLE = "ACME_ENDPOINT"
SUBPROTOCOL = "acme.v1"
MARGIN_S = 30.0


class AcmeKey(ApiKey):
    """The key: an argument, a function's, or the environment's."""

    vendor = "acme"
    vendor_name = "Acme"
    service = "AcmeService"
    variable = KEY_VARIABLE

    def _read_environment(self) -> str:
        return os.environ.get(KEY_VARIABLE, "")

    def _is_invalid_key(self, error: AuthenticationError) -> bool:
        return error.status == 401


class TokenResponse(msgspec.Struct, frozen=True):
    """The response to a request for a token."""

    token: str
    expires_in: float


class AcmeService(ServiceBase):
    """Acme's live recognition.

    Args:
        api_key: the key. Default: the environment variable `ACME_API_KEY`.
        endpoint: scheme and host, `wss://host`. Default: `ACME_ENDPOINT`, else the vendor's.
        ssl_context: see `asr_async.DashScope`, as of `proxy` and `insecure`.
        proxy: the proxy of connections and requests.
        insecure: allow an endpoint without encryption that is not on this machine.
    """

    def __init__(
        self,
        api_key: str | KeyFunction | None = None,
        *,
        endpoint: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | Literal[False] | None = None,
        insecure: bool = False,
    ) -> None:
        self._key, api_key = AcmeKey(api_key), None  # so that no traceback shows it
        super().__init__(ssl_context=ssl_context, proxy=proxy, insecure=insecure)
        self._endpoint = endpoint and check_endpoint(endpoint, insecure=insecure)

    def describe(self, options: Options) -> TaskDescription:
        """Return the facts about a task."""
        return describe(_checked(options))

    def codec(self, options: Options, *, task_id: str) -> AcmeCodec:  # noqa: ARG002 - this vendor has no ids of tasks
        """Make the codec of one task."""
        _checked(options)
        return AcmeCodec()

    async def resolve(self, options: Options) -> Endpoint:
        """Return the endpoint for these options, with a token that is valid now."""
        query = {"model": options.model, "sample_rate": options.audio.sample_rate, "language": options.spoken_language}
        base = self._endpoint or os.environ.get(ENDPOINT_VARIABLE) or "wss://acme.example"
        key = await self._key.find()
        tokens = TokenSource((base, key), lambda: self._request_token(base, key))
        token = await tokens.get()
        return Endpoint(
            url=f"{base}/v1/listen?{urlencode(query)}",
            headers={"Authorization": f"Bearer {token.value}"},
            subprotocols=(SUBPROTOCOL,),
            handshake_error=ERRORS.of_response,
            refresh_credentials=lambda _error: tokens.discard(token),
            account=fingerprint(key),
            network=self.network,
        )

    async def _request_token(self, base: str, key: str) -> Token:
        response = await request_json(
            f"{base.replace('ws', 'http', 1)}/v1/token",
            TokenResponse,
            headers={"Authorization": f"Key {key}"},
            errors=ERRORS,
            network=self.network,
        )
        return Token(response.token, valid_s=response.expires_in - MARGIN_S)


def _checked(options: Options) -> Acme:
    if not isinstance(options, Acme):
        raise ConfigurationError(f"{type(options).__name__} does not belong to Acme: change the options or the service")
    return options
