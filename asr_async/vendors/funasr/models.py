"""The options of FunASR's own servers, and what is known about each protocol, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from ...audio import AudioFormat
from ...errors import ConfigurationError
from ..catalogue import Capabilities
from ..options import Options

__all__ = ["NANO_MODEL", "FunASRNano"]

NANO_MODEL = "funasr/nano"

LANGUAGES = ("zh", "en", "ja")
"""Those of the server's default model, Fun-ASR-Nano-2512, with dialects of Chinese (README of funasr 1.4.16)."""

_PCM = AudioFormat("pcm", 16_000)


class FunASRNano(Options, frozen=True, kw_only=True):
    """The real-time server that you run yourself: `funasr-realtime-server` of PyPI `funasr`, from 1.3.16 on.

    Not to be confused with `FunASR`, Alibaba Cloud's Fun-ASR on DashScope. The server runs Fun-ASR-Nano unless it is
    started with another model; `FunASRServer` names its address. The audio is pcm at 16 kHz. There are no times of
    words; an interim of a long sentence holds its last seconds only (`--partial-window-sec` of the server), its final
    all of it. `Result.raw` holds the server's members of the result, such as the speaker (`spk`) if it was started with
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


def _check_one_line(name: str, text: str) -> None:
    if not text.isprintable():
        raise ConfigurationError(f"{name}: {text!r} must be one line of text")


def _check_item(name: str, text: str) -> None:
    """Refuse an item of a list that the server separates at commas."""
    _check_one_line(name, text)
    if not text.strip() or "," in text:
        raise ConfigurationError(f"{name}: {text!r} must not be empty nor contain a comma, which separates the words")
