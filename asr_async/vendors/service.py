"""What a service is: whom to call and as whom, for every vendor.

A service knows endpoints and credentials. It does not know sockets: it says where to connect, and the transport does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, Self, runtime_checkable
from urllib.parse import urlsplit

import msgspec

from .._net.hosts import is_loopback
from .._net.network_options import NetworkOptions
from ..errors import ASRError, AuthenticationError, ConfigurationError
from ..hotwords import HotWord, Vocabulary
from .codec import Codec, TaskDescription
from .options import Options

__all__ = [
    "Endpoint",
    "MemberChoice",
    "NetworkedService",
    "Service",
    "TemporaryKey",
    "TemporaryKeyService",
    "Vocabularies",
    "check_endpoint",
    "fingerprint",
    "with_network",
]


def _keep(_error: AuthenticationError) -> bool:
    """There is nothing to renew."""
    return False


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where to connect and what to say at the door."""

    url: str
    headers: dict[str, str]
    refused: Callable[[int, Mapping[str, str], bytes], ASRError]
    """Makes the error for an HTTP answer (status, headers, body) that was not a switch to WebSocket."""
    reuse_s: float | None = None
    """How long a connection may wait for a task, after one that ended well or after the handshake, less than the vendor
    lets it; None where each task has a connection of its own."""
    renew: Callable[[AuthenticationError], bool] = _keep
    """Told that the vendor refused these credentials: lets go of what was kept of them, a token that has expired before
    its time, and says whether another target is worth one more try."""
    account: str = ""
    """Whose limits a connection counts towards: `fingerprint` of what names the account; empty where nothing does."""
    network: NetworkOptions = NetworkOptions()
    """The TLS context and the proxy of a connection to it."""
    choice: MemberChoice | None = None
    """Which of several members this is, of a service that has some; None for all others."""

    def __repr__(self) -> str:
        return f"<Endpoint {self.host}>"  # the headers hold credentials

    @property
    def host(self) -> str:
        """Host and port as written, without credentials or query."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def is_local(self) -> bool:
        """Whether this can only be on the same machine: an emulator, with none of a vendor's limits."""
        return is_loopback(urlsplit(self.url).hostname)


class MemberChoice(Protocol):
    """One of several members that a service chooses from, chosen for one connection.

    It is told how that goes, and knows the others: who is next when it refuses, and when a better one may be back.
    """

    @property
    def name(self) -> str:
        """For texts and statistics."""
        ...

    @property
    def rank(self) -> int:
        """0 is the member to be preferred to all others."""
        ...

    @property
    def options(self) -> Options:
        """The member's own."""
        ...

    @property
    def description(self) -> TaskDescription:
        """The facts about the member's tasks."""
        ...

    @property
    def rotation_s(self) -> float | None:
        """How old a connection to this member may get, as `_recovery.rotation_s` says."""
        ...

    def codec(self, *, task_id: str) -> Codec:
        """Make the codec of one task: a member has options of its own."""
        ...

    async def again(self) -> Endpoint:
        """The same member's target once more, with new credentials.

        Raises:
            ASRError: as `Service.target`.
        """
        ...

    async def following(self) -> Endpoint:
        """The next member's target, after this one refused.

        Raises:
            ASRError: each was tried once; the text names all of them, each with what it said.
        """
        ...

    def better_in_s(self) -> float | None:
        """How long to wait before asking for a target of a better member; None where there is none."""
        ...

    def refused(self, error: ASRError) -> None:
        """No task could be opened."""
        ...

    def lost(self, error: ASRError) -> bool:
        """The open connection came to this end; whether another member should have its audio at once."""
        ...

    def proved(self) -> None:
        """The connection gave its first final result."""
        ...


class Vocabularies(Protocol):
    """The hot-word tables of an account. Each call is one HTTP request, or two, with a deadline.

    What the vendor does not have (a `model`, a `description`) is refused, as are names and words beyond its limits.

    Raises:
        AuthenticationError: there are no credentials, or they were refused.
        ConfigurationError: the vendor could not take this; nothing was sent.
        ConnectionLostError: nobody is there.
        DeadlineError: no answer in time.
        VendorError: the vendor refused, with its code.
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
        """Make a table; its id goes into the `vocabulary_id` of options."""
        ...

    async def update(self, vocabulary_id: str, words: Iterable[HotWord | str]) -> None:
        """Replace all words of a table; what else it has stays."""
        ...

    async def list(self) -> list[Vocabulary]:
        """All tables, without their words."""
        ...

    async def get(self, vocabulary_id: str) -> Vocabulary:
        """One table with its words."""
        ...

    async def delete(self, vocabulary_id: str) -> None:
        """Remove a table."""
        ...


class TemporaryKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key for some minutes, with the rights of the key that it was made with; it cannot be taken back."""

    value: str
    """To be used wherever a key is: `DashScope(temporary.value)`."""
    expires_at: int
    """Unix time in seconds. Only connecting is checked against it: a session that is open stays open."""

    def __repr__(self) -> str:
        return f"<TemporaryKey expires_at={self.expires_at}>"


@runtime_checkable
class NetworkedService(Protocol):
    """A service whose connections and HTTP requests can be given a TLS context and a proxy."""

    def with_network(self, network: NetworkOptions) -> Service:
        """Return this service with other options of the network; its own count where those have no value."""
        ...


@runtime_checkable
class TemporaryKeyService(Protocol):
    """A service that makes temporary keys of its own."""

    async def temporary_key(self, *, expires_in: int = 60) -> TemporaryKey:
        """Make a key for a program that should not know this one, for so many seconds."""
        ...


class Service(Protocol):
    """One vendor's service with one set of credentials; an async context manager that owns what connections share."""

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
        """Say where to connect for these options.

        Raises:
            AuthenticationError: there are no credentials.
            ConfigurationError: the service has no such model.
        """
        ...


def with_network(service: Service, network: NetworkOptions) -> Service:
    """Return a service with other options of the network; its own count where those have no value.

    Raises:
        ConfigurationError: the service takes none.
    """
    if network == NetworkOptions():
        return service
    if not isinstance(service, NetworkedService):
        raise ConfigurationError(f"{service!r} takes neither ssl_context= nor proxy=: it has no method with_network")
    return service.with_network(network)


def fingerprint(credential: str) -> str:
    """A name for an account by its key that tells nothing of the key: 48 bits of its SHA-256, in hexadecimal."""
    return hashlib.sha256(credential.encode()).hexdigest()[:12]


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
        insecure: let the plain scheme pass.
        name: the argument or variable it came from.
        schemes: the encrypted and the plain one.
        form: what it should be, for the text.

    Raises:
        ConfigurationError: with what to change.
    """
    parts = urlsplit(endpoint)
    encrypted, plain = schemes
    if parts.scheme not in schemes or not parts.hostname:
        raise ConfigurationError(f"{name}={endpoint!r}: must be {form}")
    if parts.scheme == plain and not insecure and not is_loopback(parts.hostname):
        raise ConfigurationError(
            f"{name}={endpoint!r}: {plain}:// sends the key unencrypted; use {encrypted}://, or pass insecure=True to "
            "do it anyway"
        )
    return endpoint
