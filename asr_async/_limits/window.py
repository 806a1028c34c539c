"""A sliding window: the delay before the next start, so that no second holds more starts than the limit.

Does not know clocks or tasks: instants are arguments, in seconds of a clock that never goes back.
"""

from __future__ import annotations

from collections import deque

__all__ = ["WINDOW_S", "SlidingWindow"]

WINDOW_S = 1.05
"""A second as the vendor counts it, plus the difference that the network may make between the delays of two starts:
starts that are sent this far apart arrive in different seconds."""


class SlidingWindow:
    """The instants of the starts in the last second."""

    def __init__(self) -> None:
        self._starts: deque[float] = deque()

    def __repr__(self) -> str:
        return f"<SlidingWindow {len(self._starts)} starts>"

    def count(self, now: float) -> int:
        """Return the number of starts in the last second."""
        while self._starts and self._starts[0] + WINDOW_S <= now:
            self._starts.popleft()
        return len(self._starts)

    def wait_s(self, now: float, per_second: int | None) -> float:
        """Return the time until the next start is within the limit, or 0 if it is now. None is no limit."""
        if per_second is None or self.count(now) < per_second:
            return 0.0
        return self._starts[-per_second] + WINDOW_S - now

    def record_start(self, now: float) -> None:
        """Record a start."""
        self.count(now)  # removes old starts, also when there is no limit and `wait_s` does not count
        self._starts.append(now)
