"""The options of DashScope's realtime models, and the capabilities of each model, as data.

Does not know messages or endpoints.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Self

import msgspec

from ...audio import AudioFormat
from ...errors import ConfigurationError
from ..catalogue import Capabilities
from ..options import Options, check_range, did_you_mean
from .models import ModelRow, first_accepted, unknown_model

__all__ = ["REALTIME_MODEL_ROWS", "QwenRealtime"]

REALTIME_FORMATS = ("pcm", "opus")
"""Both mono; pcm is 16-bit little-endian (client event page, 2026-03-15)."""

# fmt: off
_LANGUAGES = (
    "zh", "yue", "en", "ja", "de", "ko", "ru", "fr", "pt", "ar", "it", "es", "hi", "id", "th", "tr", "uk", "vi", "cs",
    "da", "fil", "fi",
)
# fmt: on
"""The languages that are known; the vendor's list grows, so that `language` is not checked by it."""

_LANGUAGE = re.compile(r"[a-z]{2,3}")

_VAD_OPTIONS = ("vad_threshold", "prefix_padding_ms", "silence_duration_ms")


def _qwen3_asr_flash(model: str) -> ModelRow:
    return ModelRow(
        model=model,
        sample_rates=(8_000, 16_000),
        languages=_LANGUAGES,
        options=frozenset({"language", "corpus_text", "manual_commit", *_VAD_OPTIONS}),
        emotion=True,
        regions=("cn-beijing", "ap-southeast-1"),
        source="Qwen-ASR-Realtime client event page and real-time speech recognition page, 2026-03-15",
    )


REALTIME_MODEL_ROWS: dict[str, ModelRow] = {
    model: _qwen3_asr_flash(model)
    for model in (
        "qwen3-asr-flash-realtime",
        "qwen3-asr-flash-realtime-2025-10-27",
        "qwen3-asr-flash-realtime-2026-02-10",
    )
}
"""The capabilities of each model of the realtime protocol, by its name."""


class QwenRealtime(Options, frozen=True, kw_only=True):
    """Qwen3-ASR-Flash-Realtime of Alibaba's DashScope: many languages, the speaker's mood; no hot words, no word times.

    Models: qwen3-asr-flash-realtime and its dated versions (8 or 16 kHz). It is the only model with commits by the
    caller: with `manual_commit=True`, `Session.commit()` ends an utterance. Context is the text `corpus_text`, at the
    start only: `Session.update_context` is refused. There is no translation. An option with the value None is not sent:
    the vendor's default applies. The key is `DashScope(api_key=...)` or the environment variable `DASHSCOPE_API_KEY`.
    Source: Qwen-ASR-Realtime client event page, 2026-03-15, and the official SDK 2.0.2.

    Args:
        model: the name of the model. A model that this library does not know needs `strict=False`.
        format: the encoding of the audio: pcm (16-bit little-endian) or opus; mono. None, the default, is pcm.
        sample_rate: the sample rate of the audio: 8000 or 16000 Hz. The server recognises at 16000. None, the default,
            is that of the file which `transcribe` reads, if it is one of the two, and else 16000.
        language: the language that is spoken, as a code of ISO 639 ("zh", "en", "yue"); None lets the model detect it.
        corpus_text: a text about the subject of the speech, with its names and terms; at most 10,000 tokens.
        vad_threshold: -1.0..1.0: a lower value recognises more noise as speech, a higher one misses more speech.
            Vendor's default 0.2.
        prefix_padding_ms: the audio in milliseconds that belongs to an utterance before its speech is detected. The
            official SDK sends 300.
        silence_duration_ms: the silence in milliseconds that ends an utterance, 200..6000. Vendor's default 800.
        manual_commit: True ends an utterance where the caller calls `Session.commit()` (push-to-talk). Keep one below a
            minute.
        strict: False accepts every model and every value of an option, for models newer than this library; types are
            checked all the same. Not sent.
        extra_parameters: members of `session` that are sent unchanged and unchecked, for those of the vendor that this
            library does not know.
    """

    vendor: ClassVar[str] = "dashscope"
    provider: ClassVar[str] = "alibaba_cloud.dashscope"

    model: str = "qwen3-asr-flash-realtime"
    # audio
    format: str | None = None
    sample_rate: int | None = None
    # words
    language: str | None = None
    corpus_text: str | None = None
    # segmentation by the server
    vad_threshold: float | None = None
    prefix_padding_ms: Annotated[int, msgspec.Meta(ge=0)] | None = None
    silence_duration_ms: int | None = None
    # segmentation by the caller
    manual_commit: bool = False
    # beyond the documents
    strict: bool = True
    extra_parameters: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def audio(self) -> AudioFormat:
        """The audio format that these options declare."""
        return AudioFormat(self.format or "pcm", self.sample_rate or self.model_row.default_rate)

    def with_audio(self, formats: Sequence[AudioFormat]) -> Self:
        """Return options that declare the first of these formats that the model accepts and the options leave open.

        Only samples are chosen: the container of the model's opus is not documented.
        """
        accepted = first_accepted(formats, self, self.model_row, ("pcm",))
        if accepted is None:
            return self
        return msgspec.structs.replace(self, format=accepted.encoding, sample_rate=accepted.sample_rate)

    @property
    def spoken_language(self) -> str:
        """The language of these options; empty if the model detects it."""
        return self.language or ""

    @property
    def capabilities(self) -> Capabilities:
        """The abilities of a session with these options (client event page, 2026-03-15).

        The server detects speech and reports it, unless the caller commits: then an utterance begins only when its
        audio is complete, so it has no interims.
        """
        row, detects_speech = self.model_row, not self.manual_commit
        return Capabilities(
            interims=detects_speech,
            stable_text=detects_speech,
            speech_events=detects_speech,
            emotion=row.emotion,
            utterances=not self.manual_commit,
            commit=self.manual_commit,
            languages=row.languages,
            sample_rates=row.sample_rates,
            min_sample_rate=row.lowest_rate,
            formats=REALTIME_FORMATS,
        )

    @property
    def starts_per_second(self) -> int | None:
        """The published number of tasks that one account may start in a second with the model; None if not known."""
        return self.model_row.starts_per_second

    @property
    def model_row(self) -> ModelRow:
        """The model's row of the capability table; for a model that is not in it, a row that allows everything."""
        return REALTIME_MODEL_ROWS.get(self.model) or unknown_model(self.model, frozenset(self.__struct_fields__))

    def _check(self) -> None:
        if not self.strict:
            return
        if self.model not in REALTIME_MODEL_ROWS:
            hint = did_you_mean(self.model, REALTIME_MODEL_ROWS)
            raise ConfigurationError(f"unknown model {self.model!r}: {hint} (strict=False accepts any)")
        if self.format not in {None, *REALTIME_FORMATS}:
            raise ConfigurationError(
                f"format={self.format!r}: {self.model} accepts {' or '.join(REALTIME_FORMATS)} only"
            )
        rates = self.model_row.sample_rates or ()
        if self.sample_rate not in {None, *rates}:
            allowed = " or ".join(map(str, rates))
            raise ConfigurationError(f"sample_rate={self.sample_rate}: {self.model} accepts {allowed} Hz only")
        if self.language is not None and not _LANGUAGE.fullmatch(self.language):
            raise ConfigurationError(
                f"language={self.language!r}: must be a code of ISO 639, such as 'zh', 'yue' or 'en'"
            )
        self._check_segmentation()

    def _check_segmentation(self) -> None:
        check_range("vad_threshold", self.vad_threshold, -1.0, 1.0)
        check_range("silence_duration_ms", self.silence_duration_ms, 200, 6_000, "ms")
        for name in _VAD_OPTIONS:
            value = getattr(self, name)
            if self.manual_commit and value is not None:
                raise ConfigurationError(f"{name}={value} has no effect with manual_commit=True: leave one out")
