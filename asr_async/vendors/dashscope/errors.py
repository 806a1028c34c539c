"""DashScope's error codes as data, with the error class, the retry decision and the remedy of each.

Sources: the platform's error code page ("错误信息", read 2026, and a copy of its newer edition, 2026), which gives many
codes in two spellings, those of the platform and of OpenAI's interface (`Throttling.BurstRate/limit_burst_rate`); the
questions and answers of the vendor's public speech demo repository; third-party reports. The retry decisions are this
project's judgement. Some billing errors arrive as HTTP 429 and do not disappear by waiting, so the code has precedence
over the status, and words about a quota that is used up have precedence over the code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from ..._text.lines import one_line
from ...errors import ASRError, AuthenticationError, RateLimitedError, VendorError
from ..error_body import MAX_CODE_CHARS, MAX_TEXT_CHARS, ErrorDetails, read_error_body
from ..error_rules import SERVER_ERROR, ErrorKind, ErrorRule, ErrorTable, code_key, parse_retry_after

__all__ = ["error_from_code", "error_from_response", "is_invalid_key", "is_no_speech"]

VENDOR = "dashscope"


_KEY = ErrorRule(AuthenticationError, False, "check the key, and that it belongs to the endpoint's region")
_DENIED = ErrorRule(AuthenticationError, False, "the key has no right to this model or workspace")
_WORKSPACE = ErrorRule(
    AuthenticationError, False, "check workspace= and endpoint=, and that the key's account belongs to the workspace"
)
_ENDPOINT = ErrorRule(
    AuthenticationError,
    False,
    "check that the key belongs to the workspace of the endpoint, and that the model is still offered",
)
_UNPURCHASED = ErrorRule(VendorError, False, "activate the service for this account first", concerns_account=True)
_NOT_ACTIVATED = ErrorRule(AuthenticationError, False, "activate the service for this account first")
_BILLING = ErrorRule(VendorError, False, "settle the account's billing", concerns_account=True)
_EXHAUSTED = ErrorRule(
    VendorError,
    False,
    "the free quota is used up: switch 'use free tier only' off in the console, or choose another model",
    concerns_account=True,
)
_QUOTA = ErrorRule(RateLimitedError, True, "slow down, or have the quota raised")
_MODEL = ErrorRule(VendorError, False, "check the model's name and that the region has it", concerns_account=True)
_NOT_FOUND = ErrorRule(VendorError, False, "check the hot-word list's id; for a connection, the endpoint and its path")
_UNDECODABLE = ErrorRule(VendorError, False, "set `format` and `sample_rate` to those of the audio")
_NO_SPEECH = ErrorRule(VendorError, False, "only silence was sent, or audio of another format than declared")
_SILENT = ErrorRule(VendorError, True, "60 s without speech: set heartbeat=True to keep the task open through silence")
_NO_DATA = ErrorRule(VendorError, True, "no audio was sent for 23 s: keep sending, if necessary silence")
_INSPECTED = ErrorRule(VendorError, False, "the vendor's content check refused it")
_INVALID = ErrorRule(VendorError, False)

_SPELLINGS: tuple[tuple[ErrorRule, tuple[str, ...]], ...] = (
    # 401
    (_KEY, ("InvalidApiKey", "invalid_api_key", "invalid access token or token expired")),
    (_WORKSPACE, ("NOT AUTHORIZED", "BailianGateway.Workspace.NotAuthorised")),
    # 403
    (_DENIED, ("AccessDenied", "access_denied", "Model.AccessDenied", "Workspace.AccessDenied", "App.AccessDenied")),
    (_ENDPOINT, ("Endpoint.AccessDenied",)),
    (_UNPURCHASED, ("AccessDenied.Unpurchased",)),
    (_EXHAUSTED, ("AllocationQuota.FreeTierOnly",)),
    # 400 and 429, all about money
    (_BILLING, ("Arrearage", "PrepaidBillOverdue", "PostpaidBillOverdue", "CommodityNotPurchased")),
    # 404
    (_MODEL, ("ModelNotFound", "model_not_found", "Model.NotExist", "model_not_supported")),
    (ErrorRule(VendorError, False, "check the workspace id"), ("WorkSpaceNotFound",)),
    (_NOT_FOUND, ("NotFound",)),
    # 400
    (_INVALID, ("InvalidParameter", "invalid_parameter_error", "invalid_value", "BadRequest", "UnsupportedOperation")),
    (_INSPECTED, ("DataInspectionFailed", "data_inspection_failed", "CustomRoleBlocked")),
    # 429: the whole group, then the spellings that do not begin with its name
    (_QUOTA, ("Throttling", "Throttling.RateQuota", "LimitRequests", "limit_requests")),
    (_QUOTA, ("ResourceExhausted", "Too many requests")),
    (_QUOTA, ("Throttling.BurstRate", "limit_burst_rate")),
    (_QUOTA, ("Throttling.Concurrency",)),
    # of tokens per minute; "Free allocated quota exceeded." comes with it too, and its words distinguish it
    (_QUOTA, ("Throttling.AllocationQuota", "insufficient_quota")),
    # the recognisers' own
    (_SILENT, ("ResponseTimeout", "RequestTimeOut")),
    (_NO_SPEECH, ("NO_VALID_AUDIO_ERROR", "NO_INPUT_AUDIO_ERROR")),
    (_UNDECODABLE, ("UNSUPPORTED_FORMAT", "DECODE_ERROR")),
    # 500 and 503
    (SERVER_ERROR, ("InternalError", "internal_error", "SystemError", "SERVER_ERROR", "MODEL_ERROR")),
    (SERVER_ERROR, ("ModelServiceFailed", "ModelServingError", "ModelUnavailable", "ServiceUnavailable")),
)
"""Each rule with the spellings of its codes. `CLIENT_ERROR` and `invalid_request_error` are missing: they say nothing,
so the words decide."""

CODES: dict[str, ErrorRule] = {code: rule for rule, codes in _SPELLINGS for code in codes}

_TABLE = ErrorTable(
    CODES,
    {
        ErrorKind.EXHAUSTED: _EXHAUSTED,
        ErrorKind.BILLING: _BILLING,
        ErrorKind.NOT_ACTIVATED: _NOT_ACTIVATED,
        ErrorKind.UNKNOWN_MODEL: _MODEL,
        ErrorKind.CREDENTIALS: _KEY,
        ErrorKind.RATE_LIMIT: _QUOTA,
        ErrorKind.DENIED: _DENIED,
    },
    {
        401: _KEY,
        402: _BILLING,
        403: _DENIED,
        404: ErrorRule(VendorError, False, "check the region, the endpoint and its path, and the workspace"),
        429: _QUOTA,
    },
)

_EXPIRED = ErrorRule(
    AuthenticationError,
    False,
    "this temporary key has expired, or belongs to another region: make another with temporary_key(), "
    "or pass a function that does so as api_key=",
)
"""For InvalidApiKey with a temporary key: the service does not distinguish an expired key from a wrong one."""

_NO_SPEECH_KEYS = frozenset(code_key(code) for code, rule in CODES.items() if rule is _NO_SPEECH)


def is_no_speech(error: ASRError) -> bool:
    """Return True for an error that, after finish-task, means: the audio was silent, or there was none (error page)."""
    return error.code is not None and code_key(error.code) in _NO_SPEECH_KEYS


def is_invalid_key(error: AuthenticationError) -> bool:
    """Return True if the key itself is invalid; a valid one may lack the right to what was requested."""
    return error.code == "401" or _find_rule(error.code or "", error.message, None) is _KEY


def error_from_code(
    code: str,
    message: str,
    *,
    kind: str = "",
    request_id: str | None = None,
    status: int | None = None,
    raw: str | None = None,
) -> ASRError:
    """Make the error for the code of a task-failed event or of an error event.

    Args:
        code: the vendor's code; empty if it gives none.
        message: the vendor's text; empty if it gives none.
        kind: the vendor's wider code for the same error, if it gives one.
        request_id: the vendor's id of the task.
        status: the HTTP status that an unknown code is treated like; None for the error of a WebSocket message.
        raw: the message as it came.
    """
    code = one_line(code or kind, MAX_CODE_CHARS)
    rule = _find_rule(code, f"{message} {kind}", status)
    text = one_line(message, MAX_TEXT_CHARS) or f"DashScope refused with {code or 'no reason'}"
    return rule.make_error(text, vendor=VENDOR, code=code or None, request_id=request_id, retry_after=None, raw=raw)


def _find_rule(code: str, text: str, status: int | None) -> ErrorRule:
    if code_key(code) == "clienterror" and "timeout after 23 seconds" in text.casefold():
        return _NO_DATA
    return _TABLE.find(code, text, status)


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
    rule = _find_rule(details.code, details.text, status)
    if temporary_key and rule is _KEY:
        rule = _EXPIRED
    return rule.make_error(
        _http_text(subject, status, details),
        vendor=VENDOR,
        code=details.code or str(status),
        status=status,
        request_id=details.request_id,
        retry_after=parse_retry_after(headers, now=clock() if clock else None),
        raw=details.raw,
    )


def _http_text(subject: str, status: int, details: ErrorDetails) -> str:
    return f"HTTP {status}: {details.text}" if details.text else f"the {subject} was refused with HTTP {status}"
