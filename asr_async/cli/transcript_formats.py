"""The four formats of a transcript on the command line: text, JSON lines, SubRip and WebVTT.

A writer formats the results of one source: call `header()` once, then `interim()` or `final()` for each result and
`gap()` for each gap, in order. It returns an empty text if the format has nothing for one. Does not know files or
terminals.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

import msgspec

from ..results import Gap, Result

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EXTENSIONS", "JsonLines", "SubRip", "Text", "WebVTT", "Writer", "clock_tenths", "one_line", "writer_for"]

EXTENSIONS = {"text": "txt", "jsonl": "jsonl", "srt": "srt", "vtt": "vtt"}
"""Name of a format → extension of its files."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
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


def writer_for(name: str, *, source: str, times: bool) -> Writer:
    """Return a writer of a format of `EXTENSIONS`.

    Args:
        name: the name of the format.
        source: the name of the source, for formats that include it.
        times: True if lines of plain text begin with their times.
    """
    writers: dict[str, Callable[[], Writer]] = {
        "text": lambda: Text(times=times),
        "jsonl": lambda: JsonLines(source),
        "srt": SubRip,
        "vtt": WebVTT,
    }
    return writers[name]()


def one_line(text: str) -> str:
    """Replace control characters, which could break a line or control a terminal, by spaces."""
    return _CONTROLS.sub(" ", text).strip()


class _FinalsOnly:
    """The base of formats without a header and without interims."""

    def header(self) -> str:
        return ""

    def interim(self, result: Result) -> str:  # noqa: ARG002 - the signature of `Writer`
        return ""

    def gap(self, gap: Gap) -> str:  # noqa: ARG002 - the signature of `Writer`
        return ""


class Text(_FinalsOnly):
    """Plain text: one line for each final, with its times if requested."""

    def __init__(self, *, times: bool) -> None:
        self._times = times

    def final(self, result: Result) -> str:
        """Return one line; empty for a final without text."""
        text = one_line(result.text)
        if not text:
            return ""
        if not self._times:
            return f"{text}\n"
        return f"[{clock_tenths(result.start_ms)} → {clock_tenths(result.end_ms)}] {text}\n"


class JsonLines:
    """JSON lines: one object for each result, with the name of the source and the fields of `Result` except `raw`.

    A gap is an object with the name of the source and the member `gap`, which has the fields of `Gap`.
    """

    def __init__(self, source: str) -> None:
        self._source = source

    def header(self) -> str:
        """Return an empty text."""
        return ""

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
        return _json_line({"file": self._source, **{name: getattr(result, name) for name in _JSON_FIELDS}})


class SubRip(_FinalsOnly):
    """SubRip subtitles (.srt): numbered cues, each with a blank line after it."""

    def __init__(self) -> None:
        self._cues = 0

    def final(self, result: Result) -> str:
        """Return one cue; empty for a final without text."""
        # SubRip has no escape for the arrow of its timing line, and some players search every line for it.
        text = one_line(result.text).replace("-->", "→")
        if not text:
            return ""
        self._cues += 1
        return f"{self._cues}\n{_cue_times(result, ',')}\n{text}\n\n"


class WebVTT(_FinalsOnly):
    """WebVTT subtitles (.vtt), https://www.w3.org/TR/webvtt1/."""

    def header(self) -> str:
        """Return the signature of the format."""
        return "WEBVTT\n\n"

    def final(self, result: Result) -> str:
        """Return one cue; empty for a final without text."""
        # Escaping `>` also removes `-->`, which would end the cue.
        text = one_line(result.text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return f"{_cue_times(result, '.')}\n{text}\n\n" if text else ""


def _json_line(members: dict[str, object]) -> str:
    return msgspec.json.encode(members).decode() + "\n"


def _cue_times(result: Result, point: str) -> str:
    # WebVTT requires that a cue ends after it starts, and players skip other cues.
    end_ms = max(result.start_ms + 1, result.end_ms)
    return f"{_clock(result.start_ms, point)} --> {_clock(end_ms, point)}"


def _clock(time_ms: int, point: str) -> str:
    seconds, ms = divmod(time_ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{ms:03}"


def clock_tenths(time_ms: int) -> str:
    """Format a time as `mm:ss.t`, and as `h:mm:ss.t` from one hour on."""
    seconds, tenths = divmod(time_ms // 100, 10)
    hours = f"{seconds // 3600}:" if seconds >= 3600 else ""
    return f"{hours}{seconds // 60 % 60:02}:{seconds % 60:02}.{tenths}"
