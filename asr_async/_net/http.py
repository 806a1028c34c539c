"""Plain HTTP requests, for what vendors offer beside their WebSocket: tokens, hot-word tables.

Beside the emulator the only importer of `aiohttp`, and not before the first request; its exceptions become ours here.
Such requests are rare, so each has a connection of its own and nothing has to be kept and closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from ..errors import ASRError, ConfigurationError, ConnectionLostError, DeadlineError, RemoteProtocolError
from .hosts import is_loopback
from .os_errors import unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["HttpResponse", "request"]

REQUEST_TIMEOUT_S = 30.0
"""A whole request, for callers without a deadline of their own."""

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""The largest answer in use, a full hot-word table, has well under 1 MiB."""


class HttpResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What came back, whatever the status."""

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
) -> HttpResponse:
    """Send a request and read the whole answer. The URL goes out as it is written, redirections are not followed.

    Raises:
        ConfigurationError: the URL is malformed.
        ConnectionLostError: nobody is there, or the connection was lost.
        DeadlineError: not within `timeout_s`.
        RemoteProtocolError: the answer is not HTTP, or larger than `MAX_ANSWER_BYTES`.
    """
    import aiohttp  # noqa: PLC0415 - costs a third of a second, and most programs never need it
    from yarl import URL  # noqa: PLC0415

    parts = urlsplit(url)
    with _our_errors(parts.netloc, timeout_s):
        async with (
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                # a proxy from the environment is for the network, never for this machine
                trust_env=not is_loopback(parts.hostname),
                cookie_jar=aiohttp.DummyCookieJar(),
            ) as session,
            # encoded: a URL that was signed must not be written in another way
            session.request(
                method, URL(url, encoded=True), headers=headers, data=body or None, allow_redirects=False
            ) as response,
        ):
            answer = bytearray()
            async for chunk in response.content.iter_any():
                answer += chunk
                if len(answer) > MAX_ANSWER_BYTES:
                    raise RemoteProtocolError(f"{parts.netloc} answered with more than {MAX_ANSWER_BYTES} bytes")
            return HttpResponse(status=response.status, headers=response.headers, body=bytes(answer))


@contextmanager
def _our_errors(host: str, timeout_s: float) -> Iterator[None]:
    """Turn what `aiohttp` and the system raise into ours."""
    import aiohttp  # noqa: PLC0415

    try:
        yield
    except ASRError:
        raise
    except aiohttp.InvalidURL as error:
        raise ConfigurationError(f"not a URL: {error}") from None
    except TimeoutError:
        raise DeadlineError(f"no answer from {host} within {timeout_s:g} s", retryable=True) from None
    except aiohttp.ClientConnectorCertificateError as error:
        raise unreachable(host, error.certificate_error) from None
    except aiohttp.ClientConnectorError as error:
        raise unreachable(host, error.os_error) from None
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError):
        raise ConnectionLostError(f"{host} closed the connection before its answer was there", retryable=True) from None
    except OSError as error:
        raise unreachable(host, error) from None
    except aiohttp.ClientError as error:
        raise RemoteProtocolError(f"{host} does not speak HTTP: {error}") from None
