"""Files as sources, what is refused before anything is sent, and how a session reads any source."""

from __future__ import annotations

import math
import struct
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import pytest

from asr_async import AudioFormat, ConfigurationError, GummyChat, Paraformer, Rasr, read_audio
from asr_async.audio import Framer
from asr_async.sources import AudioSource, FrameReader, UtteranceEnd, preflight

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from asr_async.vendors.options import Options

PCM16K = AudioFormat("pcm", 16_000)
FRAME = bytes(range(200)) * 16
TONE = struct.pack("<16000h", *(int(8_000 * math.sin(n / 10)) for n in range(16_000)))


def write_wav(path: Path, *, rate: int = 16_000, width: int = 2, channels: int = 1, samples: bytes = TONE) -> Path:
    with wave.open(str(path), "wb") as writer:
        writer.setparams((channels, width, rate, 0, "NONE", ""))
        writer.writeframes(samples)
    return path


def riff(format_tag: int, bits: int, data: bytes, *, data_size: int | None = None) -> bytes:
    """A WAV file by hand, for what the standard library does not write."""
    fmt = struct.pack("<HHIIHH", format_tag, 1, 16_000, 16_000 * bits // 8, bits // 8, bits)
    size = len(data) if data_size is None else data_size
    chunks = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", min(len(chunks), 0xFFFFFFFF)) + chunks


async def read_all(source: Any) -> bytes:
    return b"".join([chunk async for chunk in source])


async def test_a_wav_file_gives_its_samples(tmp_path: Path) -> None:
    source = read_audio(write_wav(tmp_path / "a.wav"))
    await source.preflight(PCM16K)
    assert source.duration_ms == 1_000
    assert await read_all(source) == TONE
    assert await read_all(source) == TONE  # a second reading starts again


async def test_a_wav_file_is_sent_whole_where_the_options_declare_wav(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav")
    source = read_audio(path)
    await source.preflight(AudioFormat("wav", 16_000))
    assert await read_all(source) == path.read_bytes()


@pytest.mark.parametrize("suffix", ["pcm", "raw"])
async def test_a_raw_file_gives_its_bytes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(TONE)
    source = read_audio(path)
    await source.preflight(AudioFormat("pcm", 8_000))
    assert source.duration_ms == 2_000
    assert await read_all(source) == TONE


async def test_a_compressed_file_is_sent_as_it_is_and_has_no_known_length(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(b"\xff\xfb" * 100)
    source = read_audio(path)
    await source.preflight(AudioFormat("mp3", 16_000))
    assert source.duration_ms is None
    assert await read_all(source) == path.read_bytes()


async def test_a_recording_that_was_not_closed_ends_where_the_file_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(riff(1, 16, TONE, data_size=0xFFFFFFFF))
    source = read_audio(path)
    await source.preflight(PCM16K)
    assert source.duration_ms == 1_000
    assert await read_all(source) == TONE


async def refusal(path: Path, expected: AudioFormat = PCM16K) -> str:
    with pytest.raises(ConfigurationError) as caught:
        await read_audio(path).preflight(expected)
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_files_that_are_not_what_was_declared_are_refused_with_what_to_do(tmp_path: Path) -> None:
    fix = "convert it with: ffmpeg -i {} -ar 16000 -ac 1 -c:a pcm_s16le converted.wav"
    cases: list[tuple[str, bytes | dict[str, Any], str]] = [
        ("empty.wav", b"", "is empty"),
        ("song.wav", b"ID3" + b"\0" * 100, f"is not a WAV file: {fix}"),
        ("cut.wav", b"RIFF", f"is not a WAV file: {fix}"),
        ("rate.wav", {"rate": 44_100}, f"is 44100 Hz, but sample_rate=16000 was declared: {fix}"),
        ("stereo.wav", {"channels": 2}, f"has 2 channels, one is needed: {fix}"),
        ("deep.wav", {"width": 3}, f"has 24-bit samples, 16-bit are needed: {fix}"),
        ("float.wav", riff(3, 32, TONE), f"holds floating-point samples, 16-bit are needed: {fix}"),
        (
            "deep_extensible.wav",
            riff(0xFFFE, 24, TONE),
            f"is an extensible WAV (deep samples or several channels): {fix}",
        ),
        ("ulaw.wav", riff(7, 8, TONE), f"is a compressed WAV (unknown format: 7): {fix}"),
        ("silent.wav", riff(1, 16, b""), "holds no samples"),
    ]
    for name, content, text in cases:
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            write_wav(path, **content)
        assert await refusal(path) == f"{path} {text.format(name)}"


async def test_a_wav_file_is_refused_where_the_options_declare_mp3(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav")
    assert await refusal(path, AudioFormat("mp3")) == f"{path} is a WAV file, but format='mp3' was declared"


async def test_a_missing_file_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await read_audio(tmp_path / "none.wav").preflight(PCM16K)


async def test_nothing_is_opened_before_it_is_needed(tmp_path: Path) -> None:
    assert repr(read_audio(tmp_path / "none.wav")).startswith("<AudioFile ")


async def test_a_path_or_a_number_is_not_a_source() -> None:
    with pytest.raises(ConfigurationError, match=r"read_audio\('a.wav'\) makes one from a file"):
        await preflight("a.wav", Paraformer())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="a source is an iterable of bytes, not int"):
        await preflight(5, Paraformer())  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [Rasr(mode="short"), Rasr(mode="sentence"), GummyChat()], ids=lambda o: o.model)
async def test_a_file_longer_than_the_model_takes_is_refused_with_both_lengths(
    tmp_path: Path, options: Options
) -> None:
    fits = write_wav(tmp_path / "fits.wav", samples=60 * TONE)
    await preflight(read_audio(fits), options)
    long = write_wav(tmp_path / "long.wav", samples=90 * TONE)
    await preflight(read_audio(long), Rasr(mode="continue"))
    await preflight(read_audio(long), Paraformer())
    with pytest.raises(ConfigurationError) as caught:
        await preflight(read_audio(long), options)
    assert str(caught.value) == f"{long} is 90.0 s long: {options.model} takes 60 s at most"


def reader_of(source: AudioSource) -> FrameReader:
    return FrameReader(source, Framer(PCM16K))


async def frames_of(reader: FrameReader) -> list[bytes]:
    """Everything the reader gives, joined per step."""
    found = []
    while (frames := await reader.next_frames()) is not None:
        found.append(b"".join(frames))
    return found


async def stream_of(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_a_source_that_may_wait_is_read_chunk_by_chunk() -> None:
    assert await frames_of(reader_of(stream_of(FRAME, FRAME[:100], FRAME[100:], b"ab"))) == [
        FRAME,
        b"",
        FRAME,
        b"",
        b"ab",
    ]


async def test_a_source_that_never_waits_is_read_a_second_at_a_time_behind_its_first_frame() -> None:
    pieces = [FRAME[:1_600]] * 50
    assert [len(read) for read in await frames_of(reader_of(pieces))] == [3_200, 32_000, 32_000, 12_800]


async def test_any_iterable_of_bytes_is_read_and_bytes_alone_are_one_chunk() -> None:
    for source in ([b"ab", b"cd"], iter([b"ab", b"cd"]), stream_of(b"ab", b"cd"), b"abcd"):
        assert b"".join(await frames_of(reader_of(source))) == b"abcd"  # type: ignore[arg-type]


async def test_an_utterance_ends_with_what_fills_no_frame_and_an_empty_one() -> None:
    for source in ([b"ab", UtteranceEnd(), b"cd"], stream_of(b"ab", UtteranceEnd(), b"cd")):
        reader, frames = reader_of(source), []
        while (read := await reader.next_frames()) is not None:
            frames += [bytes(frame) for frame in read]
        assert frames == [b"ab", b"", b"cd"]


async def test_what_a_source_raises_comes_behind_all_that_it_gave() -> None:
    def plain() -> Iterator[bytes]:
        yield FRAME
        yield b"ab"
        raise OSError("the microphone is gone")

    async def waiting() -> AsyncIterator[bytes]:
        for chunk in plain():
            yield chunk

    for source in (plain(), waiting()):
        reader, frames = reader_of(source), b""
        with pytest.raises(OSError, match="the microphone is gone"):
            while (read := await reader.next_frames()) is not None:
                frames += b"".join(read)
        assert frames == FRAME + b"ab"


class Source:
    """Brings a frame, then something else: an iterator of both kinds, of which a test uses one."""

    def __init__(self, then: object) -> None:
        self._brings = [FRAME, then]

    def __next__(self) -> bytes:
        chunk = self._brings.pop(0)
        if isinstance(chunk, Exception):
            raise chunk
        return cast("bytes", chunk)

    async def __anext__(self) -> bytes:
        return self.__next__()


class PlainSource(Source):
    def __iter__(self) -> Self:
        return self


class WaitingSource(Source):
    def __aiter__(self) -> Self:
        return self


async def test_a_source_ends_with_its_own_exception_for_that() -> None:
    assert await frames_of(reader_of(PlainSource(StopIteration()))) == [FRAME, b""]
    assert await frames_of(reader_of(WaitingSource(StopAsyncIteration()))) == [FRAME, b""]


@pytest.mark.parametrize(
    ("kind", "then", "error"),
    [
        (PlainSource, None, "ConfigurationError: audio chunks must be bytes, bytearray or memoryview, not NoneType"),
        (WaitingSource, None, "ConfigurationError: audio chunks must be bytes, bytearray or memoryview, not NoneType"),
        (PlainSource, StopAsyncIteration(), "RuntimeError: the source raised StopAsyncIteration"),
        (WaitingSource, StopIteration(), "RuntimeError: coroutine raised StopIteration"),
    ],
)
async def test_nothing_else_ends_a_source(kind: type[PlainSource | WaitingSource], then: object, error: str) -> None:
    with pytest.raises((ConfigurationError, RuntimeError)) as caught:
        await frames_of(reader_of(kind(then)))
    assert f"{type(caught.value).__name__}: {caught.value}" == error


async def test_a_source_that_is_left_early_cleans_up() -> None:
    closed = []

    async def stream() -> AsyncIterator[bytes]:
        try:
            while True:
                yield FRAME
        finally:
            closed.append("async")

    def generator() -> Iterator[bytes]:
        try:
            while True:
                yield FRAME
        finally:
            closed.append("plain")

    for source in (stream(), generator()):
        reader = reader_of(source)
        await reader.next_frames()
        await reader.aclose()
    assert closed == ["async", "plain"]
