"""The route of a stream to its server: direct, or through an HTTP or SOCKS proxy. Does not know WebSocket."""

from __future__ import annotations

import asyncio
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from ..errors import ASRError, ConfigurationError, ConnectionLostError, RemoteProtocolError
from .os_errors import connect_error
from .proxy import refused_by_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .network_options import NetworkOptions
    from .proxy import Proxy
    from .stream import ByteStream

__all__ = ["Server", "open_stream"]

MAX_RESPONSE_BYTES = 64 * 1024
"""The longest response of a proxy that is read: its headers are of no use here."""

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r\n")
_RESOLVES_NAMES = {"socks5h": True, "socks5": False, "socks4a": True, "socks4": False}
"""True where the proxy resolves the server's name, False where this side does; as curl reads the schemes."""


class Server(msgspec.Struct, frozen=True):
    """The server that a stream leads to."""

    scheme: str
    """`wss` or `ws`."""
    host: str
    port: int
    name: str
    """Host and port as written, for errors."""

    @property
    def is_secure(self) -> bool:
        """True if the stream is encrypted."""
        return self.scheme == "wss"

    @property
    def authority(self) -> str:
        """Host and port, as a CONNECT request names them (RFC 9110, section 9.3.6)."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


async def open_stream(stream: ByteStream, server: Server, network: NetworkOptions, *, user_agent: str | None) -> None:
    """Connect a stream to a server, with TLS where the server has it; the caller aborts the stream if this fails.

    Args:
        stream: a stream that is not connected.
        server: its destination.
        network: the proxy and the TLS context.
        user_agent: sent to an HTTP proxy.

    Raises:
        ConfigurationError: the proxy or the TLS context cannot be used.
        ConnectionLostError: the proxy cannot be reached, or refused.
        EOFError: the server ended the connection.
        OSError: the server cannot be reached, or is not trusted.
        RemoteProtocolError: the proxy does not speak its protocol.
    """
    context = network.tls_context_for(server.host) if server.is_secure else None
    proxy = network.proxy_for(server.scheme, server.host, server.port)
    if proxy is None:
        await stream.connect(host=server.host, port=server.port)
    else:
        with _proxy_errors(proxy, server):
            if proxy.is_socks:
                await _connect_by_socks(stream, server, proxy)
            else:
                await _connect_by_http(stream, server, proxy, network, user_agent)
    if context is not None:
        await stream.start_tls(context, server.host)


async def _connect_by_http(
    stream: ByteStream, server: Server, proxy: Proxy, network: NetworkOptions, user_agent: str | None
) -> None:
    """Have an HTTP proxy connect to the server (RFC 9110, section 9.3.6).

    The event loop's own TLS encrypts the connection to a proxy with `https://`: such proxies are rare, and the bytes
    for the server may be encrypted once more inside.
    """
    tls = {}
    if proxy.scheme == "https":
        tls = {"ssl": network.tls_context_for(proxy.host), "server_hostname": proxy.host}
    handler, response = stream.handler, _ConnectResponse(proxy, server)
    stream.handler = response  # before connecting: the proxy may close at once
    await stream.connect(host=proxy.host, port=proxy.port, **tls)
    stream.write(_connect_request(server, proxy, user_agent))
    await response.accepted
    stream.handler = handler


def _connect_request(server: Server, proxy: Proxy, user_agent: str | None) -> bytes:
    lines = [f"CONNECT {server.authority} HTTP/1.1", f"Host: {server.authority}"]
    if user_agent is not None:
        lines.append(f"User-Agent: {user_agent}")
    if proxy.authorization is not None:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    return "\r\n".join([*lines, "", ""]).encode()


class _ConnectResponse:
    """The handler of a stream while an HTTP proxy answers a CONNECT request."""

    def __init__(self, proxy: Proxy, server: Server) -> None:
        self._proxy = proxy
        self._server = server
        self._received = bytearray()
        self.accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the proxy has connected, or will not."""

    def data_received(self, data: memoryview) -> None:
        self._received += data
        if not self.accepted.done():
            self._parse()

    def _parse(self) -> None:
        """Read the status as soon as its line is there, and headers up to the blank line that ends them."""
        status_line, line_end, _ = self._received.partition(b"\r\n")
        if line_end:
            match = _STATUS_LINE.fullmatch(status_line + line_end)
            if match is None:
                self._fail(self._unusable("its response is not HTTP"))
            elif not 200 <= (status := int(match[1])) < 300:
                self._fail(refused_by_proxy(self._proxy, self._server.name, status))
            elif (blank_line_at := self._received.find(b"\r\n\r\n")) >= 0:
                if blank_line_at + 4 == len(self._received):
                    self.accepted.set_result(None)
                else:  # a server speaks second, with TLS and with WebSocket
                    self._fail(self._unusable("it sent data of its own behind its response"))
        if len(self._received) > MAX_RESPONSE_BYTES and not self.accepted.done():
            self._fail(self._unusable("its response is too long"))

    def eof_received(self) -> None:
        self.connection_lost()

    def connection_lost(self) -> None:
        if not self.accepted.done():
            text = f"the proxy {self._proxy.address} closed the connection to {self._server.name}"
            self._fail(ConnectionLostError(text, retryable=True))

    def _unusable(self, reason: str) -> RemoteProtocolError:
        return RemoteProtocolError(f"the proxy {self._proxy.address} cannot be used: {reason}")

    def _fail(self, error: Exception) -> None:
        self.accepted.set_exception(error)


async def _connect_by_socks(stream: ByteStream, server: Server, proxy: Proxy) -> None:
    try:
        from python_socks import ProxyError, ProxyType  # noqa: PLC0415 - optional
        from python_socks.async_.asyncio import Proxy as SocksProxy  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError(
            f"the proxy {proxy.address} speaks SOCKS, which needs python-socks: pip install python-socks[asyncio]"
        ) from None
    client = SocksProxy(
        ProxyType.SOCKS5 if proxy.scheme.startswith("socks5") else ProxyType.SOCKS4,
        proxy.host,
        proxy.port,
        username=proxy.username,
        password=proxy.password,
        rdns=_RESOLVES_NAMES[proxy.scheme],
    )
    try:
        sock = await client.connect(server.host, server.port)
    except ProxyError as error:
        raise ConnectionLostError(
            f"the proxy {proxy.address} refused to connect to {server.name}: {error}", retryable=True
        ) from None
    await stream.connect(sock=sock)


@contextmanager
def _proxy_errors(proxy: Proxy, server: Server) -> Iterator[None]:
    """Turn the system's errors of the connection to the proxy into errors that name it."""
    try:
        yield
    except (ASRError, TimeoutError):
        raise
    except OSError as error:
        # the SOCKS library wraps the system's error into one of its own
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        raise connect_error(proxy.name_for(server.name), cause) from None
