"""The way of the bytes to a host: straight, or through the proxy that the environment names.

It does not know what will go over it.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from websockets.exceptions import InvalidProxy, InvalidProxyStatus, ProxyError
from websockets.proxy import Proxy, get_proxy, parse_proxy

from ..errors import ConfigurationError, ConnectionLostError, RemoteProtocolError
from .hosts import is_loopback
from .os_errors import unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from websockets.uri import WebSocketURI

__all__ = ["open_stream"]


async def open_stream(
    factory: Callable[[], asyncio.BufferedProtocol], uri: WebSocketURI, host: str, *, user_agent: str | None
) -> None:
    """Connect what the factory makes; never through a proxy where it goes to this machine.

    `host` is how errors name where it goes, `user_agent` what a proxy is told of who asks.

    Raises:
        ConfigurationError: the proxy is malformed, or speaks SOCKS without the library for it.
        ConnectionLostError: the proxy is not there, or refused.
        OSError: the host cannot be reached; `unreachable` says so.
        RemoteProtocolError: the proxy cannot be used.
    """
    loop = asyncio.get_running_loop()
    proxy_url = None if is_loopback(uri.host) else get_proxy(uri)
    if proxy_url is None:
        await loop.create_connection(factory, uri.host, uri.port)
        return
    from websockets.asyncio.client import HTTPProxyConnection, connect_socks_proxy  # noqa: PLC0415 - rarely needed

    proxy = _parse_proxy_url(proxy_url)
    with _our_errors(f"{proxy.host}:{proxy.port}", host):
        if proxy.scheme.startswith("socks"):
            await loop.create_connection(factory, sock=await connect_socks_proxy(proxy, uri))
            return
        stream, way = await loop.create_connection(
            lambda: HTTPProxyConnection(uri, proxy, user_agent),
            proxy.host,
            proxy.port,
            ssl=True if proxy.scheme == "https" else None,
        )
        try:
            await way.response
        except BaseException:
            stream.abort()  # which the library's own function leaves open in 16.0
            raise
    protocol = factory()
    stream.set_protocol(protocol)
    protocol.connection_made(stream)


def _parse_proxy_url(url: str) -> Proxy:
    """Take its URL apart. What is wrong is told without showing it: it may hold a password."""
    form = "http://host:port or http://user:password@host:port"
    try:
        return parse_proxy(url)
    except InvalidProxy as error:
        raise ConfigurationError(f"the proxy in the environment must be {form}: {error.msg}") from None
    except ValueError:
        raise ConfigurationError(f"the proxy in the environment must be {form}: it is malformed") from None


@contextmanager
def _our_errors(proxy: str, host: str) -> Iterator[None]:
    """Turn what goes wrong between here and the proxy into errors that name it."""
    try:
        yield
    except ImportError:
        raise ConfigurationError(
            f"the proxy {proxy} speaks SOCKS, which needs python-socks: pip install python-socks[asyncio]"
        ) from None
    except InvalidProxyStatus as error:
        status = error.response.status_code
        what_to_do = (
            ": it takes http://user:password@host:port" if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED else ""
        )
        raise ConnectionLostError(
            f"the proxy {proxy} refused to connect to {host} with HTTP {status}{what_to_do}",
            retryable=status >= HTTPStatus.INTERNAL_SERVER_ERROR,
        ) from None
    except ProxyError as error:
        if isinstance(error.__cause__, EOFError):
            raise ConnectionLostError(f"the proxy {proxy} closed the connection to {host}", retryable=True) from None
        raise RemoteProtocolError(f"the proxy {proxy} cannot be used: {error}") from None
    except TimeoutError:
        raise
    except OSError as error:
        raise unreachable(f"{proxy} (the proxy to {host})", error) from None
