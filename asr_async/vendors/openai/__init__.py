"""OpenAI's realtime transcription, and servers that speak its protocol."""

from __future__ import annotations

from ..registry import Vendor
from .catalogue import CATALOGUE
from .models import OpenAIRealtime
from .service import OpenAI
from .vllm_models import VLLMRealtime

__all__ = ["VENDOR", "OpenAI", "OpenAIRealtime", "VLLMRealtime"]

VENDOR = Vendor(
    name="openai",
    options=(OpenAIRealtime, VLLMRealtime),
    catalogue=CATALOGUE,
    default_model="gpt-4o-transcribe",
    service=OpenAI,
    key_variables=("OPENAI_API_KEY",),
    emulator="asr_async.emulator.openai.realtime:add_routes",
    local_service=lambda address: OpenAI("local", endpoint=f"ws://{address}/v1/realtime"),
)
"""The entry of this vendor in the registry."""
