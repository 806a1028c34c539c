"""The times and segments of a session whose results come from several connections."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from asr_async import AudioFormat, Event, Result
from asr_async._connection.silence import Silence
from asr_async._session.timeline import MAX_FINALS_BYTES, MAX_REMEMBERED, WORD_BYTES, ConnectionTimeline, Timeline
from asr_async.results import SpeechEnded, SpeechStarted, Translation, TranslationArrived, Word


def result(segment_id: int, start_ms: int, end_ms: int, *, is_final: bool, text: str = "x") -> Result:
    return Result(text=text, is_final=is_final, segment_id=segment_id, start_ms=start_ms, end_ms=end_ms)


def place(connection_timeline: ConnectionTimeline, *events: Event) -> list[Any]:
    return [placed for event in events for placed in connection_timeline.place(event)]


def test_results_of_the_first_connection_are_unchanged() -> None:
    connection_timeline = Timeline().connect(0)
    event = result(0, 10, 20, is_final=True)
    assert connection_timeline.place(event)[0] is event


def test_times_and_segments_continue_those_of_the_connection_before() -> None:
    timeline = Timeline()
    place(timeline.connect(0), result(0, 0, 900, is_final=True), result(1, 1_000, 1_400, is_final=False))
    assert timeline.covered_ms == 900
    second = timeline.connect(900)
    words = (Word(text="a", start_ms=100, end_ms=200),)
    translations = {"en": Translation(text="A", is_final=True, start_ms=100, end_ms=200, words=words)}
    received = Result(
        text="a", is_final=True, segment_id=0, start_ms=100, end_ms=600, words=words, translations=translations
    )
    (moved,) = place(second, received)
    assert (moved.segment_id, moved.start_ms, moved.end_ms) == (1, 1_000, 1_500)
    assert (moved.words[0].start_ms, moved.translations["en"].start_ms) == (1_000, 1_000)
    assert moved.translations["en"].words[0].end_ms == 1_100
    assert timeline.covered_ms == 1_500
    (next_one,) = place(second, result(1, 800, 900, is_final=False))
    assert next_one.segment_id == 2


def test_events_of_a_segment_are_shifted_with_it() -> None:
    timeline = Timeline()
    connection_timeline = timeline.connect(5_000)
    late = TranslationArrived(
        segment_id=0, language="en", translation=Translation(text="A", is_final=True, start_ms=0, end_ms=400)
    )
    events = place(
        connection_timeline, SpeechStarted(segment_id=0, start_ms=10), result(0, 10, 400, is_final=True),
        SpeechEnded(segment_id=0, end_ms=400), late,
    )  # fmt: skip
    assert events[0] == SpeechStarted(segment_id=0, start_ms=5_010)
    assert events[2] == SpeechEnded(segment_id=0, end_ms=5_400)
    assert (events[3].segment_id, events[3].translation.start_ms) == (0, 5_000)
    assert place(connection_timeline, SpeechEnded(segment_id=9, end_ms=1)) == []


def test_audio_is_covered_up_to_the_start_of_the_first_open_segment() -> None:
    timeline = Timeline()
    connection_timeline = timeline.connect(0)
    place(connection_timeline, SpeechStarted(segment_id=0, start_ms=1_000), result(1, 3_000, 4_000, is_final=True))
    assert timeline.covered_ms == 1_000
    place(connection_timeline, result(0, 1_000, 2_500, is_final=True))
    assert timeline.covered_ms == 4_000


def test_a_final_after_an_open_segment_is_delivered_once_although_it_is_recognised_again() -> None:
    timeline = Timeline()
    place(timeline.connect(0), result(0, 1_000, 1_200, is_final=False), result(1, 3_000, 4_000, is_final=True))
    second = timeline.connect(1_000)
    assert timeline.covered_ms == 1_000
    placed = place(
        second,
        result(0, 0, 1_500, is_final=True, text="first"),
        SpeechStarted(segment_id=1, start_ms=2_000),
        result(1, 2_000, 2_500, is_final=False),
        result(1, 2_010, 2_990, is_final=True),
        SpeechEnded(segment_id=1, end_ms=2_990),
        result(2, 3_100, 3_400, is_final=True, text="third"),
    )
    assert [(event.segment_id, event.text, event.start_ms) for event in placed] == [
        (0, "first", 1_000),
        (2, "third", 4_100),
    ]
    assert timeline.covered_ms == 4_400


def test_the_silence_in_a_pause_does_not_lengthen_a_segment() -> None:
    silence = Silence(AudioFormat("pcm", 16_000))
    silence.put(2_000, 320_000)
    connection_timeline = Timeline().connect(1_000, silence)
    received = Result(text="x", is_final=True, segment_id=0, start_ms=500, end_ms=12_500)
    (placed,) = connection_timeline.place(received)
    assert isinstance(placed, Result)
    assert (placed.start_ms, placed.end_ms) == (1_500, 3_500)


def test_a_late_final_of_a_segment_whose_start_and_withdrawal_were_repeats_has_a_start_and_an_end() -> None:
    timeline = Timeline()
    place(timeline.connect(0), result(0, 0, 900, is_final=True, text="one two"))
    second = timeline.connect(0)
    withdrawn = SpeechEnded(segment_id=0, end_ms=200, is_withdrawn=True)
    assert place(second, SpeechStarted(segment_id=0, start_ms=0), withdrawn) == []
    started, final, ended = place(second, result(0, 100, 1_500, is_final=True, text="three four"))
    assert (started.segment_id, final.segment_id, ended.segment_id) == (1, 1, 1)
    assert (final.text, ended.is_withdrawn) == ("three four", False)


@pytest.mark.parametrize(
    ("start_ms", "end_ms", "sent_ms", "place"),
    [
        (500, 900, 9_000, (2_500, 2_900)),
        (500, None, 9_000, (2_500, 9_000)),
        (500, None, None, (2_500, 2_500)),
        (500, 20_000, 9_000, (2_500, 9_000)),
        (-2_500, 2_500, 9_000, (0, 4_500)),
        (-900, -200, 9_000, None),
    ],
    ids=["inside", "to the end", "of compressed audio", "beyond the audio", "before its start", "recognised before"],
)
def test_speech_without_a_text_has_its_place_in_the_source(
    start_ms: int, end_ms: int | None, sent_ms: int | None, place: tuple[int, int] | None
) -> None:
    timeline = Timeline()
    first = timeline.connect(0)
    first.place(result(0, 1_000, 2_000, is_final=True), 2_000)
    assert timeline.connect(2_000).place_unheard(start_ms, end_ms, sent_ms) == place


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_finals_are_remembered_within_a_size_with_their_words_and_the_last_one_always() -> None:
    timeline = Timeline()
    connection_timeline = timeline.connect(0)
    place(connection_timeline, result(0, 0, 100, is_final=False))  # a replay would begin here
    words = tuple(Word(text="a", start_ms=0, end_ms=1) for _ in range(1_000))
    for number in range(1, 200):
        final = result(number, 100 * number, 100 * (number + 1), is_final=True, text="a " * 1_000)
        place(connection_timeline, msgspec.structs.replace(final, words=words))
    assert sum(len(final.text) + WORD_BYTES * len(final.words) for final in timeline._finals) <= MAX_FINALS_BYTES
    assert len(timeline._finals) > 20
    place(connection_timeline, result(200, 20_000, 20_100, is_final=True, text="x" * (2 * MAX_FINALS_BYTES)))
    assert len(timeline._finals) == 1
    assert timeline.has_finals


def test_the_texts_of_segments_that_ended_are_not_remembered() -> None:
    connection_timeline = Timeline().connect(0)
    for number in range(100):
        interim = result(number, 100 * number, 100 * number + 50, is_final=False, text="x" * 1_000)
        place(connection_timeline, interim)
        if number % 2:
            place(connection_timeline, result(number, 100 * number, 100 * number + 90, is_final=True))
        else:
            (ended,) = place(connection_timeline, SpeechEnded(segment_id=number, end_ms=100 * number + 50))
            assert ended.withdrawn_text == interim.text
    assert {segment.text for segment in connection_timeline._segments.values()} == {""}


def test_the_open_segments_of_a_codec_that_ends_none_are_limited() -> None:
    timeline = Timeline()
    connection_timeline = timeline.connect(0)
    for number in range(2 * MAX_REMEMBERED):
        place(connection_timeline, result(number, 10 * number, 10 * number + 5, is_final=False))
    assert len(timeline._open) == len(connection_timeline._segments) == MAX_REMEMBERED


def test_no_word_begins_before_the_source() -> None:
    words = (Word(text="a", start_ms=-40, end_ms=200), Word(text="b", start_ms=210, end_ms=400))
    translation = Translation(text="A", is_final=True, start_ms=-20, end_ms=400, words=words[:1])
    received = msgspec.structs.replace(result(0, 0, 400, is_final=True), words=words, translations={"en": translation})
    (placed,) = place(Timeline().connect(0), received)
    assert [word.start_ms for word in placed.words] == [0, 210]
    assert (placed.translations["en"].start_ms, placed.translations["en"].words[0].start_ms) == (0, 0)


def test_an_interim_without_an_end_ends_behind_the_start_of_its_new_words() -> None:
    timeline = Timeline()
    place(timeline.connect(0), result(0, 0, 100, is_final=True, text="one two"))
    (placed,) = place(timeline.connect(0), result(0, 0, 0, is_final=False, text="one two three"))
    assert placed.text == "three"
    assert placed.start_ms <= placed.end_ms
