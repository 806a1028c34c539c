"""The interface of a vendor's service: endpoints, credentials, and the codec for each class of options.

A service does not know sockets: it returns an endpoint, and the connection is opened elsewhere.
"""

from __future__ import annotations

import builtins
import copy
import hashlib
import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Protocol, Self, runtime_checkable
from urllib.parse import urlsplit

import msgspec

from .._net.hosts import is_loopback
from .._net.network_options import NetworkOptions
from .._text.redaction import Redactor, secrets_of
from .._text.secret import SecretHeaders, ShownByRepr, secret_url, shown_url
from ..errors import ASRError, AuthenticationError, ConfigurationError
from ..hotwords import HotWord, Vocabulary
from .codec import Codec, TaskDescription
from .options import Options

__all__ = [
    "Endpoint",
    "MemberChoice",
    "NetworkedService",
    "ReplicatedService",
    "Service",
    "ServiceBase",
    "ServiceOfMembers",
    "TemporaryKey",
    "TemporaryKeyService",
    "Vocabularies",
    "check_endpoint",
    "check_headers",
    "check_is_service",
    "fingerprint",
    "with_network",
]


def _nothing_cached(_error: AuthenticationError) -> bool:
    return False


class Endpoint(ShownByRepr, frozen=True, kw_only=True):
    """The address of a vendor's service, with the headers that authenticate a connection."""

    url: str
    headers: dict[str, str]
    handshake_error: Callable[[int, Mapping[str, str], bytes], ASRError]
    """Makes the error for an HTTP response (status, headers, body) that is not a switch to WebSocket."""
    reuse_s: float | None = None
    """The time that a connection may be idle between two tasks, or between the handshake and the first; shorter than
    the vendor's own limit. None if each task needs a connection of its own."""
    refresh_credentials: Callable[[AuthenticationError], bool] = _nothing_cached
    """Drops what was cached of the credentials (a token that expired early) after the vendor refused them, and returns
    True if resolving the endpoint again gives others."""
    account: str = ""
    """The account whose rate limits a connection counts towards: the `fingerprint` of what names it, or empty."""
    network: NetworkOptions = NetworkOptions()
    """The TLS context and the proxy of a connection to it."""
    subprotocols: tuple[str, ...] = ()
    """The WebSocket subprotocols that are offered to the server, the preferred one first; none is a credential. A
    server may choose one of them or none; a choice of another one is refused."""

    def __repr__(self) -> str:
        return f"<Endpoint {self.host}>"  # the headers hold credentials

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "url", secret_url(self.url))
        msgspec.structs.force_setattr(self, "headers", SecretHeaders(self.headers))

    @property
    def redactor(self) -> Redactor:
        """Removes from texts the credentials that a connection to it sends; made for each call."""
        return Redactor(secrets_of(self.url, self.headers))

    @property
    def host(self) -> str:
        """Host and port as written, without credentials or query."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def is_local(self) -> bool:
        """True if the endpoint can only be on this machine: an emulator, without a vendor's limits."""
        return is_loopback(urlsplit(self.url).hostname)


class MemberChoice(Protocol):
    """The member of a service that was chosen for one connection.

    It records how the connection goes, and knows the other members: which one is next after a refusal, and when a
    preferred one may be available again.
    """

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint of the member, with the credentials of the moment of the choice."""
        ...

    @property
    def name(self) -> str | None:
        """The member's name in logs and statistics; None if the service has no others."""
        ...

    @property
    def rank(self) -> int:
        """0 for the member that is preferred to all others."""
        ...

    @property
    def options(self) -> Options:
        """The options of the member's tasks."""
        ...

    @property
    def description(self) -> TaskDescription:
        """The facts about the member's tasks."""
        ...

    @property
    def rotation_s(self) -> float | None:
        """The age at which a connection to this member is replaced, if the member has a limit of its own."""
        ...

    def codec(self, *, task_id: str) -> Codec:
        """Make the codec of one task."""
        ...

    async def refresh(self) -> MemberChoice:
        """Choose the same member again, with the credentials of now.

        Raises:
            ASRError: as `Service.resolve`.
        """
        ...

    async def next_member(self) -> MemberChoice:
        """Choose the next member, after this one refused.

        Raises:
            ASRError: each member was tried once; the text names all of them, each with its error.
        """
        ...

    def preferred_in_s(self) -> float | None:
        """Return the wait before a preferred member is tried again; None if there is none."""
        ...

    def record_refusal(self, error: ASRError) -> None:
        """Record that no task could be opened."""
        ...

    def record_loss(self, error: ASRError, *, is_refusal: bool = False) -> bool:
        """Record the error that ended the connection, and return True if another member should take over at once.

        Args:
            error: the error.
            is_refusal: the vendor does not answer starts, and has recognised nothing: it may have refused the task.
        """
        ...

    def record_final(self) -> None:
        """Record the first final result of the connection."""
        ...


class Vocabularies(Protocol):
    """The hot-word tables of an account. Each call is one or two HTTP requests with a deadline.

    Arguments that the vendor does not have (a `model`, a `description`) are refused, as are names and words beyond its
    limits.

    Raises:
        AuthenticationError: there are no credentials, or the vendor refuses them.
        ConfigurationError: an argument breaks a rule of the vendor; no request was sent.
        ConnectionLostError: the host cannot be reached.
        DeadlineError: there is no response in time.
        VendorError: the vendor refuses the request, with its code.
    """

    async def create(
        self,
        words: Iterable[HotWord | str],
        *,
        name: str,
        model: str | None = None,
        language: str | None = None,
        description: str | None = None,
    ) -> str:
        """Make a table and return its id, for the options' field `vocabulary_id`."""
        ...

    async def update(self, vocabulary_id: str, words: Iterable[HotWord | str]) -> None:
        """Replace all words of a table; its other properties stay."""
        ...

    async def list(self) -> builtins.list[Vocabulary]:
        """Return all tables, without their words."""
        ...

    async def get(self, vocabulary_id: str) -> Vocabulary:
        """Return one table with its words."""
        ...

    async def delete(self, vocabulary_id: str) -> None:
        """Remove a table."""
        ...


class TemporaryKey(ShownByRepr, frozen=True, kw_only=True):
    """A key that is valid for some minutes, with the rights of the key that made it; it cannot be revoked."""

    value: str
    """The key, for use in place of another: `DashScope(temporary.value)`."""
    expires_at: int
    """Unix time in seconds. It limits new connections only: an open session continues."""

    def __repr__(self) -> str:
        return f"<TemporaryKey expires_at={self.expires_at}>"


@runtime_checkable
class NetworkedService(Protocol):
    """A service with a configurable TLS context and proxy for its connections and HTTP requests."""

    def with_network(self, network: NetworkOptions) -> Service:
        """Return a copy of this service with these network options; its own apply where these have no value."""
        ...


@runtime_checkable
class TemporaryKeyService(Protocol):
    """A service that makes temporary keys of its own."""

    async def temporary_key(self, *, expires_in: int = 60) -> TemporaryKey:
        """Make a key for a program that must not have this one; it is valid for `expires_in` seconds."""
        ...


@runtime_checkable
class ReplicatedService(Protocol):
    """A service of several servers that recognise alike: each connection goes to one of them, and none is preferred."""

    @property
    def replicas(self) -> Mapping[str, Service]:
        """The servers: a name for logs and statistics → the service of this one alone.

        Raises:
            ConfigurationError: there is none.
        """
        ...

    @property
    def health(self) -> dict[str, Any]:
        """The circuit breaker of each server by its name, made and used by the connections; empty at first."""
        ...


@runtime_checkable
class ServiceOfMembers(Protocol):
    """A service that chooses one of several members for each connection."""

    @property
    def options(self) -> Options:
        """The options of sessions that name none."""
        ...

    async def choose(self, options: Options) -> MemberChoice:
        """Choose the member for a new connection.

        Raises:
            ASRError: no member has credentials.
            ConfigurationError: the options are not this service's.
        """
        ...


class ServiceBase:
    """The parts that most services share: nothing to open or to close, no hot-word tables, and options of the network.

    Args:
        ssl_context: the TLS context of connections and HTTP requests, used as it is. Default: the system's trust store,
            or SSL_CERT_FILE and SSL_CERT_DIR.
        proxy: the URL of their proxy; False connects directly. Default: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and
            NO_PROXY.
        insecure: allow an `ssl_context` that does not verify the server.

    Raises:
        ConfigurationError: the proxy's URL is malformed, or the context cannot be used.
    """

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | Literal[False] | None = None,
        insecure: bool = False,
    ) -> None:
        proxy = secret_url(proxy) if isinstance(proxy, str) else proxy
        self.network: NetworkOptions = NetworkOptions(ssl_context=ssl_context, proxy=proxy, allows_unverified=insecure)
        """The TLS context and the proxy, for `Endpoint.network` and for requests."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    def with_network(self, network: NetworkOptions) -> Self:
        """Return a copy of this service with these network options; its own apply where these have no value."""
        service = copy.copy(self)
        service.network = network.over(self.network)
        return service

    @property
    def vocabularies(self) -> Vocabularies:
        """Not supported, unless a service overrides it.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(f"{type(self).__name__} has no hot-word tables")


class Service(Protocol):
    """One vendor's service with one set of credentials; an async context manager for what its connections share."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    def describe(self, options: Options) -> TaskDescription:
        """Return the facts about a task with these options, without a connection.

        Raises:
            ConfigurationError: the options are another vendor's.
        """
        ...

    def codec(self, options: Options, *, task_id: str) -> Codec:
        """Make the codec of one task.

        Raises:
            ConfigurationError: the options are another vendor's.
        """
        ...

    @property
    def vocabularies(self) -> Vocabularies:
        """The hot-word tables of this account.

        Raises:
            ConfigurationError: the service has none.
        """
        ...

    async def resolve(self, options: Options) -> Endpoint:
        """Return the endpoint for these options, with the credentials of the moment.

        Raises:
            AuthenticationError: there are no credentials.
            ConfigurationError: the service has no such model.
        """
        ...


def check_is_service(service: object) -> None:
    """Refuse what is not a service. The text does not show the value, which may be a key.

    Raises:
        ConfigurationError: the text says what it is.
    """
    if isinstance(service, type):
        raise ConfigurationError(f"{service.__name__} is a class: make a service of it, {service.__name__}()")
    if isinstance(service, Options):
        name = type(service).__name__
        raise ConfigurationError(f"{name}(...) is no service: pass it by name, Client(options={name}(...))")
    if not callable(getattr(service, "resolve", None)):
        raise ConfigurationError(
            f"{type(service).__name__} is not a service, such as DashScope(); a key belongs to its service: "
            "DashScope(api_key)"
        )


def with_network(service: Service, network: NetworkOptions) -> Service:
    """Return a copy of a service with these network options; its own apply where these have no value.

    Raises:
        ConfigurationError: the service has no network options.
    """
    if network == NetworkOptions():
        return service
    if not isinstance(service, NetworkedService):
        raise ConfigurationError(f"{service!r} accepts neither ssl_context= nor proxy=: it has no method with_network")
    return service.with_network(network)


def fingerprint(credential: str) -> str:
    """Return a name for an account that does not reveal its key: 48 bits of the key's SHA-256, in hexadecimal."""
    return hashlib.sha256(credential.encode()).hexdigest()[:12]


_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADERS_OF_REQUESTS = frozenset({"host", "user-agent", "connection", "upgrade", "content-length", "content-type"})
_HEADERS_OF_CREDENTIALS = frozenset({"authorization", "x-auth-token", "x-sdk-date", "x-security-token"})


def check_headers(headers: Mapping[str, str] | None) -> SecretHeaders:
    """Return a copy of the caller's headers, whose values no `repr` shows; refuse what cannot be sent.

    Raises:
        ConfigurationError: a name or value is malformed, or the header is one that this library sends.
    """
    headers = SecretHeaders(headers or {})
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ConfigurationError(f"headers: {name!r} is no name of a header")
        is_ours = name.lower() in _HEADERS_OF_REQUESTS | _HEADERS_OF_CREDENTIALS
        if is_ours or name.lower().startswith("sec-websocket-"):
            raise ConfigurationError(f"headers: {name} is sent by this library: leave it out")
        if not isinstance(value, str) or not value.isascii() or not value.isprintable():
            raise ConfigurationError(f"headers: the value of {name} must be printable ASCII text")
    return headers


def check_endpoint(
    endpoint: str,
    *,
    insecure: bool,
    name: str = "endpoint",
    schemes: tuple[str, str] = ("wss", "ws"),
    form: str = "a whole WebSocket URL, wss://host/path",
) -> str:
    """Refuse an endpoint without scheme or host, or one that would send credentials unencrypted over a network.

    Args:
        endpoint: the URL.
        insecure: True accepts the unencrypted scheme for every host.
        name: the argument or environment variable that holds the endpoint.
        schemes: the encrypted and the unencrypted scheme.
        form: the form of a correct endpoint, for the error text.

    Raises:
        ConfigurationError: the endpoint is refused; the text names the remedy.
    """
    endpoint = secret_url(endpoint)
    shown = repr(shown_url(endpoint))
    encrypted, plain = schemes
    scheme, host = _scheme_and_host(endpoint)
    if host is None:
        raise ConfigurationError(f"{name}=...: its host or port is malformed; it must be {form}")
    if scheme not in schemes or not host:
        raise ConfigurationError(f"{name}={shown}: must be {form}")
    if scheme == plain and not insecure and not is_loopback(host):
        raise ConfigurationError(
            f"{name}={shown}: {plain}:// sends the key unencrypted; use {encrypted}://, or pass insecure=True to do it "
            "anyway"
        )
    return endpoint


def _scheme_and_host(url: str) -> tuple[str, str | None]:
    """Return both parts of a URL; None for a host that is malformed, or its port."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # read, so that a malformed one is found
    except ValueError:
        return "", None
    return parts.scheme, parts.hostname or ""
