"""The inputs of `asr-async transcribe`: files, folders, patterns, URLs, pipes and standard input.

Does not open them, and does not know audio formats.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Self

import click

from .._text.lines import one_line
from .._text.secret import shown_url
from ..errors import ASRError
from ..sources import find_sources, is_url
from .exit_status import error_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["STANDARD_INPUT", "Input", "Problem", "find_inputs", "shown_name"]

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Input:
    """One source of audio."""

    source: str
    """A path, a URL, or `-`."""
    stem: PurePath
    """The path of its output in a folder, without extension: below a given folder, with the folders in between."""
    is_live: bool = False
    """True for a pipe, a device or standard input: it cannot be checked before its audio arrives."""

    @classmethod
    def of_microphone(cls) -> Self:
        """Return the input of `asr-async mic`."""
        return cls(STANDARD_INPUT, PurePath("microphone"), is_live=True)

    @property
    def name(self) -> str:
        """The name in messages, on one line."""
        return "standard input" if self.source == STANDARD_INPUT else shown_name(self.source)

    @property
    def base_name(self) -> str:
        """The name without folders."""
        return self.name if self.source == STANDARD_INPUT else PurePath(shown_name(self.source)).name


@dataclass(frozen=True)
class Problem:
    """An argument, or a folder below it, that gives no input."""

    name: str
    reason: str


def shown_name(path: str | os.PathLike[str]) -> str:
    """Return a path as text on one line, with a mark for each byte that is no text; a URL without its secrets."""
    name = os.fspath(path)
    return one_line(shown_url(name) if is_url(name) else click.format_filename(name))


def find_inputs(arguments: Iterable[str]) -> tuple[list[Input], list[Problem]]:
    """Return the inputs of all arguments in their order, and what cannot be read. Blocks."""
    inputs: list[Input] = []
    problems: list[Problem] = []
    for argument in arguments:
        if argument != STANDARD_INPUT:
            inputs += _find(argument, problems)
        elif any(one.source == STANDARD_INPUT for one in inputs):
            problems.append(Problem("standard input", "can be read once, and is named twice"))
        else:
            inputs.append(Input(argument, PurePath("stdin"), is_live=True))
    return inputs, problems


def _find(argument: str, problems: list[Problem]) -> Iterator[Input]:
    """Yield the inputs that a path, a URL or a pattern means; add what cannot be read to the problems."""
    name = shown_name(argument)

    def note(error: OSError) -> None:
        problems.append(Problem(shown_name(error.filename or argument), error.strerror or str(error)))

    try:
        for found in find_sources(argument, on_error=note):
            yield Input(found.source, found.stem, is_live=_is_live(Path(found.source)))
    except ASRError as error:
        problems.append(Problem(name, error_text(error, name)))
    except OSError as error:
        note(error)


def _is_live(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False  # reading it reports the reason
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)
