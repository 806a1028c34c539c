"""The rule for segments: keys, places, repeats, stale segments, the end of the task, and bounds."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_async import Result, SpeechEnded, SpeechStarted, Word
from asr_async._alignment.places import JITTER_MS
from asr_async.vendors.codec import CodecEvent, Unheard
from asr_async.vendors.segments import (
    MAX_REMEMBERED,
    MAX_REMEMBERED_CHARS,
    STALE_MS,
    SegmentTracker,
    TrackedSegment,
)

Key: TypeAlias = int | str | None
Tracker: TypeAlias = SegmentTracker[Key, TrackedSegment[Key]]


class Task:
    """A task whose messages go through a tracker, as a codec passes them on."""

    def __init__(self, *, sequential: bool = True, max_open: int = MAX_REMEMBERED) -> None:
        self.tracker: Tracker = SegmentTracker(TrackedSegment, is_sequential=sequential, max_open=max_open)

    def receive(
        self,
        text: str,
        start: int | None,
        end: int | None,
        key: Key = None,
        *,
        final: bool,
        raw: str = "",
        words: tuple[Word, ...] = (),
    ) -> list[CodecEvent]:
        events: list[CodecEvent] = []
        segment = self.tracker.assign(key, start, end, text, is_final=final, events=events)
        if segment is None:
            return events
        start_ms = segment.start_ms if start is None else start
        end_ms = start_ms if end is None else end
        result = Result(
            text=text,
            is_final=final,
            segment_id=segment.id,
            start_ms=start_ms,
            end_ms=end_ms,
            words=words,
            raw=raw or text,
        )
        if not final:
            segment.interim_result = result
            return [*events, result]
        return [*events, *self.tracker.end(segment, result), result, *self.tracker.close(segment)]

    def interim(self, text: str, start: int | None = None, end: int | None = None, key: Key = None) -> list[Any]:
        return brief(self.receive(text, start, end, key, final=False))

    def final(self, text: str, start: int | None = None, end: int | None = None, key: Key = None) -> list[Any]:
        return brief(self.receive(text, start, end, key, final=True))

    def detect(self, start: int | None, key: Key) -> list[Any]:
        events: list[CodecEvent] = []
        self.tracker.detect(key, start, events)
        return brief(events)

    def end(self) -> list[Any]:
        return brief(self.tracker.close_at_end("no text"))


def brief(events: list[CodecEvent]) -> list[Any]:
    """Return each event as a short tuple: its kind, its segment, and what else matters."""
    found: list[Any] = []
    for event in events:
        match event:
            case SpeechStarted():
                found.append(("started", event.segment_id, event.start_ms))
            case SpeechEnded(is_withdrawn=True):
                found.append(("withdrawn", event.segment_id, event.withdrawn_text))
            case SpeechEnded():
                found.append(("ended", event.segment_id, event.end_ms))
            case Result(is_final=False):
                found.append(("interim", event.segment_id, event.text))
            case Result(is_confirmed=False):
                found.append(("unconfirmed", event.segment_id, event.text))
            case Result():
                found.append(("final", event.segment_id, event.text))
            case _:
                found.append(event)
    return found


def started(segment_id: int, start_ms: int) -> tuple[str, int, int]:
    return "started", segment_id, start_ms


def whole(segment_id: int, text: str, start_ms: int, end_ms: int) -> list[Any]:
    """Return the events of a segment that begins with its final."""
    return [started(segment_id, start_ms), ("final", segment_id, text), ("ended", segment_id, end_ms)]


# --- the segment of a message ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequential", [True, False])
@pytest.mark.parametrize("key", [1, "item", None])
def test_interims_and_the_final_of_a_sentence_are_one_segment(sequential: bool, key: Key) -> None:
    task = Task(sequential=sequential)
    assert task.interim("one", 100, 400, key) == [started(0, 100), ("interim", 0, "one")]
    assert task.interim("one two", 100, 900, key) == [("interim", 0, "one two")]
    assert task.final("one two", 100, 1_000, key) == [("final", 0, "one two"), ("ended", 0, 1_000)]
    assert task.interim("three", 1_500, 1_600, None if key is None else f"{key}2")[0] == started(1, 1_500)


@pytest.mark.parametrize("sequential", [True, False])
def test_without_a_key_the_start_may_jitter_by_a_frame(sequential: bool) -> None:
    task = Task(sequential=sequential)
    task.interim("a", 100, 300)
    assert task.interim("a b", 130, 500) == [("interim", 0, "a b")]
    assert task.interim("a b c", 100 - JITTER_MS, 700) == [("interim", 0, "a b c")]
    assert task.final("a b c", 120, 800) == [("final", 0, "a b c"), ("ended", 0, 800)]


@pytest.mark.parametrize(
    ("start", "end", "is_same"),
    [
        (600, 1_200, True),  # well inside what was said so far
        (0, 1_200, True),  # begins before, and covers it
        (850, 1_500, False),  # touches its end within a frame: the next sentence
        (900, 1_500, False),
        (2_000, None, False),
        (600, None, True),
    ],
)
def test_without_a_key_the_place_decides(start: int, end: int | None, is_same: bool) -> None:
    task = Task(sequential=False)
    task.interim("a", 300, 900)
    assert (task.final("a b", start, end)[0] == ("final", 0, "a b")) is is_same


@pytest.mark.parametrize("sequential", [True, False])
def test_the_first_word_of_a_sentence_and_more_is_that_sentence_though_jitter_parts_them(sequential: bool) -> None:
    task = Task(sequential=sequential)
    task.interim("the", 5_544, 5_701)
    assert task.interim("the the", 5_706, 6_163) == [("interim", 0, "the the")]
    assert task.final("the the end", 5_550, 6_574) == [("final", 0, "the the end"), ("ended", 0, 6_574)]
    task.interim("no", 7_000, 7_150)
    assert task.interim("yes", 7_170, 7_300)[-2:] == [started(2, 7_170), ("interim", 2, "yes")]


def test_an_open_interim_without_a_key_that_a_later_final_holds_is_withdrawn() -> None:
    task = Task(sequential=False)
    task.interim("no", 1_000, 1_200)
    task.interim("three", 2_000, 2_150)
    task.interim("four", 2_300, 2_500)
    events = task.final("three four", 2_005, 2_900)
    assert events == [("withdrawn", 2, "four"), ("final", 1, "three four"), ("ended", 1, 2_900)]
    assert task.end() == [("unconfirmed", 0, "no"), ("ended", 0, 1_200)]


def test_the_next_sentence_does_not_replace_an_interim_of_a_word_that_is_shorter_than_the_jitter() -> None:
    """The final of the word is late: if the connection is lost, a replay begins at the word."""
    task = Task(sequential=False)
    task.interim("see", 12_302, 12_383)
    assert task.interim("seventy four", 12_383, 12_850) == [started(1, 12_383), ("interim", 1, "seventy four")]
    assert task.interim("seventy four", 12_340, 12_807) == [("interim", 1, "seventy four")]
    assert task.final("Seventy four, see.", 12_395, 13_500)[-2:] == [
        ("final", 1, "Seventy four, see."),
        ("ended", 1, 13_500),
    ]
    assert task.final("See.", 12_310, 12_391) == [("final", 0, "See."), ("ended", 0, 12_391)]


@pytest.mark.parametrize(("end", "is_new"), [(2_050, True), (1_864, False)])
def test_the_same_word_said_again_is_another_segment_unless_it_is_as_long(end: int, is_new: bool) -> None:
    task = Task(sequential=False)
    task.interim("go", 1_552, 1_674)
    assert task.interim("go", 1_742, end)[-1] == ("interim", int(is_new), "go")
    if is_new:
        assert task.final("Go.", 1_748, 2_056) == [("final", 1, "Go."), ("ended", 1, 2_056)]
        assert task.final("Go.", 1_600, 1_722) == [("final", 0, "Go."), ("ended", 0, 1_722)]


def test_another_reading_of_the_first_word_replaces_it() -> None:
    task = Task(sequential=False)
    task.interim("uh", 1_000, 1_150)
    assert task.interim("a hundred", 1_070, 1_700) == [("interim", 0, "a hundred")]


def test_interims_of_a_sequential_vendor_with_another_key_at_the_same_place_are_the_same_speech() -> None:
    task = Task()
    task.interim("uh", 500, None, 1)
    assert task.interim("one", 520, 700, 2) == [("interim", 0, "one")]
    assert task.interim("one two", 500, 900, 2) == [("interim", 0, "one two")]
    assert task.final("one two", 500, 2_500, 2) == [("final", 0, "one two"), ("ended", 0, 2_500)]


def test_the_key_of_a_sequential_vendor_decides_even_if_its_place_moves() -> None:
    task = Task()
    task.interim("a", 0, None, 1)
    assert task.interim("a b", 3_000, None, 1) == [("interim", 0, "a b")]
    assert task.final("a b", 3_000, 4_000, 1) == [("final", 0, "a b"), ("ended", 0, 4_000)]


def test_the_key_of_another_vendor_is_another_segment_at_another_place() -> None:
    task = Task(sequential=False)
    task.interim("a", 0, 500, "x")
    assert task.interim("b", 5_000, 5_100, "x") == [started(1, 5_000), ("interim", 1, "b")]
    assert task.final("b", 5_000, 6_000, "x") == [("final", 1, "b"), ("ended", 1, 6_000)]
    assert task.end() == [("unconfirmed", 0, "a"), ("ended", 0, 500)]


@pytest.mark.parametrize(
    ("interim", "end", "is_other"),
    [("see", 1_300, True), ("see", 1_230, False), ("go on", 1_300, False), ("going", 1_300, True)],
)
def test_the_interim_of_the_next_sentence_at_the_same_place_is_not_closed_by_the_final_of_the_first(
    interim: str, end: int, is_other: bool
) -> None:
    task = Task(sequential=False)
    task.interim("go", 1_000, 1_200)
    assert task.interim(interim, 1_020, end) == [("interim", 0, interim)]
    events = task.final("Go.", 1_000, 1_200)
    if not is_other:
        assert events == [("final", 0, "Go."), ("ended", 0, 1_200)]
        return
    assert events == [started(1, 1_020), ("interim", 1, interim), ("final", 0, "Go."), ("ended", 0, 1_200)]
    assert task.final(f"{interim}.", 1_020, end) == [("final", 1, f"{interim}."), ("ended", 1, end)]


@pytest.mark.parametrize(("start", "later_start"), [(1_020, 1_210), (1_090, 1_210), (1_090, 1_280)])
def test_an_interim_that_a_final_holds_gets_no_segment_of_its_own(start: int, later_start: int) -> None:
    """The first interim of a sentence went to the sentence before it, the others to a segment of their own."""
    task = Task(sequential=False)
    task.interim("go", 1_000, 1_200)
    assert task.interim("see", start, start + 320) == [("interim", 0, "see")]
    assert task.interim("see it all", later_start, later_start + 900)[0] == started(1, later_start)
    assert ("final", 1, "See it all.") in task.final("See it all.", later_start, later_start + 900)
    assert [event for event in task.final("Go.", 1_000, 1_190) if event[0] != "ended"] == [("final", 0, "Go.")]
    assert task.end() == []


def test_two_named_segments_at_one_place_are_two() -> None:
    task = Task(sequential=False)
    task.interim("a", 0, 500, "x")
    assert task.interim("b", 0, 500, "y")[0] == started(1, 0)


@pytest.mark.parametrize("sequential", [True, False])
def test_a_message_with_neither_key_nor_place_belongs_to_the_newest_open_segment(sequential: bool) -> None:
    task = Task(sequential=sequential)
    assert task.interim("a") == [started(0, 0), ("interim", 0, "a")]
    assert task.interim("a b") == [("interim", 0, "a b")]
    assert task.final("a b c", None, 700) == [("final", 0, "a b c"), ("ended", 0, 700)]
    assert task.final("d", None, 900) == whole(1, "d", 700, 900)


def test_a_key_that_comes_later_names_the_open_segment() -> None:
    task = Task()
    task.interim("a")
    assert task.interim("a b", None, None, 7) == [("interim", 0, "a b")]
    assert task.final("a b", None, 500, 7) == [("final", 0, "a b"), ("ended", 0, 500)]


def test_a_place_that_comes_later_is_that_of_the_open_segment() -> None:
    task = Task(sequential=False)
    task.interim("a")
    assert task.interim("a b", 2_000, 2_500) == [("interim", 0, "a b")]
    assert task.final("c", 100, 900) == whole(1, "c", 100, 900)
    assert task.final("a b", 2_020, 2_900) == [("final", 0, "a b"), ("ended", 0, 2_900)]


def test_a_segment_without_a_start_begins_where_the_last_one_ended() -> None:
    task = Task()
    task.final("a", 100, 700, 1)
    assert task.interim("b", None, None, 2) == [started(1, 700), ("interim", 1, "b")]


def test_times_before_the_start_are_kept() -> None:
    task = Task(sequential=False)
    assert task.interim("a", -40, 200) == [started(0, -40), ("interim", 0, "a")]
    assert task.final("a", 20, 300) == [("final", 0, "a"), ("ended", 0, 300)]


def test_keys_that_interleave_belong_each_to_its_segment() -> None:
    task = Task(sequential=False)
    task.interim("a", 0, 300, "x")
    task.interim("b", 1_000, 1_300, "y")
    assert task.interim("a a", 0, 600, "x") == [("interim", 0, "a a")]
    assert task.interim("b b", 1_000, 1_600, "y") == [("interim", 1, "b b")]
    assert task.final("b b", 1_000, 1_900, "y") == [("final", 1, "b b"), ("ended", 1, 1_900)]
    assert task.final("a a", 0, 900, "x") == [("final", 0, "a a"), ("ended", 0, 900)]


def test_a_message_without_text_opens_nothing_and_may_close_a_segment() -> None:
    task = Task()
    assert task.final("", 0, 900, 1) == []
    task.interim("mm", 0, None, 1)
    assert task.final("", 0, 900, 1) == [("final", 0, ""), ("ended", 0, 900)]


# --- repeats ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequential", [True, False])
@pytest.mark.parametrize("key", [1, None])
@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("one two", 100, 1_000),
        ("One, two.", 100, 1_000),
        ("onetwo", 100, 1_000),
        ("one two", 60, 1_040),
        ("one two", 300, 900),  # inside
        ("one two", 120, None),
    ],
)
def test_the_same_place_and_text_is_a_repeat(
    sequential: bool, key: Key, text: str, start: int, end: int | None
) -> None:
    task = Task(sequential=sequential)
    task.final("one two", 100, 1_000, key)
    assert task.final(text, start, end, key) == []
    task.interim("three", 1_500, 1_600, 2)
    assert task.final(text, start, end, key) == []
    assert task.final("three", 1_500, 1_900, 2) == [("final", 1, "three"), ("ended", 1, 1_900)]


@pytest.mark.parametrize("key", [1, None])
@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("one three", 100, 1_000),  # another text
        ("one", 100, 1_000),
        ("one two", 1_000, 1_900),  # another place
        ("one two", 100, 2_000),
        ("one two", 500, None),
    ],
)
def test_the_same_key_with_another_place_or_text_is_a_new_segment(
    key: Key, text: str, start: int, end: int | None
) -> None:
    task = Task()
    task.final("one two", 100, 1_000, key)
    assert task.final(text, start, end, key) == whole(1, text, start, start if end is None else end)


def test_a_final_of_the_same_length_is_a_repeat_though_the_times_of_both_are_off() -> None:
    task = Task()
    assert task.final("a", 1_000, 1_300) == whole(0, "a", 1_000, 1_300)
    assert task.final("A.", 1_180, 1_480) == []
    assert task.final("a", 1_180, 1_470) == whole(1, "a", 1_180, 1_470)


def test_texts_are_compared_without_width_and_in_one_normal_form() -> None:
    task = Task()
    assert task.final("Café １２", 0, 1_000) == whole(0, "Café １２", 0, 1_000)
    assert task.final("cafe\u0301 12.", 0, 1_000) == []


def test_short_words_that_follow_each_other_are_no_repeats() -> None:
    task = Task()
    task.final("no", 1_000, 1_060, 1)
    assert task.final("no", 1_061, 1_120, 1) == whole(1, "no", 1_061, 1_120)


@pytest.mark.parametrize("key", [0, 1, None])
def test_three_finals_with_one_key_are_three_segments(key: Key) -> None:
    task = Task()
    events = [task.final(f"s{number}", number * 1_000, number * 1_000 + 900, key) for number in range(3)]
    assert [event[1] for event in events] == [("final", number, f"s{number}") for number in range(3)]


def test_keys_that_restart_are_new_segments() -> None:
    task = Task()
    for number in range(6):
        start_ms = number * 1_000
        assert task.final("yes", start_ms, start_ms + 500, number % 2) == whole(number, "yes", start_ms, start_ms + 500)


@pytest.mark.parametrize("key", [1, None])
def test_without_times_the_same_text_is_a_repeat_with_the_same_key_or_directly_behind(key: Key) -> None:
    task = Task()
    assert task.final("yes", None, None, key) == whole(0, "yes", 0, 0)
    assert task.final("Yes.", None, None, key) == []
    assert task.final("no", None, None, key) == whole(1, "no", 0, 0)
    assert task.final("yes", None, None, key) == ([] if key == 1 else whole(2, "yes", 0, 0))
    assert task.final("yes", None, None, 2)[1][2] == "yes"


def test_without_a_start_another_end_is_another_segment() -> None:
    task = Task()
    task.final("yes", None, 900)
    assert task.final("yes", None, 950) == []
    assert task.final("yes", None, 1_900) == whole(1, "yes", 900, 1_900)


@pytest.mark.parametrize(
    ("text", "start", "end", "is_late"),
    [
        ("one", 100, None, True),
        ("One tw", 150, 600, True),
        ("two", 500, 900, True),
        ("won", 100, 600, True),  # an earlier reading of the same audio
        ("won", 100, None, False),
        ("one two three", 100, 1_400, False),  # goes on behind the final
        ("two", 950, 1_200, False),  # begins within a frame of the end: the next sentence
        ("one", 1_200, None, False),
    ],
)
@pytest.mark.parametrize("key", [1, None])
def test_a_late_interim_of_a_final_is_a_repeat(key: Key, text: str, start: int, end: int | None, is_late: bool) -> None:
    task = Task()
    task.final("one two", 100, 1_000, key)
    assert (task.interim(text, start, end, key) == []) is is_late


def test_an_interim_without_times_behind_the_final_of_its_key_is_late_if_its_text_is_a_part() -> None:
    task = Task(sequential=False)
    task.final("one two", None, None, "x")
    assert task.interim("one", None, None, "x") == []
    assert task.interim("three", None, None, "x") == [started(1, 0), ("interim", 1, "three")]


def test_marks_of_letters_distinguish_texts() -> None:
    task = Task()
    task.final("कि", 0, 500)
    assert task.final("कु", 0, 500) != []
    assert task.final("कि।", 0, 500) == []


# --- stale segments --------------------------------------------------------------------------------------------------


def test_a_sequential_vendors_final_ends_the_interim_that_it_dropped() -> None:
    task = Task()
    task.interim("uh", 0, None, 1)
    assert task.final("one two", 500, 2_500, 2) == [("withdrawn", 0, "uh"), *whole(1, "one two", 500, 2_500)]


@pytest.mark.parametrize("keys", [(1, 2), (None, None)])
def test_a_sequential_vendors_next_interim_ends_the_one_that_it_dropped(keys: tuple[Key, Key]) -> None:
    task = Task()
    task.interim("uh", 0, 200, keys[0])
    assert task.interim("one", 500, 700, keys[1]) == [("withdrawn", 0, "uh"), started(1, 500), ("interim", 1, "one")]
    assert task.final("one two", 500, 2_500, keys[1]) == [("final", 1, "one two"), ("ended", 1, 2_500)]


def test_noise_behind_the_sentence_that_is_open_ends_when_a_final_covers_it() -> None:
    task = Task()
    task.interim("uh", 1_500, None, 1)
    assert task.interim("one", 200, 400, 2) == [started(1, 200), ("interim", 1, "one")]
    assert task.final("one two", 200, 2_500, 2)[:2] == [("withdrawn", 0, "uh"), ("final", 1, "one two")]


def test_the_late_final_of_a_withdrawn_segment_is_delivered_under_its_number_without_a_second_end() -> None:
    task = Task()
    task.interim("one", 0, 600, 1)
    task.interim("two", 1_000, 1_200, 2)
    assert task.final("one", 20, 800, 1) == [("final", 0, "one")]
    assert task.final("one", 20, 800, 1) == []
    assert task.final("two", 1_000, 1_900, 2) == [("final", 1, "two"), ("ended", 1, 1_900)]


def test_a_withdrawn_segment_has_one_final_also_if_it_was_not_found_by_its_place() -> None:
    task = Task()
    task.interim("one", None, None, 640)
    task.final("two", None, None, 641)
    withdrawn = next(segment for segment in task.tracker.known_segments if segment.id == 0)
    late = Result(text="", is_final=True, segment_id=0, start_ms=3_760, end_ms=3_900)
    assert brief([*task.tracker.end(withdrawn, late), late, *task.tracker.close(withdrawn)]) == [("final", 0, "")]
    assert task.final("three", 4_500, 4_900)[0] == started(2, 4_500)


def test_the_start_that_keeps_the_order_leaves_no_word_before_the_source() -> None:
    task = Task()
    task.final("one", 70, 300)
    events: list[CodecEvent] = []
    words = (Word("two", -45, -10), Word("three", -5, 420))
    segment = task.tracker.assign(None, -45, 420, "two three", is_final=True, events=events)
    assert segment is not None
    result = Result(text="two three", is_final=True, segment_id=segment.id, start_ms=-45, end_ms=420, words=words)
    task.tracker.end(segment, result)
    moved = task.tracker.in_order(segment, result)
    assert (moved.start_ms, moved.words) == (70, (Word("two", 0, 0), Word("three", 0, 420)))


def test_a_key_that_restarts_is_not_the_withdrawn_segments() -> None:
    task = Task()
    task.interim("uh", 0, None, 1)
    task.final("one", 1_000, 1_900, 2)
    assert task.final("two", 5_000, 6_000, 1) == whole(2, "two", 5_000, 6_000)


def test_a_cough_ends_when_a_later_segment_becomes_final() -> None:
    task = Task(sequential=False)
    assert task.detect(100, "cough") == [started(0, 100)]
    assert task.detect(1_000, "speech") == [started(1, 1_000)]
    events = task.final("one", None, 1_900, "speech")
    assert events == [("withdrawn", 0, ""), ("final", 1, "one"), ("ended", 1, 1_900)]
    assert task.detect(None, "cough") == []
    assert task.final("ahem", None, None, "cough") == [("final", 0, "ahem")]


def test_a_segment_with_text_waits_for_its_final_until_another_ends_far_behind_it() -> None:
    task = Task(sequential=False)
    task.interim("one", 0, 900, "a")
    task.final("two", STALE_MS, 900 + STALE_MS, "b")
    assert task.final("one", 0, 950, "a") == [("final", 0, "one"), ("ended", 0, 950)]
    task.interim("three", 20_000, 20_900, "c")
    assert task.final("four", 35_000, 20_901 + STALE_MS, "d")[:2] == [started(3, 35_000), ("withdrawn", 2, "three")]


def test_a_final_that_is_much_longer_than_its_text_takes_has_no_end() -> None:
    """Its end may be far beyond the audio. What begins inside its place is neither stale nor a repeat of it."""
    task = Task(sequential=False)
    task.interim("one", 0, 900, "a")
    task.final("no", 1_000, 30_000, "b")
    assert task.interim("yes we", 1_150, 1_900, "c") == [started(2, 1_150), ("interim", 2, "yes we")]
    assert task.final("no", 2_000, 2_300, "d")[:2] == [started(3, 2_000), ("final", 3, "no")]
    assert task.final("no", 1_000, 30_000, "b") == []
    assert task.final("one", 0, 950, "a") == [("final", 0, "one"), ("ended", 0, 950)]


def test_a_final_whose_end_is_beyond_its_words_ends_with_them() -> None:
    task = Task(sequential=False)
    task.receive("no", 5_311, 18_000, final=True, words=(Word("no", 5_311, 5_477),))
    assert task.final("no", 5_290, 18_000) == [], "a repeat, whose end is not known"
    assert task.final("no", 5_113, 5_285) == whole(1, "no", 5_113, 5_285), "the same word before it"


def test_chinese_that_is_spoken_slowly_has_an_end() -> None:
    task = Task(sequential=False)
    task.final("今天天气不错", 0, 4_400, "a")
    assert task.interim("天气不错", 1_400, 4_300, "b") == []


# --- signs of speech without text ------------------------------------------------------------------------------------


def test_a_sign_is_of_the_open_segment_with_its_key_and_none_of_one_that_has_ended() -> None:
    task = Task(sequential=False)
    assert task.detect(100, "a") == [started(0, 100)]
    assert [task.detect(100, "a"), task.detect(None, "a"), task.detect(None, None)] == [[], [], []]
    task.final("one", None, 900, "a")
    assert [task.detect(None, "a"), task.detect(120, "a")] == [[], []]
    assert task.detect(5_000, "a") == [started(1, 5_000)]


def test_the_text_of_a_detection_without_a_place_of_its_own_is_the_first_that_comes() -> None:
    task = Task(sequential=False)
    events: list[CodecEvent] = []
    task.tracker.open(None, 420, events).is_placed = False
    assert task.interim("a", 100, 300) == [("interim", 0, "a")]
    assert task.interim("b", 2_000, 2_300) == [started(1, 2_000), ("interim", 1, "b")]


# --- the end ---------------------------------------------------------------------------------------------------------


def test_at_the_end_open_texts_are_finals_that_are_not_confirmed() -> None:
    task = Task(sequential=False)
    task.detect(500, "silent")
    task.interim("two", 1_000, 1_300, "b")
    task.interim("one", 0, 600, "a")
    events = task.tracker.close_at_end("no text")
    assert brief(events) == [
        ("unconfirmed", 2, "one"),
        ("ended", 2, 600),
        ("unconfirmed", 1, "two"),
        ("ended", 1, 1_300),
        ("withdrawn", 0, ""),
        Unheard(500, None, "no text"),
    ]
    (final, *_) = events
    assert isinstance(final, Result)
    assert (final.is_final, final.raw) == (True, "one")
    assert task.end() == []


@pytest.mark.parametrize(("start", "may_repeat"), [(1_450, True), (2_950, False)])
def test_an_open_text_inside_a_final_may_be_another_reading_of_its_words(start: int, may_repeat: bool) -> None:
    task = Task(sequential=False)
    task.interim("twenty five", start, start + 400)
    task.final("about 25 of us", 1_000, 2_500)
    finals = [event for event in task.tracker.close_at_end("no text") if isinstance(event, Result)]
    assert [(final.text, final.is_confirmed, final.may_repeat) for final in finals] == [
        ("twenty five", False, may_repeat)
    ]


def test_two_open_texts_at_much_the_same_place_may_be_two_readings() -> None:
    task = Task()
    task.interim("one two three", 3_831, 5_176, 0)
    task.interim("one", 3_700, 3_920, 1)
    task.interim("one two three", 3_700, 5_045, 1)
    finals = [event for event in task.tracker.close_at_end("no text") if isinstance(event, Result)]
    assert [(final.start_ms, final.may_repeat) for final in finals] == [(3_700, False), (3_831, True)]


def test_the_jitter_of_starts_is_no_end_of_an_open_text() -> None:
    task = Task()
    task.interim("one", 1_050, None)
    task.interim("one two", 1_000, None)
    final = next(event for event in task.tracker.close_at_end("no text") if isinstance(event, Result))
    assert final.end_ms <= final.start_ms


def test_speech_without_text_is_reported_with_its_end_if_that_is_known() -> None:
    task = Task(sequential=False)
    task.detect(100, "a")
    segment = task.tracker.find_open("a")
    assert segment is not None
    segment.end_ms = 700
    assert task.end() == [("withdrawn", 0, ""), Unheard(100, 700, "no text")]


# --- a final that waits ----------------------------------------------------------------------------------------------


def test_a_segment_whose_final_waits_is_open_for_the_caller_and_over_for_the_vendor() -> None:
    task = Task()
    events: list[CodecEvent] = []
    first = task.tracker.assign(1, 0, 900, "one", is_final=True, events=events)
    assert first is not None
    result = Result(text="one", is_final=True, segment_id=0, start_ms=0, end_ms=900)
    assert task.tracker.end(first, result) == []
    assert task.tracker.open_segments == [first]
    assert task.final("", None, 950) == []  # without key and place: about the newest that the vendor has open, none
    assert (task.tracker.find_open(1), task.tracker.find_closed(1)) == (first, None)
    assert task.final("one", 0, 900, 1) == []
    assert task.interim("two", 1_000, 1_200, 1) == [started(1, 1_000), ("interim", 1, "two")]
    assert task.tracker.close(first) == [SpeechEnded(segment_id=0, end_ms=900)]
    assert (task.tracker.find_closed(1), task.tracker.has_open) == (first, True)


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_the_oldest_open_segment_is_withdrawn_when_there_are_too_many() -> None:
    task = Task(sequential=False)
    events = [task.interim(f"s{number}", None, None, f"k{number}") for number in range(MAX_REMEMBERED + 1)]
    assert events[-1][0] == ("withdrawn", 0, "s0")
    assert len(task.tracker.open_segments) == MAX_REMEMBERED


def test_the_messages_of_open_segments_are_bounded() -> None:
    task = Task(sequential=False)
    large = "x" * (MAX_REMEMBERED_CHARS // 2)
    withdrawn: list[Any] = []
    for number in range(8):
        events = task.receive("a", number * 1_000, None, f"k{number}", final=False, raw=large)
        withdrawn += [event for event in brief(events) if event[0] == "withdrawn"]
    assert [segment_id for _, segment_id, _ in withdrawn] == [0, 1, 2, 3]
    kept = sum(len(segment.interim_result.raw) for segment in task.tracker.open_segments if segment.interim_result)
    assert kept <= 2 * MAX_REMEMBERED_CHARS


def test_the_remembered_finals_are_bounded_in_number_and_size() -> None:
    task = Task()
    for number in range(3 * MAX_REMEMBERED):
        task.final(f"s{number}", number * 1_000, number * 1_000 + 900, number)
    assert len(task.tracker._finals) == MAX_REMEMBERED
    for number in range(8):
        task.final("x" * (MAX_REMEMBERED_CHARS // 2 - number), number, number + 1)
    assert len(task.tracker._finals) == 2
    assert task.tracker._finals_chars <= MAX_REMEMBERED_CHARS


def test_the_remembered_withdrawn_segments_are_bounded() -> None:
    task = Task()
    for number in range(3 * MAX_REMEMBERED):
        task.interim("uh", number * 1_000, None, number)
    assert len(task.tracker._withdrawn) == MAX_REMEMBERED
    assert len(task.tracker._by_key) == len(task.tracker.open_segments) == 1


def test_the_key_of_a_forgotten_segment_is_still_known_to_be_old() -> None:
    task = Task()
    assert not task.tracker.is_forgotten(0)
    for key in range(MAX_REMEMBERED + 1):
        task.final("a", key * 1_000, key * 1_000 + 900, key)
    assert task.tracker.find_closed(0) is None
    assert task.tracker.is_forgotten(0)
    assert task.tracker.find_closed(1) is not None
    assert not task.tracker.is_forgotten(1)
    assert task.tracker.find_closed(None) is None


def test_the_state_is_in_the_repr() -> None:
    task = Task()
    task.interim("uh", 0, None, 1)
    segment = task.tracker.open_segments[-1]
    assert repr(segment) == "<TrackedSegment 0 open>"
    task.interim("a", 5_000, None, 2)
    assert repr(segment) == "<TrackedSegment 0 withdrawn>"
    assert repr(task.tracker) == "<SegmentTracker 1 open of 2>"
    segment = task.tracker.open_segments[-1]
    task.final("a", 5_000, 5_900, 2)
    assert repr(segment) == "<TrackedSegment 1 closed>"


# --- any messages ----------------------------------------------------------------------------------------------------


class Message(NamedTuple):
    text: str
    start: int | None
    end: int | None
    key: Key
    final: bool


@st.composite
def messages(draw: st.DrawFn) -> list[Message]:
    """Return messages of which each final has a text of its own, and interims say a part of any text."""
    drawn: list[Message] = []
    for number in range(draw(st.integers(1, 25))):
        start = draw(st.none() | st.integers(-3, 60).map(lambda step: step * 50))
        length = draw(st.none() | st.integers(0, 20).map(lambda step: step * 50))
        end = None if length is None else (start or 0) + length
        key = draw(st.sampled_from((None, 0, 1, 2)))
        final = draw(st.booleans())
        text = f"final {number}" if final else draw(st.sampled_from(("final", f"interim {number}")))
        drawn.append(Message(text, start, end, key, final))
    return drawn


def events_of(task: Task, said: list[Message]) -> list[Any]:
    events = [event for one in said for event in task.receive(one.text, one.start, one.end, one.key, final=one.final)]
    return brief([*events, *task.tracker.close_at_end("no text")])


@pytest.mark.parametrize("sequential", [True, False])
@settings(max_examples=150, deadline=None)
@given(said=messages())
def test_each_final_is_returned_once_and_each_segment_starts_and_ends_once(
    sequential: bool, said: list[Message]
) -> None:
    task = Task(sequential=sequential)
    events = events_of(task, said)
    finals = [event for event in events if event[0] in {"final", "unconfirmed"}]
    assert [text for kind, _, text in finals if kind == "final"] == [one.text for one in said if one.final]
    assert len({segment_id for _, segment_id, _ in finals}) == len(finals)
    starts = [event[1] for event in events if event[0] == "started"]
    assert starts == list(range(len(starts)))
    assert sorted(event[1] for event in events if event[0] in {"ended", "withdrawn"}) == starts
    assert not task.tracker.has_open
    # what an interim showed is in a final of its segment, or withdrawn with it
    shown = {event[1] for event in events if event[0] == "interim"}
    withdrawn = {event[1] for event in events if event[0] == "withdrawn" and event[2]}
    assert shown <= {segment_id for _, segment_id, _ in finals} | withdrawn


@pytest.mark.parametrize("sequential", [True, False])
@settings(max_examples=150, deadline=None)
@given(said=messages())
def test_a_final_with_a_place_that_comes_twice_is_returned_once(sequential: bool, said: list[Message]) -> None:
    twice = [one for one in said if one.start is not None for _ in range(1 + one.final)]
    finals = [event[2] for event in events_of(Task(sequential=sequential), twice) if event[0] == "final"]
    assert finals == [one.text for one in said if one.final and one.start is not None]


@pytest.mark.parametrize("sequential", [True, False])
@settings(max_examples=8, deadline=None)
@given(said=messages(), shift=st.sampled_from((0, 10, 5_000)))
def test_memory_is_bounded_whatever_comes(sequential: bool, said: list[Message], shift: int) -> None:
    task = Task(sequential=sequential)
    for lap in range(100):
        for text, start, end, key, final in said:
            moved = (start and start + lap * shift), (end and end + lap * shift)
            task.receive(f"{text} {lap}", *moved, key + lap if isinstance(key, int) else key, final=final)
    tracker = task.tracker
    sizes = [len(each) for each in (tracker._open, tracker._withdrawn, tracker._finals, tracker._by_key)]
    assert max(sizes) <= MAX_REMEMBERED


def test_a_message_with_an_end_alone_is_about_the_newest_segment_that_begins_before_it() -> None:
    task = Task(sequential=False)
    task.interim("one", None, 80)
    assert task.interim("two", 450, 600) == [("started", 1, 450), ("interim", 1, "two")]
    task.interim("three", 1_400, 1_700)
    assert task.final("one", None, 81) == [("final", 0, "one"), ("ended", 0, 81)]
    assert task.final("two", None, 600) == [("final", 1, "two"), ("ended", 1, 600)]
    assert task.final("three", None, None)[0] == ("final", 2, "three")


@pytest.mark.parametrize("text", ["no", "no more"])
@pytest.mark.parametrize(("distance_ms", "may_repeat"), [(210, True), (400, True), (401, False)])
def test_an_interim_of_words_of_a_final_near_it_may_repeat_them_at_the_end(
    distance_ms: int, may_repeat: bool, text: str
) -> None:
    task = Task(sequential=False)
    task.interim("no", 1_000 + distance_ms, 1_200 + distance_ms)
    task.final(text, 1_000, 1_200)
    (result,) = [event for event in task.tracker.close_at_end("no text") if isinstance(event, Result)]
    assert (result.is_confirmed, result.may_repeat) == (False, may_repeat)


@pytest.mark.parametrize(
    ("key", "start_ms", "end_ms", "is_new"),
    [
        (2, 1_080, 1_190, True),  # it may begin where the final ends, but for the jitter of both
        # two words in a row may be as near as that, and such short ones inside each other, but for the jitter of both
        (1, 1_080, 1_190, True),
        (None, 1_080, 1_190, True),
        (None, 1_060, 1_200, False),
        (2, 1_080, 1_280, False),  # as long to the millisecond
        (2, 990, 1_190, False),
    ],
)
def test_the_same_word_at_the_end_of_a_final_is_another_one_if_the_vendor_counts_it_as_one(
    key: Key, start_ms: int, end_ms: int, is_new: bool
) -> None:
    task = Task()
    task.final("no", 1_000, 1_200, 1)
    events = task.final("no", start_ms, end_ms, key)
    assert [event for event in events if event[0] == "final"] == ([("final", 1, "no")] if is_new else [])


def test_an_interim_that_is_another_reading_of_a_final_may_repeat_it_at_the_end() -> None:
    task = Task(sequential=False)
    task.interim("88", 1_000, 1_450)
    task.final("eighty eight", 860, 1_310)
    (result,) = [event for event in task.tracker.close_at_end("no text") if isinstance(event, Result)]
    assert (result.text, result.is_confirmed, result.may_repeat) == ("88", False, True)
