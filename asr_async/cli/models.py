"""`asr-async models`: the models and their capabilities, as a table or as JSON.

Does not know the capabilities: they are in the catalogues of the vendors.
"""

from __future__ import annotations

import itertools
import string
import sys
from typing import TYPE_CHECKING

import click
import msgspec
from rich.console import Console, Group
from rich.padding import Padding
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
"""The width of the table in a pipe, where each model is one line."""

_INDENT = " "
"""The indentation of the columns below the name of a model, on a narrow terminal."""

_LONGEST_NAME = 36
"""A longer name is on a line above its columns where it would leave the others too little room."""

_MARKS = string.digits[1:] + string.ascii_lowercase

_LEGEND = (
    "+N: N more, which --format jsonl lists. Split by: what ends a sentence. Limits: longest audio, session starts per "
    "second, list price per hour of audio in mainland China without translation. "
    "Empty: not supported, or not documented."
)


@click.command()
@click.option(
    "--vendor", type=click.Choice(list(vendors())), help="List only the models of this vendor. [default: all]"
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["text", "jsonl"]),
    default="text",
    show_default=True,
    help="text is a table; jsonl has every detail, one model per line.",
)
def models(*, vendor: str | None, format_name: str) -> None:
    """List the models of all vendors and their capabilities.

    The source is the vendors' documentation, which is listed below the table.
    """
    rows = [row for row in all_models() if vendor in {None, row.vendor}]
    StandardOutput().write(_json_lines(rows) if format_name == "jsonl" else _page(rows))


def _json_lines(rows: Sequence[ModelInfo]) -> str:
    return "".join(f"{msgspec.json.encode(row).decode()}\n" for row in rows)


def _page(rows: Sequence[ModelInfo]) -> str:
    """Return the table and its notes, as wide as the terminal."""
    is_terminal = sys.stdout.isatty()
    console = Console(
        # Forced, since rich would let the environment (FORCE_COLOR, TTY_COMPATIBLE) decide.
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
    lines = [[*(show(row) for show in _COLUMNS.values()), _mark(sources.index(row.source))] for row in rows]
    layout = _Layout(headings, lines, width)
    parts = [] if layout.is_list else [layout.line(headings, "bold")]
    for vendor, group in itertools.groupby(zip(rows, lines, strict=True), key=lambda pair: pair[0].vendor):
        parts += [*([""] if parts else []), Text(vendor, "bold"), *(layout.line(cells) for _, cells in group)]
    return Group(*parts)


class _Layout:
    """Columns that wrap between words; on a narrow terminal each first cell is on a line above the others.

    Where the longest words do not fit into columns, the others are a list, each behind its heading.
    """

    def __init__(self, headings: Sequence[str], lines: Sequence[Sequence[str]], width: int) -> None:
        columns = list(zip(headings, *lines, strict=True))
        self._headings = headings
        if _least_width(columns) > width:
            columns[0] = tuple(cell for cell in columns[0] if len(cell) <= _LONGEST_NAME)
        if _least_width(columns) > width:
            columns[0] = (_INDENT,)
        self._longest_name = max(map(len, columns[0]))
        self.is_list: bool = _least_width(columns) > width
        """True if the headings are in each row."""
        self._widths = _column_widths(columns, width)

    def line(self, cells: Sequence[str], style: str = "") -> RenderableType:
        """Return one row, which may span several lines."""
        if self.is_list:
            return Group(Text(cells[0], "bold"), Padding(self._list(cells), (0, 0, 0, len(_INDENT))))
        if len(cells[0]) > self._longest_name:
            return Group(Text(cells[0], style), self._columns([_INDENT, *cells[1:]], style))
        return self._columns(cells, style)

    def _list(self, cells: Sequence[str]) -> Text:
        pairs = zip(self._headings[1:], cells[1:], strict=True)
        parts = [Text.assemble((heading, "dim"), " " if heading else "", cell) for heading, cell in pairs if cell]
        return Text(" · ").join(parts)

    def _columns(self, cells: Sequence[str], style: str) -> Table:
        columns = Table.grid(padding=(0, 1))
        for width in self._widths:
            columns.add_column(width=width, overflow="fold")
        columns.add_row(*cells, style=style)
        return columns


def _column_widths(columns: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return widths that fit the longest words; the free width goes to columns that would wrap, from the left."""
    widths = [_longest_word(column) for column in columns]
    free = max(0, width - _least_width(columns))
    for number, column in enumerate(columns):
        more = min(free, max(map(len, column)) - widths[number])
        widths[number] += more
        free -= more
    return widths


def _least_width(columns: Sequence[Sequence[str]]) -> int:
    """Return the width of the longest words, with a blank between columns."""
    return sum(map(_longest_word, columns)) + len(columns) - 1


def _longest_word(cells: Sequence[str]) -> int:
    return max(len(word) for cell in cells for word in [*cell.split(), ""])


def _notes(sources: Sequence[str]) -> RenderableType:
    notes = Table.grid(padding=(0, 1))
    for number, source in enumerate(sources):
        notes.add_row(_mark(number), source)
    return notes


def _mark(number: int) -> str:
    """Return the mark of a note, one character if possible: the table has no room for more on a usual terminal."""
    return _MARKS[number] if number < len(_MARKS) else str(number + 1)


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


def _abbreviate(names: Sequence[str], count: int) -> str:
    """Join the first names and add the number of the others; a single other name is no longer than its number."""
    if len(names) <= count + 1:
        return " ".join(names)
    return f"{' '.join(names[:count])} +{len(names) - count}"


_COLUMNS: dict[str, Callable[[ModelInfo], str]] = {
    "Model": lambda row: row.model,
    "kHz": _rates,
    "Language": lambda row: _abbreviate(row.languages, 3),
    "Formats": lambda row: _abbreviate(row.formats, 2),
    "Hot words": lambda row: " ".join(row.hot_words),
    "Split by": lambda row: ", ".join(row.segmentation),
    "Features": _features,
    "Limits": _limits,
}
"""Heading → the cell of a model. With the number of the source, the longest words fit into 100 columns."""
