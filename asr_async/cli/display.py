"""The screen: standard error, with lines below that are rewritten if it is a terminal.

The text of a transcript is written through a screen too, since both may share one terminal. Knows results only as text.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
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

from .._text.lines import one_line
from .exit_status import error_line
from .transcript_formats import wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import RenderableType

    from .outputs import Output

__all__ = [
    "FileDisplay",
    "FileRow",
    "InterimRow",
    "LogHandler",
    "MicrophoneRow",
    "Row",
    "Screen",
    "TotalRow",
    "clock",
    "crop_start",
    "row_of",
]

_BAR_FROM_MS = 10_000
"""The length of audio from which a single file has a progress bar; shorter audio ends before a bar is of use."""

_TICK_SECONDS = 0.1

_LEVEL_RANGE_DB = 60.0
"""The level at which the meter begins, below the loudest sound; speech is at -40 to -10 dB."""

_LEVEL_DECAY = 0.85

_LONGEST_CUT_WORD = 15

_NARROW = 60
"""A narrower terminal has shorter bars and no elapsed time."""


class Row(Protocol):
    """A part of the lines that are rewritten."""

    def lines(self, width: int) -> list[RenderableType]:
        """Return the lines at present, none of them wider than the terminal."""
        ...


class Screen:
    """Standard error: lines that stay, and on a terminal the rows below them, which are rewritten in place.

    The rows are erased before anything else is written and drawn again after it. Active inside `with`.

    Args:
        is_quiet: True writes only errors.
    """

    def __init__(self, *, is_quiet: bool = False) -> None:
        is_terminal = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.is_live: bool = is_terminal and not is_quiet
        """True if the rows are shown."""
        self._is_quiet = is_quiet
        # Forced, since rich would let the environment (FORCE_COLOR, TTY_COMPATIBLE) decide.
        self._console = Console(stderr=True, force_terminal=True, highlight=False) if self.is_live else None
        self._area = LiveRender("")
        self._rows: list[Row] = []
        self._tick_handle: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._rows.clear()
        self._stop_ticks()
        self._erase()

    @property
    def width(self) -> int:
        """The number of columns that a row may have."""
        return 80 if self._console is None else self._console.width - 1

    def add(self, row: Row) -> None:
        """Show a row, above the one that was added first; all are redrawn ten times a second."""
        if self._console is not None:
            self._rows.insert(max(0, len(self._rows) - 1), row)
            if self._tick_handle is None:
                self._tick()

    def remove(self, row: Row) -> None:
        """Remove a row."""
        if row in self._rows:
            self._rows.remove(row)
            if not self._rows:
                self._stop_ticks()
            self.draw()

    def error(self, message: str, subject: str | None = None) -> None:
        """Write an error or a warning: the program, the subject if there is one, the message."""
        self._echo(error_line(message, subject))

    def info(self, line: str) -> None:
        """Write a line, unless the screen is quiet."""
        if not self._is_quiet:
            self._echo(line if self._console is None else "\n".join(wrapped(line, self._console.width)))

    @contextlib.contextmanager
    def above_the_rows(self) -> Iterator[None]:
        """Make room for lines that are written to a terminal from elsewhere."""
        self._erase()
        yield
        self.draw()

    def keep(self, line: str) -> None:
        """Leave a line of a row on the terminal for good."""
        if self._console is not None:
            with self.above_the_rows():
                self._console.print(Text(line, style="dim"), soft_wrap=True)

    def draw(self) -> None:
        """Draw the rows as they are now."""
        if self._console is None:
            return
        lines = [line for row in self._rows for line in row.lines(self.width)]
        hidden = len(lines) - max(1, self._console.height - 2)
        if hidden > 0:  # what does not fit could not be erased again
            lines = lines[hidden:]
        with self._console:  # a single write to the terminal, so that it does not flicker
            self._erase()
            if lines:
                self._area.set_renderable(Group(*lines))
                self._console.print(self._area, end="")

    def _echo(self, line: str) -> None:
        with self.above_the_rows():
            click.echo(line, err=True)

    def _tick(self) -> None:
        self.draw()
        self._tick_handle = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)

    def _stop_ticks(self) -> None:
        if self._tick_handle is not None:
            self._tick_handle.cancel()
            self._tick_handle = None

    def _erase(self) -> None:
        if self._console is not None:
            self._console.control(self._area.position_cursor())
            self._area = LiveRender("")


class LogHandler(logging.Handler):
    """A handler that writes the log of the library through a screen."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record on one line."""
        self._screen.error(one_line(record.getMessage()), record.levelname.lower())


# --- rows -------------------------------------------------------------------------------------------------------------


class Position:
    """The position of a session in the audio; its length is None if it is not known."""

    def __init__(self, duration_ms: int | None, position_ms: Callable[[], int | None]) -> None:
        self._duration_ms = duration_ms
        self._position_ms = position_ms
        self._started_at = time.monotonic()

    @property
    def duration_ms(self) -> int | None:
        """The length of the audio."""
        return self._duration_ms

    @property
    def position_ms(self) -> int:
        """The audio that was sent, at most all of it."""
        position_ms = self._position_ms() or 0
        return position_ms if self._duration_ms is None else min(position_ms, self._duration_ms)

    @property
    def times(self) -> str:
        """The position and the length."""
        whole = "" if self._duration_ms is None else f" / {clock(self._duration_ms)}"
        return f"{clock(self.position_ms)}{whole}"

    @property
    def elapsed(self) -> str:
        """The time since the session began."""
        return f"{clock(int((time.monotonic() - self._started_at) * 1000))} elapsed"

    def bar(self, width: int) -> ProgressBar:
        """Return the position as a bar."""
        sent_ms = self.position_ms if self._duration_ms else 0
        bar = ProgressBar(self._duration_ms or 1, sent_ms, width=width)
        bar.style, bar.complete_style, bar.finished_style = "bright_black", "cyan", "green"
        return bar


class InterimRow:
    """The rows of a single source: the newest interim, and a progress bar if the audio is long."""

    def __init__(self, position: Position) -> None:
        self._position = position
        self.interim: str = ""

    def lines(self, width: int) -> list[RenderableType]:
        """Return the interim, and the bar with its times."""
        lines: list[RenderableType] = []
        if self.interim:
            lines.append(Text(crop_start(f"… {self.interim}", width), style="dim", no_wrap=True))
        duration_ms = self._position.duration_ms
        if duration_ms is not None and duration_ms > _BAR_FROM_MS:
            times = self._position.times
            if width < _NARROW:
                lines.append(row_of(self._position.bar(max(4, width - len(times) - 1)), Text(times)))
            else:
                lines.append(row_of(self._position.bar(40), Text(f"{times} · {self._position.elapsed}")))
        return lines


class MicrophoneRow(InterimRow):
    """The rows of a microphone: the newest words on two lines, and the level of the sound."""

    def __init__(self, position: Position, level: Callable[[], float]) -> None:
        super().__init__(position)
        self._level = level
        # falls slowly, so that a short peak can be seen
        self._shown_level = 0.0

    def lines(self, width: int) -> list[RenderableType]:
        """Return the lines of the newest interim, and the level with the length of the recording."""
        words = list(Text(self.interim, style="dim").wrap(Console(), width))
        self._shown_level = max(self._level(), self._shown_level * _LEVEL_DECAY)
        bar = ProgressBar(_LEVEL_RANGE_DB, max(0.0, _LEVEL_RANGE_DB + decibels(self._shown_level)))
        bar.width = max(4, min(40, width - 20))
        bar.style, bar.complete_style, bar.finished_style = "bright_black", "green", "red"
        level = f"{decibels(self._shown_level):4.0f} dB" if self._shown_level else "silent"
        return [*words[-2:], row_of(Text("●", "red"), Text(self._position.times), bar, Text(level))]


class FileRow:
    """The row of one of several sources: its name, its progress and the end of its newest interim."""

    def __init__(self, name: str, position: Position) -> None:
        self._name = name
        self._position = position
        self.interim: str = ""

    def lines(self, width: int) -> list[RenderableType]:
        """Return one line."""
        is_narrow = width < _NARROW
        name_width = min(15, width - 8 - cell_len(self._position.times) - 3) if is_narrow else width // 4
        name = Text(set_cell_size(crop_start(self._name, name_width), name_width), no_wrap=True)
        times = self._position.times
        bar_width = 8 if is_narrow else 20
        rest = width - name_width - bar_width - cell_len(times) - 3
        interim = Text(crop_start(self.interim, rest) if rest > 8 else "", style="dim", no_wrap=True)
        return [row_of(name, self._position.bar(bar_width), Text(times), interim)]


class TotalRow:
    """The row below those of several sources: how many are done, and how much of their audio."""

    def __init__(self, count: int, duration_ms: int | None) -> None:
        self._count = count
        self._duration_ms = duration_ms
        self._started_at = time.monotonic()
        self.done: int = 0
        self.failed: int = 0
        self.done_ms: int = 0
        self.running: list[Position] = []

    def lines(self, width: int) -> list[RenderableType]:
        """Return one line."""
        position_ms = self.done_ms + sum(position.position_ms for position in self.running)
        whole = "" if self._duration_ms is None else f" / {clock(self._duration_ms)}"
        parts = [f"{self.done} of {self._count} files", f"{clock(position_ms)}{whole}"]
        if self.failed:
            parts.insert(1, f"{self.failed} failed")
        parts.append(f"{clock(int((time.monotonic() - self._started_at) * 1000))} elapsed")
        while len(parts) > 1 and len(" · ".join(parts)) > width:
            parts.pop()
        return [Text(" · ".join(parts), style="bold", no_wrap=True)]


def row_of(*cells: RenderableType) -> Table:
    """Return cells side by side as one line."""
    row = Table.grid(padding=(0, 1))
    row.add_row(*cells)
    return row


def decibels(level: float) -> float:
    """Return a level from 0 to 1 in dB below the loudest; silence is -96."""
    return 20 * math.log10(max(level, 1 / 65_536))


class FileDisplay:
    """The display of one growing transcript, active inside `with`: its row on the screen, and its output.

    At the end, an interim that no final replaced stays on a terminal: it was recognised, but not confirmed.
    """

    def __init__(self, screen: Screen, output: Output, row: InterimRow | FileRow) -> None:
        self._screen = screen
        self._output = output
        self._row = row

    def __enter__(self) -> Self:
        self._screen.add(self._row)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._screen.remove(self._row)
        if self._row.interim and isinstance(self._row, InterimRow):
            self._screen.keep(f"… {self._row.interim}")

    def show(self, text: str, interim: str) -> None:
        """Write the new text of the transcript, and show the interim of the current segment."""
        self._row.interim = interim
        self._output.write(text)
        if isinstance(self._row, InterimRow):  # those of several files wait for the next tick
            self._screen.draw()

    def close(self, footer: str) -> None:
        """Write the end of the transcript; the interim stays as it is."""
        self.show(footer, self._row.interim)


def crop_start(text: str, width: int) -> str:
    """Shorten a line to a width in terminal cells from the left, so that the newest words stay visible."""
    if cell_len(text) <= width:
        return text
    reversed_end = set_cell_size(text[::-1], max(0, width - 2))
    end = reversed_end[::-1].lstrip()
    # Not in the middle of a word, unless it is as long as only a name, a path or Chinese is.
    word, _, rest = end.partition(" ")
    is_cut = not text[: -len(end)].endswith(" ")
    return f"… {rest if is_cut and rest and cell_len(word) <= _LONGEST_CUT_WORD else end}"


def clock(time_ms: int) -> str:
    """Format a time as minutes and seconds, and as hours from one hour on."""
    seconds = time_ms // 1000
    if seconds >= 3600:
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{seconds // 60}:{seconds % 60:02}"
