"""The clock of the audio, and the marks of lost audio on results: tested with values."""

from __future__ import annotations

import pytest

from asr_async import Gap, Result
from asr_async._session.stats import (
    MAX_GAPS,
    MAX_PARTS,
    MAX_SENDS,
    AudioClock,
    DroppedParts,
    LossMarks,
    StatsRecorder,
)
from asr_async.audio import AudioFormat


def clock_of(*sends: tuple[int, float]) -> AudioClock:
    clock = AudioClock()
    for end_bytes, now in sends:
        clock.record(end_bytes, now)
    return clock


@pytest.mark.parametrize(
    ("position_bytes", "sent_at"),
    [(0, None), (1, 1.0), (100, 1.0), (101, 2.0), (200, 2.0), (300, 3.0), (301, 3.0), (10_000, 3.0)],
)
def test_a_position_has_the_instant_of_its_frame_or_of_the_last_frame_before_it(
    position_bytes: int, sent_at: float | None
) -> None:
    assert clock_of((100, 1.0), (200, 2.0), (300, 3.0)).sent_at(position_bytes) == sent_at


def test_there_is_no_instant_before_the_first_frame() -> None:
    assert AudioClock().sent_at(1) is None
    assert repr(AudioClock()) == "<AudioClock 0 sends>"


def test_a_replay_replaces_the_instants_of_its_audio() -> None:
    clock = clock_of((100, 1.0), (200, 2.0), (300, 3.0), (200, 9.0))
    assert [clock.sent_at(position) for position in (100, 200, 300)] == [1.0, 9.0, 9.0]
    clock.record(300, 9.5)
    assert clock.sent_at(300) == 9.5


def test_the_instants_of_old_frames_are_dropped() -> None:
    clock = clock_of(*((100 * n, float(n)) for n in range(1, MAX_SENDS + 2)))
    assert clock.sent_at(100) is None
    assert clock.sent_at(100 * (MAX_SENDS // 2)) is None
    assert clock.sent_at(100 * (MAX_SENDS // 2) + 1) == MAX_SENDS // 2 + 1
    assert clock.sent_at(100 * MAX_SENDS) == MAX_SENDS


# --- marks of lost audio ---------------------------------------------------------------------------------------------


def result(segment_id: int, start_ms: int, *, final: bool = False) -> Result:
    return Result(text="a", is_final=final, segment_id=segment_id, start_ms=start_ms, end_ms=start_ms + 100)


def gap(start_ms: int, end_ms: int) -> Gap:
    return Gap(start_ms=start_ms, end_ms=end_ms, reason="lost")


def marks_after(*gaps: Gap) -> LossMarks:
    marks = LossMarks()
    for lost in gaps:
        marks.add(lost)
    return marks


def test_the_first_segment_behind_a_gap_bears_its_length_until_its_final() -> None:
    marks = marks_after(gap(1_000, 4_000))
    assert repr(marks) == "<LossMarks 3000 ms>"
    assert marks.apply(result(0, 500, final=True)).lost_before_ms == 0  # it begins before the gap
    assert marks.apply(result(1, 4_000)).lost_before_ms == 3_000
    assert marks.apply(result(2, 5_000, final=True)).lost_before_ms == 0
    assert marks.apply(result(1, 3_990)).lost_before_ms == 3_000
    assert marks.is_pending
    assert marks.apply(result(1, 990, final=True)).lost_before_ms == 3_000  # its own start may jitter
    assert not marks.is_pending


def test_an_earlier_segment_takes_the_mark_of_a_later_one() -> None:
    marks = marks_after(gap(0, 1_000))
    assert marks.apply(result(1, 3_000)).lost_before_ms == 1_000
    assert marks.apply(result(0, 1_000)).lost_before_ms == 1_000
    assert marks.apply(result(1, 3_000, final=True)).lost_before_ms == 0
    assert marks.apply(result(0, 1_000, final=True)).lost_before_ms == 1_000


def test_a_segment_that_is_withdrawn_gives_its_mark_to_the_next() -> None:
    marks = marks_after(gap(0, 1_000))
    marks.withdraw(0)
    assert marks.apply(result(0, 1_000)).lost_before_ms == 1_000
    marks.withdraw(0)
    assert marks.apply(result(1, 2_000, final=True)).lost_before_ms == 1_000


def test_gaps_in_a_row_are_added_up() -> None:
    marks = marks_after(gap(1_000, 2_000), gap(3_000, 3_500))
    assert marks.apply(result(0, 1_500, final=True)).lost_before_ms == 1_500
    marks.add(gap(6_000, 6_000))
    assert not marks.is_pending
    marks.add(gap(6_000, 6_250))
    assert marks.apply(result(1, 6_000, final=True)).lost_before_ms == 250


def test_the_newest_gaps_are_kept_and_all_are_counted() -> None:
    stats = StatsRecorder(AudioFormat())
    for number in range(MAX_GAPS + 1):
        stats.record_gap(gap(number, number + 1))
    assert len(stats.gaps) == MAX_GAPS
    assert stats.gaps[-1].start_ms == MAX_GAPS
    assert stats.snapshot("", sent_ms=0, conflated=0).lost_ms == MAX_GAPS + 1


# --- delays ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result_at", "finished_at", "last_result_ms"),
    [
        (None, None, None),
        (None, 5.0, None),
        (4.0, None, None),
        (4.0, 5.0, 0.0),
        (5.25, 5.0, 250.0),
    ],
)
def test_the_delay_of_the_last_result_is_a_number_when_the_audio_has_ended(
    result_at: float | None, finished_at: float | None, last_result_ms: float | None
) -> None:
    recorder = StatsRecorder(AudioFormat())
    if result_at is not None:
        recorder.record_result(result(1, 0, final=True), result_at, 100)
    recorder.finished_at = finished_at
    assert recorder.snapshot("r", sent_ms=0, conflated=0).last_result_ms == last_result_ms


# --- parts of the source that were dropped ---------------------------------------------------------------------------


def test_a_gap_around_audio_that_the_source_has_dropped_does_not_count_it_twice() -> None:
    parts = DroppedParts()
    assert parts.add(1_000, 500) == (1_000, 1_500)
    assert parts.add(1_000, 100) == (1_500, 1_600)
    assert parts.add(2_000, 50) == (2_600, 2_650)
    gap = Gap(start_ms=800, end_ms=2_100, reason="lost")
    assert [(each.start_ms, each.end_ms, each.reason) for each in parts.placed_gaps(gap)] == [
        (800, 1_000, "lost"),
        (1_600, 2_600, "lost"),
        (2_650, 2_750, "lost"),
    ]
    before = Gap(start_ms=100, end_ms=1_000, reason="lost")
    assert parts.placed_gaps(before) == [before]


def test_a_source_that_drops_audio_all_the_time_costs_no_more_and_more_memory() -> None:
    parts = DroppedParts()
    for number in range(5_000):
        parts.add(10 * number, 1)
        parts.add(10 * number, 2)
    assert repr(parts) == f"<DroppedParts {MAX_PARTS}>"
    last_ms = 10 * 4_999
    assert (parts.to_source(last_ms), parts.to_source(last_ms, is_end=True)) == (last_ms + 15_000, last_ms + 14_997)
    assert [parts.to_own(parts.to_source(own_ms)) for own_ms in (45_005, last_ms)] == [45_005, last_ms]
    assert parts.to_source(5) == 5 + 3 * 4_000, "no earlier than the oldest part that is kept"
