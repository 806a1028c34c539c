"""A local service that speaks the vendors' protocols from the other side, with a recogniser or a script behind it.

`serve()` opens it on a loopback port. The client of this library, a vendor's official SDK or any WebSocket client can
be pointed at it; it is as strict as the vendors' documents. Each vendor has one room (`dashscope.py`, `huawei.py`);
what listens is an `Engine` and knows no protocol. `serve(faults=[...])` lets things go wrong on demand (`faults.py`);
`replay()` plays a recorded session back. Nothing else in the library imports this package, except what starts it.
"""

from __future__ import annotations

from .engines.engine import Engine, EngineRefusedError, Hypothesis, HypothesisWord, Recognition, Request
from .engines.pocketsphinx import PocketSphinx
from .engines.scripted import Scripted
from .faults import Fault, Faults
from .positions import position_audio, position_of
from .replay import Replay, replay
from .server import Emulator, serve

__all__ = [
    "Emulator",
    "Engine",
    "EngineRefusedError",
    "Fault",
    "Faults",
    "Hypothesis",
    "HypothesisWord",
    "PocketSphinx",
    "Recognition",
    "Replay",
    "Request",
    "Scripted",
    "position_audio",
    "position_of",
    "replay",
    "serve",
]
