"""The choice of an engine by its name, or of the best one that is installed.

The name of a model of the user's own is `sherpa:` and its folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...errors import ConfigurationError
from .model_folder import find_model
from .moonshine import Moonshine
from .pocketsphinx import PocketSphinx
from .sherpa import Sherpa

if TYPE_CHECKING:
    from collections.abc import Callable

    from .engine import Engine

__all__ = ["ENGINE_NAMES", "EngineChoice", "choose_engine"]

SHERPA_PREFIX = "sherpa:"

_ENGINES: dict[str, Callable[[], Engine]] = {"moonshine": Moonshine, "pocketsphinx": PocketSphinx}

ENGINE_NAMES = (*_ENGINES, f"{SHERPA_PREFIX}FOLDER")
"""The names of engines, the best one that needs no model of the user's first."""


class EngineChoice(NamedTuple):
    """An engine, and a line about it for people."""

    engine: Engine
    description: str


def choose_engine(name: str | None = None) -> EngineChoice:
    """Return the engine with this name, or the best one that is installed.

    Raises:
        ConfigurationError: no engine has this name, or the folder in it holds no model that can be run; or none is
            named, and none is installed.
    """
    if name is not None:
        return _named(name)
    reason = Moonshine.missing()
    if reason is None:
        return EngineChoice(Moonshine(), "moonshine (English)")
    if PocketSphinx.missing() is None:
        return EngineChoice(PocketSphinx(), f"pocketsphinx (English, many errors), since {reason}")
    raise ConfigurationError(f"no recogniser is installed: {reason}")


def _named(name: str) -> EngineChoice:
    if name in _ENGINES:
        return EngineChoice(_ENGINES[name](), name)
    if name.startswith(SHERPA_PREFIX) and name != SHERPA_PREFIX:
        folder = Path(name.removeprefix(SHERPA_PREFIX)).expanduser()
        return EngineChoice(Sherpa(folder), f"sherpa ({find_model(folder).family.name} model in {folder})")
    *names, last = ENGINE_NAMES
    raise ConfigurationError(f"engine={name!r}: there is no such engine: choose {', '.join(names)} or {last}")
