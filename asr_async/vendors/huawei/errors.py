"""Huawei's error codes as data, with the error class, the retry decision and the remedy of each.

Sources: the error code page of the SIS API reference (public documentation repository, 2021-10; live page sis_03_0045,
2025/26), the service's FAQ, and the error codes of the gateway's signing guide (2025-10-20); the retry decisions are
this project's judgement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from ..._text.lines import one_line
from ...errors import ASRError, AuthenticationError, RateLimitedError, VendorError
from ..error_body import MAX_CODE_CHARS, MAX_TEXT_CHARS, find_header, read_error_body
from ..error_rules import SERVER_ERROR, ErrorKind, ErrorRule, ErrorTable, code_key, parse_retry_after

__all__ = [
    "CODES",
    "STALE_TOKEN_CODES",
    "VENDOR",
    "error_from_code",
    "error_from_iam",
    "error_from_response",
    "is_stale_token",
]

VENDOR = "huawei"

CLOCK_TOLERANCE = timedelta(minutes=15)
"""The tolerance for the time of a signature (API signing guide, FAQ)."""

_OPTION = ErrorRule(VendorError, False, "check the options")
_ACCOUNT = ErrorRule(VendorError, False, "check the account's purchase and its limits")
_BILLING = ErrorRule(VendorError, False, "settle the account's billing", concerns_account=True)
_EXHAUSTED = ErrorRule(VendorError, False, "the quota is used up: buy more in the console", concerns_account=True)
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
_NOT_ACTIVATED = ErrorRule(AuthenticationError, False, "activate the service for this account and region first")
_NOT_FOUND = ErrorRule(VendorError, False, "check the endpoint, its path, the region and the project id")

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
    # an event, not a code of the vendor's: see `RasrCodec`
    "EXCEEDED_SILENCE": ErrorRule(
        VendorError,
        False,
        "only silence was sent, or audio of another format than declared; vad_head= sets how long silence may last",
    ),
    "SIS.30006": ErrorRule(VendorError, False, "set `audio_format` to that of the audio"),
    "SIS.30007": ErrorRule(VendorError, False, "the hot words could not be loaded: check the table"),
    "APIGW.0101": _NOT_FOUND,
    "APIGW.0103": _NOT_FOUND,
    # a timeout of the service behind the gateway; with a status below 500 the request is at fault (see `_find_rule`)
    "APIGW.0201": SERVER_ERROR,
    **dict.fromkeys(("APIGW.0301", "APIGW.0303", "APIGW.0305", "APIGW.0311"), _KEYS),
    **dict.fromkeys(("APIGW.0302", "APIGW.0304", "APIGW.0306", "APIGW.0310", "APIGW.0801", "APIGW.0802"), _DENIED),
    "APIGW.0307": _TOKEN,
    "APIGW.0308": _THROTTLED,
    **dict.fromkeys(
        ("APIGW.0401", "APIGW.0402", "APIGW.0404"),
        ErrorRule(AuthenticationError, False, "this machine's address is not admitted: check the account's lists"),
    ),
    "APIGW.0501": _EXHAUSTED,
    "APIGW.0502": _BILLING,
    **dict.fromkeys(
        ("APIGW.0601", "APIGW.0605", "APIGW.0606", "APIGW.0608", "APIGW.0609", "APIGW.0610", "APIGW.0611"), SERVER_ERROR
    ),
    "APIGW.0613": SERVER_ERROR,
    "APIGW.0705": SERVER_ERROR,
}
"""By the vendor's code; the gateway's prefix is APIG as well as APIGW."""

STALE_TOKEN_CODES = frozenset({"SIS.0101", "APIGW.0301", "APIG.0301", "APIGW.0307", "APIG.0307", "401"})
"""The codes with which a cached token may have expired or been withdrawn, so that one attempt with a new token is worth
it; 401 is the HTTP status, if there is no other code. Not with AK/SK, where APIGW.0301 means a wrong signature."""

_CODES_BY_STATUS = frozenset({"apigw0201", "apig0201"})
"""The gateway has one code for its own timeout (502, 504) and for bad requests (400, 413, 414, 494): API signing guide,
error codes, 2025-10-20."""

_STALE_TOKEN_KEYS = frozenset(code_key(code) for code in STALE_TOKEN_CODES)

_TABLE = ErrorTable(
    {**CODES, **{code.replace("APIGW.", "APIG."): rule for code, rule in CODES.items()}},
    {
        ErrorKind.EXHAUSTED: _EXHAUSTED,
        ErrorKind.BILLING: _BILLING,
        ErrorKind.NOT_ACTIVATED: _NOT_ACTIVATED,
        ErrorKind.CREDENTIALS: _KEYS,
        ErrorKind.RATE_LIMIT: _THROTTLED,
        ErrorKind.DENIED: _DENIED,
    },
    # the documents do not state the status of a refused handshake
    {400: _OPTION, 401: _KEYS, 402: _BILLING, 403: _DENIED, 404: _NOT_FOUND, 429: _THROTTLED},
)


def is_stale_token(error: ASRError) -> bool:
    """Return True if a cached token may be the reason for an error (`STALE_TOKEN_CODES`)."""
    return error.code is not None and code_key(error.code) in _STALE_TOKEN_KEYS


def error_from_code(code: str, message: str, *, request_id: str | None = None, raw: str | None = None) -> ASRError:
    """Make the error for the code of an ERROR or FATAL_ERROR message.

    Args:
        code: the vendor's code; empty if it gives none.
        message: the vendor's text; empty if it gives none.
        request_id: the vendor's id of the task.
        raw: the message as it came.
    """
    code = one_line(code, MAX_CODE_CHARS)
    text = one_line(message, MAX_TEXT_CHARS) or f"Huawei refused with {code or 'no reason'}"
    rule = _find_rule(code, message, None)
    return rule.make_error(text, vendor=VENDOR, code=code or None, request_id=request_id, retry_after=None, raw=raw)


def _find_rule(code: str, text: str, status: int | None) -> ErrorRule:
    rule = _TABLE.find(code, text, status)
    words = text.casefold()
    if rule is _KEYS and ("expire" in words or "clock" in words):
        # one code for keys and tokens: only the text distinguishes an old signature from an old token
        return _TOKEN if "token" in words else _CLOCK
    if status is not None and status < 500 and code_key(code) in _CODES_BY_STATUS:
        return _TABLE.find("", text, status)
    return rule


def error_from_response(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    signed_at: datetime | None = None,
    clock: Callable[[], datetime] | None = None,
) -> ASRError:
    """Make the error for an HTTP response that refuses a handshake or a request.

    Args:
        status: the HTTP status.
        headers: the headers of the response.
        body: the body of the response, in any form.
        signed_at: the time of the request's signature, by this machine's clock; None with a token.
        clock: returns this machine's time, for a Retry-After that is a date in a response without its own.
    """
    details = read_error_body(body)
    text = f"HTTP {status}: {details.text or 'the request was refused'}"
    if status in {401, 403} and signed_at is not None:
        text += _clock_note(find_header(headers, "Date"), signed_at)
    # the clock note counts as words of the vendor: it names the cause
    return _find_rule(details.code, text, status).make_error(
        text,
        vendor=VENDOR,
        code=details.code or str(status),
        status=status,
        request_id=details.request_id or find_header(headers, "X-Request-Id") or None,
        retry_after=parse_retry_after(headers, now=clock() if clock else None),
        raw=details.raw,
    )


def error_from_iam(
    status: int, headers: Mapping[str, str], body: bytes, *, clock: Callable[[], datetime] | None = None
) -> ASRError:
    """Make the error for a response of IAM that holds no token; the arguments are those of any response."""
    details = read_error_body(body)
    rule = _PASSWORD if status == 401 else _TABLE.find(details.code, details.text, status)
    return rule.make_error(
        f"HTTP {status} from IAM: {details.text or 'the response holds no token'}",
        vendor=VENDOR,
        code=details.code or str(status),
        status=status,
        request_id=find_header(headers, "X-IAM-Trace-Id") or find_header(headers, "X-Request-Id") or None,
        retry_after=parse_retry_after(headers, now=clock() if clock else None),
        raw=details.raw,
    )


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
