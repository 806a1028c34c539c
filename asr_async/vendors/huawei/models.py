"""The options of Huawei's real-time recognition, and what each mode and audio format is, as data.

Source: the API reference of SIS, page "start recognition" of each mode (public documentation repository, 2021-10; live
pages sis_03_0029 to sis_03_0035, 2025/26); what else is known is noted beside it.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from ...audio import AudioFormat
from ...errors import ConfigurationError
from ..options import Options, check_range, did_you_mean
from .wire import StartConfig

__all__ = ["AUDIO_FORMATS", "FRAME_LIMITS", "MODES", "Mode", "Rasr", "rate_of"]

AUDIO_FORMATS: dict[str, AudioFormat] = {
    "pcm16k16bit": AudioFormat("pcm", 16_000),
    "pcm8k16bit": AudioFormat("pcm", 8_000),
    "ulaw16k8bit": AudioFormat("ulaw", 16_000),
    "ulaw8k8bit": AudioFormat("ulaw", 8_000),
    "alaw16k8bit": AudioFormat("alaw", 16_000),
    "alaw8k8bit": AudioFormat("alaw", 8_000),
}
"""What the service takes: raw and mono. Its mp3, aac, amr and wav belong to another interface (short audio by REST)."""

FRAME_LIMITS: dict[int, tuple[int, int]] = {8_000: (160, 32_768), 16_000: (320, 65_536)}
"""Smallest and largest audio message in bytes, by sample rate; outside is an error (live page sis_03_0031, 2025/26)."""

LANGUAGES = ("zh", "yue", "en", "ar")
"""What there is a `property` for, in one region or another: Mandarin with dialects and Cantonese (API reference,
2021-10), English (its change log of 2021-03-16), Arabic (product page of the international site, 2025/26). No property
is held against this."""

REGIONS = ("cn-north-4", "cn-east-3", "ap-southeast-3", "me-east-1")
"""Where SIS is known to be (official REST SDK 3.1.219); another one is not refused."""


class Mode(msgspec.Struct, frozen=True, kw_only=True):
    """What one mode can do."""

    name: str
    path: str
    """Where it is, behind `/v1/{project_id}/`."""
    max_audio_s: int
    """Longer audio is an error (SIS.0309)."""
    options: frozenset[str]
    """Names of the options that have an effect, beside mode, audio_format and property."""
    is_single_sentence: bool = False
    """Whether the service stops listening after one sentence."""
    source: str


_ALL = frozenset(
    {
        "add_punc",
        "digit_norm",
        "interim_results",
        "need_word_info",
        "vocabulary_id",
        # not in any document; the official SDK 1.7/1.8 has both
        "user_words",
        "vad_threshold",
    }
)

MODES: dict[str, Mode] = {
    row.name: row
    for row in (
        Mode(
            name="continue",
            path="rasr/continue-stream",
            max_audio_s=5 * 3_600,
            # vad_head: in the live pages only, those of 2021 give it to the sentence mode alone
            options=_ALL | {"vad_head", "vad_tail", "max_seconds"},
            source="SIS API reference, continuous mode, 2021-10 and 2025/26",
        ),
        Mode(
            name="sentence",
            path="rasr/sentence-stream",
            max_audio_s=60,
            options=_ALL | {"vad_head", "vad_tail", "max_seconds"},
            is_single_sentence=True,
            source="SIS API reference, single sentence mode, 2021-10; its 60 s: error code page, 2025/26",
        ),
        Mode(
            name="short",
            path="rasr/short-stream",
            max_audio_s=60,
            options=_ALL,
            source="SIS API reference, streaming one-shot recognition, 2021-10",
        ),
    )
}
"""What is known of each mode."""

MODEL_PREFIX = "huawei/"

_PROPERTY_RATE = re.compile(r"_(\d+)k(?:_|$)")


def rate_of(model_property: str) -> int | None:
    """The sample rate that a property names; None if it names none."""
    named = _PROPERTY_RATE.search(model_property)
    return None if named is None else int(named[1]) * 1000


class Rasr(Options, frozen=True, kw_only=True):
    """Huawei's real-time recognition (RASR). An option left at None is not sent: the vendor's default holds.

    `mode` and `model` say the same ("sentence", "huawei/sentence"): give one, the other follows. A copy made with
    `msgspec.structs.replace` has both, so it needs both to be changed.
    """

    vendor: ClassVar[str] = "huawei"

    mode: str = ""
    """continue (the default): many sentences, up to 5 h. sentence: one sentence, up to 60 s; the service stops
    listening where it ends. short: one recording of up to 60 s, its final result comes at the end."""
    model: str = ""
    """ "huawei/" and the mode: what the command line and logs call it."""
    # audio
    audio_format: str = "pcm16k16bit"
    """One of pcm16k16bit, pcm8k16bit, ulaw16k8bit, ulaw8k8bit, alaw16k8bit, alaw8k8bit; raw, mono."""
    property: str = "chinese_16k_general"
    """Language, sample rate and field of the model, such as chinese_8k_general; the rate is that of `audio_format`.
    The vendor's list differs by region and grows, so the name is not checked."""
    # words
    vocabulary_id: str | None = None
    """A hot-word table of the same region and project."""
    user_words: Sequence[str] | None = None
    """Hot words without a table. Undocumented: the official SDK has it, its effect is not known."""
    # segmentation
    vad_head: int | None = None
    """Silence in milliseconds before speech, 0..60000, that ends the round (mode sentence) or cuts (mode continue);
    vendor's default 10000. 0 turns it off by the Chinese documents and means 60000 by the international ones."""
    vad_tail: int | None = None
    """Silence in milliseconds that ends a sentence, 0..3000; vendor's default 500."""
    max_seconds: int | None = None
    """Longest sentence in seconds, 1..60, cut there; vendor's default 30. Below 10 the Cantonese and Shanghai models
    take it as 10."""
    vad_threshold: int | None = None
    """Undocumented: the official SDK always sends 0, its effect is not known."""
    # text
    add_punc: bool | None = None
    """True sets punctuation marks; vendor's default False."""
    digit_norm: bool | None = None
    """False spells numbers out; vendor's default True writes digits."""
    # results
    interim_results: bool | None = True
    """Results of sentences that are not over yet. The vendor's default is False; ours is True, since who opens a stream
    wants to read along, and no other vendor's stream needs to be asked for it."""
    need_word_info: bool | None = None
    """True adds each word with its times; vendor's default False."""

    @builtins.property
    def audio(self) -> AudioFormat:
        """The audio that these options declare."""
        return AUDIO_FORMATS[self.audio_format]

    @builtins.property
    def max_audio_ms(self) -> int:
        """The longest audio that the mode takes."""
        return self.capability.max_audio_s * 1000

    @builtins.property
    def capability(self) -> Mode:
        """What the mode can do."""
        return MODES[self.mode]

    def __post_init__(self) -> None:
        self._settle_mode()
        super().__post_init__()

    def _settle_mode(self) -> None:
        """Let `mode` and `model` say the same."""
        if not all(isinstance(name, str) for name in (self.mode, self.model)):
            return  # left to the check of types
        named = self.model.removeprefix(MODEL_PREFIX)
        if self.model and named not in MODES:
            known = [f"{MODEL_PREFIX}{mode}" for mode in MODES]
            raise ConfigurationError(f"unknown model {self.model!r}: {did_you_mean(self.model, known)}")
        if self.mode and self.mode not in MODES:
            raise ConfigurationError(f"mode={self.mode!r}: {did_you_mean(self.mode, MODES)}")
        if self.mode and named and self.mode != named:
            raise ConfigurationError(f"mode={self.mode!r} contradicts model={self.model!r}: leave one out")
        mode = self.mode or named or "continue"
        msgspec.structs.force_setattr(self, "mode", mode)
        msgspec.structs.force_setattr(self, "model", f"{MODEL_PREFIX}{mode}")

    def _check(self) -> None:
        self._check_audio()
        self._check_known_options()
        check_range("vad_head", self.vad_head, 0, 60_000, "ms")
        check_range("vad_tail", self.vad_tail, 0, 3_000, "ms")
        # the SDK's page says 0..60, the API reference 1..60
        check_range("max_seconds", self.max_seconds, 1, 60, "s")
        for name in ("property", "vocabulary_id"):
            if getattr(self, name) == "":
                raise ConfigurationError(f"{name}='': must not be empty")
        if "" in (self.user_words or ()):
            raise ConfigurationError("user_words: a word must not be empty")

    def _check_audio(self) -> None:
        if self.audio_format not in AUDIO_FORMATS:
            raise ConfigurationError(
                f"audio_format={self.audio_format!r}: {did_you_mean(self.audio_format, AUDIO_FORMATS)}"
            )
        named = rate_of(self.property)
        rate = self.audio.sample_rate
        if named is not None and named != rate:
            raise ConfigurationError(
                f"property={self.property!r} is for {named // 1000} kHz, audio_format={self.audio_format!r} has "
                f"{rate // 1000} kHz: change one"
            )

    def _check_known_options(self) -> None:
        for name, value in self.set_options().items():
            if name not in self.capability.options:
                able = ", ".join(f"{MODEL_PREFIX}{row.name}" for row in MODES.values() if name in row.options)
                raise ConfigurationError(f"{name}={value!r}: {self.model} does not have it ({able} do)")

    def set_options(self) -> dict[str, Any]:
        """The options that have a value, but for the mode, the audio and the property."""
        given = msgspec.structs.asdict(self)
        for name in ("mode", "model", "audio_format", "property"):
            del given[name]
        return {name: value for name, value in given.items() if value is not None}

    def config(self) -> StartConfig:
        """The `config` member of START: what is set, flags in the vendor's words, an empty list of words left out."""
        flags = {True: "yes", False: "no"}
        values: dict[str, Any] = {
            name: flags[value] if isinstance(value, bool) else value for name, value in self.set_options().items()
        }
        if not self.user_words:
            values.pop("user_words", None)
        return StartConfig(audio_format=self.audio_format, property=self.property, **values)
