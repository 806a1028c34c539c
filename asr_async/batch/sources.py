"""The sources of a batch: files, folders, patterns and lists of them, found before the run and opened in it.

A source is named by a text, the absolute path of a file, so that any process can open it. Does not know manifests.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import Literal

from .._text.lines import one_line
from ..errors import ConfigurationError
from ..sources import AUDIO_SUFFIXES, AudioFile, read_audio
from .records import SourceEntry

__all__ = ["BatchSources", "check_unchanged", "find_sources", "open_source"]

BatchSources = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""A folder, a pattern such as `calls/**/*.wav`, a file, or an iterable of them."""


def find_sources(sources: BatchSources, extension: str) -> list[SourceEntry]:
    """Return the files of all sources, sorted within each folder and pattern. Blocks.

    An output is named like its source, below the folder or pattern in which it was found: `calls/` with `a/1.wav` gives
    `a/1.json`. Files that are named one by one keep their path below the folder that they have in common.

    Args:
        sources: a folder, a pattern, a file, or an iterable of them.
        extension: the extension of the outputs.

    Raises:
        ConfigurationError: there is no file at all, or a folder cannot be read.
    """
    arguments = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    files: list[Path] = []
    entries: list[SourceEntry] = []
    for argument in (os.fspath(each) for each in arguments):
        path = Path(argument)
        if path.is_dir():
            entries += [_entry(file, path, extension) for file in _files_below(path)]
        elif path.exists() or not glob.has_magic(argument):
            files.append(path)
        else:
            entries += [_entry(file, _fixed_part(argument), extension) for file in _matching(argument)]
    if files:
        common = Path(os.path.commonpath([file.absolute().parent for file in files]))
        entries += [_entry(file, common, extension) for file in files]
    if not entries:
        raise ConfigurationError(_no_sources(arguments))
    return entries


def _no_sources(arguments: list[str | os.PathLike[str]]) -> str:
    if not arguments:
        return "the list of sources is empty: name files, folders or patterns"
    shown = ", ".join(one_line(os.fspath(argument)) for argument in arguments[:3])
    return f"no audio files in {shown}: files in a folder are found by their names, such as .wav and .mp3"


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the audio files of a folder and of those in it."""

    def refuse(error: OSError) -> None:
        raise ConfigurationError(f"{one_line(str(error.filename))} cannot be read: {error.strerror}")

    for directory, folders, files in os.walk(folder, onerror=refuse):
        folders.sort()
        for name in sorted(files):
            path = Path(directory, name)
            if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file():
                yield path


def _matching(pattern: str) -> Iterator[Path]:
    for name in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207 - that refuses absolute patterns
        if (path := Path(name)).is_file():
            yield path


def _fixed_part(pattern: str) -> Path:
    """Return the folders of a pattern before its first wildcard."""
    parts = []
    for part in PurePath(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return Path(*parts)


def _entry(file: Path, folder: Path, extension: str) -> SourceEntry:
    path = file.absolute()
    size_bytes, version = _look(path)
    output = path.relative_to(folder.absolute()).with_suffix(f".{extension}")
    return SourceEntry(source=str(path), output=output.as_posix(), size_bytes=size_bytes, version=version)


def _look(path: Path) -> tuple[int | None, str]:
    """Return the size of a file and the time of its last change; what is not known of one that cannot be read."""
    try:
        status = path.stat()
    except OSError:
        return None, ""
    return status.st_size, str(status.st_mtime_ns)


def check_unchanged(source: str, size_bytes: int | None, version: str) -> None:
    """Refuse a source that has changed since it was found. One that cannot be read passes: opening it says why. Blocks.

    Raises:
        ConfigurationError: the text says what has changed.
    """
    now_bytes, now_version = _look(Path(source))
    if now_bytes is None or (now_bytes, now_version) == (size_bytes, version):
        return
    change = f"its size was {size_bytes}, and is {now_bytes} bytes" if now_bytes != size_bytes else "it was written to"
    raise ConfigurationError(
        f"changed since the run was begun: {change}; 'asr-async batch retry', then the same command "
        "again, transcribe it as it is now"
    )


def open_source(source: str, *, channel: Literal["mix", "left", "right"] | int, track: int | None) -> AudioFile:
    """Return a source as one of a session; the arguments are those of `read_audio`."""
    return read_audio(source, channel=channel, track=track)
