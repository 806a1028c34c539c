"""Hot words: terms that a recogniser should expect, and the tables that vendors keep them in.

The words are the same for every vendor; what a vendor does not have is refused by its service. Nothing here knows one.
"""

from __future__ import annotations

import msgspec

__all__ = ["HotWord", "Vocabulary"]


class HotWord(msgspec.Struct, frozen=True):
    """A term to expect: `HotWord("Paraformer", weight=5)`. Wherever one is taken, a plain string will do."""

    text: str
    """As it is to be written."""
    weight: int | None = None
    """How much it is preferred, in the vendor's own range; None leaves it to the vendor."""
    language: str | None = None
    """The language it belongs to, where the vendor keeps several in one table."""
    heard_as: str | None = None
    """What is heard and always written as `text`, where the vendor has forced replacement."""
    translation: str | None = None
    """How it is to be translated, where the vendor translates; needs `target_language`."""
    target_language: str | None = None


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True):
    """A table of hot words as the vendor keeps it; members that the vendor does not tell are None."""

    vocabulary_id: str
    """What goes into the options of a session."""
    name: str | None = None
    model: str | None = None
    """The model that the table was made for, where it belongs to one."""
    language: str | None = None
    description: str | None = None
    status: str | None = None
    """The vendor's word for whether it can be used already."""
    words: tuple[HotWord, ...] | None = None
    """None in listings, which tell the tables but not what is in them."""
