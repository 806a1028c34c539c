"""The capabilities of options and models for users, with the same fields for every vendor.

A vendor's options state what a session with them can do, and the vendor's rows of the catalogue are made of that: there
is one source of truth. Does not know a vendor.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

__all__ = ["Capabilities", "ModelInfo", "Segmentation", "all_of", "missing_from"]

Segmentation: TypeAlias = Literal["silence", "meaning", "one sentence", "caller"]
"""The end of a sentence: a pause; its meaning; the end of the task, which recognises only one sentence; a call of
`Session.commit()`."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """The abilities of a session with certain options: `Paraformer().capabilities`.

    What an option turns on is an ability only while it is on: the words of `Rasr(need_word_info=True)`, the commits of
    `QwenRealtime(manual_commit=True)`. Options that choose among values are listed with all of them (`hot_words`,
    `translation`, `sample_rates`, `formats`). `models()` has the same fields for each model, with everything that an
    option can turn on.
    """

    # results
    interims: bool = True
    """True if results of a segment arrive before its final."""
    words: bool = False
    """True if results have `words`, each with its times."""
    stable_text: bool = False
    """True if the vendor documents which part of an interim will not change any more: `Result.stable_text`."""
    speech_events: bool = False
    """True if the vendor reports speech by itself, before its first text; `SpeechStarted` comes with that text
    otherwise."""
    emotion: bool = False
    """True if finals name the speaker's mood."""
    translation: tuple[str, ...] = ()
    """The languages that it translates into, from at least one other; empty if it does not translate."""
    usage: bool = False
    """True if the vendor reports the seconds that it bills: `SessionStats.usage_seconds`."""

    # calls
    utterances: bool = True
    """True if the vendor ends utterances by itself; otherwise a final comes with `Session.commit`, with
    `Session.finalize` and at the end of the audio."""
    commit: bool = False
    """True if `Session.commit` ends an utterance."""
    finalize: bool = True
    """True if `Session.finalize` makes final what was said until then."""
    context: bool = False
    """True if `Session.update_context` has an effect."""

    # words
    languages: tuple[str, ...] = ()
    """Codes of ISO 639, without dialects except Cantonese ("yue"); empty if no list is known."""
    hot_words: tuple[str, ...] = ()
    """The names of the options for hot words, or for the id of a table of them."""

    # audio
    sample_rates: tuple[int, ...] | None
    """In Hz; None if every rate from `min_sample_rate` on is accepted."""
    min_sample_rate: int | None = None
    """In Hz; None if no lowest rate is documented, or if `sample_rates` lists all."""
    formats: tuple[str, ...]
    """Values of `AudioFormat.encoding`."""


class ModelInfo(Capabilities, frozen=True, kw_only=True):
    """One model: its capabilities with the options that turn them on, its limits, and their source."""

    model: str
    """The value of the options' field `model`."""
    other_names: tuple[str, ...] = ()
    """Other names that the options accept for it."""
    vendor: str
    """The vendor's name, as in `Options.vendor`."""
    options: str
    """The name of the class of its options, such as "Paraformer"."""

    segmentation: tuple[Segmentation, ...]
    """The ways to end a sentence, the vendor's default first; empty if there is one final, at the end of the audio."""

    # limits
    max_audio_s: int | None = None
    """The longest audio of one session in seconds; None if there is no limit."""
    starts_per_second: int | None = None
    """The number of sessions that one account may begin in a second; None if not known."""
    yuan_per_second: float | None = None
    """List price of a second of audio in mainland China, without translation; None if it is not known, or if the model
    is not billed by the second."""
    prices: tuple[tuple[str, float], ...] = ()
    """The list prices of a second of audio in yuan, without translation, with their regions: the first of `regions` has
    `yuan_per_second`. Empty if none is known."""
    regions: tuple[str, ...] | None = None
    """The vendor's regions that are known to have the model; None if not known."""

    source: str
    """The documents that state this, with their dates."""
    notes: tuple[str, ...] = ()
    """Contradictions between the vendor's documents, and interfaces of similar names that are not spoken."""


def all_of(*variants: Capabilities) -> dict[str, Any]:
    """Return the capabilities that at least one of some variants of the same model has, by the names of the fields."""
    fields = {name: [getattr(each, name) for each in variants] for name in Capabilities.__struct_fields__}
    return {name: next((value for value in values if value), values[0]) for name, values in fields.items()}


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
