"""The end of the process: the exit status, error lines, and the silent ends by Ctrl-C and by a closed pipe.

Does not know commands.
"""

from __future__ import annotations

import asyncio
import enum
import os
import sys
from typing import TYPE_CHECKING, ClassVar

import click

from .._text.lines import one_line
from ..errors import ASRError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import IO, Any, TextIO

__all__ = ["ExitStatus", "WrongUse", "discard_output", "error_line", "error_text", "exit_status_of", "report", "run"]


class ExitStatus(enum.IntEnum):
    """The exit status; for several files it is the highest of theirs."""

    DONE = 0
    FAILED = 1
    """The recognition failed, or audio is missing from the transcript (a `Gap`): a script that checks the status does
    not take an incomplete transcript for a whole one."""
    WRONG_USE = 2
    INTERRUPTED = 130
    """128 + SIGINT, as shells report it."""
    PIPE_CLOSED = 141
    """128 + SIGPIPE: the reader of the output closed it, so not everything was written."""


class WrongUse(click.ClickException):
    """A call that does not fit what is there, such as a folder that does not exist; printed on one line.

    What is wrong with the words of a call is a `click.UsageError`, which is printed with the usage of the command.
    """

    exit_code: ClassVar[int] = ExitStatus.WRONG_USE

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message as an error line."""
        click.echo(error_line(self.message), file=file, err=file is None)


def run(command: Coroutine[object, object, ExitStatus]) -> ExitStatus:
    """Run a command in an event loop until it returns, until Ctrl-C, or until the reader closes the output."""
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(command)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return ExitStatus.INTERRUPTED
    except BrokenPipeError:
        discard_output(sys.stdout, sys.stderr)
        return ExitStatus.PIPE_CLOSED


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory if the extra `speed` is installed; None stands for the standard event loop."""
    try:
        import uvloop  # noqa: PLC0415 - an optional dependency
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def error_line(message: str, subject: str | None = None) -> str:
    """Return a line of standard error: the program, the subject if there is one, the message."""
    return ": ".join(filter(None, ("asr-async", subject, message)))


def report(message: str, *, subject: str | None = None) -> None:
    """Print an `error_line` on standard error."""
    click.echo(error_line(message, subject), err=True)


def error_text(error: ASRError | OSError, name: str = "") -> str:
    """Return the text of an expected error on one line, without the name of the file, which the caller adds."""
    if isinstance(error, ASRError):
        return one_line(str(error).removeprefix(f"{name} "))
    reason = error.strerror or str(error) or type(error).__name__
    return one_line(reason if error.filename is None or str(error.filename) == name else f"{error.filename}: {reason}")


def exit_status_of(error: ASRError | OSError) -> ExitStatus:
    """Return the status of an error: wrong use if nothing was sent, otherwise failed."""
    return ExitStatus.WRONG_USE if isinstance(error, ConfigurationError) else ExitStatus.FAILED


def discard_output(*streams: TextIO | None) -> None:
    """Discard what is still in the buffers of output streams, after an error of one of them.

    The interpreter flushes the streams again at exit and would print an error about the closed pipe or the full disk;
    see the note on SIGPIPE in the documentation of the standard module `signal`.
    """
    null_device = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(None, streams):
        os.dup2(null_device, stream.fileno())
