"""Samples as a caller sends them → 16-bit mono samples at the rate of the options.

Does not know how the samples arrive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..audio.samples import SampleFormat, mono, sixteen_bit
from ..errors import ConfigurationError
from ..sources.decoded import Resampler, has_decoder

if TYPE_CHECKING:
    from ..audio import AudioFormat

__all__ = ["SampleConverter"]

MIN_RATE, MAX_RATE = 4_000, 192_000
MAX_CHANNELS = 8


class SampleConverter:
    """A stream of samples of one format, converted in pieces of any size.

    Args:
        samples: the format of the samples.
        sample_rate: their rate in Hz.
        target: the format that the options declare.
        sender: the sender of the samples, for error texts.

    Raises:
        ConfigurationError: the samples cannot be converted; the text says what to do.
    """

    def __init__(self, samples: SampleFormat, sample_rate: int, target: AudioFormat, *, sender: str) -> None:
        if target.encoding != "pcm":
            raise ConfigurationError(f"{sender} sends samples, but the options declare {target.encoding}: declare pcm")
        if not MIN_RATE <= sample_rate <= MAX_RATE:
            raise ConfigurationError(
                f"{sender} declares a sample rate of {sample_rate} Hz: it must be {MIN_RATE} to {MAX_RATE}"
            )
        if not 1 <= samples.channels <= MAX_CHANNELS:
            raise ConfigurationError(f"{sender} declares {samples.channels} channels: 1 to {MAX_CHANNELS} are possible")
        if samples.kind == "int" and not 1 <= samples.width <= 4:
            raise ConfigurationError(f"{sender} declares samples of {samples.width} bytes: 1 to 4 are possible")
        if sample_rate != target.sample_rate and not has_decoder():
            raise ConfigurationError(
                f"{sender} sends {sample_rate} Hz, and the options declare {target.sample_rate} Hz: send that rate, or "
                "pip install 'asr-async[audio]' to resample"
            )
        self._samples = samples
        self._resampler = None if sample_rate == target.sample_rate else Resampler(sample_rate, target.sample_rate)
        # the beginning of a group of samples whose rest has not arrived
        self._rest = b""

    def convert(self, data: bytes) -> bytes:
        """Return the samples that are complete behind these bytes."""
        data = self._rest + data
        end = len(data) - len(data) % self._samples.group_bytes
        data, self._rest = data[:end], data[end:]
        converted = mono(sixteen_bit(data, self._samples), self._samples.channels, "mix")
        return converted if self._resampler is None else self._resampler.push(converted)

    def finish(self) -> bytes:
        """Return the rest."""
        return b"" if self._resampler is None else self._resampler.finish()
