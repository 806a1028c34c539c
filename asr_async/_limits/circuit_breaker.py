"""Whether somebody who failed should be asked again, or left alone for a while.

A circuit is closed (asked), open (left alone) or half-open: the time is over, and one is let through to try. Failing
to open a task opens it at once, for a second at first and twice as long each time, so that one refusal among thousands
costs nothing and an outage is asked about rarely. A connection that is lost may just be cut: the third in a row without
any final result opens the circuit. An error that trying again does not mend (a wrong key) opens it for ten times the
longest rest. The first final result of a connection closes it; that a task can be opened proves little.

Pure rules: instants are arguments, in seconds of whatever clock.
"""

from __future__ import annotations

from ..errors import ASRError, RateLimitedError

__all__ = ["CircuitBreaker"]

FIRST_REST_S = 1.0
GROWTH = 2.0
HOPELESS_FACTOR = 10.0

LOSSES = 3
"""Failures in a row, the last of them a lost connection, that are no accident any more."""

MAX_COUNTED = 32
"""Where the counting ends: the rest is the longest one long before."""


class CircuitBreaker:
    """What is known of one member's health."""

    def __init__(self, cooldown_s: float) -> None:
        """Rest for so long at most, but for what cannot be mended, and what the vendor asks for."""
        self._cooldown_s = cooldown_s
        self._failures = 0
        self._open_for_s = 0.0
        # None: closed
        self._open_until: float | None = None
        self.failed_at = float("-inf")

    def __repr__(self) -> str:
        return "<CircuitBreaker closed>" if self.is_closed else f"<CircuitBreaker open for {self._open_for_s:g} s>"

    @property
    def is_closed(self) -> bool:
        """Whether nothing speaks against asking."""
        return self._open_until is None

    @property
    def open_for_s(self) -> float:
        """How long the present rest is in all."""
        return self._open_for_s

    def is_open(self, now: float) -> bool:
        """Whether to leave it alone."""
        return self.retry_in_s(now) > 0

    def retry_in_s(self, now: float) -> float:
        """How long to leave it alone; 0 when it may be asked."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - now)

    def allow(self, now: float) -> bool:
        """Whether to ask now. Behind a rest only the first who wants to know; others after as long a time again."""
        if self.is_open(now):
            return False
        if self._open_until is not None:
            self._open_until = now + self._open_for_s
        return True

    def record_failure(self, now: float, error: ASRError, *, task_was_open: bool) -> None:
        """A task could not be opened, or (`task_was_open`) an open one was lost."""
        self._failures = min(self._failures + 1, MAX_COUNTED)
        self.failed_at = now
        may_be_accident = task_was_open and error.retryable and self._failures < LOSSES
        if self.is_closed and may_be_accident:
            return
        self._open_for_s = self._delay_s(error)
        self._open_until = now + self._open_for_s

    def record_success(self) -> None:
        """A connection gave its first final result."""
        self._failures = 0
        self._open_until = None

    def _delay_s(self, error: ASRError) -> float:
        if not error.retryable:
            return HOPELESS_FACTOR * self._cooldown_s
        asked_s = (error.retry_after if isinstance(error, RateLimitedError) else None) or 0.0
        return max(asked_s, min(self._cooldown_s, FIRST_REST_S * GROWTH ** (self._failures - 1)))
