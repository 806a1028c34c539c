"""Damaged and unusual forms of a vendor's message, for the promise that a codec raises nothing but an `ASRError`.

Every message is changed in the same ways at every run. Does not know a vendor: JSON is recognised as such, other
messages are changed as text or bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

__all__ = ["mutations", "with_unknown_members"]

_VALUES: tuple[Any, ...] = (None, 0, -1, 10**30, 1.5, True, "", "x", "-1", [], [None], {}, {"a": {}}, "\ud800")
MAX_PLACES = 60
"""The members of one message that are changed."""


def mutations(message: str | bytes) -> Iterator[tuple[str, str | bytes]]:
    """Yield changed forms of a message, each with a description."""
    yield "an empty message", message[:0]
    yield "a message cut in half", message[: len(message) // 2]
    yield "a message that is sent twice in one", message + message  # type: ignore[operator]
    yield "a message in binary", message.encode() if isinstance(message, str) else b"\xff" + message
    yield "binary data", b"\x00\xff\x13\x37" * 8
    for text in ("null", "[]", "7", '"text"', "{}", "{", "[" * 500, "NaN", '{"a": 1e999}', "\x00", "text"):
        yield f"the text {text[:12]!r}", text
    value = _decoded(message)
    if isinstance(value, dict | list):
        yield from _changed_members(value)


def _changed_members(value: Any) -> Iterator[tuple[str, str]]:
    for path in [*_paths(value)][:MAX_PLACES]:
        where = ".".join(map(str, path))
        yield f"a message without {where}", _encoded(_changed(value, path, delete=True))
        for other in _VALUES:
            yield f"a message with {where}={other!r}", _encoded(_changed(value, path, other))


def with_unknown_members(message: str | bytes) -> str | bytes:
    """Return a JSON message with members that no vendor has, in each of its objects; another message as it is."""
    value = _decoded(message)
    if not isinstance(value, dict):
        return message
    text = _encoded(_extended(value))
    return text if isinstance(message, str) else text.encode()


def _extended(value: Any) -> Any:
    if isinstance(value, dict):
        members = {name: _extended(member) for name, member in value.items()}
        return {**members, "unknown_to_all": {"text": ["a", 1, None]}}
    return [_extended(item) for item in value] if isinstance(value, list) else value


def _decoded(message: str | bytes) -> Any:
    try:
        return json.loads(message)
    except ValueError:
        return None


def _encoded(value: Any) -> str:
    return json.dumps(value)


def _paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        yield (*path, name)
        yield from _paths(member, (*path, name))


def _changed(value: Any, path: tuple[str | int, ...], other: Any = None, *, delete: bool = False) -> Any:
    name, *rest = path
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    if rest:
        copy[name] = _changed(value[name], tuple(rest), other, delete=delete)
    elif delete:
        del copy[name]
    else:
        copy[name] = other
    return copy
