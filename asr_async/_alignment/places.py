"""The exactness of a vendor's times, and the places that are the same but for that.

Does not know words, results or segments.
"""

from __future__ import annotations

__all__ = ["DOUBT_MS", "JITTER_MS", "SAME_MS", "is_same_place"]

JITTER_MS = 100
"""The vendors' times are as exact as a frame of audio."""

SAME_MS = 2 * JITTER_MS
"""Two reports of one time differ by no more: each has its own jitter."""


DOUBT_MS = 2 * SAME_MS
"""Two reports that differ by more are not about one time, however inexact a vendor is: the finals of some are off by
more than their interims. Nothing is left out for such a distance alone, but what may be a repeat is marked."""


def is_same_place(start_ms: int, end_ms: int, other_start_ms: int, other_end_ms: int) -> bool:
    """Return True if two places of equal words are one place, reported twice.

    The same short word may be spoken twice: its places are then as far apart as it is long. But two words are not of
    the same length to the millisecond, and the times of one message are off by the same value.
    """
    distance_ms = abs(start_ms - other_start_ms)
    if distance_ms > SAME_MS or start_ms >= other_end_ms or other_start_ms >= end_ms:
        return False
    length_ms = other_end_ms - other_start_ms
    if end_ms - start_ms == length_ms:
        return True
    near_ms = min(SAME_MS, length_ms // 3)
    return distance_ms <= near_ms and abs(end_ms - other_end_ms) <= near_ms
