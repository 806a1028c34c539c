"""The inputs of `asr-async transcribe`: files, folders, patterns, pipes and standard input.

Does not open them, and does not know audio formats.
"""

from __future__ import annotations

import glob
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Self

import click

from .._text.lines import one_line
from ..sources import AUDIO_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["STANDARD_INPUT", "Input", "Problem", "find_inputs", "shown_name"]

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Input:
    """One source of audio."""

    source: str
    """A path, or `-`."""
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
        return self.name if self.source == STANDARD_INPUT else shown_name(Path(self.source).name)


@dataclass(frozen=True)
class Problem:
    """An argument, or a folder below it, that gives no input."""

    name: str
    reason: str


def shown_name(path: str | os.PathLike[str]) -> str:
    """Return a path as text on one line, with a mark for each byte that is no text."""
    return one_line(click.format_filename(os.fspath(path)))


def find_inputs(arguments: Iterable[str]) -> tuple[list[Input], list[Problem]]:
    """Return the inputs of all arguments in their order, and what cannot be read."""
    inputs: list[Input] = []
    problems: list[Problem] = []
    for argument in arguments:
        for path in _matches(argument):
            if path == STANDARD_INPUT and any(one.source == STANDARD_INPUT for one in inputs):
                problems.append(Problem("standard input", "can be read once, and is named twice"))
            elif path != STANDARD_INPUT and Path(path).is_dir():
                found, unreadable = _in_folder(Path(path))
                inputs += found
                problems += unreadable
            elif path != STANDARD_INPUT and not os.path.lexists(path):
                problems.append(Problem(shown_name(path), _missing(path)))
            else:
                inputs.append(_input(path))
    return inputs, problems


def _matches(argument: str) -> list[str]:
    """Return the paths that match a pattern, as shells do; an argument that exists is no pattern."""
    if os.path.lexists(argument) or not glob.has_magic(argument):
        return [argument]
    return sorted(glob.glob(argument, recursive=True)) or [argument]  # noqa: PTH207 - that refuses absolute patterns


def _missing(path: str) -> str:
    return "no file matches" if glob.has_magic(path) else "No such file or directory"


def _input(path: str) -> Input:
    if path == STANDARD_INPUT:
        return Input(path, PurePath("stdin"), is_live=True)
    return Input(path, PurePath(Path(path).stem), is_live=_is_live(Path(path)))


def _is_live(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False  # reading it reports the reason
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


def _in_folder(folder: Path) -> tuple[list[Input], list[Problem]]:
    """Return the audio files of a folder and of those in it, sorted."""
    problems: list[Problem] = []

    def note(error: OSError) -> None:
        problems.append(Problem(shown_name(error.filename or folder), error.strerror or str(error)))

    inputs: list[Input] = []
    for directory, folders, files in os.walk(folder, onerror=note):
        folders.sort()
        for file in sorted(files):
            path = Path(directory, file)
            if path.suffix.lower() in AUDIO_SUFFIXES:
                inputs.append(Input(str(path), path.relative_to(folder).with_suffix("")))
    if not inputs and not problems:
        problems.append(Problem(shown_name(folder), "the folder holds no audio files"))
    return inputs, problems
