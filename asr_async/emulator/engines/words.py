"""The words of a hypothesis: a text is split, and each word gets its time from the place of its characters."""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

from .engine import HypothesisWord

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["WORD", "spread_words", "words_at_tokens"]

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Kana and Han, which are written without spaces: each character counts as a word, as with the vendors."""

_PUNCTUATION = ',.!?;:…"”，。！？；：、'  # noqa: RUF001 - the full-width marks are intended

WORD = re.compile(
    rf"(?P<word>[{_CJK}]|[^\s{_CJK}]+?(?=[{_PUNCTUATION}]*(?:\s|$|[{_CJK}])))(?P<punctuation>[{_PUNCTUATION}]*)"
)
"""A word and the punctuation behind it. The words of a text contain all of its characters except the spaces."""

_TOKEN_MS = 240
"""The longest time from the beginning of the last token of a word to the end of the word: models give only the time at
which a token begins."""

_NOT_WRITTEN = re.compile(r"[\s▁]|@@$")
"""The parts of a token that are no characters of the text: they show where words begin and end."""


def spread_words(text: str, start_ms: int, end_ms: int) -> tuple[HypothesisWord, ...]:
    """Return the words of a text with times in proportion to their characters: estimates."""
    characters = len("".join(text.split()))

    def at_ms(character: int) -> int:
        return start_ms + (end_ms - start_ms) * character // characters

    return _timed_words(text, at_ms, lambda _first, behind: at_ms(behind))


def words_at_tokens(
    text: str, tokens: Sequence[str], times_ms: Sequence[int], end_ms: int
) -> tuple[HypothesisWord, ...]:
    """Return the words of a text with the times of their tokens; empty if the tokens do not spell the text.

    Args:
        text: the text of the hypothesis.
        tokens: its tokens, as the model writes them.
        times_ms: the time at which each token begins.
        end_ms: the latest end of a word.
    """
    ends = list(accumulate(len(_NOT_WRITTEN.sub("", token)) for token in tokens))
    characters = len("".join(text.split()))
    if not characters or len(times_ms) != len(tokens) or ends[-1] != characters:
        return ()

    def at_ms(character: int) -> int:
        return min(times_ms[bisect_right(ends, character)], end_ms) if character < characters else end_ms

    return _timed_words(text, at_ms, lambda last, behind: min(at_ms(last) + _TOKEN_MS, at_ms(behind)))


def _timed_words(
    text: str, start_ms: Callable[[int], int], end_ms: Callable[[int, int], int]
) -> tuple[HypothesisWord, ...]:
    """Return the words of a text.

    Args:
        text: the text.
        start_ms: returns the time of a character, by its number without the spaces.
        end_ms: returns the end of a word, by the numbers of its last character and of the one behind it.
    """
    words = []
    position = 0
    for match in WORD.finditer(text):
        last = position + len(match["word"]) - 1
        behind = last + 1 + len(match["punctuation"])
        times = {"start_ms": start_ms(position), "end_ms": end_ms(last, behind)}
        words.append(HypothesisWord(text=match["word"], punctuation=match["punctuation"], **times))
        position = behind
    return tuple(words)
