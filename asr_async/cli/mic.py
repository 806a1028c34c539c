"""`asr-async mic`: transcribes the microphone, live, until Ctrl-C."""

from __future__ import annotations

import time
from dataclasses import dataclass

import click

from .. import ASRError, Microphone, microphone
from ..sources import prepare
from .display import FileDisplay, MicrophoneRow, Position, Screen
from .exit_status import ExitStatus, error_text, exit_status_of, run
from .inputs import Input
from .interruption import Interruption, StoppableSource
from .output_options import OutputChoice, output_options
from .outputs import OutputError, StandardOutput, outputs_for
from .session_options import SessionChoice, logging_to, session_options
from .transcription import Transcription, summary_line

__all__ = ["mic"]


@dataclass(frozen=True, kw_only=True)
class _Job:
    """The arguments of one call of the command."""

    device: int | str | None
    choice: SessionChoice
    output: OutputChoice


@click.command()
@click.option(
    "--device", metavar="NAME|N", help="A part of the name, or the number, of a device. [default: the system's]"
)
@output_options
@session_options
@click.pass_context
def mic(context: click.Context, *, device: str | None, choice: SessionChoice, output: OutputChoice) -> None:
    """Transcribe the microphone until Ctrl-C. A terminal shows the newest words and the level of the sound.

    Ctrl-C ends the recording and waits for the words that were spoken until then; a second one leaves.
    """
    device_of_job = int(device) if device is not None and device.isdecimal() else device
    context.exit(run(_run(_Job(device=device_of_job, choice=choice, output=output))))


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
    (output,) = outputs_for([Input.of_microphone()], job.output, StandardOutput(screen.above_the_rows))
    transcription = Transcription(job.output.writer(screen, "microphone", job.choice.live_languages))
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
