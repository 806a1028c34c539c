"""`asr-async transcribe --resume`: a batch that can be interrupted, killed and continued by the same command.

A terminal shows the progress; elsewhere a line tells it now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import click
from rich.progress_bar import ProgressBar
from rich.text import Text

from .. import ASRError
from ..batch import Batch, Budget, InProcess
from .display import Screen, clock, row_of
from .exit_status import ExitStatus, error_text, exit_status_of
from .inputs import STANDARD_INPUT, shown_name
from .outputs import is_folder
from .session_options import SessionChoice, logging_to
from .transcription import count_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from ..batch import BatchOutcome, BatchProgress
    from .output_options import OutputChoice

__all__ = ["ATTEMPTS", "BatchJob", "BatchRow", "budget_of", "counts_line", "run_batch"]

ATTEMPTS = 3
"""The most attempts for one file, unless another number is given."""

REFRESH_S = 0.5
"""The time between two looks into the manifest."""

LINE_EVERY_S = 60.0
"""The time between two lines of progress where there is no terminal."""

MAX_ERROR_LINES = 20
"""The sources with a line of their own when they fail; the others are in `asr-async batch status`."""


@dataclass(frozen=True, kw_only=True)
class BatchJob:
    """The arguments of one call of the command."""

    manifest: str
    inputs: Sequence[str]
    choice: SessionChoice
    output: OutputChoice
    attempts: int
    budget: Budget | None
    pace: float | None
    concurrency: int
    channel: Literal["mix", "left", "right"] | int
    track: int | None

    def __post_init__(self) -> None:
        """Refuse what a batch cannot do.

        Raises:
            click.UsageError: the text says what to do.
        """
        if self.output.path is None or not is_folder(self.output.path):
            raise click.UsageError("--resume writes a file for each input: name a folder, such as --output texts/")
        if STANDARD_INPUT in self.inputs:
            raise click.UsageError("--resume cannot continue standard input: name files, folders or patterns")
        if self.choice.tape is not None:
            raise click.UsageError("--tape records the sessions of one call: leave it out, or --resume")
        if self.output.times:
            raise click.UsageError("--resume writes text without times: -f srt and -f json have them")


def budget_of(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Budget | None:
    """Parse an amount of money, such as 50yuan, or of seconds, minutes or hours, such as 3600, 90m and 12h."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h|yuan)?", value)
    if match is None or not float(match[1]):
        raise click.BadParameter(
            f"{value!r} is neither a length of audio, such as 3600, 90m and 12h, nor money: 50yuan"
        )
    amount = float(match[1])
    if match[2] == "yuan":
        return Budget(yuan=amount)
    return Budget(billed_s=amount * {"m": 60, "h": 3_600}.get(match[2], 1))


async def run_batch(job: BatchJob) -> ExitStatus:
    """Run or continue a batch, with its progress on the screen."""
    with Screen(is_quiet=job.choice.is_quiet) as screen, logging_to(screen, job.choice.verbosity):
        try:
            return await _run(job, screen)
        except (ASRError, OSError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            screen.error(error_text(error))
            return exit_status_of(error)


async def _run(job: BatchJob, screen: Screen) -> ExitStatus:
    batch = Batch(
        job.manifest,
        job.inputs,
        job.choice.options,
        job.choice.service(screen),
        output=job.output.path or "",
        format=job.output.format_name,
        attempts=job.attempts,
        budget=job.budget,
        pace=job.pace,
        channel=job.channel,
        track=job.track,
    ).on(InProcess(job.concurrency))
    async with batch:
        row = BatchRow(await batch.progress())
        screen.add(row)
        refreshing = asyncio.create_task(_refresh(batch, row, screen))
        try:
            await _report_outcomes(batch, screen)
        except (ASRError, asyncio.CancelledError) as error:
            with contextlib.suppress(ASRError):  # the manifest may be what failed
                row.progress = await batch.progress()
            what = "stopped" if isinstance(error, ASRError) else "interrupted"
            screen.error(f"{what}; the same command continues, with {counts_line(row.progress)}")
            raise
        finally:
            refreshing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await refreshing
            screen.remove(row)
        progress = await batch.progress()
    _sum_up(job, progress, screen)
    is_complete = progress.done == progress.total and not progress.missing_s
    return ExitStatus.DONE if is_complete else ExitStatus.FAILED


async def _report_outcomes(batch: Batch, screen: Screen) -> None:
    """Read the outcomes to the end, and write a line for each that is not as it should be."""
    errors = 0
    async for outcome in batch:
        text = _trouble(outcome)
        if text is None:
            continue
        errors += 1
        if errors <= MAX_ERROR_LINES:
            screen.error(text, shown_name(outcome.source))
        elif errors == MAX_ERROR_LINES + 1:
            screen.error("further failures are not shown; asr-async batch status lists them")


def _trouble(outcome: BatchOutcome) -> str | None:
    """Return what is wrong with an outcome, on one line; None if nothing is."""
    if outcome.error is not None:
        return outcome.error.removeprefix(f"{outcome.source} ")
    return f"{outcome.missing_s:.1f} s of audio missing from its transcript" if outcome.missing_s else None


async def _refresh(batch: Batch, row: BatchRow, screen: Screen) -> None:
    """Keep the progress up to date, and write it now and then where it is not shown; until cancelled."""
    written_at = time.monotonic()
    while True:
        await asyncio.sleep(REFRESH_S)
        with contextlib.suppress(ASRError):  # the run itself reports it
            row.progress = await batch.progress()
        if not screen.is_live and time.monotonic() - written_at >= LINE_EVERY_S:
            written_at = time.monotonic()
            screen.info(f"asr-async: {' · '.join(row.parts())}")


def _sum_up(job: BatchJob, progress: BatchProgress, screen: Screen) -> None:
    parts = [counts_line(progress), f"{clock_of(progress.audio_s)} of audio in {clock_of(progress.elapsed_s)}"]
    screen.info(" · ".join(parts))
    if progress.stopped == "budget":
        screen.error(
            f"the budget is used up, with {count_of(progress.waiting, 'file')} left: continue with a larger one"
        )
    if progress.failed + progress.poison:
        manifest = job.manifest if "://" not in job.manifest else "MANIFEST"  # a URL may have a password
        screen.error(f"asr-async batch status {manifest} lists what failed, batch retry has it tried again")


class BatchRow:
    """The rows of a batch on the screen: a bar, the files, the audio, the speed, and when it will be done."""

    def __init__(self, progress: BatchProgress) -> None:
        self.progress = progress
        self._began = progress

    def parts(self) -> list[str]:
        """Return the parts of the line, the most important first."""
        now = self.progress
        parts = [counts_line(now)]
        if now.remaining_s is not None and now.waiting + now.running:
            end = datetime.now(UTC).astimezone() + timedelta(seconds=now.remaining_s)
            parts.append(f"{clock_of(now.remaining_s)} left, until {end:%H:%M}")
        parts.append(f"{clock_of(now.audio_s)} of audio")
        audio_s = now.audio_s - self._began.audio_s
        if audio_s > 0 and now.elapsed_s > 0:
            parts.append(f"{audio_s / now.elapsed_s:.1f} times real time")
        if round(now.billed_s) != round(now.audio_s):
            parts.append(f"{clock_of(now.billed_s)} billed")
        parts.append(f"{now.running} running")
        return parts

    def lines(self, width: int) -> list[RenderableType]:
        """Return two lines."""
        now = self.progress
        finished = now.done + now.failed + now.poison
        bar = ProgressBar(max(1, now.total), finished, width=max(8, min(40, width - 16)))
        bar.style, bar.complete_style, bar.finished_style = "bright_black", "cyan", "green"
        percent = Text(f"{100 * finished / max(1, now.total):.1f} %")
        elapsed = Text(f"{clock_of(now.elapsed_s)} elapsed", style="dim")
        cells = (bar, percent, elapsed) if width >= 60 else (bar, percent)
        parts = self.parts()
        while len(parts) > 1 and len(" · ".join(parts)) > width:
            parts.pop()
        return [row_of(*cells), Text(" · ".join(parts), style="bold", no_wrap=True, overflow="crop")]


def counts_line(progress: BatchProgress) -> str:
    """Return how many files are done, and how many failed."""
    parts = [f"{progress.done:,} of {progress.total:,} files done"]
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    if progress.poison:
        parts.append(f"{progress.poison:,} unreadable")
    return ", ".join(parts)


def clock_of(seconds: float) -> str:
    """Format seconds as minutes and seconds, and as hours from one hour on."""
    return clock(round(seconds * 1000))
