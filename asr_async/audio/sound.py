"""Measurements of sound that show a recording which no recogniser will understand.

Levels, clipping, swapped bytes, and a band that is narrower than the sample rate allows. Pure Python, so that they need
no other library: a second of audio takes about a millisecond. Does not know files.
"""

from __future__ import annotations

import cmath
import itertools
import math
from array import array

__all__ = ["SILENCE_PEAK", "SoundMeter"]

WINDOW_MS = 100
"""The unit of time of the measurements."""

SILENCE_PEAK = 104
"""The peak up to which a window is silent: -50 dB of the full scale, which is below speech and above noise."""

FULL_SCALE = 32_767
MIN_CLIPPED_PART = 0.001
"""The part of the samples at full scale from which on sound is clipped: a single loud syllable has less."""

MAX_KEPT_WINDOWS = 64
"""The windows whose spectrum is measured."""

FFT_SAMPLES = 512
TELEPHONE_BAND_HZ = 4_300
"""Telephone sound ends at 4 kHz, and filters have a slope."""

MIN_HIGH_PART = 3e-5
"""The part of the energy above the telephone band (-45 dB) that real sound of 16 kHz has more than."""

MIN_ROUGHNESS = 0.9
"""The mean change from one sample to the next, as a part of the mean level, that sound with swapped bytes exceeds:
that of noise is 1.2, that of speech 0.1 to 0.5."""


class SoundMeter:
    """The measurements of one recording, in pieces of 16-bit samples of all channels.

    Attributes:
        duration_ms: the length of the audio so far.
        peaks: the highest level of each channel.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._sample_rate = sample_rate
        self._channels = channels
        self._window_values = max(1, sample_rate * WINDOW_MS // 1000) * channels
        self._pending = array("h")
        self._values = 0
        self._clipped = 0
        self.peaks: list[int] = [0] * channels
        self._windows = 0
        self._first_loud: int | None = None
        self._last_loud = 0
        # every `_stride`th loud window, of the loudest channel so far
        self._kept: list[array[int]] = []
        self._stride = 1
        self._loud_windows = 0

    def __repr__(self) -> str:
        return f"<SoundMeter {self.duration_ms} ms, peaks {self.peaks}>"

    def add(self, samples: bytes) -> None:
        """Measure the next samples."""
        self._pending.frombytes(samples[: len(samples) - len(samples) % 2])
        size = self._window_values
        for start in range(0, len(self._pending) - size + 1, size):
            self._measure(self._pending[start : start + size])
        del self._pending[: len(self._pending) // size * size]

    def finish(self) -> None:
        """Measure the rest."""
        if self._pending:
            self._measure(self._pending)
            self._pending = array("h")

    def _measure(self, window: array[int]) -> None:
        self._values += len(window)
        self._clipped += window.count(FULL_SCALE) + window.count(-FULL_SCALE - 1)
        peaks = [max(map(abs, window[channel :: self._channels]), default=0) for channel in range(self._channels)]
        self.peaks = list(map(max, self.peaks, peaks))
        if max(peaks) > SILENCE_PEAK:
            if self._first_loud is None:
                self._first_loud = self._windows
            self._last_loud = self._windows
            if self._loud_windows % self._stride == 0:
                self._keep(window[peaks.index(max(peaks)) :: self._channels])
            self._loud_windows += 1
        self._windows += 1

    def _keep(self, window: array[int]) -> None:
        self._kept.append(window)
        if len(self._kept) > MAX_KEPT_WINDOWS:
            del self._kept[1::2]
            self._stride *= 2

    # --- what they show ----------------------------------------------------------------------------------------------

    @property
    def duration_ms(self) -> int:
        """The length of the audio so far."""
        return self._values // self._channels * 1000 // self._sample_rate

    @property
    def is_silent(self) -> bool:
        """True if there is nothing to hear on any channel."""
        return self._first_loud is None

    @property
    def dead_channels(self) -> list[int]:
        """The channels with nothing to hear, beside one with sound."""
        return [] if self.is_silent else [number for number, peak in enumerate(self.peaks) if peak <= SILENCE_PEAK]

    @property
    def clipped_part(self) -> float:
        """The part of the samples at full scale; 0 if it is too small to matter."""
        part = self._clipped / self._values if self._values else 0.0
        return part if part >= MIN_CLIPPED_PART else 0.0

    @property
    def silence_ms(self) -> tuple[int, int]:
        """The silence at the start and at the end."""
        if self._first_loud is None:
            return self.duration_ms, self.duration_ms
        return self._first_loud * WINDOW_MS, (self._windows - 1 - self._last_loud) * WINDOW_MS

    @property
    def has_swapped_bytes(self) -> bool:
        """True if the samples are smoother with their two bytes swapped: they are noise as they are."""
        own, swapped = 0.0, 0.0
        for window in self._kept:
            own += _roughness(window)
            turned = array("h", window)
            turned.byteswap()
            swapped += _roughness(turned)
        count = len(self._kept)
        return count > 0 and own / count > MIN_ROUGHNESS and swapped < own / 2

    @property
    def is_narrow(self) -> bool:
        """True if the sound has the band of a telephone, at a sample rate that allows more."""
        if self._sample_rate < 4 * TELEPHONE_BAND_HZ * 0.9 or not self._kept:
            return False
        low, high = 0.0, 0.0
        for window in self._kept:
            spectrum = _power_spectrum(window)
            edge = TELEPHONE_BAND_HZ * FFT_SAMPLES // self._sample_rate
            low += sum(spectrum[1:edge])
            high += sum(spectrum[edge:])
        return high < MIN_HIGH_PART * low


def _roughness(window: array[int]) -> float:
    """Return the mean change from one sample to the next, as a part of the mean level."""
    level = sum(map(abs, window))
    changes = sum([abs(second - first) for first, second in itertools.pairwise(window)])
    return changes / level if level else 0.0


def _power_spectrum(window: array[int]) -> list[float]:
    """Return the energy in each band of the first `FFT_SAMPLES` samples."""
    samples = [
        value * (0.5 - 0.5 * math.cos(2 * math.pi * number / FFT_SAMPLES))
        for number, value in enumerate(window[:FFT_SAMPLES])
    ]
    samples += [0.0] * (FFT_SAMPLES - len(samples))
    return [abs(value) ** 2 for value in _fft([complex(sample) for sample in samples])[: FFT_SAMPLES // 2]]


def _fft(values: list[complex]) -> list[complex]:
    """Return the discrete Fourier transform; the number of values is a power of two."""
    size = len(values)
    if size == 1:
        return values
    even, odd = _fft(values[0::2]), _fft(values[1::2])
    turned = [cmath.exp(-2j * math.pi * number / size) * value for number, value in enumerate(odd)]
    return [a + b for a, b in zip(even, turned, strict=True)] + [a - b for a, b in zip(even, turned, strict=True)]
