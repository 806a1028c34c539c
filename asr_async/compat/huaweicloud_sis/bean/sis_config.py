"""The settings of a client."""

from __future__ import annotations

__all__ = ["SisConfig"]


class SisConfig:
    """Timeouts in seconds. A proxy is taken from the environment, as by the rest of this library."""

    def __init__(self) -> None:
        self._connect_timeout: float = 10
        self._read_timeout: float = 10
        self._connect_lost_timeout: float = 10
        self._websocket_wait_time: float = 20
        self._proxy: list[object] | None = None
        self._certificate_check = True

    def set_connect_timeout(self, connect_timeout: float) -> None:
        """Set the longest time to connect."""
        self._connect_timeout = connect_timeout

    def get_connect_timeout(self) -> float:
        """Return the longest time to connect."""
        return self._connect_timeout

    def set_read_timeout(self, read_timeout: float) -> None:
        """Set the longest time of an HTTP response; it has no effect."""
        self._read_timeout = read_timeout

    def get_read_timeout(self) -> float:
        """Return the value that was set."""
        return self._read_timeout

    def set_connect_lost_timeout(self, connect_lost_timeout: float) -> None:
        """Set the longest time without any data from the vendor."""
        self._connect_lost_timeout = connect_lost_timeout

    def get_connect_lost_timeout(self) -> float:
        """Return the longest time without any data from the vendor."""
        return self._connect_lost_timeout

    def set_websocket_wait_time(self, websocket_wait_time: float) -> None:
        """Set a time of the SDK's speech synthesis; it has no effect."""
        self._websocket_wait_time = websocket_wait_time

    def get_websocket_wait_time(self) -> float:
        """Return the value that was set."""
        return self._websocket_wait_time

    def set_proxy(self, proxy: list[object] | None) -> None:
        """Set the proxy of HTTP requests; it has no effect, as for WebSockets in the original."""
        self._proxy = proxy

    def get_proxy(self) -> list[object] | None:
        """Return the value that was set."""
        return self._proxy

    def set_certificate_check(self, check: bool) -> None:
        """Do nothing: certificates are verified."""

    def get_certificate_check(self) -> bool:
        """Return True."""
        return self._certificate_check
