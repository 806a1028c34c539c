"""DashScope's error codes as data, and what a caller should make of each.

Sources: the platform's error code page ("错误信息", read 2026), the questions and answers of its public speech demo
repository, and third-party reports; whether to try again is this project's judgement. Beware: some billing faults
arrive as HTTP 429 and never go away by waiting, so the code decides before the status does.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ...errors import ASRError, AuthenticationError, RateLimitedError, VendorError
from ..error_rules import ErrorRule, parse_retry_after
from .rest_wire import ErrorBody

__all__ = ["NO_SPEECH_CODES", "error_from_code", "error_from_handshake", "error_from_response"]

VENDOR = "dashscope"


_BILLING = ErrorRule(VendorError, False, "see to the account's billing")
_QUOTA = ErrorRule(RateLimitedError, True, "slow down, or have the quota raised")
_DENIED = ErrorRule(AuthenticationError, False, "the key has no right to this model or workspace")
_SERVER = ErrorRule(VendorError, True, "the vendor's side; try again")
_UNDECODABLE = ErrorRule(VendorError, False, "make `format` and `sample_rate` say what the audio really is")
_NO_SPEECH = ErrorRule(VendorError, False, "only silence was sent, or audio of another format than declared")
_SILENT = ErrorRule(VendorError, True, "60 s without speech: set heartbeat=True to stay through silence")
_NO_DATA = ErrorRule(VendorError, True, "nothing was sent for 23 s: go on sending, silence if need be")

CODES: dict[str, ErrorRule] = {
    "InvalidApiKey": ErrorRule(AuthenticationError, False, "check the key and that it is of the endpoint's region"),
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
    "SERVER_ERROR": _SERVER,
    "InternalError": _SERVER,
    "ServiceUnavailable": _SERVER,
    "ModelUnavailable": _SERVER,
}

_BY_STATUS: dict[int, ErrorRule] = {
    401: CODES["InvalidApiKey"],
    403: _DENIED,
    408: _SERVER,
    429: _QUOTA,
    500: _SERVER,
    502: _SERVER,
    503: _SERVER,
    504: _SERVER,
}
_UNKNOWN = ErrorRule(VendorError, False)
_EXPIRED = ErrorRule(
    AuthenticationError,
    False,
    "this temporary key has expired, or is of another region: get another with temporary_key(), "
    "or give api_key= a function that does",
)
"""For InvalidApiKey where the key was a temporary one: the service does not tell an expired key from a wrong one."""


NO_SPEECH_CODES = frozenset({"NO_VALID_AUDIO_ERROR", "NO_INPUT_AUDIO_ERROR"})
"""After finish-task: silence, or nothing at all, was sent (error page, 2026)."""


def error_from_code(
    code: str,
    message: str,
    *,
    request_id: str | None = None,
    status: int | None = None,
    retry_after: float | None = None,
    temporary_key: bool = False,
) -> ASRError:
    """Make the error for a code of a task-failed event, of a refused handshake or of a refused REST request."""
    verdict = _verdict(code, message, status)
    if temporary_key and verdict is CODES["InvalidApiKey"]:
        verdict = _EXPIRED
    code = code or ("" if status is None else str(status))
    text = message.strip() or f"DashScope refused with {code or 'no reason'}"
    return verdict.error(text, vendor=VENDOR, code=code or None, request_id=request_id, retry_after=retry_after)


def _verdict(code: str, message: str, status: int | None) -> ErrorRule:
    if code == "CLIENT_ERROR" and "timeout after 23 seconds" in message:
        return _NO_DATA
    # "InternalError.Algo" and "Throttling.BurstRate" are told apart by the vendor, not by what there is to do
    verdict = CODES.get(code) or CODES.get(code.partition(".")[0])
    if verdict is None and status is not None:
        return _BY_STATUS.get(status, _UNKNOWN)
    return verdict or _UNKNOWN


def error_from_handshake(
    status: int, headers: Mapping[str, str], body: bytes, *, temporary_key: bool = False
) -> ASRError:
    """Make the error for an HTTP answer that was not a switch to WebSocket."""
    return _error_from_http("handshake", status, headers, body, temporary_key=temporary_key)


def error_from_response(
    status: int, headers: Mapping[str, str], body: bytes, *, temporary_key: bool = False
) -> ASRError:
    """Make the error for a REST answer that was not 200."""
    return _error_from_http("request", status, headers, body, temporary_key=temporary_key)


def _error_from_http(
    what: str, status: int, headers: Mapping[str, str], body: bytes, *, temporary_key: bool
) -> ASRError:
    try:
        refusal = msgspec.json.decode(body, type=ErrorBody)
    except (msgspec.DecodeError, UnicodeDecodeError):
        refusal = ErrorBody()
    return error_from_code(
        refusal.code,
        refusal.message or f"the {what} was refused with HTTP {status}",
        request_id=refusal.request_id,
        status=status,
        retry_after=parse_retry_after(headers),
        temporary_key=temporary_key,
    )
