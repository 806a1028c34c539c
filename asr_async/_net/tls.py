"""TLS on bytes: received bytes are decrypted, bytes to send are encrypted. Does not know sockets or event loops.

The event loops' own TLS keeps a read buffer of 256 KiB for each connection, most of what a stock connection costs. This
one keeps none: OpenSSL frees its record buffers when they are empty, and decrypted data is handed on at once. The trust
store, half a megabyte of certificates, is loaded once and not for each connection.
"""

from __future__ import annotations

import enum
import functools
import os
import ssl
from contextlib import suppress

from ..errors import ConfigurationError

__all__ = ["TlsConnection", "TlsState", "check_client_context", "default_context", "is_verifying"]

MAX_RECORD_BYTES = 16_384
"""The largest plaintext of one TLS record (RFC 8446, section 5.1)."""


class TlsState(enum.Enum):
    """The state of one side of a TLS connection; it only moves forward."""

    HANDSHAKE = "handshake"
    """The server has not proved its identity yet; nothing can be encrypted."""
    OPEN = "open"
    CLOSED = "closed"
    """Nothing more can be received: the server closed TLS, or there was a `failure`."""


class TlsConnection:
    """The client side of one TLS connection."""

    __slots__ = ("_incoming", "_object", "_outgoing", "failure", "state")

    def __init__(self, context: ssl.SSLContext, hostname: str) -> None:
        """Begin the handshake; `data_to_send` returns its first bytes."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=hostname)
        self.state: TlsState = TlsState.HANDSHAKE
        self.failure: ssl.SSLError | None = None
        """The reason why the server is not trusted, or does not speak TLS."""
        self._continue_handshake()

    def __repr__(self) -> str:
        return f"<TlsConnection {self.state.value}>"

    def receive(self, data: bytes) -> bytes:
        """Decrypt received bytes; the state may change, and there may be bytes to send."""
        self._incoming.write(data)
        if self.state is TlsState.HANDSHAKE:
            self._continue_handshake()
        if self.state is not TlsState.OPEN:
            return b""
        return b"".join(iter(self._read_record, b""))

    def encrypt(self, data: bytes) -> None:
        """Encrypt bytes and queue them for sending; after a failure they are dropped."""
        if self.failure is not None:
            return
        try:
            self._object.write(data)
        except ssl.SSLError as error:  # a context of the caller may allow TLS 1.2's renegotiation: see default_context
            self._fail(error)

    def data_to_send(self) -> bytes:
        """Return the encrypted bytes that are queued, once."""
        return self._outgoing.read()

    def close(self) -> None:
        """Queue the message that closes TLS; the server's answer is not awaited."""
        with suppress(ssl.SSLError):
            self._object.unwrap()

    def _continue_handshake(self) -> None:
        try:
            self._object.do_handshake()
            self.state = TlsState.OPEN
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._fail(error)

    def _read_record(self) -> bytes:
        try:
            data = self._object.read(MAX_RECORD_BYTES)
        except ssl.SSLWantReadError:
            return b""
        except ssl.SSLError as error:
            self._fail(error)
            return b""
        if not data:  # OpenSSL's sign for the server's closing message
            self.state = TlsState.CLOSED
        return data

    def _fail(self, error: ssl.SSLError) -> None:
        self.state = TlsState.CLOSED
        self.failure = error


# --- contexts --------------------------------------------------------------------------------------------------------


def default_context() -> ssl.SSLContext:
    """Return the context that trusts the system's certificates, or those that SSL_CERT_FILE and SSL_CERT_DIR name.

    Raises:
        ConfigurationError: a file that the environment names cannot be used.
    """
    return _context_for(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@functools.lru_cache(maxsize=4)
def _context_for(_file: str | None, _directory: str | None) -> ssl.SSLContext:
    """Load the trust store. OpenSSL reads the variables itself: the arguments are the key of the cache."""
    try:
        context = ssl.create_default_context()
    except OSError as error:
        raise ConfigurationError(
            f"TLS cannot be used: {error}: check SSL_CERT_FILE, SSL_CERT_DIR, SSLKEYLOGFILE"
        ) from None
    # TLS 1.2 lets the server ask for a new handshake at any time, and sending would have to wait for it
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


def check_client_context(context: object) -> None:
    """Refuse a value of `ssl_context=` that no client can use.

    Raises:
        ConfigurationError: it is not an `ssl.SSLContext`, or it is one for servers.
    """
    if not isinstance(context, ssl.SSLContext):
        raise ConfigurationError(
            f"ssl_context={context!r}: must be an ssl.SSLContext, such as ssl.create_default_context(cafile='ca.pem')"
        )
    if context.protocol is ssl.PROTOCOL_TLS_SERVER:
        raise ConfigurationError(
            "ssl_context= is for servers (PROTOCOL_TLS_SERVER): pass one for clients, such as "
            "ssl.create_default_context(cafile='ca.pem')"
        )


def is_verifying(context: ssl.SSLContext) -> bool:
    """Return True if the context checks both the server's certificate and its host name."""
    return context.verify_mode is not ssl.CERT_NONE and context.check_hostname
