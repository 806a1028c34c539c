"""The recordings of the examples and the words that are spoken in them."""

from __future__ import annotations

import re

from .paths import RECORDINGS

__all__ = ["spoken_words", "words"]


def words(text: str) -> str:
    """Return a text in lower case without punctuation, words separated by one space."""
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower()).split())


def spoken_words(name: str) -> str:
    """Return the words of the recording with this name."""
    return words((RECORDINGS / f"{name}.txt").read_text())
