"""Alibaba Cloud's DashScope (Model Studio): Paraformer and Fun-ASR over the task protocol."""

from __future__ import annotations

from ..registry import Vendor
from .models import CAPABILITIES, ContextMessage, FunASR, Paraformer
from .service import INFERENCE_PATH, DashScope, TemporaryKey

__all__ = ["VENDOR", "ContextMessage", "DashScope", "FunASR", "Paraformer", "TemporaryKey"]

VENDOR = Vendor(
    name="dashscope",
    options=(Paraformer, FunASR),
    models={
        model: next(cls for cls in (Paraformer, FunASR) if model.startswith(cls._family)) for model in CAPABILITIES
    },
    default_model="paraformer-realtime-v2",
    service=DashScope,
    key_variables=("DASHSCOPE_API_KEY",),
    local_service=lambda address: DashScope("local", endpoint=f"ws://{address}{INFERENCE_PATH}"),
)
"""How the rest of the library finds this vendor."""
