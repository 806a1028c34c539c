"""OpenAI's error codes as data, with the error class, the retry decision and the remedy of each.

Sources: the vendor's guide to error codes (developers.openai.com, read 2026-11), PyPI `openai` 3.57.0, and third-party
reports of realtime sessions (`session_expired`, `input_audio_buffer_commit_empty`; 2024 to 2026). The retry decisions
are this project's judgement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from ..._text.lines import one_line
from ...errors import ASRError, AuthenticationError, RateLimitedError, VendorError
from ..error_body import MAX_CODE_CHARS, MAX_TEXT_CHARS, read_error_body
from ..error_rules import SERVER_ERROR, ErrorKind, ErrorRule, ErrorTable, parse_retry_after

if TYPE_CHECKING:
    from ..realtime.wire import WireError

__all__ = ["VENDOR", "error_from_event", "error_from_response", "is_invalid_key"]

VENDOR = "openai"

_KEY = ErrorRule(AuthenticationError, False, "check the key, and that it belongs to the endpoint")
_EXPIRED_KEY = ErrorRule(
    AuthenticationError,
    False,
    "this temporary key may have expired: make another with temporary_key(), or pass a function that does so as "
    "api_key=",
)
_DENIED = ErrorRule(
    AuthenticationError, False, "the key's project has no right to it: check project= and organization="
)
_BILLING = ErrorRule(VendorError, False, "check the account's plan and billing", concerns_account=True)
_QUOTA = ErrorRule(RateLimitedError, True, "slow down, or have the limit raised")
_MODEL = ErrorRule(VendorError, False, "check the model's name, and that the endpoint has it", concerns_account=True)
_INVALID = ErrorRule(VendorError, False)
_EXPIRED = ErrorRule(VendorError, True, "the longest duration of a session is over")
_UNINTELLIGIBLE = ErrorRule(VendorError, False, "check that the audio has the declared format")
_PATH = ErrorRule(VendorError, False, "check the endpoint and its path")

_SPELLINGS: tuple[tuple[ErrorRule, tuple[str, ...]], ...] = (
    (_KEY, ("invalid_api_key", "invalid_authentication", "invalid_organization", "missing_api_key")),
    (_KEY, ("authentication_error",)),
    (_DENIED, ("permission_denied", "unsupported_country_region_territory", "permission_error")),
    # 429, and not renewed by waiting
    (_BILLING, ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "account_deactivated")),
    (_QUOTA, ("rate_limit_exceeded", "rate_limit_error", "requests", "tokens")),
    (_MODEL, ("model_not_found",)),
    (_EXPIRED, ("session_expired",)),
    (_UNINTELLIGIBLE, ("audio_unintelligible", "invalid_audio")),
    (_INVALID, ("invalid_value", "missing_required_parameter", "unknown_parameter", "invalid_type")),
    (_INVALID, ("input_audio_buffer_commit_empty", "invalid_json", "unknown_event")),
    (SERVER_ERROR, ("server_error", "internal_error", "service_unavailable", "overloaded", "processing_error")),
)
"""Each rule with the spellings of its codes. `invalid_request_error` is missing: it says nothing, so the words
decide."""

_TABLE = ErrorTable(
    {code: rule for rule, codes in _SPELLINGS for code in codes},
    {
        ErrorKind.EXHAUSTED: _BILLING,
        ErrorKind.BILLING: _BILLING,
        ErrorKind.NOT_ACTIVATED: _DENIED,
        ErrorKind.UNKNOWN_MODEL: _MODEL,
        ErrorKind.CREDENTIALS: _KEY,
        ErrorKind.RATE_LIMIT: _QUOTA,
        ErrorKind.DENIED: _DENIED,
    },
    {401: _KEY, 402: _BILLING, 403: _DENIED, 404: _PATH, 429: _QUOTA},
)


def is_invalid_key(error: AuthenticationError) -> bool:
    """Return True if the key itself is invalid; a valid one may lack the right to what was requested."""
    return error.code == "401" or _TABLE.find(error.code or "", error.message, None) is _KEY


def error_from_event(error: WireError, *, request_id: str | None, raw: str) -> ASRError:
    """Make the error for an error event, or for an item that failed.

    Args:
        error: the vendor's description.
        request_id: the id of the session.
        raw: the message as it came.
    """
    kind = error.type or ""
    code = one_line(error.code or kind, MAX_CODE_CHARS)
    # an unknown code is then treated as an error of the server, or of the client
    status = 500 if kind == "server_error" else None
    rule = _TABLE.find(code, f"{error.message or ''} {kind}", status)
    text = one_line(error.message or "", MAX_TEXT_CHARS) or f"OpenAI refused with {code or 'no reason'}"
    if error.param:
        text = f"{text} ({one_line(error.param, MAX_CODE_CHARS)})"
    return rule.make_error(text, vendor=VENDOR, code=code or None, request_id=request_id, retry_after=None, raw=raw)


def error_from_response(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    subject: str = "handshake",
    temporary_key: bool = False,
    clock: Callable[[], datetime] | None = None,
) -> ASRError:
    """Make the error for an HTTP response that is not a switch to WebSocket, or that refuses a REST request.

    Args:
        status: the HTTP status.
        headers: the headers of the response.
        body: the body of the response, in any form.
        subject: what was refused, for a response without a text.
        temporary_key: the key was a temporary one.
        clock: returns this machine's time, for a Retry-After that is a date in a response without its own.
    """
    details = read_error_body(body)
    rule = _TABLE.find(details.code, details.text, status)
    if temporary_key and rule is _KEY:
        rule = _EXPIRED_KEY
    text = f"HTTP {status}: {details.text}" if details.text else f"the {subject} was refused with HTTP {status}"
    return rule.make_error(
        text,
        vendor=VENDOR,
        code=details.code or str(status),
        status=status,
        request_id=details.request_id,
        retry_after=parse_retry_after(headers, now=clock() if clock else None),
        raw=details.raw,
    )
