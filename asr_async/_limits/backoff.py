"""Exponential backoff: the delay before the next attempt, which doubles with each failure up to a longest delay.

`backoff_delay_s` is the only formula in the package: the circuit breaker, the reconnects of a session, and the rate
limiters, which share one `RateLimitBackoff` among all sessions of an account and model.

Does not know clocks, random numbers or connections: instants are arguments, in seconds of a clock that never goes back.
"""

from __future__ import annotations

from ..errors import ASRError, RateLimitedError

__all__ = ["RateLimitBackoff", "backoff_delay_s", "requested_delay_s"]

GROWTH = 2.0

MAX_EXPONENT = 64
"""The exponent at which the delay stops growing. Any sensible longest delay is reached long before; at 1,024 the float
would overflow."""

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 30.0
"""The delays after a refusal that names none. The numbers are this project's: the one document that has any asks for 2
to 5 seconds (Huawei's FAQ)."""


def backoff_delay_s(
    attempt: int, *, first_s: float, longest_s: float, jitter: float = 1.0, requested_s: float | None = None
) -> float:
    """Return the delay before the next attempt.

    Args:
        attempt: the number of the next attempt, from 0: the one after the first failure.
        first_s: the delay before attempt 0.
        longest_s: the upper bound of the growth.
        jitter: the fraction of the delay to wait, from 0 to 1. With a random number, many clients that fail together
            do not return together.
        requested_s: the delay that the vendor requests, if any: a lower bound, also above `longest_s`.
    """
    delay_s = jitter * min(longest_s, first_s * GROWTH ** min(attempt, MAX_EXPONENT))
    return delay_s if requested_s is None else max(delay_s, requested_s)


def requested_delay_s(error: ASRError) -> float | None:
    """Return the delay that the vendor requests with an error, or None if it requests none."""
    return error.retry_after if isinstance(error, RateLimitedError) else None


class RateLimitBackoff:
    """The backoff after the vendor refused a start because of too many sessions or starts."""

    def __init__(self) -> None:
        self._refusals = 0
        self._refused_at = float("-inf")
        self._ends_at = float("-inf")

    def __repr__(self) -> str:
        return f"<RateLimitBackoff {self._refusals} refusals>"

    def remaining_s(self, now: float) -> float:
        """Return the time until starts are allowed again, or 0 if they are."""
        return max(0.0, self._ends_at - now)

    def record_refusal(self, now: float, began_at: float, requested_s: float | None) -> float:
        """Record that the vendor refused a start, and return the time until starts are allowed again.

        Only a start that was made after the last refusal, and is refused after the backoff that followed, doubles the
        delay: twenty refusals that arrive together are one reason to slow down, not twenty.

        Args:
            now: the instant at which the refusal arrived.
            began_at: the instant at which the start was made.
            requested_s: the delay that the vendor requests, which replaces the growing one; None if it requests none.
        """
        if began_at > self._refused_at and now >= self._ends_at:
            delay_s = requested_s
            if delay_s is None:
                delay_s = backoff_delay_s(self._refusals, first_s=FIRST_DELAY_S, longest_s=LONGEST_DELAY_S)
            self._refusals += 1
            self._refused_at = now
            self._ends_at = max(self._ends_at, now + delay_s)
        elif requested_s is not None:
            self._ends_at = max(self._ends_at, now + requested_s)
        return self.remaining_s(now)

    def record_start(self, began_at: float) -> None:
        """Record that the vendor accepted a start: the next refusal begins with the first delay.

        A start that was made before the last refusal proves nothing about the time after it.

        Args:
            began_at: the instant at which the start was made.
        """
        if began_at > self._refused_at:
            self._refusals = 0
