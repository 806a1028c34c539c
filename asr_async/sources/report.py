"""The report on a recording: what it is against what a model takes, what its sound is, and how to mend it.

Reads the whole sound, up to an hour, without connecting. Does not know vendors: options say what a model takes.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Literal

import msgspec

from ..audio.sound import SoundMeter
from ..errors import ASRError, ConfigurationError
from .advice import ffmpeg_command
from .file import AudioFile
from .source import check_length

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from ..vendors.options import Options
    from .byte_reader import BinaryFile
    from .contents import Facts

__all__ = ["Finding", "Report", "preflight"]

MAX_MEASURED_MS = 3_600_000
"""The longest sound that is measured."""

LONG_SILENCE_MS = 10_000
"""The silence at an end from which on it is reported: it is billed, and nothing is recognised in it."""

MEASURED_AT_ONCE = 32
"""The pieces that are measured in one call in a thread: some seconds of audio."""

Kind = Literal[
    "unreadable",
    "too_long",
    "cut_off",
    "silent",
    "swapped_bytes",
    "dead_channel",
    "clipped",
    "narrow_band",
    "silence_at_start",
    "silence_at_end",
    "several_tracks",
]


class Finding(msgspec.Struct, frozen=True):
    """Something about a recording that makes its transcript worse, or impossible.

    Attributes:
        kind: the name of it, for programs.
        level: "error" if there will be no useful transcript, "warning" if it will be worse, "note" if it costs only.
        text: what is wrong, in one line.
        fix: what to do, in one line.
    """

    kind: Kind
    level: Literal["error", "warning", "note"]
    text: str
    fix: str

    def __str__(self) -> str:
        return f"{self.level}: {self.text}: {self.fix}"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The report on a recording; `print(report)` shows it.

    Attributes:
        name: the name of the recording.
        summary: what it is, and, with options, what is done to its audio; empty if it cannot be read.
        sample_rate: in Hz; None if it cannot be read.
        channels: the number of channels; None if it cannot be read.
        duration_ms: the length of the audio; None if it cannot be read.
        measured_ms: the length of the audio that was measured: an hour at most.
        findings: what is wrong with it, errors first.
    """

    name: str
    summary: str = ""
    sample_rate: int | None = None
    channels: int | None = None
    duration_ms: int | None = None
    measured_ms: int = 0
    findings: tuple[Finding, ...] = ()

    @property
    def is_usable(self) -> bool:
        """True if there is no error among the findings."""
        return all(finding.level != "error" for finding in self.findings)

    def __str__(self) -> str:
        length = "" if self.duration_ms is None else f", {self.duration_ms / 1000:.1f} s"
        head = f"{self.name}: {self.summary}{length}" if self.summary else self.name
        return "\n".join([head, *map(str, self.findings)])


async def preflight(
    source: AudioFile | str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryFile,
    options: Options | None = None,
) -> Report:
    """Report what a recording is, and what is wrong with it, before anything is sent.

        report = await preflight("call.mp3", Paraformer())
        print(report)

    Reads and decodes the sound, an hour of it at most: a minute takes a tenth of a second to a second. `transcribe`
    checks the header only, with the same texts.

    Args:
        source: what `read_audio` reads, or what it returned.
        options: the options that the recording is for. None checks the recording alone.

    Raises:
        ConfigurationError: the source is live, so that it can be read once only, or is none.
    """
    audio = source if isinstance(source, AudioFile) else AudioFile(source)
    if audio.live is not False:
        raise ConfigurationError(f"{audio.name} is live: preflight() reads recordings")
    try:
        facts = await audio.facts()
    except (ASRError, OSError) as error:
        return Report(name=audio.name, findings=(_unreadable(audio, error),))
    findings: list[Finding] = []
    summary = str(facts)
    if options is not None:
        try:
            await audio.preflight((await audio.fit(options)).audio)
        except (ASRError, OSError) as error:
            findings.append(_unreadable(audio, error))
        summary = audio.treatment or summary
    meter = SoundMeter(facts.sample_rate, facts.channels)
    try:
        await _measure(audio, meter)
    except ASRError as error:
        fix = "copy it again from where it was recorded; what is there can be transcribed"
        findings.append(Finding("cut_off", "warning", _without_name(audio, error), fix))
    findings += _findings(audio, facts, meter, options)
    return Report(
        name=audio.name,
        summary=summary,
        sample_rate=facts.sample_rate,
        channels=facts.channels,
        duration_ms=meter.duration_ms if facts.duration_ms is None else facts.duration_ms,
        measured_ms=meter.duration_ms,
        findings=tuple(sorted(findings, key=lambda finding: ("error", "warning", "note").index(finding.level))),
    )


async def _measure(audio: AudioFile, meter: SoundMeter) -> None:
    """Measure the sound, in a thread and in steps, so that it can be cancelled."""
    async with audio.opened() as (pieces, call):
        while await call(functools.partial(_measure_some, pieces, meter)):
            pass


def _measure_some(pieces: Iterator[bytes], meter: SoundMeter) -> bool:
    """Measure the next pieces; return False at the end. Blocks."""
    for _ in range(MEASURED_AT_ONCE):
        piece = next(pieces, None)
        if piece is None or meter.duration_ms >= MAX_MEASURED_MS:
            meter.finish()
            return False
        meter.add(piece)
    return True


def _findings(audio: AudioFile, facts: Facts, meter: SoundMeter, options: Options | None) -> Iterator[Finding]:
    path = "input.wav" if audio.path is None else str(audio.path)
    duration_ms = meter.duration_ms if facts.duration_ms is None else facts.duration_ms
    if options is not None and (text := check_length(duration_ms, options)) is not None:
        seconds = (options.max_audio_ms or 0) // 1000
        command = ffmpeg_command(path, options=f"-f segment -segment_time {seconds}", suffix=".%03d.wav")
        yield Finding("too_long", "error", text, f"use another model, or split it with: {command}")
    if facts.tracks > 1:
        text = f"it has {facts.tracks} sound tracks, and the first is read"
        yield Finding("several_tracks", "note", text, "choose one: read_audio(..., track=1), or --track 1")
    if meter.is_silent:
        fix = "check the microphone and its level, and the channel that was recorded"
        yield Finding("silent", "error", "there is nothing to hear in it", fix)
        return
    if meter.has_swapped_bytes:
        command = ffmpeg_command(path, input_options="-c:a pcm_s16be")
        yield Finding(
            "swapped_bytes", "error", "the two bytes of each sample are swapped", f"swap them with: {command}"
        )
        return
    yield from _sound_findings(path, meter)


def _sound_findings(path: str, meter: SoundMeter) -> Iterator[Finding]:
    if dead := meter.dead_channels:
        live = next(number for number in range(len(meter.peaks)) if number not in dead)
        names = "channel " + " and ".join(map(str, dead)) + (" is" if len(dead) == 1 else " are")
        fix = f"recognise the other one alone: read_audio(..., channel={live}), or --channel {live}"
        yield Finding("dead_channel", "warning", f"{names} silent, which halves the level of the mix", fix)
    if part := meter.clipped_part:
        text = f"{part:.1%} of the samples are clipped"
        yield Finding("clipped", "warning", text, "record again at a lower level; what is clipped cannot be restored")
    if meter.is_narrow:
        command = ffmpeg_command(path, sample_rate=8_000)
        text = "it has nothing above 4 kHz: it is telephone sound at a higher sample rate"
        yield Finding("narrow_band", "warning", text, f"use a model for 8 kHz, with the output of: {command}")
    start_ms, end_ms = meter.silence_ms
    if start_ms >= LONG_SILENCE_MS:
        command = ffmpeg_command(path, input_options=f"-ss {start_ms // 1000}")
        text = f"it begins with {start_ms / 1000:.0f} s of silence"
        yield Finding("silence_at_start", "note", text, f"cut it off with: {command}")
    if end_ms >= LONG_SILENCE_MS and meter.duration_ms < MAX_MEASURED_MS:
        command = ffmpeg_command(path, input_options=f"-t {(meter.duration_ms - end_ms) // 1000 + 1}")
        text = f"it ends with {end_ms / 1000:.0f} s of silence"
        yield Finding("silence_at_end", "note", text, f"cut it off with: {command}")


def _unreadable(audio: AudioFile, error: ASRError | OSError) -> Finding:
    """Return the finding for an error whose text may end in what to do, behind the last colon but one."""
    text = _without_name(audio, error)
    what, separator, fix = text.partition(": ")
    return Finding("unreadable", "error", what, fix if separator else "give another file")


def _without_name(audio: AudioFile, error: ASRError | OSError) -> str:
    if isinstance(error, ASRError):
        return error.message.removeprefix(f"{audio.name} ")
    return error.strerror or type(error).__name__
