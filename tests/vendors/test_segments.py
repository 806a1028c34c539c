"""The tracker of a task's segments: keys, repeats, events and bounds, for each way in which a vendor names them."""

from __future__ import annotations

from typing import TypeAlias

import pytest

from asr_async import SpeechEnded, SpeechStarted
from asr_async.vendors.segments import MAX_REMEMBERED, SegmentTracker, TrackedSegment

Tracker: TypeAlias = SegmentTracker[int, TrackedSegment[int]]


def new_tracker(*, is_sequential: bool = False, max_open: int | None = MAX_REMEMBERED) -> Tracker:
    return SegmentTracker(TrackedSegment, is_sequential=is_sequential, max_open=max_open)


# --- identity --------------------------------------------------------------------------------------------------------


def test_segments_are_numbered_in_the_order_of_their_first_sign() -> None:
    tracker = new_tracker()
    assert [tracker.open(key, 0).id for key in (7, 3, 5)] == [0, 1, 2]


def test_an_open_segment_is_found_by_its_key_until_it_is_closed() -> None:
    tracker = new_tracker()
    segment = tracker.open(7, 100)
    assert [tracker.find_open(7), tracker.find_open(8), tracker.find_closed(7)] == [segment, None, None]
    tracker.close(segment, 900)
    assert [tracker.find_open(7), tracker.find_closed(7)] == [None, segment]


def test_the_newest_open_segment_is_the_one_that_was_opened_last() -> None:
    tracker = new_tracker()
    assert new_tracker().newest_open is None
    first, second = tracker.open(1, 0), tracker.open(0, 0)
    assert tracker.newest_open is second
    assert tracker.open_segments == [first, second]
    tracker.close(second, 100)
    assert tracker.newest_open is first


def test_a_sequential_vendors_next_segment_forgets_the_one_before_it() -> None:
    tracker = new_tracker(is_sequential=True)
    tracker.open(1, 0)
    second = tracker.open(2, 1000)
    assert tracker.open_segments == [second]
    tracker.close(second, 2000)
    tracker.open(3, 3000)
    assert not tracker.is_repeat(1)
    assert not tracker.is_repeat(2)


# --- repeats ---------------------------------------------------------------------------------------------------------


def test_a_message_about_a_closed_segment_is_a_repeat_and_one_about_an_open_segment_is_not() -> None:
    tracker = new_tracker()
    segment = tracker.open(7, 0)
    assert not tracker.is_repeat(7)
    tracker.close(segment, 900)
    assert tracker.is_repeat(7)
    assert not tracker.is_repeat(8)


@pytest.mark.parametrize(("end_ms", "is_repeat"), [(500, True), (900, True), (901, False)])
def test_where_a_segments_end_is_reported_a_later_end_is_a_segment_of_its_own(end_ms: int, is_repeat: bool) -> None:
    tracker = new_tracker()
    tracker.close(tracker.open(0, 0), 900)
    assert tracker.is_repeat(0, end_ms=end_ms) is is_repeat


def test_a_key_may_be_used_again_and_its_newest_end_counts() -> None:
    tracker = new_tracker()
    tracker.close(tracker.open(0, 0), 900)
    again = tracker.open(0, 0)
    assert not tracker.is_repeat(0, end_ms=500)  # it is open
    tracker.close(again, 2000)
    assert tracker.is_repeat(0, end_ms=1500)
    assert again.id == 1


@pytest.mark.parametrize("key", [None, ""])
def test_a_segment_without_a_key_of_its_own_has_no_repeats(key: str | None) -> None:
    tracker: SegmentTracker[str | None, TrackedSegment[str | None]] = SegmentTracker(TrackedSegment)
    segment = tracker.open(key, 0)
    assert tracker.find_open(key) is segment
    tracker.close(segment, 900)
    assert not tracker.is_repeat(key)
    assert tracker.find_closed(key) is None


# --- events ----------------------------------------------------------------------------------------------------------


def test_the_start_of_a_segment_is_reported_once_and_its_end_when_it_is_closed() -> None:
    tracker = new_tracker()
    segment = tracker.open(7, 100)
    assert segment.start() == [SpeechStarted(segment_id=0, start_ms=100)]
    assert segment.start() == []
    assert tracker.close(segment, 900) == SpeechEnded(segment_id=0, end_ms=900)
    assert segment.is_closed


def test_an_announced_start_is_that_of_the_next_segment() -> None:
    tracker = new_tracker()
    assert tracker.announce(80) == [SpeechStarted(segment_id=0, start_ms=80)]
    assert tracker.announce(90) == []
    assert tracker.open(100, 100).start() == []
    assert tracker.announce(110) == []  # a segment is open: this is about it
    assert tracker.open(200, 200).start() == [SpeechStarted(segment_id=1, start_ms=200)]


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_the_oldest_open_segment_is_dropped_when_there_are_too_many() -> None:
    tracker = new_tracker()
    for key in range(MAX_REMEMBERED + 1):
        tracker.open(key, 0)
    assert len(tracker.open_segments) == MAX_REMEMBERED
    assert tracker.find_open(0) is None
    assert not tracker.is_repeat(0)


def test_without_a_bound_no_open_segment_is_dropped() -> None:
    tracker = new_tracker(max_open=None)
    for key in range(2 * MAX_REMEMBERED):
        tracker.open(key, 0)
    assert len(tracker.open_segments) == 2 * MAX_REMEMBERED


def test_the_oldest_closed_segment_is_forgotten_but_its_counted_key_is_still_known_to_be_old() -> None:
    tracker = new_tracker()
    assert not tracker.is_forgotten(0)
    for key in range(MAX_REMEMBERED + 1):
        tracker.close(tracker.open(key, 0), 900)
    assert tracker.find_closed(0) is None
    assert tracker.is_forgotten(0)
    assert not tracker.is_repeat(0)
    assert tracker.find_closed(1) is not None
    assert not tracker.is_forgotten(1)


def test_text_is_unfinished_until_its_segment_is_closed() -> None:
    tracker = new_tracker()
    segment = tracker.open(0, 0)
    states = [tracker.has_unfinished_text]
    segment.has_text = True
    states.append(tracker.has_unfinished_text)
    tracker.close(segment, 900)
    states.append(tracker.has_unfinished_text)
    assert states == [False, True, False]


def test_the_text_of_a_dropped_segment_stays_unfinished() -> None:
    tracker = new_tracker()
    tracker.open(-1, 0).has_text = True
    for key in range(MAX_REMEMBERED):
        tracker.close(tracker.open(key, 0), 900)
        tracker.open(key + 1000, 0)
    assert tracker.find_open(-1) is None
    assert tracker.has_unfinished_text


def test_the_state_is_in_the_repr() -> None:
    tracker = new_tracker()
    segment = tracker.open(7, 0)
    tracker.open(8, 0)
    assert repr(segment) == "<TrackedSegment 0 open>"
    tracker.close(segment, 100)
    assert repr(segment) == "<TrackedSegment 0 closed>"
    assert repr(tracker) == "<SegmentTracker 1 open of 2>"
