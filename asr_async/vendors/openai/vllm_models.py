"""The options of vLLM's realtime endpoint, and its models.

Does not know messages or endpoints. Source: the documentation of vLLM 0.22.1 (`speech_to_text.realtime.api_router`) and
its repository (read 2026-11).
"""

from __future__ import annotations

from typing import ClassVar

from ...audio import AudioFormat
from ...errors import ConfigurationError
from ..catalogue import Capabilities
from ..options import Options

__all__ = ["VLLM_MODELS", "VLLM_SOURCE", "VLLMRealtime"]

VLLM_MODELS = ("mistralai/Voxtral-Mini-4B-Realtime-2602",)
"""The models that are known; a server has those that it was started with."""

VLLM_SOURCE = "vLLM 0.22.1, documentation and repository (2026-11)"


class VLLMRealtime(Options, frozen=True, kw_only=True):
    """The realtime endpoint of a vLLM server of your own: one text that grows until the audio ends.

    The service is `OpenAI("key", endpoint="ws://host:8000/v1/realtime")`; a server that was started without a key
    accepts any. The server detects no utterances and reports no times, so a session has one final result;
    `Session.finalize()` makes final what was said until then, and `Retry(rotate_after=...)` does so after some time.
    There are no hot words, no context and no commits.

    Args:
        model: the name of the model, as the server was started with.
    """

    vendor: ClassVar[str] = "openai"

    model: str = VLLM_MODELS[0]

    @property
    def audio(self) -> AudioFormat:
        """The audio format that these options declare: "PCM16, 16kHz, mono"."""
        return AudioFormat("pcm", 16_000)

    @property
    def capabilities(self) -> Capabilities:
        """The abilities of a session with these options."""
        return Capabilities(
            interims=True, utterances=False, sample_rates=(self.audio.sample_rate,), formats=(self.audio.encoding,)
        )

    def _check(self) -> None:
        if not self.model.strip():
            raise ConfigurationError(f"model={self.model!r}: must be the name of the model that the server serves")
