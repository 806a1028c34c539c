"""A circuit breaker: decides if a service that failed is tried again, or left alone for a while.

A breaker is *closed* (attempts are allowed), *open* (they are not), or *half-open* (the open period is over, and one
attempt is allowed as a trial).

- A task that cannot be opened opens the breaker at once: for a second at first, and twice as long each time. A single
  refusal among thousands costs next to nothing, and during an outage there are few attempts.
- A lost connection may be an accident: the third failure in a row without a final result opens the breaker.
- An error that a retry cannot solve (a wrong key) opens it for ten times the longest period.
- The first final result of a connection closes it. A task that could be opened proves little.

Does not know clocks or connections: instants are arguments, in seconds of any clock.
"""

from __future__ import annotations

from ..errors import ASRError
from .backoff import backoff_delay_s, requested_delay_s

__all__ = ["CircuitBreaker"]

FIRST_OPEN_S = 1.0
PERMANENT_ERROR_FACTOR = 10.0

MAX_ACCIDENTS = 2
"""Failures in a row, the last of them a lost connection, that may be accidents. One more opens the breaker."""


class CircuitBreaker:
    """The circuit breaker of one service.

    Args:
        cooldown_s: the longest open period after an error that a retry may solve, unless the vendor requests a longer
            delay.
    """

    def __init__(self, cooldown_s: float) -> None:
        self._cooldown_s = cooldown_s
        self._failures = 0
        self._open_for_s = 0.0
        # None: closed
        self._open_until: float | None = None
        self.failed_at = float("-inf")
        """The instant of the last failure."""

    def __repr__(self) -> str:
        return "<CircuitBreaker closed>" if self.is_closed else f"<CircuitBreaker open for {self._open_for_s:g} s>"

    @property
    def is_closed(self) -> bool:
        """True if the breaker is closed; a half-open breaker is not."""
        return self._open_until is None

    @property
    def open_for_s(self) -> float:
        """The length of the last open period."""
        return self._open_for_s

    def is_open(self, now: float) -> bool:
        """Return True if attempts are not allowed; a half-open breaker is not open."""
        return self.retry_in_s(now) > 0

    def retry_in_s(self, now: float) -> float:
        """Return the time until an attempt is allowed, or 0 if it is."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - now)

    def allow(self, now: float) -> bool:
        """Return True if an attempt may be made now.

        A half-open breaker allows one trial and opens for as long again, so it allows the next one if nothing is
        recorded for the first.
        """
        if self.is_open(now):
            return False
        if self._open_until is not None:
            self._open_until = now + self._open_for_s
        return True

    def record_failure(self, now: float, error: ASRError, *, task_was_open: bool) -> None:
        """Record that a task could not be opened, or that an open task was lost (`task_was_open`)."""
        self._failures += 1
        self.failed_at = now
        may_be_accident = task_was_open and error.retryable and self._failures <= MAX_ACCIDENTS
        if self.is_closed and may_be_accident:
            return
        self._open_for_s = self._open_period_s(error)
        self._open_until = now + self._open_for_s

    def record_success(self) -> None:
        """Record the first final result of a connection: close the breaker."""
        self._failures = 0
        self._open_until = None

    def _open_period_s(self, error: ASRError) -> float:
        if not error.retryable:
            return PERMANENT_ERROR_FACTOR * self._cooldown_s
        return backoff_delay_s(
            self._failures - 1,
            first_s=FIRST_OPEN_S,
            longest_s=self._cooldown_s,
            requested_s=requested_delay_s(error),
        )
