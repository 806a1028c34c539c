"""`asr-async transcribe`: transcribes files, folders, pipes and standard input, several at once.

Options, outputs and files are checked before the first connection is opened. A file that fails does not stop the
others.
"""

from __future__ import annotations

import functools
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import anyio.to_thread
import click
from click.core import ParameterSource

from .. import ASRError, AuthenticationError, Client, TranscriptionBatch, read_audio
from ..batch.databases import concealed
from ..client import CONCURRENCY
from ..sources import prepare
from .batch_run import ATTEMPTS, BatchJob, budget_of, run_batch
from .display import FileDisplay, FileRow, InterimRow, Position, Screen, TotalRow
from .exit_status import ExitStatus, error_text, exit_status_of, run
from .inputs import Input, find_inputs
from .interruption import Interruption, StoppableSource
from .output_options import OutputChoice, output_options
from .outputs import OutputError, StandardOutput, outputs_for
from .session_options import SessionChoice, logging_to, session_options
from .transcription import Transcription, count_of, summary_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ..batch import Budget
    from ..session import Session
    from ..sources import AudioFile
    from ..vendors.options import Options
    from .outputs import Output
    from .transcript_formats import Writer

__all__ = ["transcribe"]

AHEAD_FACTOR = 4
"""The most files that are started ahead of an unfinished one, as a multiple of the concurrency. It bounds memory where
files share an output, since the results of later files are buffered until the earlier ones are finished."""


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


def _channel(_context: click.Context, _parameter: click.Parameter, value: str) -> Literal["mix", "left", "right"] | int:
    """Parse the name or the number of a channel."""
    match value:
        case "mix" | "left" | "right":
            return value
        case _ if value.isdecimal():
            return int(value)
    raise click.BadParameter(f"{value!r} is neither mix, left, right nor a number from 0 on")


@dataclass(frozen=True, kw_only=True)
class _Job:
    """The arguments of one call of the command."""

    arguments: Sequence[str]
    choice: SessionChoice
    output: OutputChoice
    pace: float | None
    concurrency: int
    channel: Literal["mix", "left", "right"] | int
    track: int | None


@dataclass(frozen=True)
class _Recording:
    """One input, its source, its options and its output."""

    input: Input
    source: AudioFile
    options: Options
    output: Output


@dataclass
class _Run:
    """The state of one call: the screen, Ctrl-C, and the files so far."""

    job: _Job
    screen: Screen
    interruption: Interruption
    statuses: list[ExitStatus] = field(default_factory=list)
    count: int = 0
    """The number of files that are transcribed."""
    words: int = 0
    audio_ms: int = 0
    started_at: float = field(default_factory=time.monotonic)
    total: TotalRow | None = None

    @property
    def is_single(self) -> bool:
        """True if at most one file is transcribed at a time, so that its interims have a line."""
        return self.count == 1 or self.job.concurrency == 1

    @property
    def status(self) -> ExitStatus:
        """The status of the process: if some files are done, a wrong one is a failure, not wrong use."""
        if self.interruption.is_requested:
            return ExitStatus.INTERRUPTED
        worst = max(self.statuses, default=ExitStatus.WRONG_USE)
        return ExitStatus.FAILED if worst and ExitStatus.DONE in self.statuses else worst

    def fail(self, error: ASRError | OSError, name: str) -> ExitStatus:
        """Write an expected error on one line, and return its status."""
        self.screen.error(error_text(error, name), name)
        return exit_status_of(error)


@click.command()
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@output_options
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
    help="Files at once. With 1, or with a single file, interims have a line of their own.",
)
@click.option(
    "--channel",
    metavar="mix|left|right|N",
    callback=_channel,
    default="mix",
    show_default=True,
    help="The channel that is recognised; mix is the mean of all, N counts from 0.",
)
@click.option(
    "--track",
    metavar="N",
    type=click.IntRange(min=0),
    help="The sound track of a file with several, from 0. [default: the first, with a note]",
)
@click.option(
    "--resume",
    metavar="MANIFEST",
    help="Keep what became of each file in a manifest, so that the same command continues after Ctrl-C, a crash or a "
    "power cut: the path of a file, or the URL of a Postgres database for several machines. Needs a folder as "
    "--output, writes finals only, and sends as fast as the service accepts it unless --pace says otherwise.",
)
@click.option(
    "--attempts",
    metavar="N",
    type=click.IntRange(min=1),
    help="With --resume: the most attempts for one file.  [default: 3]",
)
@click.option(
    "--budget",
    metavar="LENGTH|Nyuan",
    callback=budget_of,
    help="With --resume: the most that all runs of the manifest may bill, as a length of audio (3600, 90m, 12h) or as "
    "money by the list price of the model in mainland China (50yuan).",
)
@session_options
@click.pass_context
def transcribe(
    context: click.Context,
    *,
    inputs: tuple[str, ...],
    choice: SessionChoice,
    output: OutputChoice,
    pace: float | None,
    concurrency: int,
    channel: Literal["mix", "left", "right"] | int,
    track: int | None,
    resume: str | None,
    attempts: int | None,
    budget: Budget | None,
) -> None:
    """Transcribe files, folders with all audio files in them, patterns, pipes, or - for standard input.

    Transcripts go to standard output, in the order of the inputs. A terminal shows the progress of each
    file, and its newest words. A summary line for each finished file goes to standard error, and so do
    notes: audio that is missing from the transcript (exit status 1; an object with "gap" in jsonl), and
    uncertain results ("is_confirmed" and "may_repeat" in jsonl).

    Ctrl-C ends the audio and waits for the words that were spoken until then; a second one leaves. With
    --resume, the first one leaves, and the same command continues; see also asr-async batch.
    """
    if resume is not None:
        is_default = context.get_parameter_source("pace") is ParameterSource.DEFAULT
        batch = BatchJob(
            manifest=concealed(resume),
            inputs=inputs,
            choice=choice,
            output=output,
            attempts=attempts or ATTEMPTS,
            budget=budget,
            pace=None if is_default else pace,
            concurrency=concurrency,
            channel=channel,
            track=track,
        )
        context.exit(run(run_batch(batch)))
    for name, value in (("--attempts", attempts), ("--budget", budget)):
        if value is not None:
            raise click.UsageError(f"{name} is of --resume: name a manifest, such as --resume run.sqlite")
    job = _Job(
        arguments=inputs,
        choice=choice,
        output=output,
        pace=pace,
        concurrency=concurrency,
        channel=channel,
        track=track,
    )
    context.exit(run(_transcribe(job)))


async def _transcribe(job: _Job) -> ExitStatus:
    with Screen(is_quiet=job.choice.is_quiet) as screen, logging_to(screen, job.choice.verbosity):
        note = "ending the audio; its last words follow. Press Ctrl-C again to leave now"
        with Interruption(lambda: screen.error(note)) as interruption:
            state = _Run(job, screen, interruption)
            recordings = await _recordings(state)
            if recordings:
                try:
                    await _transcribe_all(state, recordings)
                except OutputError as error:
                    screen.error(_stopped(state, str(error)))
                    return ExitStatus.FAILED
                except (ASRError, OSError) as error:
                    if isinstance(error, BrokenPipeError):
                        raise
                    screen.error(_stopped(state, error_text(error)))
                    return exit_status_of(error)
                _sum_up(state)
            return state.status


async def _recordings(state: _Run) -> list[_Recording]:
    """Return the inputs that can be read, with their outputs; report the others."""
    inputs, problems = await anyio.to_thread.run_sync(find_inputs, state.job.arguments, abandon_on_cancel=True)
    for problem in problems:
        state.screen.error(problem.reason, problem.name)
        state.statuses.append(ExitStatus.WRONG_USE)
    sources: list[tuple[Input, AudioFile, Options]] = []
    for one in inputs:
        options = state.job.choice.options
        try:
            source = read_audio(one.source, channel=state.job.channel, track=state.job.track)
            if not one.is_live:  # opening a pipe would wait for its writer
                options = await prepare(source, options)
        except (ASRError, OSError) as error:
            state.statuses.append(state.fail(error, one.name))
        else:
            sources.append((one, source, options))
    if not sources:
        return []
    state.count = len(sources)
    found = [one for one, _, _ in sources]
    outputs = outputs_for(found, state.job.output, StandardOutput(state.screen.above_the_rows))
    return [_Recording(*parts, output) for parts, output in zip(sources, outputs, strict=True)]


async def _transcribe_all(state: _Run, recordings: Sequence[_Recording]) -> None:
    job = state.job
    if state.count > 1:
        lengths = [recording.source.duration_ms for recording in recordings]
        whole_ms = None if None in lengths else sum(length or 0 for length in lengths)
        state.total = TotalRow(state.count, whole_ms)
        state.screen.add(state.total)
    async with job.choice.client(state.screen) as client:
        work = functools.partial(_transcribe_or_report, state, client)
        bounded = _limit_ahead(state, recordings, AHEAD_FACTOR * job.concurrency)
        async with TranscriptionBatch(work, bounded, concurrency=job.concurrency) as statuses:
            async for status in statuses:
                state.statuses.append(status)


async def _limit_ahead(state: _Run, recordings: Sequence[_Recording], most_ahead: int) -> AsyncIterator[_Recording]:
    """Yield the recordings in order, each once the output of the one `most_ahead` earlier writes directly."""
    for number, recording in enumerate(recordings):
        if number >= most_ahead:
            await recordings[number - most_ahead].output.wait_until_direct()
        if state.interruption.is_requested:
            return
        yield recording


async def _transcribe_or_report(state: _Run, client: Client, _number: int, recording: _Recording) -> ExitStatus:
    try:
        status = await _transcribe_one(state, client, recording)
    except (BrokenPipeError, AuthenticationError):
        raise  # nothing can be written any more; the same would happen to every other file
    except (ASRError, OSError) as error:
        status = state.fail(error, recording.input.name)
    if state.total is not None:
        state.total.done += 1
        state.total.failed += status is not ExitStatus.DONE
    return status


async def _transcribe_one(state: _Run, client: Client, recording: _Recording) -> ExitStatus:
    transcription = Transcription(_writer(state, recording))
    options = recording.options
    try:
        with recording.output:  # entered first: those of later files wait until it is closed
            if recording.input.is_live:
                options = await prepare(recording.source, options)
            async with client.session(options) as session:
                started_at = time.monotonic()
                await _stream(state, session, recording, transcription)
                seconds = time.monotonic() - started_at
    finally:
        for note in transcription.notes():
            state.screen.error(note, recording.input.name)
    line = summary_line(transcription.words, session.stats, seconds)
    if state.count == 1:
        state.screen.info(line)
    elif not state.job.output.is_terminal:  # there, it would stand between the lines of another file
        state.screen.info(f"{recording.input.name}: {line}")
    return ExitStatus.FAILED if transcription.gaps else ExitStatus.DONE


async def _stream(state: _Run, session: Session, recording: _Recording, transcription: Transcription) -> None:
    """Send the audio, write the transcript, and count its words and its audio, however it ends."""
    source = StoppableSource(recording.source, state.interruption)
    position = Position(recording.source.duration_ms, lambda: session.stats.audio_sent_ms)
    with state.interruption.session(), _display(state, recording, position) as display:
        display.show(transcription.writer.header(), "")
        try:
            async for event in session.events(source, pace=state.job.pace):
                transcription.show(event, display)
        finally:
            display.close(transcription.writer.footer())
            _count(state, session, transcription, position)


def _writer(state: _Run, recording: _Recording) -> Writer:
    languages = state.job.choice.live_languages if recording.input.is_live else "both"
    return state.job.output.writer(state.screen, recording.input.name, languages, heading=state.count > 1)


def _display(state: _Run, recording: _Recording, position: Position) -> FileDisplay:
    if state.total is not None:
        state.total.running.append(position)
    row = InterimRow(position) if state.is_single else FileRow(recording.input.base_name, position)
    return FileDisplay(state.screen, recording.output, row)


def _count(state: _Run, session: Session, transcription: Transcription, position: Position) -> None:
    state.words += transcription.words
    state.audio_ms += session.stats.audio_sent_ms or 0
    if state.total is not None:
        state.total.running.remove(position)
        state.total.done_ms += position.position_ms


def _sum_up(state: _Run) -> None:
    """Write a line about all files, if there are several."""
    if state.count == 1:
        return
    done = state.statuses.count(ExitStatus.DONE)
    seconds = time.monotonic() - state.started_at
    parts = [
        count_of(state.count, "file") if done == len(state.statuses) else f"{done} of {len(state.statuses)} files done",
        count_of(state.words, "word"),
        f"{state.audio_ms / 1000:.1f} s of audio in {seconds:.1f} s",
    ]
    state.screen.info(" · ".join(parts))


def _stopped(state: _Run, reason: str) -> str:
    """Return the text of an error that ends all files, with what is done."""
    if state.count == 1:
        return reason
    return f"{reason}; stopped, with {state.statuses.count(ExitStatus.DONE)} of {state.count} files done"
