"""Pure tests of the words of a sentence that grows from message to message."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from asr_async.vendors.dashscope.segments import GrowingWords, words_of
from asr_async.vendors.dashscope.wire import Sentence, WireWord


def wire_word(number: int) -> WireWord:
    return WireWord(text=f"w{number}", begin_time=100 * number, end_time=100 * number + 90, punctuation=",")


WORDS = tuple(map(wire_word, range(6)))

LATER = {
    "one more word": WORDS,
    "the same words": WORDS[:5],
    "the last word changed": (*WORDS[:4], replace(WORDS[4], text="other")),
    "the last word became two": (*WORDS[:4], replace(WORDS[4], end_time=430), replace(WORDS[5], begin_time=430)),
    "a word in the middle changed": (*WORDS[:2], replace(WORDS[2], text="other"), *WORDS[3:]),
    "the first word moved": (replace(WORDS[0], begin_time=10), *WORDS[1:]),
    "fewer words": WORDS[:3],
    "one word": WORDS[:1],
    "none": (),
    "a new word without times": (*WORDS[:5], WireWord(text="late")),
    "a new word that ends before it begins": (*WORDS[:5], WireWord(text="late", begin_time=600, end_time=10)),
    "the words of another sentence": tuple(map(wire_word, range(20, 24))),
}


def sentence(words: Sequence[WireWord]) -> Sentence:
    return Sentence(begin_time=0, text="text", words=tuple(words))


@pytest.mark.parametrize("later", LATER.values(), ids=LATER)
def test_a_message_has_its_own_words_whatever_the_one_before_had(later: tuple[WireWord, ...]) -> None:
    growing = GrowingWords()
    growing.read(sentence(WORDS[:5]), 0)

    assert growing.read(sentence(later), 0) == words_of(sentence(later), 0)
    assert growing.read(sentence(WORDS), 0) == words_of(sentence(WORDS), 0), "as after any other message"


def test_words_that_are_repeated_are_not_made_again() -> None:
    growing = GrowingWords()
    first = growing.read(sentence(WORDS[:5]), 0)
    second = growing.read(sentence(WORDS), 0)

    assert all(one is other for one, other in zip(first[:4], second[:4], strict=True))


@pytest.mark.parametrize("start_ms", [0, -50])
def test_words_whose_times_were_mended_are_made_again(start_ms: int) -> None:
    growing = GrowingWords()
    unplaced = (WireWord(text="a"), WireWord(text="b"), WireWord(text="c"))
    placed = (*unplaced[:2], replace(WORDS[2], text="c"))

    assert growing.read(sentence(unplaced), start_ms) == words_of(sentence(unplaced), start_ms)
    assert growing.read(sentence(placed), start_ms) == words_of(sentence(placed), start_ms)
