"""When the next start may be: a window that moves, and a rest after the vendor has said that it is too much.

Pure rules: instants are arguments, in seconds of a clock that never goes back.
"""

from __future__ import annotations

from collections import deque

__all__ = ["WINDOW_S", "RefusalBackoff", "SlidingWindow"]

WINDOW_S = 1.05
"""A second as the vendor counts it, and what the network may add to one start's way more than to another's: starts that
leave so far apart arrive in different seconds."""

FIRST_REST_S = 1.0
GROWTH = 2.0
LONGEST_REST_S = 30.0
"""After a refusal that names no time, and twice as long each time that a start behind the rest is refused again. The
numbers are this project's: the one document that has any asks for 2 to 5 seconds (Huawei's FAQ)."""

MAX_COUNTED = 16
"""Where the counting of refusals ends: the rest is the longest one long before."""


class SlidingWindow:
    """The instants of the last second's starts; in any second there are no more than the limit."""

    def __init__(self) -> None:
        self._starts: deque[float] = deque()

    def __repr__(self) -> str:
        return f"<SlidingWindow {len(self._starts)} starts>"

    def count(self, now: float) -> int:
        """How many starts there were within the last second."""
        while self._starts and self._starts[0] + WINDOW_S <= now:
            self._starts.popleft()
        return len(self._starts)

    def wait_s(self, now: float, per_second: int | None) -> float:
        """How long the next start has to wait; 0 when it may be now. None takes any number."""
        if per_second is None or self.count(now) < per_second:
            return 0.0
        return self._starts[-per_second] + WINDOW_S - now

    def record_start(self, now: float) -> None:
        """There is a start now."""
        self.count(now)  # drops those that are over, also where nobody asks how long to wait
        self._starts.append(now)


class RefusalBackoff:
    """How long nobody starts, after the vendor refused because of too many sessions or starts."""

    def __init__(self) -> None:
        self._refusals = 0
        self._refused_at = float("-inf")
        self._ends_at = float("-inf")

    def __repr__(self) -> str:
        return f"<RefusalBackoff {self._refusals} refusals>"

    def remaining_s(self, now: float) -> float:
        """How long nobody is to start; 0 when all may."""
        return max(0.0, self._ends_at - now)

    def record_refusal(self, now: float, began_at: float, requested_s: float | None) -> float:
        """The vendor refused a start for being too much; how long all rest now.

        Args:
            now: when it was heard.
            began_at: when the start was made. One that was under way when an earlier refusal came says nothing new, nor
                does one that is heard while all rest: twenty refusals together are one reason to slow down, not twenty.
            requested_s: how long the vendor asks to wait; None where it does not say.
        """
        if began_at > self._refused_at and now >= self._ends_at:
            self._refusals = min(self._refusals + 1, MAX_COUNTED)
            self._refused_at = now
            own_s = min(LONGEST_REST_S, FIRST_REST_S * GROWTH ** (self._refusals - 1))
            self._ends_at = max(self._ends_at, now + (own_s if requested_s is None else requested_s))
        elif requested_s is not None:
            self._ends_at = max(self._ends_at, now + requested_s)
        return self.remaining_s(now)

    def record_start(self, began_at: float) -> None:
        """The vendor took a start; one that was made before the last refusal says nothing about now."""
        if began_at > self._refused_at:
            self._refusals = 0
