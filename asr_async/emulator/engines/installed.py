"""The choice of an engine by its name, or of the best one that is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ...errors import ConfigurationError
from .moonshine import Moonshine
from .pocketsphinx import PocketSphinx

if TYPE_CHECKING:
    from collections.abc import Callable

    from .engine import Engine

__all__ = ["ENGINE_NAMES", "EngineChoice", "choose_engine"]

_ENGINES: dict[str, Callable[[], Engine]] = {"moonshine": Moonshine, "pocketsphinx": PocketSphinx}

ENGINE_NAMES = tuple(_ENGINES)
"""The engines that need no arguments, the best one first."""


class EngineChoice(NamedTuple):
    """An engine, and a line about it for people."""

    engine: Engine
    description: str


def choose_engine(name: str | None = None) -> EngineChoice:
    """Return the engine with this name, or the best one that is installed.

    Raises:
        ConfigurationError: no engine has this name; or none is named, and none is installed.
    """
    if name is not None:
        if name not in _ENGINES:
            names = " and ".join(map(repr, ENGINE_NAMES))
            raise ConfigurationError(f"engine={name!r}: the engines with a name are {names}; pass others as an object")
        return EngineChoice(_ENGINES[name](), name)
    reason = Moonshine.missing()
    if reason is None:
        return EngineChoice(Moonshine(), "moonshine (English)")
    if PocketSphinx.missing() is None:
        return EngineChoice(PocketSphinx(), f"pocketsphinx (English, many errors), since {reason}")
    raise ConfigurationError(f"no recogniser is installed: {reason}")
