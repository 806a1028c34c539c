"""The base of every vendor's options: frozen values that are checked when they are made, before anything is sent.

A vendor's own options add fields and check them by its capability table. Does not know a vendor.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import msgspec

from ..audio import AudioFormat
from ..config import NamedSettings, did_you_mean
from ..errors import ConfigurationError
from .catalogue import Capabilities

__all__ = ["ContextMessage", "Options", "check_is_options", "check_range", "did_you_mean", "settle_mode"]


class ContextMessage(msgspec.Struct, frozen=True):
    """One message of a conversation, as context for the recognition: its names and terms are then recognised better.

    Args:
        role: the speaker of the message: the person whose audio is recognised, or the program that answers.
        text: the words of the message.
    """

    role: Literal["user", "assistant"]
    text: str


class Options(msgspec.Struct, frozen=True, kw_only=True, metaclass=NamedSettings):
    """The options of a recognition. Keyword-only; `msgspec.structs.replace(options, ...)` makes a changed copy.

    Options can be compared and hashed, also those with lists and mappings, so they can be keys of a cache.

    Raises:
        ConfigurationError: a value has the wrong type or is out of range, or the model does not have that option.
    """

    vendor: ClassVar[str]
    """The name of the options' vendor."""
    provider: ClassVar[str] = ""
    """The name of the vendor in telemetry (OpenTelemetry's `gen_ai.provider.name`); empty if it is `vendor`."""

    model: str
    """The name of the model."""

    @property
    def audio(self) -> AudioFormat:
        """The audio format that these options declare."""
        raise NotImplementedError

    def with_audio(self, formats: Sequence[AudioFormat]) -> Self:  # noqa: ARG002 - a vendor's options override it
        """Return options that declare the first of these formats that the model accepts and the options leave open.

        These options, unchanged, if there is none.
        """
        return self

    @property
    def spoken_language(self) -> str:
        """The only language that these options name, as a code; empty if the model detects it or there are several."""
        return ""

    @property
    def capabilities(self) -> Capabilities:
        """The abilities of a session with these options. Every vendor overrides this: by default few are known."""
        audio = self.audio
        return Capabilities(interims=True, words=False, sample_rates=(audio.sample_rate,), formats=(audio.encoding,))

    @property
    def max_audio_ms(self) -> int | None:
        """The longest audio of one session; None if there is no limit."""
        return None

    @property
    def silence_limit(self) -> str | None:
        """The way in which silent audio ends a session, in words for an error text; None if it does not."""
        return None

    @property
    def sentence_end_ms(self) -> int | None:
        """The silence behind the only sentence that the model recognises in a session; None if it recognises more.

        The vendor has recognised this silence as such: it is not left of the source.
        """
        return None

    @property
    def starts_per_second(self) -> int | None:
        """The published number of tasks that one account may start in a second with the model; None if not known."""
        return None

    def __hash__(self) -> int:
        return hash((type(self), *map(_hashable, msgspec.structs.astuple(self))))

    def __post_init__(self) -> None:
        for field in _fields(type(self)):
            value = getattr(self, field.name)
            try:
                msgspec.convert(value, field.type)
            except msgspec.ValidationError as error:
                # "Expected `int`, got `str`" and, for containers, where: " - at `$[0]`"
                reason = str(error).replace("Expected", "expected").replace("`", "")
                raise ConfigurationError(f"{field.name}={value!r}: {reason}") from None
            if isinstance(value, list):  # a copy: the caller may change the list later
                msgspec.structs.force_setattr(self, field.name, tuple(value))
            elif isinstance(value, dict):
                msgspec.structs.force_setattr(self, field.name, dict(value))
        self._check()

    def _check(self) -> None:
        """Check the values by the model's capabilities; each vendor overrides this."""


def _hashable(value: Any) -> Any:
    """Return a value that can be hashed, and that is equal for equal lists, tuples and mappings."""
    if isinstance(value, Mapping):
        return frozenset((name, _hashable(each)) for name, each in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_hashable, value))
    return value


@functools.cache
def _fields(options_class: type[Options]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(options_class)


def check_is_options(options: object) -> None:
    """Refuse what is not the options of a model.

    Raises:
        ConfigurationError: the text says what it is.
    """
    if isinstance(options, type) and issubclass(options, Options):
        raise ConfigurationError(f"{options.__name__} is a class: make options of it, {options.__name__}()")
    if not isinstance(options, Options):
        raise ConfigurationError(f"{type(options).__name__} is not the options of a model, such as Paraformer()")


def check_range(name: str, value: float | None, low: float, high: float, unit: str = "") -> None:
    """Refuse a value outside `low..high`; None passes.

    Raises:
        ConfigurationError: the value is out of range.
    """
    if value is not None and not low <= value <= high:
        unit = f" {unit}" if unit else ""
        raise ConfigurationError(f"{name}={value}: must be between {low} and {high}{unit}")


def settle_mode(options: Options, mode: object, modes: Collection[str], *, prefix: str, default: str) -> None:
    """Set `mode` and `model` of new options to the same value; either may be empty.

    Args:
        options: the options.
        mode: their mode; where it or the model has the wrong type, both stay as they are for the check of the types.
        modes: the names of the modes.
        prefix: the beginning of the models' names, before the mode.
        default: the mode if neither is given.

    Raises:
        ConfigurationError: a name is unknown, or the two contradict each other.
    """
    model: object = options.model
    if not (isinstance(mode, str) and isinstance(model, str)):
        return
    named = model.removeprefix(prefix)
    if model and named not in modes:
        known = [f"{prefix}{name}" for name in modes]
        raise ConfigurationError(f"unknown model {model!r}: {did_you_mean(model, known)}")
    if mode and mode not in modes:
        raise ConfigurationError(f"mode={mode!r}: {did_you_mean(mode, modes)}")
    if mode and named and mode != named:
        raise ConfigurationError(f"mode={mode!r} contradicts model={model!r}: pass only one of them")
    mode = mode or named or default
    msgspec.structs.force_setattr(options, "mode", mode)
    msgspec.structs.force_setattr(options, "model", f"{prefix}{mode}")
