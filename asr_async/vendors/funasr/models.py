"""The options of FunASR's own servers, and what is known about each protocol, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from ...audio import AudioFormat
from ...errors import ConfigurationError
from ..catalogue import Capabilities
from ..options import Options, settle_mode

__all__ = ["MODES", "NANO_MODEL", "FunASR2Pass", "FunASRNano", "Mode"]

NANO_MODEL = "funasr/nano"

LANGUAGES = ("zh", "en", "ja")
"""Those of the server's default model, Fun-ASR-Nano-2512, with dialects of Chinese (README of funasr 1.4.16)."""

_PCM = AudioFormat("pcm", 16_000)


class FunASRNano(Options, frozen=True, kw_only=True):
    """The real-time server that you run yourself: `funasr-realtime-server` of PyPI `funasr`, from 1.3.16 on.

    Not to be confused with `FunASR`, Alibaba Cloud's Fun-ASR on DashScope. The server runs Fun-ASR-Nano unless it is
    started with another model; `FunASRServer` names its address. The audio is pcm at 16 kHz. There are no times of
    words. `Result.raw` holds the server's members of the result, such as the speaker (`spk`) if it was started with
    `--enable-spk`. Sources: `funasr/bin/realtime_ws.py` of funasr 1.4.16 (2026-09-18) and FunASR's document
    `realtime_demo.md` (2026-07).

    Args:
        model: a name for logs; the server is started with its model, and no message names it.
        language: the spoken language, as a code (zh, en, ja, ko) or as the model names it ("中文"). None leaves it to
            the server's own `--language`, else to the model.
        hotwords: terms to expect, in place of those of the server's own file; without commas, which separate them.
        replacements: recognised texts that the server replaces in finals, each with its replacement, without commas;
            in place of those of the server's own file.
        manual_commit: True if the caller ends each utterance with `Session.commit()`. The server must have been started
            with `--endpoint-mode client` then, and without it otherwise; the opposite is refused at the start.
        extra_commands: further text messages, which are sent before START unchanged and unchecked: for commands of the
            server that this library does not know.
    """

    vendor: ClassVar[str] = "funasr"

    model: str = NANO_MODEL
    language: str | None = None
    hotwords: Sequence[str] | None = None
    replacements: Mapping[str, str] | None = None
    manual_commit: bool = False
    extra_commands: Sequence[str] = ()

    @property
    def audio(self) -> AudioFormat:
        """The only format of the server."""
        return _PCM

    @property
    def spoken_language(self) -> str:
        """The language if it is a code; empty if the model detects it, or names it otherwise."""
        language = self.language or ""
        return language if language.isascii() and 2 <= len(language) <= 3 else ""

    @property
    def capabilities(self) -> Capabilities:
        """The abilities of a session with these options."""
        return Capabilities(
            interims=True,
            words=False,
            utterances=not self.manual_commit,
            commit=self.manual_commit,
            languages=LANGUAGES,
            hot_words=("hotwords",),
            sample_rates=(_PCM.sample_rate,),
            formats=(_PCM.encoding,),
        )

    def _check(self) -> None:
        if self.model != NANO_MODEL:
            raise ConfigurationError(
                f"model={self.model!r}: the server is started with its model, which no message names: leave it out"
            )
        _check_one_line("language", self.language or "")
        for word in self.hotwords or ():
            _check_item("hotwords", word)
        for wrong, right in (self.replacements or {}).items():
            _check_item("replacements", wrong)
            _check_item("replacements", right)


class Mode(msgspec.Struct, frozen=True, kw_only=True):
    """One mode of the 2pass protocol."""

    name: str
    interims: bool = True
    is_corrected: bool = True
    """True if a second model recognises each sentence again, whose text and times are the final ones."""


MODES = {
    mode.name: mode
    for mode in (
        Mode(name="2pass"),
        Mode(name="offline", interims=False),
        Mode(name="online", is_corrected=False),
    )
}

MODEL_PREFIX = "funasr/"


class FunASR2Pass(Options, frozen=True, kw_only=True):
    """The older 2pass protocol of FunASR's servers: the runtime in Docker (C++), and `funasr_wss_server.py`.

    `FunASRServer` names the address. `mode` and `model` state the same ("2pass", "funasr/2pass"): pass one, the other
    follows. The C++ server confirms the end, and gives finals the times of their words if its model has them. The
    Python server gives no times: they are estimated from the lengths of the texts, at the earliest place that is
    possible, so that nothing is left out after a lost connection; it is recognised again, and marked `may_repeat` where
    the texts differ. Sources: `runtime/docs/websocket_protocol.md` (2024), and the code of both servers (2026).

    Args:
        mode: 2pass (the default): interims at once, and finals of a second model at the end of each sentence. offline:
            the finals only. online: the first model only; the Python server makes nothing final in this mode until the
            end, so a lost connection may cost a long recording.
        model: the mode behind "funasr/", as on the command line and in logs.
        sample_rate: 16000, or 8000, which only the C++ server accepts.
        hotwords: terms to expect; with weights for the C++ server, `{"阿里巴巴": 20}`. The terms of a list must not
            contain blanks, which separate them.
        itn: False spells numbers out; the default of the C++ server is True.
        chunk_size: the latency of the interims in units of 60 ms: looking back, the part that is recognised, looking
            ahead. (5, 10, 5), the default of all of FunASR's clients, is a part of 600 ms.
        chunk_interval: the Python server recognises so many messages of audio at once; this library sends 100 ms in
            each. The default, 6, makes the 600 ms of `chunk_size`.
        encoder_chunk_look_back: parts that the encoder of the Python server looks back; its clients send 4.
        decoder_chunk_look_back: the same of the decoder; its clients send 0.
        svs_lang: the language, if the second model is SenseVoice: auto, zh, en, yue, ja or ko.
        svs_itn: the same as `itn`, for SenseVoice.
        strict: False accepts every value of an option; types, the mode and the sample rate are checked all the same.
        extra_parameters: further members of the first message, sent unchanged and unchecked.
    """

    vendor: ClassVar[str] = "funasr"

    mode: str = ""
    model: str = ""
    sample_rate: int = 16_000
    hotwords: Mapping[str, int] | Sequence[str] | None = None
    itn: bool | None = None
    chunk_size: Sequence[int] = (5, 10, 5)
    chunk_interval: int | None = 6
    encoder_chunk_look_back: int | None = 4
    decoder_chunk_look_back: int | None = 0
    svs_lang: str | None = None
    svs_itn: bool | None = None
    strict: bool = True
    extra_parameters: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def audio(self) -> AudioFormat:
        """The audio format that these options declare."""
        return AudioFormat("pcm", self.sample_rate)

    @property
    def spoken_language(self) -> str:
        """The language of SenseVoice; empty if it is not named."""
        return "" if self.svs_lang in {None, "auto"} else self.svs_lang or ""

    @property
    def capabilities(self) -> Capabilities:
        """The abilities of a session with these options; whether there are words depends on the server's model."""
        mode = MODES[self.mode]
        return Capabilities(
            interims=mode.interims,
            words=mode.is_corrected,
            hot_words=("hotwords",),
            sample_rates=(8_000, 16_000),
            formats=("pcm",),
        )

    def __post_init__(self) -> None:
        settle_mode(self, self.mode, MODES, prefix=MODEL_PREFIX, default="2pass")
        super().__post_init__()

    def _check(self) -> None:
        if self.sample_rate not in {8_000, 16_000}:
            raise ConfigurationError(f"sample_rate={self.sample_rate}: must be 8000 or 16000")
        if not self.strict:
            return
        if len(self.chunk_size) != 3 or min(self.chunk_size) < 0 or self.chunk_size[1] == 0:
            raise ConfigurationError(
                f"chunk_size={tuple(self.chunk_size)}: must be three numbers, the second above 0, such as (5, 10, 5)"
            )
        if self.chunk_interval is not None and self.chunk_interval < 1:
            raise ConfigurationError(f"chunk_interval={self.chunk_interval}: must be at least 1")
        for word in self.hotwords or ():
            _check_one_line("hotwords", word)
            if not word.strip() or (" " in word.strip() and not isinstance(self.hotwords, Mapping)):
                raise ConfigurationError(f"hotwords: {word!r} must not be empty nor, in a list, contain a blank")


def _check_one_line(name: str, text: str) -> None:
    if not text.isprintable():
        raise ConfigurationError(f"{name}: {text!r} must be one line of text")


def _check_item(name: str, text: str) -> None:
    """Refuse an item of a list that the server separates at commas."""
    _check_one_line(name, text)
    if not text.strip() or "," in text:
        raise ConfigurationError(f"{name}: {text!r} must not be empty nor contain a comma, which separates the words")
