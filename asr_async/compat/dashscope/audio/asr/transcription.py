"""`Transcription`, the recognition of recordings at a URL: the class of the official package, if that is installed."""

from __future__ import annotations

from typing import Any

__all__ = ["Transcription"]


class _OfficialClass(type):
    """A class whose attributes are those of the official one, which is loaded when the first is used."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            import dashscope  # noqa: PLC0415 - optional, and takes long to import
            from dashscope.audio.asr import Transcription as Official  # noqa: PLC0415
        except ImportError:
            raise ImportError(
                f"Transcription.{name} recognises recordings at a URL, which is not real-time recognition: install the "
                "official package for it, pip install dashscope"
            ) from None
        from ... import api_key, base_http_api_url  # noqa: PLC0415 - the settings of this moment

        dashscope.api_key = api_key or dashscope.api_key
        dashscope.base_http_api_url = base_http_api_url
        return getattr(Official, name)


class Transcription(metaclass=_OfficialClass):
    """The class of the official package, with the key and the URL of this one's settings."""
