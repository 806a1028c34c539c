"""The judgement of errors, by values: code, text and HTTP status become a class, a retry decision and a remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from asr_async import ASRError, AuthenticationError, RateLimitedError, VendorError
from asr_async.vendors.dashscope import errors as dashscope
from asr_async.vendors.error_rules import code_key, parse_retry_after
from asr_async.vendors.huawei import errors as huawei

NOW = datetime(2026, 11, 29, 12, 0, 0, tzinfo=UTC)

SERVER = (VendorError, True, "an error of the vendor; try again")
QUOTA = (RateLimitedError, True, "slow down, or have the quota raised")
EXHAUSTED = (VendorError, False, "the free quota is used up: switch 'use free tier only' off in the console, or choose")
BILLING = (VendorError, False, "settle the account's billing")
KEY = (AuthenticationError, False, "check the key, and that it belongs to the endpoint's region")
DENIED = (AuthenticationError, False, "the key has no right to this model or workspace")
WORKSPACE = (AuthenticationError, False, "check workspace= and endpoint=")
ENDPOINT = (AuthenticationError, False, "check that the key belongs to the workspace of the endpoint")
MODEL = (VendorError, False, "check the model's name and that the region has it")
NO_ADVICE = (VendorError, False, "")
PATH_404 = (VendorError, False, "check the region, the endpoint and its path, and the workspace")

Expected = tuple[type[ASRError], bool, str]


def check(error: ASRError, expected: Expected) -> None:
    assert (type(error), error.retryable) == expected[:2]
    assert expected[2] in str(error)
    assert str(error).isprintable()


# --- DashScope -------------------------------------------------------------------------------------------------------

# The headings of the vendor's error code page, with all spellings of each.
SPELLINGS: list[tuple[tuple[str, ...], str, Expected]] = [
    (("InvalidApiKey", "invalid_api_key"), "Incorrect API key provided.", KEY),
    (("NOT AUTHORIZED", "not_authorized"), "Access denied: Either you are not authorized to access this", WORKSPACE),
    (("invalid access token or token expired",), "", KEY),
    (("AccessDenied", "access_denied"), "Access denied.", DENIED),
    (("Model.AccessDenied", "model_access_denied"), "Model access denied.", DENIED),
    (("App.AccessDenied",), "App access denied.", DENIED),
    (("Workspace.AccessDenied",), "Workspace access denied.", DENIED),
    (("Endpoint.AccessDenied",), "Workspace endpoint access denied.", ENDPOINT),
    (("AccessDenied.Unpurchased",), "Please make sure you are eligible", (VendorError, False, "activate the service")),
    (("AllocationQuota.FreeTierOnly",), "The free tier of the model has been exhausted.", EXHAUSTED),
    (("ModelNotFound", "model_not_found", "Model.NotExist"), "Model can not be found.", MODEL),
    (("WorkSpaceNotFound",), "WorkSpace can not be found.", (VendorError, False, "check the workspace id")),
    (("NotFound", "not_found"), "Not found!", (VendorError, False, "check the hot-word list's id")),
    (("Throttling",), "Requests throttling triggered.", QUOTA),
    (("Throttling.RateQuota", "LimitRequests", "limit_requests"), "You have exceeded your request limit.", QUOTA),
    (("ResourceExhausted", "Too many requests"), "", QUOTA),
    (("Throttling.BurstRate", "limit_burst_rate"), "Request rate increased too quickly.", QUOTA),
    (("Throttling.Concurrency", "throttling_concurrency"), "Too many concurrent requests.", QUOTA),
    (("Throttling.AllocationQuota", "insufficient_quota"), "Allocated quota exceeded, please increase it.", QUOTA),
    (
        ("Throttling.AllocationQuota", "insufficient_quota"),
        "You exceeded your current quota, please check your plan and billing details.",
        QUOTA,
    ),
    (("Throttling.AllocationQuota", "insufficient_quota", ""), "Free allocated quota exceeded.", EXHAUSTED),
    (("CommodityNotPurchased",), "Commodity has not purchased yet.", BILLING),
    (("PrepaidBillOverdue", "prepaid_bill_overdue"), "The prepaid bill is overdue.", BILLING),
    (("PostpaidBillOverdue", "postpaid_bill_overdue"), "The postpaid bill is overdue.", BILLING),
    (("Arrearage", "arrearage"), "Access denied, please make sure your account is in good standing.", BILLING),
    (("AccessDenied", "access_denied", "Throttling"), "make sure your account is in good standing.", BILLING),
    (("InvalidParameter", "invalid_parameter_error"), "Try again later.", NO_ADVICE),
    (("DataInspectionFailed", "data_inspection_failed"), "", (VendorError, False, "the vendor's content check")),
    (("InternalError", "internal_error", "InternalError.Algo", "InternalError.Timeout"), "Oh.", SERVER),
    (("SystemError", "system_error", "SYSTEM_ERROR"), "", SERVER),
    (("MODEL_ERROR", "ModelError"), "", SERVER),
    (("SERVER_ERROR", "server_error", "ServerError"), "", SERVER),
    (("ModelServiceFailed", "ModelServingError", "ModelUnavailable", "model_unavailable"), "", SERVER),
    (("ServiceUnavailable", "service_unavailable"), "Too many requests.", SERVER),
    (("NO_VALID_AUDIO_ERROR", "no_valid_audio_error"), "", (VendorError, False, "only silence was sent")),
    (("DECODE_ERROR", "UNSUPPORTED_FORMAT"), "", (VendorError, False, "set `format` and `sample_rate`")),
    (("ResponseTimeout", "RequestTimeOut", "request_timeout"), "", (VendorError, True, "60 s without speech")),
    (("Throttling.BurstRate/limit_burst_rate",), "", QUOTA),
]


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [(code, message, expected) for codes, message, expected in SPELLINGS for code in codes],
)
def test_every_spelling_of_a_code_of_dashscope_has_the_same_rule(code: str, message: str, expected: Expected) -> None:
    for spelling in (code, code.upper(), code.lower()):
        check(dashscope.error_from_code(spelling, message), expected)
        for status in (None, 429):  # a code has precedence over the status
            check(handshake(status or 400, {"code": spelling, "message": message}), expected)


def handshake(status: int, body: Any, headers: dict[str, str] | None = None) -> ASRError:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return dashscope.error_from_response(status, headers or {}, content)


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        ("CLIENT_ERROR", "request timeout after 23 seconds.", (VendorError, True, "no audio was sent for 23 s")),
        ("client_error", "Request Timeout After 23 Seconds", (VendorError, True, "no audio was sent for 23 s")),
        ("CLIENT_ERROR", "task can not be null", NO_ADVICE),
        ("CLIENT_ERROR", "Requests rate limit exceeded, please try again later.", QUOTA),
        ("CLIENT_ERROR", "the sample rate limit is 16000", NO_ADVICE),
        ("", "Free allocated quota exceeded.", EXHAUSTED),
        ("", "FREE-ALLOCATED quota, exceeded", EXHAUSTED),
        ("", "您的账户已欠费", BILLING),
        ("", "Requests rate limit exceeded, please try again later.", QUOTA),
        ("", "Too many concurrent requests.", QUOTA),
        ("", "You exceeded your current requests list.", QUOTA),
        ("", "The message exceeds the maximum request size.", NO_ADVICE),
        ("", "Invalid API-key provided.", KEY),
        ("", "invalid access token or token expired.", KEY),
        ("", "Access denied.", DENIED),
        ("", "Model not found", MODEL),
        ("", "An internal error has occured, please try again later or contact service support.", SERVER),
        ("SomethingNew", "Failed to request model service: service unavailable.", SERVER),
        ("EngineFailure", "", SERVER),
        ("RateLimitExceeded", "", QUOTA),
        ("Something.Throttled", "", QUOTA),
        ("Widget.AccessDenied", "", DENIED),
        ("SomethingNew", "", NO_ADVICE),
        ("SomethingNew", "Please check the value and try again.", NO_ADVICE),
        ("500", "", SERVER),
        ("429", "", QUOTA),
        ("401", "", KEY),
        ("", "", NO_ADVICE),
    ],
)
def test_words_decide_where_dashscopes_code_says_nothing(code: str, message: str, expected: Expected) -> None:
    check(dashscope.error_from_code(code, message), expected)


NO_ANSWER = (VendorError, False, "this is no answer of the service: check the endpoint, its path and the proxy")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, NO_ANSWER),
        (302, NO_ANSWER),
        (400, NO_ADVICE),
        (401, KEY),
        (402, BILLING),
        (403, DENIED),
        (404, PATH_404),
        (408, SERVER),
        (418, NO_ADVICE),
        (429, QUOTA),
        (500, SERVER),
        (501, NO_ADVICE),
        (502, SERVER),
        (503, SERVER),
        (504, SERVER),
        (520, SERVER),
        (529, SERVER),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html></html>", b"\xff\xfe", b"{}", b"A page without meaning"])
def test_the_status_decides_where_neither_code_nor_words_do(status: int, expected: Expected, body: bytes) -> None:
    error = handshake(status, body)
    check(error, expected)
    assert error.code == str(status)
    assert f"HTTP {status}" in str(error)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            401,
            b"requested grant not found in SaaS storage: service not activated",
            (
                AuthenticationError,
                False,
                "HTTP 401: requested grant not found in SaaS storage: service not activated: ",
            ),
        ),
        (403, b"<html><body><h1>403 Forbidden</h1></body></html>", (AuthenticationError, False, "403 Forbidden")),
        (403, b"please try again later", DENIED),
        (404, b"try again later", PATH_404),
        (403, b'{"code":"","message":"Free allocated quota exceeded."}', EXHAUSTED),
        (429, b"free quota has been used up", EXHAUSTED),
        (502, b"<html><h1>502 Bad Gateway</h1></html>", SERVER),
        (401, b'{"error":{"code":"invalid_api_key","message":"Incorrect API key provided."}}', KEY),
        (429, b'{"error":{"type":"insufficient_quota","message":"Free allocated quota exceeded."}}', EXHAUSTED),
        (429, b'{"error":{"type":"insufficient_quota","message":"You exceeded your current quota"}}', QUOTA),
    ],
)
def test_the_text_of_a_refused_handshake_counts_before_its_status(status: int, body: bytes, expected: Expected) -> None:
    error = handshake(status, body)
    check(error, expected)
    assert error.raw == body.decode()


def test_a_long_text_is_shortened_and_whole_in_raw() -> None:
    error = handshake(400, {"code": "InvalidParameter", "message": "x" * 3_000})
    assert len(error.message) < 250
    assert error.raw is not None
    assert "x" * 3_000 in error.raw
    assert len(str(dashscope.error_from_code("C" * 500, "m" * 500))) < 400


def test_a_temporary_key_that_is_refused_by_its_text_alone_has_expired() -> None:
    error = dashscope.error_from_response(401, {}, b"Invalid API-key provided.", temporary_key=True)
    assert "this temporary key has expired" in str(error)


@pytest.mark.parametrize(
    ("error", "is_invalid"),
    [
        (handshake(401, {"code": "InvalidApiKey", "message": "No."}), True),
        (handshake(401, {"error": {"code": "invalid_api_key", "message": "No."}}), True),
        (handshake(401, b""), True),
        (handshake(403, b"token expired"), True),
        (dashscope.error_from_code("", "Invalid API-key provided."), True),
        (handshake(403, {"code": "access_denied", "message": "No."}), False),
        (handshake(401, {"code": "NOT AUTHORIZED", "message": "No."}), False),
        (handshake(403, b""), False),
    ],
)
def test_a_new_key_is_worth_it_only_if_the_key_itself_is_refused(error: ASRError, is_invalid: bool) -> None:
    assert isinstance(error, AuthenticationError)
    assert dashscope.is_invalid_key(error) is is_invalid


def test_no_two_rules_of_dashscope_claim_one_spelling() -> None:
    keys = [code_key(code) for code in dashscope.CODES]
    for key in {key for key in keys if keys.count(key) > 1}:
        rules = {id(rule) for code, rule in dashscope.CODES.items() if code_key(code) == key}
        assert len(rules) == 1


# --- Huawei ----------------------------------------------------------------------------------------------------------

THROTTLED = (RateLimitedError, True, "slow down and try again")
KEYS = (AuthenticationError, False, "check the keys or the token, the region and the project")
NO_RIGHT = (AuthenticationError, False, "the account has no right to this service or project")
NOT_FOUND = (VendorError, False, "check the endpoint, its path, the region and the project id")
OPTIONS = (VendorError, False, "check the options")


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        ("SIS.0312", "", (RateLimitedError, True, "too many sessions at once: try again after 2 to 5 seconds")),
        ("sis.0312", "", (RateLimitedError, True, "too many sessions at once")),
        ("SIS_0312", "", (RateLimitedError, True, "too many sessions at once")),
        ("SIS.0001", "", SERVER),
        ("SIS.0033", "", SERVER),
        ("SIS.0032", "'audio_format' is invalid", OPTIONS),
        ("SIS.0101", "", (AuthenticationError, False, "request a new token")),
        ("APIG.0301", "verify aksk signature fail", KEYS),
        ("apigw.0301", "", KEYS),
        ("APIGW.0303", "", KEYS),
        ("APIGW.0302", "", NO_RIGHT),
        ("APIG.0306", "API access denied.", NO_RIGHT),
        ("APIGW.0402", "", (AuthenticationError, False, "this machine's address is not admitted")),
        ("APIG.0308", "", THROTTLED),
        ("APIGW.0101", "", NOT_FOUND),
        ("APIGW.0501", "The app quota has been used up.", (VendorError, False, "the quota is used up")),
        ("APIGW.0502", "", (VendorError, False, "settle the account's billing")),
        ("APIG.0611", "", SERVER),
        ("SIS.0312", "the account is in arrears", (VendorError, False, "settle the account's billing")),
        ("", "requests are throttled", THROTTLED),
        ("", "Internal server error", SERVER),
        ("", "verify aksk signature fail", KEYS),
        ("", "permission denied", NO_RIGHT),
        ("", "service not activated", (AuthenticationError, False, "activate the service for this account and region")),
        ("SIS.9999", "", NO_ADVICE),
    ],
)
def test_codes_and_words_of_huawei(code: str, message: str, expected: Expected) -> None:
    check(huawei.error_from_code(code, message), expected)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, NO_ANSWER),
        (400, OPTIONS),
        (401, KEYS),
        (403, NO_RIGHT),
        (404, NOT_FOUND),
        (408, SERVER),
        (429, THROTTLED),
        (500, SERVER),
        (502, SERVER),
        (529, SERVER),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html></html>", b"\xff\xfe", b"{}", b"A page without meaning"])
def test_the_status_decides_where_huawei_says_nothing(status: int, expected: Expected, body: bytes) -> None:
    error = huawei.error_from_response(status, {}, body)
    check(error, expected)
    assert f"HTTP {status}" in str(error)


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [(400, "API request error.", OPTIONS), (413, "Request entity too large.", NO_ADVICE), (504, "Timeout.", SERVER)],
)
def test_the_gateways_one_code_for_bad_requests_and_timeouts_is_judged_by_its_status(
    status: int, text: str, expected: Expected
) -> None:
    body = json.dumps({"error_code": "APIGW.0201", "error_msg": text}).encode()
    check(huawei.error_from_response(status, {}, body), expected)


def test_the_text_of_iam_is_in_the_error_in_any_form() -> None:
    error = huawei.error_from_iam(403, {"x-iam-trace-id": "t-1"}, b"<html><h1>Blocked by policy</h1></html>")
    check(error, NO_RIGHT)
    assert str(error).startswith("HTTP 403 from IAM: Blocked by policy: the account has no right")
    assert (error.request_id, error.raw) == ("t-1", "<html><h1>Blocked by policy</h1></html>")


# --- Retry-After -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        (" 3 ", 3.0),
        ("2.5", 2.5),
        (".5", 0.5),
        ("0", 0.0),
        ("-7", 0.0),
        ("1e9", None),
        ("9" * 400, 3_600.0),
        ("99999999", 3_600.0),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        ("\u0663", None),
        ("Sun, 29 Nov 2026 12:00:07 GMT", 7.0),
        ("Sunday, 29-Nov-26 12:00:07 GMT", 7.0),
        ("Sun Nov 29 12:00:07 2026", 7.0),
        ("Sun, 29 Nov 2026 11:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3_600.0),
        ("Sun, 99 Nov 2026 12:00:07 GMT", None),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
    ],
)
def test_retry_after_is_a_number_or_a_date_and_bounded(value: str, seconds: float | None) -> None:
    assert parse_retry_after({"retry-after": value}, now=NOW) == seconds


def test_a_date_is_compared_with_the_vendors_own_clock_if_the_response_has_it() -> None:
    headers = {"Retry-After": "Sun, 29 Nov 2026 10:00:30 GMT", "Date": "Sun, 29 Nov 2026 10:00:00 GMT"}
    assert parse_retry_after(headers, now=NOW) == 30.0
    assert parse_retry_after(headers) == 30.0
    assert parse_retry_after({"Retry-After": headers["Retry-After"]}) is None


@pytest.mark.parametrize("refuse", [dashscope.error_from_response, huawei.error_from_response])
def test_both_vendors_take_the_wait_from_the_header(refuse: Callable[..., ASRError]) -> None:
    headers = {"retry-after": "Sun, 29 Nov 2026 12:00:07 GMT"}
    error = refuse(429, headers, b"", clock=lambda: NOW)
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == 7.0
