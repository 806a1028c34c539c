"""The description of a model for users, with the same fields for every vendor.

A vendor makes its rows from its own capability table. Does not know a vendor.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

__all__ = ["ModelInfo", "Segmentation", "missing_from"]

Segmentation: TypeAlias = Literal["silence", "meaning", "one sentence", "caller"]
"""The end of a sentence: a pause; its meaning; the end of the task, which recognises only one sentence; a call of
`Session.commit()`."""


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The capabilities of one model, with their source."""

    model: str
    """The value of the options' field `model`."""
    other_names: tuple[str, ...] = ()
    """Other names that the options accept for it."""
    vendor: str
    """The vendor's name, as in `Options.vendor`."""
    options: str
    """The name of the class of its options, such as "Paraformer"."""

    # audio
    sample_rates: tuple[int, ...] | None
    """In Hz; None if every rate from `min_sample_rate` on is accepted."""
    min_sample_rate: int | None = None
    """In Hz; None if no lowest rate is documented, or if `sample_rates` lists all."""
    formats: tuple[str, ...]
    """Values of `AudioFormat.encoding`."""
    max_audio_s: int | None = None
    """The longest audio of one session in seconds; None if there is no limit."""

    # words
    languages: tuple[str, ...]
    """Codes of ISO 639, without dialects except Cantonese ("yue"); empty if no list is known."""
    hot_words: tuple[str, ...] = ()
    """The names of the options for hot words, or for the id of a table of them."""
    context: bool = False
    """True if `Session.update_context` has an effect."""

    # results
    segmentation: tuple[Segmentation, ...]
    """The ways to end a sentence, the vendor's default first; empty if there is one final, at the end of the audio."""
    emotion: bool = False
    """True if finals name the speaker's mood."""
    translation: tuple[str, ...] = ()
    """The languages that it translates into, from at least one other; empty if it does not translate."""

    # limits
    starts_per_second: int | None = None
    """The number of sessions that one account may begin in a second; None if not known."""
    yuan_per_second: float | None = None
    """List price of a second of audio in mainland China, without translation; None if it is not known, or if the model
    is not billed by the second."""
    regions: tuple[str, ...] | None = None
    """The vendor's regions that are known to have the model; None if not known."""

    source: str
    """The documents that state this, with their dates."""


def missing_from(other: ModelInfo, first: ModelInfo) -> dict[str, tuple[str | int, ...]]:
    """Return the capabilities of the first model that the other lacks: fields of `ModelInfo`, with the missing values.

    The values are empty for a field that a model either has or lacks; for `max_audio_s` it is the other's. Languages
    are compared only if both lists are known.
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
