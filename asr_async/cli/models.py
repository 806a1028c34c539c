"""`asr-async models`: what each model can do, as a table for people or as JSON for programs."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING

import click
import msgspec
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from .. import models as all_models
from ..vendors import vendors
from .outputs import StandardOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType

    from ..vendors import ModelInfo

__all__ = ["models"]

_UNLIMITED_WIDTH = 10_000
"""In a pipe, where one model is one line."""

_INDENT = " "
"""Before the columns of a model whose name stands above them."""

_LEGEND = (
    "+N: so many more, all of them with --format jsonl. Cut by: what ends a sentence. Limits: the longest audio, "
    "sessions begun in a second, list price of an hour of audio in mainland China without translation. "
    "What is empty is not there or not known."
)


@click.command()
@click.option("--vendor", type=click.Choice(list(vendors())), help="The models of this vendor only. [default: all]")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["text", "jsonl"]),
    default="text",
    show_default=True,
    help="text is a table; jsonl holds everything that is known, one model a line.",
)
def models(*, vendor: str | None, format_name: str) -> None:
    """List the vendors' models and what each of them can do.

    All of it is from the vendors' documents, which are named below the table.
    """
    rows = [row for row in all_models() if vendor in {None, row.vendor}]
    StandardOutput().write(_json_lines(rows) if format_name == "jsonl" else _page(rows))


def _json_lines(rows: Sequence[ModelInfo]) -> str:
    return "".join(f"{msgspec.json.encode(row).decode()}\n" for row in rows)


def _page(rows: Sequence[ModelInfo]) -> str:
    """The table with its notes, as wide as the terminal."""
    is_terminal = sys.stdout.isatty()
    console = Console(
        # Forced, since the environment (FORCE_COLOR, TTY_COMPATIBLE) may tell rich another story.
        force_terminal=is_terminal,
        width=None if is_terminal else _UNLIMITED_WIDTH,
        markup=False,
        emoji=False,
        highlight=False,
    )
    sources = list(dict.fromkeys(row.source for row in rows))
    with console.capture() as captured:
        console.print(Group(_table(rows, sources, console.width), "", _LEGEND, "", _notes(sources)))
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def _table(rows: Sequence[ModelInfo], sources: Sequence[str], width: int) -> RenderableType:
    headings = [*_COLUMNS, ""]
    lines = [[*(show(row) for show in _COLUMNS.values()), str(sources.index(row.source) + 1)] for row in rows]
    layout = _Layout([headings, *lines], width)
    parts = [layout.line(headings, "bold")]
    for vendor, group in itertools.groupby(zip(rows, lines, strict=True), key=lambda pair: pair[0].vendor):
        parts += ["", Text(vendor, "bold"), *(layout.line(cells) for _, cells in group)]
    return Group(*parts)


class _Layout:
    """Columns that wrap between words; what is first in a line stands above the rest where a terminal is too narrow."""

    def __init__(self, lines: Sequence[Sequence[str]], width: int) -> None:
        columns = list(zip(*lines, strict=True))
        self._stacks = sum(map(_longest_word, columns)) + len(columns) - 1 > width
        if self._stacks:
            columns[0] = (_INDENT,)
        self._widths = _column_widths(columns, width)

    def line(self, cells: Sequence[str], style: str = "") -> RenderableType:
        """One line, or what has become of it."""
        if self._stacks:
            return Group(Text(cells[0], style), self._columns([_INDENT, *cells[1:]], style))
        return self._columns(cells, style)

    def _columns(self, cells: Sequence[str], style: str) -> Table:
        columns = Table.grid(padding=(0, 1))
        for width in self._widths:
            columns.add_column(width=width, overflow="fold")
        columns.add_row(*cells, style=style)
        return columns


def _column_widths(columns: Sequence[Sequence[str]], width: int) -> list[int]:
    """What the longest words need; what is left goes, from the left, to the columns that would have to wrap."""
    widths = [_longest_word(column) for column in columns]
    room = max(0, width - sum(widths) - (len(columns) - 1))
    for number, column in enumerate(columns):
        more = min(room, max(map(len, column)) - widths[number])
        widths[number] += more
        room -= more
    return widths


def _longest_word(cells: Sequence[str]) -> int:
    return max(len(word) for cell in cells for word in [*cell.split(), ""])


def _notes(sources: Sequence[str]) -> RenderableType:
    notes = Table.grid(padding=(0, 1))
    for number, source in enumerate(sources, 1):
        notes.add_row(str(number), source)
    return notes


def _rates(row: ModelInfo) -> str:
    if row.sample_rates is not None:
        return " ".join(_kilohertz(rate) for rate in row.sample_rates)
    return "any" if row.min_sample_rate is None else f"≥{_kilohertz(row.min_sample_rate)}"


def _kilohertz(rate: int) -> str:
    return f"{rate / 1000:g}"


def _features(row: ModelInfo) -> str:
    into = f"into {' '.join(row.translation)}"
    features = {"emotion": row.emotion, "context": row.context, into: row.translation}
    return ", ".join(name for name, has_it in features.items() if has_it)


def _limits(row: ModelInfo) -> str:
    limits = []
    if row.max_audio_s is not None:
        limits.append(_length(row.max_audio_s))
    if row.starts_per_second is not None:
        limits.append(f"{row.starts_per_second}/s")
    if row.yuan_per_second is not None:
        limits.append(f"¥{row.yuan_per_second * 3_600:.2f}/h")
    return ", ".join(limits)


def _length(seconds: int) -> str:
    hours, rest = divmod(seconds, 3_600)
    return f"{seconds} s" if rest else f"{hours} h"


def _first(names: Sequence[str], count: int) -> str:
    """The first names and how many there are beside; a last one is named, since its number is no shorter."""
    if len(names) <= count + 1:
        return " ".join(names)
    return f"{' '.join(names[:count])} +{len(names) - count}"


_COLUMNS: dict[str, Callable[[ModelInfo], str]] = {
    "Model": lambda row: row.model,
    "kHz": _rates,
    "Languages": lambda row: _first(row.languages, 3),
    "Formats": lambda row: _first(row.formats, 2),
    "Hot words": lambda row: " ".join(row.hot_words),
    "Cut by": lambda row: ", ".join(row.segmentation),
    "Also": _features,
    "Limits": _limits,
}
"""Heading → what stands under it. With the number of the source the longest words fit into 100 columns."""
