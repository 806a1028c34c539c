"""The options of Huawei's real-time recognition, and the properties of each mode and audio format, as data.

Source: the API reference of SIS, page "start recognition" of each mode (public documentation repository, 2021-10; live
pages sis_03_0029 to sis_03_0035, 2025/26); other sources are named where they are used.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import msgspec

from ...audio import AudioFormat
from ...errors import ConfigurationError
from ..catalogue import Capabilities
from ..options import Options, check_range, did_you_mean, settle_mode
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
"""The formats of the service, all raw and mono. Its mp3, aac, amr and wav belong to another interface (short audio by
REST)."""

DEFAULT_SAMPLE_RATE = 16_000
"""In Hz: the higher of the two rates, since most audio that is not of a telephone has at least that."""

FRAME_LIMITS: dict[int, tuple[int, int]] = {8_000: (160, 32_768), 16_000: (320, 65_536)}
"""Sample rate in Hz → smallest and largest audio message in bytes; others are an error (live page sis_03_0031,
2025/26).
"""

LANGUAGES = ("zh", "yue", "en", "ar")
"""The languages with a `property` in at least one region: Mandarin with dialects and Cantonese (API reference,
2021-10), English (its change log of 2021-03-16), Arabic (product page of the international site, 2025/26). A property
is not checked by this list."""

REGIONS = ("cn-north-4", "cn-east-3", "ap-southeast-3", "me-east-1")
"""The regions that are known to have SIS (official REST SDK 3.1.219); another one is not refused."""


class Mode(msgspec.Struct, frozen=True, kw_only=True):
    """The row of one mode in the vendor's documents."""

    name: str
    path: str
    """The path behind `/v1/{project_id}/`."""
    max_audio_s: int
    """Longer audio is an error (SIS.0309)."""
    options: frozenset[str]
    """The names of the options that have an effect, beside mode, audio_format and property."""
    is_single_sentence: bool = False
    """True if the service recognises one sentence and no more."""
    ends_utterances: bool = True
    """True if finals come before the end of the audio."""
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
            # vad_head: in the live pages only; those of 2021 have it in the sentence mode alone
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
            ends_utterances=False,
            source="SIS API reference, streaming one-shot recognition, 2021-10",
        ),
    )
}
"""The capabilities of each mode, by its name."""

MODEL_PREFIX = "huawei/"

_PROPERTY_LANGUAGES = {"chinese": "zh", "cantonese": "yue", "english": "en", "arabic": "ar"}
"""The word that a property begins with → the code of its language."""

_PROPERTY_RATE = re.compile(r"_(\d+)k(?:_|$)")


def rate_of(model_property: str) -> int | None:
    """Return the sample rate in Hz that a property names; None if it names none."""
    named = _PROPERTY_RATE.search(model_property)
    return None if named is None else int(named[1]) * 1000


class Rasr(Options, frozen=True, kw_only=True):
    """Huawei Cloud's real-time recognition (RASR of SIS): Mandarin and dialects; by region also English and Arabic.

    `mode` and `model` state the same ("sentence", "huawei/sentence"): pass one, the other follows. A copy made with
    `msgspec.structs.replace` has both, so that both have to be changed. There is no commit by the caller, no context
    and no translation. An option with the value None is not sent: the vendor's default applies. Credentials and
    addresses are arguments of `Huawei(...)`, or the environment variables `HUAWEICLOUD_SIS_AK`, `HUAWEICLOUD_SIS_SK`,
    `HUAWEICLOUD_SIS_PROJECT_ID`, `HUAWEICLOUD_SIS_REGION` and, if it is set, `HUAWEICLOUD_SIS_ENDPOINT`. Source: API
    reference of SIS, page "start recognition" of each mode (2021-10; sis_03_0029 to sis_03_0035, 2025/26).

    Args:
        mode: continue (the default): many sentences, up to 5 h. sentence: one sentence of up to 60 s, whose end ends
            the session. short: one recording of up to 60 s, with one final result at the end.
        model: the mode behind "huawei/", as on the command line and in logs.
        audio_format: the encoding and sample rate of the audio: pcm16k16bit, pcm8k16bit, ulaw16k8bit, ulaw8k8bit,
            alaw16k8bit or alaw8k8bit; raw, mono. None, the default, is that of the file which `transcribe` reads, if it
            is one of these; else pcm at the rate of `property`.
        property: language, sample rate and field of the vendor's model, such as chinese_8k_general; the rate is that of
            `audio_format`. The vendor's list differs by region and grows, so the name is not checked. None, the
            default, is chinese_16k_general, or chinese_8k_general for audio of 8 kHz.
        vocabulary_id: the id of a hot-word table of the same region and project, made with `Huawei(...).vocabularies`.
        user_words: hot words without a table. Undocumented: the official SDK has the option, its effect is not known.
        vad_head: the silence in milliseconds before speech, 0..60000, that ends the session (mode sentence) or the
            sentence (mode continue); vendor's default 10000. By the Chinese documents 0 turns it off, by the
            international ones 0 means 60000.
        vad_tail: the silence in milliseconds that ends a sentence, 0..3000; vendor's default 500.
        max_seconds: the length in seconds at which a sentence is ended, 1..60; vendor's default 30. The Cantonese and
            Shanghai models treat a value below 10 as 10.
        vad_threshold: undocumented: the official SDK always sends 0; the effect of the option is not known.
        add_punc: True sets punctuation marks; vendor's default False.
        digit_norm: False spells numbers out; vendor's default True writes digits.
        interim_results: True sends results of sentences that are not over yet. The vendor's default is False; ours is
            True, because a stream is opened to read along, and every other vendor sends them without a request.
        need_word_info: True adds each word with its times; vendor's default False.
        strict: False accepts every value of an option, and options that the mode does not have; types, the mode and
            `audio_format` are checked all the same. Not sent.
        extra_parameters: members of `config` that are sent unchanged and unchecked, for those of the vendor that this
            library does not know, such as need_smooth.
    """

    vendor: ClassVar[str] = "huawei"
    provider: ClassVar[str] = "huawei_cloud.sis"

    mode: str = ""
    model: str = ""
    # audio
    audio_format: str | None = None
    property: str | None = None
    # words
    vocabulary_id: str | None = None
    user_words: Sequence[str] | None = None
    # segmentation
    vad_head: int | None = None
    vad_tail: int | None = None
    max_seconds: int | None = None
    vad_threshold: int | None = None
    # text
    add_punc: bool | None = None
    digit_norm: bool | None = None
    # results
    interim_results: bool | None = True
    need_word_info: bool | None = None
    # beyond the documents
    strict: bool = True
    extra_parameters: dict[str, Any] = msgspec.field(default_factory=dict)

    @builtins.property
    def sentence_end_ms(self) -> int | None:
        """The silence that ends the sentence in the mode sentence; the default is that of the API reference."""
        if not self.model_row.is_single_sentence:
            return None
        return 500 if self.vad_tail is None else self.vad_tail

    @builtins.property
    def audio(self) -> AudioFormat:
        """The audio format that these options declare."""
        if self.audio_format is not None:
            return AUDIO_FORMATS[self.audio_format]
        named = None if self.property is None else rate_of(self.property)
        # A rate that the service does not have is refused with the default format.
        return AudioFormat("pcm", named if named in FRAME_LIMITS else DEFAULT_SAMPLE_RATE)

    def with_audio(self, formats: Sequence[AudioFormat]) -> Self:
        """Return options that declare the first of these formats that the service has and the options leave open."""
        named = None if self.property is None else rate_of(self.property)
        names = {audio: name for name, audio in AUDIO_FORMATS.items()}
        for audio in formats:
            if audio in names and self.audio_format in {None, names[audio]} and named in {None, audio.sample_rate}:
                return msgspec.structs.replace(self, audio_format=names[audio])
        return self

    @builtins.property
    def spoken_language(self) -> str:
        """The language of the property; empty if it is not known."""
        return _PROPERTY_LANGUAGES.get(self.model_property.partition("_")[0], "")

    @builtins.property
    def model_property(self) -> str:
        """The property that is sent: the given one, or that of Mandarin at the rate of the audio."""
        return self.property or f"chinese_{self.audio.sample_rate // 1000}k_general"

    @builtins.property
    def capabilities(self) -> Capabilities:
        """The abilities of a session with these options; VOICE_START is an event of the mode sentence only."""
        row = self.model_row
        return Capabilities(
            interims=bool(self.interim_results),
            words=bool(self.need_word_info),
            speech_events=row.is_single_sentence,
            utterances=row.ends_utterances,
            languages=LANGUAGES,
            hot_words=tuple(name for name in ("vocabulary_id", "user_words") if name in row.options),
            sample_rates=tuple(sorted({audio.sample_rate for audio in AUDIO_FORMATS.values()})),
            formats=tuple(dict.fromkeys(audio.encoding for audio in AUDIO_FORMATS.values())),
        )

    @builtins.property
    def max_audio_ms(self) -> int:
        """The longest audio of one session in this mode."""
        return self.model_row.max_audio_s * 1000

    @builtins.property
    def model_row(self) -> Mode:
        """The mode's row of the table."""
        return MODES[self.mode]

    def __post_init__(self) -> None:
        settle_mode(self, self.mode, MODES, prefix=MODEL_PREFIX, default="continue")
        super().__post_init__()

    def _check(self) -> None:
        self._check_audio()
        if self.strict:
            self._check_values()

    def _check_values(self) -> None:
        self._check_rate()
        self._check_known_options()
        check_range("vad_head", self.vad_head, 0, 60_000, "ms")
        check_range("vad_tail", self.vad_tail, 0, 3_000, "ms")
        # 0..60 on the SDK's page, 1..60 in the API reference
        check_range("max_seconds", self.max_seconds, 1, 60, "s")
        for name in ("property", "vocabulary_id"):
            if getattr(self, name) == "":
                raise ConfigurationError(f"{name}='': must not be empty")
        if "" in (self.user_words or ()):
            raise ConfigurationError("user_words: a word must not be empty")

    def _check_audio(self) -> None:
        if self.audio_format is not None and self.audio_format not in AUDIO_FORMATS:
            raise ConfigurationError(
                f"audio_format={self.audio_format!r}: {did_you_mean(self.audio_format, AUDIO_FORMATS)}"
            )

    def _check_rate(self) -> None:
        named = None if self.property is None else rate_of(self.property)
        audio = self.audio
        if named is not None and named != audio.sample_rate:
            raise ConfigurationError(
                f"property={self.property!r} is for {named // 1000} kHz, audio_format={_name_of(audio)!r} has "
                f"{audio.sample_rate // 1000} kHz: change one"
            )

    def _check_known_options(self) -> None:
        for name, value in self.set_options().items():
            if name not in self.model_row.options:
                supporting = ", ".join(f"{MODEL_PREFIX}{row.name}" for row in MODES.values() if name in row.options)
                raise ConfigurationError(f"{name}={value!r}: {self.model} does not have this option ({supporting} do)")

    def set_options(self) -> dict[str, Any]:
        """Return the options that have a value, without mode, audio format, property and those beyond the documents."""
        values = msgspec.structs.asdict(self)
        for name in ("mode", "model", "audio_format", "property", "strict", "extra_parameters"):
            del values[name]
        return {name: value for name, value in values.items() if value is not None}

    def config(self) -> StartConfig:
        """Return the `config` member of START: the options that have a value, without an empty list of words.

        The `extra_parameters` are not in it.
        """
        flags = {True: "yes", False: "no"}
        values: dict[str, Any] = {
            name: flags[value] if isinstance(value, bool) else value for name, value in self.set_options().items()
        }
        if not self.user_words:
            values.pop("user_words", None)
        return StartConfig(audio_format=_name_of(self.audio), property=self.model_property, **values)


def _name_of(audio: AudioFormat) -> str:
    return next(name for name, declared in AUDIO_FORMATS.items() if declared == audio)
