"""The source of a session: words at known places, in audio that holds its own place throughout.

Words have random lengths of 150 to 500 ms. Most texts occur once, some several times, also one behind the other. Latin
words stand between spaces, Chinese words are one character each. Pauses separate the utterances. The words of a spoken
script are few and shorter, and recognisers have several texts for its numbers. Does not know
recognisers, servers or results.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

__all__ = ["NOISES", "Script", "Word", "draw_script", "draw_spoken_script", "texts_of", "translated"]

NOISES = ("uh", "hm", "嗯")
"""Texts of noise interims; no word of a script has them."""

REPEATED = ("yes", "no", "the", "好", "是")
"""Texts that occur several times in a script."""

_TOKEN = re.compile("[a-z0-9]+|[\u3400-\u9fff]")
_CONSONANTS, _VOWELS = "bdfgklmprstvz", "aeiou"

SPOKEN_LATIN = ["we", "you", "the", "a", "it", "is", "to", "of", "go", "see", "there", "room", "price", "call"]
SPOKEN_CHINESE = "我们你的是在有不了人这上"
"""The few texts of a spoken script, of which every one occurs several times."""

_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_ONES = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_DIGITS = "一二三四五六七八九"


@dataclass(frozen=True, slots=True)
class Word:
    """One word of the source."""

    text: str
    start_ms: int
    end_ms: int
    form: str = ""
    """The form that a recogniser has chosen for it; empty if that is the text."""

    @property
    def shown(self) -> str:
        """The text that a recogniser has for it."""
        return self.form or self.text

    @property
    def middle_ms(self) -> int:
        return (self.start_ms + self.end_ms) // 2


@dataclass(frozen=True)
class Script:
    """All words of a source, in order."""

    words: tuple[Word, ...]
    length_ms: int
    forms: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The text of a word → all texts that a recogniser may have for it: "25", "twenty five"."""

    def texts_of(self, text: str) -> list[str]:
        """Return the texts of the words in a result, each in the form that the script has."""
        found: list[str] = []
        tokens = texts_of(text)
        while tokens:
            known = [(form, word) for form, word in self._by_form if tokens[: len(form)] == form]
            form, word = max(known, key=lambda each: len(each[0]), default=(tokens[:1], tokens[0]))
            found.append(word)
            tokens = tokens[len(form) :]
        return found

    @cached_property
    def _by_form(self) -> list[tuple[list[str], str]]:
        return [(texts_of(form), word) for word, forms in self.forms.items() for form in forms]

    def __str__(self) -> str:
        return " ".join(f"{word.text}[{word.start_ms}-{word.end_ms}]" for word in self.words)


def draw_script(rng: random.Random, length_ms: int, *, repeated: float = 0.15) -> Script:
    """Return words that fill the source, with pauses between utterances."""
    latin, chinese = _latin_texts(rng), _chinese_texts(rng)
    words: list[Word] = []
    at_ms = rng.randrange(100, 900)
    while at_ms < length_ms - 700:
        is_latin = rng.random() < 0.7
        for _ in range(rng.choice((1, 2, 3, 4, 5, 6, 8, 12))):
            word_ms = rng.randrange(150, 500)
            if at_ms + word_ms > length_ms - 50:
                break
            is_repeated = rng.random() < repeated
            pool = REPEATED[:3] if is_latin else REPEATED[3:]
            text = rng.choice(pool) if is_repeated else next(latin if is_latin else chinese)
            words.append(Word(text, at_ms, at_ms + word_ms))
            at_ms += word_ms + (0 if rng.random() < 0.7 else rng.randrange(20, 120))
        at_ms += rng.randrange(300, 1500)
    return Script(tuple(words), length_ms)


def draw_spoken_script(rng: random.Random, length_ms: int) -> Script:
    """Return words of a small vocabulary, also mixed, with numbers of several forms, and long and short pauses."""
    forms: dict[str, tuple[str, ...]] = {}
    numbers = _numbers(rng)
    words: list[Word] = []
    at_ms = rng.randrange(100, 3_000)
    while at_ms < length_ms - 700:
        language = rng.choice(("latin", "chinese", "mixed"))
        for _ in range(rng.choice((1, 1, 1, 2, 3, 5, 8, 14))):
            is_latin = language == "latin" or (language == "mixed" and rng.random() < 0.5)
            text, word_ms = rng.choice(SPOKEN_LATIN if is_latin else SPOKEN_CHINESE), rng.randrange(80, 350)
            if rng.random() < 0.15:
                text, forms_of_number = next(numbers)
                forms[text], word_ms = forms_of_number, rng.randrange(350, 700)
            if at_ms + word_ms > length_ms - 50:
                break
            words.append(Word(text, at_ms, at_ms + word_ms))
            at_ms += word_ms + (0 if rng.random() < 0.6 else rng.randrange(20, 200))
        at_ms += rng.choice((rng.randrange(250, 500), rng.randrange(500, 1_200), rng.randrange(1_500, 4_000)))
    return Script(tuple(words), length_ms, forms)


def _numbers(rng: random.Random) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield numbers of two digits, each once, and the ways in which recognisers write them."""
    pairs = [(ten, one) for ten in range(2, 10) for one in range(1, 10)]
    rng.shuffle(pairs)
    for ten, one in pairs:
        digits = f"{ten}{one}"
        if rng.random() < 0.5:
            yield digits, (digits, f"{_TENS[ten - 2]} {_ONES[one - 1]}")
        else:
            yield digits, (digits, f"{_DIGITS[ten - 1]}十{_DIGITS[one - 1]}")


def _latin_texts(rng: random.Random) -> Iterator[str]:
    known = {*NOISES, *REPEATED}
    while True:
        syllables = [rng.choice(_CONSONANTS) + rng.choice(_VOWELS) for _ in range(rng.choice((2, 2, 3)))]
        text = "".join(syllables)
        if text not in known:
            known.add(text)
            yield text


def _chinese_texts(rng: random.Random) -> Iterator[str]:
    codes = list(range(0x5200, 0x5400))
    rng.shuffle(codes)
    yield from (text for code in codes if (text := chr(code)) not in REPEATED and text not in NOISES)


def texts_of(text: str) -> list[str]:
    """Return the texts of the words in a result, without case, spaces and punctuation."""
    return _TOKEN.findall(text.casefold())


def translated(text: str) -> str:
    """Return the translation of a word: one word for each."""
    return f"tr{text}" if text.isascii() else f"tr{ord(text):x}"
