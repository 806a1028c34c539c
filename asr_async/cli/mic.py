"""`asr-async mic`: transcribes the microphone, live, until Ctrl-C."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from .. import ASRError, Microphone, microphone
from ..sources import prepare
from .display import FileDisplay, MicrophoneRow, Position, Screen
from .exit_status import ExitStatus, error_text, exit_status_of, run
from .inputs import Input
from .interruption import Interruption, StoppableSource
from .outputs import OutputError, StandardOutput, outputs_for
from .session_options import SessionChoice, logging_to, session_options
from .transcript_formats import EXTENSIONS, check_format, format_of_output, writer_for
from .transcription import Transcription, stdout_is_terminal, summary_line

if TYPE_CHECKING:
    from .transcript_formats import Writer

__all__ = ["mic"]


@dataclass(frozen=True, kw_only=True)
class _Job:
    """The arguments of one call of the command."""

    device: int | str | None
    choice: SessionChoice
    format_name: str
    output: str | None
    times: bool


@click.command()
@click.option(
    "--device", metavar="NAME|N", help="A part of the name, or the number, of a device. [default: the system's]"
)
@click.option("-o", "--output", metavar="PATH", help="A file for the transcript. [default: standard output]")
@click.option(
    "-f",
    "--format",
    "format_name",
    type=click.Choice(list(EXTENSIONS)),
    help="srt and vtt are captions that grow with the speech. [default: by the name of the output, else text]",
)
@click.option(
    "--times/--no-times", default=None, help="Begin each line of text with its times. [default: on a terminal]"
)
@session_options
@click.pass_context
def mic(
    context: click.Context,
    *,
    device: str | None,
    choice: SessionChoice,
    format_name: str | None,
    output: str | None,
    times: bool | None,
) -> None:
    """Transcribe the microphone until Ctrl-C. A terminal shows the newest words and the level of the sound.

    Ctrl-C ends the recording and waits for the words that were spoken until then; a second one leaves.
    """
    format_name = format_name or format_of_output(output)
    check_format(format_name)
    job = _Job(
        device=int(device) if device is not None and device.isdecimal() else device,
        choice=choice,
        format_name=format_name,
        output=output,
        times=stdout_is_terminal(output) if times is None else times,
    )
    context.exit(run(_run(job)))


async def _run(job: _Job) -> ExitStatus:
    with Screen(is_quiet=job.choice.is_quiet) as screen, logging_to(screen, job.choice.verbosity):
        source = microphone(job.device)
        try:
            with Interruption(lambda: screen.info("The recording has ended; its last words follow.")) as interruption:
                return await _record(job, screen, interruption, source)
        except OutputError as error:
            screen.error(str(error))
            return ExitStatus.FAILED
        except BrokenPipeError:
            raise
        except (ASRError, OSError) as error:
            screen.error(error_text(error))
            return exit_status_of(error)


async def _record(job: _Job, screen: Screen, interruption: Interruption, source: Microphone) -> ExitStatus:
    options = await prepare(source, job.choice.options)
    (output,) = outputs_for([Input.of_microphone()], job.output, job.format_name, StandardOutput(screen.above_the_rows))
    transcription = Transcription(_writer(job, screen))
    async with job.choice.client(screen) as client, client.session(options) as session:
        screen.info("Listening; Ctrl-C ends.")
        started_at = time.monotonic()
        row = MicrophoneRow(Position(None, lambda: session.stats.audio_sent_ms), lambda: source.level)
        with output, interruption.session(), FileDisplay(screen, output, row) as display:
            display.show(transcription.writer.header(), "")
            try:
                async for event in session.events(StoppableSource(source, interruption)):
                    transcription.show(event, display)
            finally:
                display.close(transcription.writer.footer())
                for note in transcription.notes():
                    screen.error(note)
    screen.info(summary_line(transcription.words, session.stats, time.monotonic() - started_at))
    return ExitStatus.FAILED if transcription.gaps else ExitStatus.DONE


def _writer(job: _Job, screen: Screen) -> Writer:
    return writer_for(
        job.format_name,
        source="microphone",
        times=job.times,
        width=screen.width if screen.is_live and stdout_is_terminal(job.output) else None,
        languages=job.choice.live_languages,
    )
