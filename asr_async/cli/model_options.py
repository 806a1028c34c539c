"""The options `--option KEY=VALUE` and `--language`: text, converted to the types of the fields of the model's options.

Does not know which values a model allows: the options check them.
"""

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

__all__ = ["language_values", "option_values"]

_LANGUAGE_OPTIONS = ("language_hints", "language", "source_language")
"""The options of models that name the spoken language, or several of them if the first one is."""

_SWITCHES = {"yes": "true", "on": "true", "no": "false", "off": "false"}
"""Texts accepted for a boolean, in addition to those of msgspec (true, false, 1, 0)."""


def option_values(options_class: type[Options], assignments: Iterable[str]) -> dict[str, Any]:
    """Convert all `KEY=VALUE` assignments of one call.

    Raises:
        click.UsageError: an assignment has no `=`, its option does not exist, or its value has the wrong type.
    """
    declared = {field.name: field.type for field in msgspec.structs.fields(options_class)}
    del declared["model"]
    values = {}
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator:
            raise click.UsageError(f"--option must be KEY=VALUE, not {assignment!r}")
        if key not in declared:
            raise click.UsageError(_unknown_option(key, options_class.__name__, list(declared)))
        values[key] = _convert(key, text, declared[key])
    return values


def language_values(options_class: type[Options], languages: str | None) -> dict[str, Any]:
    """Return the option that names the spoken languages, of a list such as `zh,en`; empty if none are named.

    Raises:
        click.UsageError: the model has no such option, or it takes one language.
    """
    if languages is None:
        return {}
    declared = {field.name: field.type for field in msgspec.structs.fields(options_class)}
    name = next((name for name in _LANGUAGE_OPTIONS if name in declared), None)
    if name is None:
        raise click.UsageError(
            f"{options_class.__name__} has no option for the language: its model decides, see --model"
        )
    codes = [code.strip() for code in languages.split(",")]
    if any(_is_list(member) for member in _members(declared[name])):
        return {name: codes}
    if len(codes) > 1:
        raise click.UsageError(f"--language {languages}: {options_class.__name__} takes one language")
    return {name: codes[0]}


def _unknown_option(key: str, class_name: str, known: list[str]) -> str:
    if key == "model":
        return "use --model instead of --option model=…"
    nearest = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else "."
    return f"{class_name} has no option {key!r}{hint} Its options: {', '.join(sorted(known))}"


def _convert(key: str, text: str, declared: Any) -> object:
    for interpretation in _interpretations(text, declared):
        try:
            return msgspec.convert(interpretation, declared, strict=False)
        except msgspec.ValidationError:
            continue
    raise click.UsageError(f"--option {key}={text}: expected {_expectation(declared)}")


def _interpretations(text: str, declared: Any) -> Iterable[object]:
    """Yield the possible values of a text, the most literal first."""
    yield text
    yield _SWITCHES.get(text.lower(), text)
    with contextlib.suppress(msgspec.DecodeError):
        yield msgspec.json.decode(text)
    # Only for a field that accepts lists. For another one the text is a mistake, not a list with one item.
    if any(_is_list(member) for member in _members(declared)):
        yield [item.strip() for item in text.split(",")]


def _expectation(declared: Any) -> str:
    return " or ".join(_describe(member) for member in _members(declared))


def _describe(declared: Any) -> str:
    if typing.get_origin(declared) is typing.Literal:
        return " or ".join(str(value) for value in typing.get_args(declared))
    if _is_list(declared):
        return "a list, as a,b or as JSON" if typing.get_args(declared)[:1] == (str,) else "a list, as JSON"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return names.get(declared, "JSON")


def _members(declared: Any) -> tuple[Any, ...]:
    """Return the types of a union except None, which stands for an option that is not set."""
    if typing.get_origin(declared) in {typing.Union, types.UnionType}:
        return tuple(member for member in typing.get_args(declared) if member is not types.NoneType)
    return (declared,)


def _is_list(declared: Any) -> bool:
    kind = typing.get_origin(declared) or declared
    return isinstance(kind, type) and issubclass(kind, Collection) and not issubclass(kind, str | bytes | Mapping)
