"""DashScope's error codes as data, with the error class, the retry decision and the remedy of each.

Sources: the platform's error code page ("错误信息", read 2026), the questions and answers of its public speech demo
repository, and third-party reports; the retry decisions are this project's judgement. Some billing errors arrive as
HTTP 429 and do not disappear by waiting, so the code has precedence over the status.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ...errors import ASRError, AuthenticationError, RateLimitedError, VendorError
from ..error_rules import SERVER_ERROR, SERVER_STATUSES, ErrorRule, parse_retry_after, rule_or_status
from .rest_wire import ErrorBody

__all__ = ["NO_SPEECH_CODES", "error_from_code", "error_from_handshake", "error_from_response"]

VENDOR = "dashscope"


_BILLING = ErrorRule(VendorError, False, "settle the account's billing")
_QUOTA = ErrorRule(RateLimitedError, True, "slow down, or have the quota raised")
_DENIED = ErrorRule(AuthenticationError, False, "the key has no right to this model or workspace")
_UNDECODABLE = ErrorRule(VendorError, False, "set `format` and `sample_rate` to those of the audio")
_NO_SPEECH = ErrorRule(VendorError, False, "only silence was sent, or audio of another format than declared")
_SILENT = ErrorRule(VendorError, True, "60 s without speech: set heartbeat=True to keep the task open through silence")
_NO_DATA = ErrorRule(VendorError, True, "no audio was sent for 23 s: keep sending, if necessary silence")

CODES: dict[str, ErrorRule] = {
    "InvalidApiKey": ErrorRule(
        AuthenticationError, False, "check the key, and that it belongs to the endpoint's region"
    ),
    "AccessDenied": _DENIED,
    "Model.AccessDenied": _DENIED,
    "Workspace.AccessDenied": _DENIED,
    "AccessDenied.Unpurchased": ErrorRule(VendorError, False, "activate the service for this account first"),
    "Arrearage": _BILLING,
    "PrepaidBillOverdue": _BILLING,
    "PostpaidBillOverdue": _BILLING,
    "CommodityNotPurchased": _BILLING,
    "AllocationQuota.FreeTierOnly": ErrorRule(VendorError, False, "the free quota is used up"),
    "ModelNotFound": ErrorRule(VendorError, False, "check the model's name and that the region has it"),
    "Model.NotExist": ErrorRule(VendorError, False, "check the model's name and that the region has it"),
    "WorkSpaceNotFound": ErrorRule(VendorError, False, "check the workspace id"),
    "NotFound": ErrorRule(VendorError, False, "check the hot-word list's id"),
    "InvalidParameter": ErrorRule(VendorError, False),
    "CLIENT_ERROR": ErrorRule(VendorError, False),
    "DataInspectionFailed": ErrorRule(VendorError, False, "the vendor's content check refused it"),
    "Throttling": _QUOTA,
    "LimitRequests": _QUOTA,
    "insufficient_quota": _QUOTA,
    "ResponseTimeout": _SILENT,
    "RequestTimeOut": _SILENT,
    "NO_VALID_AUDIO_ERROR": _NO_SPEECH,
    "NO_INPUT_AUDIO_ERROR": _NO_SPEECH,
    "UNSUPPORTED_FORMAT": _UNDECODABLE,
    "DECODE_ERROR": _UNDECODABLE,
    "SERVER_ERROR": SERVER_ERROR,
    "InternalError": SERVER_ERROR,
    "ServiceUnavailable": SERVER_ERROR,
    "ModelUnavailable": SERVER_ERROR,
}

_BY_STATUS: dict[int, ErrorRule] = {
    **SERVER_STATUSES,
    401: CODES["InvalidApiKey"],
    403: _DENIED,
    429: _QUOTA,
}
_EXPIRED = ErrorRule(
    AuthenticationError,
    False,
    "this temporary key has expired, or belongs to another region: make another with temporary_key(), "
    "or pass a function that does so as api_key=",
)
"""For InvalidApiKey with a temporary key: the service does not distinguish an expired key from a wrong one."""

NO_SPEECH_CODES = frozenset({"NO_VALID_AUDIO_ERROR", "NO_INPUT_AUDIO_ERROR"})
"""After finish-task: the audio was silent, or there was none (error page, 2026)."""


def error_from_code(
    code: str,
    message: str,
    *,
    request_id: str | None = None,
    status: int | None = None,
    retry_after: float | None = None,
    temporary_key: bool = False,
) -> ASRError:
    """Make the error for the code of a task-failed event, of a refused handshake or of a refused REST request."""
    rule = _rule(code, message, status)
    if temporary_key and rule is CODES["InvalidApiKey"]:
        rule = _EXPIRED
    code = code or ("" if status is None else str(status))
    text = message.strip() or f"DashScope refused with {code or 'no reason'}"
    return rule.make_error(text, vendor=VENDOR, code=code or None, request_id=request_id, retry_after=retry_after)


def _rule(code: str, message: str, status: int | None) -> ErrorRule:
    if code == "CLIENT_ERROR" and "timeout after 23 seconds" in message:
        return _NO_DATA
    # the remedy is the same for every code of a group: "InternalError.Algo", "Throttling.BurstRate"
    rule = CODES.get(code) or CODES.get(code.partition(".")[0])
    return rule_or_status(rule, status, _BY_STATUS)


def error_from_handshake(
    status: int, headers: Mapping[str, str], body: bytes, *, temporary_key: bool = False
) -> ASRError:
    """Make the error for an HTTP response that is not a switch to WebSocket."""
    return _error_from_http("handshake", status, headers, body, temporary_key=temporary_key)


def error_from_response(
    status: int, headers: Mapping[str, str], body: bytes, *, temporary_key: bool = False
) -> ASRError:
    """Make the error for a REST response with a status other than 200."""
    return _error_from_http("request", status, headers, body, temporary_key=temporary_key)


def _error_from_http(
    subject: str, status: int, headers: Mapping[str, str], body: bytes, *, temporary_key: bool
) -> ASRError:
    try:
        error_body = msgspec.json.decode(body, type=ErrorBody)
    except (msgspec.DecodeError, UnicodeDecodeError):
        error_body = ErrorBody()
    return error_from_code(
        error_body.code,
        error_body.message or f"the {subject} was refused with HTTP {status}",
        request_id=error_body.request_id,
        status=status,
        retry_after=parse_retry_after(headers),
        temporary_key=temporary_key,
    )
