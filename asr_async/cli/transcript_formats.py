"""The four shapes of a transcript on the command line.

A writer turns results into text and knows neither files nor terminals: `header()` once per source, then
`interim()` and `final()` for each result in its order; an empty text where a format has nothing to say.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

import msgspec

from ..results import Result

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EXTENSIONS", "JsonLines", "SubRip", "Text", "WebVTT", "Writer", "one_line", "writer_for"]

EXTENSIONS = {"text": "txt", "jsonl": "jsonl", "srt": "srt", "vtt": "vtt"}
"""Every format by its name, with the ending of its files."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_JSON_FIELDS = tuple(name for name in Result.__struct_fields__ if name != "raw")


class Writer(Protocol):
    """One source's results as text in one format."""

    def header(self) -> str:
        """What stands before the first result."""
        ...

    def interim(self, result: Result) -> str:
        """What an interim result adds."""
        ...

    def final(self, result: Result) -> str:
        """What a final result adds."""
        ...


def writer_for(name: str, *, source: str, times: bool) -> Writer:
    """Make the writer of a format in `EXTENSIONS`.

    Args:
        name: the format.
        source: the name of the source, for formats that say it.
        times: whether lines of plain text begin with their times.
    """
    writers: dict[str, Callable[[], Writer]] = {
        "text": lambda: Text(times=times),
        "jsonl": lambda: JsonLines(source),
        "srt": SubRip,
        "vtt": WebVTT,
    }
    return writers[name]()


def one_line(text: str) -> str:
    """Put a space for control characters, which would break a format's lines or steer a terminal."""
    return _CONTROLS.sub(" ", text).strip()


class _FinalsOnly:
    """What the formats without interims and without a header share."""

    def header(self) -> str:
        return ""

    def interim(self, result: Result) -> str:  # noqa: ARG002 - the writers' common face
        return ""


class Text(_FinalsOnly):
    """Plain text: one final a line, after its times where they are wanted."""

    def __init__(self, *, times: bool) -> None:
        self._times = times

    def final(self, result: Result) -> str:
        """One line; none for a final without text."""
        text = one_line(result.text)
        if not text:
            return ""
        if not self._times:
            return f"{text}\n"
        return f"[{_tenths(result.start_ms)} → {_tenths(result.end_ms)}] {text}\n"


class JsonLines:
    """One JSON object a line for every result: the source's name, then the fields of `Result` but `raw`."""

    def __init__(self, source: str) -> None:
        self._source = source

    def header(self) -> str:
        """Nothing."""
        return ""

    def interim(self, result: Result) -> str:
        """One line."""
        return self._line(result)

    def final(self, result: Result) -> str:
        """One line."""
        return self._line(result)

    def _line(self, result: Result) -> str:
        members = {"file": self._source, **{name: getattr(result, name) for name in _JSON_FIELDS}}
        return msgspec.json.encode(members).decode() + "\n"


class SubRip(_FinalsOnly):
    """SubRip (.srt): numbered cues with a blank line after each."""

    def __init__(self) -> None:
        self._cues = 0

    def final(self, result: Result) -> str:
        """One cue; none for a final without text."""
        # SubRip has no escape for the arrow of its timing line, which some players look for in every line.
        text = one_line(result.text).replace("-->", "→")
        if not text:
            return ""
        self._cues += 1
        return f"{self._cues}\n{_cue_times(result, ',')}\n{text}\n\n"


class WebVTT(_FinalsOnly):
    """WebVTT (.vtt), https://www.w3.org/TR/webvtt1/."""

    def header(self) -> str:
        """The signature of the format."""
        return "WEBVTT\n\n"

    def final(self, result: Result) -> str:
        """One cue; none for a final without text."""
        # With `>` escaped no `-->` is left, which would end the cue.
        text = one_line(result.text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return f"{_cue_times(result, '.')}\n{text}\n\n" if text else ""


def _cue_times(result: Result, point: str) -> str:
    # WebVTT wants a cue to end after it starts, and players skip one that does not.
    end_ms = max(result.start_ms + 1, result.end_ms)
    return f"{_clock(result.start_ms, point)} --> {_clock(end_ms, point)}"


def _clock(time_ms: int, point: str) -> str:
    seconds, ms = divmod(time_ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{ms:03}"


def _tenths(time_ms: int) -> str:
    """`mm:ss.t`, and `h:mm:ss.t` from the first hour on."""
    seconds, tenths = divmod(time_ms // 100, 10)
    hours = f"{seconds // 3600}:" if seconds >= 3600 else ""
    return f"{hours}{seconds // 60 % 60:02}:{seconds % 60:02}.{tenths}"
