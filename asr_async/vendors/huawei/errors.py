"""Huawei's error codes as data, with the error class, the retry decision and the remedy of each.

Sources: the error code page of the SIS API reference (public documentation repository, 2021-10; live page sis_03_0045,
2025/26), the service's FAQ, and the gateway's signing guide; the retry decisions are this project's judgement.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

import msgspec

from ...errors import ASRError, AuthenticationError, RateLimitedError, VendorError
from ..error_rules import SERVER_ERROR, SERVER_STATUSES, ErrorRule, parse_retry_after, rule_or_status
from .rest_wire import ErrorBody

__all__ = ["CODES", "STALE_TOKEN_CODES", "VENDOR", "error_from_code", "error_from_iam", "error_from_response"]

VENDOR = "huawei"

CLOCK_TOLERANCE = timedelta(minutes=15)
"""The tolerance for the time of a signature (API signing guide, FAQ)."""

_OPTION = ErrorRule(VendorError, False, "check the options")
_ACCOUNT = ErrorRule(VendorError, False, "check the account's purchase and its limits")
_VOCABULARY = ErrorRule(VendorError, False, "check the hot-word table")
_RECOGNITION = ErrorRule(VendorError, True, "the recognition failed; try again in a new session")
_THROTTLED = ErrorRule(RateLimitedError, True, "slow down and try again")
_KEYS = ErrorRule(
    AuthenticationError,
    False,
    "check the keys or the token, the region and the project; 5 wrong signatures lock a key for 5 minutes",
)
_CLOCK = ErrorRule(
    AuthenticationError, False, "the likely cause is this machine's clock, more than 15 minutes off: set it"
)
_TOKEN = ErrorRule(AuthenticationError, False, "request a new token, for a project (not a domain) of the same region")
_PASSWORD = ErrorRule(AuthenticationError, False, "check username, password, domain")
_DENIED = ErrorRule(AuthenticationError, False, "the account has no right to this service or project")
_NOT_FOUND = ErrorRule(VendorError, False, "check the endpoint, the region and the project id")

CODES: dict[str, ErrorRule] = {
    "SIS.0001": SERVER_ERROR,
    "SIS.0003": ErrorRule(AuthenticationError, False, "the token does not name a user: request another"),
    "SIS.0012": ErrorRule(VendorError, False, "a mandatory member is missing"),
    "SIS.0022": _ACCOUNT,
    "SIS.0023": _ACCOUNT,
    "SIS.0024": _ACCOUNT,
    "SIS.0031": _OPTION,
    # also START missing, a second START, or audio that did not come as binary messages
    "SIS.0032": _OPTION,
    "SIS.0033": SERVER_ERROR,
    "SIS.0100": SERVER_ERROR,
    "SIS.0101": _TOKEN,
    "SIS.0102": ErrorRule(AuthenticationError, False, "the request had no credentials"),
    "SIS.0103": ErrorRule(AuthenticationError, False, "complete the account's real-name verification first"),
    "SIS.0201": ErrorRule(VendorError, False, "check vocabulary_id: a table belongs to one region and project"),
    **dict.fromkeys(("SIS.0203", "SIS.0204", "SIS.0205", "SIS.0206", "SIS.0207", "SIS.0208"), _VOCABULARY),
    "SIS.0301": ErrorRule(VendorError, False, "audio_format and property must have the same sample rate"),
    "SIS.0302": SERVER_ERROR,
    "SIS.0303": SERVER_ERROR,
    "SIS.0304": ErrorRule(VendorError, True, "no audio was sent for 20 s: keep sending, if necessary silence"),
    "SIS.0305": _RECOGNITION,
    "SIS.0306": _RECOGNITION,
    "SIS.0307": _RECOGNITION,
    "SIS.0309": ErrorRule(
        VendorError, False, "the audio is longer than the mode allows: send the rest in a new session, or in continue"
    ),
    # the 2 to 5 seconds are the FAQ's
    "SIS.0312": ErrorRule(RateLimitedError, True, "too many sessions at once: try again after 2 to 5 seconds"),
    "SIS.30006": ErrorRule(VendorError, False, "set `audio_format` to that of the audio"),
    "SIS.30007": ErrorRule(VendorError, False, "the hot words could not be loaded: check the table"),
    "APIGW.0201": SERVER_ERROR,
    "APIGW.0301": _KEYS,
    "APIGW.0307": _TOKEN,
    "APIGW.0308": _THROTTLED,
}
"""By the vendor's code; the gateway's prefix is APIG as well as APIGW."""

STALE_TOKEN_CODES = frozenset({"SIS.0101", "APIGW.0301", "APIG.0301", "APIGW.0307", "APIG.0307", "401"})
"""The codes with which a cached token may have expired or been withdrawn, so that one attempt with a new token is worth
it; 401 is the HTTP status, if there is no other code. Not with AK/SK, where APIGW.0301 means a wrong signature."""

_BY_STATUS: dict[int, ErrorRule] = {
    **SERVER_STATUSES,
    401: _KEYS,
    403: _DENIED,
    404: _NOT_FOUND,
    429: _THROTTLED,
}
"""For responses without a known code. The documents do not state the status of a refused handshake."""


def error_from_code(
    code: str,
    message: str,
    *,
    request_id: str | None = None,
    status: int | None = None,
    retry_after: float | None = None,
) -> ASRError:
    """Make the error for the code of an ERROR or FATAL_ERROR message, or of an HTTP response."""
    rule = _rule(code, message, status)
    text = message.strip() or f"Huawei refused with {code or status}"
    if status is not None:
        text = f"HTTP {status}: {text}"
        code = code or str(status)
    return rule.make_error(text, vendor=VENDOR, code=code or None, request_id=request_id, retry_after=retry_after)


def _rule(code: str, message: str, status: int | None) -> ErrorRule:
    rule = CODES.get(code) or CODES.get(code.replace("APIG.", "APIGW.", 1))
    if rule is _KEYS and ("expire" in message.lower() or "clock" in message.lower()):
        # one code for keys and tokens: only the text distinguishes an old signature from an old token
        return _TOKEN if "token" in message.lower() else _CLOCK
    return rule_or_status(rule, status, _BY_STATUS)


def error_from_response(
    status: int, headers: Mapping[str, str], body: bytes, *, signed_at: datetime | None = None
) -> ASRError:
    """Make the error for an HTTP response that refuses a handshake or a request.

    Args:
        status: the HTTP status.
        headers: the headers of the response.
        body: the body of the response, JSON or not.
        signed_at: the time of the request's signature, by this machine's clock; None with a token.
    """
    error_body = _decode_error_body(body)
    text = error_body.error_msg or "the request was refused"
    if status in {401, 403} and signed_at is not None:
        text += _clock_note(headers.get("Date", ""), signed_at)
    return error_from_code(
        error_body.error_code or "",
        text,
        request_id=error_body.request_id or headers.get("X-Request-Id"),
        status=status,
        retry_after=parse_retry_after(headers),
    )


def error_from_iam(status: int, headers: Mapping[str, str], body: bytes) -> ASRError:
    """Make the error for a response of IAM that holds no token."""
    error_body = _decode_error_body(body)
    reason = (
        (error_body.error.message if error_body.error else None)
        or error_body.error_msg
        or "the response holds no token"
    )
    rule = rule_or_status(_PASSWORD if status == 401 else None, status, _BY_STATUS)
    return rule.make_error(
        f"HTTP {status} from IAM: {reason}",
        vendor=VENDOR,
        code=error_body.error_code or str(status),
        request_id=headers.get("X-IAM-Trace-Id") or headers.get("X-Request-Id"),
        retry_after=parse_retry_after(headers),
    )


def _decode_error_body(body: bytes) -> ErrorBody:
    try:
        return msgspec.json.decode(body, type=ErrorBody)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ErrorBody()  # a gateway's HTML page, or no body: the status decides


def _clock_note(date: str, signed_at: datetime) -> str:
    """Return a note if the vendor's clock, by its response, differs by more than the tolerance; else an empty text."""
    try:
        ahead = signed_at - parsedate_to_datetime(date)
    except (ValueError, TypeError):  # no date, a malformed one, or one without its zone
        return ""
    if abs(ahead) <= CLOCK_TOLERANCE:
        return ""
    direction = "ahead of" if ahead > timedelta(0) else "behind"
    return f" (this machine's clock is {abs(ahead) // timedelta(minutes=1)} minutes {direction} the vendor's)"
