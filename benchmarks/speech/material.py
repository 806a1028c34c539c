"""Speech with known words, as 16-bit mono samples: recordings, synthetic voices, and what a telephone or noise adds.

Nothing is downloaded. People read in the recordings of the wheel `moonshine-voice`; the project's examples are
synthetic. The rest needs packages of the system, on Debian: the prompts of a telephone exchange
`asterisk-core-sounds-en`, `asterisk-core-sounds-en-g722` and `ffmpeg`, further synthetic voices `flite` and
`espeak-ng`, 8 kHz mu-law `ffmpeg`.
"""

from __future__ import annotations

import gzip
import importlib.util
import subprocess
import tempfile
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["CONDITIONS", "SOUNDS", "SOURCES", "Speech", "noise_of_second", "telephone", "with_noise"]

EXAMPLES = Path(__file__).parents[2] / "examples" / "audio"

RATE = 16_000
TELEPHONE_RATE = 8_000

Samples = npt.NDArray[np.float64]
"""Samples between -1 and 1."""


class Speech(NamedTuple):
    """Speech and its words."""

    name: str
    samples: Samples
    """At 16 kHz."""
    text: str

    @property
    def seconds(self) -> float:
        """The length of the audio."""
        return len(self.samples) / RATE


class Sound(NamedTuple):
    """Samples as a recogniser gets them."""

    samples: bytes
    sample_rate: int


READINGS = {
    # Charles Dickens, A Tale of Two Cities (1859), as it is read: "a season", not "the season"
    "two_cities": "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of "
    "foolishness, it was the epoch of belief, it was the epoch of incredulity, it was a season of light, it was a "
    "season of darkness, it was the spring of hope, it was the winter of despair, we had everything before us, we had "
    "nothing before us, we were all going direct to heaven, we were all going direct the other way. In short, the "
    "period was so far like the present period, that some of its noisiest authorities insisted on its being received, "
    "for good or for evil, in the superlative degree of comparison only.",
    # Samuel Beckett, Worstward Ho (1983)
    "beckett": "Ever tried. Ever failed. No matter. Try again. Fail again. Fail better.",
}
"""The words that are read in recordings of the wheel `moonshine-voice`."""

PROMPTS = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
PROMPT_TEXTS = Path("/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz")
MIN_PROMPT_LENGTH = 45
"""In characters: shorter ones are single words and parts of sentences."""

SENTENCES = (
    "The ferry to the island leaves every morning from the old harbour.",
    "Please send the signed contract to our lawyer before the end of the week.",
    "She planted tomatoes and beans behind the small house by the river.",
    "Our customers complained about the long queue at the front desk.",
    "The engineer repaired the broken pump while the others waited outside.",
    "I would like to change my reservation to a quiet room on a higher floor.",
    "Heavy rain closed the mountain road between the two villages.",
    "The museum shows paintings that nobody has seen for a hundred years.",
)
"""Sentences that no example has, without numbers: engines write those in figures or in words."""

VOICES = {
    "flite rms": ("flite", "-voice", "rms", "-t", "{text}", "-o", "{path}"),
    "flite slt": ("flite", "-voice", "slt", "-t", "{text}", "-o", "{path}"),
    "espeak-ng en-us": ("espeak-ng", "-v", "en-us", "-s", "150", "-w", "{path}", "{text}"),
}


def people() -> Iterator[Speech]:
    """Yield the readings of the wheel `moonshine-voice`; none if it is not installed."""
    spec = importlib.util.find_spec("moonshine_voice")
    if spec is not None and spec.submodule_search_locations:
        for name, text in READINGS.items():
            yield Speech(name, _read_wav(Path(spec.submodule_search_locations[0]) / "assets" / f"{name}.wav"), text)


def examples() -> Iterator[Speech]:
    """Yield the project's recordings."""
    for path in sorted(EXAMPLES.glob("*.wav")):
        yield Speech(path.stem, _read_wav(path), " ".join(path.with_suffix(".txt").read_text().split()))


def prompts() -> Iterator[Speech]:
    """Yield what Allison Smith says to callers of the telephone exchange Asterisk, a sentence or more each.

    Raises:
        FileNotFoundError: the packages of the prompts, or ffmpeg, are not installed.
    """
    with gzip.open(PROMPT_TEXTS, "rt", encoding="utf-8") as lines:
        texts = dict(line.rstrip().split(": ", 1) for line in lines if ": " in line and not line.startswith(";"))
    for name, text in sorted(texts.items()):
        # "<beep>" and "[a name]" are not said as they are written, and figures can be said in several ways
        if len(text) >= MIN_PROMPT_LENGTH and not set(text) & set("<[(0123456789"):
            samples = _ffmpeg("-f", "g722", to=["-f", "s16le"], data=(PROMPTS / f"{name}.g722").read_bytes())
            yield Speech(name, np.pad(np.frombuffer(samples, dtype="<i2") / 32_768, RATE // 2), text)


def synthetic() -> Iterator[Speech]:
    """Yield the sentences in each of the voices.

    Raises:
        FileNotFoundError: a synthesiser is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sentence.wav"
        for voice, command in VOICES.items():
            for number, text in enumerate(SENTENCES):
                subprocess.run([part.format(text=text, path=path) for part in command], check=True)
                yield Speech(f"{voice} {number}", np.pad(_read_wav(path), RATE // 2), text)


SOURCES: dict[str, Callable[[], Iterator[Speech]]] = {
    "people": people,
    "prompts": prompts,
    "examples": examples,
    "synthetic": synthetic,
}


def _ffmpeg(*source: str, to: list[str], data: bytes) -> bytes:
    """Return data in another format."""
    command = ["ffmpeg", "-v", "error", *source, "-i", "-", *to, "-"]
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def _read_wav(path: Path) -> Samples:
    """Return the samples of a 16-bit mono file at 16 kHz."""
    with wave.open(str(path)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2") / 32_768
    return _resample(samples, rate)


def _resample(samples: Samples, rate: int) -> Samples:
    """Convert to 16 kHz: without what the new rate cannot carry, linear between the samples."""
    if rate == RATE:
        return samples
    filtered = _band(samples, rate, 0, min(rate, RATE) * 0.46)
    times = np.arange(int(len(filtered) * RATE / rate)) / RATE
    return np.interp(times, np.arange(len(filtered)) / rate, filtered)


def _band(samples: Samples, rate: int, low_hz: float, high_hz: float) -> Samples:
    """Keep the frequencies between two limits: windowed-sinc filters of 20 ms."""
    half = rate // 100
    places = np.arange(-half, half + 1)

    def low_pass(limit_hz: float) -> Samples:
        kernel = np.sinc(2 * limit_hz / rate * places) * np.hamming(len(places))
        return kernel / kernel.sum() if limit_hz else np.zeros(len(places))

    return np.convolve(samples, low_pass(high_hz) - low_pass(low_hz), mode="same")


def plain(samples: Samples) -> Sound:
    """Return the samples as they are."""
    clipped = np.clip(np.round(samples * 32_768), -32_768, 32_767)
    return Sound(clipped.astype("<i2").tobytes(), RATE)


def mu_law(samples: Samples) -> Sound:
    """Return the samples as ffmpeg converts them for internet telephony: 8 kHz, in 8-bit mu-law (G.711).

    Raises:
        FileNotFoundError: ffmpeg is not installed.
    """
    raw = ["-f", "s16le", "-ac", "1", "-ar", str(RATE)]
    encoded = _ffmpeg(*raw, to=["-f", "mulaw", "-ar", str(TELEPHONE_RATE)], data=plain(samples).samples)
    decoded = _ffmpeg("-f", "mulaw", "-ar", str(TELEPHONE_RATE), to=["-f", "s16le"], data=encoded)
    return Sound(decoded, TELEPHONE_RATE)


def telephone(samples: Samples) -> Sound:
    """Return the samples as a telephone line carries them: 300 to 3,400 Hz at 8 kHz, in 8-bit mu-law (G.711)."""
    narrow = np.clip(_band(samples, RATE, 300, 3_400)[:: RATE // TELEPHONE_RATE], -1, 1)
    compressed = np.round(np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256) * 127) / 127
    expanded = np.sign(compressed) * np.expm1(np.abs(compressed) * np.log(256)) / 255
    return Sound(np.round(expanded * 32_767).astype("<i2").tobytes(), TELEPHONE_RATE)


def with_noise(samples: Samples) -> Sound:
    """Return the samples with pink noise 10 dB below the speech."""
    noise = _pink(len(samples))
    loudness = np.sqrt(np.mean(samples[np.abs(samples) > 0.01] ** 2))
    return plain(samples + noise * loudness * 10 ** (-10 / 20))


CONDITIONS: dict[str, Callable[[Samples], Sound]] = {
    "16 kHz": plain,
    "8 kHz mu-law": mu_law,
    "telephone": telephone,
    "noise 10 dB": with_noise,
}


def noise_of_second(number: int) -> Samples:
    """Return one second of a long pink noise, the same in each run."""
    return _pink(RATE, seed=number) * 10 ** (-30 / 20)


def _pink(length: int, seed: int = 1) -> Samples:
    """Return pink noise with an effective value of 1, the same in each run."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(length))
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))), length)
    return np.asarray(noise / np.sqrt(np.mean(noise**2)))


def _hum(length: int) -> Samples:
    """Return the hum of mains power with a click in each second."""
    hum = np.sin(2 * np.pi * 50 * np.arange(length) / RATE) + 0.5 * np.sin(2 * np.pi * 150 * np.arange(length) / RATE)
    hum[::RATE] += 8
    return hum


SOUNDS: dict[str, Callable[[int], Samples]] = {
    "silence": np.zeros,
    "pink noise": lambda length: _pink(length) * 10 ** (-30 / 20),
    "hum": lambda length: _hum(length) * 0.03,
}
"""Sounds without speech, by their length in samples: every word that is recognised in them is invented."""
