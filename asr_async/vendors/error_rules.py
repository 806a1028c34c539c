"""What a vendor's error code means, and the error that is made of it; the tables of codes are each vendor's own."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..errors import ASRError, RateLimitedError

__all__ = ["ErrorRule", "parse_retry_after"]


class ErrorRule(msgspec.Struct, frozen=True):
    """What a code means: the class to raise, whether to try again, and what to do about it."""

    error_class: type[ASRError]
    retryable: bool
    advice: str = ""

    def error(
        self,
        text: str,
        *,
        vendor: str,
        code: str | None,
        request_id: str | None,
        retry_after: float | None,
    ) -> ASRError:
        """Make the error: the vendor's words in one line, and the advice behind them."""
        text = " ".join(text.split())
        if self.advice:
            text = f"{text.rstrip('.!')}: {self.advice}"
        if self.error_class is RateLimitedError:
            return RateLimitedError(text, retry_after=retry_after, code=code, request_id=request_id, vendor=vendor)
        return self.error_class(text, retryable=self.retryable, code=code, request_id=request_id, vendor=vendor)


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """What a Retry-After header asks for in seconds; None where there is none, or it holds a date."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None
