"""`--option KEY=VALUE`: text becomes a field of a model's options, by the field's declared type."""

from __future__ import annotations

import contextlib
import difflib
import types
import typing
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import click
import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..vendors.options import Options

__all__ = ["option_values"]

_SWITCHES = {"yes": "true", "on": "true", "no": "false", "off": "false"}
"""What people write for a boolean, beside what msgspec reads by itself (true, false, 1, 0)."""


def option_values(options_class: type[Options], assignments: Iterable[str]) -> dict[str, Any]:
    """Read all `KEY=VALUE` of one call.

    Raises:
        click.UsageError: there is no `=`, no such option, or the value is not of its type.
    """
    declared = {field.name: field.type for field in msgspec.structs.fields(options_class)}
    del declared["model"]
    values = {}
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator:
            raise click.UsageError(f"--option takes KEY=VALUE, not {assignment!r}")
        if key not in declared:
            raise click.UsageError(_unknown(key, options_class.__name__, list(declared)))
        values[key] = _convert(key, text, declared[key])
    return values


def _unknown(key: str, class_name: str, known: list[str]) -> str:
    if key == "model":
        return "--option model=… is written --model …"
    nearest = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else "."
    return f"{class_name} has no option {key!r}{hint} It has: {', '.join(sorted(known))}"


def _convert(key: str, text: str, declared: Any) -> object:
    for reading in _readings(text, declared):
        try:
            return msgspec.convert(reading, declared, strict=False)
        except msgspec.ValidationError:
            continue
    raise click.UsageError(f"--option {key}={text}: expected {_expected(declared)}")


def _readings(text: str, declared: Any) -> Iterable[object]:
    """All that the text may stand for, the most literal first."""
    yield text
    yield _SWITCHES.get(text.lower(), text)
    with contextlib.suppress(msgspec.DecodeError):
        yield msgspec.json.decode(text)
    # A list only: a mistyped number must not become one for a field that also takes lists of numbers.
    if any(_is_list(member) for member in _members(declared)):
        yield [item.strip() for item in text.split(",")]


def _expected(declared: Any) -> str:
    return " or ".join(_describe(member) for member in _members(declared))


def _describe(declared: Any) -> str:
    if typing.get_origin(declared) is typing.Literal:
        return " or ".join(str(value) for value in typing.get_args(declared))
    if _is_list(declared):
        return "a list, as a,b or as JSON" if typing.get_args(declared)[:1] == (str,) else "a list, as JSON"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return names.get(declared, "JSON")


def _members(declared: Any) -> tuple[Any, ...]:
    """The types of a union but None, which means that the option is not given at all."""
    if typing.get_origin(declared) in {typing.Union, types.UnionType}:
        return tuple(member for member in typing.get_args(declared) if member is not types.NoneType)
    return (declared,)


def _is_list(declared: Any) -> bool:
    kind = typing.get_origin(declared) or declared
    return isinstance(kind, type) and issubclass(kind, Collection) and not issubclass(kind, str | bytes | Mapping)
