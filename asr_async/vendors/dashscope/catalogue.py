"""DashScope's rows of the catalogue, made from the two capability tables."""

from __future__ import annotations

from ..catalogue import ModelInfo, Segmentation
from .models import (
    CAPABILITIES,
    FORMATS,
    MIN_SAMPLE_RATE,
    TRANSLATION_TARGETS,
    Capability,
    FunASR,
    Gummy,
    GummyChat,
    Paraformer,
    QwenAudio,
    TaskOptions,
)
from .realtime_models import REALTIME_CAPABILITIES, REALTIME_FORMATS, QwenRealtime

__all__ = ["CATALOGUE", "FAMILIES"]

FAMILIES: tuple[type[TaskOptions], ...] = (Paraformer, FunASR, QwenAudio, Gummy, GummyChat)
"""The classes of the task models' options."""

_HOT_WORDS = ("vocabulary_id", "phrase_id", "vocabulary")


def _task_model(row: Capability) -> ModelInfo:
    family = next(cls for cls in FAMILIES if row.model.startswith(cls._family))
    return _info(row, family, formats=FORMATS, segmentation=_segmentation(row, family), max_audio_s=family.max_audio_s)


def _segmentation(row: Capability, family: type[TaskOptions]) -> tuple[Segmentation, ...]:
    if family.is_single_sentence:
        return ("one sentence",)
    return ("silence", "meaning") if "semantic_punctuation_enabled" in row.options else ("silence",)


def _realtime_model(row: Capability) -> ModelInfo:
    return _info(row, QwenRealtime, formats=REALTIME_FORMATS, segmentation=("silence", "caller"))


def _info(
    row: Capability,
    options: type[TaskOptions | QwenRealtime],
    *,
    formats: tuple[str, ...],
    segmentation: tuple[Segmentation, ...],
    max_audio_s: int | None = None,
) -> ModelInfo:
    has_lowest_rate = row.sample_rates is None and row.min_sample_rate > MIN_SAMPLE_RATE
    return ModelInfo(
        model=row.model,
        vendor=options.vendor,
        options=options.__name__,
        # audio
        sample_rates=row.sample_rates,
        min_sample_rate=row.min_sample_rate if has_lowest_rate else None,
        formats=formats,
        max_audio_s=max_audio_s,
        # words
        languages=row.languages,
        hot_words=tuple(name for name in _HOT_WORDS if name in row.options),
        context=row.context,
        # results
        segmentation=segmentation,
        emotion=row.emotion,
        translation=TRANSLATION_TARGETS if "translation_target_languages" in row.options else (),
        # limits
        starts_per_second=row.starts_per_second,
        yuan_per_second=row.yuan_per_second,
        regions=row.regions,
        source=row.source,
    )


CATALOGUE = (
    *map(_task_model, CAPABILITIES.values()),
    *map(_realtime_model, REALTIME_CAPABILITIES.values()),
)
"""All models of both protocols."""
