"""`asr-async batch`: the manifest of a run, while it runs and behind its end."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click
import msgspec

from .. import ASRError
from ..batch import Manifest, StorageError
from ..batch.export import TABLE_FORMATS, export_rows, format_of_table
from .batch_run import clock_of, counts_line
from .exit_status import ExitStatus, discard_output, error_text, exit_status_of, report, run
from .inputs import shown_name
from .transcription import count_of

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from ..batch import BatchProgress

__all__ = ["batch"]

MOST_FAILURES = 50
"""The failures that `status` lists."""

_manifest_argument = click.argument("manifest", metavar="MANIFEST")


@click.group()
def batch() -> None:
    """Look at a run of `transcribe --resume`, prepare another attempt, export its results.

    MANIFEST is the path of its manifest, or the URL of a Postgres database with the name of the run:
    postgresql://host/database#nightly.
    """


@batch.command()
@_manifest_argument
@click.option("--json", "as_json", is_flag=True, help="Write the numbers as a JSON object.")
@click.pass_context
def status(context: click.Context, *, manifest: str, as_json: bool) -> None:
    """Show how many files are done, and which failed and why.

    Exit status 0 if all are done, 1 if some are left or failed.
    """
    context.exit(_run(_status(manifest, as_json=as_json)))


@batch.command()
@_manifest_argument
@click.option("--failed", "only", flag_value="failed", help="Only what failed after all attempts.")
@click.option("--unreadable", "only", flag_value="poison", help="Only what no attempt could succeed with.")
@click.pass_context
def retry(context: click.Context, *, manifest: str, only: str | None) -> None:
    """Have the files that failed transcribed again by the next run, which is the same command as before."""
    context.exit(_run(_retry(manifest, only)))


@batch.command()
@_manifest_argument
@click.option("-o", "--output", metavar="PATH", help="The file. [default: standard output]")
@click.option(
    "-f",
    "--format",
    "format_name",
    type=click.Choice(TABLE_FORMATS),
    help="parquet needs the extra parquet. [default: by the name of the output, else json]",
)
@click.option("--done", "only_done", is_flag=True, help="Only the files that are done.")
@click.pass_context
def export(
    context: click.Context, *, manifest: str, output: str | None, format_name: str | None, only_done: bool
) -> None:
    """Write a table with a row for each file: its state, its seconds, its error, its text."""
    format_name = format_name or format_of_table(output or "")
    if output is None and sys.stdout is None:
        raise click.UsageError("standard output is closed: name a file, --output table.csv")
    if output is None and sys.stdout.isatty() and format_name == "parquet":
        raise click.UsageError("a terminal cannot show parquet: name a file, --output table.parquet")
    context.exit(_run(_export(manifest, output, format_name, only_done=only_done)))


def _run(command: Coroutine[object, object, ExitStatus]) -> ExitStatus:
    """Run a command, and report its expected errors on one line."""

    async def reported() -> ExitStatus:
        try:
            return await command
        except ASRError as error:
            report(error_text(error))
            return exit_status_of(error)

    return run(reported())


async def _status(location: str, *, as_json: bool) -> ExitStatus:
    async with Manifest(location) as manifest:
        progress = await manifest.progress()
        if as_json:
            members = msgspec.structs.asdict(progress)
            names = ("elapsed_s", "remaining_s", "stopped")  # of the process that runs it
            kept = {name: value for name, value in members.items() if name not in names}
            click.echo(msgspec.json.encode({"total": progress.total, **kept}))
        else:
            _show(progress, await manifest.stop_reason())
            shown = 0
            async for row in manifest.rows(["failed", "poison"]):
                shown += 1
                if shown > MOST_FAILURES:
                    click.echo(f"  ... and {progress.failed + progress.poison - MOST_FAILURES} more: batch export")
                    break
                click.echo(f"  {shown_name(row.source)}: {(row.error or '').removeprefix(f'{row.source} ')}")
    return ExitStatus.DONE if progress.done == progress.total else ExitStatus.FAILED


def _show(progress: BatchProgress, stop_reason: str | None) -> None:
    click.echo(counts_line(progress))
    if progress.waiting or progress.running:
        click.echo(f"{progress.waiting:,} waiting, {progress.running:,} being transcribed")
    seconds = f"{clock_of(progress.audio_s)} of audio, {clock_of(progress.billed_s)} billed"
    if progress.wasted_s:
        seconds += f", of which {clock_of(progress.wasted_s)} gave no transcript"
    click.echo(seconds)
    if progress.missing_s:
        click.echo(f"{progress.missing_s:.1f} s of audio missing from the transcripts")
    if stop_reason is not None:
        click.echo(f"stopped: {stop_reason}")


async def _retry(location: str, only: str | None) -> ExitStatus:
    async with Manifest(location) as manifest:
        match only:
            case "failed":
                count = await manifest.retry(["failed"])
            case "poison":
                count = await manifest.retry(["poison"])
            case _:
                count = await manifest.retry()
    click.echo(f"{count_of(count, 'file')} to transcribe again; run the same command as before")
    return ExitStatus.DONE


async def _export(location: str, output: str | None, format_name: str, *, only_done: bool) -> ExitStatus:
    async with Manifest(location) as manifest:
        with _opened(output) as file:
            count = await export_rows(manifest, file, format_name, states=["done"] if only_done else None)
    if output is not None:
        click.echo(f"{count_of(count, 'row')} in {shown_name(output)}", err=True)
    return ExitStatus.DONE


@contextlib.contextmanager
def _opened(output: str | None) -> Iterator[IO[bytes]]:
    """Open the output; a file that could not be written whole is removed."""
    if output is None:
        try:
            yield sys.stdout.buffer
        except StorageError:
            discard_output(sys.stdout)
            raise
        return
    path = Path(output)
    try:
        file = path.open("wb")
    except OSError as error:
        raise StorageError(f"{shown_name(path)} cannot be written: {error.strerror}") from None
    try:
        with file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise
