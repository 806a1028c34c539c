"""The source of a session: words at known places, in audio that holds its own place throughout.

Words have random lengths of 150 to 500 ms. Most texts occur once, some several times, also one behind the other. Latin
words stand between spaces, Chinese words are one character each. Pauses separate the utterances. Does not know
recognisers, servers or results.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["NOISES", "Script", "Word", "draw_script", "texts_of", "translated"]

NOISES = ("uh", "hm", "嗯")
"""Texts of noise interims; no word of a script has them."""

REPEATED = ("yes", "no", "the", "好", "是")
"""Texts that occur several times in a script."""

_TOKEN = re.compile("[a-z0-9]+|[\u3400-\u9fff]")
_CONSONANTS, _VOWELS = "bdfgklmprstvz", "aeiou"


@dataclass(frozen=True, slots=True)
class Word:
    """One word of the source."""

    text: str
    start_ms: int
    end_ms: int

    @property
    def middle_ms(self) -> int:
        return (self.start_ms + self.end_ms) // 2


@dataclass(frozen=True, slots=True)
class Script:
    """All words of a source, in order."""

    words: tuple[Word, ...]
    length_ms: int

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
