"""What options are for every vendor: frozen values that are checked when they are made, before anything is sent.

A vendor's own options add its fields and hold them against its capability table. Nothing here knows a vendor.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import msgspec

from ..audio import AudioFormat
from ..errors import ConfigurationError

__all__ = ["ContextMessage", "Options", "check_range", "did_you_mean"]


class ContextMessage(msgspec.Struct, frozen=True):
    """One turn of a conversation that the recognition should know of, to get its names and terms right."""

    role: Literal["user", "assistant"]
    text: str


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What to recognise. Keyword-only; `msgspec.structs.replace(options, ...)` makes a changed copy.

    Raises:
        ConfigurationError: a value has the wrong type, is out of range, or the model does not have that option.
    """

    vendor: ClassVar[str]
    """Name of the vendor whose options these are."""

    model: str

    @property
    def audio(self) -> AudioFormat:
        """The audio that these options declare."""
        raise NotImplementedError

    @property
    def max_audio_ms(self) -> int | None:
        """The longest audio that one session takes; None where there is no limit."""
        return None

    @property
    def silence_limit(self) -> str | None:
        """How a session ends in silence, however much of it is sent, in words for an error; None where it does not."""
        return None

    @property
    def starts_per_second(self) -> int | None:
        """How many tasks one account may start in a second with the model, as published; None: not known."""
        return None

    def __post_init__(self) -> None:
        for field in _fields(type(self)):
            value = getattr(self, field.name)
            try:
                msgspec.convert(value, field.type)
            except msgspec.ValidationError as error:
                # "Expected `int`, got `str`" and, for containers, where: " - at `$[0]`"
                reason = str(error).replace("Expected", "expected").replace("`", "")
                raise ConfigurationError(f"{field.name}={value!r}: {reason}") from None
            if isinstance(value, list):  # the caller's list may change later, options never do
                msgspec.structs.force_setattr(self, field.name, tuple(value))
            elif isinstance(value, dict):
                msgspec.structs.force_setattr(self, field.name, dict(value))
        self._check()

    def _check(self) -> None:
        """Hold the values against what the model can do; for the vendor to fill in."""


@functools.cache
def _fields(options_class: type[Options]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(options_class)


def check_range(name: str, value: float | None, low: float, high: float, unit: str = "") -> None:
    """Refuse a value outside `low..high`; None passes.

    Raises:
        ConfigurationError: the value is out of range.
    """
    if value is not None and not low <= value <= high:
        unit = f" {unit}" if unit else ""
        raise ConfigurationError(f"{name}={value}: must be between {low} and {high}{unit}")


def did_you_mean(name: Any, known: Iterable[str]) -> str:
    """The nearest known name as a question for the end of an error text; all of them when none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
