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

__all__ = ["Tls"]

MAX_RECORD_BYTES = 16_384
"""What one TLS record holds at most (RFC 8446, section 5.1)."""


class Tls:
    """One connection's TLS, the client's side."""

    def __init__(self, hostname: str) -> None:
        """Begin; `to_send` has the first bytes.

        Raises:
            ssl.SSLError: a certificate that the environment names cannot be read.
        """
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = _context().wrap_bio(self._incoming, self._outgoing, server_hostname=hostname)
        self.is_open = False
        """Whether the other side has proved who it is."""
        self._shake_hands()

    def receive(self, data: bytes) -> bytes:
        """Take what came in and return what it says; there may be something to send then.

        Raises:
            ssl.SSLError: the other side cannot be trusted, or does not speak TLS.
        """
        self._incoming.write(data)
        if not self.is_open:
            self._shake_hands()
        return b"".join(iter(self._read, b"")) if self.is_open else b""

    def encrypt(self, data: bytes) -> None:
        """Put something behind what is to be sent."""
        self._object.write(data)

    def to_send(self) -> bytes:
        """What is to be sent, once."""
        return self._outgoing.read()

    def say_goodbye(self) -> None:
        """Put the end behind what is to be sent; no answer is waited for."""
        with suppress(ssl.SSLError):
            self._object.unwrap()

    def _shake_hands(self) -> None:
        with suppress(ssl.SSLWantReadError):
            self._object.do_handshake()
            self.is_open = True

    def _read(self) -> bytes:
        try:
            return self._object.read(MAX_RECORD_BYTES)
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):  # no more yet; no more at all, as the transport says too
            return b""


def _context() -> ssl.SSLContext:
    return _context_for(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@functools.lru_cache(maxsize=4)
def _context_for(_file: str | None, _directory: str | None) -> ssl.SSLContext:
    """What the environment names is what OpenSSL reads; the arguments only tell one reading from another."""
    return ssl.create_default_context()
