"""A recording on another machine as an input: read in blocks, the next one ahead, and again where a read broke.

Two blocks are in memory, whatever the length of the recording. Blocks: it is for threads. Does not know audio.
"""

from __future__ import annotations

import io
import logging
import os
import threading
import time
from pathlib import PurePath
from typing import TYPE_CHECKING

from .._text.redaction import Redactor, secrets_of
from .._text.secret import secret_url, shown_url, tolerant_repr
from ..errors import ASRError, ConnectionLostError
from .byte_reader import ByteReader
from .http_object import HttpObject
from .object_store import ObjectFile
from .stored_object import is_http, parse_url

if TYPE_CHECKING:
    from .stored_object import SourceVersion, StoredObject

__all__ = ["RemoteInput", "stored_object"]

logger: logging.Logger = logging.getLogger("asr_async")

FIRST_BLOCK_BYTES = 64 * 1024
"""The block at the start, and at each place that is jumped to: a header, or a table of contents."""

BLOCK_BYTES = 512 * 1024
"""The other blocks: 16 seconds of 16-bit samples at 16 kHz."""

RETRY_DELAYS_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""The waits before a read is tried again at its place. Any byte that comes begins them anew."""

_FINAL_ERRORS = (FileNotFoundError, PermissionError, IsADirectoryError, ASRError)
"""The errors that another attempt does not mend."""


def stored_object(url: str) -> StoredObject:
    """Return the object behind a URL, which is not opened yet."""
    return HttpObject(url) if is_http(url) else ObjectFile(url)


class RemoteInput:
    """The recording behind a URL.

    Attributes:
        name: the URL for texts, without what may be a secret.
        suffix: the end of the name of its file, such as ".wav".
        version: the version that was opened first; None before that.
    """

    is_live: bool = False
    may_stall: bool = True

    def __init__(self, url: str) -> None:
        self._url = url = secret_url(url)
        self.name: str = shown_url(url)
        self.suffix: str = PurePath(parse_url(url).path).suffix.lower()
        self.version: SourceVersion | None = None

    @tolerant_repr
    def __repr__(self) -> str:
        return f"<RemoteInput {self.name}>"

    def open(self) -> ByteReader:
        """Open it from its start.

        Raises:
            OSError: it does not exist, or cannot be read with these credentials.
            ConnectionLostError: it cannot be reached, or is another version than the one that was opened first.
            AuthenticationError: there are no credentials for the store.
            ConfigurationError: it cannot be read here.
        """
        stored = stored_object(self._url)
        stored.version = self.version
        file = RemoteFile(stored, Redactor(secrets_of(self._url, {})))
        self.version = stored.version
        return ByteReader(file, owns_file=True)


class RemoteFile:
    """An object as a binary file, with the methods that `ByteReader` calls.

    Attributes:
        name: its name in texts.
        size_bytes: its size; None if it is not known.
    """

    def __init__(self, stored: StoredObject, redactor: Redactor) -> None:
        """Read the first block; the errors are those of `RemoteInput.open`."""
        self._stored = stored
        self._redactor = redactor
        self.name: str = stored.name
        self._position = 0
        self._block_start = 0
        self._ahead: _BlockAhead | None = None
        self._block = self._fetch(0, FIRST_BLOCK_BYTES)
        self.size_bytes: int | None = None if stored.version is None else stored.version.size_bytes

    @tolerant_repr
    def __repr__(self) -> str:
        return f"<RemoteFile {self.name}>"

    def seekable(self) -> bool:
        """Return True if it can be read from another place: without a size, the end is not known."""
        return self.size_bytes is not None

    def tell(self) -> int:
        """Return the position of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Continue at another place, as `io.IOBase.seek`; nothing is read yet."""
        if self.size_bytes is None:
            raise io.UnsupportedOperation("the size of the recording is not known")
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size_bytes}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; empty only at the end."""
        if not self._block_start <= self._position < self._block_start + len(self._block):
            self._load()
        begin = self._position - self._block_start
        data = self._block[begin : begin + size]
        self._position += len(data)
        return data

    def close(self) -> None:
        """Close the connection. Idempotent."""
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            self._stored.close()
        else:
            ahead.abandon(self._stored)

    def _load(self) -> None:
        """Make the block at the present place the current one, and begin to read the next one."""
        start = self._position
        is_next = start == self._block_start + len(self._block)
        ahead, self._ahead = self._ahead, None
        block = None if ahead is None else ahead.wait(start)
        if block is None:
            block = b"" if self._is_end(start) else self._fetch(start, BLOCK_BYTES if is_next else FIRST_BLOCK_BYTES)
        self._block, self._block_start = block, start
        end = start + len(block)
        if is_next and block and not self._is_end(end):
            self._ahead = _BlockAhead(self, end)

    def _is_end(self, position: int) -> bool:
        return self.size_bytes is not None and position >= self.size_bytes

    def _fetch(self, start: int, size: int) -> bytes:
        """Return the bytes at a place, in several attempts."""
        for delay_s in (*RETRY_DELAYS_S, None):
            try:
                return self._stored.fetch(start, size)
            except _FINAL_ERRORS:
                self._stored.close()
                raise
            except Exception as error:  # noqa: BLE001 - each filesystem of fsspec has errors of its own
                self._stored.close()
                reason = self._redactor.text(str(error) or type(error).__name__)
            if delay_s is None:
                break
            logger.info("%s: reading again from byte %d on: %s", self.name, start, reason)
            time.sleep(delay_s)
        text = f"cannot be read from byte {start} on: {reason}" if start else f"cannot be reached: {reason}"
        raise ConnectionLostError(f"{self.name} {text}", retryable=True)


class _BlockAhead:
    """A block that a thread reads while the one before it is used."""

    def __init__(self, file: RemoteFile, start: int) -> None:
        self._file = file
        self._start = start
        self._block: bytes | None = None
        self._error: Exception | None = None
        # not joined at the end of the program, which a server that sends nothing would delay
        self._thread = threading.Thread(target=self._run, name=f"asr_async reads ahead in {file.name}", daemon=True)
        self._thread.start()

    def wait(self, start: int) -> bytes | None:
        """Wait until the thread has ended. Return the block if it begins at the place, else None."""
        self._thread.join()
        if start != self._start:
            return None
        if self._error is not None:
            raise self._error
        return self._block

    def abandon(self, stored: StoredObject) -> None:
        """Close the object when the read has ended, without waiting for it."""

        def close() -> None:
            self._thread.join()
            stored.close()

        if self._thread.is_alive():
            threading.Thread(target=close, daemon=True).start()
        else:
            close()

    def _run(self) -> None:
        try:
            self._block = self._file._fetch(self._start, BLOCK_BYTES)  # noqa: SLF001 - a part of that class
        except Exception as error:  # noqa: BLE001 - raised to the reader
            self._error = error
