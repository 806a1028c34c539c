"""The command-line options that choose the output and its format, shared by `transcribe` and `mic`."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from .transcript_formats import EXTENSIONS, check_format, format_of_output, writer_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..subtitles import Languages
    from .display import Screen
    from .transcript_formats import Writer

__all__ = ["OutputChoice", "output_options"]


@dataclass(frozen=True, kw_only=True)
class OutputChoice:
    """The output of a transcript, its format, and whether lines of text begin with their times."""

    path: str | None
    """A file or a folder; None is standard output."""
    format_name: str
    times: bool

    @property
    def is_terminal(self) -> bool:
        """True if the transcript goes to a terminal."""
        return _is_terminal(self.path)

    def writer(self, screen: Screen, source: str, languages: Languages, *, heading: bool = False) -> Writer:
        """Return the writer of the transcript of one source, for a terminal with its name if it has a heading."""
        return writer_for(
            self.format_name,
            source=source,
            times=self.times,
            heading=heading and self.is_terminal,
            width=screen.width if screen.is_live and self.is_terminal else None,
            languages=languages,
        )


def output_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options to a command, which gets them as the argument `output`."""

    @functools.wraps(command)
    def with_output(*arguments: Any, **values: Any) -> None:
        output = _choice(**{name: values.pop(name) for name in ("path", "format_name", "times")})
        command(*arguments, output=output, **values)

    for option in reversed(_OPTIONS):
        with_output = option(with_output)
    return with_output


_OPTIONS = (
    click.option(
        "-o",
        "--output",
        "path",
        metavar="PATH",
        help="A file, or a folder (existing, or with a trailing /) for one file per input. [default: standard output]",
    ),
    click.option(
        "-f",
        "--format",
        "format_name",
        type=click.Choice(list(EXTENSIONS)),
        help="jsonl includes interims, the other formats only finals; srt and vtt of live audio are captions that grow "
        "with the speech. [default: by the name of the output, else text]",
    ),
    click.option(
        "--times/--no-times",
        default=None,
        help="Begin each line of text with its times. [default: on a terminal]",
    ),
)


def _choice(path: str | None, format_name: str | None, times: bool | None) -> OutputChoice:
    """Check the values.

    Raises:
        click.UsageError: the format has its times anyway, or its library is not installed.
    """
    format_name = format_name or format_of_output(path)
    if times is not None and format_name != "text":
        raise click.UsageError(f"--times and --no-times are for text; {format_name} always has times")
    check_format(format_name)
    return OutputChoice(path=path, format_name=format_name, times=_is_terminal(path) if times is None else times)


def _is_terminal(path: str | None) -> bool:
    return path is None and sys.stdout is not None and sys.stdout.isatty()
