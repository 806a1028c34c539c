"""HTTP requests for services that vendors offer beside their WebSocket: tokens, hot-word tables.

Beside the emulator the only importer of `aiohttp`, and not before the first request; its exceptions become this
library's here. Such requests are rare: each has a connection of its own, and nothing has to be kept or closed.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit, urlunsplit

from .._text.redaction import Redactor, secrets_of
from .._text.secret import SecretBytes, SecretHeaders, SecretText, ShownByRepr, secret_url
from ..errors import ASRError, ConfigurationError, ConnectionLostError, DeadlineError, RemoteProtocolError
from .network_options import NetworkOptions
from .os_errors import connect_error
from .proxy import refused_by_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .proxy import Proxy

__all__ = ["HttpResponse", "request"]

REQUEST_TIMEOUT_S = 30.0
"""The deadline of a whole request, for callers without one of their own."""

MAX_RESPONSE_BYTES = 16 * 1024 * 1024
"""The largest response in use, a full hot-word table, has well under 1 MiB."""

_FROM_ENVIRONMENT = NetworkOptions()


class HttpResponse(ShownByRepr, frozen=True, kw_only=True):
    """A whole response, of any status."""

    status: int
    headers: Mapping[str, str]
    """Names in any case."""
    body: bytes

    def __repr__(self) -> str:
        return f"<HttpResponse {self.status}>"  # headers and body may hold a token


async def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes = b"",
    timeout_s: float = REQUEST_TIMEOUT_S,
    network: NetworkOptions = _FROM_ENVIRONMENT,
) -> HttpResponse:
    """Send a request and read the whole response. The URL is sent as it is written; redirects are not followed.

    Raises:
        ConfigurationError: the URL, the proxy or the TLS context cannot be used.
        ConnectionLostError: the server or the proxy cannot be reached, or the connection was lost.
        DeadlineError: not within `timeout_s`.
        RemoteProtocolError: the response is not HTTP, or larger than `MAX_RESPONSE_BYTES`.
    """
    url, headers, body = secret_url(url), SecretHeaders(headers), SecretBytes(body)
    try:
        return await _send(method, url, headers, body, timeout_s=timeout_s, network=network)
    except ASRError as error:
        error.change_texts(Redactor(secrets_of(url, headers)).text)
        # without the frames of its origin, whose local variables hold parts of the URL and what the server sent
        raise error.with_traceback(None) from None


async def _send(
    method: str, url: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float, network: NetworkOptions
) -> HttpResponse:
    import aiohttp  # noqa: PLC0415 - takes a third of a second, and most programs never need it
    from yarl import URL  # noqa: PLC0415

    parts = _split(url)
    host = parts.netloc.rpartition("@")[2]
    proxy = _proxy_for(parts, network)
    with _mapped_errors(host, proxy, timeout_s):
        async with (
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=timeout_s), cookie_jar=aiohttp.DummyCookieJar()
            ) as session,
            session.request(
                method,
                URL(_requested_url(url, headers), encoded=True),
                data=body or None,
                allow_redirects=False,
                **_connection_arguments(parts, headers, proxy, network),
            ) as response,
        ):
            if proxy is not None and response.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
                raise refused_by_proxy(proxy, host, response.status)
            content = bytearray()
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > MAX_RESPONSE_BYTES:
                    raise RemoteProtocolError(f"{host} sent a response of more than {MAX_RESPONSE_BYTES} bytes")
            received = bytes(content)
            if response.status >= HTTPStatus.BAD_REQUEST:
                received = Redactor(secrets_of(url, headers)).bytes(received)
            return HttpResponse(status=response.status, headers=response.headers, body=received)


def _requested_url(url: str, headers: Mapping[str, str]) -> str:
    """Return the URL as it is written, since a signature covers it, but with one credential: that of the headers."""
    parts = urlsplit(url)
    if "Authorization" not in headers or "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _split(url: str) -> SplitResult:
    """Split the URL. No error shows it: it may hold a key."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for what is no port
    except ValueError:
        raise ConfigurationError("not a URL: its host or port is malformed") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigurationError("not a URL of HTTP: it must be https://host/path")
    return parts


def _proxy_for(parts: SplitResult, network: NetworkOptions) -> Proxy | None:
    host = parts.hostname or ""
    proxy = network.proxy_for(parts.scheme, host, parts.port or (443 if parts.scheme == "https" else 80))
    if proxy is not None and proxy.is_socks:
        raise ConfigurationError(
            f"the proxy {proxy.address} speaks SOCKS, which HTTP requests (tokens, hot words) cannot use: give an "
            f"http:// proxy for them, in {parts.scheme.upper()}_PROXY or proxy= of the service, or name {host} in "
            "NO_PROXY"
        )
    return proxy


def _connection_arguments(
    parts: SplitResult, headers: Mapping[str, str], proxy: Proxy | None, network: NetworkOptions
) -> dict[str, Any]:
    """Return the arguments of aiohttp's request for headers, TLS and the proxy."""
    from yarl import URL  # noqa: PLC0415

    arguments: dict[str, Any] = {"headers": {**headers}}
    if parts.scheme == "https":
        arguments["ssl"] = network.tls_context_for(parts.hostname or "")
    elif proxy is not None and proxy.scheme == "https":
        arguments["ssl"] = network.tls_context_for(proxy.host)
    if proxy is not None:
        arguments["proxy"] = URL.build(scheme=proxy.scheme, host=proxy.host, port=proxy.port)
        if proxy.authorization is not None:
            # an encrypted request goes through a tunnel, which the proxy opens at a request with headers of its own
            to_proxy = arguments.setdefault("proxy_headers", {}) if parts.scheme == "https" else arguments["headers"]
            to_proxy["Proxy-Authorization"] = SecretText(proxy.authorization)
    return arguments


@contextmanager
def _mapped_errors(host: str, proxy: Proxy | None, timeout_s: float) -> Iterator[None]:
    """Turn the errors of `aiohttp` and the system into this library's."""
    import aiohttp  # noqa: PLC0415

    try:
        yield
    except ASRError:
        raise
    except aiohttp.InvalidURL as error:
        raise ConfigurationError(f"not a URL: {error}") from None
    except TimeoutError:
        raise DeadlineError(f"no response from {host} within {timeout_s:g} s", retryable=True) from None
    except aiohttp.ClientHttpProxyError as error:
        assert proxy is not None  # noqa: S101 - it has answered
        raise refused_by_proxy(proxy, host, error.status) from None
    except aiohttp.ClientConnectorCertificateError as error:
        raise connect_error(host, _os_error(error.certificate_error)) from None
    except aiohttp.ClientConnectorError as error:
        raise connect_error(_unreachable_name(host, proxy, error.os_error), error.os_error) from None
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError):
        raise ConnectionLostError(
            f"{host} closed the connection before the response was complete", retryable=True
        ) from None
    except OSError as error:
        raise connect_error(host, error) from None
    except aiohttp.ClientError as error:
        raise RemoteProtocolError(f"{host} does not speak HTTP: {error}") from None


def _unreachable_name(host: str, proxy: Proxy | None, error: OSError) -> str:
    """Return the name of the side that cannot be reached: behind a proxy only TLS reaches the server."""
    if proxy is None or isinstance(error, ssl.SSLError):
        return host
    return proxy.name_for(host)


def _os_error(error: Exception) -> OSError:
    return error if isinstance(error, OSError) else OSError(str(error))
