"""Huawei's error codes as data, and what a caller should make of each.

Sources: the error code page of the SIS API reference (public documentation repository, 2021-10; live page sis_03_0045,
2025/26), the service's FAQ, and the gateway's signing guide; whether to try again is this project's judgement.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

import msgspec

from ...errors import ASRError, AuthenticationError, RateLimitedError, VendorError
from ..error_rules import ErrorRule, parse_retry_after
from .rest_wire import ErrorBody

__all__ = ["CODES", "STALE_TOKEN_CODES", "VENDOR", "error_from_code", "error_from_iam", "error_from_response"]

VENDOR = "huawei"

CLOCK_TOLERANCE = timedelta(minutes=15)
"""How far the instant of a signature may be off (API signing guide, FAQ)."""


_OPTION = ErrorRule(VendorError, False, "check the options")
_ACCOUNT = ErrorRule(VendorError, False, "see to the account's purchase and its limits")
_SERVER = ErrorRule(VendorError, True, "the vendor's side; try again")
_VOCABULARY = ErrorRule(VendorError, False, "check the hot-word table")
_RECOGNITION = ErrorRule(VendorError, True, "the recognition failed; try again in a new session")
_THROTTLED = ErrorRule(RateLimitedError, True, "slow down and try again")
_KEYS = ErrorRule(
    AuthenticationError,
    False,
    "check the keys or the token, the region and the project; 5 wrong signatures lock a key for 5 minutes",
)
_CLOCK = ErrorRule(
    AuthenticationError, False, "the likely cause is this machine's clock, more than 15 minutes off: set it right"
)
_TOKEN = ErrorRule(AuthenticationError, False, "get a fresh token, for a project (not a domain) of the same region")
_PASSWORD = ErrorRule(AuthenticationError, False, "check username, password, domain")
_DENIED = ErrorRule(AuthenticationError, False, "the account has no right to this service or project")
_NOT_THERE = ErrorRule(VendorError, False, "check the endpoint, the region and the project id")

CODES: dict[str, ErrorRule] = {
    "SIS.0001": _SERVER,
    "SIS.0003": ErrorRule(AuthenticationError, False, "the token does not name a user: get another"),
    "SIS.0012": ErrorRule(VendorError, False, "a mandatory member is missing"),
    "SIS.0022": _ACCOUNT,
    "SIS.0023": _ACCOUNT,
    "SIS.0024": _ACCOUNT,
    "SIS.0031": _OPTION,
    # also START missing, a second START, or audio that did not come as binary messages
    "SIS.0032": _OPTION,
    "SIS.0033": _SERVER,
    "SIS.0100": _SERVER,
    "SIS.0101": _TOKEN,
    "SIS.0102": ErrorRule(AuthenticationError, False, "the request named no credentials"),
    "SIS.0103": ErrorRule(AuthenticationError, False, "have the account's real name verified first"),
    "SIS.0201": ErrorRule(VendorError, False, "check vocabulary_id: tables belong to one region and project"),
    **dict.fromkeys(("SIS.0203", "SIS.0204", "SIS.0205", "SIS.0206", "SIS.0207", "SIS.0208"), _VOCABULARY),
    "SIS.0301": ErrorRule(VendorError, False, "audio_format and property must be of one sample rate"),
    "SIS.0302": _SERVER,
    "SIS.0303": _SERVER,
    "SIS.0304": ErrorRule(VendorError, True, "nothing was sent for 20 s: go on sending, silence if need be"),
    "SIS.0305": _RECOGNITION,
    "SIS.0306": _RECOGNITION,
    "SIS.0307": _RECOGNITION,
    "SIS.0309": ErrorRule(
        VendorError, False, "the audio is longer than the mode allows: send the rest in a new session, or in continue"
    ),
    # the 2 to 5 seconds are the FAQ's
    "SIS.0312": ErrorRule(RateLimitedError, True, "too many sessions at once: try again after 2 to 5 seconds"),
    "SIS.30006": ErrorRule(VendorError, False, "make `audio_format` say what the audio really is"),
    "SIS.30007": ErrorRule(VendorError, False, "the hot words could not be loaded: check the table"),
    "APIGW.0201": _SERVER,
    "APIGW.0301": _KEYS,
    "APIGW.0307": _TOKEN,
    "APIGW.0308": _THROTTLED,
}
"""By the vendor's code; the gateway calls itself APIG as well as APIGW."""

STALE_TOKEN_CODES = frozenset({"SIS.0101", "APIGW.0301", "APIG.0301", "APIGW.0307", "APIG.0307", "401"})
"""With these (the last is HTTP's, where there is no other) a token that was kept may have expired or been withdrawn:
worth one try with a fresh one. Not with AK/SK, where APIGW.0301 means a wrong signature."""

_BY_STATUS: dict[int, ErrorRule] = {
    401: _KEYS,
    403: _DENIED,
    404: _NOT_THERE,
    408: _SERVER,
    429: _THROTTLED,
    500: _SERVER,
    502: _SERVER,
    503: _SERVER,
    504: _SERVER,
}
"""For answers without a known code. The documents do not say which status a refused handshake has."""

_UNKNOWN = ErrorRule(VendorError, False)


def error_from_code(
    code: str,
    message: str,
    *,
    request_id: str | None = None,
    status: int | None = None,
    retry_after: float | None = None,
) -> ASRError:
    """Make the error for a code of an ERROR or FATAL_ERROR message, or of an HTTP answer."""
    verdict = _verdict(code, message, status)
    text = message.strip() or f"Huawei refused with {code or status}"
    if status is not None:
        text = f"HTTP {status}: {text}"
        code = code or str(status)
    return verdict.error(text, vendor=VENDOR, code=code or None, request_id=request_id, retry_after=retry_after)


def _verdict(code: str, message: str, status: int | None) -> ErrorRule:
    verdict = CODES.get(code) or CODES.get(code.replace("APIG.", "APIGW.", 1))
    if verdict is _KEYS and ("expire" in message.lower() or "clock" in message.lower()):
        # one code for keys and tokens; only the text tells an old signature from an old token
        return _TOKEN if "token" in message.lower() else _CLOCK
    if verdict is None and status is not None:
        return _BY_STATUS.get(status, _UNKNOWN)
    return verdict or _UNKNOWN


def error_from_response(
    status: int, headers: Mapping[str, str], body: bytes, *, signed_at: datetime | None = None
) -> ASRError:
    """Make the error for an HTTP answer that refuses: a handshake, or a request.

    Args:
        status: of HTTP.
        headers: of the answer.
        body: of the answer, JSON or not.
        signed_at: when the request was signed, by this machine's clock; None with a token.
    """
    refusal = _read_refusal(body)
    text = refusal.error_msg or "the request was refused"
    if status in {401, 403} and signed_at is not None:
        text += _about_clock(headers.get("Date", ""), signed_at)
    return error_from_code(
        refusal.error_code or "",
        text,
        request_id=refusal.request_id or headers.get("X-Request-Id"),
        status=status,
        retry_after=parse_retry_after(headers),
    )


def error_from_iam(status: int, headers: Mapping[str, str], body: bytes) -> ASRError:
    """Make the error for an answer of IAM that holds no token."""
    refusal = _read_refusal(body)
    reason = (refusal.error.message if refusal.error else None) or refusal.error_msg or "no token was given"
    verdict = _PASSWORD if status == 401 else _BY_STATUS.get(status, _UNKNOWN)
    return verdict.error(
        f"HTTP {status} from IAM: {reason}",
        vendor=VENDOR,
        code=refusal.error_code or str(status),
        request_id=headers.get("X-IAM-Trace-Id") or headers.get("X-Request-Id"),
        retry_after=parse_retry_after(headers),
    )


def _read_refusal(body: bytes) -> ErrorBody:
    try:
        return msgspec.json.decode(body, type=ErrorBody)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ErrorBody()  # a gateway's page of HTML, or nothing: the status has to do


def _about_clock(date: str, signed_at: datetime) -> str:
    """What to add when the vendor's clock, in its answer, is further off than it tolerates; else nothing."""
    try:
        ahead = signed_at - parsedate_to_datetime(date)
    except (ValueError, TypeError):  # none, malformed, or without its zone
        return ""
    if abs(ahead) <= CLOCK_TOLERANCE:
        return ""
    direction = "ahead of" if ahead > timedelta(0) else "behind"
    return f" (this machine's clock is {abs(ahead) // timedelta(minutes=1)} minutes {direction} the vendor's)"
