"""The options of Acme's models, and their rows in `models()`."""

from __future__ import annotations

from typing import Literal

from asr_async import AudioFormat, ConfigurationError
from asr_async.vendors import Capabilities, ModelInfo
from asr_async.vendors.options import Options, did_you_mean

MODELS = ("acme-live-1", "acme-live-2")


class Acme(Options, frozen=True, kw_only=True):
    """The options of a recognition; a value of another type or beyond the rules is refused before connecting."""

    vendor = "acme"

    model: str = "acme-live-2"
    language: Literal["en", "de", "zh"] = "en"
    sample_rate: Literal[8_000, 16_000] = 16_000

    @property
    def audio(self) -> AudioFormat:
        """The audio that a source has to bring."""
        return AudioFormat("pcm", self.sample_rate)

    @property
    def spoken_language(self) -> str:
        """The language, for telemetry."""
        return self.language

    @property
    def capabilities(self) -> Capabilities:
        """The abilities of a session; everything that is not named is absent."""
        return Capabilities(languages=("en", "de", "zh"), sample_rates=(8_000, 16_000), formats=("pcm",))

    def _check(self) -> None:
        if self.model not in MODELS:
            raise ConfigurationError(f"model={self.model!r}: {did_you_mean(self.model, MODELS)}")


CATALOGUE = tuple(
    ModelInfo(
        model=model,
        vendor=Acme.vendor,
        options=Acme.__name__,
        languages=("en", "de", "zh"),
        sample_rates=(8_000, 16_000),
        formats=("pcm",),
        segmentation=("silence",),
        source="a vendor that does not exist",
    )
    for model in MODELS
)
