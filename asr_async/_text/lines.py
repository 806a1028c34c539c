"""Texts of vendors, gateways, processes and recordings, as they can be written into a log or onto a terminal."""

from __future__ import annotations

import re

__all__ = ["UNPRINTABLE", "one_line", "printable"]

UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
"""Characters that end a line, control a terminal, change the direction of writing, or have no encoding."""

_BLANKS = re.compile("  +")


def printable(text: str) -> str:
    """Return a text with a blank in place of the characters that no line of a log should hold."""
    return UNPRINTABLE.sub(" ", text)


def one_line(text: str, max_chars: int | None = None) -> str:
    """Return a text as one line with single blanks (wide ones stay), shortened to a length with a … at its end."""
    text = _BLANKS.sub(" ", printable(text)).strip()
    return text if max_chars is None or len(text) <= max_chars else f"{text[: max_chars - 1].rstrip()}…"
