"""Word errors: texts without case and punctuation, with numbers in words and contractions in full."""

from __future__ import annotations

import re
from collections.abc import Sequence

import jiwer

__all__ = ["word_errors", "words_of"]

SPELLINGS = {
    "o'clock": "oclock",
    "i'd": "i would",
    "i'm": "i am",
    "it's": "it is",
    "we're": "we are",
    "can't": "cannot",
    "don't": "do not",
    "harbor": "harbour",
}
"""Words that are written in two ways → one of them."""

PHRASES = {"per cent": "percent", "to morrow": "tomorrow"}
"""Words that are also written as two → as one."""

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def words_of(text: str) -> str:
    """Return the words of a text in one spelling, separated by spaces."""
    words = re.findall(r"[a-z0-9']+", text.lower().replace("’", "'").replace("-", " "))  # noqa: RUF001 - apostrophe
    joined = " ".join(_spelling(word) for word in words)
    for two, one in PHRASES.items():
        joined = re.sub(rf"\b{two}\b", one, joined)
    return joined


def _spelling(word: str) -> str:
    if word.isdecimal() and int(word) < len(DIGITS):
        return DIGITS[int(word)]
    return SPELLINGS.get(word, word)


def word_errors(spoken: Sequence[str], recognised: Sequence[str]) -> float:
    """Return the share of the spoken words that were recognised wrongly, left out or added."""
    return jiwer.wer([words_of(text) for text in spoken], [words_of(text) for text in recognised])
