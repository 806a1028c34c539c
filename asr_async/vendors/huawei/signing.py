"""The AK/SK signature of Huawei's API gateway (SDK-HMAC-SHA256), as a pure function.

A request is written in a canonical form (`canonical_request`), and the hash of that text is signed with the secret key.
Client and emulator use the same two functions, to sign and to verify. Does not know a clock: the time is an argument.
Sources: the vendor's API signing guide, the signers of its SDKs; `tests/vectors/huawei_signing_vectors.json`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, unquote, urlsplit

from ..._text.secret import SecretHeaders
from ...errors import ConfigurationError

__all__ = ["ALGORITHM", "canonical_request", "host_header", "sign", "signature"]

ALGORITHM = "SDK-HMAC-SHA256"

_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_OURS = {"host", "x-sdk-date", "authorization"}


def sign(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    ak: str,
    sk: str,
    at: datetime,
) -> dict[str, str]:
    """Sign a request and return the headers to send with it.

    All headers are signed, so none may change afterwards. Host is signed in the form in which a client sends it, and is
    not among the returned headers: the client adds its own, and the gateway refuses two of them with 401 (comment in
    the official SDK).

    Args:
        method: GET for a WebSocket handshake.
        url: the URL of the request; the scheme is not signed, so that ws and wss may stand for http and https.
        headers: the other headers of the request, for instance `X-Security-Token` with temporary keys.
        body: the body of the request; empty for a handshake.
        ak: the access key.
        sk: the secret key.
        at: the present time, with a time zone; the gateway tolerates a difference of 15 minutes.

    Raises:
        ConfigurationError: `at` has no time zone, or the URL has no host.
    """
    if at.tzinfo is None:
        raise ConfigurationError(f"at={at}: must have a time zone, for instance datetime.now(UTC)")
    date = at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    to_send = SecretHeaders({name: value.strip() for name, value in headers.items() if name.lower() not in _OURS})
    to_send["X-Sdk-Date"] = date
    signed = {**to_send, "Host": host_header(url)}
    canonical = canonical_request(method, url, signed, body)
    names = _signed_headers(signed)
    to_send["Authorization"] = (
        f"{ALGORITHM} Access={ak}, SignedHeaders={names}, Signature={signature(sk, date, canonical)}"
    )
    return to_send


def host_header(url: str) -> str:
    """Return the Host header of an HTTP or WebSocket client: lower case, without the scheme's default port.

    Raises:
        ConfigurationError: the URL has no host, or its port is not a number.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise ConfigurationError("the URL's port is not a number from 0 to 65535") from None
    host = parts.hostname
    if not host:
        raise ConfigurationError("the URL has no host")
    if not host.isascii():
        host = host.encode("idna").decode()
    if ":" in host:
        host = f"[{host}]"
    return host if port in {None, _DEFAULT_PORTS.get(parts.scheme)} else f"{host}:{port}"


def canonical_request(method: str, url: str, headers: Mapping[str, str], body: bytes) -> str:
    """Return the canonical form of a request.

    Args:
        method: the method, in any case.
        url: the URL, of which only path and query are used.
        headers: exactly the headers that are signed, Host and X-Sdk-Date among them.
        body: the body; its hash is used unless the header `X-Sdk-Content-Sha256` replaces it.
    """
    parts = urlsplit(url)
    values = {name.lower(): value.strip() for name, value in headers.items()}
    return "\n".join(
        (
            method.upper(),
            _canonical_path(parts.path),
            _canonical_query(parts.query),
            *(f"{name}:{values[name]}" for name in sorted(values)),
            "",
            _signed_headers(headers),
            values.get("x-sdk-content-sha256") or hashlib.sha256(body).hexdigest(),
        )
    )


def signature(sk: str, date: str, canonical: str) -> str:
    """Sign a canonical request with the secret key itself; no key of a day or region is derived from it.

    Args:
        sk: the secret key.
        date: the X-Sdk-Date header.
        canonical: the result of `canonical_request`.
    """
    string_to_sign = f"{ALGORITHM}\n{date}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    return hmac.new(sk.encode(), string_to_sign.encode(), hashlib.sha256).hexdigest()


def _signed_headers(headers: Mapping[str, str]) -> str:
    return ";".join(sorted(name.lower() for name in headers))


def _canonical_path(path: str) -> str:
    encoded = "/".join(_encode(part) for part in unquote(path).split("/"))
    return encoded if encoded.endswith("/") else f"{encoded}/"


def _canonical_query(query: str) -> str:
    """Return the query sorted by key and value, both decoded; a key without a value gets "="."""
    pairs = [pair.partition("=") for pair in query.split("&")]
    decoded = sorted((unquote(key), unquote(value)) for key, _, value in pairs if key)
    return "&".join(f"{_encode(key)}={_encode(value)}" for key, value in decoded)


def _encode(text: str) -> str:
    return quote(text, safe="~")
