"""Huawei's rows of the catalogue, made from the table of modes."""

from __future__ import annotations

from ..catalogue import ModelInfo, Segmentation
from .models import AUDIO_FORMATS, LANGUAGES, MODEL_PREFIX, MODES, REGIONS, Mode, Rasr

__all__ = ["CATALOGUE"]

_HOT_WORDS = ("vocabulary_id", "user_words")


def _info(mode: Mode) -> ModelInfo:
    return ModelInfo(
        model=f"{MODEL_PREFIX}{mode.name}",
        other_names=(mode.name,),
        vendor=Rasr.vendor,
        options=Rasr.__name__,
        sample_rates=tuple(sorted({audio.sample_rate for audio in AUDIO_FORMATS.values()})),
        formats=tuple(dict.fromkeys(audio.encoding for audio in AUDIO_FORMATS.values())),
        max_audio_s=mode.max_audio_s,
        languages=LANGUAGES,
        hot_words=tuple(name for name in _HOT_WORDS if name in mode.options),
        segmentation=_segmentation(mode),
        regions=REGIONS,
        source=mode.source,
    )


def _segmentation(mode: Mode) -> tuple[Segmentation, ...]:
    if mode.is_single_sentence:
        return ("one sentence",)
    return ("silence",) if "vad_tail" in mode.options else ()


CATALOGUE = tuple(_info(mode) for mode in MODES.values())
"""All modes."""
