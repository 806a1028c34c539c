"""What the user sees while a transcript grows: on standard error, beside the transcript itself.

A display writes the transcript's text to its output and shows the interim below it. It knows results as text
only.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING, Protocol, Self

import click
from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group
from rich.live_render import LiveRender
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable

    from .outputs import Output

__all__ = [
    "Display",
    "LineDisplay",
    "Progress",
    "SilentDisplay",
    "TerminalDisplay",
    "display_for",
    "end_of_line",
    "progress_for",
]

_LONG_MS = 10_000
"""From this length on a bar says something that the eye does not."""

_TICK_SECONDS = 0.1


class Display(Protocol):
    """Shows a growing transcript while it is entered."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def show(self, text: str, interim: str) -> None:
        """Write what is new in the transcript, and show what the running segment sounds like by now."""
        ...


class Progress:
    """How far into the audio a session is, as a bar with figures."""

    def __init__(self, duration_ms: int, position_ms: Callable[[], int | None]) -> None:
        self._duration_ms = duration_ms
        self._position_ms = position_ms
        self._started_at = time.monotonic()

    def __rich__(self) -> Table:
        position_ms = min(self._position_ms() or 0, self._duration_ms)
        elapsed_ms = int((time.monotonic() - self._started_at) * 1000)
        figures = f"{_minutes(position_ms)} / {_minutes(self._duration_ms)} · {_minutes(elapsed_ms)} elapsed"
        row = Table.grid(padding=(0, 1))
        row.add_row(ProgressBar(self._duration_ms, position_ms, width=40), Text(figures, no_wrap=True))
        return row


class SilentDisplay:
    """Shows nothing beside the transcript."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None

    def show(self, text: str, interim: str) -> None:  # noqa: ARG002 - the displays' common face
        """Write what is new."""
        self._output.write(text)


class LineDisplay(SilentDisplay):
    """Interims as lines of their own, for a log or a pipe."""

    def show(self, text: str, interim: str) -> None:
        """Write what is new, and a line for the interim."""
        self._output.write(text)
        if interim:
            click.echo(f"… {interim}", err=True)


class TerminalDisplay:
    """The newest interim in one line that is rewritten in place, with the progress under it.

    The line is taken away before the transcript goes on and drawn again after it, so that both may share one
    terminal. At the end an interim that no final replaced is left standing: it was heard, but not confirmed.
    """

    def __init__(self, output: Output, progress: Progress | None = None) -> None:
        self._output = output
        self._progress = progress
        # Forced, since the environment (FORCE_COLOR, TTY_COMPATIBLE) may tell rich another story.
        self._console = Console(stderr=True, force_terminal=True, highlight=False)
        self._area = LiveRender("")
        self._interim = ""
        self._tick_handle: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._tick()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._tick_handle is not None:
            self._tick_handle.cancel()
        self._erase()
        if self._interim:
            self._console.print(Text(f"… {self._interim}", style="dim"), soft_wrap=True)

    def show(self, text: str, interim: str) -> None:
        """Write what is new above the interim."""
        self._interim = interim
        if text:
            self._erase()
            self._output.write(text)
        self._draw()

    def _tick(self) -> None:
        self._draw()
        self._tick_handle = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)

    def _draw(self) -> None:
        rows: list[Text | Progress] = []
        if self._interim:
            line = end_of_line(f"… {self._interim}", self._console.width - 1)
            rows.append(Text(line, style="dim", no_wrap=True))
        if self._progress is not None:
            rows.append(self._progress)
        with self._console:  # one write to the terminal: erased and drawn at once, nothing flickers
            self._erase()
            if rows:
                self._area.set_renderable(Group(*rows))
                self._console.print(self._area, end="")

    def _erase(self) -> None:
        self._console.control(self._area.position_cursor())
        self._area = LiveRender("")


def display_for(output: Output, progress: Progress | None, *, lines: bool) -> Display:
    """Choose by what standard error is.

    Args:
        output: where the transcript goes.
        progress: shown on a terminal.
        lines: whether interims are worth a line each where there is no terminal.
    """
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return TerminalDisplay(output, progress)
    return LineDisplay(output) if lines else SilentDisplay(output)


def progress_for(duration_ms: int | None, position_ms: Callable[[], int | None]) -> Progress | None:
    """A bar where one is of use: audio of known length that takes a while."""
    if duration_ms is None or duration_ms <= _LONG_MS:
        return None
    return Progress(duration_ms, position_ms)


def end_of_line(text: str, width: int) -> str:
    """Cut from the left to so many terminal cells: the newest words are what changes."""
    if cell_len(text) <= width:
        return text
    reversed_end = set_cell_size(text[::-1], max(0, width - 2))
    return f"… {reversed_end[::-1].lstrip()}"


def _minutes(time_ms: int) -> str:
    return f"{time_ms // 60_000}:{time_ms // 1000 % 60:02}"
