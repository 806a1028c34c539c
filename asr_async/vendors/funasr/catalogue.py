"""The rows of FunASR's own servers in the catalogue, made from the capabilities of the options."""

from __future__ import annotations

from ..catalogue import ModelInfo, all_of
from .models import MODES, NANO_MODEL, FunASR2Pass, FunASRNano, Mode

__all__ = ["CATALOGUE"]


def _info(mode: Mode) -> ModelInfo:
    options = FunASR2Pass(mode=mode.name)
    return ModelInfo(
        **all_of(options.capabilities),
        model=options.model,
        vendor=FunASR2Pass.vendor,
        options=FunASR2Pass.__name__,
        segmentation=("silence",),
        source="FunASR runtime/docs/websocket_protocol.md, 2024, and the code of its servers, 2026",
    )


CATALOGUE = (
    ModelInfo(
        **all_of(FunASRNano().capabilities, FunASRNano(manual_commit=True).capabilities),
        model=NANO_MODEL,
        vendor=FunASRNano.vendor,
        options=FunASRNano.__name__,
        segmentation=("silence", "caller"),
        source=(
            "PyPI funasr 1.4.16, funasr/bin/realtime_ws.py, and its README (languages of Fun-ASR-Nano-2512), "
            "2026-09-18; realtime_demo.md, 2026-07"
        ),
    ),
    *(_info(mode) for mode in MODES.values()),
)
"""A row for the real-time server and one for each mode of the 2pass protocol: a server is started with
its model, and no message names it."""
