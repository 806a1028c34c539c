"""Texts that are secrets: they can be used as any text, but no `repr`, traceback with locals or pickle shows them.

Keys, passwords and URLs that hold one are wrapped where they enter the library. Every function that gets one by the
caller's own name wraps it in its first line, so that a traceback that prints local variables shows the wrapper.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec

__all__ = [
    "MASK",
    "SecretBytes",
    "SecretHeaders",
    "SecretText",
    "ShownByRepr",
    "secret_url",
    "shown_url",
    "tolerant_repr",
]

MASK = "***"


class SecretText(str):
    """A secret. It compares, hashes and formats as the text that it is; its `repr` is that of a mask.

    It cannot be pickled: what holds one is made anew where it is needed.

    Args:
        text: the secret.
        advice: what to do where it cannot be pickled, behind "cannot be pickled, since it holds a secret: ".
    """

    __slots__ = ("_advice",)
    _advice: str

    def __new__(cls, text: str, advice: str = "make it in the process that uses it") -> Self:
        secret = super().__new__(cls, text)
        secret._advice = advice
        return secret

    def __repr__(self) -> str:
        return MASK

    def __rich_repr__(self) -> Iterator[Any]:
        yield MASK

    def __getitem__(self, index: Any) -> SecretText:
        # a part is a secret too: a debugger that shortens a long value takes one
        return SecretText(super().__getitem__(index), self._advice)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def __reduce_ex__(self, _protocol: object) -> tuple[Any, ...]:
        raise TypeError(f"cannot be pickled, since it holds a secret: {self._advice}")


class SecretBytes(bytes):
    """Bytes that hold a secret, such as a request with a password; only its `repr` differs from that of bytes."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"

    def __rich_repr__(self) -> Iterator[Any]:
        yield f"{len(self)} bytes"

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return SecretBytes(part) if isinstance(part, bytes) else part

    def __reduce_ex__(self, _protocol: object) -> tuple[Any, ...]:
        raise TypeError("cannot be pickled, since it holds a secret")


class SecretHeaders(dict[str, str]):
    """Headers whose values are secrets; the names are none. A value that is no text is left for the check of types."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(
            {name: SecretText(value) if isinstance(value, str) else value for name, value in headers.items()}
        )


def secret_url(url: str, advice: str = "make it in the process that uses it") -> str:
    """Return the URL, as a secret if it has a user, a password, a query or a fragment, or cannot be read.

    A text that is no URL is returned as it is.
    """
    return SecretText(url, advice) if shown_url(url) != url else url


def shown_url(url: str) -> str:
    """Return a URL for errors and `repr`: without user, password, query and fragment; a mask if it cannot be read.

    A password that is not escaped may end up in the port or the path. A text that is no URL is shown as it is.
    """
    if "://" not in url:
        return url if "@" not in url else MASK
    try:
        parts = urlsplit(url)
        _ = parts.port  # read, so that a malformed one is found
    except ValueError:
        return MASK
    if "@" in parts.path:
        return MASK
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


class ShownByRepr(msgspec.Struct, frozen=True):
    """A struct of which rich shows the `repr`: the `__rich_repr__` of other structs yields all fields."""

    def __rich_repr__(self) -> Any:
        """Return nothing, so that rich falls back on the `repr`."""
        return None


def tolerant_repr(method: Callable[[Any], str]) -> Callable[[Any], str]:
    """Decorate a `__repr__` that reads attributes: while the constructor runs, and after it raised, some are missing.

    A traceback with local variables shows such an object.
    """

    @functools.wraps(method)
    def show(self: Any) -> str:
        try:
            return method(self)
        except AttributeError:
            return f"<{type(self).__name__}, not made completely>"

    return show
