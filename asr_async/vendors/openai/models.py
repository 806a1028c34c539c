"""The options of OpenAI's realtime transcription, and the capabilities of each model, as data.

Does not know messages or endpoints. Source of the facts: PyPI `openai` 3.57.0 (`types/realtime`), and the guides
"Realtime transcription" and "Voice activity detection" of the vendor (developers.openai.com, read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec

from ...audio import AudioFormat
from ...errors import ConfigurationError
from ..catalogue import Capabilities
from ..options import Options, check_range, did_you_mean

__all__ = ["FORMATS", "MODEL_ROWS", "ModelRow", "OpenAIRealtime"]

FORMATS: dict[str, AudioFormat] = {
    "pcm": AudioFormat("pcm", 24_000),
    "ulaw": AudioFormat("ulaw", 8_000),
    "alaw": AudioFormat("alaw", 8_000),
}
"""The audio that the vendor accepts, mono: PCM "only at 24kHz", and G.711 (`realtime_audio_formats.py`), which has
8000 Hz."""

_LANGUAGE = re.compile(r"[a-z]{2,3}")

_VAD_OPTIONS = ("vad_threshold", "prefix_padding_ms", "silence_duration_ms")
_TURN_OPTIONS = ("turn_detection", *_VAD_OPTIONS, "eagerness")


class ModelRow(msgspec.Struct, frozen=True, kw_only=True):
    """The capabilities of one model."""

    model: str
    options: frozenset[str]
    """The options that only some models have, of those that this one has."""
    detects_turns: bool
    """True if the server divides the audio into utterances; else the caller commits them."""
    reports_seconds: bool = False
    """True if it is billed by the second, and says how many."""
    source: str


_SDK = "PyPI openai 3.57.0 (types/realtime, 2026-11)"
_GUIDE = "guide Realtime transcription (developers.openai.com, 2026-11)"
_SHUTDOWN = "deprecated: shutdown announced for 2027-02-26"


def _of_turns(model: str, *, options: Sequence[str], reports_seconds: bool = False) -> ModelRow:
    return ModelRow(
        model=model,
        options=frozenset({"language", *_TURN_OPTIONS, *options}),
        detects_turns=True,
        reports_seconds=reports_seconds,
        source=f"{_SDK}; {_SHUTDOWN}",
    )


def _of_commits(model: str, *, options: Sequence[str]) -> ModelRow:
    return ModelRow(
        model=model,
        options=frozenset({"language", *options}),
        detects_turns=False,
        source=f"{_SDK}; {_GUIDE}: no turn detection",
    )


MODEL_ROWS: dict[str, ModelRow] = {
    row.model: row
    for row in (
        _of_turns("gpt-4o-transcribe", options=("prompt", "logprobs")),
        _of_turns("gpt-4o-mini-transcribe", options=("prompt", "logprobs")),
        _of_turns("gpt-4o-mini-transcribe-2025-12-15", options=("prompt", "logprobs")),
        _of_turns("whisper-1", options=("prompt",), reports_seconds=True),
        _of_commits("gpt-live-transcribe", options=("prompt", "languages", "keywords")),
        _of_commits("gpt-transcribe", options=("prompt", "languages", "keywords")),
        _of_commits("gpt-realtime-whisper", options=("delay",)),
    )
}
"""The capabilities of each model, by its name. `gpt-4o-transcribe-diarize` is left out: its speakers are in messages
that this library does not read (strict=False accepts it)."""

_OF_SOME_MODELS = frozenset(name for row in MODEL_ROWS.values() for name in row.options)


class OpenAIRealtime(Options, frozen=True, kw_only=True):
    """Realtime transcription by OpenAI, and by servers that speak its protocol: utterances, without times of words.

    Models: gpt-4o-transcribe, gpt-4o-mini-transcribe and whisper-1 detect utterances by themselves; the vendor has
    announced their end for 2027-02-26. gpt-live-transcribe, gpt-transcribe and gpt-realtime-whisper do not: there the
    caller ends an utterance with `Session.commit()`, and the end of the audio ends the last one. Audio is PCM at 24 kHz
    or G.711 at 8 kHz; files are converted. There is no translation. An option with the value None is not sent: the
    vendor's default applies. The key is `OpenAI(api_key=...)` or the environment variable `OPENAI_API_KEY`.
    Source: PyPI `openai` 3.57.0 and the vendor's guides, 2026-11.

    Args:
        model: the name of the model. A model that this library does not know needs `strict=False`.
        format: the encoding of the audio: pcm (16-bit little-endian, 24000 Hz), or ulaw or alaw (G.711, 8000 Hz); mono.
            None, the default, is that of the file which `transcribe` reads, if it is one of these, and else pcm.
        language: the language that is spoken, as a code of ISO 639 ("en", "zh"); None lets the model detect it.
        languages: the languages that may be spoken (gpt-live-transcribe, gpt-transcribe).
        prompt: a text that guides the model: for whisper-1 a list of keywords, for the others free text ("expect words
            related to technology"). gpt-realtime-whisper has none.
        keywords: words and phrases that are likely to be spoken (gpt-live-transcribe, gpt-transcribe).
        turn_detection: the way in which the server ends an utterance: server_vad, the default, by silence;
            semantic_vad, by whether the speaker seems to have finished.
        vad_threshold: 0.0..1.0, for server_vad: a higher value needs louder speech. Vendor's default 0.5.
        prefix_padding_ms: the audio in milliseconds that belongs to an utterance before its speech is detected, for
            server_vad. Vendor's default 300.
        silence_duration_ms: the silence in milliseconds that ends an utterance, for server_vad. Vendor's default 500.
        eagerness: for semantic_vad: low waits up to 8 s for the speaker to go on, medium 4 s, high 2 s; auto, the
            vendor's default, is medium.
        manual_commit: True ends an utterance where the caller calls `Session.commit()`, also with a model that detects
            utterances.
        noise_reduction: near_field for a microphone close to the speaker, far_field for one in a room; None, the
            default, is none.
        delay: the time for which gpt-realtime-whisper waits before it shows a text: minimal, low, medium, high or
            xhigh. A longer one makes fewer errors.
        logprobs: True has the model report how sure it is: `Result.confidence` of finals is then the geometric mean of
            the probabilities of their tokens.
        strict: False accepts every model and every value of an option, for models newer than this library; types are
            checked all the same. Not sent.
        extra_parameters: members of `session` that are sent unchanged and unchecked, for those of the vendor that this
            library does not know; objects are merged with the ones that it sends.
    """

    vendor: ClassVar[str] = "openai"

    model: str = "gpt-4o-transcribe"
    # audio
    format: Literal["pcm", "ulaw", "alaw"] | None = None
    noise_reduction: Literal["near_field", "far_field"] | None = None
    # words
    language: str | None = None
    languages: Sequence[str] | None = None
    prompt: str | None = None
    keywords: Sequence[str] | None = None
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None
    logprobs: bool = False
    # segmentation by the server
    turn_detection: Literal["server_vad", "semantic_vad"] | None = None
    vad_threshold: float | None = None
    prefix_padding_ms: Annotated[int, msgspec.Meta(ge=0)] | None = None
    silence_duration_ms: Annotated[int, msgspec.Meta(ge=0)] | None = None
    eagerness: Literal["low", "medium", "high", "auto"] | None = None
    # segmentation by the caller
    manual_commit: bool = False
    # beyond the documents
    strict: bool = True
    extra_parameters: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def audio(self) -> AudioFormat:
        """The audio format that these options declare."""
        return FORMATS[self.format or "pcm"]

    def with_audio(self, formats: Sequence[AudioFormat]) -> Self:
        """Return options that declare the first of these formats that the model accepts and the options leave open."""
        for audio in formats:
            if self.format in {None, audio.encoding} and FORMATS.get(audio.encoding) == audio:
                return msgspec.structs.replace(self, format=audio.encoding)
        return self

    @property
    def spoken_language(self) -> str:
        """The only language that these options name; empty if the model detects it or there are several."""
        if self.language is not None or self.languages is None:
            return self.language or ""
        return self.languages[0] if len(self.languages) == 1 else ""

    @property
    def detects_turns(self) -> bool:
        """True if the server ends the utterances; False if the caller does."""
        return self.model_row.detects_turns and not self.manual_commit

    @property
    def capabilities(self) -> Capabilities:
        """The abilities of a session with these options."""
        row, detects_turns = self.model_row, self.detects_turns
        return Capabilities(
            interims=True,
            speech_events=detects_turns,
            usage=row.reports_seconds,
            utterances=detects_turns,
            commit=not detects_turns,
            hot_words=("keywords",) if "keywords" in row.options else (),
            sample_rates=tuple(sorted({audio.sample_rate for audio in FORMATS.values()})),
            formats=tuple(FORMATS),
        )

    @property
    def model_row(self) -> ModelRow:
        """The model's row of the capability table; for a model that is not in it, a row that allows everything."""
        return MODEL_ROWS.get(self.model) or ModelRow(
            model=self.model, options=_OF_SOME_MODELS, detects_turns=True, source="not in the table"
        )

    def _check(self) -> None:
        if not self.strict:
            return
        if self.model not in MODEL_ROWS:
            hint = did_you_mean(self.model, MODEL_ROWS)
            raise ConfigurationError(f"unknown model {self.model!r}: {hint} (strict=False accepts any)")
        self._check_model()
        for name in ("language", "languages"):
            value = getattr(self, name)
            for code in (value,) if isinstance(value, str) else value or ():
                if not _LANGUAGE.fullmatch(code):
                    raise ConfigurationError(f"{name}={code!r}: must be a code of ISO 639, such as 'en' or 'zh'")
        self._check_segmentation()

    def _check_model(self) -> None:
        for name in sorted(_OF_SOME_MODELS - self.model_row.options):
            value = getattr(self, name)
            if value not in {None, False}:
                having = " and ".join(row.model for row in MODEL_ROWS.values() if name in row.options)
                raise ConfigurationError(f"{name}={value!r}: {self.model} does not have it; {having} do")

    def _check_segmentation(self) -> None:
        check_range("vad_threshold", self.vad_threshold, 0.0, 1.0)
        is_semantic = self.turn_detection == "semantic_vad"
        for name in _TURN_OPTIONS:
            value = getattr(self, name)
            if value is None:
                continue
            if self.manual_commit:
                raise ConfigurationError(f"{name}={value!r} has no effect with manual_commit=True: leave one out")
            if (name in _VAD_OPTIONS and is_semantic) or (name == "eagerness" and not is_semantic):
                other = "server_vad" if is_semantic else "semantic_vad"
                raise ConfigurationError(
                    f"{name}={value!r} belongs to turn_detection={other!r}: leave it out or set that"
                )
