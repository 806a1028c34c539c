"""How the process ends: the exit status, and the two quiet ends, Ctrl-C and a closed pipe."""

from __future__ import annotations

import asyncio
import enum
import os
import sys
from typing import TYPE_CHECKING

import click

from ..errors import ASRError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["ExitStatus", "exit_status_of", "report", "run"]


class ExitStatus(enum.IntEnum):
    """The exit status; of several files' statuses the highest counts."""

    DONE = 0
    FAILED = 1
    WRONG_USE = 2
    INTERRUPTED = 130
    """128 + SIGINT, as shells have it."""
    PIPE_CLOSED = 141
    """128 + SIGPIPE: the reader of the output went away, so not everything was written."""


def run(work: Coroutine[object, object, ExitStatus]) -> ExitStatus:
    """Run to the end, to Ctrl-C, or until nobody reads the output any more."""
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(work)
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return ExitStatus.PIPE_CLOSED


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where the extra `speed` is installed; None takes the standard one."""
    try:
        import uvloop  # noqa: PLC0415 - not before it is used, and not everywhere there
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def report(message: str, *, about: str | None = None) -> None:
    """Put one line on standard error, as all tools do: who, about what, what."""
    click.echo(": ".join(filter(None, ("asr-async", about, message))), err=True)


def exit_status_of(error: ASRError | OSError) -> ExitStatus:
    """Tell wrong use, where nothing was sent, from a recognition that failed."""
    return ExitStatus.WRONG_USE if isinstance(error, ConfigurationError) else ExitStatus.FAILED


def _discard_output() -> None:
    # The interpreter flushes once more at its exit and would complain about the pipe there; see the note on
    # SIGPIPE in the documentation of the standard module `signal`.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
