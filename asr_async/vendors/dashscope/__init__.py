"""Alibaba Cloud's DashScope (Model Studio): the models of the task protocol, and Qwen-ASR over the realtime one."""

from __future__ import annotations

from ..options import ContextMessage
from ..registry import Vendor
from .catalogue import CATALOGUE, FAMILIES
from .models import (
    FunASR,
    Gummy,
    GummyChat,
    Paraformer,
    QwenAudio,
    RecognitionOptions,
    TaskOptions,
    TranslationOptions,
)
from .realtime_models import QwenRealtime
from .sdk_settings import KEY_VARIABLE, other_key_source
from .service import HTTP_PATH, INFERENCE_PATH, DashScope

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
    "RecognitionOptions",
    "TaskOptions",
    "TranslationOptions",
]

VENDOR = Vendor(
    name="dashscope",
    options=(*FAMILIES, QwenRealtime),
    catalogue=CATALOGUE,
    default_model="paraformer-realtime-v2",
    service=DashScope,
    key_variables=(KEY_VARIABLE,),
    other_key_source=other_key_source,
    emulator="asr_async.emulator.dashscope.routes:add_routes",
    local_service=lambda address: DashScope("local", endpoint=f"ws://{address}{INFERENCE_PATH}"),
    local_environment=lambda address: {
        "DASHSCOPE_API_KEY": "any",
        "DASHSCOPE_WEBSOCKET_BASE_URL": f"ws://{address}{INFERENCE_PATH}",
        "DASHSCOPE_HTTP_BASE_URL": f"http://{address}{HTTP_PATH}",
    },
)
"""The entry of this vendor in the registry."""
