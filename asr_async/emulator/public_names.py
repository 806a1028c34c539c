"""The public names of the package, which imports this module when one of them is used."""

from __future__ import annotations

from .engines.engine import Engine, EngineRefusedError, Hypothesis, HypothesisWord, Recognition, Request
from .engines.moonshine import Moonshine
from .engines.pocketsphinx import PocketSphinx
from .engines.scripted import Scripted
from .engines.sherpa import Sherpa
from .faults import Fault, Faults
from .positions import position_audio, position_of
from .server import Emulator, serve
from .tape_server import Replay, replay

__all__ = [
    "Emulator",
    "Engine",
    "EngineRefusedError",
    "Fault",
    "Faults",
    "Hypothesis",
    "HypothesisWord",
    "Moonshine",
    "PocketSphinx",
    "Recognition",
    "Replay",
    "Request",
    "Scripted",
    "Sherpa",
    "position_audio",
    "position_of",
    "replay",
    "serve",
]
