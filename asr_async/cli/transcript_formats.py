"""The formats of a transcript on the command line: text, JSON lines, one JSON object, SubRip and WebVTT.

A writer formats the results of one source: call `header()` once, `interim()` or `final()` for each result and `gap()`
for each gap, in order, and `footer()` once. It returns an empty text if the format has nothing for one. Does not know
files or terminals.
"""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol

import click
import msgspec
from rich.console import Console
from rich.text import Text as RichText

from .._text.lines import one_line
from ..results import Gap, Result, join_texts, texts_of
from ..subtitles import LiveCaptions

if TYPE_CHECKING:
    from ..subtitles import Languages, SubtitleFormat

__all__ = [
    "EXTENSIONS",
    "Json",
    "JsonLines",
    "Subtitles",
    "Text",
    "Writer",
    "check_format",
    "clock_tenths",
    "format_of_output",
    "wrapped",
    "writer_for",
]

EXTENSIONS = {"text": "txt", "jsonl": "jsonl", "json": "json", "srt": "srt", "vtt": "vtt"}
"""Name of a format → extension of its files."""

_JSON_FIELDS = tuple(name for name in Result.__struct_fields__ if name != "raw")


class Writer(Protocol):
    """A formatter of the results of one source."""

    def header(self) -> str:
        """Return the text before the first result."""
        ...

    def interim(self, result: Result) -> str:
        """Return the text of an interim result."""
        ...

    def final(self, result: Result) -> str:
        """Return the text of a final result."""
        ...

    def gap(self, gap: Gap) -> str:
        """Return the text of a gap."""
        ...

    def footer(self) -> str:
        """Return the text behind the last result."""
        ...


def format_of_output(path: str | None) -> str:
    """Return the format that the name of an output stands for: text for other names, folders and standard output."""
    suffix = PurePath(path or "").suffix.lower().removeprefix(".")
    is_folder = path is not None and path.endswith(("/", os.sep))
    return "text" if is_folder else next((name for name, end in EXTENSIONS.items() if end == suffix), "text")


def check_format(name: str) -> None:
    """Refuse a format whose library is missing, before anything is recognised.

    Raises:
        click.UsageError: the text says how to install it.
    """
    try:
        writer_for(name, source="").header()
    except ModuleNotFoundError as error:
        raise click.UsageError(str(error)) from None


def writer_for(
    name: str,
    *,
    source: str,
    times: bool = False,
    heading: bool = False,
    width: int | None = None,
    languages: Languages = "both",
) -> Writer:
    """Return a writer of a format of `EXTENSIONS`.

    Args:
        name: the name of the format.
        source: the name of the source, for formats that include it.
        times: True if lines of plain text begin with their times.
        heading: True if plain text begins with the name of the source.
        width: the columns of a terminal, into which plain text is broken between words.
        languages: `"original"` writes subtitles without translations, but as early as possible, see `LiveCaptions`.
    """
    match name:
        case "text":
            return Text(times=times, heading=source if heading else "", width=width)
        case "jsonl":
            return JsonLines(source)
        case "json":
            return Json(source)
        case "srt":
            return Subtitles("srt", languages)
        case "vtt":
            return Subtitles("vtt", languages)
    raise ValueError(name)


class _Plain:
    """The base of formats without a header, interims, gaps and a footer."""

    def header(self) -> str:
        """Return an empty text."""
        return ""

    def interim(self, result: Result) -> str:  # noqa: ARG002 - the signature of `Writer`
        """Return an empty text."""
        return ""

    def gap(self, gap: Gap) -> str:  # noqa: ARG002 - the signature of `Writer`
        """Return an empty text."""
        return ""

    def footer(self) -> str:
        """Return an empty text."""
        return ""


class Text(_Plain):
    """Plain text: one line for each final, with its times if requested, and one for each of its translations."""

    def __init__(self, *, times: bool, heading: str = "", width: int | None = None) -> None:
        self._times = times
        self._heading = heading
        self._width = width

    def header(self) -> str:
        """Return the heading on a line of its own."""
        return f"{self._heading}:\n" if self._heading else ""

    def final(self, result: Result) -> str:
        """Return the lines; empty for a final without text."""
        times = f"[{clock_tenths(result.start_ms)} → {clock_tenths(result.end_ms)}] " if self._times else ""
        lines = [f"{times}{line}" for line in map(one_line, texts_of(result, "both")) if line]
        if self._width is not None:
            lines = [part for line in lines for part in wrapped(line, self._width)]
        return "".join(f"{line}\n" for line in lines)


class JsonLines(_Plain):
    """JSON lines: one object for each result, with the name of the source and the fields of `Result` except `raw`.

    A gap is an object with the name of the source and the member `gap`, which has the fields of `Gap`.
    """

    def __init__(self, source: str) -> None:
        self._source = source

    def interim(self, result: Result) -> str:
        """Return one line."""
        return self._line(result)

    def final(self, result: Result) -> str:
        """Return one line."""
        return self._line(result)

    def gap(self, gap: Gap) -> str:
        """Return one line."""
        return _json_line({"file": self._source, "gap": msgspec.structs.asdict(gap)})

    def _line(self, result: Result) -> str:
        return _json_line({"file": self._source, **_json_members(result)})


class Json(_Plain):
    """One JSON object, written at the end: the source, its text, the finals in the order of the audio, the gaps."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._finals: list[Result] = []
        self._gaps: list[Gap] = []

    def final(self, result: Result) -> str:
        """Keep the final."""
        self._finals.append(result)
        return ""

    def gap(self, gap: Gap) -> str:
        """Keep the gap."""
        self._gaps.append(gap)
        return ""

    def footer(self) -> str:
        """Return the object, on one line."""
        finals = sorted(self._finals, key=lambda final: final.start_ms)
        return _json_line(
            {
                "file": self._source,
                "text": join_texts([final.text for final in finals]),
                "results": [_json_members(final) for final in finals],
                "gaps": [msgspec.structs.asdict(gap) for gap in self._gaps],
            }
        )


class Subtitles(_Plain):
    """SubRip (.srt) or WebVTT (.vtt) subtitles, with the translation below the text where there is one."""

    def __init__(self, subtitle_format: SubtitleFormat, languages: Languages = "both") -> None:
        self._captions = LiveCaptions(subtitle_format, languages=languages)

    def header(self) -> str:
        """Return the signature of the format, if it has one."""
        return self._captions.header

    def interim(self, result: Result) -> str:
        """Return the cues that the interim completes."""
        return self._captions.add(result)

    def final(self, result: Result) -> str:
        """Return the cues of a final; empty for a final without text."""
        return self._captions.add(result)


def wrapped(line: str, width: int) -> list[str]:
    """Break a line between words, and Chinese between characters."""
    return [part.plain.rstrip() for part in RichText(line).wrap(Console(), width)]


def _json_members(result: Result) -> dict[str, Any]:
    return {name: getattr(result, name) for name in _JSON_FIELDS}


def _json_line(members: dict[str, object]) -> str:
    return msgspec.json.encode(members).decode() + "\n"


def clock_tenths(time_ms: int) -> str:
    """Format a time as `mm:ss.t`, and as `h:mm:ss.t` from one hour on."""
    seconds, tenths = divmod(time_ms // 100, 10)
    hours = f"{seconds // 3600}:" if seconds >= 3600 else ""
    return f"{hours}{seconds // 60 % 60:02}:{seconds % 60:02}.{tenths}"
