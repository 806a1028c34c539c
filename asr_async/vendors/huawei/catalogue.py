"""Huawei's rows of the catalogue, made from the table of modes and the capabilities of the options."""

from __future__ import annotations

from ..catalogue import ModelInfo, Segmentation, all_of
from .models import MODEL_PREFIX, MODES, REGIONS, Mode, Rasr

__all__ = ["CATALOGUE"]


_NOTES = {
    "short": (
        "not spoken: /asr/short-audio, another interface for recordings of a minute (sasr in the official SDK)",
        "/asr/short-stream, the path of a Java sample of the documents (2021-10), is a misprint of this mode's path",
    )
}
"""Mode → interfaces with similar names."""


def _info(mode: Mode) -> ModelInfo:
    options = Rasr(mode=mode.name, need_word_info=True)
    return ModelInfo(
        **all_of(options.capabilities),
        model=f"{MODEL_PREFIX}{mode.name}",
        other_names=(mode.name,),
        vendor=Rasr.vendor,
        options=Rasr.__name__,
        segmentation=_segmentation(mode),
        max_audio_s=mode.max_audio_s,
        regions=REGIONS,
        source=mode.source,
        notes=_NOTES.get(mode.name, ()),
    )


def _segmentation(mode: Mode) -> tuple[Segmentation, ...]:
    if mode.is_single_sentence:
        return ("one sentence",)
    return ("silence",) if "vad_tail" in mode.options else ()


CATALOGUE = tuple(_info(mode) for mode in MODES.values())
"""All modes."""
