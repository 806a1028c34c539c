"""The error tree: builtin base classes, texts and attributes."""

from __future__ import annotations

import pytest

import asr_async
from asr_async import ASRError, RateLimitedError, RemoteProtocolError, VendorError


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ConfigurationError", ValueError),
        ("DeadlineError", TimeoutError),
        ("ConnectionLostError", ConnectionError),
    ],
)
def test_an_error_is_also_the_matching_builtin(name: str, builtin: type[Exception]) -> None:
    assert issubclass(getattr(asr_async, name), builtin)


def test_all_errors_are_subclasses_of_asr_error() -> None:
    errors = [getattr(asr_async, name) for name in asr_async.__all__ if name.endswith("Error")]
    assert len(errors) == 11
    assert all(issubclass(error, ASRError) for error in errors)


def test_the_text_includes_the_code_and_the_request_id() -> None:
    error = VendorError("it broke: try again", retryable=True, code="InternalError", request_id="r-1", vendor="v")
    assert str(error) == "it broke: try again (code InternalError, request r-1)"
    assert (error.retryable, error.vendor) == (True, "v")


@pytest.mark.parametrize("error_class", [VendorError, RateLimitedError, RemoteProtocolError])
def test_raw_holds_the_vendors_words_as_they_came_but_not_without_a_bound(error_class: type[ASRError]) -> None:
    assert error_class("it broke", raw='{"message":\n"\x1b[31m"}').raw == '{"message":\n"\x1b[31m"}'
    assert error_class("it broke", raw="x" * 5_000).raw == "x" * 4_096
    assert error_class("it broke", raw="").raw is None
    assert error_class("it broke").raw is None


@pytest.mark.parametrize("error_class", [VendorError, RateLimitedError, RemoteProtocolError])
def test_the_http_status_is_a_number_beside_the_vendors_code(error_class: type[ASRError]) -> None:
    error = error_class("slower", code="Throttling.RateQuota", status=429)
    assert (error.code, error.status) == ("Throttling.RateQuota", 429)
    assert error_class("it broke", code="1006").status is None


def test_a_text_is_one_line_without_control_characters_whatever_the_vendor_sends() -> None:
    error = VendorError("a\nb\x1b[31m\u2028c\ud800", code="X\r\nY", request_id="r\x00")
    assert str(error) == "a b [31m c  (code X Y, request r )"
    assert (error.message, error.args) == ("a b [31m c ", ("a b [31m c ",))


def test_a_rate_limit_is_always_retryable() -> None:
    assert RateLimitedError("slower", retry_after=2.0).retryable
