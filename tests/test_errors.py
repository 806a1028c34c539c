"""The error tree: builtin base classes, texts and attributes."""

from __future__ import annotations

import pytest

import asr_async
from asr_async import ASRError, RateLimitedError, VendorError


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


def test_a_rate_limit_is_always_retryable() -> None:
    assert RateLimitedError("slower", retry_after=2.0).retryable
