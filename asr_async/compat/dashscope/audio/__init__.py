"""The modules of `dashscope.audio` for real-time recognition."""

from . import asr, qwen_omni

__all__ = ["asr", "qwen_omni"]
