"""Servers that a test can trust, or not: certificates made for the moment, and where they are trusted from."""

from __future__ import annotations

import datetime as dt
import ssl
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

__all__ = ["server_tls", "trust"]


def server_tls(authority: trustme.CA, *names: str, is_expired: bool = False) -> ssl.SSLContext:
    """What a server of these names says; this machine's address if none is given."""
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


def trust(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """Have the environment name it, as on a machine whose administrator trusts it."""
    file = directory / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
