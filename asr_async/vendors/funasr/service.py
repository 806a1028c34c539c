"""The servers of FunASR that you run yourself: their addresses, and a key if there is one.

Such a server has no account and no key of its own; a gateway in front of it may ask for one.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from ..._net.hosts import is_loopback
from ..._net.user_agent import USER_AGENT
from ..._text.secret import SecretHeaders, SecretText, secret_url, shown_url, tolerant_repr
from ...errors import ConfigurationError
from ..codec import TaskDescription
from ..options import Options
from ..service import Endpoint, ServiceBase, check_endpoint, check_headers
from .errors import error_from_handshake
from .models import FunASR2Pass, FunASRNano
from .realtime import RealtimeCodec, describe_realtime_task
from .two_pass import TwoPassCodec, describe_two_pass_task
from .two_pass_wire import SUBPROTOCOL

if TYPE_CHECKING:
    import ssl

    from ..codec import Codec
    from ..service import Vocabularies

__all__ = ["ADDRESS_VARIABLE", "FunASRServer"]

ADDRESS_VARIABLE = "FUNASR_SERVER"
INSECURE_VARIABLE = "FUNASR_SERVER_INSECURE"

PICKLE_ADVICE = "make the service in the process that uses it"


class FunASRServer(ServiceBase):
    """FunASR on your own machines: `funasr-realtime-server` (`FunASRNano`), or the older servers (`FunASR2Pass`).

        FunASRServer("wss://asr.example.org")
        FunASRServer("ws://10.0.0.5:10095", "ws://10.0.0.6:10095", insecure=True)

    Of several addresses, each connection takes one at random, and passes over those whose circuit breaker is open: an
    address that cannot be reached or that refuses is not tried for a second, and for twice as long after each further
    failure, up to 30 s. A connection that is lost is replaced by one to any address. All servers recognise alike, so
    none is preferred; a `Fallback` prefers its first members.

    Args:
        addresses: the URLs of the servers, `wss://host:port` or `ws://host:port`. Default: those in the environment
            variable `FUNASR_SERVER`, separated by commas; it is read each time a session connects.
        api_key: a key that is sent as `Authorization: Bearer`, for a gateway; the servers themselves have none.
        headers: further headers of the handshake.
        ssl_context: the TLS context, used as it is: for a certificate of your own, `ssl.create_default_context(cafile=
            "server.crt")`. Default: the system's trust store, or SSL_CERT_FILE and SSL_CERT_DIR.
        proxy: the URL of a proxy, `http://user:password@host:port`; False connects directly. Default: HTTPS_PROXY,
            HTTP_PROXY, ALL_PROXY and NO_PROXY. This machine is never reached through a proxy.
        insecure: True allows `ws://` for other machines than this one, whose audio and text everyone on the way can
            read, and an `ssl_context` that does not verify the server. `FUNASR_SERVER_INSECURE=1` in the environment
            allows such addresses too.

    Raises:
        ConfigurationError: an address or a header is malformed, or an address is not encrypted and not on this machine.
    """

    def __init__(
        self,
        *addresses: str,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | Literal[False] | None = None,
        insecure: bool = False,
    ) -> None:
        # first, so that no local variable in a traceback shows a secret
        api_key = api_key and SecretText(api_key, PICKLE_ADVICE)
        proxy = secret_url(proxy) if isinstance(proxy, str) else proxy
        addresses = tuple(secret_url(address) if isinstance(address, str) else address for address in addresses)
        self._addresses: tuple[str, ...] = ()
        self._insecure = insecure
        self._health: dict[str, Any] = {}
        self._api_key = api_key
        headers = headers and SecretHeaders(headers)
        self._headers = check_headers(headers)
        super().__init__(ssl_context=ssl_context, proxy=proxy, insecure=insecure)
        self._addresses = _check_addresses(addresses, name="address", insecure=insecure)
        if api_key is not None and not (api_key.isascii() and api_key.isprintable() and api_key.strip()):
            raise ConfigurationError("FunASRServer(api_key=...): must be printable ASCII text")

    @tolerant_repr
    def __repr__(self) -> str:
        return f"<FunASRServer {', '.join(map(shown_url, self._addresses)) or 'of the environment'}>"

    @property
    def replicas(self) -> dict[str, FunASRServer]:
        """Address → the service of this one alone.

        Raises:
            ConfigurationError: there is no address, or one in the environment is malformed.
        """
        return {shown_url(address): self._at(address) for address in self._find_addresses()}

    @property
    def health(self) -> dict[str, Any]:
        """The circuit breakers of the addresses, for the connections."""
        return self._health

    def describe(self, options: Options) -> TaskDescription:
        """Return the facts about one task.

        Raises:
            ConfigurationError: the options are another vendor's.
        """
        options = _checked_options(options)
        return describe_two_pass_task(options) if isinstance(options, FunASR2Pass) else describe_realtime_task(options)

    def codec(self, options: Options, *, task_id: str) -> Codec:
        """Make the codec of one task.

        Raises:
            ConfigurationError: the options are another vendor's.
        """
        options = _checked_options(options)
        return TwoPassCodec(options, task_id=task_id) if isinstance(options, FunASR2Pass) else RealtimeCodec(options)

    @property
    def vocabularies(self) -> Vocabularies:
        """Not available: the servers store no hot words.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError("FunASRServer stores no hot-word tables: pass the words, FunASRNano(hotwords=[...])")

    async def resolve(self, options: Options) -> Endpoint:
        """Return the endpoint of the first address.

        Raises:
            ConfigurationError: the options are another vendor's, there is no address, or one in the environment is
                malformed.
        """
        options = _checked_options(options)
        headers = SecretHeaders({**self._headers, "User-Agent": USER_AGENT})
        if self._api_key is not None:
            headers["Authorization"] = SecretText(f"Bearer {self._api_key}")
        return Endpoint(
            url=self._find_addresses()[0],
            headers=headers,
            handshake_error=error_from_handshake,
            # hot words and language stay set for the next START on a connection
            reuse_s=None,
            network=self.network,
            subprotocols=(SUBPROTOCOL,) if isinstance(options, FunASR2Pass) else (),
        )

    def _at(self, address: str) -> FunASRServer:
        service = copy.copy(self)
        service._addresses = (address,)  # noqa: SLF001 - of this class
        return service

    def _find_addresses(self) -> tuple[str, ...]:
        if self._addresses:
            return self._addresses
        given = (secret_url(each.strip()) for each in os.environ.get(ADDRESS_VARIABLE, "").split(","))
        found = _check_addresses(tuple(each for each in given if each), name=ADDRESS_VARIABLE, insecure=self._insecure)
        if not found:
            raise ConfigurationError(
                f"no address of a FunASR server: set {ADDRESS_VARIABLE}, or pass it, FunASRServer('ws://127.0.0.1:10095')"
            )
        return found


def _check_addresses(addresses: tuple[str, ...], *, name: str, insecure: bool) -> tuple[str, ...]:
    """Refuse addresses that are malformed, repeated, or neither encrypted nor on this machine.

    Args:
        addresses: the URLs.
        name: the argument or environment variable that holds them.
        insecure: True accepts `ws://` for every host; so does the environment.

    Raises:
        ConfigurationError: an address is refused; the text names the remedy.
    """
    insecure = insecure or os.environ.get(INSECURE_VARIABLE, "").strip().casefold() in {"1", "true", "yes"}
    for address in addresses:
        if not isinstance(address, str):
            raise ConfigurationError(f"{name}: an address is a text, not {type(address).__name__}")
        check_endpoint(address, insecure=True, name=name, form="the URL of a server, wss://host:port or ws://host:port")
        is_encrypted = urlsplit(address).scheme == "wss"
        if not is_encrypted and not insecure and not is_loopback(urlsplit(address).hostname):
            raise ConfigurationError(
                f"{name}={shown_url(address)!r}: ws:// sends audio and text unencrypted; use wss://, or if the network "
                f"is yours, pass insecure=True or set {INSECURE_VARIABLE}=1"
            )
    if len({shown_url(address) for address in addresses}) < len(addresses):
        raise ConfigurationError(f"{name}: an address is given twice")
    return addresses


def _checked_options(options: Options) -> FunASRNano | FunASR2Pass:
    if not isinstance(options, FunASRNano | FunASR2Pass):
        raise ConfigurationError(
            f"{type(options).__name__} does not belong to FunASRServer: change the options or the service"
        )
    return options
