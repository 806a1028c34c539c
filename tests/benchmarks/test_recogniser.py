"""The benchmark of the embedded recogniser: its speech, its count of wrong words, and a small run of both engines."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from itertools import product

import numpy as np
import pytest

from speech import material, scoring
from speech.live import Arrival, Utterance, delays_ms, utterances_in
from speech.material import RATE, SOURCES

from ..support.child_processes import child_environment
from ..support.paths import BENCHMARKS

ENGINES = ["moonshine", "pocketsphinx"]


@pytest.mark.timeout(300)  # half a minute, or more beside other tests
def test_both_engines_are_measured_in_one_run() -> None:
    arguments = ["--sources", "examples", "--conditions", "16 kHz", "telephone", "--sounds", "silence"]
    arguments += [
        "--sessions",
        "1",
        "--seconds",
        "4",
        "--workers",
        "1",
        "--noise-minutes",
        "0.2",
        "--engines",
        *ENGINES,
    ]
    command = [sys.executable, str(BENCHMARKS / "bench_recogniser.py"), "--json", *arguments]
    completed = subprocess.run(command, stdout=subprocess.PIPE, env=child_environment(), timeout=280, check=True)
    report = json.loads(completed.stdout)
    accuracy = [row for row in report["rows"] if row["measure"] == "accuracy"]
    assert [(row["condition"], row["engine"]) for row in accuracy] == list(product(["16 kHz", "telephone"], ENGINES))
    assert "8000 Hz" in accuracy[3]["refused"]
    for row in accuracy[:3]:
        assert row["words"] == 183
        assert 0 <= row["wrong_percent"] <= 15
        assert row["real_time_factor"] > 0
    invented = [row for row in report["rows"] if row["measure"] == "invented"]
    assert [(row["engine"], row["words"]) for row in invented] == [(engine, 0) for engine in ENGINES]
    noise = [row for row in report["rows"] if row["measure"] == "noise"]
    assert [(row["engine"], row["minutes"]) for row in noise] == [(engine, 0.2) for engine in ENGINES]
    assert noise[0]["words"] == 0
    assert noise[0]["workers_late_mib"] >= noise[0]["workers_early_mib"] > 0
    live = [row for row in report["rows"] if row["measure"] == "live"]
    for row in live:
        assert (row["refused"], row["utterances_without_final"]) == (0, 0)
        assert row["first_result_p50_ms"] > 0
        assert row["final_p50_ms"] > 0
        assert row["cores_per_session"] > 0
    assert {target["what"]: target["reached"] for target in report["targets"]}["words in 30 s of silence"]


def test_the_words_of_the_readings_are_those_of_the_recordings() -> None:
    speech = {each.name: each for each in SOURCES["people"]()}
    assert speech.keys() == material.READINGS.keys()
    assert speech["two_cities"].seconds == pytest.approx(44.4, abs=0.1)


@pytest.mark.skipif(
    not (shutil.which("flite") and shutil.which("espeak-ng")) and "CI" not in os.environ,
    reason="flite and espeak-ng are not installed",
)
def test_every_sentence_is_spoken_by_every_voice() -> None:
    speech = list(SOURCES["synthetic"]())
    assert len(speech) == len(material.VOICES) * len(material.SENTENCES) == 24
    assert all(2 < each.seconds < 8 for each in speech)


@pytest.mark.skipif(
    not (material.PROMPTS.exists() and material.PROMPT_TEXTS.exists()) and "CI" not in os.environ,
    reason="asterisk-core-sounds-en and asterisk-core-sounds-en-g722 are not installed",
)
def test_the_prompts_are_whole_sentences_with_their_words() -> None:
    speech = {each.name: each for each in SOURCES["prompts"]()}
    assert len(speech) > 80
    assert speech["agent-user"].text == "Agent login.  Please enter your agent number followed by the pound key."
    assert speech["agent-user"].seconds == pytest.approx(39_255 / 8_000 + 1, abs=0.01)
    for each in speech.values():
        assert 0.2 < each.seconds / len(each.text.split()) < 1.2
        assert not any(sign in each.text for sign in "<[(0123456789")


def tone(frequency: float, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def loudness(samples: bytes) -> float:
    values = np.frombuffer(samples, dtype="<i2") / 32_768
    return float(np.sqrt(np.mean(values[len(values) // 4 : -len(values) // 4] ** 2)))


def test_a_telephone_carries_the_band_of_speech_at_8_khz() -> None:
    sound = material.telephone(tone(1_000))
    assert (sound.sample_rate, len(sound.samples)) == (8_000, 16_000)
    assert loudness(sound.samples) == pytest.approx(0.35, abs=0.02)
    assert loudness(material.telephone(tone(60)).samples) < 0.03
    assert loudness(material.telephone(tone(5_000)).samples) < 0.01


def test_mu_law_carries_everything_below_4_khz() -> None:
    sound = material.mu_law(tone(1_000))
    assert (sound.sample_rate, len(sound.samples)) == (8_000, 16_000)
    assert loudness(sound.samples) == pytest.approx(0.35, abs=0.02)
    assert loudness(material.mu_law(tone(60)).samples) == pytest.approx(0.35, abs=0.02)
    assert loudness(material.mu_law(tone(5_000)).samples) < 0.01
    assert len({sound.samples[i : i + 2] for i in range(0, len(sound.samples), 2)}) <= 256


def test_noise_is_10_db_below_the_speech() -> None:
    speech = tone(1_000, seconds=4.0)
    sound = material.with_noise(speech)
    assert loudness(sound.samples) == pytest.approx(0.354 * np.sqrt(1.1), rel=0.05)
    assert sound == material.with_noise(speech)


def test_audio_of_another_rate_is_resampled() -> None:
    resampled = material._resample(tone(1_000, rate=48_000), 48_000)
    assert len(resampled) == RATE
    assert np.max(np.abs(resampled - tone(1_000))[500:-500]) < 0.02


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("At nine o'clock, I'd go.", "at nine oclock i would go"),
        ("At 9 o’clock — I would go!", "at nine oclock i would go"),
        ("A forty-two line page", "a forty two line page"),
        ("Ten per cent to-morrow", "ten percent tomorrow"),
    ],
)
def test_texts_are_compared_in_one_spelling(text: str, words: str) -> None:
    assert scoring.words_of(text) == words


def test_word_errors_count_wrong_missing_and_added_words() -> None:
    assert scoring.word_errors(["one two three four"], ["One, too three four."]) == 0.25
    assert scoring.word_errors(["one two", "three four"], ["one two five", "four"]) == 0.5


def test_utterances_are_divided_by_pauses() -> None:
    silence = np.zeros(RATE // 2)
    samples = np.concatenate([silence, tone(300), silence[:1_600], tone(300), silence, tone(300), silence])
    assert utterances_in(samples) == [Utterance(500, 2_600), Utterance(3_100, 4_100)]


def test_delays_count_from_the_begin_and_the_end_of_an_utterance() -> None:
    arrivals = [
        Arrival(500, 900, is_final=False, arrived_ms=1_400),
        Arrival(500, 1_600, is_final=True, arrived_ms=2_200),
        Arrival(1_700, 2_500, is_final=True, arrived_ms=3_200),
        Arrival(3_200, 3_900, is_final=False, arrived_ms=4_300),
    ]
    utterances = [Utterance(500, 2_600), Utterance(3_100, 4_000)]
    assert list(delays_ms(arrivals, utterances)) == [(900, 600)]
