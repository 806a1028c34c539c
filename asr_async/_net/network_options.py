"""The options of every connection to the network, from arguments or else from the environment.

Opens no connection, and does not know vendors.
"""

from __future__ import annotations

import ssl
from typing import Literal

import msgspec

from .._text.secret import ShownByRepr, secret_url, shown_url
from ..errors import ConfigurationError
from .hosts import is_loopback
from .proxy import Proxy, environment_proxy, parse_proxy
from .tls import check_client_context, default_context, is_verifying

__all__ = ["NetworkOptions"]


PICKLE_ADVICE = "name the proxy in HTTPS_PROXY where it is unpickled, or pass proxy= to the client there"


class NetworkOptions(ShownByRepr, frozen=True, kw_only=True):
    """The TLS context and the proxy of connections and HTTP requests.

    Raises:
        ConfigurationError: the proxy's URL is malformed, or the context cannot be used by a client.
    """

    ssl_context: ssl.SSLContext | None = None
    """Used as it is, for the server and for a proxy with `https://`. None trusts the system's certificates, or those of
    SSL_CERT_FILE and SSL_CERT_DIR."""
    proxy: str | Literal[False] | None = None
    """The proxy's URL; False connects directly; None reads HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY."""
    allows_unverified: bool = False
    """True allows an `ssl_context` that does not verify the server: the `insecure=True` of a service."""

    def __post_init__(self) -> None:
        if self.ssl_context is not None:
            check_client_context(self.ssl_context)
        if isinstance(self.proxy, str):
            msgspec.structs.force_setattr(self, "proxy", secret_url(self.proxy, PICKLE_ADVICE))
            parse_proxy(self.proxy, "proxy=")
        elif self.proxy is not None and self.proxy is not False:
            raise ConfigurationError("proxy= must be a URL such as http://host:port, False for none, or None")

    def __repr__(self) -> str:
        proxy = shown_url(self.proxy) if isinstance(self.proxy, str) else self.proxy
        return f"<NetworkOptions ssl_context={self.ssl_context!r} proxy={proxy!r}>"

    def over(self, defaults: NetworkOptions) -> NetworkOptions:
        """Return these options, with the values of `defaults` where these have none."""
        return NetworkOptions(
            ssl_context=defaults.ssl_context if self.ssl_context is None else self.ssl_context,
            proxy=defaults.proxy if self.proxy is None else self.proxy,
            allows_unverified=self.allows_unverified or defaults.allows_unverified,
        )

    def proxy_for(self, scheme: str, host: str, port: int) -> Proxy | None:
        """Return the proxy for a host; None connects directly. This machine is never reached through a proxy.

        Raises:
            ConfigurationError: the environment's URL is malformed.
        """
        if self.proxy is False or is_loopback(host):
            return None
        if self.proxy is None:
            return environment_proxy(scheme, host, port)
        return parse_proxy(self.proxy, "proxy=")

    def tls_context_for(self, host: str) -> ssl.SSLContext:
        """Return the TLS context for a host.

        Raises:
            ConfigurationError: the context does not verify the server, or the environment's files cannot be used.
        """
        context = self.ssl_context
        if context is None:
            return default_context()
        if not (is_verifying(context) or self.allows_unverified or is_loopback(host)):
            raise ConfigurationError(
                "ssl_context= does not verify the server (check_hostname is False, or verify_mode is CERT_NONE): add "
                "the server's certificate authority with load_verify_locations(), or name its file in SSL_CERT_FILE; "
                "insecure=True of the service allows it anyway"
            )
        return context
