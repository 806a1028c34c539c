"""What a user is told of a model, in the same words for every vendor.

A vendor makes its rows from its own capability table; nothing here knows a vendor.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

__all__ = ["ModelInfo", "Segmentation", "missing_from"]

Segmentation: TypeAlias = Literal["silence", "meaning", "one sentence", "caller"]
"""What ends a sentence: a pause; its meaning; nothing, since only one is listened to; `Session.commit()`."""


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What one model can do, and who says so."""

    model: str
    """The name that options take as `model`."""
    other_names: tuple[str, ...] = ()
    """Names that are taken for it as well."""
    vendor: str
    """The vendor's name, as options have it."""
    options: str
    """Name of the class of its options, such as "Paraformer"."""

    # audio
    sample_rates: tuple[int, ...] | None
    """In Hz; None takes any, from `min_sample_rate` on."""
    min_sample_rate: int | None = None
    """In Hz; None where no lowest rate is documented, or `sample_rates` names them all."""
    formats: tuple[str, ...]
    """As `AudioFormat.encoding` has them."""
    max_audio_s: int | None = None
    """The longest audio of one session in seconds; None where there is no limit."""

    # words
    languages: tuple[str, ...]
    """Codes of ISO 639, dialects not counted but for Cantonese ("yue"); empty where no list is known."""
    hot_words: tuple[str, ...] = ()
    """The options that take hot words, or the id of a table of them."""
    context: bool = False
    """Whether `Session.update_context` has an effect."""

    # results
    segmentation: tuple[Segmentation, ...]
    """The ways to cut a sentence, the vendor's default first; empty where the one final comes when the audio ends."""
    emotion: bool = False
    """Whether finals tell the speaker's mood."""
    translation: tuple[str, ...] = ()
    """The languages that it translates into, from one language or another; empty where it does not translate."""

    # limits
    starts_per_second: int | None = None
    """How many sessions one account may begin in a second; None: not known."""
    yuan_per_second: float | None = None
    """List price of a second of audio in mainland China, without translation; None: not known, or not billed so."""
    regions: tuple[str, ...] | None = None
    """Where it is known to be, by the vendor's names; None: not known."""

    source: str
    """The documents that say so, with their dates."""


def missing_from(other: ModelInfo, first: ModelInfo) -> dict[str, tuple[str | int, ...]]:
    """What the first model can do and the other cannot: fields, and which of their values.

    No values stand beside what a model has or has not; beside `max_audio_s`, the other's. Lists of languages are
    compared where both are known.
    """
    missing: dict[str, tuple[str | int, ...]] = {}
    for name in ("languages", "segmentation", "translation"):
        ours, theirs = getattr(first, name), getattr(other, name)
        values = tuple(value for value in ours if value not in theirs)
        if values and (theirs or name != "languages"):
            missing[name] = values
    for name in ("hot_words", "context", "emotion"):
        if getattr(first, name) and not getattr(other, name):
            missing[name] = ()
    if other.max_audio_s is not None and (first.max_audio_s is None or first.max_audio_s > other.max_audio_s):
        missing["max_audio_s"] = (other.max_audio_s,)
    return missing
