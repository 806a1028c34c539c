"""The recordings of the examples: their samples, and the words that are spoken in them."""

from __future__ import annotations

import re
import wave

from .paths import RECORDINGS

__all__ = ["samples_of", "spoken_words", "words"]


def samples_of(name: str) -> bytes:
    """Return the 16-bit samples, at 16 kHz, of the recording with this name."""
    with wave.open(str(RECORDINGS / f"{name}.wav")) as file:
        samples: bytes = file.readframes(file.getnframes())
    return samples


def words(text: str) -> str:
    """Return a text in lower case without punctuation, words separated by one space."""
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower()).split())


def spoken_words(name: str) -> str:
    """Return the words of the recording with this name."""
    return words((RECORDINGS / f"{name}.txt").read_text())
