"""The segmenter: which windows become segments, driven by probabilities of speech."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from asr_async.emulator.engines import segments
from asr_async.emulator.engines.segments import LEAD_WINDOWS, TAIL_WINDOWS, Segment, Segmenter

if TYPE_CHECKING:
    from collections.abc import Iterable

SPEECH, SILENCE = 0.9, 0.1
PAUSE = [SILENCE] * segments.PAUSE_WINDOWS


def segments_of(probabilities: Iterable[float], segmenter: Segmenter | None = None) -> list[Segment]:
    """Return all segments of a stream that ends here."""
    segmenter = segmenter or Segmenter()
    found = [segmenter.push(probability) for probability in probabilities]
    return [segment for segment in [*found, segmenter.finish()] if segment is not None]


def test_a_segment_extends_from_the_first_speech_to_the_last_one_before_a_pause() -> None:
    (segment,) = segments_of([SILENCE] * 20 + [SPEECH] * 30 + PAUSE + [SILENCE] * 5)
    assert (segment.start, segment.end) == (20, 50)
    assert (segment.lead, segment.tail) == (LEAD_WINDOWS, TAIL_WINDOWS)


def test_the_pause_is_known_after_half_a_second() -> None:
    segmenter = Segmenter()
    for probability in [SPEECH] * 30 + PAUSE[1:]:
        assert segmenter.push(probability) is None
    assert segmenter.push(SILENCE) is not None
    assert segmenter.open_segment is None


def test_a_short_pause_does_not_divide_a_segment() -> None:
    (segment,) = segments_of([SPEECH] * 10 + [SILENCE] * 10 + [SPEECH] * 10)
    assert segment.speech == (True,) * 10 + (False,) * 10 + (True,) * 10


def test_speech_ends_below_a_lower_probability_than_it_begins_with() -> None:
    assert segments_of([0.4] * 100) == []
    (segment,) = segments_of([0.6] + [0.4] * 100)
    assert len(segment.speech) == 101


def test_a_click_is_no_segment() -> None:
    for distance in (PAUSE, [SILENCE] * 8):
        assert segments_of(([SPEECH] * 2 + distance) * 50) == []


def test_too_little_speech_for_a_segment_is_not_decoded_with_the_next_one() -> None:
    (segment,) = segments_of([SPEECH] * 2 + PAUSE + [SILENCE] * 50 + [SPEECH] * 20)
    assert segment.start == 2 + len(PAUSE) + 50


def test_the_open_segment_ends_with_the_last_speech_so_far() -> None:
    segmenter = Segmenter()
    for probability in [SPEECH] * 12 + [SILENCE] * 4:
        segmenter.push(probability)
    assert segmenter.open_segment == Segment(start=0, speech=(True,) * 12, lead=0, tail=4)
    assert segmenter.silent_windows == 4
    assert repr(segmenter) == "<Segmenter: 16 windows, open since window 0>"


def test_speech_at_the_start_and_at_the_end_has_no_silence_around_it() -> None:
    (segment,) = segments_of([SPEECH] * 20)
    assert (segment.lead, segment.tail) == (0, 0)


def test_the_silence_between_two_segments_is_not_decoded_as_a_part_of_the_first_one() -> None:
    first, second = segments_of([SPEECH] * 20 + PAUSE + [SPEECH] * 20)
    assert second.start - second.lead >= first.end


def test_speech_without_a_pause_is_cut_where_it_is_least_like_speech() -> None:
    probabilities = [SPEECH] * 300 + [0.6] * 7 + [SPEECH] * 200
    first, second = segments_of(probabilities)
    assert (first.start, first.end) == (0, 303)
    assert (second.start, second.end) == (303, len(probabilities))
    assert (first.tail, second.lead) == (0, 0)


def test_a_minute_of_speech_without_a_pause_loses_no_window_and_no_segment_is_too_long() -> None:
    minute = [SPEECH] * 1_875
    found = segments_of(minute)
    assert sum(len(segment.speech) for segment in found) == len(minute)
    assert all(before.end == behind.start for before, behind in itertools.pairwise(found))
    assert max(len(segment.speech) for segment in found) <= segments.MAX_WINDOWS


def test_the_rest_of_a_cut_segment_is_a_segment_however_short_it_is() -> None:
    found = segments_of([SPEECH] * 430 + [SILENCE] * 4 + [SPEECH] * 4)
    assert [segment.end for segment in found] == [430, 438]


def test_the_audio_that_is_needed_begins_a_little_before_the_speech() -> None:
    segmenter = Segmenter()
    for probability in [SILENCE] * 100:
        segmenter.push(probability)
    assert segmenter.needed_from == 100 - LEAD_WINDOWS
    for probability in [SPEECH] * 100:
        segmenter.push(probability)
    assert segmenter.needed_from == 100 - LEAD_WINDOWS


def test_silence_counts_from_the_last_segment_and_not_from_noise() -> None:
    segmenter = Segmenter()
    for probability in [SPEECH] * 20 + PAUSE + ([SPEECH] + [SILENCE] * 9) * 10:
        segmenter.push(probability)
    assert segmenter.silent_windows == len(PAUSE) + 100
