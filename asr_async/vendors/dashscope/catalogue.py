"""DashScope's rows of the catalogue, made from the two tables of models and the capabilities of the options."""

from __future__ import annotations

from typing import Any

from ..catalogue import ModelInfo, Segmentation, all_of
from .models import MODEL_ROWS, FunASR, Gummy, GummyChat, ModelRow, Paraformer, QwenAudio, TaskOptions
from .realtime_models import REALTIME_MODEL_ROWS, QwenRealtime

__all__ = ["CATALOGUE", "FAMILIES"]

FAMILIES: tuple[type[TaskOptions], ...] = (Paraformer, FunASR, QwenAudio, Gummy, GummyChat)
"""The classes of the task models' options."""

_SWITCHES: tuple[dict[str, Any], ...] = ({"intermediate_result_enabled": True}, {"manual_commit": True})
"""The options that turn an ability on."""


def _task_model(row: ModelRow) -> ModelInfo:
    family = next(cls for cls in FAMILIES if row.model.startswith(cls._family))
    return _info(row, family, segmentation=_segmentation(row, family), max_audio_s=family.max_audio_s)


def _segmentation(row: ModelRow, family: type[TaskOptions]) -> tuple[Segmentation, ...]:
    if family.is_single_sentence:
        return ("one sentence",)
    return ("silence", "meaning") if "semantic_punctuation_enabled" in row.options else ("silence",)


def _realtime_model(row: ModelRow) -> ModelInfo:
    return _info(row, QwenRealtime, segmentation=("silence", "caller"))


def _info(
    row: ModelRow,
    options: type[TaskOptions | QwenRealtime],
    *,
    segmentation: tuple[Segmentation, ...],
    max_audio_s: int | None = None,
) -> ModelInfo:
    rate = (row.sample_rates or (16_000,))[0]
    variants = [{}, *(switch for switch in _SWITCHES if row.options.issuperset(switch))]
    return ModelInfo(
        **all_of(*(options(model=row.model, sample_rate=rate, **variant).capabilities for variant in variants)),
        model=row.model,
        vendor=options.vendor,
        options=options.__name__,
        segmentation=segmentation,
        # limits
        max_audio_s=max_audio_s,
        starts_per_second=row.starts_per_second,
        yuan_per_second=row.yuan_per_second,
        prices=row.prices,
        regions=row.regions,
        source=row.source,
        notes=row.notes,
    )


CATALOGUE = (
    *map(_task_model, MODEL_ROWS.values()),
    *map(_realtime_model, REALTIME_MODEL_ROWS.values()),
)
"""All models of both protocols."""
