"""The rows of FunASR's own servers in the catalogue, made from the capabilities of the options."""

from __future__ import annotations

from ..catalogue import ModelInfo, all_of
from .models import NANO_MODEL, FunASRNano

__all__ = ["CATALOGUE"]

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
)
"""One row for each protocol: a server is started with its model, and no message names it."""
