"""ffmpeg as the decoder of compressed audio that is cut: a witness that the parts fit, to the sample.

It makes the files, and decodes them whole and from the places where a session would begin again. The audio is a row of
tones that rise, each another one, so that a place of it is like no other.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from asr_async import AudioFormat
from asr_async._session.replay_buffer import CompressedReplayBuffer
from asr_async.audio import CompressedFramer

from ..support.paths import ROOT

SECONDS = 8
TOLERANCE_MS = 2.0
READY_MS = 60
"""The time behind a cut after which a decoder has to agree with one that began at the start."""


class Encoding(NamedTuple):
    """One way to encode the tones."""

    encoding: str
    rate: int
    suffix: str
    arguments: tuple[str, ...]
    similarity: float = 0.99
    """The least correlation of the audio behind a cut: AAC has noise of the decoder's own, others predict for long."""


ENCODINGS = {
    "mp3 cbr stereo": Encoding("mp3", 44_100, "mp3", ("-ac", "2", "-b:a", "128k")),
    "mp3 vbr": Encoding("mp3", 44_100, "mp3", ("-q:a", "4")),
    "mp3 without tags": Encoding("mp3", 44_100, "mp3", ("-b:a", "64k", "-write_xing", "0", "-id3v2_version", "0")),
    "mp3 without a reservoir": Encoding("mp3", 48_000, "mp3", ("-b:a", "96k", "-reservoir", "0")),
    "mp3 16 kHz": Encoding("mp3", 16_000, "mp3", ("-b:a", "32k")),
    "mp3 8 kHz": Encoding("mp3", 8_000, "mp3", ("-b:a", "16k")),
    "mp3 8 kHz, least rate": Encoding("mp3", 8_000, "mp3", ("-b:a", "8k")),
    "aac 44.1 kHz": Encoding("aac", 44_100, "aac", ("-b:a", "64k"), 0.9),
    "aac 16 kHz stereo": Encoding("aac", 16_000, "aac", ("-ac", "2", "-b:a", "32k"), 0.9),
    "opus, pages of 20 ms": Encoding("opus", 48_000, "ogg", ("-c:a", "libopus", "-page_duration", "20000"), 0.97),
    "opus, pages of 1 s": Encoding("opus", 48_000, "ogg", ("-c:a", "libopus", "-b:a", "24k"), 0.97),
    "opus, packets of 60 ms": Encoding(
        "opus", 48_000, "ogg", ("-c:a", "libopus", "-frame_duration", "60", "-application", "voip"), 0.97
    ),
    "opus, packets of 2.5 ms": Encoding("opus", 48_000, "ogg", ("-c:a", "libopus", "-frame_duration", "2.5"), 0.97),
    "speex, pages of 20 ms": Encoding("speex", 16_000, "ogg", ("-c:a", "libspeex", "-page_duration", "20000"), 0.9),
    "speex 8 kHz, pages of 1 s": Encoding("speex", 8_000, "ogg", ("-c:a", "libspeex"), 0.9),
    "speex, 3 frames a packet": Encoding("speex", 16_000, "ogg", ("-c:a", "libspeex", "-frames_per_packet", "3"), 0.9),
    "amr": Encoding("amr", 8_000, "amr", (), 0.9),
}


@pytest.fixture(scope="module", autouse=True)
def ffmpeg() -> None:
    """Skip the tests where there is no ffmpeg, but not in CI."""
    if shutil.which("ffmpeg") is None:
        if os.environ.get("CI"):
            pytest.fail("ffmpeg is not installed: .ci/run does that")
        pytest.skip("ffmpeg is not installed: apt-get install ffmpeg")


def tones(rate: int) -> bytes:
    """Return the audio: a tone of another height each quarter of a second, and a little noise."""
    time = np.arange(rate // 4) / rate
    parts = [
        0.3 * np.sin(2 * np.pi * ((200 + n * 37 % 50 * 20) * time + 600 * time**2)) * (0.6 + 0.4 * np.sin(57 * time))
        for n in range(4 * SECONDS)
    ]
    noise = 0.02 * np.random.default_rng(1).standard_normal(rate * SECONDS)
    return bytes(((np.concatenate(parts) + noise[: 4 * SECONDS * len(time)]) * 20_000).astype("<i2"))


def encode(encoding: Encoding, path: Path) -> bytes:
    if encoding.suffix == "amr":
        return (ROOT / "tests/vectors/chirps.amr").read_bytes()
    raw = ("-f", "s16le", "-ar", str(encoding.rate), "-ac", "1", "-i", "-")
    command = ["ffmpeg", "-v", "error", "-y", *raw, *encoding.arguments, str(path)]
    subprocess.run(command, input=tones(encoding.rate), check=True, timeout=60)
    return path.read_bytes()


def decode(encoding: Encoding, data: bytes, *, keeps_delay: bool = False) -> np.ndarray:
    """Return the samples of a stream, decoded from a pipe; with `keeps_delay` also those that the encoder added."""
    container = {"mp3": "mp3", "aac": "aac", "amr": "amr"}.get(encoding.encoding, "ogg")
    command = ["ffmpeg", "-v", "error", *(["-flags2", "+skip_manual"] if keeps_delay else [])]
    command += ["-f", container, "-i", "-", "-f", "s16le", "-ac", "1", "-ar", str(encoding.rate), "-"]
    completed = subprocess.run(command, input=data, capture_output=True, check=True, timeout=60)
    return np.frombuffer(completed.stdout, "<i2").astype(float)


def pop_all(buffer: CompressedReplayBuffer) -> bytes:
    data = b""
    while not buffer.is_drained:
        data += buffer.pop()
    return data


def best_shift(expected: np.ndarray, actual: np.ndarray, at: int, most: int) -> tuple[int, float]:
    """Return the shift of `actual` with the highest correlation to `expected`, which it has at `at`, and that."""
    first = max(0, at - most)
    part = actual[first : at + most + len(expected)]
    energy = np.concatenate([[0.0], np.cumsum(part**2)])
    energies = energy[len(expected) :] - energy[: -len(expected)]
    similarities = np.correlate(part, expected, "valid") / np.sqrt(energies * (expected @ expected) + 1)
    best = int(np.argmax(similarities))
    return best + first - at, float(similarities[best])


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_stream_that_is_cut_decodes_to_the_audio_at_the_reported_place(name: str, tmp_path: Path) -> None:
    encoding = ENCODINGS[name]
    data = encode(encoding, tmp_path / f"tones.{encoding.suffix}")
    whole = decode(encoding, data)
    seconds = len(whole) / encoding.rate
    per_ms = encoding.rate / 1_000
    for covered_ms in (130, 777, 1_500, 2_049, round(seconds * 500), round(seconds * 1_000) - 700):
        framer = CompressedFramer(AudioFormat(encoding.encoding, encoding.rate))
        buffer = CompressedReplayBuffer(AudioFormat(encoding.encoding, encoding.rate), max_s=60)
        for at in range(0, len(data), 5_000):
            buffer.add(framer.push(data[at : at + 5_000]))
        buffer.add([*framer.finish()])
        assert pop_all(buffer) == data, "first, the source is sent as it came"
        assert buffer.sent_ms is not None
        assert abs(buffer.sent_ms - seconds * 1_000) <= 60
        buffer.cover(covered_ms)
        assert buffer.rewind() is None
        begin_ms = buffer.cursor_ms
        assert covered_ms - 550 <= begin_ms <= covered_ms
        part = decode(encoding, pop_all(buffer))
        assert abs(len(part) - (len(whole) - begin_ms * per_ms)) <= 30 * per_ms
        expected_at = round((covered_ms + READY_MS) * per_ms)
        expected = whole[expected_at : expected_at + round(200 * per_ms)]
        at = round((covered_ms + READY_MS - begin_ms) * per_ms)
        shift, similarity = best_shift(expected, part, at, round(15 * per_ms))
        assert abs(shift) <= TOLERANCE_MS * per_ms, (covered_ms, shift, similarity)
        assert similarity >= encoding.similarity, (covered_ms, shift, similarity)


def test_amr_wb_is_as_long_as_its_frames() -> None:
    """There is no free encoder of AMR-WB in ffmpeg: the frames are noise, and only their lengths are compared."""
    noise = np.random.default_rng(1)
    frames = [bytes([2 << 3 | 4]) + noise.bytes(32) for _ in range(200)]
    data = b"#!AMR-WB\n" + b"".join(frames)
    encoding = Encoding("amr", 16_000, "amr", ())
    framer, buffer = CompressedFramer(AudioFormat("amr")), CompressedReplayBuffer(AudioFormat("amr"), max_s=60)
    buffer.add([*framer.push(data), *framer.finish()])
    assert pop_all(buffer) == data
    assert len(decode(encoding, data)) == 200 * 320
    assert buffer.sent_ms == 4_000
    buffer.cover(1_234)
    buffer.rewind()
    begin_ms = buffer.cursor_ms
    assert len(decode(encoding, pop_all(buffer))) == (4_000 - begin_ms) * 16


@pytest.mark.parametrize("name", ["mp3 vbr", "mp3 8 kHz"])
def test_decoders_that_do_not_leave_out_the_delay_of_the_encoder_agree_too(name: str, tmp_path: Path) -> None:
    encoding = ENCODINGS[name]
    data = encode(encoding, tmp_path / f"tones.{encoding.suffix}")
    whole, per_ms = decode(encoding, data, keeps_delay=True), encoding.rate / 1_000
    assert len(whole) - len(decode(encoding, data)) == 1_105
    buffer = CompressedReplayBuffer(AudioFormat("mp3", encoding.rate), max_s=60)
    framer = CompressedFramer(AudioFormat("mp3", encoding.rate))
    buffer.add([*framer.push(data), *framer.finish()])
    pop_all(buffer)
    buffer.cover(3_000)
    buffer.rewind()
    begin_ms = buffer.cursor_ms
    part = decode(encoding, pop_all(buffer), keeps_delay=True)
    at = round(3_100 * per_ms)
    shift, similarity = best_shift(
        whole[at : at + round(200 * per_ms)], part, round(at - begin_ms * per_ms), round(150 * per_ms)
    )
    assert abs(shift) <= TOLERANCE_MS * per_ms
    assert similarity >= encoding.similarity


@pytest.mark.parametrize("name", ["mp3 cbr stereo", "opus, pages of 1 s"])
def test_a_stream_is_cut_again_and_again(name: str, tmp_path: Path) -> None:
    encoding = ENCODINGS[name]
    data = encode(encoding, tmp_path / f"tones.{encoding.suffix}")
    whole, per_ms = decode(encoding, data), encoding.rate / 1_000
    framer = CompressedFramer(AudioFormat(encoding.encoding, encoding.rate))
    buffer = CompressedReplayBuffer(AudioFormat(encoding.encoding, encoding.rate), max_s=60)
    buffer.add([*framer.push(data), *framer.finish()])
    for covered_ms in range(500, 7_000, 500):
        while buffer.position < covered_ms + 300:
            buffer.pop()
        buffer.cover(covered_ms)
        assert buffer.rewind() is None
    begin_ms = buffer.cursor_ms
    part = decode(encoding, pop_all(buffer))
    at = round(7_000 * per_ms)
    shift, similarity = best_shift(
        whole[at : at + round(200 * per_ms)], part, round(at - begin_ms * per_ms), round(15 * per_ms)
    )
    assert abs(shift) <= TOLERANCE_MS * per_ms
    assert similarity >= encoding.similarity
