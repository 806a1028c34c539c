"""The new words of a text that overlaps delivered ones: none is lost, and one that may be a repeat is marked."""

from __future__ import annotations

import time
from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_async._alignment.overlap import DeliveredSpeech, new_parts
from asr_async._alignment.places import JITTER_MS
from asr_async._alignment.words import MAX_WORDS, Speech, place_words
from asr_async.results import Word

CHINESE = "零一二三四五六七八九"
ENGLISH = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


class Spoken(NamedTuple):
    """A word at a known place of the audio."""

    text: str
    start_ms: int
    end_ms: int


def speak(text: str, start_ms: int = 0, *, length_ms: int = 400, pause_ms: int = 100) -> list[Spoken]:
    """Return the words of a text, in a row."""
    words = text.split() if text[0] not in CHINESE else list(text)
    step_ms = length_ms + pause_ms
    return [Spoken(word, start_ms + n * step_ms, start_ms + n * step_ms + length_ms) for n, word in enumerate(words)]


def recognise(words: list[Spoken], *, is_timed: bool, offsets_ms: tuple[int, ...] = (0, 0)) -> tuple[str, Speech]:
    """Return the text of one segment and its words; the places of both are off by so much."""
    text = ("" if words[0].text in CHINESE else " ").join(word.text for word in words)
    start_ms, end_ms = words[0].start_ms + offsets_ms[0], words[-1].end_ms + offsets_ms[-1]
    times = tuple(
        Word(
            text=word.text,
            start_ms=word.start_ms + offsets_ms[n % len(offsets_ms)],
            end_ms=word.end_ms + offsets_ms[n % len(offsets_ms)],
        )
        for n, word in enumerate(words)
    )
    return text, place_words(text, times if is_timed else (), start_ms, max(start_ms, end_ms), max_words=MAX_WORDS)


class Joiner:
    """Delivered texts, and those of the connection that follows."""

    def __init__(self, from_ms: int, *, is_timed: bool = True) -> None:
        self.from_ms = from_ms
        self.is_timed = is_timed
        self.delivered: list[DeliveredSpeech] = []

    def deliver(self, words: list[Spoken], offsets_ms: tuple[int, ...] = (0, 0), latest_ms: int = 0) -> None:
        _, speech = recognise(words, is_timed=self.is_timed, offsets_ms=offsets_ms)
        self.delivered.append(DeliveredSpeech(speech, latest_ms))

    def join(
        self, words: list[Spoken], offsets_ms: tuple[int, ...] = (0, 0), *, latest_ms: int = 0, is_final: bool = True
    ) -> tuple[list[str], bool]:
        """Return the new parts of a text, and True if they are certain."""
        text, speech = recognise(words, is_timed=self.is_timed, offsets_ms=offsets_ms)
        parts, is_certain = self.join_speech(speech, latest_ms=latest_ms, is_final=is_final)
        bounds = [*(word.begins_at for word in speech.words), len(text)]
        return [text[bounds[first] : bounds[behind]].strip() for first, behind in parts], is_certain

    def join_speech(
        self, speech: Speech, *, latest_ms: int = 0, is_final: bool = True
    ) -> tuple[list[tuple[int, int]], bool]:
        new = new_parts(speech, self.delivered, from_ms=self.from_ms, latest_ms=latest_ms, is_final=is_final)
        last_ms = speech.start_ms
        for part in new.parts:
            assert part.first < part.behind
            assert part.start_ms <= part.end_ms
            assert last_ms - 2 * JITTER_MS <= part.start_ms
            last_ms = part.start_ms
        return [(part.first, part.behind) for part in new.parts], new.is_certain


SENTENCE = {"english": " ".join(ENGLISH), "chinese": CHINESE}
timed = pytest.mark.parametrize("is_timed", [True, False], ids=["timed", "text"])
scripts = pytest.mark.parametrize("script", ["english", "chinese"])
jitters = pytest.mark.parametrize("offsets_ms", [(0, 0), (-100, 100), (100, -100), (100, 100), (-100, -100)])


def part_of(script: str, first: int, behind: int) -> str:
    return " ".join(ENGLISH[first:behind]) if script == "english" else CHINESE[first:behind]


# --- structures of an overlap ----------------------------------------------------------------------------------------


@timed
@scripts
@jitters
@pytest.mark.parametrize(
    "structure",
    [
        ([(0, 4)], (4, 8), [(4, 8)]),
        ([(0, 4)], (0, 4), []),
        ([(0, 6)], (3, 9), [(6, 9)]),
        ([(4, 9)], (0, 6), [(0, 4)]),
        ([(0, 9)], (3, 6), []),
        ([(3, 6)], (0, 9), [(0, 3), (6, 9)]),
        ([(0, 3)], (0, 9), [(3, 9)]),
        ([(6, 9)], (0, 9), [(0, 6)]),
        ([(0, 3), (6, 9)], (0, 9), [(3, 6)]),
        ([(2, 4), (6, 8)], (0, 10), [(0, 2), (4, 6), (8, 10)]),
        ([(0, 4), (4, 8)], (2, 6), []),
        ([(0, 4), (4, 8)], (2, 10), [(8, 10)]),
        ([(0, 4), (6, 9)], (2, 7), [(4, 6)]),
    ],
    ids=[
        "behind",
        "the same",
        "tail",
        "head",
        "inside",
        "around",
        "from the start",
        "to the end",
        "a hole between",
        "around two",
        "inside two",
        "over two and behind",
        "from one into another",
    ],
)
def test_the_words_that_were_not_delivered_are_new(
    is_timed: bool,
    script: str,
    offsets_ms: tuple[int, int],
    structure: tuple[list[tuple[int, int]], tuple[int, int], list[tuple[int, int]]],
) -> None:
    delivered, new, expected = structure
    spoken = speak(SENTENCE[script])
    joiner = Joiner(spoken[new[0]].start_ms - 50, is_timed=is_timed)
    for first, behind in delivered:
        joiner.deliver(spoken[first:behind])
    texts, is_certain = joiner.join(spoken[slice(*new)], offsets_ms)
    assert texts == [part_of(script, *part) for part in expected]
    assert is_certain


@timed
def test_a_text_that_no_delivered_one_overlaps_is_new(is_timed: bool) -> None:
    joiner = Joiner(0, is_timed=is_timed)
    assert joiner.join(speak("one two")) == (["one two"], True)
    joiner.deliver(speak("one two", 20_000))
    assert joiner.join(speak("one two")) == (["one two"], True)


@timed
def test_words_are_the_same_in_another_case_width_and_punctuation(is_timed: bool) -> None:
    joiner = Joiner(0, is_timed=is_timed)
    joiner.deliver(speak("it\u2019s three Ｆｏｕｒ"))
    assert joiner.join(speak("It's, Three. four! five?")) == (["five?"], True)


@timed
def test_a_mixed_text_is_cut_between_its_scripts(is_timed: bool) -> None:
    words = speak("我 用 iphone 打 call")
    joiner = Joiner(0, is_timed=is_timed)
    joiner.deliver(words[:3])
    assert joiner.join(words) == (["打 call"], True)


@timed
def test_a_word_that_is_recognised_as_another_between_two_repeats_is_a_repeat(is_timed: bool) -> None:
    joiner = Joiner(0, is_timed=is_timed)
    joiner.deliver(speak("one two tree four"))
    assert joiner.join(speak("one two three four five")) == (["five"], True)


@timed
def test_another_text_at_the_same_place_is_whole_and_marked_or_certain_by_its_times(is_timed: bool) -> None:
    joiner = Joiner(0, is_timed=is_timed)
    joiner.deliver(speak("one two three"))
    texts, is_certain = joiner.join(speak("un deux trois"))
    assert texts == ["un deux trois"]
    assert not is_certain or is_timed


@timed
def test_an_interim_consumes_nothing(is_timed: bool) -> None:
    joiner = Joiner(0, is_timed=is_timed)
    joiner.deliver(speak("one two"))
    for _ in range(2):
        assert joiner.join(speak("one two three"), is_final=False) == (["three"], True)
    assert joiner.join(speak("one two three")) == (["three"], True)
    assert joiner.delivered[0].is_repeated == b"\1\1"


@timed
def test_a_delivered_word_is_repeated_once_only(is_timed: bool) -> None:
    joiner = Joiner(0, is_timed=is_timed)
    joiner.deliver(speak("no", length_ms=300))
    assert joiner.join(speak("no", length_ms=300)) == ([], True)
    assert joiner.join(speak("no", 300, length_ms=300))[0] == ["no"]


# --- the same word several times -------------------------------------------------------------------------------------


@pytest.mark.parametrize("delivered_count", range(5))
@jitters
def test_of_equal_words_with_times_each_is_delivered_once(delivered_count: int, offsets_ms: tuple[int, int]) -> None:
    spoken = speak("no no no no")
    joiner = Joiner(0)
    if delivered_count:
        joiner.deliver(spoken[:delivered_count])
    texts, is_certain = joiner.join(spoken, offsets_ms)
    assert [word for text in texts for word in text.split()] == ["no"] * (4 - delivered_count)
    assert is_certain


@pytest.mark.parametrize("delivered_count", range(5))
@jitters
def test_of_equal_words_without_times_none_is_lost(delivered_count: int, offsets_ms: tuple[int, int]) -> None:
    spoken = speak("no no no no")
    joiner = Joiner(0, is_timed=False)
    if delivered_count:
        joiner.deliver(spoken[:delivered_count])
    texts, is_certain = joiner.join(spoken, offsets_ms)
    count = len([word for text in texts for word in text.split()])
    assert count == 4 - delivered_count or (count > 4 - delivered_count and not is_certain)


# --- the seam --------------------------------------------------------------------------------------------------------


def test_the_rest_of_a_word_that_was_cut_in_two_is_a_repeat() -> None:
    joiner = Joiner(350)
    joiner.deliver([Spoken("two", 0, 400)])
    assert joiner.join([Spoken("two", 350, 400), Spoken("three", 500, 900)]) == (["three"], True)


def test_an_equal_word_directly_behind_the_seam_may_be_a_repeat() -> None:
    joiner = Joiner(400)
    joiner.deliver([Spoken("no", 0, 400)])
    assert joiner.join([Spoken("no", 420, 800)]) == (["no"], False)


def test_a_word_that_ends_far_behind_the_one_that_was_cut_in_two_is_the_next_one() -> None:
    joiner = Joiner(250)
    joiner.deliver([Spoken("no", 0, 400)])
    assert joiner.join([Spoken("no", 420, 800)]) == (["no"], True)


@pytest.mark.parametrize(
    ("end_ms", "expected"),
    [(390, ([], True)), (440, ([], True)), (450, (["no"], False)), (470, (["no"], False)), (600, (["no"], False))],
)
def test_a_word_that_ends_little_behind_an_equal_one_that_was_cut_in_two_may_be_the_next_one(
    end_ms: int, expected: tuple[list[str], bool]
) -> None:
    joiner = Joiner(350)
    joiner.deliver([Spoken("no", 0, 400)])
    assert joiner.join([Spoken("no", 360, end_ms)]) == expected


def test_the_text_before_one_without_an_end_may_have_its_first_words() -> None:
    joiner = Joiner(0, is_timed=False)
    joiner.deliver([Spoken("depi", 700, 1_250)], latest_ms=1_700)
    assert joiner.join([Spoken("sazi", 470, 650), Spoken("depi", 650, 840)]) == (["sazi depi"], False)


def test_the_new_words_behind_a_text_without_an_end_have_their_own_place() -> None:
    joiner = Joiner(0, is_timed=False)
    joiner.deliver(speak("one two three"), (0, 3_000), latest_ms=6_000)
    _, speech = recognise(speak("one two three four"), is_timed=False)
    (part,) = new_parts(speech, joiner.delivered, from_ms=0).parts
    assert part.first == 3
    assert part.start_ms == speech.words[2].end_ms


def test_a_word_of_another_length_is_another_one() -> None:
    joiner = Joiner(100)
    joiner.deliver([Spoken("no", 200, 212), Spoken("yes", 212, 250)])
    assert joiner.join([Spoken("no", 250, 650), Spoken("two", 650, 900)]) == (["no two"], True)


def test_words_behind_equal_ones_show_how_many_there_are() -> None:
    joiner = Joiner(350)
    joiner.deliver([Spoken("no", 0, 400), Spoken("yes", 400, 700)])
    assert joiner.join([Spoken("no", 360, 560), Spoken("yes", 560, 860), Spoken("no", 900, 1_100)]) == (["no"], True)


def test_another_reading_of_a_word_that_was_cut_in_two_is_a_repeat() -> None:
    joiner = Joiner(350)
    joiner.deliver([Spoken("known", 0, 500), Spoken("yes", 500, 800)])
    assert joiner.join([Spoken("own", 360, 500), Spoken("yes", 500, 800), Spoken("no", 800, 1_100)]) == (["no"], True)


@pytest.mark.parametrize(("end_ms", "is_new"), [(1_200, False), (1_290, True), (1_330, True), (1_400, True)])
def test_an_equal_word_that_is_late_may_be_the_next_one(end_ms: int, is_new: bool) -> None:
    joiner = Joiner(1_100)
    joiner.deliver([Spoken("no", 600, 900), Spoken("no", 900, 1_230)])
    expected = (["no no"], False) if is_new else (["no"], True)
    assert joiner.join([Spoken("no", 1_110, end_ms), Spoken("no", end_ms, end_ms + 300)]) == expected


def test_another_word_directly_behind_the_seam_is_new() -> None:
    joiner = Joiner(400)
    joiner.deliver([Spoken("no", 0, 400)])
    assert joiner.join([Spoken("yes", 420, 800)]) == (["yes"], True)


def test_an_equal_word_at_a_seam_without_times_may_be_a_repeat() -> None:
    joiner = Joiner(900, is_timed=False)
    joiner.deliver(speak("one two"))
    assert joiner.join(speak("two three", 920)) == (["two three"], False)
    joiner = Joiner(900, is_timed=False)
    joiner.deliver(speak("one two"))
    assert joiner.join(speak("three four", 920)) == (["three four"], True)


def test_words_before_the_audio_of_the_connection_are_not_compared() -> None:
    joiner = Joiner(2_000, is_timed=False)
    joiner.deliver(speak("one two"))
    assert joiner.join(speak("two one", 2_100)) == (["two one"], True)


def test_words_of_a_delivered_text_that_were_not_sent_again_do_not_hide_those_behind_them() -> None:
    spoken = [Spoken("no", 0, 300), Spoken("yes", 300, 600), Spoken("no", 1_000, 1_300), Spoken("yes", 1_700, 2_000)]
    joiner = Joiner(151, is_timed=False)
    joiner.deliver(spoken)
    assert joiner.join(spoken[1:2]) == ([], True)
    assert joiner.join(spoken[2:]) == ([], True)


def test_a_word_that_was_cut_in_its_middle_is_marked() -> None:
    joiner = Joiner(231)
    joiner.deliver([Spoken("no", 0, 459)])
    assert joiner.join([Spoken("no", 279, 510)]) == (["no"], False)


def test_of_two_equal_words_behind_one_that_was_cut_in_two_none_is_left_out() -> None:
    joiner = Joiner(187)
    joiner.deliver([Spoken("is", 0, 287), Spoken("we", 287, 571)])
    assert joiner.join([Spoken("we", 187, 430), Spoken("we", 400, 620), Spoken("go", 620, 900)]) == (
        ["we", "go"],
        False,
    )


# --- words that the vendor reads otherwise ---------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "again"), [("twenty five", "25"), ("25", "twenty five"), ("二十五", "25")])
def test_another_reading_without_repeated_neighbours_is_marked(before: str, again: str) -> None:
    joiner = Joiner(900)
    joiner.deliver([Spoken("so", 0, 400), *_in_place(before, 1_000, 1_600)])
    assert joiner.join([*_in_place(again, 1_000, 1_600), Spoken("go", 1_700, 2_000)])[1] is False
    assert joiner.join([*_in_place(again, 2_100, 2_700), Spoken("go", 2_800, 3_000)])[1] is True


def test_another_reading_between_repeated_words_is_left_out() -> None:
    joiner = Joiner(0)
    joiner.deliver([Spoken("so", 0, 400), *_in_place("twenty five", 1_000, 1_600), Spoken("go", 1_700, 2_000)])
    assert joiner.join([Spoken("so", 0, 400), Spoken("25", 1_000, 1_600), Spoken("go", 1_700, 2_000)]) == ([], True)


def _in_place(text: str, start_ms: int, end_ms: int) -> list[Spoken]:
    """Return the words of a text that have this place together."""
    words = text.split() if text.isascii() else list(text)
    length_ms = (end_ms - start_ms) // len(words)
    return [Spoken(word, start_ms + n * length_ms, start_ms + (n + 1) * length_ms) for n, word in enumerate(words)]


# --- an end that is not known ----------------------------------------------------------------------------------------


def test_a_text_behind_the_estimated_end_of_a_delivered_one_may_repeat_its_rest() -> None:
    joiner = Joiner(0, is_timed=False)
    joiner.deliver(speak("one two three four", length_ms=200, pause_ms=0), latest_ms=2_000)
    assert joiner.join(speak("two three four five", 900)) == (["five"], True)


def test_a_few_equal_words_behind_an_estimated_end_are_marked() -> None:
    joiner = Joiner(0, is_timed=False)
    joiner.deliver(speak("one two three four", length_ms=200, pause_ms=0), latest_ms=2_000)
    assert joiner.join(speak("four five", 900)) == (["four five"], False)


def test_a_text_behind_the_latest_end_of_a_delivered_one_is_new() -> None:
    joiner = Joiner(0, is_timed=False)
    joiner.deliver(speak("one two three four", length_ms=200, pause_ms=0), latest_ms=2_000)
    assert joiner.join(speak("two three four five", 2_100)) == (["two three four five"], True)


def test_a_text_before_a_delivered_one_may_hold_its_words_behind_an_estimated_end() -> None:
    joiner = Joiner(0, is_timed=False)
    joiner.deliver(speak("three four five", 1_200))
    said = speak("one two three four five", length_ms=150, pause_ms=0)
    assert joiner.join(said, latest_ms=3_000, is_final=False) == (["one two"], True)
    assert joiner.join(said, latest_ms=1_100) == (["one two three four five"], True)


def test_a_few_words_behind_an_estimated_end_that_a_delivered_text_has_are_marked() -> None:
    joiner = Joiner(0, is_timed=False)
    joiner.deliver(speak("one two", length_ms=200, pause_ms=0))
    joiner.deliver(speak("three", 600))
    joiner.deliver(speak("four", 1_300), latest_ms=2_500)
    said = speak("one two three four", length_ms=100, pause_ms=0)
    assert joiner.join(said, latest_ms=2_500) == (["three four"], False)


def test_equal_words_at_an_edge_are_marked_since_estimates_do_not_tell_how_many_are_repeats() -> None:
    """The pauses of the new text are not known, so its first words seem to be longer than they are."""
    said = [*speak("zero zero zero one zero zero three three", length_ms=200, pause_ms=0), Spoken("zero", 1_600, 1_800)]
    rest = [Spoken("one", 2_400, 2_600), Spoken("one", 3_200, 3_400), Spoken("two", 4_000, 4_200)]
    joiner = Joiner(101, is_timed=False)
    joiner.deliver(said[:8])
    joiner.deliver(said[8:])
    assert joiner.join(said[1:4]) == ([], True)
    assert joiner.join(said[4:6]) == ([], True)
    parts, is_certain = joiner.join([*said[6:], *rest, Spoken("one", 4_800, 5_139)])
    assert "one one two one" in parts[-1]
    assert not is_certain


def test_the_state_of_a_delivered_text_is_in_its_repr() -> None:
    _, speech = recognise(speak("one two"), is_timed=True)
    delivered = DeliveredSpeech(speech)
    delivered.mark([1], 0)
    assert repr(delivered) == "<DeliveredSpeech 0 to 900 ms, 1 repeated>"


# --- any words, divided twice ----------------------------------------------------------------------------------------


@st.composite
def spoken_words(draw: st.DrawFn, jitter_ms: int) -> list[Spoken]:
    """Return words with pauses between them; a small vocabulary, so that many are equal.

    Equal words in a row cannot be distinguished if the jitter of both connections is nearly as long as one of them, so
    with jitter they are apart; without, they are not.
    """
    vocabulary = draw(st.sampled_from((ENGLISH, ENGLISH[:3], list(CHINESE), ["no"])))
    spoken: list[Spoken] = []
    at_ms = draw(st.integers(0, 500))
    for _ in range(draw(st.integers(1, 24))):
        length_ms = draw(st.integers(200 + jitter_ms, 500))
        text = draw(st.sampled_from(vocabulary))
        if jitter_ms and text in {word.text for word in spoken[-2:]}:
            at_ms += 4 * jitter_ms
        spoken.append(Spoken(text, at_ms, at_ms + length_ms))
        at_ms += length_ms + draw(st.sampled_from((0, 50, 150, 600)))
    return spoken


def divide(draw: st.DrawFn, words: list[Spoken]) -> list[list[Spoken]]:
    """Divide words into sentences."""
    sentences: list[list[Spoken]] = []
    while words:
        length = draw(st.integers(1, 8))
        sentences.append(words[:length])
        words = words[length:]
    return sentences


class Session(NamedTuple):
    spoken: list[Spoken]
    delivered: list[tuple[list[Spoken], tuple[int, ...]]]
    from_ms: int
    rejoined: list[tuple[list[Spoken], tuple[int, ...]]]


@st.composite
def sessions(draw: st.DrawFn, jitter_ms: int) -> Session:
    """Return words, the sentences that were delivered before a cut, and those of the next connection."""
    spoken = draw(spoken_words(jitter_ms))
    offsets = st.tuples(*[st.integers(-jitter_ms, jitter_ms)] * 4)
    first = divide(draw, spoken)
    delivered = first[: draw(st.integers(0, len(first)))]
    end_ms = delivered[-1][-1].end_ms if delivered else 0
    # with jitter, a replay begins that much before the covered place
    from_ms = max(0, draw(st.integers(0, end_ms)) if draw(st.booleans()) else end_ms - jitter_ms)
    audible = [word for word in spoken if (word.start_ms + word.end_ms) / 2 >= from_ms]
    heard = [Spoken(text, max(start_ms, from_ms), end_ms) for text, start_ms, end_ms in audible]
    return Session(
        spoken,
        [(sentence, draw(offsets)) for sentence in delivered],
        from_ms,
        [(sentence, draw(offsets)) for sentence in divide(draw, heard)],
    )


def join_session(session: Session, *, is_timed: bool) -> tuple[list[str], bool]:
    """Return the words of the joined session, and True if all parts are certain."""
    joiner = Joiner(session.from_ms, is_timed=is_timed)
    words = [word.text for sentence, _ in session.delivered for word in sentence]
    for sentence, offsets_ms in session.delivered:
        joiner.deliver(sentence, offsets_ms)
    is_all_certain = True
    for sentence, offsets_ms in session.rejoined:
        _, speech = recognise(sentence, is_timed=is_timed, offsets_ms=offsets_ms)
        parts, is_certain = joiner.join_speech(speech)
        words += [word.text for first, behind in parts for word in sentence[first:behind]]
        is_all_certain &= is_certain
    return words, is_all_certain


@pytest.mark.parametrize("jitter_ms", [0, JITTER_MS])
@timed
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_word_is_delivered_once_or_the_result_is_marked(
    is_timed: bool, jitter_ms: int, data: st.DataObject
) -> None:
    session = data.draw(sessions(jitter_ms))
    words, is_certain = join_session(session, is_timed=is_timed)
    expected = [word.text for word in session.spoken]
    assert not Counter(expected) - Counter(words), "a word is lost"
    if is_certain:
        assert words == expected


# --- bounds ----------------------------------------------------------------------------------------------------------


@timed
@pytest.mark.parametrize("vocabulary", [["no"], ["no", "yes"], ENGLISH], ids=["one word", "two words", "ten words"])
@pytest.mark.parametrize("shift", [0, 1, 500])
def test_long_texts_are_joined_in_bounded_time(is_timed: bool, vocabulary: list[str], shift: int) -> None:
    text = " ".join(vocabulary[n * n % len(vocabulary)] for n in range(MAX_WORDS + shift))
    spoken = speak(text, length_ms=50, pause_ms=10)
    joiner = Joiner(spoken[shift].start_ms, is_timed=is_timed)
    joiner.deliver(spoken[:MAX_WORDS])
    began_at = time.thread_time()
    joiner.join(spoken[shift:])
    assert time.thread_time() - began_at < 3


def test_the_words_of_two_texts_keep_their_order_where_the_jitter_of_both_makes_them_overlap() -> None:
    def timed(*words: tuple[str, int, int]) -> Speech:
        placed = tuple(Word(text=text, start_ms=start_ms, end_ms=end_ms) for text, start_ms, end_ms in words)
        return place_words(" ".join(text for text, _, _ in words), placed, words[0][1], words[-1][2])

    delivered = [
        DeliveredSpeech(timed(("copper", 1_253, 1_535), ("yes", 1_535, 1_685))),
        DeliveredSpeech(timed(("the", 1_492, 1_883), ("delta", 1_883, 2_282))),
    ]
    again = timed(("copper", 1_104, 1_386), ("yes", 1_386, 1_536), ("the", 1_536, 1_927), ("delta", 1_927, 2_326))
    assert new_parts(again, delivered, from_ms=46).parts == ()


@pytest.mark.parametrize(("start_ms", "end_ms", "is_new"), [(940, 1_100, True), (940, 1_020, False), (750, 950, False)])
def test_a_word_that_may_lie_behind_an_equal_one_that_was_cut_is_not_left_out(
    start_ms: int, end_ms: int, is_new: bool
) -> None:
    joiner = Joiner(900, is_timed=False)
    joiner.deliver([Spoken("yes", 0, 500), Spoken("no", 800, 1_000)])
    assert joiner.join([Spoken("no", start_ms, end_ms)]) == ((["no"], False) if is_new else ([], True))


@pytest.mark.parametrize("start_ms", [700, 850, 900])
def test_what_lies_exactly_between_the_cut_and_the_end_of_an_equal_word_is_its_rest(start_ms: int) -> None:
    joiner = Joiner(start_ms, is_timed=False)
    joiner.deliver([Spoken("yes", 0, 500), Spoken("no", 500, 1_000)])
    assert joiner.join([Spoken("no", start_ms, 1_000)]) == ([], True)


def test_what_is_too_short_for_its_words_is_the_rest_of_delivered_ones() -> None:
    joiner = Joiner(900, is_timed=False)
    joiner.deliver([Spoken("oh", 0, 600), Spoken("no", 600, 1_000)])
    assert joiner.join([Spoken("oh", 930, 980), Spoken("no", 980, 1_030)]) == ([], True)


def test_a_word_that_ends_with_a_digit_is_no_number_in_another_reading() -> None:
    joiner = Joiner(900, is_timed=False)
    joiner.deliver([Spoken("room1", 0, 1_000)])
    assert joiner.join([Spoken("room2", 990, 2_000)]) == (["room2"], True)


@pytest.mark.parametrize(("before", "again"), [("twenty five", "25"), ("25", "twenty five"), ("二十五", "25")])
@pytest.mark.parametrize("start_ms", [910, 990])
def test_another_reading_of_a_number_at_a_seam_without_times_is_marked(before: str, again: str, start_ms: int) -> None:
    joiner = Joiner(900, is_timed=False)
    joiner.deliver([Spoken("so", 0, 400), *_in_place(before, 500, 1_000)])
    assert joiner.join([*_in_place(again, start_ms, 1_200), Spoken("go", 1_300, 2_000)])[1] is False


def test_the_rest_of_a_word_with_other_times_is_marked_where_the_audio_begins() -> None:
    joiner = Joiner(1_000)
    joiner.deliver([Spoken("no", 600, 800), Spoken("yes", 1_050, 1_300)])
    assert joiner.join([Spoken("no", 940, 1_000), Spoken("yes", 1_000, 1_250)]) == (["no"], False)


def test_all_words_of_a_short_text_may_be_those_at_the_seam() -> None:
    joiner = Joiner(900, is_timed=False)
    joiner.deliver(_in_place("八十九", 500, 1_000))
    assert joiner.join([*_in_place("八十九", 900, 1_000), Spoken("二", 1_080, 1_400)]) == (["八十九二"], False)


@pytest.mark.parametrize(("start_ms", "is_new"), [(1_260, True), (1_100, False)])
def test_a_word_behind_one_that_was_repeated_is_none_before_it(start_ms: int, is_new: bool) -> None:
    joiner = Joiner(900)
    joiner.deliver([Spoken("no", 950, 1_150), Spoken("yes", 1_150, 1_350)])
    assert joiner.join([Spoken("yes", 1_170, 1_370)]) == ([], True)
    assert joiner.join([Spoken("no", start_ms, start_ms + 80)]) == ((["no"], False) if is_new else ([], True))


def test_a_word_in_another_order_than_the_delivered_ones_is_marked() -> None:
    joiner = Joiner(600)
    joiner.deliver([Spoken("go", 700, 1_000), Spoken("on", 1_000, 1_140)])
    joiner.deliver([Spoken("now", 870, 1_060)])  # its times are off
    assert joiner.join([Spoken("go", 720, 1_020), Spoken("on", 1_020, 1_160), Spoken("now", 1_160, 1_350)]) == (
        ["now"],
        False,
    )


@pytest.mark.parametrize("again", ["twenty five", "二十五"])
def test_a_number_that_was_cut_in_two_may_be_written_otherwise(again: str) -> None:
    joiner = Joiner(350)
    joiner.deliver([Spoken("so", 0, 120), Spoken("25", 120, 400), Spoken("go", 420, 700)])
    texts, is_certain = joiner.join([*_in_place(again, 380, 420), Spoken("go", 440, 720)])
    assert (" ".join(texts).replace(" ", ""), is_certain) == (again.replace(" ", ""), False)


@pytest.mark.parametrize(("start_ms", "is_certain"), [(4_114, False), (4_600, True)])
def test_a_text_before_the_audio_may_be_sent_again_although_its_audio_is_not(start_ms: int, is_certain: bool) -> None:
    """Its times were off in both: no audio of it can be recognised again, so the vendor has repeated it."""
    joiner = Joiner(4_562, is_timed=False)
    joiner.deliver([Spoken("是", 3_899, 4_202)])
    assert joiner.join([Spoken("是", start_ms, start_ms + 303)]) == (["是"], is_certain)


@pytest.mark.parametrize(("from_ms", "expected"), [(3_000, (["two"], True)), (3_280, (["no two"], False))])
def test_the_second_of_equal_words_is_new_if_the_first_delivered_one_was_cut(
    from_ms: int, expected: tuple[list[str], bool]
) -> None:
    """Of the delivered ones, only the second may be recognised again."""
    joiner = Joiner(from_ms, is_timed=False)
    joiner.deliver([Spoken("no", 3_126, 3_300), Spoken("no", 3_300, 3_479)])
    assert (
        joiner.join([Spoken("no", 3_186, 3_479), Spoken("no", 4_883, 5_270), Spoken("two", 5_300, 6_000)]) == expected
    )


def test_a_short_word_that_ends_behind_a_delivered_text_of_equal_words_is_not_lost() -> None:
    joiner = Joiner(1_701, is_timed=False)
    joiner.deliver(speak(" ".join(["no"] * 8), 400, length_ms=200, pause_ms=0))
    assert joiner.join([Spoken("no", 1_800, 2_000), Spoken("no", 2_000, 2_200)]) == (["no"], False)


def test_a_word_that_seems_to_lie_in_a_pause_is_marked_if_an_equal_one_behind_the_pause_is_not_repeated() -> None:
    said = [
        Spoken("well", 600, 800),
        Spoken("yes", 2_000, 2_450),
        Spoken("yes", 2_450, 2_670),
        Spoken("boss", 2_670, 3_000),
    ]
    joiner = Joiner(0, is_timed=False)
    for words in (said[:1], said[1:2], said[2:]):
        joiner.deliver(words)
    assert joiner.join(said) == (["yes"], False)


@pytest.mark.parametrize(
    ("from_ms", "delivered", "again"),
    [
        (5_852, [Spoken("三", 5_859, 5_952)], speak("一二三四", 5_874, length_ms=250, pause_ms=50)),
        (4_178, speak("一二三四五六七八", 2_303, length_ms=200, pause_ms=50), [Spoken("二", 4_024, 4_160)]),
    ],
    ids=["behind", "before"],
)
def test_a_few_equal_words_that_are_far_from_the_delivered_ones_are_marked(
    from_ms: int, delivered: list[Spoken], again: list[Spoken]
) -> None:
    joiner = Joiner(from_ms, is_timed=False)
    joiner.deliver(delivered)
    assert joiner.join(again) == (["".join(word.text for word in again)], False)


def test_a_word_that_is_nearer_to_a_delivered_one_than_its_repeat_is_marked() -> None:
    """The vendor has sent a final of the word before it twice, and its times were off."""
    joiner = Joiner(12_000)
    joiner.deliver([Spoken("的", 12_606, 12_692)])
    joiner.deliver([Spoken("的", 12_713, 12_793), Spoken("人", 12_793, 13_029)])
    for start_ms in (12_606, 12_454):  # the second is taken for the next word
        assert joiner.join([Spoken("的", start_ms, start_ms + 86)]) == ([], True)
    assert joiner.join([Spoken("的", 12_603, 12_683), Spoken("人", 12_683, 12_919)]) == (["的"], False)


def test_of_equal_words_the_one_of_the_same_length_is_the_repeat() -> None:
    joiner = Joiner(4_253)
    joiner.deliver([Spoken("is", 4_217, 4_354), Spoken("a", 4_354, 4_690), Spoken("a", 4_690, 4_799)])
    assert joiner.join([Spoken("is", 4_379, 4_516), Spoken("a", 4_516, 4_852)]) == ([], True)
    assert joiner.join([Spoken("a", 4_811, 4_920)]) == ([], True)


@pytest.mark.parametrize(("length_ms", "is_certain"), [(90, False), (199, False), (200, True)])
def test_a_word_that_is_not_longer_than_the_rest_of_the_one_at_the_seam_may_be_that(
    length_ms: int, is_certain: bool
) -> None:
    """The times of both are off, in opposite directions."""
    joiner = Joiner(13_769)
    joiner.deliver([Spoken("price", 13_674, 13_768)])
    assert joiner.join([Spoken("price", 13_890, 13_890 + length_ms)]) == (["price"], is_certain)


@pytest.mark.parametrize("is_timed", [True, False])
@pytest.mark.parametrize("known", [900, 1_000, 1_300], ids=lambda known: f"{known} known")
def test_new_words_behind_those_that_are_compared_are_delivered_with_a_mark(known: int, is_timed: bool) -> None:
    words = speak(" ".join(f"w{n}" for n in range(1_500)))
    delivered = DeliveredSpeech(recognise(words[:known], is_timed=is_timed)[1], 0, follows_open=False)
    _, speech = recognise(words, is_timed=is_timed)
    found = new_parts(speech, [delivered], from_ms=0)
    assert [(part.first, part.behind) for part in found.parts] == [(min(known, MAX_WORDS - 1), MAX_WORDS)]
    assert not found.is_certain


def test_other_words_between_two_repeats_are_new_where_they_have_another_place() -> None:
    joiner = Joiner(4_366)
    joiner.deliver([Spoken("go", 4_167, 4_484), Spoken("so", 4_510, 4_600)])
    joiner.deliver([Spoken("thirty", 5_403, 5_580), Spoken("eight", 5_580, 5_754)])
    joiner.deliver([Spoken("38", 5_528, 5_879), Spoken("it", 5_879, 6_137)])
    said = [Spoken("so", 4_500, 4_590), Spoken("thirty", 4_669, 5_000), Spoken("one", 5_000, 5_339)]
    assert joiner.join([*said, Spoken("38", 5_477, 5_828), Spoken("it", 5_828, 6_086)]) == (["thirty one"], False)


def test_a_text_behind_the_estimated_end_of_a_delivered_one_may_repeat_its_rest_in_other_words() -> None:
    joiner = Joiner(3_236, is_timed=False)
    joiner.deliver(speak("we are on 53 five six seven eight", 3_336, length_ms=550), latest_ms=12_100)
    again = speak("on fifty three five six seven eight nine", 8_708)
    assert joiner.join(again) == (["on fifty three five six seven eight nine"], False)


@pytest.mark.parametrize("is_timed", [True, False])
def test_a_text_is_compared_with_a_hundred_others_at_most_and_marked_if_there_are_more(is_timed: bool) -> None:
    words = [Spoken(f"w{n}", n, n + 1) for n in range(300)]
    known = [DeliveredSpeech(recognise([word], is_timed=is_timed)[1], 0, follows_open=False) for word in words]
    _, speech = recognise([Spoken("new", 150, 151)], is_timed=is_timed)
    assert not new_parts(speech, known, from_ms=0).is_certain
    _, speech = recognise([words[150]], is_timed=is_timed)
    assert new_parts(speech, known, from_ms=0).parts == (), "the nearest ones are compared"
