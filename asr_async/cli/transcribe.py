"""`asr-async transcribe`: transcribes audio files, several at once.

All files and options are checked before the first connection is opened. After that, a file that fails does not stop the
others.
"""

from __future__ import annotations

import functools
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import (
    ASRError,
    Client,
    ConfigurationError,
    Gap,
    Local,
    Result,
    SpeechEnded,
    TranscriptionBatch,
    read_audio,
)
from ..client import CONCURRENCY
from ..sources import check_source
from ..vendors import options_for_model, service_for, vendor_of, vendors
from .display import SilentDisplay, display_for, progress_for
from .exit_status import ExitStatus, exit_status_of, report, run
from .model_options import option_values
from .outputs import outputs_for
from .transcript_formats import EXTENSIONS, clock_tenths, one_line, writer_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence

    from ..results import Event, SessionStats
    from ..session import Session
    from ..sources import AudioFile
    from ..vendors.options import Options
    from ..vendors.service import Service
    from .display import Display
    from .outputs import Output
    from .transcript_formats import Writer

__all__ = ["Transcription", "summary_line", "transcribe"]

AHEAD_FACTOR = 4
"""The most files that are started ahead of an unfinished one, as a multiple of the concurrency. It bounds memory where
files share an output, since the results of later files are buffered until the earlier ones are finished."""


MAX_NOTES = 5
"""The gaps of one file that have a line of their own on standard error."""


def _pace(_context: click.Context, _parameter: click.Parameter, value: str) -> float | None:
    """Parse a positive number, or `max`, which is no pacing (None)."""
    if value == "max":
        return None
    try:
        pace = float(value)
    except ValueError:
        pace = math.nan
    if not 0 < pace < math.inf:
        raise click.BadParameter(f"{value!r} is neither a positive number nor max")
    return pace


def _default_model(service: str) -> str:
    vendor = vendors().get(service) or next(iter(vendors().values()))
    return vendor.default_model


def _default_models() -> str:
    first, *others = vendors().values()
    return ", ".join([first.default_model, *(f"with {vendor.name} {vendor.default_model}" for vendor in others)])


@dataclass(frozen=True, kw_only=True)
class _Job:
    """The arguments of one call of the command."""

    files: Sequence[Path]
    service: str
    options: Options
    format_name: str
    output: str | None
    pace: float | None
    concurrency: int
    times: bool
    tape: str | None

    @property
    def is_sequential(self) -> bool:
        """True if the files are transcribed one after the other, so that interims can be shown."""
        return len(self.files) == 1 or self.concurrency == 1


@dataclass(frozen=True)
class _Recording:
    """One file, its source and its output."""

    file: Path
    source: AudioFile
    output: Output


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--service",
    type=click.Choice(["auto", "local", *vendors()]),
    default="auto",
    show_default=True,
    help="The service; auto is the vendor of the model if its key is in the environment, else local.",
)
@click.option("--model", help=f"The model. [default: {_default_models()}]")
@click.option(
    "--option",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    help="An option of the model, such as sample_rate=8000 or language_hints=zh,en; may be repeated.",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(list(EXTENSIONS)),
    default="text",
    show_default=True,
    help="jsonl includes interims, the other formats only finals.",
)
@click.option(
    "--output",
    metavar="PATH",
    help="A file, or a directory (existing, or with a trailing /) for one file per input. [default: standard output]",
)
@click.option(
    "--pace",
    metavar="N|max",
    callback=_pace,
    default="1.0",
    show_default=True,
    help="Seconds of audio to send per second; max is as fast as the service accepts it.",
)
@click.option(
    "-j",
    "--concurrency",
    metavar="N",
    type=click.IntRange(min=1),
    default=CONCURRENCY,
    show_default=True,
    help="Files at once. With 1, or with a single file, interims are shown.",
)
@click.option(
    "--times/--no-times",
    default=None,
    help="Begin each line of text with its times. [default: on a terminal]",
)
@click.option(
    "--tape", metavar="PATH", help="Record the messages of all connections, without keys and audio, for a bug report."
)
@click.pass_context
def transcribe(
    context: click.Context,
    *,
    files: tuple[Path, ...],
    service: str,
    model: str | None,
    assignments: tuple[str, ...],
    format_name: str,
    output: str | None,
    pace: float | None,
    concurrency: int,
    times: bool | None,
    tape: str | None,
) -> None:
    """Transcribe audio files, several at once.

    Transcripts go to standard output, in the order of the files. Interims, and a summary line for each
    finished file, go to standard error, and so do notes: audio that is missing from the transcript (exit
    status 1; an object with "gap" in jsonl), and uncertain results ("is_confirmed" and "may_repeat" in
    jsonl).
    """
    if times is not None and format_name != "text":
        raise click.UsageError(f"--times and --no-times are for text; {format_name} always has times")
    job = _Job(
        files=files,
        service=service,
        options=_options(model or _default_model(service), assignments, service),
        format_name=format_name,
        output=output,
        pace=pace,
        concurrency=concurrency,
        times=_stdout_is_terminal(output) if times is None else times,
        tape=tape,
    )
    context.exit(run(_transcribe(job)))


def _options(model: str, assignments: Sequence[str], service: str) -> Options:
    """Return the options of the model, and check that the service has the model.

    Raises:
        click.UsageError: the model, an option or the service is wrong, or the key is missing.
    """
    try:
        options_class = options_for_model(model)
        options = options_class(model=model, **option_values(options_class, assignments))
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None
    if service not in {"auto", "local", options.vendor}:
        raise click.UsageError(f"--service {service} has no model {model}: it is a model of {options.vendor}")
    missing = vendor_of(options).missing_variables()
    if service == options.vendor and missing:
        raise click.UsageError(f"--service {service} needs a key: set {' and '.join(missing)}")
    return options


def _stdout_is_terminal(output: str | None) -> bool:
    return output is None and sys.stdout.isatty()


async def _transcribe(job: _Job) -> ExitStatus:
    sources = [read_audio(file) for file in job.files]
    checks = [
        await _attempt(_preflight(source, job.options), file=file)
        for source, file in zip(sources, job.files, strict=True)
    ]
    if any(checks):
        return ExitStatus.WRONG_USE
    outputs = outputs_for(job.files, job.output, job.format_name)
    recordings = [_Recording(*parts) for parts in zip(job.files, sources, outputs, strict=True)]
    return await _attempt(_transcribe_all(job, recordings))


async def _attempt(work: Awaitable[ExitStatus], *, file: Path | None = None) -> ExitStatus:
    """Await a status; print an expected error on one line and return its status instead."""
    try:
        return await work
    except BrokenPipeError:
        raise  # an OSError of standard output: nothing can be reported any more
    except (ASRError, OSError) as error:
        name = None if file is None else click.format_filename(file)
        report(_reason(error, name), subject=name)
        return exit_status_of(error)


def _reason(error: ASRError | OSError, name: str | None) -> str:
    """Return the text of an error on one line, without the name of the file, which the caller adds."""
    if isinstance(error, ASRError):
        return one_line(str(error).removeprefix(f"{name} "))
    reason = error.strerror or str(error) or type(error).__name__
    return reason if error.filename is None or str(error.filename) == name else f"{error.filename}: {reason}"


async def _preflight(source: AudioFile, options: Options) -> ExitStatus:
    await check_source(source, options)
    return ExitStatus.DONE


async def _transcribe_all(job: _Job, recordings: Sequence[_Recording]) -> ExitStatus:
    status = ExitStatus.DONE
    async with Client(_service(job), tape=job.tape) as client:
        transcribe_one = functools.partial(_transcribe_or_report, client, job)
        bounded_recordings = _limit_ahead(recordings, AHEAD_FACTOR * job.concurrency)
        async with TranscriptionBatch(transcribe_one, bounded_recordings, concurrency=job.concurrency) as statuses:
            async for recording_status in statuses:
                status = max(status, recording_status)
    return status


async def _limit_ahead(recordings: Sequence[_Recording], most_ahead: int) -> AsyncIterator[_Recording]:
    """Yield the recordings in order, each once the output of the one `most_ahead` earlier writes directly."""
    for number, recording in enumerate(recordings):
        if number >= most_ahead:
            await recordings[number - most_ahead].output.wait_until_direct()
        yield recording


async def _transcribe_or_report(client: Client, job: _Job, _number: int, recording: _Recording) -> ExitStatus:
    return await _attempt(_transcribe_one(client, job, recording), file=recording.file)


def _service(job: _Job) -> Service:
    if job.service == "local":
        return Local()
    missing = vendor_of(job.options).missing_variables()
    if job.service == "auto" and missing:
        report(f"{missing[0]} is not set: using the embedded recogniser (--service local)")
        return Local()
    return service_for(job.options)


async def _transcribe_one(client: Client, job: _Job, recording: _Recording) -> ExitStatus:
    name = click.format_filename(recording.file)
    transcription = Transcription(writer_for(job.format_name, source=name, times=job.times))
    try:
        with recording.output:
            async with client.session(job.options) as session:
                started_at = time.monotonic()
                with _display(job, recording, session) as display:
                    display.show(transcription.writer.header(), "")
                    async for event in session.events(recording.source, pace=job.pace):
                        transcription.show(event, display)
                seconds = time.monotonic() - started_at
    finally:
        for note in transcription.notes():
            report(note, subject=name)
    if job.format_name == "text":
        line = summary_line(transcription.words, session.stats, seconds)
        click.echo(f"{name}: {line}" if len(job.files) > 1 else line, err=True)
    return ExitStatus.FAILED if transcription.gaps else ExitStatus.DONE


class Transcription:
    """The transcription of one file: its text, the interim that is shown, and the notes about what is uncertain."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.words: int = 0
        self.gaps: list[Gap] = []
        self._unconfirmed = 0
        self._repeating = 0
        # the segment of the interim that is shown
        self._shown_segment: int | None = None

    def show(self, event: Event, display: Display) -> None:
        """Write what an event adds to the transcript, and show or remove an interim."""
        match event:
            case Result(is_final=True):
                self._count(event)
                self._shown_segment = None
                display.show(self.writer.final(event), "")
            case Result():
                self._shown_segment = event.segment_id
                display.show(self.writer.interim(event), one_line(event.text))
            case SpeechEnded(is_withdrawn=True, segment_id=self._shown_segment):
                display.show("", "")
            case Gap():
                self.gaps.append(event)
                if text := self.writer.gap(event):
                    display.show(text, "")

    def _count(self, final: Result) -> None:
        self.words += _count_words(final)
        self._unconfirmed += not final.is_confirmed
        self._repeating += final.may_repeat

    def notes(self) -> Iterator[str]:
        """Yield a line for each gap, and one for each kind of uncertain results."""
        for gap in self.gaps[:MAX_NOTES]:
            lost = f"{(gap.end_ms - gap.start_ms) / 1000:.1f} s of audio" if gap.end_ms > gap.start_ms else "audio"
            yield f"{lost} missing from {clock_tenths(gap.start_ms)} on: {one_line(gap.reason)}"
        if more := self.gaps[MAX_NOTES:]:
            yield f"{sum(gap.end_ms - gap.start_ms for gap in more) / 1000:.1f} s missing in {len(more)} further gaps"
        if self._unconfirmed:
            yield f"results that the vendor showed and did not confirm as final: {self._unconfirmed}"
        if self._repeating:
            yield f"results that may repeat words of the result before them: {self._repeating}"


def _display(job: _Job, recording: _Recording, session: Session) -> Display:
    if not job.is_sequential:
        return SilentDisplay(recording.output)
    progress = progress_for(recording.source.duration_ms, lambda: session.stats.audio_sent_ms)
    return display_for(recording.output, progress, lines=job.format_name == "text")


def _count_words(result: Result) -> int:
    if not result.is_final:
        return 0
    return len(result.words) or len(result.text.split())


def summary_line(words: int, stats: SessionStats, seconds: float) -> str:
    """Return the summary of a finished session on one line.

    Args:
        words: the number of recognised words.
        stats: the statistics of the finished session.
        seconds: the time from the start of the stream to the last result.
    """
    parts = [f"{words} word" if words == 1 else f"{words} words"]
    if stats.first_result_ms is not None:
        parts.append(f"first result after {stats.first_result_ms:.0f} ms")
    audio = "" if stats.audio_sent_ms is None else f"{stats.audio_sent_ms / 1000:.1f} s of audio in "
    return " · ".join([*parts, f"{audio}{seconds:.1f} s"])
