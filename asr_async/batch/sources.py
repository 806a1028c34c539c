"""The sources of a batch: files, folders, patterns, URLs and lists of them, found before the run and opened in it.

A source is named by a text, the absolute path of a file or a URL, so that any process can open it. Does not know
manifests.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath, PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

from .._text.lines import one_line
from .._text.redaction import secrets_of
from .._text.secret import shown_url
from ..errors import ASRError, ConfigurationError
from ..sources import AudioFile, FoundSource, SourceVersion, find_version, is_url, read_audio
from ..sources import find_sources as sources_in
from .records import SourceEntry

__all__ = ["BatchSources", "check_unchanged", "find_sources", "open_source"]

BatchSources = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""A folder, a pattern such as `calls/**/*.wav`, a file, a URL, or an iterable of them."""

LOOKS_AT_ONCE = 16
"""The recordings on other machines whose versions are looked up at once: each takes a request."""


def find_sources(sources: BatchSources, extension: str) -> list[SourceEntry]:
    """Return the recordings of all sources, sorted within each folder and pattern. Blocks.

    An output is named like its source, below the folder or pattern in which it was found: `calls/` with `a/1.wav` gives
    `a/1.json`. Recordings that are named one by one keep their path below the folder that they have in common.

    Args:
        sources: a folder, a pattern, a file, a URL, or an iterable of them.
        extension: the extension of the outputs.

    Raises:
        ConfigurationError: there is no recording at all, a folder cannot be read, or a URL holds a secret.
        ASRError: an object store cannot be reached.
    """
    arguments = [os.fspath(each) for each in ([sources] if isinstance(sources, str | os.PathLike) else sources)]
    named: list[str] = []
    found: list[tuple[str, PurePath, SourceVersion | None]] = []
    for argument in arguments:
        if is_url(argument):
            _check_url(argument)
        elif not Path(argument).is_dir() and (os.path.lexists(argument) or not glob.has_magic(argument)):
            named.append(str(Path(argument).absolute()))
            continue
        for each in _below(argument):
            if each.source == argument:
                named.append(argument)
            else:
                source = each.source if is_url(argument) else str(Path(each.source).absolute())
                found.append((source, each.stem, each.version))
    found += [(source, stem, None) for source, stem in _named(named)]
    if not found:
        raise ConfigurationError(_no_sources(arguments))
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as threads:
        versions = threads.map(_version, [source for source, _, _ in found], [version for _, _, version in found])
        return [
            SourceEntry(
                source=source,
                output=f"{stem.as_posix()}.{extension}",
                size_bytes=version.size_bytes,
                version=version.tag or "",
            )
            for (source, stem, _), version in zip(found, versions, strict=True)
        ]


def _check_url(url: str) -> None:
    if secrets_of(url, {}):
        raise ConfigurationError(
            f"{shown_url(url)}: the URL holds a password or a signature, which the manifest would hold too: name the "
            "object (s3://, oss://, obs://), and set the credentials of the store in the environment"
        )


def _below(argument: str) -> Iterator[FoundSource]:
    """Yield what is in a folder or behind a pattern; nothing if that is empty."""
    try:
        yield from sources_in(argument)
    except FileNotFoundError:
        return
    except OSError as error:
        name = one_line(str(error.filename or shown_url(argument)))
        raise ConfigurationError(f"{name} cannot be read: {error.strerror}") from None


def _named(named: list[str]) -> Iterator[tuple[str, PurePath]]:
    """Yield the recordings that are named one by one, with their paths below the folder that they have in common."""
    for group in ([source for source in named if is_url(source) is remote] for remote in (False, True)):
        paths = [PurePath(_path_of(source)) for source in group]
        common = os.path.commonpath([path.parent for path in paths]) if paths else ""
        yield from (
            (source, path.relative_to(common).with_suffix("")) for source, path in zip(group, paths, strict=True)
        )


def _path_of(source: str) -> str:
    """Return the path of a file, or the host and the path of a URL."""
    if not is_url(source):
        return source
    parts = urlsplit(source)
    return str(PurePosixPath("/", parts.netloc, parts.path.lstrip("/")))


def _no_sources(arguments: list[str]) -> str:
    if not arguments:
        return "the list of sources is empty: name files, folders or patterns"
    shown = ", ".join(one_line(shown_url(argument)) for argument in arguments[:3])
    return f"no audio files in {shown}: files in a folder are found by their names, such as .wav and .mp3"


def _version(source: str, version: SourceVersion | None = None) -> SourceVersion:
    """Return the version of a source that is there now; what is not known of one that cannot be read."""
    if version is not None:
        return version
    try:
        return find_version(source)
    except (OSError, ASRError, ValueError):
        return SourceVersion(None, None)


def check_unchanged(source: str, size_bytes: int | None, version: str) -> None:
    """Refuse a source that has changed since it was found. One that cannot be read passes: opening it says why. Blocks.

    Raises:
        ConfigurationError: the text says what has changed.
    """
    now = _version(source)
    if now == SourceVersion(None, None) or now == SourceVersion(size_bytes, version or None):
        return
    is_other_size = now.size_bytes != size_bytes
    change = f"its size was {size_bytes}, and is {now.size_bytes} bytes" if is_other_size else "it was written to"
    raise ConfigurationError(
        f"changed since the run was begun: {change}; 'asr-async batch retry', then the same command "
        "again, transcribe it as it is now"
    )


def open_source(source: str, *, channel: Literal["mix", "left", "right"] | int, track: int | None) -> AudioFile:
    """Return a source as one of a session; the arguments are those of `read_audio`."""
    return read_audio(source, channel=channel, track=track)
