"""The options of DashScope's task models, and what each model can do, as data.

Each row of the table names its source. Prices and rates are the published list figures of the Beijing region.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import msgspec

from ...audio import AudioFormat
from ...errors import ConfigurationError
from ..options import Options, check_range, did_you_mean

__all__ = ["CAPABILITIES", "Capability", "ContextMessage", "FunASR", "Paraformer", "TaskOptions"]

FORMATS = ("pcm", "wav", "mp3", "opus", "speex", "aac", "amr")
"""What every task model reads: mono; pcm 16-bit little-endian, wav with PCM inside, opus and speex in Ogg, AMR-NB
(SDK pages of Paraformer and Fun-ASR, 2025-10)."""

MAX_CONTEXT_MESSAGES = 5
MAX_CONTEXT_CHARACTERS = 400
"""Per role and per round; the server drops or cuts what is beyond (client event page, 2026), so it is refused here."""


class Capability(msgspec.Struct, frozen=True, kw_only=True):
    """What one model can do."""

    model: str
    sample_rates: tuple[int, ...] | None
    """None: any."""
    languages: tuple[str, ...]
    options: frozenset[str]
    """Names of the options that have an effect, beside model, format and sample_rate."""
    language_hints: tuple[str, ...] = ()
    """The values that `language_hints` takes."""
    max_language_hints: int | None = None
    emotion: bool = False
    context: bool = False
    regions: tuple[str, ...] = ("cn-beijing",)
    yuan_per_second: float | None = None
    starts_per_second: int | None = None
    """Task starts per second, account and model."""
    source: str


_V2 = frozenset(
    {
        "vocabulary_id",
        "disfluency_removal_enabled",
        "semantic_punctuation_enabled",
        "max_sentence_silence",
        "multi_threshold_mode_enabled",
        "punctuation_prediction_enabled",
        "inverse_text_normalization_enabled",
        "heartbeat",
    }
)
_V1 = frozenset({"phrase_id", "disfluency_removal_enabled"})
_FUN = frozenset(
    {
        "vocabulary_id",
        "language_hints",
        "semantic_punctuation_enabled",
        "max_sentence_silence",
        "multi_threshold_mode_enabled",
        "punctuation_prediction_enabled",
        "heartbeat",
        "speech_noise_threshold",
        "special_word_filter",
    }
)
_PARAFORMER_LANGUAGES = ("zh", "en", "ja", "yue", "ko", "de", "fr", "ru")
_PARAFORMER_PAGE = "Paraformer real-time Python SDK page, 2025-10"
_FUN_PAGE = "Fun-ASR real-time Python SDK page, 2025-10-30; client event page, 2026"
_BEIJING_SINGAPORE = ("cn-beijing", "ap-southeast-1")


def _paraformer(model: str, rates: tuple[int, ...] | None, options: frozenset[str], **more: Any) -> Capability:
    return Capability(
        model=model,
        sample_rates=rates,
        options=options,
        yuan_per_second=0.00024,
        starts_per_second=20,
        source=_PARAFORMER_PAGE,
        **more,
    )


def _fun_asr(model: str, languages: tuple[str, ...], *, context: bool = False) -> Capability:
    return Capability(
        model=model,
        sample_rates=(16_000,),
        languages=languages,
        language_hints=languages,
        # "only the first value is read" (client event page, 2026): more would be accepted and ignored
        max_language_hints=1,
        options=_FUN | {"context"} if context else _FUN,
        context=context,
        regions=_BEIJING_SINGAPORE,
        yuan_per_second=0.00033,
        starts_per_second=20,
        source=_FUN_PAGE,
    )


CAPABILITIES: dict[str, Capability] = {
    row.model: row
    for row in (
        _paraformer(
            "paraformer-realtime-v2",
            None,
            _V2 | {"language_hints"},
            languages=_PARAFORMER_LANGUAGES,
            language_hints=_PARAFORMER_LANGUAGES,
        ),
        _paraformer("paraformer-realtime-8k-v2", (8_000,), _V2, languages=("zh",), emotion=True),
        _paraformer("paraformer-realtime-v1", (16_000,), _V1, languages=("zh",)),
        _paraformer("paraformer-realtime-8k-v1", (8_000,), _V1, languages=("zh",)),
        _fun_asr("fun-asr-realtime", ("zh", "en", "ja"), context=True),
        _fun_asr("fun-asr-realtime-2025-11-07", ("zh", "en", "ja"), context=True),
        _fun_asr("fun-asr-realtime-2026-02-28", ("zh", "en", "ja")),
        _fun_asr("fun-asr-realtime-2025-09-15", ("zh", "en")),
        *(
            Capability(
                model=model,
                sample_rates=(8_000,),
                languages=("zh",),
                language_hints=("zh",),
                max_language_hints=1,
                options=_FUN - {"semantic_punctuation_enabled"},
                source="client event page and model list, 2026",
            )
            for model in ("fun-asr-flash-8k-realtime", "fun-asr-flash-8k-realtime-2026-01-28")
        ),
    )
}
"""What is known of each model of the task protocol."""


class ContextMessage(msgspec.Struct, frozen=True):
    """One turn of a conversation that the recognition should know of, to get its names and terms right."""

    role: Literal["user", "assistant"]
    text: str


class TaskOptions(Options, frozen=True, kw_only=True):
    """The options that Paraformer and Fun-ASR share. An option left at None is not sent: the vendor's default holds."""

    vendor: ClassVar[str] = "dashscope"
    _family: ClassVar[str] = ""

    model: str
    # audio
    format: str = "pcm"
    """One of pcm, wav, mp3, opus (Ogg), speex (Ogg), aac, amr (AMR-NB); mono."""
    sample_rate: int = 16_000
    """Hz, as the audio really is."""
    # words
    language_hints: Sequence[str] | None = None
    """Languages that are spoken; None lets the model find out."""
    vocabulary_id: str | None = None
    """A hot-word list ("vocab-...")."""
    # segmentation
    semantic_punctuation_enabled: bool | None = None
    """True cuts sentences by meaning (more exact), False by silence (faster, the vendor's default)."""
    max_sentence_silence: int | None = None
    """Silence in milliseconds that ends a sentence, 200..6000, when cutting by silence. Vendor's default: Paraformer
    800, Fun-ASR 1300."""
    multi_threshold_mode_enabled: bool | None = None
    """True keeps sentences from growing over-long when cutting by silence."""
    # text
    punctuation_prediction_enabled: bool | None = None
    # connection
    heartbeat: bool | None = None
    """True keeps the task open through more than 60 s of silent audio."""
    # beyond the documents
    extra_parameters: dict[str, Any] = msgspec.field(default_factory=dict)
    """Parameters sent as they are, unchecked: for what the vendor has and this library does not know."""

    @property
    def audio(self) -> AudioFormat:
        """The audio that these options declare."""
        return AudioFormat(self.format, self.sample_rate)

    @property
    def capability(self) -> Capability:
        """The row of the capability table."""
        return CAPABILITIES[self.model]

    def _check(self) -> None:
        self._check_model()
        self._check_audio()
        self._check_known_options()
        self._check_language_hints()
        self._check_segmentation()

    def _check_model(self) -> None:
        family = [name for name in CAPABILITIES if name.startswith(self._family)]
        if self.model in family:
            return
        if self.model in CAPABILITIES:
            raise ConfigurationError(f"model={self.model!r} is not of {type(self).__name__}: {', '.join(family)} are")
        raise ConfigurationError(f"unknown model {self.model!r}: {did_you_mean(self.model, family)}")

    def _check_audio(self) -> None:
        if self.format not in FORMATS:
            raise ConfigurationError(f"format={self.format!r}: {did_you_mean(self.format, FORMATS)}")
        rates = self.capability.sample_rates
        if rates is not None and self.sample_rate not in rates:
            allowed = " or ".join(map(str, rates))
            raise ConfigurationError(f"sample_rate={self.sample_rate}: {self.model} takes {allowed} Hz only")
        check_range("sample_rate", self.sample_rate, 1_000, 384_000, "Hz")

    def _check_known_options(self) -> None:
        for name, value in self.set_options().items():
            if name not in self.capability.options:
                able = [row.model for row in CAPABILITIES.values() if name in row.options]
                able = [model for model in able if model.startswith(self._family)] or able
                raise ConfigurationError(f"{name}={value!r}: {self.model} does not have it ({', '.join(able)} do)")

    def _check_language_hints(self) -> None:
        hints, row = self.language_hints or (), self.capability
        for hint in hints:
            if hint not in row.language_hints:
                raise ConfigurationError(
                    f"language_hints={list(hints)}: {self.model} knows {', '.join(row.language_hints)}, not {hint!r}"
                )
        if row.max_language_hints is not None and len(hints) > row.max_language_hints:
            raise ConfigurationError(
                f"language_hints={list(hints)}: {self.model} reads only the first; give {row.max_language_hints}"
            )

    def _check_segmentation(self) -> None:
        check_range("max_sentence_silence", self.max_sentence_silence, 200, 6_000, "ms")
        if self.semantic_punctuation_enabled:
            for name in ("max_sentence_silence", "multi_threshold_mode_enabled"):
                if getattr(self, name):
                    text = f"{name}={getattr(self, name)!r} has no effect with semantic_punctuation_enabled=True"
                    raise ConfigurationError(f"{text}: leave one out")

    def set_options(self) -> dict[str, Any]:
        """The options that were given a value, but for the model, the audio and the extra parameters."""
        given = msgspec.structs.asdict(self)
        for name in ("model", "format", "sample_rate", "extra_parameters"):
            del given[name]
        return {name: value for name, value in given.items() if value is not None}

    def parameters(self) -> dict[str, Any]:
        """The `parameters` member of run-task: what was set, nothing else."""
        parameters = {"format": self.format, "sample_rate": self.sample_rate, **self.set_options()}
        for elsewhere in ("phrase_id", "context"):
            parameters.pop(elsewhere, None)
        return {**parameters, **self.extra_parameters}


class Paraformer(TaskOptions, frozen=True, kw_only=True):
    """Paraformer: Mandarin and its dialects, English, Japanese, Korean, German, French, Russian.

    The 8k models take 8 kHz audio (telephony); the v1 models have `phrase_id` and `disfluency_removal_enabled` only.
    Source: Paraformer real-time Python SDK page, 2025-10.
    """

    _family: ClassVar[str] = "paraformer-"

    model: str = "paraformer-realtime-v2"
    phrase_id: str | None = None
    """A hot-word list of the v1 models."""
    disfluency_removal_enabled: bool | None = None
    """True leaves out filler words."""
    inverse_text_normalization_enabled: bool | None = None
    """False spells numbers out; the vendor's default writes digits."""


class FunASR(TaskOptions, frozen=True, kw_only=True):
    """Fun-ASR: Mandarin and its dialects, English, Japanese; noisy and far-field speech.

    Source: Fun-ASR real-time Python SDK page, 2025-10-30, and the client event page, 2026.
    """

    _family: ClassVar[str] = "fun-asr-"

    model: str = "fun-asr-realtime"
    speech_noise_threshold: float | None = None
    """-1.0..1.0: towards -1 more noise counts as speech, towards +1 more speech is dropped."""
    special_word_filter: str | None = None
    """JSON text that names the words to mask or remove."""
    context: Sequence[ContextMessage] | None = None
    """What was said before, oldest first: at most 5 messages of each role, 400 characters each."""

    def _check(self) -> None:
        super()._check()
        check_range("speech_noise_threshold", self.speech_noise_threshold, -1.0, 1.0)
        if self.punctuation_prediction_enabled is False:
            raise ConfigurationError(f"punctuation_prediction_enabled=False: {self.model} always punctuates")
        check_context(self.context or ())


def check_context(messages: Sequence[ContextMessage]) -> None:
    """Refuse a context that the server would silently shorten.

    Raises:
        ConfigurationError: too many messages of one role, or one is too long.
    """
    for role in ("user", "assistant"):
        count = sum(message.role == role for message in messages)
        if count > MAX_CONTEXT_MESSAGES:
            raise ConfigurationError(f"context: {count} messages of {role!r}, at most {MAX_CONTEXT_MESSAGES} are read")
    for message in messages:
        if len(message.text) > MAX_CONTEXT_CHARACTERS:
            raise ConfigurationError(
                f"context: a message of {len(message.text)} characters, at most {MAX_CONTEXT_CHARACTERS} are read"
            )
