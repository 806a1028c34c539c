"""The live display on standard error: the current interim, and the progress in the audio.

A display also writes the text of the transcript, since both may share one terminal. Knows results only as text.
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
    "crop_start",
    "display_for",
    "progress_for",
]

_PROGRESS_FROM_MS = 10_000
"""The length of audio from which a progress bar is shown; shorter audio ends before a bar is of use."""

_TICK_SECONDS = 0.1


class Display(Protocol):
    """A display of a growing transcript, active inside `with`."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def show(self, text: str, interim: str) -> None:
        """Write the new text of the transcript, and show the interim of the current segment."""
        ...


class Progress:
    """The position of a session in the audio, as a progress bar with times."""

    def __init__(self, duration_ms: int, position_ms: Callable[[], int | None]) -> None:
        self._duration_ms = duration_ms
        self._position_ms = position_ms
        self._started_at = time.monotonic()

    def __rich__(self) -> Table:
        position_ms = min(self._position_ms() or 0, self._duration_ms)
        elapsed_ms = int((time.monotonic() - self._started_at) * 1000)
        times = f"{_minutes(position_ms)} / {_minutes(self._duration_ms)} · {_minutes(elapsed_ms)} elapsed"
        row = Table.grid(padding=(0, 1))
        row.add_row(ProgressBar(self._duration_ms, position_ms, width=40), Text(times, no_wrap=True))
        return row


class SilentDisplay:
    """A display that shows nothing but the transcript."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None

    def show(self, text: str, interim: str) -> None:  # noqa: ARG002 - the signature of `Display`
        """Write the new text of the transcript."""
        self._output.write(text)


class LineDisplay(SilentDisplay):
    """A display that prints each interim on a line of its own, for a log or a pipe."""

    def show(self, text: str, interim: str) -> None:
        """Write the new text, and print the interim."""
        self._output.write(text)
        if interim:
            click.echo(f"… {interim}", err=True)


class TerminalDisplay:
    """A display that rewrites the newest interim in place, with the progress bar below it.

    The interim is erased before new text of the transcript is written and drawn again after it, so that both may share
    one terminal. At the end, an interim that no final replaced stays visible: it was recognised, but not confirmed.
    """

    def __init__(self, output: Output, progress: Progress | None = None) -> None:
        self._output = output
        self._progress = progress
        # Forced, since rich would let the environment (FORCE_COLOR, TTY_COMPATIBLE) decide.
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
        """Write the new text above the interim."""
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
            line = crop_start(f"… {self._interim}", self._console.width - 1)
            rows.append(Text(line, style="dim", no_wrap=True))
        if self._progress is not None:
            rows.append(self._progress)
        with self._console:  # a single write to the terminal, so that it does not flicker
            self._erase()
            if rows:
                self._area.set_renderable(Group(*rows))
                self._console.print(self._area, end="")

    def _erase(self) -> None:
        self._console.control(self._area.position_cursor())
        self._area = LiveRender("")


def display_for(output: Output, progress: Progress | None, *, lines: bool) -> Display:
    """Return the display that suits standard error.

    Args:
        output: the output of the transcript.
        progress: the progress bar on a terminal; None shows none.
        lines: True prints each interim on a line of its own if standard error is not a terminal.
    """
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return TerminalDisplay(output, progress)
    return LineDisplay(output) if lines else SilentDisplay(output)


def progress_for(duration_ms: int | None, position_ms: Callable[[], int | None]) -> Progress | None:
    """Return a progress bar for long audio of known length, otherwise None."""
    if duration_ms is None or duration_ms <= _PROGRESS_FROM_MS:
        return None
    return Progress(duration_ms, position_ms)


def crop_start(text: str, width: int) -> str:
    """Shorten a line to a width in terminal cells from the left, so that the newest words stay visible."""
    if cell_len(text) <= width:
        return text
    reversed_end = set_cell_size(text[::-1], max(0, width - 2))
    return f"… {reversed_end[::-1].lstrip()}"


def _minutes(time_ms: int) -> str:
    return f"{time_ms // 60_000}:{time_ms // 1000 % 60:02}"
