"""The options of DashScope's task models, and the capabilities of each model, as data.

Each row of the table names its source. Prices and rates are the published list figures of the Beijing region. Does not
know messages or endpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self

import msgspec

from ...audio import AudioFormat
from ...errors import ConfigurationError
from ..catalogue import Capabilities
from ..options import ContextMessage, Options, check_range, did_you_mean

__all__ = [
    "FORMATS",
    "MODEL_ROWS",
    "FunASR",
    "Gummy",
    "GummyChat",
    "ModelRow",
    "Paraformer",
    "QwenAudio",
    "RecognitionOptions",
    "TaskOptions",
    "TranslationOptions",
    "first_accepted",
    "unknown_model",
]

FORMATS = ("pcm", "wav", "mp3", "opus", "speex", "aac", "amr")
"""The formats of every task model: mono; pcm 16-bit little-endian, wav with PCM inside, opus and speex in Ogg, AMR-NB
(SDK pages of Paraformer and Fun-ASR, 2025-10)."""

SILENCE_LIMIT_S = 60
"""The silence, sent or not, that ends a task without `heartbeat` (real-time recognition SDK page, 2025-10)."""

MIN_SAMPLE_RATE = 1_000
MAX_SAMPLE_RATE = 384_000
"""In Hz. Not from a document: a lower or higher rate is certainly a mistake."""

DEFAULT_SAMPLE_RATE = 16_000
"""In Hz: the rate of most models, and the one at which those of several rates recognise."""

MAX_CONTEXT_MESSAGES = 5
MAX_CONTEXT_CHARACTERS = 400
"""Limits of a context: messages of each role, characters of each message. The server drops or cuts the rest silently
(client event page, 2026), so a longer context is refused here."""

MAX_HOT_WORDS = 2_000
MAX_SUPER_WORDS = 50
SUPER_WEIGHT = 50
MAX_WORD_CHARACTERS = 15
MAX_WORD_PARTS = 7
"""Limits of the hot words in `vocabulary`: their number, the number of those with the weight 50 (beside 1 to 5), and
the length of one: in characters, or in parts between spaces if all of it is ASCII (reports of clients of Qwen-Audio,
2026).
"""

VAD_MODELS = ("far_field_meeting_16k", "near_meeting_16k")

_MODELS_DO_ANYWAY: dict[str, bool] = {
    "disfluency_removal_enabled": False,
    "heartbeat": False,
    "inverse_text_normalization_enabled": True,
    "keep_dialect": False,
    "multi_threshold_mode_enabled": False,
    "punctuation_prediction_enabled": True,
    "semantic_punctuation_enabled": False,
}
"""Option → the value that describes a model without the option: it changes nothing, is accepted and not sent."""

TRANSLATIONS: dict[str, tuple[str, ...]] = {
    "zh": ("en", "ja", "ko"),
    "en": ("zh", "ja", "ko"),
    **dict.fromkeys(("ja", "ko", "yue", "de", "fr", "ru", "it", "es"), ("zh", "en")),
}
"""Source language → the languages that Gummy translates it into (Gummy WebSocket API page, 2025)."""

TRANSLATION_TARGETS = tuple(dict.fromkeys(target for targets in TRANSLATIONS.values() for target in targets))
"""All languages that Gummy translates into, each from at least one other."""


class ModelRow(msgspec.Struct, frozen=True, kw_only=True):
    """The row of one model in the vendor's documents."""

    model: str
    sample_rates: tuple[int, ...] | None
    """In Hz; None if every rate from `min_sample_rate` on is accepted."""
    min_sample_rate: int = MIN_SAMPLE_RATE
    languages: tuple[str, ...]
    options: frozenset[str]
    """The names of the options that have an effect, beside model, format and sample_rate."""
    language_hints: tuple[str, ...] | None = ()
    """The allowed values of `language_hints`; None if no list of them is known, so that every value is accepted."""
    max_language_hints: int | None = None
    emotion: bool = False
    context: bool = False
    interims_on_request: bool = False
    """True if interims are sent only with `intermediate_result_enabled`."""
    regions: tuple[str, ...] | None = ("cn-beijing",)
    """The vendor's regions that have the model; None if not known."""
    yuan_per_second: float | None = None
    """In mainland China."""
    yuan_per_second_abroad: float | None = None
    starts_per_second: int | None = None
    """The number of tasks that one account may start in a second with the model."""
    source: str
    notes: tuple[str, ...] = ()
    """Contradictions between the documents."""

    @property
    def prices(self) -> tuple[tuple[str, float], ...]:
        """The known prices of a second of audio in yuan, with their regions."""
        prices = {"cn-beijing": self.yuan_per_second, "ap-southeast-1": self.yuan_per_second_abroad}
        return tuple((region, price) for region, price in prices.items() if price is not None)

    def accepts_rate(self, sample_rate: int) -> bool:
        """Return True if the model accepts audio with this sample rate in Hz."""
        if self.sample_rates is None:
            return sample_rate >= self.min_sample_rate
        return sample_rate in self.sample_rates

    @property
    def hot_words(self) -> tuple[str, ...]:
        """The names of its options for hot words."""
        return tuple(name for name in ("vocabulary_id", "phrase_id", "vocabulary") if name in self.options)

    @property
    def lowest_rate(self) -> int | None:
        """The lowest sample rate in Hz that is documented; None if none is, or if the rates are listed."""
        is_documented = self.sample_rates is None and self.min_sample_rate > MIN_SAMPLE_RATE
        return self.min_sample_rate if is_documented else None

    @property
    def default_rate(self) -> int:
        """The sample rate in Hz of audio whose rate is not known: that of the model, or 16000 if it accepts several."""
        if self.accepts_rate(DEFAULT_SAMPLE_RATE) or not self.sample_rates:
            return DEFAULT_SAMPLE_RATE
        return self.sample_rates[0]

    @property
    def rates(self) -> str:
        """The accepted sample rates in words, for an error text."""
        if self.sample_rates is None:
            return f"{self.min_sample_rate} Hz or more"
        return f"{' or '.join(map(str, self.sample_rates))} Hz only"


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
        "disfluency_removal_enabled",
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
_QWEN = frozenset(
    {"vocabulary_id", "vocabulary", "max_sentence_silence", "heartbeat", "speech_noise_threshold", "context"}
)
_QWEN_STREAMING = _QWEN | {
    "language_hints",
    "semantic_punctuation_enabled",
    "multi_threshold_mode_enabled",
    "special_word_filter",
}
_QWEN_31 = frozenset({"keep_dialect", "vad_model"})
_QWEN_MESSAGE = _QWEN | _QWEN_31 | {"disfluency_removal_enabled", "intermediate_result_enabled"}
_GUMMY = frozenset(
    {
        "vocabulary_id",
        "source_language",
        "transcription_enabled",
        "translation_enabled",
        "translation_target_languages",
    }
)
_GUMMY_LANGUAGES = (
    *("zh", "en", "ja", "ko", "fr", "de", "es", "it", "ru", "yue", "pt", "id", "ar", "th", "hi", "da", "ur"),
    *("tr", "nl", "ms", "vi"),
)
_PARAFORMER_LANGUAGES = ("zh", "en", "ja", "yue", "ko", "de", "fr", "ru")
_FEATURE_TABLE = "feature table of the model selection page, 2026-01"
_PARAFORMER_PAGE = f"Paraformer real-time Python SDK page, 2025-10; {_FEATURE_TABLE}"
_FUN_PAGE = (
    "Fun-ASR real-time Python SDK page, 2025-10-30; client event page, 2026; "
    f"{_FEATURE_TABLE}, which alone has disfluency_removal_enabled"
)
_FILLER_NOTE = (
    "disfluency_removal_enabled: the feature table of the model selection page (2026-01) has it, the parameters of the "
    "Fun-ASR pages (2025-10, 2026) do not; it is sent, and has an effect or none"
)
_REGION_NOTE = (
    "ap-southeast-1: a model list of 2026 has the model there, the model page of 2026-03-22 in the mainland only, "
    "which counts here; strict=False tries it"
)
_GUMMY_PAGE = f"Gummy WebSocket API pages, 2025; {_FEATURE_TABLE}"
_MODEL_LIST = "Model Studio client event page and model list, 2026"
_QWEN_PAGE = f"{_MODEL_LIST}; reports of clients"
_BEIJING_SINGAPORE = ("cn-beijing", "ap-southeast-1")


def _paraformer(model: str, rates: tuple[int, ...] | None, options: frozenset[str], **more: Any) -> ModelRow:
    return ModelRow(
        model=model,
        sample_rates=rates,
        options=options,
        yuan_per_second=0.00024,
        starts_per_second=20,
        source=_PARAFORMER_PAGE,
        **more,
    )


def _fun_asr(
    model: str,
    languages: tuple[str, ...],
    *,
    context: bool = False,
    regions: tuple[str, ...] = _BEIJING_SINGAPORE,
    yuan_per_second_abroad: float | None = None,
    notes: tuple[str, ...] = (),
) -> ModelRow:
    return ModelRow(
        model=model,
        sample_rates=(16_000,),
        languages=languages,
        language_hints=languages,
        max_language_hints=1,
        options=_FUN | {"context"} if context else _FUN,
        context=context,
        regions=regions,
        yuan_per_second=0.00033,
        yuan_per_second_abroad=yuan_per_second_abroad,
        starts_per_second=20,
        source=_FUN_PAGE,
        notes=(_FILLER_NOTE, *notes),
    )


def _gummy(model: str, rates: tuple[int, ...] | None, options: frozenset[str]) -> ModelRow:
    return ModelRow(
        model=model,
        sample_rates=rates,
        min_sample_rate=16_000,
        languages=_GUMMY_LANGUAGES,
        options=options,
        yuan_per_second=0.00015,  # and as much again for the translation
        starts_per_second=10,
        source=_GUMMY_PAGE,
    )


def _qwen_audio(
    model: str,
    rates: tuple[int, ...] | None,
    options: frozenset[str],
    starts_per_second: int,
    language_hints: tuple[str, ...] | None = None,
    **more: Any,
) -> ModelRow:
    return ModelRow(
        model=model,
        sample_rates=rates,
        languages=(),  # about 30; billed by tokens, not by seconds
        language_hints=language_hints,
        max_language_hints=4,
        options=options,
        context=True,
        regions=_BEIJING_SINGAPORE,
        starts_per_second=starts_per_second,
        source=_QWEN_PAGE,
        **more,
    )


MODEL_ROWS: dict[str, ModelRow] = {
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
        _fun_asr("fun-asr-realtime", ("zh", "en", "ja"), context=True, yuan_per_second_abroad=0.00066),
        _fun_asr("fun-asr-realtime-2025-11-07", ("zh", "en", "ja"), context=True, yuan_per_second_abroad=0.00066),
        _fun_asr("fun-asr-realtime-2026-02-28", ("zh", "en", "ja"), regions=("cn-beijing",), notes=(_REGION_NOTE,)),
        # not in the price list of the international region (model selection page, 2026-01)
        _fun_asr("fun-asr-realtime-2025-09-15", ("zh", "en"), regions=("cn-beijing",)),
        *(
            ModelRow(
                model=model,
                sample_rates=(8_000,),
                languages=("zh",),
                language_hints=("zh",),
                max_language_hints=1,
                options=_FUN - {"semantic_punctuation_enabled"},
                source=_MODEL_LIST,
            )
            for model in ("fun-asr-flash-8k-realtime", "fun-asr-flash-8k-realtime-2026-01-28")
        ),
        _qwen_audio("qwen-audio-3.0-asr-flash-streaming", None, _QWEN_STREAMING, 10),
        _qwen_audio("qwen-audio-3.1-asr-flash-streaming", (16_000,), _QWEN_STREAMING | _QWEN_31, 10),
        _qwen_audio(
            "qwen-audio-3.1-asr-flash-message",
            (16_000,),
            _QWEN_MESSAGE,
            20,
            language_hints=(),
            interims_on_request=True,
        ),
        _gummy("gummy-realtime-v1", None, _GUMMY),
        _gummy("gummy-chat-v1", (16_000,), _GUMMY | {"max_end_silence"}),
    )
}
"""The row of each model of the task protocol, by its name."""


class TaskOptions(Options, frozen=True, kw_only=True):
    """The options that all task models share. One with the value None is not sent: the vendor's default applies.

    Args:
        model: the name of the model. A model that this library does not know needs `strict=False`.
        format: the encoding of the audio: pcm (16-bit little-endian), wav (PCM inside), mp3, opus (in Ogg), speex (in
            Ogg), aac or amr (AMR-NB); mono. None, the default, is that of the file which `transcribe` reads, if the
            model accepts it as it is, and else pcm.
        sample_rate: the sample rate of the audio in Hz. Another rate than that of the audio gives wrong text, not an
            error. None, the default, is that of the file which `transcribe` reads, if the model accepts it; else 16000,
            or 8000 for a model of 8 kHz.
        vocabulary_id: the id of a hot-word table ("vocab-..."), made for the same model with
            `DashScope(...).vocabularies`.
        strict: False accepts every model and every value of an option, for models newer than this library; types are
            checked all the same. Not sent.
        extra_parameters: parameters that are sent unchanged and unchecked, for those of the vendor that this library
            does not know.
    """

    vendor: ClassVar[str] = "dashscope"
    provider: ClassVar[str] = "alibaba_cloud.dashscope"
    _family: ClassVar[str] = ""
    is_single_sentence: ClassVar[bool] = False
    """True if the model recognises one sentence and ends the task."""
    max_audio_s: ClassVar[int | None] = None
    """The longest audio of a session in seconds; None if there is no limit."""

    model: str
    # audio
    format: str | None = None
    sample_rate: int | None = None
    # words
    vocabulary_id: str | None = None
    # beyond the documents
    strict: bool = True
    extra_parameters: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def audio(self) -> AudioFormat:
        """The audio format that these options declare."""
        return AudioFormat(self.format or "pcm", self.sample_rate or self.model_row.default_rate)

    def with_audio(self, formats: Sequence[AudioFormat]) -> Self:
        """Return options that declare the first of these formats that the model accepts and the options leave open."""
        accepted = first_accepted(formats, self, self.model_row, FORMATS)
        if accepted is None:
            return self
        return msgspec.structs.replace(self, format=accepted.encoding, sample_rate=accepted.sample_rate)

    @property
    def capabilities(self) -> Capabilities:
        """The abilities of a session with these options. Words have times always (SDK pages, 2025-10)."""
        row = self.model_row
        return Capabilities(
            interims=not row.interims_on_request,
            words=True,
            emotion=row.emotion,
            usage=True,
            context=row.context,
            languages=row.languages,
            hot_words=row.hot_words,
            sample_rates=row.sample_rates,
            min_sample_rate=row.lowest_rate,
            formats=FORMATS,
        )

    @property
    def max_audio_ms(self) -> int | None:
        """The longest audio of one session; None if there is no limit."""
        return None if self.max_audio_s is None else self.max_audio_s * 1000

    @property
    def silence_limit(self) -> str | None:
        """The limit of a model without `heartbeat`, in words for an error text."""
        return f"ends after {SILENCE_LIMIT_S} s of silence even so; leave silence='resume'"

    @property
    def starts_per_second(self) -> int | None:
        """The published number of tasks that one account may start in a second with the model; None if not known."""
        return self.model_row.starts_per_second

    @property
    def model_row(self) -> ModelRow:
        """The model's row of the capability table; for a model that is not in it, a row that allows everything."""
        return MODEL_ROWS.get(self.model) or unknown_model(self.model, frozenset(self.__struct_fields__))

    def check_context(self, messages: Sequence[ContextMessage]) -> None:
        """Refuse a context that the model does not accept, or that the server would shorten silently.

        Raises:
            ConfigurationError: the text names the models that accept one, or the limit that is exceeded.
        """
        if self.strict and not self.model_row.context:
            supporting = ", ".join(row.model for row in MODEL_ROWS.values() if row.context)
            raise ConfigurationError(f"context: {self.model} does not accept one ({supporting} do)")
        if self.strict:
            _check_context_size(messages)

    def set_options(self) -> dict[str, Any]:
        """Return the options that have a value, without the model, the audio format and those beyond the documents."""
        values = msgspec.structs.asdict(self)
        for name in ("model", "format", "sample_rate", "strict", "extra_parameters"):
            del values[name]
        return {name: value for name, value in values.items() if value is not None and value != ()}

    def parameters(self) -> dict[str, Any]:
        """Return the `parameters` member of run-task: the options that have a value, and no others."""
        audio = self.audio
        parameters = {"format": audio.encoding, "sample_rate": audio.sample_rate, **self.set_options()}
        for name in ("phrase_id", "context"):  # other members of run-task
            parameters.pop(name, None)
        if self.strict:
            parameters = {name: value for name, value in parameters.items() if not self._is_needless(name, value)}
        return {**parameters, **self.extra_parameters}

    def _is_needless(self, name: str, value: Any) -> bool:
        """Return True if the model lacks an option and does what this value of it says."""
        row = self.model_row
        if name in row.options:
            return False
        if name == "language_hints":
            return len(row.languages) == 1 and set(value) == set(row.languages)
        return _MODELS_DO_ANYWAY.get(name) is value

    def _check(self) -> None:
        self._check_model()
        if self.strict:
            self._check_values()

    def _check_model(self) -> None:
        family = [name for name in MODEL_ROWS if name.startswith(self._family)]
        if self.model in family:
            return
        if self.model in MODEL_ROWS:
            raise ConfigurationError(
                f"model={self.model!r} does not belong to {type(self).__name__}: {', '.join(family)} do"
            )
        if self.strict:
            hint = did_you_mean(self.model, family)
            raise ConfigurationError(f"unknown model {self.model!r}: {hint} (strict=False accepts any)")

    def _check_values(self) -> None:
        """Check the values by the model's row; each family adds its own checks."""
        self._check_audio()
        for name in ("vocabulary_id", "phrase_id"):
            value: str | None = getattr(self, name, None)
            if value is not None and not value.strip():
                raise ConfigurationError(f"{name}={value!r}: must not be empty; leave it out for no hot words")
        self._check_known_options()

    def _check_audio(self) -> None:
        if self.format is not None and self.format not in FORMATS:
            raise ConfigurationError(f"format={self.format!r}: {did_you_mean(self.format, FORMATS)}")
        check_range("sample_rate", self.sample_rate, MIN_SAMPLE_RATE, MAX_SAMPLE_RATE, "Hz")
        if self.sample_rate is not None and not self.model_row.accepts_rate(self.sample_rate):
            raise ConfigurationError(f"sample_rate={self.sample_rate}: {self.model} accepts {self.model_row.rates}")

    def _check_known_options(self) -> None:
        for name, value in self.set_options().items():
            if name not in self.model_row.options and not self._is_needless(name, value):
                supporting = [row.model for row in MODEL_ROWS.values() if name in row.options]
                supporting = [model for model in supporting if model.startswith(self._family)] or supporting
                raise ConfigurationError(
                    f"{name}={value!r}: {self.model} does not have this option ({', '.join(supporting)} do)"
                )


class RecognitionOptions(TaskOptions, frozen=True, kw_only=True):
    """The options that Paraformer, Fun-ASR and Qwen-Audio share.

    Args:
        language_hints: the languages that are spoken, such as ["zh", "en"]; None lets the model detect them. Fun-ASR
            reads the first only, Qwen-Audio accepts four at most.
        semantic_punctuation_enabled: True ends sentences by meaning (more exact), False by silence (faster; the
            vendor's default).
        max_sentence_silence: the silence in milliseconds that ends a sentence, 200..6000, if sentences end by silence.
            Vendor's default: Paraformer 800, Fun-ASR and Qwen-Audio 1300.
        multi_threshold_mode_enabled: True prevents very long sentences if sentences end by silence; vendor's default
            False.
        heartbeat: True keeps the task open while more than 60 s of silent audio are sent; vendor's default False.
    """

    # words
    language_hints: Sequence[str] | None = None
    # segmentation
    semantic_punctuation_enabled: bool | None = None
    max_sentence_silence: int | None = None
    multi_threshold_mode_enabled: bool | None = None
    # connection
    heartbeat: bool | None = None

    @property
    def spoken_language(self) -> str:
        """The only language in `language_hints`; empty if the model detects it or there are several."""
        return self.language_hints[0] if self.language_hints and len(self.language_hints) == 1 else ""

    @property
    def silence_limit(self) -> str | None:
        """The limit in words for an error text; None with `heartbeat`, which keeps a silent task open."""
        if self.heartbeat:
            return None
        if "heartbeat" not in self.model_row.options:
            return super().silence_limit
        return f"ends after {SILENCE_LIMIT_S} s of silence even so, without heartbeat=True"

    def _check_values(self) -> None:
        super()._check_values()
        self._check_language_hints()
        self._check_segmentation()

    def _check_language_hints(self) -> None:
        hints, row = self.language_hints or (), self.model_row
        for hint in hints:
            # without a list the model lacks the option, and `hints` is its language
            if row.language_hints and hint not in row.language_hints:
                raise ConfigurationError(
                    f"language_hints={list(hints)}: {self.model} accepts {', '.join(row.language_hints)}, not {hint!r}"
                )
        # "only the first value is read" (client event page of Fun-ASR, 2026): more change nothing, and are accepted
        if row.max_language_hints not in {None, 1} and len(hints) > row.max_language_hints:
            limit = row.max_language_hints
            raise ConfigurationError(f"language_hints={list(hints)}: {self.model} reads {limit} at most; pass {limit}")

    def _check_segmentation(self) -> None:
        check_range("max_sentence_silence", self.max_sentence_silence, 200, 6_000, "ms")
        if self.semantic_punctuation_enabled:
            for name in ("max_sentence_silence", "multi_threshold_mode_enabled"):
                if getattr(self, name):
                    text = f"{name}={getattr(self, name)!r} has no effect with semantic_punctuation_enabled=True"
                    raise ConfigurationError(f"{text}: leave one out")


class Paraformer(RecognitionOptions, frozen=True, kw_only=True):
    """Paraformer of Alibaba's DashScope: Mandarin and its dialects, Cantonese, English, and five more languages.

    The other languages of paraformer-realtime-v2 are Japanese, Korean, German, French and Russian.
    Models: paraformer-realtime-v2 (the default; any sample rate), paraformer-realtime-8k-v2 (8 kHz, telephony, with the
    speaker's mood), paraformer-realtime-v1 and -8k-v1 (only `phrase_id` and `disfluency_removal_enabled`). The vendor
    ends sentences by silence, or by meaning with `semantic_punctuation_enabled`; there is no commit by the caller, no
    context and no translation. An option with the value None is not sent: the vendor's default applies. The key is
    `DashScope(api_key=...)` or the environment variable `DASHSCOPE_API_KEY`.
    Source: Paraformer real-time Python SDK page, 2025-10; feature table of the model selection page, 2026-01.

    Shared options are described in `RecognitionOptions` and `TaskOptions` of `asr_async.vendors.dashscope`.

    Args:
        phrase_id: the id of a phrase list: the hot words of the v1 models, made with `DashScope(...).vocabularies`.
        disfluency_removal_enabled: True leaves out filler words; vendor's default False.
        punctuation_prediction_enabled: False leaves out punctuation; vendor's default True.
        inverse_text_normalization_enabled: False spells numbers out; vendor's default True writes digits.
    """

    _family: ClassVar[str] = "paraformer-"

    model: str = "paraformer-realtime-v2"
    phrase_id: str | None = None
    disfluency_removal_enabled: bool | None = None
    punctuation_prediction_enabled: bool | None = None
    inverse_text_normalization_enabled: bool | None = None


class FunASR(RecognitionOptions, frozen=True, kw_only=True):
    """Fun-ASR of Alibaba's DashScope: Mandarin and its dialects, English, Japanese; noisy and far-field speech.

    Models: fun-asr-realtime (the default) and its dated versions (16 kHz), fun-asr-flash-8k-realtime (8 kHz, Mandarin).
    Context, at the start (`context`) and in a running session (`Session.update_context`), works with fun-asr-realtime
    and fun-asr-realtime-2025-11-07; there is no commit by the caller and no translation. An option with the value None
    is not sent: the vendor's default applies. The key is `DashScope(api_key=...)` or the environment variable
    `DASHSCOPE_API_KEY`.
    Source: Fun-ASR real-time Python SDK page, 2025-10-30, and the client event page, 2026.

    Shared options are described in `RecognitionOptions` and `TaskOptions` of `asr_async.vendors.dashscope`.

    Args:
        disfluency_removal_enabled: True leaves out filler words. The documents contradict each other: the feature table
            of 2026-01 has this for Fun-ASR, the parameter pages do not list it.
        punctuation_prediction_enabled: the model always sets punctuation marks: True has no effect, False is refused.
        speech_noise_threshold: -1.0..1.0: towards -1 more noise is recognised as speech, towards +1 more speech is
            dropped as noise.
        special_word_filter: a JSON text that lists the words to mask or remove.
        context: the conversation so far, oldest message first: at most 5 messages of each role, 400 characters each.
    """

    _family: ClassVar[str] = "fun-asr-"

    model: str = "fun-asr-realtime"
    disfluency_removal_enabled: bool | None = None
    punctuation_prediction_enabled: bool | None = None
    speech_noise_threshold: float | None = None
    special_word_filter: str | None = None
    context: Sequence[ContextMessage] | None = None

    def _check_values(self) -> None:
        super()._check_values()
        check_range("speech_noise_threshold", self.speech_noise_threshold, -1.0, 1.0)
        if self.punctuation_prediction_enabled is False:
            raise ConfigurationError(
                f"punctuation_prediction_enabled=False: {self.model} always sets punctuation marks"
            )
        _check_context_size(self.context or ())


class QwenAudio(RecognitionOptions, frozen=True, kw_only=True):
    """Qwen-Audio of Alibaba's DashScope: about 30 languages, with hot words that need no table.

    Models: qwen-audio-3.1-asr-flash-streaming (the default; 16 kHz) and -3.0-asr-flash-streaming (any rate) send
    results during the speech; qwen-audio-3.1-asr-flash-message sends finals only, unless `intermediate_result_enabled`,
    and always detects the language itself. All accept context, at the start (`context`) and in a running session
    (`Session.update_context`); there is no commit by the caller and no translation. An option with the value None is
    not sent: the vendor's default applies. The key is `DashScope(api_key=...)` or the environment variable
    `DASHSCOPE_API_KEY`. Source: client event page and model list, 2026, and reports of clients.

    Shared options are described in `RecognitionOptions` and `TaskOptions` of `asr_async.vendors.dashscope`.

    Args:
        vocabulary: hot word → weight, at most 2000 of them. Weights are 1 (weak) to 5, or 50 for at most 50 words. A
            word has at most 15 characters, or in ASCII at most 7 parts between spaces.
        disfluency_removal_enabled: True leaves out filler words and smooths the text; vendor's default False.
        speech_noise_threshold: -1.0..1.0: towards -1 more noise is recognised as speech, towards +1 more speech is
            dropped as noise.
        special_word_filter: a JSON text that lists the words to mask or remove.
        keep_dialect: True keeps dialects as they are spoken; vendor's default False.
        vad_model: the detector of speech: far_field_meeting_16k (the vendor's default) or near_meeting_16k.
        intermediate_result_enabled: True makes the message model send interims too; vendor's default False.
        context: the conversation so far, oldest message first: at most 5 messages of each role, 400 characters each.
    """

    _family: ClassVar[str] = "qwen-audio-"

    model: str = "qwen-audio-3.1-asr-flash-streaming"
    vocabulary: Mapping[str, int] | None = None
    disfluency_removal_enabled: bool | None = None
    speech_noise_threshold: float | None = None
    special_word_filter: str | None = None
    keep_dialect: bool | None = None
    vad_model: str | None = None
    intermediate_result_enabled: bool | None = None
    context: Sequence[ContextMessage] | None = None

    @property
    def capabilities(self) -> Capabilities:
        """The abilities of a session with these options."""
        capabilities = super().capabilities
        has_interims = capabilities.interims or bool(self.intermediate_result_enabled)
        return msgspec.structs.replace(capabilities, interims=has_interims)

    def _check_values(self) -> None:
        super()._check_values()
        check_range("speech_noise_threshold", self.speech_noise_threshold, -1.0, 1.0)
        if self.vad_model is not None and self.vad_model not in VAD_MODELS:
            raise ConfigurationError(f"vad_model={self.vad_model!r}: {did_you_mean(self.vad_model, VAD_MODELS)}")
        _check_hot_words(self.vocabulary or {})
        _check_context_size(self.context or ())


class TranslationOptions(TaskOptions, frozen=True, kw_only=True):
    """The options that the two Gummy models share: recognition, translation, or both.

    Args:
        source_language: the language that is spoken; None, like "auto", lets the model detect it.
        transcription_enabled: False translates only: the text of the results is then empty. Always sent.
        translation_enabled: None translates if `translation_target_languages` names a language, so this option is
            rarely needed.
        translation_target_languages: the language to translate into, as a list of one: the vendor accepts no more at
            present. From zh: en, ja, ko; from en: zh, ja, ko; from ja, ko, yue, de, fr, ru, it, es: zh, en.
    """

    # words
    source_language: str | None = None
    # output
    transcription_enabled: bool = True
    translation_enabled: bool | None = None
    translation_target_languages: Sequence[str] | None = None

    @property
    def spoken_language(self) -> str:
        """The language of these options; empty if the model detects it."""
        return "" if self.source_language in {None, "auto"} else str(self.source_language)

    @property
    def capabilities(self) -> Capabilities:
        """The abilities of a session with these options.

        Each word says if it will not change any more (Gummy WebSocket API page, 2025). The undocumented prediction of
        an end of speech (`SpeechEnding`) is not counted.
        """
        return msgspec.structs.replace(
            super().capabilities,
            words=self.transcription_enabled,
            stable_text=self.transcription_enabled,
            translation=TRANSLATION_TARGETS,
        )

    @property
    def target_languages(self) -> tuple[str, ...]:
        """The languages to translate into; empty if no translation is requested."""
        return () if self.translation_enabled is False else tuple(self.translation_target_languages or ())

    def set_options(self) -> dict[str, Any]:
        """Return the options that have a value, with `translation_enabled` always among them."""
        is_translated = bool(self.translation_enabled or self.target_languages)
        return {**super().set_options(), "translation_enabled": is_translated}

    def _check_values(self) -> None:
        super()._check_values()
        self._check_output()
        self._check_languages()

    def _check_output(self) -> None:
        targets = list(self.translation_target_languages or ())
        if targets and self.translation_enabled is False:
            raise ConfigurationError(f"translation_enabled=False contradicts translation_target_languages={targets}")
        if self.translation_enabled and not targets:
            raise ConfigurationError("translation_enabled=True: name the language in translation_target_languages")
        if len(targets) > 1:
            raise ConfigurationError(f"translation_target_languages={targets}: {self.model} accepts one language only")
        if not self.transcription_enabled and not targets:
            raise ConfigurationError(
                "transcription_enabled=False without translation_target_languages: no output is left"
            )

    def _check_languages(self) -> None:
        source, known = self.source_language, ("auto", *self.model_row.languages)
        if source is not None and source not in known:
            raise ConfigurationError(f"source_language={source!r}: {did_you_mean(source, known)}")
        into = TRANSLATION_TARGETS if source in {None, "auto"} else TRANSLATIONS.get(str(source), ())
        for target in self.translation_target_languages or ():
            if target not in into:
                spoken = "" if into is TRANSLATION_TARGETS else f" from {source!r}"
                raise ConfigurationError(
                    f"translation_target_languages={[target]}: {self.model} translates{spoken} into "
                    f"{', '.join(into) or 'nothing'}"
                )


class Gummy(TranslationOptions, frozen=True, kw_only=True):
    """Gummy of Alibaba's DashScope: recognition of some 20 languages, and translation during the speech.

    Model: gummy-realtime-v1 (16 kHz or more). With `translation_target_languages`, results carry `translations`; a
    final waits for its final translation, at most `Timeouts.translation` seconds. There is no commit by the caller and
    no context. An option with the value None is not sent: the vendor's default applies. The key is
    `DashScope(api_key=...)` or the environment variable `DASHSCOPE_API_KEY`. Source: Gummy WebSocket API page, 2025,
    and the feature table of the model selection page, 2026-01.

    Shared options are described in `TranslationOptions` and `TaskOptions` of `asr_async.vendors.dashscope`.
    """

    _family: ClassVar[str] = "gummy-realtime-"

    model: str = "gummy-realtime-v1"


class GummyChat(TranslationOptions, frozen=True, kw_only=True):
    """Gummy of Alibaba's DashScope for one sentence of at most 60 s: commands, dialogue, voice input.

    Model: gummy-chat-v1 (16 kHz). The session ends with the first sentence; audio behind it is not recognised. With
    `translation_target_languages`, results carry `translations`. There is no commit by the caller and no context. An
    option with the value None is not sent: the vendor's default applies. The key is `DashScope(api_key=...)` or the
    environment variable `DASHSCOPE_API_KEY`.
    Source: Gummy one-sentence WebSocket API page, 2025.

    Shared options are described in `TranslationOptions` and `TaskOptions` of `asr_async.vendors.dashscope`.

    Args:
        max_end_silence: the silence in milliseconds that ends the sentence, 200..6000; vendor's default 700.
    """

    _family: ClassVar[str] = "gummy-chat-"
    is_single_sentence: ClassVar[bool] = True
    max_audio_s: ClassVar[int | None] = 60
    """Longer audio is an error and ends the connection (one-sentence WebSocket API page, 2025)."""

    model: str = "gummy-chat-v1"
    max_end_silence: int | None = None

    @property
    def sentence_end_ms(self) -> int:
        """The silence that ends the sentence; the vendor's default is that of the same page."""
        return 700 if self.max_end_silence is None else self.max_end_silence

    def _check_values(self) -> None:
        super()._check_values()
        check_range("max_end_silence", self.max_end_silence, 200, 6_000, "ms")


class _AudioOptions(Protocol):
    """The options that declare the audio."""

    @property
    def format(self) -> str | None: ...

    @property
    def sample_rate(self) -> int | None: ...


def first_accepted(
    formats: Sequence[AudioFormat], options: _AudioOptions, row: ModelRow, encodings: Sequence[str]
) -> AudioFormat | None:
    """Return the first of these formats that a model accepts and its options leave open; None if there is none."""
    for audio in formats:
        is_open = options.format in {None, audio.encoding} and options.sample_rate in {None, audio.sample_rate}
        is_rate = MIN_SAMPLE_RATE <= audio.sample_rate <= MAX_SAMPLE_RATE and row.accepts_rate(audio.sample_rate)
        if is_open and is_rate and audio.encoding in encodings:
            return audio
    return None


def unknown_model(model: str, options: frozenset[str]) -> ModelRow:
    """Return the row for a model that is not in the table: everything is allowed."""
    return ModelRow(
        model=model,
        sample_rates=None,
        languages=(),
        options=options,
        language_hints=None,
        context=True,
        regions=None,
        source="not in the table",
    )


def _check_context_size(messages: Sequence[ContextMessage]) -> None:
    for role in ("user", "assistant"):
        count = sum(message.role == role for message in messages)
        if count > MAX_CONTEXT_MESSAGES:
            raise ConfigurationError(f"context: {count} messages of {role!r}, at most {MAX_CONTEXT_MESSAGES} are read")
    for message in messages:
        if len(message.text) > MAX_CONTEXT_CHARACTERS:
            raise ConfigurationError(
                f"context: a message of {len(message.text)} characters, at most {MAX_CONTEXT_CHARACTERS} are read"
            )


def _check_hot_words(vocabulary: Mapping[str, int]) -> None:
    if len(vocabulary) > MAX_HOT_WORDS:
        raise ConfigurationError(f"vocabulary: {len(vocabulary)} words, at most {MAX_HOT_WORDS} are accepted")
    super_words = sum(weight == SUPER_WEIGHT for weight in vocabulary.values())
    if super_words > MAX_SUPER_WORDS:
        raise ConfigurationError(
            f"vocabulary: {super_words} words of weight {SUPER_WEIGHT}, at most {MAX_SUPER_WORDS} are accepted"
        )
    for word, weight in vocabulary.items():
        if not 1 <= weight <= 5 and weight != SUPER_WEIGHT:
            raise ConfigurationError(f"vocabulary: {word!r} has weight {weight}, must be 1 to 5 or {SUPER_WEIGHT}")
        if not word.isascii() and len(word) > MAX_WORD_CHARACTERS:
            raise ConfigurationError(f"vocabulary: {word!r} has {len(word)} characters, at most {MAX_WORD_CHARACTERS}")
        if word.isascii() and not 1 <= len(word.split()) <= MAX_WORD_PARTS:
            raise ConfigurationError(
                f"vocabulary: {word!r} has {len(word.split())} parts, must be 1 to {MAX_WORD_PARTS}"
            )
