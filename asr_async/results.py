"""What comes out of a session: results, events, and the transcript they add up to.

All times are whole milliseconds from the first byte of the source. Nothing here knows a vendor. What comes by the
thousand is not tracked by the garbage collector (`gc=False`): it is frozen, and nothing in it leads back to it.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

__all__ = [
    "BatchItem",
    "Event",
    "Gap",
    "Reconnected",
    "Result",
    "SessionStats",
    "SpeechEnded",
    "SpeechEnding",
    "SpeechStarted",
    "Transcript",
    "Translation",
    "TranslationArrived",
    "Word",
]

S = TypeVar("S")


class Word(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One word (or, in Chinese and Japanese, one character or token) with its place in the audio."""

    text: str
    start_ms: int
    end_ms: int
    punctuation: str = ""
    """What the vendor puts behind the word; empty where there is none."""
    confidence: float | None = None
    """0..1; None where the vendor does not say."""
    is_fixed: bool | None = None
    """Whether the word will not change any more, also in an interim; None where the vendor does not say."""


class Translation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A segment's text in another language, with a timing and a finality of its own."""

    text: str
    is_final: bool
    start_ms: int
    end_ms: int
    words: tuple[Word, ...] = ()


class Result(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The text of one segment, whole: each interim replaces the one before it, the final replaces them all.

    `segment_id` counts the segments of a session from 0; the interims and the final of one segment share it.
    `end_ms` of an interim is where its last word ends so far.
    """

    text: str
    is_final: bool
    segment_id: int
    start_ms: int
    end_ms: int
    words: tuple[Word, ...] = ()
    confidence: float | None = None
    """0..1 for the whole segment; None where the vendor does not say."""
    emotion: str | None = None
    """The vendor's label of the speaker's mood, on finals of models that have it."""
    emotion_confidence: float | None = None
    language: str | None = None
    translations: dict[str, Translation] = {}  # msgspec copies an empty default for each instance
    """Language → the newest translation of this segment.

    A translation has a pace of its own. An interim carries what there is. A final result waits for the final
    translation into every language that was asked for, and is given out at the latest `Timeouts.translation` seconds
    after it was final, or when the translation of a later segment is final (the translator has moved on), or at the end
    of the session; then with what there is, and each translation's `is_final` tells. Finals keep their order, interims
    of later segments are not held back. A translation that comes after its final is the event `TranslationArrived`, and
    stands in the results of a `Transcript`.
    """
    request_id: str = ""
    raw: str = ""
    """The vendor's message this was read from, as it came: JSON text, with all that has no field here."""


class SpeechStarted(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Somebody began to speak: the first sign of a new segment."""

    segment_id: int
    start_ms: int


class SpeechEnding(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The vendor thinks that a segment is about to end, before the silence that ends it has passed.

    For bots that want to begin with their answer: the text of the newest interim will probably stand.
    """

    segment_id: int
    end_ms: int | None = None
    """Where speech seems to have ended; None where the vendor does not say."""
    is_withdrawn: bool = False
    """True takes the guess back: speech went on."""


class SpeechEnded(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A segment is over; its final result stands directly before this."""

    segment_id: int
    end_ms: int


class TranslationArrived(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A translation that came after the final result of its segment; see `Result.translations`."""

    segment_id: int
    language: str
    translation: Translation
    """Replaces the one that the result, or an event before this, had for the language."""


class Reconnected(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The connection was lost and another one made: it hears the source from here on again.

    Nothing is missing: what was final before stays so, the interims of an open segment go on under its id.
    """

    at_ms: int
    """Where in the source the new connection begins: the end of the last final result."""
    reason: str
    """What ended the one before."""


class Gap(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Audio that had to be given up: no final result covers it, and none will."""

    start_ms: int
    end_ms: int
    reason: str


Event = Result | SpeechStarted | SpeechEnding | SpeechEnded | TranslationArrived | Reconnected | Gap
"""What `session.events()` yields."""


class SessionStats(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of one session's figures; a figure that is not known yet is None."""

    request_id: str
    first_result_ms: float | None
    """First audio sent → first result received."""
    last_result_ms: float | None
    """`finish` sent → last result received."""
    audio_sent_ms: int | None
    """Audio handed to the connection so far; None for compressed formats, whose bytes say nothing about time."""
    usage_seconds: float | None
    """What the vendor says it bills, for the whole session so far."""
    pacer_lateness_max_ms: float
    """How far the worst frame was sent behind its time."""
    interims_conflated: int
    """Interims that a newer one replaced before the caller took them."""
    results_received: int
    finals_received: int
    reconnects: int
    """Connections after the first."""
    lost_ms: int
    """Audio in gaps."""
    member: str | None = None
    """Who of a `Fallback` recognises at present; None with any other service."""
    silence_sent_ms: int = 0
    """Silence that filled pauses of the source (`Retry(silence="fill")`): no part of `audio_sent_ms`, but billed."""


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """The final results of a whole source, put together."""

    text: str
    """The finals' texts, joined by a space where both neighbours are written with spaces."""
    results: tuple[Result, ...]
    duration_ms: int | None
    """Length of the audio that was sent; None for compressed formats."""
    gaps: tuple[Gap, ...]
    """Audio that no result stands for, with `Retry(on_gap="continue")`; empty otherwise."""
    usage_seconds: float | None
    request_id: str
    stats: SessionStats


class BatchItem(msgspec.Struct, Generic[S], frozen=True, kw_only=True):
    """What came of one of many sources; see `Client.transcribe_many`."""

    index: int
    """Its place among the sources, from 0."""
    source: S
    """As it was given."""
    transcript: Transcript | None
    """The whole of it. With an `ASRError` what had been recognised until then; None where no session was begun, or the
    source itself failed."""
    error: Exception | None = None
    """What kept it from being whole: an `ASRError`, an `OSError` of its file, or what the source raised."""


def join_texts(texts: list[str]) -> str:
    """Join the texts of successive segments: with a space, but none beside Chinese, Japanese or full-width signs."""
    joined = ""
    for text in filter(None, (text.strip() for text in texts)):
        spaced = joined and not (_is_unspaced(joined[-1]) or _is_unspaced(text[0]))
        joined += f" {text}" if spaced else text
    return joined


def _is_unspaced(character: str) -> bool:
    """Whether the script of this character sets no spaces between words (CJK, kana, full-width signs)."""
    return "\u2e80" <= character <= "\u9fff" or "\uf900" <= character <= "\ufaff" or "\uff00" <= character <= "\uffef"
