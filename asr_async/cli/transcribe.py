"""`asr-async transcribe`: files in, a transcript out.

Everything that can be found wrong without a connection is found before there is one; from then on each file
stands for itself, several at once, and one that fails does not keep the others from being tried.
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

from .. import ASRError, Client, ConfigurationError, Local, TranscriptionBatch, read_audio
from ..client import CONCURRENCY
from ..sources import preflight
from ..vendors import options_for_model, service_for, vendor_of, vendors
from .display import SilentDisplay, display_for, progress_for
from .exit_status import ExitStatus, exit_status_of, report, run
from .model_options import option_values
from .outputs import outputs_for
from .transcript_formats import EXTENSIONS, one_line, writer_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence

    from ..results import Result, SessionStats
    from ..session import Session
    from ..sources import AudioFile
    from ..vendors.options import Options
    from ..vendors.service import Service
    from .display import Display
    from .outputs import Output
    from .transcript_formats import Writer

__all__ = ["closing_line", "transcribe"]

REACH = 4
"""How many times as many files as there are at once may be begun before the first of them is done, where they share an
output: what is recognised of the later ones is kept in memory until it is their turn."""


def _pace(_context: click.Context, _parameter: click.Parameter, value: str) -> float | None:
    """Read a positive number, or `max` for no pacing at all (None)."""
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
    """What one call of the command asks for."""

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
    def is_one_by_one(self) -> bool:
        """Whether there is one growing transcript to be shown at a time."""
        return len(self.files) == 1 or self.concurrency == 1


@dataclass(frozen=True)
class _Task:
    """One of the files."""

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
    help="Who recognises; auto is the model's vendor if its key is in the environment, else local.",
)
@click.option("--model", help=f"The vendor's model. [default: {_default_models()}]")
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
    help="jsonl holds interims and finals, the others finals only.",
)
@click.option(
    "--output",
    metavar="PATH",
    help="A file, or a directory (existing, or ending in /) for one file each. [default: standard output]",
)
@click.option(
    "--pace",
    metavar="N|max",
    callback=_pace,
    default="1.0",
    show_default=True,
    help="Audio seconds sent per second; max is as fast as the service takes it.",
)
@click.option(
    "-j",
    "--concurrency",
    metavar="N",
    type=click.IntRange(min=1),
    default=CONCURRENCY,
    show_default=True,
    help="Files at once. With 1, or one file, what is being recognised is shown.",
)
@click.option(
    "--times/--no-times",
    default=None,
    help="Begin each line of text with its times. [default: if standard output is a terminal]",
)
@click.option(
    "--tape", metavar="PATH", help="Record what goes over the wire, without keys and audio, for a bug report."
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

    The transcripts go to standard output, in the order of the files; what is still being recognised,
    and a line with figures when a file is done, to standard error.
    """
    if times is not None and format_name != "text":
        raise click.UsageError(f"--times and --no-times are for text; {format_name} has times of its own")
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
    """Make the model's options, and see that the service knows them.

    Raises:
        click.UsageError: one line about what cannot be.
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
        await _attempt(_preflight(source, job.options), about=file)
        for source, file in zip(sources, job.files, strict=True)
    ]
    if any(checks):
        return ExitStatus.WRONG_USE
    outputs = outputs_for(job.files, job.output, job.format_name)
    tasks = [_Task(*parts) for parts in zip(job.files, sources, outputs, strict=True)]
    return await _attempt(_transcribe_all(job, tasks))


async def _attempt(work: Awaitable[ExitStatus], *, about: Path | None = None) -> ExitStatus:
    """Turn the errors that can be expected into a line and a status."""
    try:
        return await work
    except BrokenPipeError:
        raise  # an OSError, but about our own output: nothing can be reported any more
    except (ASRError, OSError) as error:
        name = None if about is None else click.format_filename(about)
        report(_reason(error, name), about=name)
        return exit_status_of(error)


def _reason(error: ASRError | OSError, name: str | None) -> str:
    """What went wrong, in one line that does not repeat the name of the file it is about."""
    if isinstance(error, ASRError):
        return one_line(str(error).removeprefix(f"{name} "))
    what = error.strerror or str(error) or type(error).__name__
    return what if error.filename is None or str(error.filename) == name else f"{error.filename}: {what}"


async def _preflight(source: AudioFile, options: Options) -> ExitStatus:
    await preflight(source, options)
    return ExitStatus.DONE


async def _transcribe_all(job: _Job, tasks: Sequence[_Task]) -> ExitStatus:
    status = ExitStatus.DONE
    async with Client(_service(job), tape=job.tape) as client:
        work = functools.partial(_transcribe_or_report, client, job)
        in_reach = _in_reach(tasks, REACH * job.concurrency)
        async with TranscriptionBatch(work, in_reach, concurrency=job.concurrency) as statuses:
            async for one in statuses:
                status = max(status, one)
    return status


async def _in_reach(tasks: Sequence[_Task], reach: int) -> AsyncIterator[_Task]:
    """The tasks in order, none so far ahead that what waits for its turn could grow without bound."""
    for number, task in enumerate(tasks):
        if number >= reach:
            await tasks[number - reach].output.wait_for_turn()
        yield task


async def _transcribe_or_report(client: Client, job: _Job, _number: int, task: _Task) -> ExitStatus:
    return await _attempt(_transcribe_one(client, job, task), about=task.file)


def _service(job: _Job) -> Service:
    if job.service == "local":
        return Local()
    missing = vendor_of(job.options).missing_variables()
    if job.service == "auto" and missing:
        report(f"{missing[0]} is not set: using the embedded recogniser, as with --service local")
        return Local()
    return service_for(job.options)


async def _transcribe_one(client: Client, job: _Job, task: _Task) -> ExitStatus:
    name = click.format_filename(task.file)
    writer = writer_for(job.format_name, source=name, times=job.times)
    words = 0
    with task.output:
        async with client.session(job.options) as session:
            started_at = time.monotonic()
            with _display(job, task, session) as display:
                display.show(writer.header(), "")
                async for result in session.stream(task.source, pace=job.pace):
                    display.show(*_rendered(result, writer))
                    words += _count_words(result)
            seconds = time.monotonic() - started_at
    if job.format_name == "text":
        line = closing_line(words, session.stats, seconds)
        click.echo(f"{name}: {line}" if len(job.files) > 1 else line, err=True)
    return ExitStatus.DONE


def _display(job: _Job, task: _Task, session: Session) -> Display:
    if not job.is_one_by_one:
        return SilentDisplay(task.output)
    progress = progress_for(task.source.duration_ms, lambda: session.stats.audio_sent_ms)
    return display_for(task.output, progress, lines=job.format_name == "text")


def _rendered(result: Result, writer: Writer) -> tuple[str, str]:
    """The text that a result adds, and the interim that stands below it from then on."""
    if result.is_final:
        return writer.final(result), ""
    return writer.interim(result), one_line(result.text)


def _count_words(result: Result) -> int:
    if not result.is_final:
        return 0
    return len(result.words) or len(result.text.split())


def closing_line(words: int, stats: SessionStats, seconds: float) -> str:
    """Say in one line what came out and how long it took.

    Args:
        words: how many were recognised.
        stats: the finished session's figures.
        seconds: from the first audio to the last result.
    """
    parts = [f"{words} word" if words == 1 else f"{words} words"]
    if stats.first_result_ms is not None:
        parts.append(f"first result after {stats.first_result_ms:.0f} ms")
    audio = "" if stats.audio_sent_ms is None else f"{stats.audio_sent_ms / 1000:.1f} s of audio in "
    return " · ".join([*parts, f"{audio}{seconds:.1f} s"])
