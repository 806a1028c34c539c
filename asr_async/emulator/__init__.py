"""A local server that speaks the vendors' protocols from the server's side, with a recogniser or a script behind them.

`serve()` opens it on a loopback port. The client of this library, a vendor's official SDK or any WebSocket client can
connect to it; it is as strict as the vendors' documents. Each vendor has one package (`dashscope/`, `huawei/`); an
`Engine` recognises the audio and knows no protocol. `serve(faults=[...])` injects faults on demand (`faults.py`);
`replay()` plays back a recorded session. `pytest_plugin` has fixtures for the tests of other projects. No other part of
the library imports this package, except to start it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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


def __getattr__(name: str) -> object:
    """Load all names with the first use of one: pytest loads the plugin in this package in every project."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import public_names  # noqa: PLC0415 - the reason of this function

    globals().update({each: getattr(public_names, each) for each in __all__})
    value: object = globals()[name]
    return value
