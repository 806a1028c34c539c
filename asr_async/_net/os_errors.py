"""Errors of the operating system and of OpenSSL as errors of this library: one table for all connections."""

from __future__ import annotations

import os
import socket
import ssl
import sys

from ..errors import ConnectionLostError

__all__ = ["connect_error", "tls_reason"]

_UNKNOWN_AUTHORITY = {18, 19, 20, 21}
"""OpenSSL's verify codes for a chain that ends in no trusted certificate (`X509_V_ERR_*` in x509_vfy.h): self-signed,
self-signed in the chain, issuer not found, first certificate not verified. A trust store can mend these; not an expired
certificate, nor one for another host."""


def connect_error(host: str, error: OSError) -> ConnectionLostError:
    """Make the error for a host that cannot be reached, or for its lost connection."""
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = _trust_advice() if error.verify_code in _UNKNOWN_AUTHORITY else ""
        return ConnectionLostError(f"the certificate of {host} is not trusted: {error.verify_message}{advice}")
    if isinstance(error, socket.gaierror):
        return ConnectionLostError(f"cannot find the host {host}: check the endpoint and the network", retryable=True)
    if isinstance(error, ssl.SSLError):  # its number is OpenSSL's, not the system's
        return ConnectionLostError(f"no TLS connection to {host}: {tls_reason(error)}", retryable=True)
    reason = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
    return ConnectionLostError(f"cannot reach {host}: {reason}", retryable=True)


def tls_reason(error: ssl.SSLError) -> str:
    """Return OpenSSL's reason for a failure of TLS."""
    return error.reason.lower().replace("_", " ") if error.reason else str(error)


def _trust_advice() -> str:
    on_macos = ", or run Python's 'Install Certificates.command'" if sys.platform == "darwin" else ""
    return (
        f"; name the file of its certificate authority in SSL_CERT_FILE or ssl_context={on_macos}; a proxy that "
        "inspects TLS has an authority of its own"
    )
