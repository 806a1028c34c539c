"""Tests of `SlidingWindow` by values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_async._limits.window import WINDOW_S, SlidingWindow


@given(
    gaps=st.lists(st.floats(0, 3), max_size=200),
    per_second=st.integers(1, 7),
)
def test_no_second_holds_more_starts_than_the_limit(gaps: list[float], per_second: int) -> None:
    window, now, starts = SlidingWindow(), 0.0, list[float]()
    for gap in gaps:
        now += gap
        now += window.wait_s(now, per_second)
        window.record_start(now)
        starts.append(now)
    for early, late in zip(starts, starts[per_second:], strict=False):
        assert late - early > 1.0


def test_starts_within_the_limit_do_not_wait() -> None:
    window = SlidingWindow()
    for now in (0.0, 0.0, 0.5):
        assert window.wait_s(now, 3) == 0.0
        window.record_start(now)
    assert window.wait_s(0.5, 3) == pytest.approx(WINDOW_S - 0.5)
    assert window.wait_s(WINDOW_S, 3) == 0.0


def test_without_a_limit_no_start_waits_and_only_the_last_second_is_kept() -> None:
    window = SlidingWindow()
    for number in range(10_000):
        assert window.wait_s(number / 100, None) == 0.0
        window.record_start(number / 100)
    assert window.count(100.0) <= 106
    assert len(window._starts) <= 106


def test_two_limits_apply_to_the_same_starts() -> None:
    window = SlidingWindow()
    for _ in range(5):
        window.record_start(0.0)
    assert window.wait_s(0.1, 20) == 0.0
    assert window.wait_s(0.1, 5) > 0.9


def test_repr_shows_the_number_of_starts() -> None:
    window = SlidingWindow()
    window.record_start(0.0)
    assert repr(window) == "<SlidingWindow 1 starts>"
