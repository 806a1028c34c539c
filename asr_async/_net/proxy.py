"""The proxy of a connection: its URL, the environment that names it, and the errors that it causes.

Opens no connection: `tunnel` (WebSocket) and `http` (requests) do.
"""

from __future__ import annotations

import base64
import functools
from http import HTTPStatus
from urllib.parse import unquote, urlsplit

from .._text.secret import SecretText, ShownByRepr
from ..errors import ConfigurationError, ConnectionLostError

__all__ = ["Proxy", "environment_proxy", "parse_proxy", "refused_by_proxy"]

_DEFAULT_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080, "socks4": 1080, "socks4a": 1080}

_VARIABLES = {
    "wss": ("wss", "socks", "https", "all"),
    "ws": ("ws", "socks", "https", "http", "all"),
    "https": ("https", "all"),
    "http": ("http", "all"),
}
"""By the scheme of a URL, the variables (`https_proxy`, ...) that may name its proxy; the first one that is set counts.
The order is curl's and httpx's: a scheme's own before `all_proxy`. WebSocket has no variables of its own there; here
they are `wss_proxy` and `ws_proxy`, else those of HTTP, the encrypted one first (RFC 6455, section 4.1)."""


_ESCAPES = "in a password, write / as %2F, ? as %3F, # as %23"


class Proxy(ShownByRepr, frozen=True):
    """The address of a proxy and the credentials for it."""

    scheme: str
    host: str
    port: int
    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"<Proxy {self.scheme}://{self.address}>"  # without the credentials

    @property
    def address(self) -> str:
        """Host and port, as errors name the proxy."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def authorization(self) -> str | None:
        """The value of the header Proxy-Authorization; None without credentials."""
        if self.username is None:
            return None
        credentials = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        return SecretText(f"Basic {credentials}")

    def name_for(self, host: str) -> str:
        """Return the name of this proxy for errors of a connection to a host."""
        return f"{self.address} (the proxy to {host})"

    @property
    def is_socks(self) -> bool:
        """True if the proxy speaks SOCKS and not HTTP."""
        return self.scheme.startswith("socks")


def environment_proxy(scheme: str, host: str, port: int) -> Proxy | None:
    """Return the proxy that the environment (or the system's settings) names for a host; None where there is none.

    Raises:
        ConfigurationError: the URL in the environment is malformed.
    """
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - loads http.client, email and more

    if proxy_bypass(f"{host}:{port}"):
        return None
    urls = getproxies()
    for name in _VARIABLES[scheme]:
        if url := urls.get(name):
            if name == "socks" and url.startswith("http://"):  # the form in which macOS' settings are returned
                url = "socks5h://" + url.removeprefix("http://")
            return parse_proxy(url, f"the proxy in the environment ({name}_proxy)")
    return None


@functools.lru_cache(maxsize=64)  # thousands of connections use the same one
def parse_proxy(url: str, source: str) -> Proxy:
    """Parse the URL of a proxy. No error shows the URL: it may hold a password.

    Args:
        url: such as `http://user:password@host:port`.
        source: the argument or variable that holds it, for errors.

    Raises:
        ConfigurationError: the URL is malformed.
    """
    url = SecretText(url)
    try:
        return _parse(url)
    except UnicodeError:
        reason = "its host or credentials are malformed"
    except ValueError as error:
        reason = str(error)
    raise ConfigurationError(f"{source} must be http://host:port or http://user:password@host:port: {reason}")


def _parse(url: str) -> Proxy:
    if "://" not in url:
        raise ValueError("it has no scheme, such as http://")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"its host or port is malformed ({_ESCAPES})") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError(f"its scheme must be one of {', '.join(_DEFAULT_PORTS)}")
    if not parts.hostname:
        raise ValueError("it has no host")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(f"nothing may follow the port ({_ESCAPES})")
    if parts.username is not None and parts.password is None:
        raise ValueError("it has a user without a password")
    return Proxy(
        scheme=parts.scheme,
        host=parts.hostname.encode("idna").decode(),
        port=port or _DEFAULT_PORTS[parts.scheme],
        username=None if parts.username is None else SecretText(unquote(parts.username, errors="strict")),
        password=None if parts.password is None else SecretText(unquote(parts.password, errors="strict")),
    )


def refused_by_proxy(proxy: Proxy, host: str, status: int) -> ConnectionLostError:
    """Make the error for a proxy that does not connect to a host, by the HTTP status of its response."""
    advice = "allow this host there, or choose another way: proxy=False connects directly"
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        advice = "it requires credentials, http://user:password@host:port"
    return ConnectionLostError(
        f"the proxy {proxy.address} refused to connect to {host} with HTTP {status}: {advice}",
        retryable=status >= HTTPStatus.INTERNAL_SERVER_ERROR,
        status=status,
    )
