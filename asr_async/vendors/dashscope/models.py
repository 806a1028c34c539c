"""The options of DashScope's task models, and what each model can do, as data.

Each row of the table names its source. Prices and rates are the published list figures of the Beijing region.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from ...audio import AudioFormat
from ...errors import ConfigurationError
from ..options import ContextMessage, Options, check_range, did_you_mean

__all__ = [
    "CAPABILITIES",
    "Capability",
    "FunASR",
    "Gummy",
    "GummyChat",
    "Paraformer",
    "QwenAudio",
    "RecognitionOptions",
    "TaskOptions",
    "TranslationOptions",
    "unknown_model",
]

FORMATS = ("pcm", "wav", "mp3", "opus", "speex", "aac", "amr")
"""What every task model reads: mono; pcm 16-bit little-endian, wav with PCM inside, opus and speex in Ogg, AMR-NB
(SDK pages of Paraformer and Fun-ASR, 2025-10)."""

SILENCE_LIMIT_S = 60
"""So much silence ends a task without `heartbeat`, also while it is sent (real-time recognition SDK page, 2025-10)."""

MIN_SAMPLE_RATE = 1_000
"""In Hz; not from a document: below it, a rate is a slip."""

MAX_CONTEXT_MESSAGES = 5
MAX_CONTEXT_CHARACTERS = 400
"""Per role and per round; the server drops or cuts what is beyond (client event page, 2026), so it is refused here."""

MAX_HOT_WORDS = 2_000
MAX_SUPER_WORDS = 50
SUPER_WEIGHT = 50
MAX_WORD_CHARACTERS = 15
MAX_WORD_PARTS = 7
"""Of the hot words in `vocabulary`: the whole list, those of the super weight beside 1 to 5, and the length of one:
characters, or parts between spaces where all of it is ASCII (reports of clients of Qwen-Audio, 2026)."""

VAD_MODELS = ("far_field_meeting_16k", "near_meeting_16k")

TRANSLATIONS: dict[str, tuple[str, ...]] = {
    "zh": ("en", "ja", "ko"),
    "en": ("zh", "ja", "ko"),
    **dict.fromkeys(("ja", "ko", "yue", "de", "fr", "ru", "it", "es"), ("zh", "en")),
}
"""Source language → what Gummy translates it into (Gummy WebSocket API page, 2025)."""

TRANSLATION_TARGETS = tuple(dict.fromkeys(target for targets in TRANSLATIONS.values() for target in targets))
"""All that Gummy translates into, from one language or another."""


class Capability(msgspec.Struct, frozen=True, kw_only=True):
    """What one model can do."""

    model: str
    sample_rates: tuple[int, ...] | None
    """None: any from `min_sample_rate` on."""
    min_sample_rate: int = MIN_SAMPLE_RATE
    languages: tuple[str, ...]
    options: frozenset[str]
    """Names of the options that have an effect, beside model, format and sample_rate."""
    language_hints: tuple[str, ...] | None = ()
    """The values that `language_hints` takes; None where no list of them is known, so that any is let pass."""
    max_language_hints: int | None = None
    emotion: bool = False
    context: bool = False
    regions: tuple[str, ...] | None = ("cn-beijing",)
    """None: not known."""
    yuan_per_second: float | None = None
    starts_per_second: int | None = None
    """Task starts per second, account and model."""
    source: str

    def takes_rate(self, sample_rate: int) -> bool:
        """Whether audio may have this many samples a second."""
        if self.sample_rates is None:
            return sample_rate >= self.min_sample_rate
        return sample_rate in self.sample_rates

    @property
    def rates(self) -> str:
        """The rates in words, for the end of an error text."""
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
_FUN_PAGE = f"Fun-ASR real-time Python SDK page, 2025-10-30; client event page, 2026; {_FEATURE_TABLE}"
_GUMMY_PAGE = f"Gummy WebSocket API pages, 2025; {_FEATURE_TABLE}"
_MODEL_LIST = "Model Studio client event page and model list, 2026"
_QWEN_PAGE = f"{_MODEL_LIST}; reports of clients"
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


def _fun_asr(
    model: str,
    languages: tuple[str, ...],
    *,
    context: bool = False,
    regions: tuple[str, ...] = _BEIJING_SINGAPORE,
) -> Capability:
    return Capability(
        model=model,
        sample_rates=(16_000,),
        languages=languages,
        language_hints=languages,
        # "only the first value is read" (client event page, 2026): more would be accepted and ignored
        max_language_hints=1,
        options=_FUN | {"context"} if context else _FUN,
        context=context,
        regions=regions,
        yuan_per_second=0.00033,
        starts_per_second=20,
        source=_FUN_PAGE,
    )


def _gummy(model: str, rates: tuple[int, ...] | None, options: frozenset[str]) -> Capability:
    return Capability(
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
) -> Capability:
    return Capability(
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
        # not in the price list of the international region (model selection page, 2026-01)
        _fun_asr("fun-asr-realtime-2025-09-15", ("zh", "en"), regions=("cn-beijing",)),
        *(
            Capability(
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
        _qwen_audio("qwen-audio-3.1-asr-flash-message", (16_000,), _QWEN_MESSAGE, 20, language_hints=()),
        _gummy("gummy-realtime-v1", None, _GUMMY),
        _gummy("gummy-chat-v1", (16_000,), _GUMMY | {"max_end_silence"}),
    )
}
"""What is known of each model of the task protocol."""


class TaskOptions(Options, frozen=True, kw_only=True):
    """The options that all task models share. An option left at None is not sent: the vendor's default holds."""

    vendor: ClassVar[str] = "dashscope"
    _family: ClassVar[str] = ""
    is_single_sentence: ClassVar[bool] = False
    """Whether the model listens to one sentence and no more."""
    max_audio_s: ClassVar[int | None] = None
    """The longest audio in seconds; None where there is no limit."""

    model: str
    # audio
    format: str = "pcm"
    """One of pcm, wav, mp3, opus (Ogg), speex (Ogg), aac, amr (AMR-NB); mono."""
    sample_rate: int = 16_000
    """Hz, as the audio really is."""
    # words
    vocabulary_id: str | None = None
    """A hot-word list ("vocab-...")."""
    # beyond the documents
    strict: bool = True
    """False lets through what this library does not know: any model, and every option whatever its value. Only the
    types are checked. Not sent."""
    extra_parameters: dict[str, Any] = msgspec.field(default_factory=dict)
    """Parameters sent as they are, unchecked: for what the vendor has and this library does not know."""

    @property
    def audio(self) -> AudioFormat:
        """The audio that these options declare."""
        return AudioFormat(self.format, self.sample_rate)

    @property
    def max_audio_ms(self) -> int | None:
        """The longest audio that the model takes; None where there is no limit."""
        return None if self.max_audio_s is None else self.max_audio_s * 1000

    @property
    def silence_limit(self) -> str | None:
        """A task of a model without `heartbeat` ends in silence."""
        return f"ends after {SILENCE_LIMIT_S} s of silence even so; leave silence='resume'"

    @property
    def starts_per_second(self) -> int | None:
        """How many tasks one account may start in a second with the model, as published; None: not known."""
        return self.capability.starts_per_second

    @property
    def capability(self) -> Capability:
        """The row of the capability table; for a model that is not in it, one that allows everything."""
        return CAPABILITIES.get(self.model) or unknown_model(self.model, frozenset(self.__struct_fields__))

    def check_context(self, messages: Sequence[ContextMessage]) -> None:
        """Refuse a context that the model does not take, or that the server would silently shorten.

        Raises:
            ConfigurationError: with the models that take one, or what is too much.
        """
        if self.strict and not self.capability.context:
            able = ", ".join(row.model for row in CAPABILITIES.values() if row.context)
            raise ConfigurationError(f"context: {self.model} does not take one ({able} do)")
        if self.strict:
            _check_context_size(messages)

    def set_options(self) -> dict[str, Any]:
        """The options that were given a value, but for the model, the audio and what is beyond the documents."""
        given = msgspec.structs.asdict(self)
        for name in ("model", "format", "sample_rate", "strict", "extra_parameters"):
            del given[name]
        return {name: value for name, value in given.items() if value is not None}

    def parameters(self) -> dict[str, Any]:
        """The `parameters` member of run-task: what was set, nothing else."""
        parameters = {"format": self.format, "sample_rate": self.sample_rate, **self.set_options()}
        for elsewhere in ("phrase_id", "context"):
            parameters.pop(elsewhere, None)
        return {**parameters, **self.extra_parameters}

    def _check(self) -> None:
        self._check_model()
        if self.strict:
            self._check_values()

    def _check_model(self) -> None:
        family = [name for name in CAPABILITIES if name.startswith(self._family)]
        if self.model in family:
            return
        if self.model in CAPABILITIES:
            raise ConfigurationError(f"model={self.model!r} is not of {type(self).__name__}: {', '.join(family)} are")
        if self.strict:
            hint = did_you_mean(self.model, family)
            raise ConfigurationError(f"unknown model {self.model!r}: {hint} (strict=False takes any)")

    def _check_values(self) -> None:
        """Hold the values against the model's row; for each family to go on with."""
        self._check_audio()
        self._check_known_options()

    def _check_audio(self) -> None:
        if self.format not in FORMATS:
            raise ConfigurationError(f"format={self.format!r}: {did_you_mean(self.format, FORMATS)}")
        check_range("sample_rate", self.sample_rate, MIN_SAMPLE_RATE, 384_000, "Hz")
        if not self.capability.takes_rate(self.sample_rate):
            raise ConfigurationError(f"sample_rate={self.sample_rate}: {self.model} takes {self.capability.rates}")

    def _check_known_options(self) -> None:
        for name, value in self.set_options().items():
            if name not in self.capability.options:
                able = [row.model for row in CAPABILITIES.values() if name in row.options]
                able = [model for model in able if model.startswith(self._family)] or able
                raise ConfigurationError(f"{name}={value!r}: {self.model} does not have it ({', '.join(able)} do)")


class RecognitionOptions(TaskOptions, frozen=True, kw_only=True):
    """The options that Paraformer, Fun-ASR and Qwen-Audio share."""

    # words
    language_hints: Sequence[str] | None = None
    """Languages that are spoken; None lets the model find out."""
    # segmentation
    semantic_punctuation_enabled: bool | None = None
    """True cuts sentences by meaning (more exact), False by silence (faster, the vendor's default)."""
    max_sentence_silence: int | None = None
    """Silence in milliseconds that ends a sentence, 200..6000, when cutting by silence. Vendor's default: Paraformer
    800, Fun-ASR and Qwen-Audio 1300."""
    multi_threshold_mode_enabled: bool | None = None
    """True keeps sentences from growing over-long when cutting by silence."""
    # connection
    heartbeat: bool | None = None
    """True keeps the task open through more than 60 s of silent audio."""

    @property
    def silence_limit(self) -> str | None:
        """None with `heartbeat`, which keeps a task open while silence is sent."""
        if self.heartbeat:
            return None
        if "heartbeat" not in self.capability.options:
            return super().silence_limit
        return f"ends after {SILENCE_LIMIT_S} s of silence even so, without heartbeat=True"

    def _check_values(self) -> None:
        super()._check_values()
        self._check_language_hints()
        self._check_segmentation()

    def _check_language_hints(self) -> None:
        hints, row = self.language_hints or (), self.capability
        for hint in hints:
            if row.language_hints is not None and hint not in row.language_hints:
                raise ConfigurationError(
                    f"language_hints={list(hints)}: {self.model} knows {', '.join(row.language_hints)}, not {hint!r}"
                )
        if row.max_language_hints is not None and len(hints) > row.max_language_hints:
            read = "only the first" if row.max_language_hints == 1 else f"{row.max_language_hints} at most"
            raise ConfigurationError(
                f"language_hints={list(hints)}: {self.model} reads {read}; give {row.max_language_hints}"
            )

    def _check_segmentation(self) -> None:
        check_range("max_sentence_silence", self.max_sentence_silence, 200, 6_000, "ms")
        if self.semantic_punctuation_enabled:
            for name in ("max_sentence_silence", "multi_threshold_mode_enabled"):
                if getattr(self, name):
                    text = f"{name}={getattr(self, name)!r} has no effect with semantic_punctuation_enabled=True"
                    raise ConfigurationError(f"{text}: leave one out")


class Paraformer(RecognitionOptions, frozen=True, kw_only=True):
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
    punctuation_prediction_enabled: bool | None = None
    """False leaves out punctuation."""
    inverse_text_normalization_enabled: bool | None = None
    """False spells numbers out; the vendor's default writes digits."""


class FunASR(RecognitionOptions, frozen=True, kw_only=True):
    """Fun-ASR: Mandarin and its dialects, English, Japanese; noisy and far-field speech.

    Source: Fun-ASR real-time Python SDK page, 2025-10-30, and the client event page, 2026.
    """

    _family: ClassVar[str] = "fun-asr-"

    model: str = "fun-asr-realtime"
    punctuation_prediction_enabled: bool | None = None
    """The model always punctuates: True may be said, False is refused."""
    speech_noise_threshold: float | None = None
    """-1.0..1.0: towards -1 more noise counts as speech, towards +1 more speech is dropped."""
    special_word_filter: str | None = None
    """JSON text that names the words to mask or remove."""
    context: Sequence[ContextMessage] | None = None
    """What was said before, oldest first: at most 5 messages of each role, 400 characters each."""

    def _check_values(self) -> None:
        super()._check_values()
        check_range("speech_noise_threshold", self.speech_noise_threshold, -1.0, 1.0)
        if self.punctuation_prediction_enabled is False:
            raise ConfigurationError(f"punctuation_prediction_enabled=False: {self.model} always punctuates")
        _check_context_size(self.context or ())


class QwenAudio(RecognitionOptions, frozen=True, kw_only=True):
    """Qwen-Audio: about 30 languages, with hot words that need no list made beforehand.

    The streaming models give results while one speaks; the message model gives finals only, unless
    `intermediate_result_enabled`, and finds the language out by itself. What a model does not have is refused by the
    server as well. Source: client event page and model list, 2026, and reports of clients.
    """

    _family: ClassVar[str] = "qwen-audio-"

    model: str = "qwen-audio-3.1-asr-flash-streaming"
    vocabulary: Mapping[str, int] | None = None
    """Hot words and their weights, 1 (little) to 5, or 50 for at most 50 of them; 2000 at most. A word has at most 15
    characters, one in ASCII at most 7 parts between spaces."""
    disfluency_removal_enabled: bool | None = None
    """True leaves out filler words and polishes the text."""
    speech_noise_threshold: float | None = None
    """-1.0..1.0: towards -1 more noise counts as speech, towards +1 more speech is dropped."""
    special_word_filter: str | None = None
    """JSON text that names the words to mask or remove."""
    keep_dialect: bool | None = None
    """True writes dialects as they are spoken."""
    vad_model: str | None = None
    """far_field_meeting_16k (the vendor's default) or near_meeting_16k."""
    intermediate_result_enabled: bool | None = None
    """True brings interims from the message model."""
    context: Sequence[ContextMessage] | None = None
    """What was said before, oldest first: at most 5 messages of each role, 400 characters each."""

    def _check_values(self) -> None:
        super()._check_values()
        check_range("speech_noise_threshold", self.speech_noise_threshold, -1.0, 1.0)
        if self.vad_model is not None and self.vad_model not in VAD_MODELS:
            raise ConfigurationError(f"vad_model={self.vad_model!r}: {did_you_mean(self.vad_model, VAD_MODELS)}")
        _check_hot_words(self.vocabulary or {})
        _check_context_size(self.context or ())


class TranslationOptions(TaskOptions, frozen=True, kw_only=True):
    """The options that the two Gummy models share: recognition, translation, or both."""

    # words
    source_language: str | None = None
    """The language that is spoken; None, like "auto", lets the model find out."""
    # what is wanted
    transcription_enabled: bool = True
    """False translates only: the text of the results is empty."""
    translation_enabled: bool | None = None
    """Need not be given: None translates where `translation_target_languages` says into what."""
    translation_target_languages: Sequence[str] | None = None
    """The language to translate into, as a list of one: the vendor takes no more today."""

    @property
    def target_languages(self) -> tuple[str, ...]:
        """What is translated into; empty where no translation was asked for."""
        return () if self.translation_enabled is False else tuple(self.translation_target_languages or ())

    def set_options(self) -> dict[str, Any]:
        """As ever, with what `translation_enabled` comes to."""
        is_wanted = bool(self.translation_enabled or self.target_languages)
        return {**super().set_options(), "translation_enabled": is_wanted}

    def _check_values(self) -> None:
        super()._check_values()
        self._check_wanted()
        self._check_languages()

    def _check_wanted(self) -> None:
        targets = list(self.translation_target_languages or ())
        if targets and self.translation_enabled is False:
            raise ConfigurationError(f"translation_enabled=False contradicts translation_target_languages={targets}")
        if self.translation_enabled and not targets:
            raise ConfigurationError("translation_enabled=True: say into what with translation_target_languages")
        if len(targets) > 1:
            raise ConfigurationError(f"translation_target_languages={targets}: {self.model} takes one language only")
        if not self.transcription_enabled and not targets:
            raise ConfigurationError(
                "transcription_enabled=False without translation_target_languages: nothing is left to do"
            )

    def _check_languages(self) -> None:
        source, known = self.source_language, ("auto", *self.capability.languages)
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
    """Gummy: some 20 languages, and translation while one speaks.

    Source: Gummy WebSocket API page, 2025, and the feature table of the model selection page, 2026-01.
    """

    _family: ClassVar[str] = "gummy-realtime-"

    model: str = "gummy-realtime-v1"


class GummyChat(TranslationOptions, frozen=True, kw_only=True):
    """Gummy for one sentence of at most 60 s: commands, dialogue, voice input. What comes after it is not heard.

    Source: Gummy one-sentence WebSocket API page, 2025.
    """

    _family: ClassVar[str] = "gummy-chat-"
    is_single_sentence: ClassVar[bool] = True
    max_audio_s: ClassVar[int | None] = 60
    """Longer audio is an error and ends the connection (one-sentence WebSocket API page, 2025)."""

    model: str = "gummy-chat-v1"
    max_end_silence: int | None = None
    """Silence in milliseconds that ends the sentence, 200..6000; vendor's default 700."""

    def _check_values(self) -> None:
        super()._check_values()
        check_range("max_end_silence", self.max_end_silence, 200, 6_000, "ms")


def unknown_model(model: str, options: frozenset[str]) -> Capability:
    """A row for a model that is not in the table: everything is allowed."""
    return Capability(
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
        raise ConfigurationError(f"vocabulary: {len(vocabulary)} words, at most {MAX_HOT_WORDS} are taken")
    super_words = sum(weight == SUPER_WEIGHT for weight in vocabulary.values())
    if super_words > MAX_SUPER_WORDS:
        raise ConfigurationError(
            f"vocabulary: {super_words} words of weight {SUPER_WEIGHT}, at most {MAX_SUPER_WORDS} are taken"
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
