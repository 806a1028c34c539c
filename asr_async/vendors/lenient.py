"""Lenient reading of a vendor's messages: a member that cannot be used is left out, the rest of the message is used.

Theory of operation. A message is decoded strictly first, in one step of msgspec, which is all that a message of the
documented shape costs. A message that the strict decoder refuses is read again here: as plain JSON, and then member by
member against the same structs. A value of another type is converted where its meaning is plain ("3" for 3, 100.0 for
100, 500 for "500", "true" for true); every other value that does not fit is left out like a missing member, and the
item of an array like a missing item. The bounds of a member are those of its type (`Milliseconds`, `Ratio`).

Everything that a server may make large is bounded before it is read: the number of values, the depth of objects and
arrays, and the digits of a number.

Only two kinds of members can make a message unreadable: those without a default, and those of the type `Name`. Does not
know vendors, the order of messages or the log: the names of the members that were left out are returned.
"""

from __future__ import annotations

import functools
import json
import math
import re
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar, cast

from msgspec import Meta, UnsetType, inspect

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "MAX_MS",
    "Count",
    "Identifier",
    "LenientReader",
    "Milliseconds",
    "Name",
    "Ratio",
    "UnreadableError",
    "known_ms",
    "parse_json",
    "without_lone_surrogates",
    "word_start_ms",
]

M = TypeVar("M")
N = TypeVar("N", int, float)

LONGEST_WORD_MS = 1_500
"""A word that ends behind that began later than at the start of the audio."""

MAX_VALUES = 100_000
"""The most brackets and commas in a text that is read leniently, which takes some 50 ms then; a sentence of a thousand
words has five thousand. A long text costs little, and its size is bounded by that of a WebSocket message."""

MAX_DEPTH = 32
"""The depth to which objects and arrays are read; deeper ones are read as null. Messages have up to eight levels."""

MAX_INT_DIGITS = 18
"""An integer with more digits is unreadable; with these, it fits into 64 bits."""

MAX_NUMBER_CHARS = 400
"""Any other number with more characters is unreadable: the time to convert it grows with the square of its length."""

MAX_MS = 1_000_000_000
"""The latest time in a task's audio that is believed: eleven days. No vendor's task lasts longer than some hours."""

Milliseconds = Annotated[int, Meta(ge=-MAX_MS, le=MAX_MS)]
"""A time in the audio of a task; -1 stands for "not known" (see `known_ms`), and a time shortly before the start of the
audio is jitter."""

Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
"""An index, or the number of something."""

Ratio = Annotated[float, Meta(ge=0, le=1)]
"""A confidence or a score, from 0 to 1."""

Name = Annotated[str, Meta(extra={"is_name": True})]
"""The member by which a message is recognised: the message is unreadable if it holds anything but a text."""

Identifier = Annotated[str, Meta(extra={"is_id": True})]
"""A text that is compared with one of ours: a number is not converted, since it would only look like another id."""

_NUMBER = re.compile(r"\s*[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?\s*")
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[{]|[\]}]', re.DOTALL)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_BOOLEANS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}


class UnreadableError(ValueError):
    """A text that is no JSON, has too many values, or lacks a member that is needed."""


class _MisfitError(Exception):
    """A value that cannot be converted to the type of its member."""


class LenientReader(Generic[M]):
    """Reads messages of one type: a struct, or a union of tagged structs.

    The members may be texts, numbers, booleans, dicts, `Any`, structs, tuples of any length, and unions of these.
    """

    __slots__ = ("_type",)

    def __init__(self, message_type: Any) -> None:
        """Make a reader; the type is examined at the first message that is read."""
        self._type = message_type

    def __repr__(self) -> str:
        return f"<LenientReader {self._type!r}>"

    def read(self, text: str) -> tuple[M, tuple[str, ...]]:
        """Return the message, and the names of the members that were left out ("segments[].start_time").

        Raises:
            UnreadableError: the text is no JSON, has too many values, or lacks a member that is needed.
        """
        conversion = _Conversion()
        try:
            message = conversion.convert(parse_json(text), _type_info(self._type), "")
        except _MisfitError:
            raise UnreadableError("a member that is needed cannot be read") from None
        return cast("M", message), tuple(conversion.left_out)


def known_ms(time_ms: int | UnsetType | None) -> int | None:
    """Return a time in a message, or None if it is missing, null or -1: the official SDKs initialise times with -1."""
    return time_ms if isinstance(time_ms, int) and time_ms != -1 else None


def word_start_ms(start_ms: int | UnsetType | None, end_ms: int | UnsetType | None) -> int | None:
    """Return the start of a word as `known_ms`; -1 is the start of the audio if the word ends directly behind that."""
    if start_ms == -1 and isinstance(end_ms, int) and 0 <= end_ms < LONGEST_WORD_MS:
        return 0
    return known_ms(start_ms)


def parse_json(text: str) -> Any:
    """Return the plain values of a JSON text; what exceeds the bounds becomes None (depth) or NaN (digits).

    NaN, Infinity, control characters in strings and a byte order mark are accepted, as other JSON writers produce them.

    Raises:
        UnreadableError: the text is no JSON, or has more than `MAX_VALUES` brackets and commas.
    """
    if text.count("[") + text.count("{") + text.count(",") > MAX_VALUES:
        raise UnreadableError(f"more than {MAX_VALUES} values")
    try:
        return _decoder.decode(_without_deep_parts(text.removeprefix("\ufeff")))
    except (ValueError, RecursionError) as error:
        raise UnreadableError(str(error)) from None


def without_lone_surrogates(text: str) -> str:
    """Replace lone surrogates: they are legal in JSON, but such a text can neither be printed nor stored."""
    return _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def _without_deep_parts(text: str) -> str:
    """Replace the objects and arrays below `MAX_DEPTH` by null."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return text
    kept: list[str] = []
    depth = kept_from = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        first = text[match.start()]
        if first in "[{":
            depth += 1
            if depth == MAX_DEPTH + 1:
                kept.append(text[kept_from : match.start()])
        elif first in "]}":
            if depth == MAX_DEPTH + 1:
                kept.append("null")
                kept_from = match.end()
            depth -= 1
    if depth:
        raise UnreadableError("an object or an array is not closed")
    return "".join([*kept, text[kept_from:]])


def _parse_int(digits: str) -> float:
    return int(digits) if len(digits.lstrip("-")) <= MAX_INT_DIGITS else math.nan


def _parse_float(digits: str) -> float:
    return float(digits) if len(digits) <= MAX_NUMBER_CHARS else math.nan


_decoder = json.JSONDecoder(parse_int=_parse_int, parse_float=_parse_float, strict=False)


@functools.cache
def _type_info(message_type: Any) -> inspect.Type:
    return inspect.type_info(message_type)


class _Conversion:
    """The conversion of one message's plain values to structs."""

    __slots__ = ("left_out",)

    def __init__(self) -> None:
        # the names of the members that do not fit, each once, in the order in which they are declared
        self.left_out: dict[str, None] = {}

    def convert(self, value: Any, info: inspect.Type, name: str) -> Any:
        """Return a value as its type requires.

        Args:
            value: the plain value.
            info: the type.
            name: the name of the member, with those of the members that it is part of.

        Raises:
            _MisfitError: the value does not fit.
        """
        kind = type(info)  # matching structs of other types, as these are, takes several times as long
        if (scalar := _SCALARS.get(kind)) is not None:
            return scalar(value, info)
        return _COMPOSITES[kind](self, value, info, name)

    def struct(self, value: Any, info: inspect.StructType, name: str) -> Any:
        if not isinstance(value, dict) or (info.tag_field and value.get(info.tag_field) != info.tag):
            raise _MisfitError
        members: dict[str, Any] = {}
        for field in info.fields:
            if field.encode_name not in value and not field.required:
                continue
            field_name = f"{name}.{field.encode_name}" if name else field.encode_name
            try:
                members[field.name] = self.convert(value.get(field.encode_name), field.type, field_name)
            except _MisfitError:
                if field.required or _is_name(field.type):
                    raise
                self.left_out[field_name] = None
        return info.cls(**members)

    def union(self, value: Any, info: inspect.UnionType, name: str) -> Any:
        if value is None and info.includes_none:
            return None
        for member in info.types:
            try:
                return self.convert(value, member, name)
            except _MisfitError:
                continue
        raise _MisfitError

    def tuple(self, value: Any, info: inspect.VarTupleType, name: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _MisfitError
        items: list[Any] = []
        for item in value:
            try:
                items.append(self.convert(item, info.item_type, f"{name}[]"))
            except _MisfitError:
                self.left_out[f"{name}[]"] = None
        return tuple(items)

    def marked(self, value: Any, info: inspect.Metadata, name: str) -> Any:
        if not isinstance(value, str):  # `Name` and `Identifier` are the only types that are marked
            raise _MisfitError
        return self.convert(value, info.type, name)


def _is_name(info: inspect.Type) -> bool:
    if isinstance(info, inspect.UnionType):
        return any(_is_name(member) for member in info.types)
    return isinstance(info, inspect.Metadata) and "is_name" in (info.extra or {})


def _text(value: Any, _info: inspect.StrType) -> str:
    return without_lone_surrogates(value) if isinstance(value, str) else str(_number(value))


def _int(value: Any, info: inspect.IntType) -> int:
    return _bounded(int(_number(value)), info)


def _float(value: Any, info: inspect.FloatType) -> float:
    return _bounded(float(_number(value)), info)


def _number(value: Any) -> int | float:
    """Return a finite number that fits into 64 bits."""
    if isinstance(value, str) and len(value) <= MAX_NUMBER_CHARS and _NUMBER.fullmatch(value):
        digits = value.strip()
        value = _parse_int(digits) if digits.lstrip("+-").isdecimal() else float(digits)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _MisfitError
    if not math.isfinite(value) or abs(value) >= 10**MAX_INT_DIGITS:
        raise _MisfitError
    return value


def _bounded(number: N, info: inspect.IntType | inspect.FloatType) -> N:
    if (info.ge is not None and number < info.ge) or (info.le is not None and number > info.le):
        raise _MisfitError
    return number


def _bool(value: Any, _info: inspect.BoolType) -> bool:
    boolean = _BOOLEANS.get(str(value).lower()) if isinstance(value, str | int | float) else None
    if boolean is None:
        raise _MisfitError
    return boolean


def _dict(value: Any, _info: inspect.DictType) -> Any:
    if not isinstance(value, dict):
        raise _MisfitError
    return _any(value)  # of any values: no message has a member of a more exact type


def _none(value: Any, _info: inspect.NoneType) -> None:
    if value is not None:
        raise _MisfitError


def _any(value: Any, _info: inspect.AnyType | None = None) -> Any:
    """Return plain values of any shape; `parse_json` has bounded their depth."""
    if isinstance(value, str):
        return without_lone_surrogates(value)
    if isinstance(value, dict):
        return {without_lone_surrogates(name): _any(member) for name, member in value.items()}
    return [_any(item) for item in value] if isinstance(value, list) else value


_SCALARS: dict[type[inspect.Type], Callable[[Any, Any], Any]] = {
    inspect.StrType: _text,
    inspect.IntType: _int,
    inspect.FloatType: _float,
    inspect.BoolType: _bool,
    inspect.DictType: _dict,
    inspect.NoneType: _none,
    inspect.AnyType: _any,
}

_COMPOSITES: dict[type[inspect.Type], Callable[[_Conversion, Any, Any, str], Any]] = {
    inspect.StructType: _Conversion.struct,
    inspect.UnionType: _Conversion.union,
    inspect.VarTupleType: _Conversion.tuple,
    inspect.Metadata: _Conversion.marked,
}
