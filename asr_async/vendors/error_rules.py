"""The rule for a vendor's error code, and the error that is made from it.

The tables of codes are in each vendor's folder. Does not know a vendor, nor whether a retry follows.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..errors import ASRError, RateLimitedError

__all__ = ["ErrorRule", "parse_retry_after"]


class ErrorRule(msgspec.Struct, frozen=True):
    """The meaning of an error code."""

    error_class: type[ASRError]
    retryable: bool
    """True if the same request may succeed later."""
    advice: str = ""
    """The remedy, for the end of the error text; empty if none is known."""

    def make_error(
        self,
        text: str,
        *,
        vendor: str,
        code: str | None,
        request_id: str | None,
        retry_after: float | None,
    ) -> ASRError:
        """Return the error: the vendor's text in one line, with the advice behind it."""
        text = " ".join(text.split())
        if self.advice:
            text = f"{text.rstrip('.!')}: {self.advice}"
        if self.error_class is RateLimitedError:
            return RateLimitedError(text, retry_after=retry_after, code=code, request_id=request_id, vendor=vendor)
        return self.error_class(text, retryable=self.retryable, code=code, request_id=request_id, vendor=vendor)


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After header; None if there is no such header, or if it holds a date."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None
