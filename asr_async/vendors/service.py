"""What a service is: whom to call and as whom, for every vendor.

A service knows endpoints and credentials. It does not know sockets: it says where to connect, and the transport does.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Protocol, Self
from urllib.parse import urlsplit

import msgspec

from ..errors import ASRError, ConfigurationError
from .codec import Codec
from .options import Options

__all__ = ["Service", "Target", "check_endpoint"]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where to connect and what to say at the door."""

    url: str
    headers: dict[str, str]
    refused: Callable[[int, Mapping[str, str], bytes], ASRError]
    """Makes the error for an HTTP answer (status, headers, body) that was not a switch to WebSocket."""

    def __repr__(self) -> str:
        return f"<Target {self.host}>"  # the headers hold credentials

    @property
    def host(self) -> str:
        """Host and port as written, without credentials or query."""
        return urlsplit(self.url).netloc.rpartition("@")[2]


class Service(Protocol):
    """One vendor's service with one set of credentials; an async context manager that owns what connections share."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    def codec(self, options: Options, *, task_id: str) -> Codec:
        """Make the codec of one task.

        Raises:
            ConfigurationError: the options are another vendor's.
        """
        ...

    async def target(self, options: Options) -> Target:
        """Say where to connect for these options.

        Raises:
            AuthenticationError: there are no credentials.
            ConfigurationError: the service has no such model.
        """
        ...


def is_loopback(host: str | None) -> bool:
    """Whether a host name can only be this machine."""
    if host is None or host == "localhost":
        return host is not None
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_endpoint(endpoint: str, *, insecure: bool) -> str:
    """Refuse an endpoint that is no WebSocket URL, or that would send the key unencrypted over a network.

    Raises:
        ConfigurationError: with what to change.
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in {"ws", "wss"} or not parts.hostname:
        raise ConfigurationError(f"endpoint={endpoint!r}: must be a whole WebSocket URL, wss://host/path")
    if parts.scheme == "ws" and not insecure and not is_loopback(parts.hostname):
        raise ConfigurationError(
            f"endpoint={endpoint!r}: ws:// sends the key unencrypted; use wss://, or pass insecure=True to do it anyway"
        )
    return endpoint
