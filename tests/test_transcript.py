"""Transcripts of whole sources: the order of the audio, late translations, gaps and marks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from asr_async import Event, Gap, Result, SessionStats, Transcript, Translation, TranslationArrived
from asr_async._session.stats import StatsRecorder
from asr_async.audio import AudioFormat
from asr_async.client import _TranscriptBuilder

if TYPE_CHECKING:
    from collections.abc import Iterable


def final(segment_id: int, text: str, start_ms: int, **marks: Any) -> Result:
    return Result(text=text, is_final=True, segment_id=segment_id, start_ms=start_ms, end_ms=start_ms + 500, **marks)


def transcript_of(events: Iterable[Event]) -> Transcript:
    builder = _TranscriptBuilder()
    for event in events:
        builder.add(event)
    stats: SessionStats = StatsRecorder(AudioFormat()).snapshot("", sent_ms=0, conflated=0)
    return builder.build(stats)


def test_results_are_in_the_order_of_the_audio_whatever_their_ids_and_their_arrival() -> None:
    transcript = transcript_of(
        [final(0, "three", 3_000), final(5, "one", 1_000), final(2, "four", 4_000), final(9, "two", 2_000)]
    )
    assert transcript.text == "one two three four"
    assert [result.start_ms for result in transcript.results] == [1_000, 2_000, 3_000, 4_000]


def test_results_with_the_same_start_keep_the_order_of_their_arrival() -> None:
    transcript = transcript_of([final(1, "b", 0), final(0, "a", 0), final(2, "c", 0)])
    assert transcript.text == "b a c"


def test_two_finals_of_one_segment_are_both_kept() -> None:
    transcript = transcript_of([final(0, "one", 0), final(1, "two", 900), final(0, "three", 2_000)])
    assert transcript.text == "one two three"


def test_a_late_translation_is_added_to_the_final_of_its_segment() -> None:
    translation = Translation(text="uno", is_final=True, start_ms=0, end_ms=500)
    late = TranslationArrived(segment_id=7, language="es", translation=translation)
    unknown = msgspec.structs.replace(late, segment_id=8)
    transcript = transcript_of([final(7, "one", 1_000), final(3, "zero", 0), late, unknown])
    assert [result.translations for result in transcript.results] == [{}, {"es": translation}]


def test_interims_are_left_out_and_marks_are_kept() -> None:
    interim = msgspec.structs.replace(final(0, "on", 0), is_final=False)
    transcript = transcript_of(
        [interim, final(0, "one", 0), final(1, "two", 900, may_repeat=True, is_confirmed=False, lost_before_ms=400)]
    )
    assert transcript.text == "one two"
    last = transcript.results[-1]
    assert (last.may_repeat, last.is_confirmed, last.lost_before_ms) == (True, False, 400)


def test_gaps_are_in_the_order_of_the_audio() -> None:
    gaps = [Gap(start_ms=start_ms, end_ms=start_ms + 100, reason="lost") for start_ms in (2_000, 500)]
    assert [gap.start_ms for gap in transcript_of(gaps).gaps] == [500, 2_000]
