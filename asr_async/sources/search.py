"""The recordings in folders and behind patterns, on this machine and in object stores, in a fixed order.

One folder at a time is listed, so that memory is bounded by the largest of them. Blocks: it is for threads. Opens no
recording, and does not know audio formats.
"""

from __future__ import annotations

import errno
import fnmatch
import glob
import os
import re
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from .._text.secret import secret_url, shown_url
from .object_store import filesystem_for, list_folder, look_up, version_in
from .remote import stored_object
from .stored_object import SourceVersion, is_http, is_url, parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["AUDIO_SUFFIXES", "FoundSource", "find_sources", "find_version"]

AUDIO_SUFFIXES = frozenset(
    f".{name}"
    for names in (
        "3gp aac aif aiff amr au avi awb caf flac flv m4a m4v mka mkv mov mp3 mp4",
        "mpga oga ogg opus pcm raw spx ts w64 wav webm wma wmv",
    )
    for name in names.split()
)
"""The names of files that are taken from a folder; a file that is named, or matched by a pattern, may have any name."""

ANY_FOLDERS = "**"
"""The part of a pattern that matches any number of folders."""


class FoundSource(msgspec.Struct, frozen=True):
    """A recording that was found.

    Attributes:
        source: its path or URL, for `read_audio`.
        stem: the path of its output in a folder, without a suffix: below the folder that was searched, which is the one
            in front of the first part that is a pattern, with the folders in between.
        version: its version; None if the listing does not tell it, as that of a local folder (see `find_version`).
    """

    source: str
    stem: PurePath
    version: SourceVersion | None = None


def find_sources(
    source: str | os.PathLike[str], *, on_error: Callable[[OSError], None] | None = None
) -> Iterator[FoundSource]:
    """Yield the recordings that a path, a URL or a pattern means, in the order of their names in each folder.

    A folder is searched for names with a suffix of audio, with the folders in it. In a pattern, `*`, `?` and `[...]`
    match a part of a name, and `**` any number of folders; names with a dot at their start match only patterns that
    have it too. A path that exists is no pattern, and a folder that matches is searched.

    Args:
        source: the path, URL or pattern.
        on_error: a function for the error of a folder that cannot be listed; the others are searched. None, the
            default, raises it.

    Raises:
        FileNotFoundError: nothing has this name, or matches, or is in the folder.
        OSError: a folder cannot be listed.
        ASRError: the store cannot be reached, or cannot be read here.
    """
    name = os.fspath(source)
    if not is_url(name):
        return _Search(_LocalFolders(name), name, on_error).run()
    url = secret_url(name)
    if is_http(url):
        return iter([FoundSource(url, PurePath(PurePath(parse_url(url).path).stem or "audio"))])
    return _Search(_StoreFolders(url), shown_url(url), on_error).run()


def find_version(source: str | os.PathLike[str]) -> SourceVersion:
    """Return the version of a recording that is there now. Blocks.

    Raises:
        OSError: it does not exist, or cannot be read.
        ASRError: it cannot be reached, or cannot be read here.
    """
    name = os.fspath(source)
    if is_url(name):
        return stored_object(name).find()
    status = os.stat(name)  # noqa: PTH116 - a path may end in / or be one that pathlib changes
    return SourceVersion(status.st_size, str(status.st_mtime_ns))


class _Entry(msgspec.Struct, frozen=True):
    """A name in a folder.

    Attributes:
        path: its path.
        name: its name without folders.
        is_folder: True for a folder, also behind a link.
        is_link: True for a link, which a search does not follow.
        version: its version, if the listing tells it.
    """

    path: str
    name: str
    is_folder: bool
    is_link: bool = False
    version: SourceVersion | None = None


class _Folders(Protocol):
    """Folders that can be listed.

    Attributes:
        start: the path or pattern in them.
    """

    start: str

    def look(self, path: str) -> _Entry | None:
        """Return what is at a path; None if there is nothing."""
        ...

    def entries(self, folder: str) -> list[_Entry]:
        """Return what is in a folder."""
        ...

    def join(self, folder: str, name: str) -> str:
        """Return the path of a name in a folder."""
        ...

    def source(self, path: str) -> str:
        """Return the path or URL for `read_audio`."""
        ...


class _LocalFolders:
    """The folders of this machine."""

    def __init__(self, path: str) -> None:
        self.start: str = path.replace(os.sep, "/")

    def look(self, path: str) -> _Entry | None:
        """Return what is at a path, also a link without a target: reading it reports the reason."""
        if not os.path.lexists(path):
            return None
        return _Entry(path, os.path.basename(path), is_folder=Path(path).is_dir())  # noqa: PTH119 - it may end in /

    def entries(self, folder: str) -> list[_Entry]:
        """Return what is in a folder."""
        with os.scandir(folder or os.curdir) as found:
            return [_Entry(self.join(folder, one.name), one.name, one.is_dir(), one.is_symlink()) for one in found]

    def join(self, folder: str, name: str) -> str:
        """Return the path of a name in a folder."""
        return os.path.join(folder, name)  # noqa: PTH118 - pathlib would change the folder

    def source(self, path: str) -> str:
        """Return the path."""
        return path


class _StoreFolders:
    """The folders of an object store, which are the parts of names between slashes."""

    def __init__(self, url: str) -> None:
        self._filesystem, self.start = filesystem_for(url)
        self._name = shown_url(url)
        self._scheme = url.partition("://")[0]
        self._outer = "".join(url.partition("::")[1:])

    def look(self, path: str) -> _Entry | None:
        """Return what is at a path; None if there is nothing."""
        info = look_up(self._filesystem, path.rstrip("/"), self._name)
        return None if info is None else self._entry(info)

    def entries(self, folder: str) -> list[_Entry]:
        """Return what is in a folder, without the empty object that stands for the folder itself in some stores."""
        entries = [self._entry(info) for info in list_folder(self._filesystem, folder, self._name)]
        return [entry for entry in entries if entry.path != folder.rstrip("/")]

    def join(self, folder: str, name: str) -> str:
        """Return the path of a name in a folder."""
        return f"{folder.rstrip('/')}/{name}"

    def source(self, path: str) -> str:
        """Return the URL of a path."""
        return f"{self._scheme}://{path}{self._outer}"

    def _entry(self, info: dict[str, Any]) -> _Entry:
        path = str(info["name"]).rstrip("/")
        is_folder = info["type"] == "directory"
        version = None if is_folder else version_in(info)
        return _Entry(path, path.rpartition("/")[2], is_folder, version=version)


class _Search:
    """A search from the start of some folders."""

    def __init__(self, folders: _Folders, name: str, on_error: Callable[[OSError], None] | None) -> None:
        self._folders = folders
        self._name = name
        self._on_error = on_error
        # the folder that is searched
        self._base = ""
        # True if a folder could not be listed, so that an empty result has a reason already
        self._is_incomplete = False

    def run(self) -> Iterator[FoundSource]:
        """Yield what is found; the errors are those of `find_sources`."""
        start = self._folders.start
        entry = self._folders.look(start)
        if entry is None and not glob.has_magic(start):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._name)
        if entry is None:
            self._base, parts = _split(start)
            found, nothing = self._matches(self._base, parts), "no file matches"
        elif entry.is_folder:
            self._base = start
            found, nothing = self._in_folder(start), "the folder holds no audio files"
        else:
            self._base = str(PurePath(entry.path).parent)
            found, nothing = iter([self._found(entry)]), ""
        count = 0
        for count, one in enumerate(found, start=1):  # noqa: B007 - counted
            yield one
        if not count and not self._is_incomplete:
            raise FileNotFoundError(errno.ENOENT, nothing, self._name)

    def _entries(self, folder: str) -> list[_Entry]:
        """Return what is in a folder, sorted; nothing if it cannot be listed."""
        try:
            return sorted(self._folders.entries(folder), key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return []  # the part of a pattern in front of its first star, or removed just now
        except OSError as error:
            if self._on_error is None:
                raise
            self._is_incomplete = True
            self._on_error(error)
            return []

    def _in_folder(self, folder: str) -> Iterator[FoundSource]:
        """Yield the recordings in a folder, then those in its folders."""
        folders = []
        for entry in self._entries(folder):
            if entry.is_folder:
                if not entry.is_link:
                    folders.append(entry)
            elif PurePath(entry.name).suffix.lower() in AUDIO_SUFFIXES:
                yield self._found(entry)
        for entry in folders:
            yield from self._in_folder(entry.path)

    def _matches(self, folder: str, parts: tuple[str, ...]) -> Iterator[FoundSource]:
        """Yield what the parts of a pattern match in a folder."""
        part, rest = parts[0], parts[1:]
        if part != ANY_FOLDERS and not glob.has_magic(part):
            entry = self._folders.look(self._folders.join(folder, part))
            yield from () if entry is None else self._behind(entry, rest)
            return
        entries = self._entries(folder)
        if part != ANY_FOLDERS:
            for entry in _named(entries, part):
                yield from self._behind(entry, rest)
            return
        if rest[:1] == (ANY_FOLDERS,):
            yield from self._matches(folder, rest)
            return
        # The folders at any depth are searched below, so those that match are not searched here.
        for entry in _named(entries, rest[0] if rest else "*"):
            if rest[1:] or not entry.is_folder:
                yield from self._behind(entry, rest[1:])
        for entry in entries:
            if entry.is_folder and not entry.is_link and not entry.name.startswith("."):
                yield from self._matches(entry.path, parts)

    def _behind(self, entry: _Entry, rest: tuple[str, ...]) -> Iterator[FoundSource]:
        """Yield what the rest of a pattern matches behind a name that its part before matches."""
        if rest:
            if entry.is_folder:
                yield from self._matches(entry.path, rest)
        elif entry.is_folder:
            yield from self._in_folder(entry.path)
        else:
            yield self._found(entry)

    def _found(self, entry: _Entry) -> FoundSource:
        stem = PurePath(entry.path).relative_to(self._base).with_suffix("")
        return FoundSource(self._folders.source(entry.path), stem, entry.version)


def _split(pattern: str) -> tuple[str, tuple[str, ...]]:
    """Return the folder in front of the first part that is a pattern, and the parts from there on."""
    parts = [part for part in pattern.split("/") if part]
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    base = "/".join(parts[:fixed])
    return (f"/{base}" if pattern.startswith("/") else base), tuple(parts[fixed:])


def _named(entries: list[_Entry], pattern: str) -> Iterator[_Entry]:
    """Yield the entries whose names match a part of a pattern."""
    matches = re.compile(fnmatch.translate(pattern)).match
    for entry in entries:
        if matches(entry.name) and (pattern.startswith(".") or not entry.name.startswith(".")):
            yield entry
