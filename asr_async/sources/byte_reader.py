"""The bytes of an input, read once from front to back, with a look ahead: of a file, a pipe, a device or bytes.

Blocks until there are bytes: it is for threads. Does not know audio, nor URLs, which `remote` reads.
"""

from __future__ import annotations

import inspect
import io
import os
import stat
import sys
from typing import Any, Protocol, cast

from ..errors import ConfigurationError

__all__ = ["AudioInput", "BinaryFile", "ByteReader", "BytesInput", "FileInput", "PathInput", "input_for"]

SKIPPED_AT_ONCE = 1024 * 1024


class ByteReader:
    """The bytes of one opened input. `read` and `seek` are those of a file, so that FFmpeg can read it too.

    Attributes:
        size_bytes: the size of the whole input; None if it is not known, since it is a pipe or a device.
    """

    def __init__(self, file: Any, *, owns_file: bool) -> None:
        self._file = file
        self._owns_file = owns_file
        # A pipe has to return what is there, and not wait for more.
        self._read_some = getattr(file, "read1", file.read)
        # what was looked at and is still to be read
        self._ahead = b""
        self._start = 0
        self.size_bytes: int | None = None
        if _is_seekable(file):
            self._start = file.tell()
            self.size_bytes = file.seek(0, os.SEEK_END) - self._start
            file.seek(self._start)

    def __repr__(self) -> str:
        return f"<ByteReader {self._file!r}>"

    @property
    def is_seekable(self) -> bool:
        """True if the input can be read from another place."""
        return self.size_bytes is not None

    def seekable(self) -> bool:
        """Return True if the input can be read from another place; the name is that of a file's method."""
        return self.is_seekable

    def peek(self, size: int) -> bytes:
        """Return the next bytes without reading them; fewer only at the end of the input."""
        while len(self._ahead) < size and (more := self._read_file(size - len(self._ahead))):
            self._ahead += more
        return self._ahead[:size]

    def read(self, size: int = 65_536) -> bytes:
        """Return the next bytes, at most `size`; empty only at the end of the input."""
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        return self._read_file(size)

    def read_exactly(self, size: int) -> bytes:
        """Return the next `size` bytes; fewer only at the end of the input."""
        data = self.peek(size)
        self._ahead = self._ahead[len(data) :]
        return data

    def skip(self, size: int) -> None:
        """Leave the next bytes out."""
        if self.is_seekable:
            self.seek(size, os.SEEK_CUR)
            return
        while size > 0 and (data := self.read(min(size, SKIPPED_AT_ONCE))):
            size -= len(data)

    def tell(self) -> int:
        """Return the position of the next byte."""
        return cast("int", self._file.tell()) - self._start - len(self._ahead)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Continue at another place, as `io.IOBase.seek`."""
        if whence == os.SEEK_CUR:
            offset -= len(self._ahead)
        elif whence == os.SEEK_SET:
            offset += self._start
        self._ahead = b""
        return cast("int", self._file.seek(offset, whence)) - self._start

    def close(self) -> None:
        """Close the file, unless it is the caller's. Idempotent."""
        if self._owns_file:
            self._file.close()

    def _read_file(self, size: int) -> bytes:
        data = self._read_some(size)
        if not isinstance(data, bytes | None):
            raise ConfigurationError(f"read() of {self._file!r} returns {type(data).__name__}: open it in binary mode")
        if data is None:
            raise ConfigurationError(f"read() of {self._file!r} does not wait for bytes: make it a blocking file")
        return data


class BinaryFile(Protocol):
    """A file that is open in binary mode."""

    def read(self, size: int = -1, /) -> bytes | None:
        """Return at most so many bytes; none at the end."""
        ...


class AudioInput(Protocol):
    """Something that audio is read from, perhaps several times."""

    name: str
    """The name for texts."""
    suffix: str
    """The end of the name of its file in lower case, such as ".wav"; empty if it has none."""
    is_live: bool
    """True if its bytes may come at any time, and only once."""
    may_stall: bool
    """True if a read may wait for long, for audio or for a network."""

    def open(self) -> ByteReader:
        """Open it from its start.

        Raises:
            OSError: it cannot be opened.
        """
        ...


class PathInput:
    """The file, pipe or device at a path."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: str = os.fsdecode(path)
        self.name: str = self.path
        self.suffix: str = self.path[self.path.rfind(".") :].lower() if "." in self.path else ""
        self.is_live: bool = False
        self.may_stall: bool = False
        try:
            mode = os.stat(self.path).st_mode  # noqa: PTH116 - a path may end in / or be one that pathlib changes
        except (OSError, ValueError):
            return  # raised when it is opened
        self.is_live = self.may_stall = not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))

    def open(self) -> ByteReader:
        """Open the file; a pipe waits for its writer."""
        return ByteReader(io.FileIO(self.path), owns_file=True)


class BytesInput:
    """Bytes in memory."""

    suffix: str = ""
    is_live: bool = False
    may_stall: bool = False

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = bytes(data)
        self.name: str = f"the audio of {len(self._data)} bytes"

    def open(self) -> ByteReader:
        """Return a reader from the first byte."""
        return ByteReader(io.BytesIO(self._data), owns_file=True)


class FileInput:
    """An open file of the caller, read from where it stands now; it stays open."""

    suffix: str = ""

    def __init__(self, file: Any, name: str | None = None) -> None:
        if isinstance(file, io.TextIOBase):
            raise ConfigurationError(f"{file!r} is open as text: open it in binary mode, with open(..., 'rb')")
        if inspect.iscoroutinefunction(file.read):
            raise ConfigurationError(
                f"{type(file).__name__}.read is async: pass its plain file (upload.file), or its bytes"
            )
        given = getattr(file, "name", None)
        self.name: str = name or (given if isinstance(given, str) else f"the {type(file).__name__}")
        self._file = file
        self.is_live: bool = not _is_seekable(file)
        self.may_stall: bool = self.is_live
        self._start = None if self.is_live else file.tell()
        self._is_read = False

    def open(self) -> ByteReader:
        """Return a reader from where the file stood first.

        Raises:
            ConfigurationError: it was read before and cannot be read again.
        """
        if self._start is not None:
            self._file.seek(self._start)
        elif self._is_read:
            raise ConfigurationError(f"{self.name} can be read once only, and was read before")
        self._is_read = True
        return ByteReader(self._file, owns_file=False)


def input_for(source: Any) -> AudioInput:
    """Return the input that a caller means: a path, "-" for standard input, bytes, or a binary file.

    Raises:
        ConfigurationError: the object is none of these.
    """
    if source == "-":
        return FileInput(_standard_input(), "standard input")
    if isinstance(source, str | os.PathLike):
        return PathInput(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return BytesInput(source)
    if callable(getattr(source, "read", None)):
        return FileInput(source)
    raise ConfigurationError(f"read_audio() reads a path, bytes or a binary file, not {type(source).__name__}")


def _standard_input() -> Any:
    if sys.stdin is None or sys.stdin.closed:
        raise ConfigurationError("standard input is closed: give a file, or pipe audio into the program")
    if sys.stdin.isatty():
        raise ConfigurationError("standard input is a terminal: give a file, or pipe audio into the program")
    # without the buffer, which would wait until it is full
    return getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)


def _is_seekable(file: Any) -> bool:
    return bool(getattr(file, "seekable", lambda: hasattr(file, "seek"))())
