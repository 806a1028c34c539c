"""The words of segments: estimated times, and the mask of half words."""

from __future__ import annotations

import pytest

from asr_async.emulator.engines.engine import Hypothesis, HypothesisWord
from asr_async.emulator.engines.words import mask_half_words, spread_over_pieces


def hypothesis(text: str) -> Hypothesis:
    words = spread_over_pieces(text, range(0, 3_200, 32), 32)
    return Hypothesis(text=text, is_final=False, start_ms=0, end_ms=3_200, words=words)


@pytest.mark.parametrize(
    ("recognised", "shown"),
    [
        ("where is the shit", "where is the ****"),
        ("Tits of the book.", "**** of the book."),
        ("Ass.", "***."),
        ("cock and shit!", "**** and ****!"),
        ("a ship and a title", "a ship and a title"),
        ("he said shit and left", "he said shit and left"),
        ("", ""),
    ],
)
def test_an_obscenity_is_masked_where_it_may_be_half_of_another_word(recognised: str, shown: str) -> None:
    masked = mask_half_words(hypothesis(recognised))
    assert masked.text == shown
    assert " ".join(word.text + word.punctuation for word in masked.words) == shown


def test_the_times_of_words_are_in_proportion_to_their_characters_and_leave_out_pauses() -> None:
    pieces = [*range(0, 320, 32), *range(1_000, 1_320, 32)]
    assert spread_over_pieces("four five.", pieces, 32) == (
        HypothesisWord(text="four", start_ms=0, end_ms=256),
        HypothesisWord(text="five", punctuation=".", start_ms=256, end_ms=1_320),
    )


def test_more_words_than_pieces_have_times_in_order() -> None:
    words = spread_over_pieces("a b c d e f", [0, 32], 32)
    times = [word.start_ms for word in words]
    assert times == sorted(times)
    assert all(word.start_ms < word.end_ms <= 64 for word in words)
