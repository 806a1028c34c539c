"""The options of DashScope's realtime models, and what each model can do, as data."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

import msgspec

from ...audio import AudioFormat
from ...errors import ConfigurationError
from ..options import Options, check_range, did_you_mean
from .models import Capability, unknown_model

__all__ = ["REALTIME_CAPABILITIES", "QwenRealtime"]

REALTIME_FORMATS = ("pcm", "opus")
"""Mono; pcm 16-bit little-endian (client event page, 2026-03-15)."""

# fmt: off
_LANGUAGES = (
    "zh", "yue", "en", "ja", "de", "ko", "ru", "fr", "pt", "ar", "it", "es", "hi", "id", "th", "tr", "uk", "vi", "cs",
    "da", "fil", "fi",
)
# fmt: on
"""Those that are known to be on the list, which grows: not held against what is asked for."""

_LANGUAGE = re.compile(r"[a-z]{2,3}")

_VAD_OPTIONS = ("vad_threshold", "prefix_padding_ms", "silence_duration_ms")


def _qwen3_asr_flash(model: str) -> Capability:
    return Capability(
        model=model,
        sample_rates=(8_000, 16_000),
        languages=_LANGUAGES,
        options=frozenset({"language", "corpus_text", "manual_commit", *_VAD_OPTIONS}),
        emotion=True,
        regions=("cn-beijing", "ap-southeast-1"),
        source="Qwen-ASR-Realtime client event page and real-time speech recognition page, 2026-03-15",
    )


REALTIME_CAPABILITIES: dict[str, Capability] = {
    model: _qwen3_asr_flash(model)
    for model in (
        "qwen3-asr-flash-realtime",
        "qwen3-asr-flash-realtime-2025-10-27",
        "qwen3-asr-flash-realtime-2026-02-10",
    )
}
"""What is known of each model of the realtime protocol."""


class QwenRealtime(Options, frozen=True, kw_only=True):
    """Qwen3-ASR-Flash-Realtime: many languages, the speaker's mood, context in place of hot words; no times of words.

    An option left at None is not sent: the vendor's default holds.
    Source: Qwen-ASR-Realtime client event page, 2026-03-15, and the official SDK 2.0.2.
    """

    vendor: ClassVar[str] = "dashscope"

    model: str = "qwen3-asr-flash-realtime"
    # audio
    format: str = "pcm"
    """pcm or opus; mono."""
    sample_rate: int = 16_000
    """8000 or 16000 Hz, as the audio really is; the server recognises at 16000."""
    # words
    language: str | None = None
    """The language that is spoken ("zh", "en", "yue"); None lets the model find out."""
    corpus_text: str | None = None
    """What the talk is about, with the names and terms to get right; 10,000 tokens at most."""
    # segmentation by the server
    vad_threshold: float | None = None
    """-1.0..1.0: lower takes more noise for speech, higher misses more speech. Vendor's default 0.2."""
    prefix_padding_ms: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Audio that belongs to an utterance before its speech was detected. The official SDK sends 300."""
    silence_duration_ms: int | None = None
    """Silence that ends an utterance, 200..6000. Vendor's default 800."""
    # segmentation by the caller
    manual_commit: bool = False
    """True leaves the cutting to `Session.commit()` (push-to-talk). Keep one utterance below a minute."""
    # beyond the documents
    strict: bool = True
    """False lets through what this library does not know: any model, and every option whatever its value. Only the
    types are checked. Not sent."""

    @property
    def audio(self) -> AudioFormat:
        """The audio that these options declare."""
        return AudioFormat(self.format, self.sample_rate)

    @property
    def starts_per_second(self) -> int | None:
        """How many tasks one account may start in a second with the model, as published; None: not known."""
        return self.capability.starts_per_second

    @property
    def capability(self) -> Capability:
        """The row of the capability table; for a model that is not in it, one that allows everything."""
        return REALTIME_CAPABILITIES.get(self.model) or unknown_model(self.model, frozenset(self.__struct_fields__))

    def _check(self) -> None:
        if not self.strict:
            return
        if self.model not in REALTIME_CAPABILITIES:
            hint = did_you_mean(self.model, REALTIME_CAPABILITIES)
            raise ConfigurationError(f"unknown model {self.model!r}: {hint} (strict=False takes any)")
        if self.format not in REALTIME_FORMATS:
            raise ConfigurationError(f"format={self.format!r}: {self.model} takes {' or '.join(REALTIME_FORMATS)} only")
        rates = self.capability.sample_rates or ()
        if self.sample_rate not in rates:
            allowed = " or ".join(map(str, rates))
            raise ConfigurationError(f"sample_rate={self.sample_rate}: {self.model} takes {allowed} Hz only")
        if self.language is not None and not _LANGUAGE.fullmatch(self.language):
            raise ConfigurationError(f"language={self.language!r}: a code of ISO 639, such as 'zh', 'yue' or 'en'")
        self._check_segmentation()

    def _check_segmentation(self) -> None:
        check_range("vad_threshold", self.vad_threshold, -1.0, 1.0)
        check_range("silence_duration_ms", self.silence_duration_ms, 200, 6_000, "ms")
        for name in _VAD_OPTIONS:
            value = getattr(self, name)
            if self.manual_commit and value is not None:
                raise ConfigurationError(f"{name}={value} has no effect with manual_commit=True: leave one out")
