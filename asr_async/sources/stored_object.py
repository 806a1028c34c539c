"""The interface of a recording on another machine, and the version of a recording.

Does not know HTTP or object stores: `http_object` and `object_store` implement it.
"""

from __future__ import annotations

import re
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

import msgspec

from ..errors import ConfigurationError, ConnectionLostError

__all__ = ["SourceVersion", "StoredObject", "changed", "check_version", "is_http", "is_url", "parse_url"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
"""The beginning of a URL; a single letter is a drive of Windows."""


def is_url(source: str) -> bool:
    """Return True if a source is a URL, and not a path."""
    return _SCHEME.match(source) is not None


def is_http(url: str) -> bool:
    """Return True if a URL is one of `http` or `https`, which have no folders."""
    return url.partition(":")[0].lower() in {"http", "https"}


def parse_url(url: str) -> SplitResult:
    """Return the parts of a URL.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # read, so that a malformed one is found
    except ValueError as error:
        raise ConfigurationError(f"the URL of a recording cannot be read: {error}") from None
    return parts


class SourceVersion(msgspec.Struct, frozen=True):
    """The version of a recording: if one of the fields differs, its contents may differ.

    Attributes:
        size_bytes: its size; None if the server does not send it.
        tag: the etag of an object, else the time of its last change, as text; of a file, that time in nanoseconds.
            None if there is neither.
    """

    size_bytes: int | None
    tag: str | None


class StoredObject(Protocol):
    """A recording that is read in pieces from any place. Its methods block, and are called by one thread at a time."""

    name: str
    """The URL for texts."""
    version: SourceVersion | None
    """The version that is read; None before the first call of a method."""

    def find(self) -> SourceVersion:
        """Return the version that is there now.

        Raises:
            OSError: it does not exist, cannot be read with these credentials, or there is no connection.
            ASRError: it cannot be read here.
        """
        ...

    def fetch(self, start: int, size: int) -> bytes:
        """Return at most `size` bytes from this place on; none only at the end.

        Raises:
            OSError: it does not exist, cannot be read with these credentials, or the connection broke.
            ASRError: it cannot be read here, or has changed since the first call.
        """
        ...

    def close(self) -> None:
        """Close the connection. The next call opens another one."""
        ...


def check_version(name: str, first: SourceVersion | None, now: SourceVersion) -> None:
    """Refuse to read on if the object is another one than at the first look.

    Raises:
        ConnectionLostError: it has changed.
    """
    if first is not None and first != now:
        raise changed(name)


def changed(name: str) -> ConnectionLostError:
    """Return the error for an object that is another one than at the first look."""
    text = "changed while it was read, and its rest belongs to other audio: transcribe it again when it is whole"
    return ConnectionLostError(f"{name} {text}", retryable=True)
