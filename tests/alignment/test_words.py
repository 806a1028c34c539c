"""The words of a text: what is one, which forms are the same, and where they lie in the text and in the audio."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_async._alignment.words import (
    CHARACTER_MS,
    MAX_WORDS,
    TIME_TOLERANCE_MS,
    WORD_MS,
    place_words,
    spoken_length_ms,
    words_of_text,
)
from asr_async.results import Word


def forms(text: str) -> list[str]:
    return [form for form, _, _ in words_of_text(text)]


def timed(*words: tuple[str, int, int]) -> tuple[Word, ...]:
    return tuple(Word(text=text, start_ms=start_ms, end_ms=end_ms) for text, start_ms, end_ms in words)


# --- words and their forms -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("one two", ["one", "two"]),
        ("  One,\ttwo!  ", ["one", "two"]),
        ("", []),
        ("... ?! —", []),
        ("snake_case", ["snake", "case"]),
        ("x-ray", ["x", "ray"]),
        ("100%", ["100"]),
        ("STRASSE Straße", ["strasse", "strasse"]),
        ("Café", ["café"]),
        ("Cafe\u0301", ["café"]),
        ("한국어 단어", ["한국어", "단어"]),
        ("हिन्दी दिन", ["हिन्दी", "दिन"]),
        ("कि कु।", ["कि", "कु"]),
        ("สวัสดี", ["สวัสดี"]),
        (
            "\u05de\u05b8\u05d4 \u05e9\u05b0\u05dc\u05d5\u05b9\u05dd",
            ["\u05de\u05b8\u05d4", "\u05e9\u05b0\u05dc\u05d5\u05b9\u05dd"],
        ),
        ("🙂 ok", ["ok"]),
    ],
)
def test_a_word_of_a_script_with_spaces_has_letters_digits_and_marks(text: str, words: list[str]) -> None:
    assert forms(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("don't", ["don't"]),
        ("Don\u2019t", ["don't"]),
        ("rock'n'roll", ["rock'n'roll"]),
        ("the dogs' bone", ["the", "dogs", "bone"]),
        ("'quoted'", ["quoted"]),
        ("3.14", ["3.14"]),
        ("1,000,000.", ["1,000,000"]),
        ("v2.0", ["v2.0"]),
        ("at 5, 6.", ["at", "5", "6"]),
        ("a.b", ["a", "b"]),
        ("end.Next", ["end", "next"]),
    ],
)
def test_apostrophes_and_decimal_marks_are_inside_a_word_only(text: str, words: list[str]) -> None:
    assert forms(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("今天天气。", ["今", "天", "天", "气"]),
        ("二〇〇一", ["二", "〇", "〇", "一"]),
        ("人々", ["人", "々"]),
        ("カタカナ ひらがな", [*"カタカナひらがな"]),
        ("ｶﾞ", ["ガ"]),
        ("か\u3099", ["が"]),
        ("\U00020000a", ["\U00020000", "a"]),
        ("我用iPhone打call，ok", ["我", "用", "iphone", "打", "call", "ok"]),
        ("３.１４分", ["3.14", "分"]),
        ("Ｈｅｌｌｏ　ＡＢＣ", ["hello", "abc"]),
    ],
)
def test_a_character_of_a_script_without_spaces_is_a_word(text: str, words: list[str]) -> None:
    assert forms(text) == words


@given(text=st.text(max_size=80))
@settings(max_examples=200, deadline=None)
def test_words_lie_in_the_text_in_their_order(text: str) -> None:
    words = words_of_text(text)
    places = [place for _, begins_at, ends_at in words for place in (begins_at, ends_at)]
    assert places == sorted(places)
    assert all(0 <= begins_at < ends_at <= len(text) for _, begins_at, ends_at in words)
    assert [forms(text[begins_at:ends_at]) for _, begins_at, ends_at in words] == [[form] for form, _, _ in words]
    left = "".join(
        text[before:behind]
        for before, behind in itertools.pairwise(
            [0, *places, len(text)],
        )
    )
    assert left == text


@given(text=st.text(alphabet=st.characters(categories=["Lu", "Ll", "Lo", "Nd", "Zs", "Po"]), max_size=60))
@settings(max_examples=200, deadline=None)
def test_every_letter_and_digit_is_in_a_word(text: str) -> None:
    covered = {index for _, begins_at, ends_at in words_of_text(text) for index in range(begins_at, ends_at)}
    assert covered >= {index for index, character in enumerate(text) if character.isalnum()}


def test_the_words_that_are_compared_are_limited() -> None:
    assert len(words_of_text("a " * 5_000, MAX_WORDS)) == MAX_WORDS
    assert len(words_of_text("字" * 5_000, MAX_WORDS)) == MAX_WORDS
    assert len(words_of_text("a " * 5_000)) == 5_000


@pytest.mark.parametrize("is_timed", [True, False])
def test_the_first_words_of_a_text_have_their_own_places_and_not_those_of_all_words(is_timed: bool) -> None:
    times = timed(*((f"w{n}", 100 * n, 100 * n + 100) for n in range(100, 900))) if is_timed else ()
    speech = place_words(" ".join(f"w{n}" for n in range(100, 900)), times, 10_000, 90_000, max_words=200)
    assert (len(speech.words), speech.has_more, speech.is_timed) == (200, True, is_timed)
    assert (speech.start_ms, speech.end_ms) == (10_000, 90_000)
    assert speech.words[-1].end_ms == pytest.approx(30_000, abs=50)
    assert not place_words("one two", (), 0, 1_000, max_words=2).has_more


@pytest.mark.parametrize(
    ("text", "length_ms"),
    [
        ("", 0),
        ("...", 0),
        ("one two", 2 * WORD_MS),
        ("今天", 2 * CHARACTER_MS),
        ("今天 ok", 2 * CHARACTER_MS + WORD_MS),
        ("ｶﾞ", CHARACTER_MS),
    ],
)
def test_the_time_in_which_a_text_is_spoken(text: str, length_ms: int) -> None:
    assert spoken_length_ms(text) == length_ms


# --- places without times --------------------------------------------------------------------------------------------


def test_words_without_times_share_the_place_of_their_text_by_their_lengths() -> None:
    speech = place_words("a bcd, efgh!", (), 1_000, 1_800)
    assert not speech.is_timed
    assert [(word.form, word.start_ms, word.end_ms, word.begins_at) for word in speech.words] == [
        ("a", 1_000, 1_100, 0),
        ("bcd", 1_100, 1_400, 2),
        ("efgh", 1_400, 1_800, 7),
    ]
    assert (speech.length_ms, speech.words[1].middle_ms) == (800, 1_250)


@pytest.mark.parametrize("end_ms", [1_000, 400])
def test_words_of_a_text_without_a_length_are_at_its_start(end_ms: int) -> None:
    speech = place_words("one two", (), 1_000, end_ms)
    assert {(word.start_ms, word.end_ms) for word in speech.words} == {(1_000, 1_000)}
    assert speech.length_ms == 0


def test_a_text_without_words_has_no_places() -> None:
    speech = place_words("...", timed(("...", 0, 100)), 0, 100)
    assert (speech.words, speech.is_timed) == ((), False)


# --- places by the vendor's times ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words", "places"),
    [
        ("One, two.", [("One", 0, 300), ("two", 400, 700)], [(0, 300), (400, 700)]),
        # punctuation inside of a word's text, or as a word of its own
        ("One, two.", [("One,", 0, 300), (" two.", 400, 700)], [(0, 300), (400, 700)]),
        ("One, two.", [("One", 0, 300), (",", 300, 300), ("two", 400, 700)], [(0, 300), (400, 700)]),
        # a word of the vendor that is several: characters of one token
        ("今天 好", [("今天", 0, 400), ("好", 500, 700)], [(0, 200), (200, 400), (500, 700)]),
        # repeated words have their own times
        ("no no", [("no", 0, 100), ("no", 900, 990)], [(0, 100), (900, 990)]),
        # a text begins with a capital letter, and a word may be in several pieces or hold several words
        ("One two.", [("one", 0, 300), ("TWO", 400, 700)], [(0, 300), (400, 700)]),
        ("untold", [("un", 0, 200), ("told", 300, 700)], [(0, 700)]),
        ("one two", [("one two", 0, 600)], [(0, 300), (300, 600)]),
        ("one two", [("", 0, 1), ("one", 0, 300), ("two", 400, 700)], [(0, 300), (400, 700)]),
        # outside of the segment within the tolerance
        ("one", [("one", -TIME_TOLERANCE_MS, 1_000 + TIME_TOLERANCE_MS)], [(-1_000, 2_000)]),
    ],
)
def test_words_have_the_times_of_the_vendor(
    text: str, words: list[tuple[str, int, int]], places: list[tuple[int, int]]
) -> None:
    speech = place_words(text, timed(*words), 0, 1_000)
    assert speech.is_timed
    assert [(word.start_ms, word.end_ms) for word in speech.words] == places


@pytest.mark.parametrize(
    "words",
    [
        [("one", 0, 300)],
        [("two", 400, 700)],
        [("uno", 0, 300), ("dos", 400, 700)],
        [("one", 0, 300), ("um", 310, 390), ("two", 400, 700)],
        [("one", 300, 300), ("two", 400, 700)],
        [("one", 300, 0), ("two", 400, 700)],
        [("one", -1, -1), ("two", -1, -1)],
        [("one", -2_000, 300), ("two", 400, 700)],
        [("one", 0, 300), ("two", 400, 10**12)],
        [("two", 0, 300), ("one", 400, 700)],
        [("", 0, 300)],
    ],
    ids=[
        "the end lacks",
        "the start lacks",
        "other words",
        "a word more",
        "empty",
        "backwards",
        "unknown",
        "before the segment",
        "behind the segment",
        "another order",
        "no text",
    ],
)
def test_times_that_are_not_possible_or_not_of_all_words_are_not_believed(words: list[tuple[str, int, int]]) -> None:
    speech = place_words("one two", timed(*words), 0, 1_000)
    assert not speech.is_timed
    assert [(word.start_ms, word.end_ms) for word in speech.words] == [(0, 500), (500, 1_000)]


@given(
    texts=st.lists(st.sampled_from(("one", "don't", "3.14", "今", "天气", "no", "!")), max_size=30),
    starts=st.lists(st.integers(-5_000, 20_000), min_size=30, max_size=30),
    length_ms=st.integers(-100, 400),
    start_ms=st.integers(-1_000, 5_000),
    end_ms=st.integers(-1_000, 20_000),
)
@settings(max_examples=200, deadline=None)
def test_every_word_has_a_place_whatever_the_times(
    texts: list[str], starts: list[int], length_ms: int, start_ms: int, end_ms: int
) -> None:
    text = " ".join(texts)
    words = timed(*((word, at, at + length_ms) for word, at in zip(texts, starts, strict=False)))
    speech = place_words(text, words, start_ms, end_ms)
    assert [(word.form, word.begins_at) for word in speech.words] == [(form, at) for form, at, _ in words_of_text(text)]
    tolerance_ms = TIME_TOLERANCE_MS if speech.is_timed else 0
    for word in speech.words:
        assert word.start_ms <= word.end_ms
        assert start_ms - tolerance_ms <= word.start_ms
        assert word.end_ms <= max(start_ms, end_ms) + tolerance_ms
