"""Places that are one, reported twice."""

from __future__ import annotations

import pytest

from asr_async._alignment.places import JITTER_MS, SAME_MS, is_same_place


@pytest.mark.parametrize(
    ("start_ms", "end_ms", "is_same"),
    [
        (1_000, 1_300, True),
        (1_000 + JITTER_MS, 1_300, True),
        (1_000, 1_300 + JITTER_MS + 1, False),
        # of the same length
        (1_000 + SAME_MS, 1_300 + SAME_MS, True),
        (1_000 + SAME_MS + 1, 1_300 + SAME_MS + 1, False),
        (1_000 + SAME_MS, 1_301 + SAME_MS, False),
    ],
)
def test_a_place_is_the_same_but_for_the_jitter_of_both(start_ms: int, end_ms: int, is_same: bool) -> None:
    assert is_same_place(start_ms, end_ms, 1_000, 1_300) is is_same


def test_long_places_may_be_off_by_the_jitter_of_both() -> None:
    assert is_same_place(1_000 + SAME_MS, 3_000, 1_000, 3_000)


def test_places_that_do_not_overlap_are_two() -> None:
    assert not is_same_place(160, 310, 0, 150)
    assert not is_same_place(0, 150, 160, 310)


def test_places_of_short_words_that_are_not_of_one_length_are_two() -> None:
    """Jitter can put two words in a row at places that differ by less than a frame."""
    assert is_same_place(6_721, 6_810, 6_739, 6_828)
    assert not is_same_place(6_721, 6_810, 6_739, 6_872)
