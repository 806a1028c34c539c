"""TLS certificates that are made for one test, and the environment that trusts their authority."""

from __future__ import annotations

import datetime as dt
import ssl
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

__all__ = ["server_ssl_context", "trust_by_environment"]


def server_ssl_context(authority: trustme.CA, *names: str, is_expired: bool = False) -> ssl.SSLContext:
    """Return the TLS context of a server with these names; without names, of a server at 127.0.0.1."""
    now = dt.datetime.now(dt.UTC)
    day = dt.timedelta(days=1)
    certificate = authority.issue_cert(
        *(names or ("127.0.0.1",)),
        not_before=now - 2 * day,
        not_after=now - day if is_expired else now + day,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def trust_by_environment(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """Set `SSL_CERT_FILE` to the authority's certificate, as on a machine that trusts the authority."""
    file = directory / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
