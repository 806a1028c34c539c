"""Hot words: terms that a recogniser should expect, and the tables in which vendors store them.

The fields are the same for every vendor; the service of a vendor refuses those that the vendor does not have. Does not
know vendors.
"""

from __future__ import annotations

import msgspec

__all__ = ["HotWord", "Vocabulary"]


class HotWord(msgspec.Struct, frozen=True):
    """A term to expect: `HotWord("Paraformer", weight=5)`. A plain string is accepted wherever a hot word is.

    Args:
        text: the term as the transcript should spell it.
        weight: the preference for the term, in the range of the vendor; None is the vendor's default.
        language: the language of the term, for vendors that keep several languages in one table.
        heard_as: a recognised text that is always replaced by `text`, for vendors that support forced replacement.
        translation: the translation of the term, for vendors that translate; requires `target_language`.
        target_language: the language of the translation.
    """

    text: str
    weight: int | None = None
    language: str | None = None
    heard_as: str | None = None
    translation: str | None = None
    target_language: str | None = None


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True):
    """A table of hot words as the vendor stores it; fields that the vendor does not report are None."""

    vocabulary_id: str
    """The id to set in the options of a session."""
    name: str | None = None
    model: str | None = None
    """The model for which the table was created; None if it is not bound to one."""
    language: str | None = None
    description: str | None = None
    status: str | None = None
    """The vendor's status of the table, which says whether it can be used yet."""
    words: tuple[HotWord, ...] | None = None
    """The hot words; None in listings, which do not include them."""
