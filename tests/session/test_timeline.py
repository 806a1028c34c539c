"""The times and segments of a session whose results come from several connections."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from asr_async import AudioFormat, Event, Result
from asr_async._alignment.places import DOUBT_MS, JITTER_MS
from asr_async._connection.silence import Silence
from asr_async._session.timeline import (
    HOLD_MS,
    KEPT_FINALS,
    KEPT_MS,
    MAX_FINALS_BYTES,
    MAX_ORPHANS,
    MAX_REMEMBERED,
    WORD_BYTES,
    ConnectionTimeline,
    Timeline,
)
from asr_async.results import SpeechEnded, SpeechEnding, SpeechStarted, Translation, TranslationArrived, Word

from ..support.segment_events import assert_framed


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


@pytest.mark.parametrize(("start_ms", "expected"), [(300, []), (1_100, ["…"])])
def test_a_text_without_words_is_left_out_inside_a_delivered_final(start_ms: int, expected: list[str]) -> None:
    timeline = Timeline()
    place(timeline.connect(0), final(0, 0, 1_000, "one two"))
    placed = place(timeline.connect(200), final(0, start_ms - 200, start_ms - 100, "…"))
    assert [event.text for event in placed if isinstance(event, Result)] == expected


def test_open_segments_inside_a_final_do_not_hold_the_covered_place_back() -> None:
    """The vendor has made one segment of several: one of them continues as that, and the others are withdrawn."""
    timeline = Timeline()
    place(timeline.connect(0), interim(0, 1_000, 1_400, "one"), interim(1, 1_500, 1_900, "two"))
    events = place(timeline.connect(900), final(0, 100, 1_300, "one two three"))
    assert [(type(event), event.segment_id) for event in events] == [(SpeechEnded, 1), (Result, 0)]
    assert timeline.covered_ms == 2_200


def test_an_interim_without_an_end_ends_behind_the_start_of_its_new_words() -> None:
    timeline = Timeline()
    place(timeline.connect(0), result(0, 0, 100, is_final=True, text="one two"))
    (placed,) = place(timeline.connect(0), result(0, 0, 0, is_final=False, text="one two three"))
    assert placed.text == "three"
    assert placed.start_ms <= placed.end_ms


@pytest.mark.parametrize(
    ("stable_text", "stable_part"),
    [("", ""), ("one t", ""), ("one two th", "th"), ("one two three", "three"), (None, None)],
)
def test_the_stable_text_is_that_of_the_new_words(stable_text: str | None, stable_part: str | None) -> None:
    timeline = Timeline()
    place(timeline.connect(0), result(0, 0, 100, is_final=True, text="one two"))
    received = msgspec.structs.replace(
        result(0, 0, 0, is_final=False, text="one two three four"), stable_text=stable_text
    )
    (placed,) = place(timeline.connect(0), received)
    assert (placed.text, placed.stable_text) == ("three four", stable_part)


def test_the_end_of_speech_is_reported_once_across_connections_unless_it_is_withdrawn() -> None:
    timeline = Timeline()
    first = timeline.connect(0)
    place(first, SpeechStarted(segment_id=0, start_ms=0), result(0, 0, 400, is_final=False))
    ending, withdrawal = SpeechEnding(segment_id=0, end_ms=400), SpeechEnding(segment_id=0, is_withdrawn=True)
    assert place(first, withdrawal, ending, ending, withdrawal, ending) == [ending, withdrawal, ending]
    second = timeline.connect(0)
    place(second, SpeechStarted(segment_id=0, start_ms=0), result(0, 0, 400, is_final=False))
    assert place(second, ending) == []


# --- segments across connections -------------------------------------------------------------------------------------


def final(segment_id: int, start_ms: int, end_ms: int, text: str) -> Result:
    return result(segment_id, start_ms, end_ms, is_final=True, text=text)


def final_of_words(words: list[tuple[str, int, int]], end_ms: int, segment_id: int = 0) -> Result:
    return msgspec.structs.replace(
        final(segment_id, min(words[0][1], end_ms), end_ms, " ".join(text for text, _, _ in words)),
        words=tuple(Word(text=text, start_ms=start_ms, end_ms=end_ms) for text, start_ms, end_ms in words),
    )


def interim(segment_id: int, start_ms: int, end_ms: int, text: str) -> Result:
    return result(segment_id, start_ms, end_ms, is_final=False, text=text)


def finals_of(events: list[Any]) -> list[tuple[int, str, int, int]]:
    return [
        (event.segment_id, event.text, event.start_ms, event.end_ms)
        for event in events
        if isinstance(event, Result) and event.is_final
    ]


def withdrawals_of(events: list[Any]) -> list[tuple[int, str]]:
    return [
        (event.segment_id, event.withdrawn_text)
        for event in events
        if isinstance(event, SpeechEnded) and event.is_withdrawn
    ]


def test_an_open_segment_keeps_its_place_and_not_the_next_new_one() -> None:
    timeline = Timeline()
    place(timeline.connect(0), interim(0, 0, 300, "uh"), final(1, 1_000, 2_000, "one two"))
    assert timeline.covered_ms == 0
    second = timeline.connect(0)
    events = place(second, final(0, 1_000, 2_000, "one two"), final(1, 2_100, 3_000, "three"))
    assert finals_of(events) == [(2, "three", 2_100, 3_000)]
    assert withdrawals_of(events + timeline.finish()) == [(0, "uh")]


@pytest.mark.parametrize("jitter_ms", [0, 100, -100, 200, -200])
def test_a_segment_that_is_recognised_again_at_its_place_has_its_id_and_no_second_start(jitter_ms: int) -> None:
    """The start in each of the two reports is off by up to a frame."""
    timeline = Timeline()
    place(timeline.connect(0), SpeechStarted(segment_id=0, start_ms=1_000), interim(0, 1_000, 1_500, "one"))
    second = timeline.connect(500)
    start_ms = 500 + jitter_ms
    events = place(
        second, SpeechStarted(segment_id=0, start_ms=start_ms), final(0, start_ms, 1_400, "one two"),
        SpeechEnded(segment_id=0, end_ms=1_400),
    )  # fmt: skip
    assert finals_of(events) == [(0, "one two", 1_000 + jitter_ms, 1_900)]
    assert [type(event) for event in events] == [Result, SpeechEnded]
    assert timeline.finish() == []


def test_of_several_open_segments_the_one_with_the_nearest_start_is_recognised_again() -> None:
    timeline = Timeline()
    place(timeline.connect(0), SpeechStarted(segment_id=0, start_ms=0), interim(1, 250, 250, "turn on"))
    second = timeline.connect(0)
    assert [event.segment_id for event in place(second, interim(0, 140, 140, "turn on"))] == [1]


def test_new_words_that_are_cut_from_a_repeated_final_continue_in_the_next_segment_without_a_second_start() -> None:
    """The vendor draws the boundary anew: an interim has words of the next sentence, and its final none of them."""
    timeline = Timeline()
    events = place(
        timeline.connect(0), SpeechStarted(segment_id=0, start_ms=0), final(0, 0, 1_000, "one two"),
        SpeechEnded(segment_id=0, end_ms=1_000), SpeechStarted(segment_id=1, start_ms=1_000),
        interim(1, 1_000, 1_400, "three"),
    )  # fmt: skip
    second = timeline.connect(500)
    events += place(
        second, SpeechStarted(segment_id=0, start_ms=0), interim(0, 0, 900, "two three"),
        final(0, 0, 480, "two"), SpeechEnded(segment_id=0, end_ms=480),
    )  # fmt: skip
    assert timeline.covered_ms == 980, "a replay would recognise them again"
    events += place(
        second, SpeechStarted(segment_id=1, start_ms=520), final(1, 520, 1_500, "three four"),
        SpeechEnded(segment_id=1, end_ms=1_500),
    )  # fmt: skip
    assert_framed(events)
    assert [text for _, text, _, _ in finals_of(events)] == ["one two", "three four"]
    assert withdrawals_of(events) == []


@pytest.mark.parametrize("has_next_final", [True, False])
def test_new_words_that_no_segment_continues_are_withdrawn_with_the_next_final_or_the_end(has_next_final: bool) -> None:
    timeline = Timeline()
    place(timeline.connect(0), final(0, 0, 1_000, "one two"))
    second = timeline.connect(500)
    events = place(
        second, SpeechStarted(segment_id=0, start_ms=0), interim(0, 0, 900, "two three"),
        final(0, 0, 480, "two"), SpeechEnded(segment_id=0, end_ms=480),
    )  # fmt: skip
    events += place(second, final(1, 4_000, 5_000, "five")) if has_next_final else timeline.finish()
    assert withdrawals_of(events) == [(1, "three")]


def test_open_segments_that_were_not_recognised_again_are_withdrawn_at_the_end() -> None:
    timeline = Timeline()
    place(timeline.connect(0), interim(0, 0, 300, "uh"), interim(1, 5_000, 5_300, "hm"))
    timeline.connect(0)
    assert withdrawals_of(timeline.finish()) == [(0, "uh"), (1, "hm")]
    assert timeline.finish() == []


def test_the_open_segments_of_lost_connections_are_limited() -> None:
    timeline = Timeline()
    place(timeline.connect(0), *(interim(n, 10_000 + 1_000 * n, 10_000 + 1_000 * n, "x") for n in range(200)))
    second = timeline.connect(0)
    events = place(second, final(0, 0, 900, "one"))
    assert len(timeline._orphans) == MAX_ORPHANS
    assert len(withdrawals_of(events)) == 200 - MAX_ORPHANS


# --- coverage --------------------------------------------------------------------------------------------------------


def test_a_detection_without_a_text_holds_its_place_for_some_time() -> None:
    timeline = Timeline()
    connection_timeline = timeline.connect(0)
    place(
        connection_timeline, SpeechStarted(segment_id=0, start_ms=500), final(1, 1_000, 2_000, "one"),
        SpeechEnded(segment_id=0, end_ms=700, is_withdrawn=True),
    )  # fmt: skip
    assert timeline.covered_ms == 500
    place(connection_timeline, final(2, 2_000, 500 + HOLD_MS, "two"))
    assert timeline.covered_ms == 500
    place(connection_timeline, final(3, 500 + HOLD_MS, 600 + HOLD_MS, "three"))
    assert timeline.covered_ms == 600 + HOLD_MS


def test_places_that_are_held_are_limited() -> None:
    timeline = Timeline()
    for number in range(1_000):
        timeline.hold(number)
    assert len(timeline._held_ms) == MAX_ORPHANS


def test_an_orphan_before_the_finals_holds_the_place_of_the_replay() -> None:
    timeline = Timeline()
    place(timeline.connect(0), interim(0, 700, 900, "uh"))
    second = timeline.connect(700)
    assert timeline.covered_ms == 700
    place(second, final(0, 100, 900, "one two"))  # around the orphan: the same speech
    assert timeline.covered_ms == 1_600


# --- where a replay begins -------------------------------------------------------------------------------------------


def test_a_replay_begins_a_frame_before_the_covered_place() -> None:
    """Times are as exact as a frame: a short word directly behind the final could begin there."""
    timeline = Timeline()
    assert timeline.replay_ms == 0
    place(timeline.connect(0), final(0, 0, 1_000, "one two"))
    assert (timeline.covered_ms, timeline.replay_ms) == (1_000, 1_000 - JITTER_MS)


def test_a_replay_begins_no_earlier_than_the_last_one_as_long_as_nothing_is_final() -> None:
    timeline = Timeline()
    place(timeline.connect(0), final(0, 0, 1_000, "one two"))
    for _ in range(3):
        place(timeline.connect(timeline.replay_ms), interim(0, 150, 300, "three"))
        assert timeline.replay_ms == 1_000 - JITTER_MS


@pytest.mark.parametrize("start_ms", [999, 1_000, 1_001])
def test_the_boundary_between_two_segments_is_exact(start_ms: int) -> None:
    timeline = Timeline()
    place(timeline.connect(0), final(0, 0, 1_000, "one two"), interim(1, start_ms, 1_500, "three"))
    expected_ms = 1_000 if start_ms == 1_000 else min(start_ms, 1_000) - JITTER_MS
    assert timeline.replay_ms == expected_ms


@pytest.mark.parametrize(
    ("distance_ms", "back_ms"), [(50, 0), (60, JITTER_MS), (100, JITTER_MS), (250, 250), (-300, 300), (900, DOUBT_MS)]
)
def test_a_replay_begins_earlier_by_as_much_as_starts_jitter(distance_ms: int, back_ms: int) -> None:
    """The final may be as late as its start was: a short word behind it begins before its end."""
    timeline = Timeline()
    line = timeline.connect(0)
    place(line, interim(0, 1_000, 1_200, "one"), final(0, 1_000 + distance_ms, 3_000, "one two"))
    place(line, interim(1, 3_000, 3_500, "three"))
    assert timeline.replay_ms == 3_000 - back_ms


@pytest.mark.parametrize(("overlap_ms", "back_ms"), [(40, 0), (80, JITTER_MS), (180, 180), (300, 0)])
def test_a_replay_begins_earlier_by_as_much_as_finals_overlap(overlap_ms: int, back_ms: int) -> None:
    """A large overlap is none of times that are off: the finals are not in order."""
    timeline = Timeline()
    line = timeline.connect(0)
    place(line, final(0, 0, 1_000, "one two"), final(1, 1_000 - overlap_ms, 2_000, "three four"))
    place(line, interim(2, 2_000, 2_500, "five"))
    assert timeline.replay_ms == 2_000 - back_ms


@pytest.mark.parametrize(
    ("words", "begin_ms"),
    [
        # the last word, since the one before it is another
        ([("the", 0, 300), ("no", 300, 600), ("yes", 700, 1_000)], 700),
        # equal words are recognised again with a word before them that differs
        ([("the", 0, 200), ("no", 200, 450), ("No,", 500, 700), ("no", 700, 1_000)], 200),
        # a pause: no word is cut in two there
        ([("no", 0, 200), ("no", 450, 700), ("no", 700, 1_000)], 450),
        ([("one", 0, 300), ("two", 300, 700)], 1_000),
        # punctuation is no word
        ([("one", 0, 300), ("two", 600, 990), (".", 990, 1_000)], 600),
        # times that are none
        ([("one", 0, 300), ("two", 1_000, 1_000)], 1_000),
    ],
)
def test_a_replay_begins_with_whole_words_where_they_have_times(
    words: list[tuple[str, int, int]], begin_ms: int
) -> None:
    timeline = Timeline()
    place(timeline.connect(0), final_of_words(words, 1_000))
    assert timeline.replay_ms == begin_ms - JITTER_MS


def test_a_replay_reaches_back_over_a_limited_number_of_equal_words() -> None:
    timeline = Timeline()
    place(timeline.connect(0), final_of_words([("no", ms, ms + 200) for ms in range(0, 10_000, 200)], 10_000))
    assert timeline.replay_ms == 10_000 - JITTER_MS


@pytest.mark.parametrize(("distance_ms", "may_repeat"), [(200, True), (201, False)])
def test_a_final_of_equal_words_at_much_the_same_place_may_be_a_repeat(distance_ms: int, may_repeat: bool) -> None:
    timeline = Timeline()
    events = place(timeline.connect(0), final(0, 1_000, 1_300, "no"), final(1, 1_000 + distance_ms, 1_450, "no"))
    assert [event.may_repeat for event in events if isinstance(event, Result)] == [False, may_repeat]


def test_a_final_behind_an_interim_is_no_repeat() -> None:
    timeline = Timeline()
    line = timeline.connect(0)
    events = place(line, final(0, 1_000, 1_300, "no"), interim(1, 1_150, 1_400, "no"), final(1, 1_150, 1_450, "no"))
    assert not any(event.may_repeat for event in events if isinstance(event, Result))


def test_the_repeat_of_a_final_that_was_left_out_may_repeat_words() -> None:
    timeline = Timeline()
    place(timeline.connect(0), final(0, 0, 1_000, "one two"), final_of_words([("no", 1_000, 1_300)], 1_300, 1))
    second = timeline.connect(900)
    assert finals_of(place(second, final_of_words([("no", 250, 540)], 540))) == []
    again = place(second, final_of_words([("no", 400, 670)], 670, 1))
    assert all(event.may_repeat for event in again if isinstance(event, Result))
    assert finals_of(again)


@pytest.mark.parametrize(
    ("start_ms", "end_ms", "expected"),
    [
        (0, 900, None),
        (50, 1_100, None),
        (0, 1_400, (1_000, 1_400)),
        (1_900, 3_300, (3_000, 3_300)),
        (600, 2_600, (1_000, 2_000)),
    ],
    ids=["known", "but for the jitter", "the end is new", "behind", "between"],
)
def test_speech_without_a_text_is_lost_where_no_final_has_it(
    start_ms: int, end_ms: int, expected: tuple[int, int] | None
) -> None:
    timeline = Timeline()
    place(timeline.connect(0), final(0, 0, 1_000, "one"), final(1, 2_000, 3_000, "two"))
    assert timeline.connect(0).place_unheard(start_ms, end_ms, 9_000) == expected


def test_the_start_of_speech_in_the_repeated_audio_shows_with_the_first_new_word() -> None:
    timeline = Timeline()
    place(timeline.connect(0), final(0, 0, 1_000, "one two"))
    second = timeline.connect(900)
    assert place(second, SpeechStarted(segment_id=0, start_ms=0)) == []
    assert [event.segment_id for event in place(second, interim(0, 0, 600, "two three"))] == [1, 1]


def test_a_repeated_final_does_not_pass_an_open_segment_behind_it() -> None:
    timeline = Timeline()
    place(timeline.connect(0), final(0, 0, 1_000, "one two"), interim(1, 1_000, 1_000, "three"))
    second = timeline.connect(900)
    assert withdrawals_of(place(second, final(0, 0, 80, "two"))) == []
    assert finals_of(place(second, final(1, 100, 600, "three"))) == [(1, "three", 1_000, 1_500)]


@pytest.mark.parametrize(
    ("end_ms", "words", "covered_ms"),
    [
        # by the exactness of times, it ends where the audio does
        (2_000 + DOUBT_MS, [], 2_000),
        # else that is no end, as if it had none: words without a final may be behind it
        (2_001 + DOUBT_MS, [], 100),
        (9_000, [], 100),
        # the times of its words are better ones, if they are possible
        (9_000, [("one", 100, 400), ("two", 500, 800)], 800),
        (9_000, [("one", 100, 400), ("two", 500, 9_000)], 100),
    ],
)
def test_a_final_whose_end_is_far_beyond_the_audio_that_was_sent_covers_no_more_than_its_words(
    end_ms: int, words: list[tuple[str, int, int]], covered_ms: int
) -> None:
    timed = tuple(Word(text=text, start_ms=begin, end_ms=end) for text, begin, end in words)
    timeline = Timeline()
    timeline.connect(0).place(msgspec.structs.replace(final(0, 100, end_ms, "one two"), words=timed), 2_000)
    assert timeline.covered_ms == covered_ms
    second = timeline.connect(covered_ms)
    start_ms = 2_200 - covered_ms
    assert finals_of(place(second, final(0, start_ms, start_ms + 900, "three"))) == [(1, "three", 2_200, 3_100)]


def test_a_final_without_an_end_ends_where_the_audio_ends_and_covers_nothing_new() -> None:
    timeline = Timeline()
    (placed,) = timeline.connect(0).place(final(0, 100, 100, "one two"), 2_000)
    assert isinstance(placed, Result)
    assert (placed.start_ms, placed.end_ms) == (100, 2_000)
    assert timeline.covered_ms == 100
    second = timeline.connect(100)
    assert not second.place(final(0, 0, 0, "one two"), 2_100)
    assert timeline.finals_end_ms == 100, "no progress"


@pytest.mark.parametrize(("start_ms", "end_ms"), [(-80, 800), (-500, -100)])
def test_times_before_the_source_are_its_start(start_ms: int, end_ms: int) -> None:
    timeline = Timeline()
    (placed,) = place(timeline.connect(0), final(0, start_ms, end_ms, "one"))
    assert (placed.start_ms, placed.end_ms) == (0, max(0, end_ms))
    assert timeline.covered_ms == max(0, end_ms)


def test_audio_that_a_task_has_confirmed_is_covered() -> None:
    timeline = Timeline()
    timeline.connect(0)
    timeline.confirm(3_000)
    assert (timeline.covered_ms, timeline.has_finals) == (3_000, False)


def test_the_end_that_a_task_confirms_withdraws_the_open_segments_before_it() -> None:
    timeline = Timeline()
    place(timeline.connect(0), interim(0, 0, 300, "uh"), interim(1, 5_000, 5_300, "hm"))
    timeline.connect(0)
    assert withdrawals_of(timeline.confirm(5_000)) == [(0, "uh")]
    assert withdrawals_of(timeline.confirm(6_000)) == [(1, "hm")]
    assert timeline.covered_ms == 6_000


def test_finals_before_the_audio_of_a_connection_do_not_cover_the_holes_between_those_of_others() -> None:
    timeline = Timeline()
    place(timeline.connect(0), interim(0, 500, 900, "uh"), final(1, 3_000, 4_000, "three"))
    second = timeline.connect(500)
    place(second, final(0, 0, 1_000, "one two"))
    assert (timeline.covered_ms, timeline.finals_end_ms) == (1_500, 4_000)


# --- repeats and their rests -----------------------------------------------------------------------------------------


def test_a_final_around_others_is_several_results_with_a_start_and_an_end_each() -> None:
    timeline = Timeline()
    place(timeline.connect(0), final(0, 1_000, 2_000, "two three"), final(1, 4_000, 5_000, "six"))
    second = timeline.connect(0)
    text = "one two three four five six seven"
    translation = Translation(text="T", is_final=True, start_ms=0, end_ms=6_000)
    events = place(
        second, SpeechStarted(segment_id=0, start_ms=0), final(0, 0, 6_000, text),
        SpeechEnded(segment_id=0, end_ms=6_000),
        TranslationArrived(segment_id=0, language="en", translation=translation),
    )  # fmt: skip
    finals = finals_of(events)
    assert [(segment_id, text) for segment_id, text, _, _ in finals] == [(2, "one"), (3, "four five"), (4, "seven")]
    assert [(start_ms, end_ms) for _, _, start_ms, end_ms in finals] == [(0, 1_000), (2_000, 4_000), (5_000, 6_000)]
    framed = [(type(event), event.segment_id) for event in events[:9]]
    assert framed == [(kind, n) for n in (2, 3, 4) for kind in (SpeechStarted, Result, SpeechEnded)]
    assert [event.segment_id for event in events[9:]] == [2, 3, 4], "the translation belongs to all pieces"
    assert timeline.covered_ms == 6_000


def test_a_translation_of_a_part_is_of_the_whole_and_marked() -> None:
    timeline = Timeline()
    place(timeline.connect(0), final(0, 0, 1_000, "one two"))
    translations = {"en": Translation(text="T", is_final=True, start_ms=0, end_ms=2_000)}
    received = msgspec.structs.replace(final(0, 0, 2_000, "one two three four"), translations=translations)
    (placed,) = place(timeline.connect(0), received)
    assert (placed.text, placed.translations["en"].text, placed.may_repeat) == ("three four", "T", True)


def test_a_final_that_only_repeats_others_is_left_out_and_covers_its_audio() -> None:
    timeline = Timeline()
    place(timeline.connect(0), interim(0, 0, 100, "x"), final(1, 1_000, 2_000, "one two"))
    second = timeline.connect(900)
    events = place(
        second, SpeechStarted(segment_id=0, start_ms=100), interim(0, 100, 500, "one"),
        final(0, 100, 1_100, "one two"), SpeechEnded(segment_id=0, end_ms=1_100),
    )  # fmt: skip
    assert withdrawals_of(events) == [(0, "x")]
    assert len(events) == 1
    assert timeline.is_between_segments


@pytest.mark.parametrize(("text", "is_repeat"), [("One, two!", True), ("three four", False)])
def test_a_final_whose_audio_was_not_sent_is_a_repeat_with_the_same_place_and_words(text: str, is_repeat: bool) -> None:
    timeline = Timeline()
    timeline.connect(0).place(final(0, 1_000, 3_000, "one two"), 2_000)
    second = timeline.connect(2_000)
    events = second.place(final(0, -950, 1_050, text), 2_500)
    assert (not events) == is_repeat


def test_the_end_of_the_audio_of_a_drained_connection_limits_its_finals() -> None:
    timeline = Timeline()
    first = timeline.connect(0)
    first.limit_ms = 2_000
    first.place(final(0, 0, 2_300, "one two"), 9_000)
    assert timeline.covered_ms == 2_000
    (unended,) = first.place(final(1, 1_500, 1_500, "three"), 9_000)
    assert isinstance(unended, Result)
    assert unended.end_ms == 2_000


def test_finals_before_the_place_of_a_replay_are_forgotten_except_the_last_ones() -> None:
    timeline = Timeline()
    place(timeline.connect(0), *(final(n, 1_000 * n, 1_000 * (n + 1), f"word {n}") for n in range(20)))
    timeline.forget(10_000)
    assert timeline._finals[KEPT_FINALS].end_ms == 10_000 - KEPT_MS  # some before it, whatever is behind it
    timeline.forget(100_000)
    assert len(timeline._finals) == KEPT_FINALS
    assert timeline._finals_bytes == sum(kept.size_bytes for kept in timeline._finals)
    assert timeline.has_finals


def final_of(segment_id: int, *words: tuple[str, int, int]) -> Result:
    return Result(
        text="".join(text for text, _, _ in words),
        is_final=True,
        segment_id=segment_id,
        start_ms=words[0][1],
        end_ms=words[-1][2],
        words=tuple(Word(text=text, start_ms=start_ms, end_ms=end_ms) for text, start_ms, end_ms in words),
    )


def test_equal_words_behind_a_final_that_was_recognised_again_are_other_ones() -> None:
    """The jitter of both would explain the place of the second one, if the first had not come again before."""
    timeline = Timeline()
    place(timeline.connect(0), final_of(0, ("他", 249, 454), ("是", 454, 738)), final_of(1, ("好", 1_079, 1_245)))
    second = timeline.connect(354)
    assert place(second, final_of(0, ("他", -41, 81), ("是", 81, 365))) == []
    (new,) = place(second, final_of(1, ("是", 412, 725), ("好", 725, 891)))
    assert (new.text, new.start_ms, new.end_ms) == ("是", 766, 1_079)


def test_a_final_that_the_vendor_repeats_without_its_audio_does_not_stand_for_its_words() -> None:
    timeline = Timeline()
    place(timeline.connect(0), final_of(0, ("他", 249, 454), ("是", 454, 738)))
    second = timeline.connect(700)
    assert place(second, final_of(0, ("他", -451, -246), ("是", -246, 38))) == []
    assert place(second, final_of(1, ("是", 0, 60))) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("yes", 1_000, 1_200), ("no yes no", 990, 3_000)),  # a short sentence, and the long one behind it
        (("no yes no", 990, 3_000), ("yes", 1_000, 1_200)),  # its final is late
        (("yes", 1_150, 1_350), ("no yes no", 1_000, 3_000)),
    ],
)
def test_finals_that_begin_together_but_for_the_jitter_are_in_the_order_of_their_middles(
    first: tuple[str, int, int], second: tuple[str, int, int]
) -> None:
    def final_at(segment_id: int, text: str, start_ms: int, end_ms: int) -> Result:
        return final(segment_id, start_ms, end_ms, text)

    placed = finals_of(place(Timeline().connect(0), final_at(0, *first), final_at(1, *second)))
    in_order = sorted(placed, key=lambda each: each[2])
    assert [text for _, text, _, _ in in_order] == ["yes", "no yes no"]
    assert in_order[0][2] < in_order[1][2]


def test_finals_that_do_not_begin_together_keep_their_times() -> None:
    events = place(Timeline().connect(0), final(0, 1_201, 1_500, "yes"), final(1, 1_000, 3_000, "no yes no"))
    assert finals_of(events) == [(0, "yes", 1_201, 1_500), (1, "no yes no", 1_000, 3_000)]


def test_a_final_from_long_before_a_replay_is_known_although_many_followed_it() -> None:
    timeline = Timeline()
    first = [final(n, 1_000 * n, 1_000 * n + 800, f"word {n}") for n in range(20)]
    place(timeline.connect(0), *first)
    timeline.forget(10_000)
    assert place(timeline.connect(10_000), final(0, -5_000, -4_200, "word 5")) == []


def test_a_final_before_the_audio_of_its_connection_is_marked_if_it_is_not_known() -> None:
    timeline = Timeline()
    place(timeline.connect(0), final(0, 9_000, 9_900, "one two"))
    (placed,) = place(timeline.connect(9_800), final(0, -5_000, -4_200, "three"))
    assert placed.may_repeat


def test_a_final_that_is_only_sent_again_does_not_stand_for_its_words_that_are_recognised_again() -> None:
    timeline = Timeline()
    place(timeline.connect(0), final(0, 1_000, 3_000, "one two three"))
    second = timeline.connect(2_850)
    assert place(second, final(0, -1_850, 150, "one two three")) == []  # its audio was not sent
    assert place(second, final(1, 0, 80, "three")) == []


def test_a_word_behind_the_audio_of_a_final_without_an_end_may_be_its_last_one() -> None:
    timeline = Timeline()
    first = timeline.connect(0)
    first.limit_ms = 3_000
    place(first, final(0, 1_000, 1_000, "one two three"))
    (placed,) = place(timeline.connect(3_000), final(0, 80, 300, "three"))
    assert placed.may_repeat


def test_the_new_words_behind_a_final_without_an_end_begin_behind_its_start() -> None:
    timeline = Timeline()
    place(timeline.connect(0), interim(0, 3_460, 3_800, "pavadu"), final(0, 3_460, 3_460, "pavadu"))
    (placed,) = place(timeline.connect(3_000), final(0, 300, 1_260, "pavadu fulilu zuga"))
    assert placed.text == "fulilu zuga"
    assert placed.start_ms > 3_460


def test_the_new_words_behind_a_final_without_an_end_begin_behind_the_interim_with_its_words() -> None:
    timeline, text = Timeline(), "one two three"
    first = timeline.connect(0)
    place(first, interim(0, 4_600, 5_200, text))
    first.place(final(0, 4_600, 4_600, f"{text}."), 7_000)
    (placed,) = timeline.connect(4_500).place(final(0, 100, 100, f"{text} four"), 7_300)
    assert isinstance(placed, Result)
    assert (placed.text, placed.start_ms) == ("four", 5_200)


def test_a_start_is_no_end_of_an_interim() -> None:
    timeline = Timeline()
    first = timeline.connect(0)
    place(first, interim(0, 1_784, 1_784, "one two three"))
    first.place(final(0, 1_758, 1_758, "one two three"), 5_900)
    second = timeline.connect(1_658)
    assert not place(second, final(0, 1_000, 1_400, "three"))


def test_a_final_without_an_end_that_is_moved_before_another_has_no_end() -> None:
    timeline = Timeline()
    first = timeline.connect(0)
    place(first, final(0, 1_720, 5_000, "a longer one"))
    (placed,) = first.place(final(1, 1_758, 1_758, "short"), 5_900)
    assert isinstance(placed, Result)
    assert (placed.start_ms, placed.end_ms) == (1_719, 5_900)


def test_a_part_of_a_final_with_an_end_has_an_end() -> None:
    timeline = Timeline()
    place(timeline.connect(0), final(0, 1_000, 1_400, "two"))
    (placed,) = timeline.connect(900).place(final(0, 150, 500, "one two"), 5_000)
    assert isinstance(placed, Result)
    assert (placed.text, placed.start_ms, placed.end_ms) == ("one", 999, 1_051)


def test_finals_whose_times_overlap_by_their_jitter_are_compared_in_their_order() -> None:
    timeline = Timeline()
    place(
        timeline.connect(0),
        final_of_words([("a", 10_215, 10_296)], 10_296),
        final_of_words([("to", 10_141, 10_259), ("call", 10_297, 10_502)], 10_502, 1),
    )
    again = [("a", 65, 146), ("to", 146, 264), ("call", 302, 507)]
    assert place(timeline.connect(10_200), final_of_words(again, 507)) == []


# --- times that are off by more than a frame --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interims", "last", "marks"),
    [
        # the interim repeats the known word; the final is so far from it that it counts as new
        ([(2_471, ["we"])], (2_720, ["we"]), [True]),
        ([(2_471, ["we"]), (2_471, ["we", "see"])], (2_720, ["we", "see"]), [True]),
        # a word behind the one that is left out is new in both
        ([(2_330, ["we"])], (2_330, ["we", "see"]), [False]),
        ([(2_330, ["we"])], (2_330, ["we", "we"]), [False]),
        # no interim: the distance tells
        ([], (2_720, ["we"]), [False]),
    ],
)
def test_a_final_with_words_that_were_left_out_of_its_interim_may_repeat_them(
    interims: list[tuple[int, list[str]]], last: tuple[int, list[str]], marks: list[bool]
) -> None:
    def result_of(start_ms: int, words: list[str], *, is_final: bool) -> Result:
        places = [(text, start_ms + 210 * at, start_ms + 210 * (at + 1)) for at, text in enumerate(words)]
        timed = tuple(Word(text=text, start_ms=begin, end_ms=end) for text, begin, end in places)
        return Result(
            text=" ".join(words),
            is_final=is_final,
            segment_id=0,
            start_ms=start_ms,
            end_ms=places[-1][2],
            words=timed,
        )

    timeline = Timeline()
    place(timeline.connect(0), result_of(2_310, ["we"], is_final=True))
    line = timeline.connect(0)
    place(line, *(result_of(start_ms, words, is_final=False) for start_ms, words in interims))
    finals = [event for event in place(line, result_of(*last, is_final=True)) if isinstance(event, Result)]
    assert [final.may_repeat for final in finals] == marks


@pytest.mark.parametrize(("until_ms", "marks"), [(0, [False, False]), (4_000, [True, False])])
def test_what_follows_results_without_times_may_repeat_them_up_to_the_end_of_their_audio(
    until_ms: int, marks: list[bool]
) -> None:
    """The places of the first connection are estimates: its words may lie anywhere in its audio."""
    timeline = Timeline()
    place(timeline.connect(0), final(0, 0, 1_200, "one two three"))
    line = timeline.connect(1_200, untimed_until_ms=until_ms)
    placed = place(line, final(0, 700, 1_300, "three"), final(1, 3_000, 3_500, "four"))
    assert [event.may_repeat for event in placed if isinstance(event, Result)] == marks
    again = timeline.connect(1_200)
    (once_more,) = [event for event in place(again, final(0, 1_700, 2_300, "five")) if isinstance(event, Result)]
    assert once_more.may_repeat is (until_ms > 0)


@pytest.mark.parametrize(("open_ms", "texts", "marks"), [(None, ["go"], [False]), (810, ["no", "go"], [True, True])])
def test_words_of_a_segment_that_was_left_open_may_lie_between_two_finals(
    open_ms: int | None, texts: list[str], marks: list[bool]
) -> None:
    """The connection begins in the first "no"; behind it, another one was an interim, and never final."""
    timeline = Timeline()
    line = timeline.connect(0)
    place(line, final_of_words([("the", 200, 500), ("no", 500, 800)], 800))
    if open_ms is not None:
        place(line, interim(1, open_ms, 900, "no"))
    place(line, msgspec.structs.replace(final_of_words([("yes", 880, 1_100)], 1_100), segment_id=2, start_ms=880))
    again = timeline.connect(700)
    words = [("no", 110, 195), ("yes", 195, 400), ("go", 450, 700)]
    placed = place(again, msgspec.structs.replace(final_of_words(words, 700), start_ms=110))
    results = [event for event in placed if isinstance(event, Result)]
    assert [event.text for event in results] == texts
    assert [event.may_repeat for event in results] == marks
