"""What the system says when no connection can be made, in this library's words: one table for all kinds of them."""

from __future__ import annotations

import os
import socket
import ssl

from ..errors import ConnectionLostError

__all__ = ["tls_reason", "unreachable"]


def unreachable(host: str, error: BaseException) -> ConnectionLostError:
    """Make the error for a host that could not be connected to, or was lost."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectionLostError(f"the certificate of {host} is not trusted: {error.verify_message}")
    if isinstance(error, socket.gaierror):
        return ConnectionLostError(f"cannot find the host {host}: check the endpoint and the network", retryable=True)
    if isinstance(error, ssl.SSLError):  # its number is OpenSSL's, not the system's
        return ConnectionLostError(f"no TLS connection to {host}: {tls_reason(error)}", retryable=True)
    errno = getattr(error, "errno", None)
    reason = os.strerror(errno) if errno else str(error) or type(error).__name__
    return ConnectionLostError(f"cannot reach {host}: {reason}", retryable=True)


def tls_reason(error: ssl.SSLError) -> str:
    """Say in OpenSSL's words why TLS failed."""
    return error.reason.lower().replace("_", " ") if error.reason else str(error)
