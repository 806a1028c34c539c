"""What counts as bytes of audio, and audio that is not what the options declare."""

from __future__ import annotations

import re
from array import array
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from asr_async import AudioFormat, ConfigurationError, Local, Paraformer, connect, transcribe
from asr_async.audio import START_BYTES, Framer, byte_view, check_array, check_start
from asr_async.emulator import Scripted
from asr_async.sources import FrameReader

from ..support.compressed_audio import adts_frame, amr_frame, mp3_frame, opus_file, opus_packet, speex_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SAMPLES = [0, 1, -1, 32_767, -32_768, 258]
BYTES = np.array(SAMPLES, dtype="<i2").tobytes()
STEREO = np.zeros((160, 2), dtype=np.int16)
PCM = AudioFormat()

# --- arrays -----------------------------------------------------------------------------------------------------------

AUDIO: dict[str, Any] = {
    "bytes": BYTES,
    "bytearray": bytearray(BYTES),
    "memoryview of bytes": memoryview(BYTES),
    "memoryview of signed bytes": memoryview(BYTES).cast("b"),
    "memoryview of characters": memoryview(BYTES).cast("c"),
    "memoryview of samples": memoryview(BYTES).cast("h"),
    "array of samples": array("h", SAMPLES),
    "array of bytes": array("B", BYTES),
    "array of signed bytes": array("b", BYTES),
    "int16": np.array(SAMPLES, dtype=np.int16),
    "little-endian int16": np.array(SAMPLES, dtype="<i2"),
    "read-only int16": np.frombuffer(BYTES, dtype=np.int16),
    "a column, as sounddevice gives": np.array(SAMPLES, dtype=np.int16).reshape(-1, 1),
    "a row, as PyAV gives": np.array(SAMPLES, dtype=np.int16).reshape(1, -1),
    "one channel of two": np.array([SAMPLES, SAMPLES], dtype=np.int16).T[:, 1],
    "every second byte": memoryview(bytes(byte for each in BYTES for byte in (each, 0)))[::2],
    "uint8": np.frombuffer(BYTES, dtype=np.uint8),
}


@pytest.mark.parametrize("chunk", AUDIO.values(), ids=AUDIO)
def test_bytes_and_native_16_bit_samples_are_audio(chunk: Any) -> None:
    assert bytes(byte_view(chunk)) == BYTES


def test_an_empty_array_is_no_audio_and_a_single_sample_is() -> None:
    assert bytes(byte_view(np.zeros(0, dtype=np.int16))) == b""
    assert bytes(byte_view(np.int16(258))) == b"\x02\x01"


WRONG: dict[str, tuple[Any, str]] = {
    "float32": (np.zeros(9, dtype=np.float32), r"array of float32, .* \(audio \* 32767\)\.astype\('int16'\)"),
    "float64": (np.zeros(9), "array of float64, .* for samples from -1 to 1"),
    "float16": (np.zeros(9, dtype=np.float16), "array of float16"),
    "int32": (np.zeros(9, dtype=np.int32), r"array of int32, .* \(audio >> 16\)\.astype\('int16'\)"),
    "int64": (np.zeros(9, dtype=np.int64), "array of int64"),
    "uint16": (np.zeros(9, dtype=np.uint16), "array of uint16, .* convert it to 16-bit samples"),
    "bool": (np.zeros(9, dtype=np.bool_), "array of bool"),
    "big-endian int16": (np.zeros(9, dtype=">i2"), r"array of big-endian int16, .* swap its bytes"),
    "big-endian float32": (np.zeros(9, dtype=">f4"), "array of float32"),
    "two channels": (STEREO, r"the shape \(160, 2\), but only mono is supported: send one channel, audio\[:, 0\]"),
    "two channels in rows": (STEREO.T.copy(), r"the shape \(2, 160\)"),
    "array of floats": (array("f", [0.0]), "array of float32"),
    "array of ints": (array("i", [0]), "array of int32"),
    "memoryview of doubles": (memoryview(array("d", [0.0])), "array of float64"),
    "text": ("audio", r"not str\b"),
    "a list": ([0, 1], r"not list\b"),
    "nothing": (None, r"not NoneType\b"),
    "a number": (7, r"not int\b"),
}


@pytest.mark.parametrize(("chunk", "text"), WRONG.values(), ids=WRONG)
def test_what_is_not_audio_is_refused_with_what_it_is_and_what_to_do(chunk: Any, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        byte_view(chunk)


@pytest.mark.parametrize("encoding", ["ulaw", "alaw"])
def test_an_array_of_samples_is_not_g711(encoding: str) -> None:
    check_array(np.zeros(9, dtype=np.uint8), AudioFormat(encoding, 8_000))
    check_array(np.zeros(9, dtype=np.int16), PCM)
    with pytest.raises(ConfigurationError, match=f"declare {encoding}, but an audio chunk is an array of int16"):
        check_array(np.zeros(9, dtype=np.int16), AudioFormat(encoding, 8_000))


# --- the start of the audio -------------------------------------------------------------------------------------------

STARTS: dict[str, bytes] = {
    "a WAV file": AudioFormat("wav").header + bytes(100),
    "an Ogg file": opus_file(range(20)),
    "mp3": b"".join(map(mp3_frame, range(9))),
    "AAC (ADTS)": b"".join(map(adts_frame, range(9))),
    "an AMR file": b"#!AMR\n" + b"".join(map(amr_frame, range(9))),
    "an MP4 file (m4a)": b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom" + bytes(50),
    "a WebM or Matroska file": b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01" + bytes(50),
    "a FLAC file": b"fLaC\0\0\0\x22" + bytes(50),
    "an AIFF file": b"FORM\0\0\1\0AIFFCOMM" + bytes(50),
    "a CAF file": b"caff\0\1\0\0desc" + bytes(50),
    "an AU file": b".snd\0\0\0\x18" + bytes(50),
}
TAGGED_MP3 = b"ID3\x04\0\0\0\0\x0f\x76" + bytes(2_000)
RAW_FORMATS = [AudioFormat("pcm", 16_000), AudioFormat("ulaw", 8_000), AudioFormat("alaw", 8_000)]


@pytest.mark.parametrize("audio_format", RAW_FORMATS, ids=lambda each: each.encoding)
@pytest.mark.parametrize(("kind", "start"), [*STARTS.items(), ("mp3", TAGGED_MP3)])
def test_a_file_is_not_samples(kind: str, start: bytes, audio_format: AudioFormat) -> None:
    text = (
        f"^the options declare {audio_format.encoding}, but the audio is {re.escape(kind)}: pass the file to read_audio"
    )
    with pytest.raises(ConfigurationError, match=text) as caught:
        check_start(start, audio_format)
    assert f"-ar {audio_format.sample_rate} " in str(caught.value)


@pytest.mark.parametrize(
    ("encoding", "kinds"),
    [
        ("wav", ["a WAV file"]),
        ("mp3", ["mp3"]),
        ("aac", ["AAC (ADTS)", "mp3", "an MP4 file (m4a)"]),
        ("opus", ["an Ogg file", "a WebM or Matroska file", "an MP4 file (m4a)", "a CAF file"]),
        ("speex", ["an Ogg file"]),
        ("amr", ["an AMR file", "an MP4 file (m4a)"]),
    ],
)
def test_a_compressed_format_is_held_by_its_own_containers_only(encoding: str, kinds: list[str]) -> None:
    for kind, start in STARTS.items():
        if kind in kinds:
            check_start(start, AudioFormat(encoding))
        else:
            with pytest.raises(ConfigurationError, match=f"declare {encoding}, but .* is .*: declare the format"):
                check_start(start, AudioFormat(encoding))


def test_speex_in_ogg_is_accepted_and_an_encoding_of_another_package_is_not_checked() -> None:
    check_start(speex_file(range(9)), AudioFormat("speex"))
    check_start(STARTS["a WAV file"], AudioFormat("vendors-own"))


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("opus", "these are raw Opus packets: put them into Ogg, or decode them and declare pcm"),
        ("speex", "in no Ogg container"),
        ("wav", "no RIFF header: declare pcm"),
    ],
)
def test_audio_without_the_container_that_the_format_needs_is_refused(encoding: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^the options declare {encoding}, but it is .*{text}|{text}"):
        check_start(opus_packet(0), AudioFormat(encoding))


SILENCE_AND_SPEECH: dict[str, bytes] = {
    "silence": bytes(START_BYTES),
    "loud": np.resize(np.array([-1_025, -1_281, -1_025], dtype="<i2"), 2_048).tobytes(),
    "minus one": b"\xff\xff" * 2_048,
    "a header of mp3 by chance": mp3_frame(0)[:4] + bytes(START_BYTES),
    "one frame of mp3 by chance": mp3_frame(0) + bytes(START_BYTES),
    "RIFF by chance": b"RIFF" + bytes(START_BYTES),
    "noise": np.random.default_rng(7).integers(-32_768, 32_767, 2_048, dtype=np.int16).tobytes(),
    "empty": b"",
    "a byte": b"\xff",
}


@pytest.mark.parametrize("start", SILENCE_AND_SPEECH.values(), ids=SILENCE_AND_SPEECH)
def test_samples_are_samples(start: bytes) -> None:
    check_start(start, PCM)


def test_noise_of_many_kinds_is_never_taken_for_a_file() -> None:
    random = np.random.default_rng(11)
    for loudness in (3, 300, 32_000):
        for _ in range(300):
            check_start(random.integers(-loudness, loudness, 2_048, dtype=np.int16).tobytes(), PCM)


# --- the first chunk of a source --------------------------------------------------------------------------------------


async def async_chunks(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def read_all(source: Any, audio_format: AudioFormat = PCM) -> bytes:
    reader, data = FrameReader(source, Framer(audio_format), audio_format), b""
    while (frames := await reader.next_frames()) is not None:
        data += b"".join(frames)
    return data


@pytest.mark.parametrize("size", [1, 7, 160, 3_200, 100_000])
@pytest.mark.parametrize("kind", STARTS)
async def test_a_file_is_refused_by_its_first_bytes_whatever_the_size_of_the_chunks(kind: str, size: int) -> None:
    data = STARTS[kind] * 3
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    for source in (chunks, async_chunks(*chunks)):
        with pytest.raises(ConfigurationError, match=re.escape(f"the audio is {kind}")):
            await read_all(source)


async def test_samples_in_chunks_of_any_size_and_kind_arrive_unchanged() -> None:
    data = SILENCE_AND_SPEECH["noise"] * 3
    samples = np.frombuffer(data, dtype=np.int16)
    for size in (2, 320, 3_200, 5_000):
        chunks = [data[at : at + size] for at in range(0, len(data), size)]
        arrays = [samples[at : at + size // 2] for at in range(0, len(samples), size // 2)]
        for source in (chunks, async_chunks(*chunks), arrays, iter(map(bytearray, chunks))):
            assert await read_all(source) == data


@pytest.mark.parametrize("whole", [np.zeros(9_000, dtype=np.int16), array("h", bytes(18_000)), bytearray(18_000)])
async def test_an_array_as_source_is_one_chunk(whole: Any) -> None:
    assert await read_all(whole) == bytes(18_000)


@pytest.mark.parametrize(("chunk", "text"), [(each[0], each[1]) for name, each in WRONG.items() if name != "nothing"])
async def test_stream_and_send_refuse_the_same_chunks(chunk: Any, text: str) -> None:
    async with connect(Paraformer(), Local(Scripted([]))) as session:
        with pytest.raises(ConfigurationError, match=text):
            await session.send(chunk)
    async with connect(Paraformer(), Local(Scripted([]))) as session:
        with pytest.raises(ConfigurationError, match=text):
            async for _ in session.stream([chunk]):
                pass


async def test_stream_and_send_take_the_same_arrays() -> None:
    chunks: list[Any] = [
        np.zeros(16_000, dtype=np.int16),
        memoryview(array("h", bytes(32_000))),
        array("h", bytes(32_000)),
    ]
    engine = Local(Scripted([("good morning", 100, 900)]))
    assert (await transcribe(chunks, Paraformer(), engine)).text == "good morning"
    async with connect(Paraformer(), engine) as session:
        for chunk in chunks:
            await session.send(chunk)
        await session.finish()
        assert [result.text async for result in session if result.is_final] == ["good morning"]
        assert session.stats.audio_sent_ms == 3_000


@pytest.mark.parametrize("kind", STARTS)
async def test_a_session_refuses_a_file_as_samples_before_any_audio_is_sent(kind: str) -> None:
    async with connect(Paraformer(), Local(Scripted([]))) as session:
        with pytest.raises(ConfigurationError, match=re.escape(f"declare pcm, but the audio is {kind}")):
            async for _ in session.stream([STARTS[kind] * 3]):
                pass
        assert session.stats.audio_sent_ms == 0
