"""Audio for the tests of recognisers: voices of people, which `moonshine-voice` brings, the examples, and noises."""

from __future__ import annotations

import importlib.util
import math
import random
import re
import wave
from array import array
from pathlib import Path

from .paths import RECORDINGS

__all__ = ["example", "example_text", "hum", "pink_noise", "plain_words", "recorded_voice"]

SPELLINGS = {"per cent": "percent", "any one": "anyone", "every one": "everyone", "centre": "center", "we're": "we are"}
"""Other spellings of the same words."""


def recorded_voice(name: str) -> Path:
    """Return a recording that the wheel `moonshine-voice` brings, without importing the package."""
    spec = importlib.util.find_spec("moonshine_voice")
    assert spec is not None, "install the extra local"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "assets" / name


def example(name: str) -> bytes:
    """Return the samples of an example, at 16 kHz."""
    with wave.open(str(RECORDINGS / f"{name}.wav")) as file:
        samples: bytes = file.readframes(file.getnframes())
    return samples


def example_text(name: str) -> str:
    return (RECORDINGS / f"{name}.txt").read_text()


def plain_words(text: str) -> str:
    """Return the words of a text in one spelling, without marks and capitals."""
    text = " ".join(re.sub(r"[^a-z0-9' ]", " ", text.lower()).split())
    for other, one in SPELLINGS.items():
        text = re.sub(rf"\b{other}\b", one, text)
    return text


def pink_noise(seconds: float, amplitude: int = 3_000) -> bytes:
    """Return noise with equal power in each octave: the sum of rows of random values, each held twice as long."""
    chance = random.Random(1)
    rows = [0.0] * 12
    values = array("h")
    for sample in range(int(seconds * 16_000)):
        row = (sample & -sample).bit_length() - 1 if sample else 0
        rows[row % 12] = chance.uniform(-1, 1)
        values.append(int(amplitude * sum(rows) / 6))
    return values.tobytes()


def hum(seconds: float, amplitude: int = 3_000) -> bytes:
    """Return the hum of a power line, with its overtones, and a click each second."""
    values = array("h")
    for sample in range(int(seconds * 16_000)):
        phase = 2 * math.pi * 50 * sample / 16_000
        value = math.sin(phase) + math.sin(2 * phase) / 2 + math.sin(3 * phase) / 3
        values.append(int(amplitude * value / 2) + (12_000 if sample % 16_000 < 40 else 0))
    return values.tobytes()
