"""The decision what follows from the failure of a source."""

from __future__ import annotations

import pytest

from asr_async import (
    ASRError,
    AudioLostError,
    AuthenticationError,
    ConfigurationError,
    ConnectionLostError,
    DeadlineError,
    LocalProtocolError,
    RateLimitedError,
    RemoteProtocolError,
    VendorError,
)
from asr_async.batch import StorageError
from asr_async.batch.failures import LONGEST_DELAY_S, Verdict, retry_delay_s, verdict_of
from asr_async.vendors.dashscope.errors import error_from_code as dashscope_error
from asr_async.vendors.huawei.errors import error_from_code as huawei_error


@pytest.mark.parametrize(
    ("verdict", "errors"),
    [
        (
            Verdict.STOP,
            [
                StorageError("the disk is full"),
                AuthenticationError("no key"),
                dashscope_error("Arrearage", "Access denied, your account is overdue."),
                dashscope_error("ModelNotFound", "Model not exist."),
                dashscope_error("Throttling.AllocationQuota", "Free allocated quota exceeded."),
                huawei_error("APIGW.0502", "the account is in arrears"),
            ],
        ),
        (Verdict.WAIT, [RateLimitedError("slower"), dashscope_error("Throttling.RateQuota", "")]),
        (
            Verdict.POISON,
            [
                ConfigurationError("it is no audio"),
                VendorError("it cannot be decoded"),
                LocalProtocolError("a bug"),
                FileNotFoundError(2, "No such file or directory"),
                PermissionError(13, "Permission denied"),
                ZeroDivisionError(),
            ],
        ),
        (
            Verdict.RETRY,
            [
                AudioLostError("lost", start_ms=0, end_ms=100),
                ConnectionLostError("the line is down"),
                DeadlineError("nothing came"),
                RemoteProtocolError("garbage"),
                VendorError("busy", retryable=True),
                dashscope_error("InternalError", "it broke"),
                TimeoutError(),
                OSError(5, "Input/output error"),
            ],
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Verdict) else "",
)
def test_the_kind_of_a_failure_decides(verdict: Verdict, errors: list[Exception]) -> None:
    assert {repr(error): verdict_of(error) for error in errors} == {repr(error): verdict for error in errors}


def test_the_delay_doubles_up_to_its_limit() -> None:
    assert [retry_delay_s(attempts) for attempts in (1, 2, 3)] == [5, 10, 20]
    assert retry_delay_s(50) == LONGEST_DELAY_S


def test_an_error_says_whether_it_concerns_the_account() -> None:
    assert AuthenticationError("no key").concerns_account
    assert not ASRError("it broke").concerns_account
