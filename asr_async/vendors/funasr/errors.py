"""The errors of FunASR's own servers. They have no codes: the HTTP status and the words of a refusal decide."""

from __future__ import annotations

from collections.abc import Mapping

from ..._text.lines import one_line
from ...errors import ASRError, AuthenticationError, RateLimitedError, VendorError
from ..error_body import MAX_TEXT_CHARS, read_error_body
from ..error_rules import ErrorKind, ErrorRule, ErrorTable, parse_retry_after

__all__ = ["VENDOR", "error_from_handshake", "error_from_text"]

VENDOR = "funasr"

_SUBPROTOCOL = ErrorRule(
    VendorError, False, "this is a server of the older 2pass protocol, funasr_wss_server.py: pass FunASR2Pass(...)"
)
_OTHER_MODE = ErrorRule(
    VendorError, False, "start the server with --endpoint-mode client, or leave manual_commit=True out"
)
_CLIENT_MODE = ErrorRule(
    VendorError,
    False,
    "this server was started with --endpoint-mode client and finds no ends of sentences: pass manual_commit=True and "
    "call commit(), or start it without that option",
)
_KEY = ErrorRule(AuthenticationError, False, "check api_key= of FunASRServer, or what its gateway expects in headers=")
_NO_SERVER = ErrorRule(VendorError, False, "this is no FunASR server: check the address, its port and its path")
_BUSY = ErrorRule(RateLimitedError, True, "the server has no room for another session")

_TABLE = ErrorTable(
    {},
    {ErrorKind.CREDENTIALS: _KEY, ErrorKind.DENIED: _KEY, ErrorKind.RATE_LIMIT: _BUSY},
    {400: _NO_SERVER, 401: _KEY, 403: _KEY, 404: _NO_SERVER, 405: _NO_SERVER, 426: _NO_SERVER, 429: _BUSY},
)


def error_from_text(text: str, *, request_id: str | None = None, raw: str | None = None) -> ASRError:
    """Make the error for the text of an error message of the server.

    Args:
        text: the server's text; empty if it gives none.
        request_id: the id of the task, if the protocol has one.
        raw: the message as it came.
    """
    shown = one_line(text, MAX_TEXT_CHARS) or "the server reported an error without a text"
    rule = _find_rule(text, None)
    return rule.make_error(shown, vendor=VENDOR, code=None, request_id=request_id, retry_after=None, raw=raw)


def error_from_handshake(status: int, headers: Mapping[str, str], body: bytes) -> ASRError:
    """Make the error for an HTTP response that refuses the handshake."""
    details = read_error_body(body)
    return _find_rule(details.text, status).make_error(
        f"HTTP {status}: {details.text or 'the handshake was refused'}",
        vendor=VENDOR,
        code=details.code or str(status),
        status=status,
        request_id=details.request_id,
        retry_after=parse_retry_after(headers),
        raw=details.raw,
    )


def _find_rule(text: str, status: int | None) -> ErrorRule:
    words = text.casefold()
    if status is not None and "subprotocol" in words:
        return _SUBPROTOCOL
    if "commit requires" in words:
        return _OTHER_MODE
    if "session is not active" in words:
        return _CLIENT_MODE
    return _TABLE.find("", text, status)
