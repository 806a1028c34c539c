"""The words of a recognised text, with their places in the text and in the audio.

A word is what separates texts of alphabetic scripts, and a single character in scripts without spaces. Two words are
the same if they differ in case, width and punctuation only. Does not know results, segments or connections.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "MAX_WORDS",
    "PlacedWord",
    "Speech",
    "TimedWord",
    "letters_of",
    "place_words",
    "spoken_length_ms",
    "words_of_text",
]

UNSPACED = (
    "\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
"""The characters of scripts without spaces between words, for a set in a pattern: CJK ideographs and radicals, kana,
half-width kana, and the ideographs beyond the basic plane."""

# the marks of Latin, Hebrew and Arabic letters, and the Indic and Thai blocks, in which marks are vowels
_MARKS = (
    "\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u0610-\u061a\u064b-\u065f\u0670"
    "\u0900-\u0963\u0971-\u0df3\u0e31-\u0e4e"
)
_VOICED = "[\u3099\u309a\uff9e\uff9f]"
_LETTER = rf"(?:[^\W_{UNSPACED}]|[{_MARKS}])"
_WORD = re.compile(rf"[{UNSPACED}]{_VOICED}?|{_LETTER}+(?:['\u2019]{_LETTER}+|(?<=\d)[.,](?=\d){_LETTER}+)*")

_NO_LETTERS = re.compile("[^0-9A-Za-z]+")

MAX_WORDS = 1_000
"""The words of a text that are compared. Most vendors cut a segment at a minute, which has three hundred; for vLLM, a
session is one segment."""

WORD_MS = 350
CHARACTER_MS = 200
"""The length of a word, and of a character of a script without spaces, at a common pace of speech."""

TIME_TOLERANCE_MS = 1_000
"""The times of words may lie this far outside of their segment; others are not believed."""


class TimedWord(Protocol):
    """A word with its place in the audio, as a vendor reports it: a `Word`."""

    @property
    def text(self) -> str: ...
    @property
    def start_ms(self) -> int: ...
    @property
    def end_ms(self) -> int: ...


class PlacedWord(msgspec.Struct, frozen=True, gc=False):
    """One word: the form that is compared, its place in the audio, and its place in the text."""

    form: str
    start_ms: int
    end_ms: int
    begins_at: int
    """The position of its first character in the text."""

    @property
    def middle_ms(self) -> float:
        """The middle of its place in the audio."""
        return (self.start_ms + self.end_ms) / 2


class Speech(msgspec.Struct, frozen=True):
    """The words of one text, in their order."""

    start_ms: int
    end_ms: int
    words: tuple[PlacedWord, ...]
    is_timed: bool
    """True if the places of the words are the vendor's, False if they are estimates from their lengths."""
    has_more: bool = False
    """True if these are not all words of the text."""

    @property
    def length_ms(self) -> int:
        """The length of its place in the audio."""
        return max(0, self.end_ms - self.start_ms)


def words_of_text(text: str, max_words: int | None = None) -> list[tuple[str, int, int]]:
    """Return the form of each word of a text, and the positions of its first character and behind its last one.

    Args:
        text: the text.
        max_words: the most words that are returned: the first ones; None for all.
    """
    return [
        (unicodedata.normalize("NFKC", match[0]).casefold().replace("\u2019", "'"), match.start(), match.end())
        for match in islice(_WORD.finditer(text), max_words)
    ]


def letters_of(text: str) -> str:
    """Return a text without case, width, spaces, punctuation and symbols; the marks of letters, as in Hindi, stay."""
    if text.isascii():
        return _NO_LETTERS.sub("", text).lower()
    return "".join(
        character
        for character in unicodedata.normalize("NFKC", text).casefold()
        if character.isalnum() or unicodedata.category(character).startswith("M")
    )


def spoken_length_ms(text: str) -> int:
    """Return an estimate of the time in which a text is spoken."""
    return sum(
        CHARACTER_MS if re.match(f"[{UNSPACED}]", form) else WORD_MS for form, _, _ in words_of_text(text, MAX_WORDS)
    )


def place_words(
    text: str, words: Sequence[TimedWord], start_ms: int, end_ms: int, *, max_words: int | None = None
) -> Speech:
    """Return the words of a text with their places: by the vendor's times, else in proportion to their lengths.

    Args:
        text: the text of a segment.
        words: the words with times that the vendor reported; empty if it reported none.
        start_ms: the start of the segment.
        end_ms: its end.
        max_words: see `words_of_text`.
    """
    found = words_of_text(text, None if max_words is None else max_words + 1)
    has_more = max_words is not None and len(found) > max_words
    if has_more:
        found.pop()
    timed = _place_by_times(found, words, start_ms, end_ms, has_more=has_more) if words else None
    if timed is None:
        share = found[-1][2] / len(text) if has_more else 1
        placed = _place_by_length(found, start_ms, start_ms + round(share * (end_ms - start_ms)))
    else:
        placed = timed
    return Speech(start_ms, end_ms, tuple(placed), is_timed=timed is not None, has_more=has_more)


def _place_by_length(found: Sequence[tuple[str, int, int]], start_ms: int, end_ms: int) -> list[PlacedWord]:
    total = sum(len(form) for form, _, _ in found) or 1
    length_ms = max(0, end_ms - start_ms)
    placed: list[PlacedWord] = []
    behind = 0
    for form, begins_at, _ in found:
        before, behind = behind, behind + len(form)
        placed.append(
            PlacedWord(form, start_ms + length_ms * before // total, start_ms + length_ms * behind // total, begins_at)
        )
    return placed


def _place_by_times(
    found: Sequence[tuple[str, int, int]],
    words: Sequence[TimedWord],
    start_ms: int,
    end_ms: int,
    *,
    has_more: bool,
) -> list[PlacedWord] | None:
    """Return the places by the vendor's times; None if the vendor's words are others, or a time is not possible.

    The vendor may divide the text otherwise: its words are compared letter by letter.
    """
    letters: list[tuple[int, int]] = []
    spoken = ""
    for word in words:
        word_letters = letters_of(word.text)
        if not word_letters:  # punctuation
            continue
        if not start_ms - TIME_TOLERANCE_MS <= word.start_ms < word.end_ms <= end_ms + TIME_TOLERANCE_MS:
            return None
        spoken += word_letters
        length_ms, count = word.end_ms - word.start_ms, len(word_letters)
        places_ms = [word.start_ms + length_ms * index // count for index in range(count + 1)]
        letters += pairwise(places_ms)
    placed: list[PlacedWord] = []
    behind = 0
    for form, begins_at, _ in found:
        before, form_letters = behind, letters_of(form)
        behind += len(form_letters)
        if spoken[before:behind] != form_letters:
            return None
        placed.append(PlacedWord(form, letters[before][0], letters[behind - 1][1], begins_at))
    return placed if placed and (has_more or behind == len(spoken)) else None
