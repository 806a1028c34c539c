"""The rule for a vendor's error code, and the error that is made from it.

The tables of codes are in each vendor's folder. Does not know a vendor, nor whether a retry follows.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..errors import ASRError, RateLimitedError, VendorError

__all__ = ["SERVER_ERROR", "SERVER_STATUSES", "ErrorRule", "parse_retry_after", "rule_or_status"]


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


SERVER_ERROR = ErrorRule(VendorError, True, "an error of the vendor; try again")
"""The rule for an error on the vendor's side."""

SERVER_STATUSES: Mapping[int, ErrorRule] = dict.fromkeys((408, 500, 502, 503, 504), SERVER_ERROR)
"""The HTTP statuses of such an error, for every vendor."""

_UNKNOWN = ErrorRule(VendorError, False)


def rule_or_status(rule: ErrorRule | None, status: int | None, by_status: Mapping[int, ErrorRule]) -> ErrorRule:
    """Return the rule of a vendor's code, which has precedence over the HTTP status.

    Args:
        rule: the rule of the code; None if the code is unknown.
        status: the HTTP status; None for a WebSocket message.
        by_status: the vendor's rules for responses without a known code.
    """
    if rule is not None:
        return rule
    return _UNKNOWN if status is None else by_status.get(status, _UNKNOWN)


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After header; None if there is no such header, or if it holds a date."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None
