"""OpenAI's rows of the catalogue, made from the table of models and the capabilities of the options."""

from __future__ import annotations

from typing import Any

from ..catalogue import ModelInfo, Segmentation, all_of
from .models import MODEL_ROWS, ModelRow, OpenAIRealtime
from .vllm_models import VLLM_MODELS, VLLM_SOURCE, VLLMRealtime

__all__ = ["CATALOGUE"]


def _info(row: ModelRow) -> ModelInfo:
    segmentation: tuple[Segmentation, ...] = ("silence", "meaning", "caller") if row.detects_turns else ("caller",)
    variants: tuple[dict[str, Any], ...] = ({}, {"manual_commit": True})
    return ModelInfo(
        **all_of(*(OpenAIRealtime(model=row.model, **variant).capabilities for variant in variants)),
        model=row.model,
        vendor=OpenAIRealtime.vendor,
        options=OpenAIRealtime.__name__,
        segmentation=segmentation,
        source=row.source,
    )


def _vllm_info(model: str) -> ModelInfo:
    return ModelInfo(
        **all_of(VLLMRealtime(model=model).capabilities),
        model=model,
        vendor=VLLMRealtime.vendor,
        options=VLLMRealtime.__name__,
        segmentation=(),
        source=VLLM_SOURCE,
    )


CATALOGUE = (*map(_info, MODEL_ROWS.values()), *map(_vllm_info, VLLM_MODELS))
"""All models for realtime transcription."""
