"""The results and events of a session, and the transcript of a whole source.

All times are whole milliseconds from the first byte of the source. Does not know vendors, sessions or clocks. Types of
which a session creates thousands are not tracked by the garbage collector (`gc=False`): they are frozen and cannot be
part of a reference cycle.

Each event has a tag, the member `type` of its JSON object: see `asr_async.to_json`. Pydantic accepts all types as they
are, and with it FastAPI: as annotations, as fields of models, and as `response_model`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from ._alignment.words import UNSPACED
from ._text.lines import one_line
from .subtitles import LINE_WIDTH, Languages, cues_of, subtitles

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

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
    "TranslationLost",
    "Word",
]

S = TypeVar("S")
T = TypeVar("T", bound=msgspec.Struct)

_UNSPACED = re.compile(rf"[{UNSPACED}\u3000-\u303f\uff00-\uffef]")
"""A character of a script without spaces between words, or the punctuation and the full-width forms that go with it."""


class _Value(msgspec.Struct, frozen=True):
    """The base of all types here: the two methods by which Pydantic, if it is used, asks a type for its rules."""

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: object) -> CoreSchema:
        from pydantic_core import core_schema  # noqa: PLC0415 - Pydantic calls this: it is loaded already

        def validate(value: object) -> object:
            return value if isinstance(value, cls) else msgspec.convert(value, cls)

        to_builtins = core_schema.plain_serializer_function_ser_schema(msgspec.to_builtins)
        return core_schema.no_info_plain_validator_function(validate, serialization=to_builtins)

    @classmethod
    def __get_pydantic_json_schema__(cls, *_: object) -> dict[str, Any]:
        schema = msgspec.json.schema(cls)
        inlined: dict[str, Any] = _without_references(schema, schema["$defs"])
        return inlined


def _without_references(schema: Any, definitions: dict[str, Any]) -> Any:
    """Return a JSON schema with the definitions in place of the references to them; no type here contains itself."""
    if isinstance(schema, list):
        return [_without_references(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _without_references(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: _without_references(each, definitions) for name, each in schema.items() if name != "$defs"}


class Word(_Value, frozen=True, gc=False):
    """One word (in Chinese and Japanese, one character or token) and its position in the audio."""

    text: str
    start_ms: int
    end_ms: int
    punctuation: str = ""
    """The punctuation that follows the word; empty if there is none."""
    confidence: float | None = None
    """0 to 1; None if the vendor reports none."""
    is_fixed: bool | None = None
    """True if the word will not change any more, in an interim too; None if the vendor does not report it."""


class Translation(_Value, frozen=True, kw_only=True, gc=False):
    """The text of a segment in another language, with its own times and its own `is_final`."""

    text: str
    is_final: bool
    start_ms: int
    end_ms: int
    words: tuple[Word, ...] = ()


class Result(_Value, frozen=True, kw_only=True, gc=False, tag="result"):
    """The whole text of one segment: each interim replaces the one before it, the final replaces them all.

    `segment_id` numbers the segments of a session from 0, in the order of their first sign, which need not be that of
    the audio; the interims and the final of a segment share it. `end_ms` of an interim is the end of its last word so
    far.
    """

    text: str
    is_final: bool
    segment_id: int
    start_ms: int
    end_ms: int
    words: tuple[Word, ...] = ()
    confidence: float | None = None
    """0 to 1 for the whole segment; None if the vendor reports none."""
    emotion: str | None = None
    """The vendor's label of the speaker's emotion, in finals of models that report it."""
    emotion_confidence: float | None = None
    language: str | None = None
    translations: dict[str, Translation] = {}  # msgspec copies an empty default for each instance
    """Language → the newest translation of this segment.

    Translations arrive at their own pace. An interim holds the translations received so far. A final result waits for
    the final translation into each requested language. It is delivered incomplete `Timeouts.translation` seconds after
    it became final, when the translation of a later segment is final (the translator has moved on), or at the end of
    the session; the `is_final` of each translation then says whether it is complete. Finals keep their order; interims
    of later segments do not wait. A translation that arrives after its final is delivered as the event
    `TranslationArrived`, and is part of the results of a `Transcript`; one that will not arrive is `TranslationLost`.
    """
    request_id: str = ""
    raw: str = ""
    """The vendor's message of this result, unchanged: JSON text, including everything that has no field here."""
    is_confirmed: bool = True
    """False for a final that the vendor did not send: it ended the task while this text was the newest interim of its
    segment."""
    may_repeat: bool = False
    """True if the text may repeat words of a result before it.

    After a reconnect, audio is recognised again from the end of the last final on, and the vendor may divide it into
    other segments. A result that overlaps what was final already keeps only the new words, by the times of the words or
    by comparing the texts. Where neither tells which words are new, the result is delivered whole, with this mark.
    """
    lost_before_ms: int = 0
    """The length of the audio that was lost between the result before and this one: the sum of the `Gap`s there.

    The first final behind a gap has it, and its interims. A gap behind the last result is in `session.gaps` only.
    """
    stable_text: str | None = None
    """The beginning of `text` that the vendor will not change any more; None if the vendor does not report it.

    Qwen realtime and Gummy report it, and a final of theirs is stable as a whole. It is empty while nothing is stable.
    """


class SpeechStarted(_Value, frozen=True, kw_only=True, gc=False, tag="speech_started"):
    """The start of speech: the first sign of a new segment."""

    segment_id: int
    start_ms: int


class SpeechEnding(_Value, frozen=True, kw_only=True, gc=False, tag="speech_ending"):
    """The vendor's sign that speech ends, before the final result of its segment.

    For bots that want to prepare their answer early: the text of the newest interim is probably the final text. Gummy
    predicts the end before the silence that ends a segment has passed, and may withdraw that. Qwen realtime reports it
    behind that silence, while the final text is on its way.
    """

    segment_id: int
    end_ms: int | None = None
    """The end of speech; None if the vendor reports none."""
    is_withdrawn: bool = False
    """True if the vendor withdraws its prediction, since speech continued."""


class SpeechEnded(_Value, frozen=True, kw_only=True, gc=False, tag="speech_ended"):
    """The end of a segment; its final result comes directly before this event, unless the segment is withdrawn."""

    segment_id: int
    end_ms: int
    is_withdrawn: bool = False
    """True if the segment ends without a final result: a noise that was taken for speech, or an interim that the vendor
    dropped. In the rare case that its final result arrives later, it is delivered all the same."""
    withdrawn_text: str = ""
    """The text of the last interim of a segment that is withdrawn; empty if it had none."""


class TranslationArrived(_Value, frozen=True, kw_only=True, gc=False, tag="translation_arrived"):
    """A translation that arrived after the final result of its segment; see `Result.translations`."""

    segment_id: int
    language: str
    translation: Translation
    """Replaces the translation into this language that the result, or an earlier event, held."""


class TranslationLost(_Value, frozen=True, kw_only=True, gc=False, tag="translation_lost"):
    """A translation that will not arrive: the connection was lost, or the vendor has confirmed the end.

    The final result of the segment was delivered before, without the final translation into this language.
    """

    segment_id: int
    language: str
    reason: str


class Reconnected(_Value, frozen=True, kw_only=True, gc=False, tag="reconnected"):
    """A lost connection that a new one replaced; the audio without a final result is replayed.

    Final results stay final, and interims of an open segment continue under its id. A `Gap` precedes this event if some
    of the audio could not be kept.
    """

    at_ms: int
    """The position in the source at which the new connection begins: the end of the final results, or before; see
    `Retry`."""
    reason: str
    """The cause: what ended the connection before."""


class Gap(_Value, frozen=True, kw_only=True, gc=False, tag="gap"):
    """Lost audio: no final result covers it, and none will."""

    start_ms: int
    end_ms: int
    """The end of the audio that is known to be lost; the same as the start if the length is not known."""
    reason: str
    """The cause, on one line."""


Event = Result | SpeechStarted | SpeechEnding | SpeechEnded | TranslationArrived | TranslationLost | Reconnected | Gap
"""The type of the items of `session.events()`."""


class SessionStats(_Value, frozen=True, kw_only=True):
    """A snapshot of the statistics of one session; a figure that is not known yet is None."""

    request_id: str
    first_result_ms: float | None
    """First audio sent → first result received."""
    last_result_ms: float | None
    """`finish` sent → last result received: 0 if that came before, None while `finish` is not sent."""
    audio_sent_ms: int | None
    """Audio sent so far; None for compressed audio that cannot be cut, since its length is not known."""
    usage_seconds: float | None
    """The usage that the vendor reports for billing, of the whole session so far."""
    pacer_lateness_max_ms: float
    """The largest lateness of a frame: sent this long after it was due."""
    interims_conflated: int
    """Interims that a newer one replaced before the caller received them."""
    results_received: int
    finals_received: int
    reconnects: int
    """Connections of this session after the first."""
    lost_ms: int
    """Total length of the gaps."""
    member: str | None = None
    """The member of a `Fallback` that recognises at present; None with any other service."""
    silence_sent_ms: int = 0
    """Silence sent during pauses of the source (`Retry(silence="fill")`): billed, but not part of `audio_sent_ms`."""
    replayed_ms: int = 0
    """Audio that is sent again after reconnects and at rotations: billed again, but not part of `audio_sent_ms`. It
    counts from the loss of the connection on; 0 for compressed audio that cannot be cut."""
    tags: Mapping[str, str] = {}
    """The tags of the session: `client.session(options, tags={"call": "4711"})`."""


class Transcript(_Value, frozen=True, kw_only=True):
    """The final results of a whole source.

    It is complete if `gaps` is empty. Where words are uncertain, the result is marked: `Result.is_confirmed` and
    `Result.may_repeat`.
    """

    text: str
    """The texts of the results, joined by a space if both neighbours are of scripts that use spaces."""
    results: tuple[Result, ...]
    """The finals in the order of the audio: by `start_ms`, and of the same start in the order of arrival."""
    duration_ms: int | None
    """Length of the audio that was sent; None for compressed audio that cannot be cut."""
    gaps: tuple[Gap, ...]
    """The audio that no result covers, in the order of the audio.

    There are four causes: a reconnect with `Retry(on_gap="continue")`; speech that the vendor reported and for which
    it sent no text until the end; the rest of a source that is longer than what the model recognises in a session,
    behind the one sentence of `GummyChat` and of `Rasr(mode="sentence")`; and audio behind the last result of a vendor
    that never confirms the end (`TaskDescription.quiet_end_s`).
    """
    usage_seconds: float | None
    request_id: str
    stats: SessionStats

    def to_text(self, *, languages: Languages = "both") -> str:
        """Return a line for each result, and a line below it for each of its translations.

        Args:
            languages: `"original"` leaves the translations out, `"translation"` the text of results that have one.
        """
        texts = (text for result in self.results for text in texts_of(result, languages))
        return "".join(f"{line}\n" for line in map(one_line, texts) if line)

    def to_srt(self, *, languages: Languages = "both", translation: str | None = None, width: int = LINE_WIDTH) -> str:
        """Return the transcript as SubRip subtitles (.srt); see `asr_async.subtitles`.

            Path("talk.srt").write_text(transcript.to_srt(), encoding="utf-8")

        Args:
            languages: `"both"` shows each translation below its text, `"original"` the text, `"translation"` the
                translation.
            translation: the language of the translation, of several; None is the first one.
            width: the longest line, in characters of an alphabetic script; a Chinese character counts as 2.6 of them.

        Raises:
            ModuleNotFoundError: pysubs2 is not installed (the extra `subtitles`).
        """
        return subtitles(cues_of(self.results, languages=languages, translation=translation, width=width), "srt")

    def to_vtt(self, *, languages: Languages = "both", translation: str | None = None, width: int = LINE_WIDTH) -> str:
        """Return the transcript as WebVTT subtitles (.vtt); the arguments and errors are those of `to_srt`."""
        return subtitles(cues_of(self.results, languages=languages, translation=translation, width=width), "vtt")

    def to_json(self, *, raw: bool = False) -> str:
        """Return all fields as a JSON object, which `msgspec.json.decode(text, type=Transcript)` reads.

        Args:
            raw: True includes the vendor's message of each result (`Result.raw`).
        """
        results = self.results if raw else tuple(msgspec.structs.replace(result, raw="") for result in self.results)
        return msgspec.json.encode(msgspec.structs.replace(self, results=results)).decode()


class BatchItem(msgspec.Struct, Generic[S], frozen=True, kw_only=True):
    """The outcome of one source of a batch; see `Client.transcribe_many`.

    A batch yields exactly one item for each source, in the order in which they finish. One source that fails does not
    end the batch: its item holds the error. There are three outcomes:

    - complete: `transcript` holds the whole transcript (without its `gaps`, if there are any), `error` is None
    - incomplete: `error` is an `ASRError`, `transcript` holds everything recognised before it
    - nothing: `error` is set, `transcript` is None
    """

    index: int
    """The position of the source in the batch, from 0."""
    source: S
    """The source as the caller passed it."""
    transcript: Transcript | None
    """The transcript. It is incomplete if `error` is an `ASRError`, and None if no session began or if the source
    itself raised."""
    error: Exception | None = None
    """The reason why the transcript is incomplete or missing: an `ASRError`, an `OSError` of the file, or the exception
    that the source raised. None if the transcript is complete."""


def texts_of(result: Result, languages: Languages) -> list[str]:
    """Return the text of a result and its translations, as far as they are requested; all if there is no such text."""
    translations = [translation.text for translation in result.translations.values() if translation.text.strip()]
    if languages == "translation" and translations:
        return translations
    if languages == "original" and result.text.strip():
        return [result.text]
    return [result.text, *translations]


def shown_text(result: Result) -> str:
    """Return the text of a result; if only translations were requested, that of the first one."""
    return result.text or next((translation.text for translation in result.translations.values()), "")


def with_times(value: T, time_of: Callable[[int, bool], int]) -> T:
    """Return an event, a word or a translation with other times, also in the values that it holds.

    Args:
        value: the event, word or translation.
        time_of: returns the other time for each one in milliseconds; its second argument is True for that of an end.
    """
    changes: dict[str, object] = {
        name: time_of(time_ms, name == "end_ms")
        for name in ("start_ms", "end_ms", "at_ms")
        if (time_ms := getattr(value, name, None)) is not None
    }
    if isinstance(value, Result | Translation) and value.words:
        changes["words"] = tuple(with_times(word, time_of) for word in value.words)
    if isinstance(value, Result) and value.translations:
        changes["translations"] = {
            language: with_times(translation, time_of) for language, translation in value.translations.items()
        }
    if isinstance(value, TranslationArrived):
        changes["translation"] = with_times(value.translation, time_of)
    return msgspec.structs.replace(value, **changes)


def join_texts(texts: list[str]) -> str:
    """Join the texts of successive segments with spaces, but not beside Chinese, Japanese or full-width characters."""
    joined = ""
    for text in filter(None, (text.strip() for text in texts)):
        spaced = joined and not (_UNSPACED.match(joined[-1]) or _UNSPACED.match(text[0]))
        joined += f" {text}" if spaced else text
    return joined
