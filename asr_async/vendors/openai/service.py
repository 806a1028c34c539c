"""The service of OpenAI's realtime transcription: its endpoint and its credentials.

Sources: the vendor's guide "Realtime transcription" (2026-11): a session for transcription has `intent=transcription`
in its URL, and no model there; PyPI `openai` 3.57.0 for the environment, the headers and the temporary keys.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from ..._net.user_agent import USER_AGENT
from ..._text.secret import SecretHeaders, secret_url, shown_url, tolerant_repr
from ...errors import ConfigurationError
from ..api_key import KeyFunction
from ..codec import Codec, TaskDescription
from ..http import utc_now
from ..options import Options, check_range
from ..rest import RestClient
from ..service import Endpoint, ServiceBase, TemporaryKey, check_endpoint, check_headers
from .codec import OpenAIRealtimeCodec, describe_session
from .credentials import OpenAIKey
from .errors import error_from_response
from .models import OpenAIRealtime
from .rest_wire import (
    CLIENT_SECRETS_PATH,
    MAX_LIFETIME_S,
    MIN_LIFETIME_S,
    ClientSecret,
    CreateClientSecret,
    ExpiresAfter,
)
from .vllm_codec import VLLMCodec, describe_vllm_task
from .vllm_models import VLLMRealtime

if TYPE_CHECKING:
    import ssl

    from ..service import Vocabularies

__all__ = ["OpenAI"]

ENDPOINT = "wss://api.openai.com/v1/realtime"
PATH = "/realtime"
"""The path below the base URL, as in the official SDK."""


class OpenAI(ServiceBase):
    """OpenAI's realtime transcription over WebSocket, or another server that speaks its protocol.

    The service of `OpenAIRealtime` and, with the `endpoint` of a vLLM server, of `VLLMRealtime`. The environment is
    read each time a session connects, never at import: `OPENAI_API_KEY`, `OPENAI_BASE_URL`, `OPENAI_ORG_ID` and
    `OPENAI_PROJECT_ID`, as the official SDK does.

    Args:
        api_key: a key, a temporary key (`ek_...`), or a plain or async function that returns one. The function is
            called in the event loop for each connection and each HTTP request, within their deadlines; its exceptions
            reach the caller. Default: the environment variable `OPENAI_API_KEY`.
        endpoint: the whole WebSocket URL, `wss://host/v1/realtime`. Default: `OPENAI_BASE_URL`, the HTTP or WebSocket
            base of the API, with `/realtime` behind it; else the vendor's. Temporary keys are requested from the same
            address, over HTTP, with `/client_secrets` behind it.
        organization: the id of the organization that is billed. Default: `OPENAI_ORG_ID`.
        project: the id of the project that is billed. Default: `OPENAI_PROJECT_ID`.
        headers: further headers of connections and HTTP requests, for those of the vendor that this library does not
            know.
        ssl_context: the TLS context of connections and HTTP requests, used as it is. Default: the system's trust store,
            or SSL_CERT_FILE and SSL_CERT_DIR.
        proxy: the URL of their proxy, `http://user:password@host:port` (or `https`, `socks5`); False connects directly.
            Default: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY. This machine is never reached through a proxy.
        insecure: allow an endpoint without encryption that is not on this machine, and an `ssl_context` that does not
            verify the server.

    Raises:
        ConfigurationError: a header or the endpoint is malformed.
    """

    def __init__(
        self,
        api_key: str | KeyFunction | None = None,
        *,
        # address
        endpoint: str | None = None,
        # account
        organization: str | None = None,
        project: str | None = None,
        # connection
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | Literal[False] | None = None,
        insecure: bool = False,
    ) -> None:
        # first, so that no local variable in a traceback shows a secret, and a `repr` is possible
        self._key, api_key = OpenAIKey(api_key), None
        headers = headers and SecretHeaders(headers)
        self._endpoint = endpoint = endpoint and secret_url(endpoint)
        proxy = secret_url(proxy) if isinstance(proxy, str) else proxy
        self._given_headers = check_headers(headers)
        if endpoint is not None:
            check_endpoint(endpoint, insecure=insecure)
        self._account_headers = {"OpenAI-Organization": organization, "OpenAI-Project": project}
        check_headers({name: value for name, value in self._account_headers.items() if value is not None})
        self._insecure = insecure
        super().__init__(ssl_context=ssl_context, proxy=proxy, insecure=insecure)

    @tolerant_repr
    def __repr__(self) -> str:
        return f"<OpenAI {shown_url(self._endpoint)}>" if self._endpoint else "<OpenAI>"

    def describe(self, options: Options) -> TaskDescription:
        """Return the facts about one task.

        Raises:
            ConfigurationError: the options are another vendor's.
        """
        options = _checked(options)
        return describe_vllm_task(options) if isinstance(options, VLLMRealtime) else describe_session(options)

    def codec(self, options: Options, *, task_id: str) -> Codec:
        """Make the codec of one task.

        Raises:
            ConfigurationError: the options are another vendor's.
        """
        options = _checked(options)
        if isinstance(options, VLLMRealtime):
            return VLLMCodec(options, task_id=task_id)
        return OpenAIRealtimeCodec(options, task_id=task_id)

    @property
    def vocabularies(self) -> Vocabularies:
        """Not supported: the vendor has no tables of hot words.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError("OpenAI stores no hot-word tables: pass OpenAIRealtime(keywords=[...])")

    async def temporary_key(self, *, expires_in: int = 60) -> TemporaryKey:
        """Make a key for a program that must not have this one: in a browser, on a device. It is for transcription.

        Args:
            expires_in: the lifetime in seconds, 10 to 7200.

        Raises:
            ASRError: there is no key, the vendor refused, or it could not be reached in time.
        """
        check_range("expires_in", expires_in, MIN_LIFETIME_S, MAX_LIFETIME_S, "s")
        rest = RestClient(
            self._http_base, self._key, headers=self._headers, error=error_from_response, network=self.network
        )
        request = CreateClientSecret(expires_after=ExpiresAfter(seconds=expires_in), session={"type": "transcription"})
        secret = await rest.call("POST", "", ClientSecret, request)
        return TemporaryKey(value=secret.value, expires_at=secret.expires_at)

    async def resolve(self, options: Options) -> Endpoint:
        """Return the endpoint for these options, with the key of the moment.

        Raises:
            AuthenticationError: there is no key.
            ConfigurationError: the options are another vendor's, or the environment's address is malformed.
        """
        options = _checked(options)
        key = await self._key.find()
        url = self._url()
        return Endpoint(
            url=url if isinstance(options, VLLMRealtime) else _with_intent(url),
            headers=self._headers(key),
            handshake_error=functools.partial(
                error_from_response,
                temporary_key=self._key.is_temporary(key),
                clock=utc_now,
            ),
            refresh_credentials=functools.partial(self._key.refresh, key),
            account=self._key.account_of(key),
            network=self.network,
        )

    def _url(self) -> str:
        if self._endpoint is not None:
            return self._endpoint
        base = secret_url(os.environ.get("OPENAI_BASE_URL", "").strip())
        if not base:
            return ENDPOINT
        scheme, separator, rest = base.partition("://")
        scheme = {"https": "wss", "http": "ws"}.get(scheme, scheme)
        address, _, query = rest.partition("?")
        url = secret_url(f"{scheme}{separator}{address.rstrip('/')}{PATH}{'?' if query else ''}{query}")
        return check_endpoint(
            url, insecure=self._insecure, name="OPENAI_BASE_URL", form="the base of the API, https://host/v1"
        )

    def _http_base(self) -> str:
        """Return the URL of the temporary keys."""
        parts = urlsplit(self._url())
        scheme = "https" if parts.scheme == "wss" else "http"
        return urlunsplit(parts._replace(scheme=scheme, path=f"{parts.path.rstrip('/')}{CLIENT_SECRETS_PATH}"))

    def _headers(self, key: str) -> dict[str, str]:
        headers = SecretHeaders({**self._given_headers, "Authorization": f"Bearer {key}", "User-Agent": USER_AGENT})
        for (name, value), variable in zip(
            self._account_headers.items(), ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"), strict=True
        ):
            if value := value or os.environ.get(variable, "").strip():
                headers[name] = value
        return headers


def _checked(options: Options) -> OpenAIRealtime | VLLMRealtime:
    if not isinstance(options, OpenAIRealtime | VLLMRealtime):
        raise ConfigurationError(
            f"{type(options).__name__} does not belong to OpenAI: change the options or the service"
        )
    return options


def _with_intent(url: str) -> str:
    """Return the URL of a session for transcription; the query of the caller's endpoint stays."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    if any(name == "intent" for name, _ in query):
        return url
    return urlunsplit(parts._replace(query=urlencode([*query, ("intent", "transcription")])))
