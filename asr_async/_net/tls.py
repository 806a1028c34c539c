"""TLS on bytes: what came in is decrypted, what is to go out encrypted; somebody else moves the bytes.

The event loops' own TLS keeps a read buffer of 256 KiB for each connection, most of what a stock connection costs. This
keeps none: OpenSSL gives its record buffers back when they are empty, and what was decrypted is handed on at once. The
trust store, half a megabyte of certificates, is loaded once and not for each connection.
"""

from __future__ import annotations

import functools
import os
import ssl
from contextlib import suppress

from ..errors import ConfigurationError

__all__ = ["TlsConnection"]

MAX_RECORD_BYTES = 16_384
"""What one TLS record holds at most (RFC 8446, section 5.1)."""


class TlsConnection:
    """One connection's TLS, the client's side."""

    def __init__(self, hostname: str) -> None:
        """Begin; `to_send` has the first bytes.

        Raises:
            ConfigurationError: a file that the environment names cannot be used.
        """
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = _context().wrap_bio(self._incoming, self._outgoing, server_hostname=hostname)
        self.is_open = False
        """Whether the other side has proved who it is."""
        self.is_over = False
        """Whether nothing more can come: the other side said so, or there was a `failure`."""
        self.failure: ssl.SSLError | None = None
        """Why the other side cannot be trusted, or does not speak TLS."""
        self._shake_hands()

    def receive(self, data: bytes) -> bytes:
        """Take what came in and return what it says; it may be over then, and there may be something to send."""
        self._incoming.write(data)
        if not self.is_open:
            self._shake_hands()
        return b"".join(iter(self._read, b"")) if self.is_open else b""

    def encrypt(self, data: bytes) -> None:
        """Put something behind what is to be sent; nothing more after a failure."""
        if self.failure is None:
            self._object.write(data)

    def to_send(self) -> bytes:
        """What is to be sent, once."""
        return self._outgoing.read()

    def say_goodbye(self) -> None:
        """Put the end behind what is to be sent; no answer is waited for."""
        with suppress(ssl.SSLError):
            self._object.unwrap()

    def _shake_hands(self) -> None:
        try:
            self._object.do_handshake()
            self.is_open = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._fail(error)

    def _read(self) -> bytes:
        try:
            data = self._object.read(MAX_RECORD_BYTES)
        except ssl.SSLWantReadError:
            return b""
        except ssl.SSLError as error:
            self._fail(error)
            return b""
        self.is_over = not data  # nothing is how it tells the other side's goodbye
        return data

    def _fail(self, error: ssl.SSLError) -> None:
        self.is_over = True
        self.failure = error


def _context() -> ssl.SSLContext:
    return _context_for(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@functools.lru_cache(maxsize=4)
def _context_for(_file: str | None, _directory: str | None) -> ssl.SSLContext:
    """What the environment names is what OpenSSL reads; the arguments only tell one reading from another."""
    try:
        context = ssl.create_default_context()
    except OSError as error:
        raise ConfigurationError(
            f"TLS cannot be used: {error}: check SSL_CERT_FILE, SSL_CERT_DIR, SSLKEYLOGFILE"
        ) from None
    # TLS 1.2 would let the other side ask for a new handshake in the middle, and what is sent would have to wait for it
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context
