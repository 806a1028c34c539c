"""The destination of a connection, and facts about host names that need no network."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from ..errors import ASRError

if TYPE_CHECKING:
    from .network_options import NetworkOptions

__all__ = ["Destination", "Message", "is_loopback"]

Message = str | bytes | memoryview
"""One WebSocket message: text as str, binary as bytes or memoryview."""


class Destination(Protocol):
    """The part of a service's endpoint that the network needs."""

    @property
    def url(self) -> str:
        """A whole WebSocket URL."""
        ...

    @property
    def host(self) -> str:
        """Host and port as written, without credentials or query; errors use this name."""
        ...

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the handshake, credentials included."""
        ...

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """The WebSocket subprotocols to offer, the preferred one first."""
        ...

    @property
    def network(self) -> NetworkOptions:
        """The TLS context and the proxy."""
        ...

    @property
    def handshake_error(self) -> Callable[[int, Mapping[str, str], bytes], ASRError]:
        """Make the error for an HTTP response (status, headers, body) that is not a switch to WebSocket."""
        ...


@functools.lru_cache(maxsize=64)
def is_loopback(host: str | None) -> bool:
    """Return True if a host name can only be this machine."""
    if host is None or host == "localhost":
        return host is not None
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
