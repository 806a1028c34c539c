"""Alibaba Cloud's DashScope (Model Studio): the models of the task protocol, and Qwen-ASR over the realtime one."""

from __future__ import annotations

from ..options import ContextMessage
from ..registry import Vendor
from .models import CAPABILITIES, FunASR, Gummy, GummyChat, Paraformer, QwenAudio
from .realtime_models import REALTIME_CAPABILITIES, QwenRealtime
from .service import INFERENCE_PATH, DashScope, TemporaryKey

__all__ = [
    "VENDOR",
    "ContextMessage",
    "DashScope",
    "FunASR",
    "Gummy",
    "GummyChat",
    "Paraformer",
    "QwenAudio",
    "QwenRealtime",
    "TemporaryKey",
]

_FAMILIES = (Paraformer, FunASR, QwenAudio, Gummy, GummyChat)

VENDOR = Vendor(
    name="dashscope",
    options=(*_FAMILIES, QwenRealtime),
    models={
        **{model: next(cls for cls in _FAMILIES if model.startswith(cls._family)) for model in CAPABILITIES},
        **dict.fromkeys(REALTIME_CAPABILITIES, QwenRealtime),
    },
    default_model="paraformer-realtime-v2",
    service=DashScope,
    key_variables=("DASHSCOPE_API_KEY",),
    local_service=lambda address: DashScope("local", endpoint=f"ws://{address}{INFERENCE_PATH}"),
)
"""How the rest of the library finds this vendor."""
