"""Files as sources, the check of a source before a session connects, and the reader of frames."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import pytest

from asr_async import AudioFormat, ConfigurationError, GummyChat, Paraformer, Rasr, read_audio
from asr_async.audio import Framer
from asr_async.sources import AudioSource, FrameReader, UtteranceEnd, check_source

from ..support.wav_files import write_wav

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from asr_async.vendors.options import Options

PCM16K = AudioFormat("pcm", 16_000)
FRAME = bytes(range(200)) * 16
TONE = struct.pack("<16000h", *(int(8_000 * math.sin(n / 10)) for n in range(16_000)))


async def read_all(source: Any) -> bytes:
    return b"".join([chunk async for chunk in source])


async def test_a_wav_file_yields_its_samples(tmp_path: Path) -> None:
    source = read_audio(write_wav(tmp_path / "a.wav", samples=TONE))
    await source.preflight(PCM16K)
    assert source.duration_ms == 1_000
    assert await read_all(source) == TONE
    assert await read_all(source) == TONE  # a second iteration starts again


async def test_a_wav_file_yields_all_its_bytes_if_the_options_declare_wav(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", samples=TONE)
    source = read_audio(path)
    await source.preflight(AudioFormat("wav", 16_000))
    assert await read_all(source) == path.read_bytes()


@pytest.mark.parametrize("suffix", ["pcm", "raw"])
async def test_a_raw_file_yields_its_bytes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(TONE)
    source = read_audio(path)
    await source.preflight(AudioFormat("pcm", 8_000))
    assert source.duration_ms == 2_000
    assert await read_all(source) == TONE


async def test_a_compressed_file_yields_its_bytes_and_has_no_duration(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(b"\xff\xfb" * 100)
    source = read_audio(path)
    await source.preflight(AudioFormat("mp3", 16_000))
    assert source.duration_ms is None
    assert await read_all(source) == path.read_bytes()


async def test_a_missing_file_raises_file_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await read_audio(tmp_path / "none.wav").preflight(PCM16K)


async def test_a_file_is_not_opened_before_it_is_read(tmp_path: Path) -> None:
    assert repr(read_audio(tmp_path / "none.wav")).startswith("<AudioFile ")


async def test_a_path_and_a_number_are_refused_as_sources() -> None:
    with pytest.raises(ConfigurationError, match=r"not a path: use read_audio\('a.wav'\)"):
        await check_source("a.wav", Paraformer())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="a source must be an iterable of bytes, not int"):
        await check_source(5, Paraformer())  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [Rasr(mode="short"), Rasr(mode="sentence"), GummyChat()], ids=lambda o: o.model)
async def test_a_file_longer_than_the_model_accepts_is_refused_with_both_lengths(
    tmp_path: Path, options: Options
) -> None:
    fits = write_wav(tmp_path / "fits.wav", samples=60 * TONE)
    await check_source(read_audio(fits), options)
    long = write_wav(tmp_path / "long.wav", samples=90 * TONE)
    await check_source(read_audio(long), Rasr(mode="continue"))
    await check_source(read_audio(long), Paraformer())
    with pytest.raises(ConfigurationError) as caught:
        await check_source(read_audio(long), options)
    assert str(caught.value) == f"{long} is 90.0 s long: {options.model} accepts at most 60 s"


NOT_AUDIO = "audio chunks must be bytes, bytearray, memoryview or an array of 16-bit samples, not"


def reader_of(source: AudioSource) -> FrameReader:
    return FrameReader(source, Framer(PCM16K))


async def frames_of(reader: FrameReader) -> list[bytes]:
    """Return everything that the reader yields; each item is the joined frames of one call."""
    found = []
    while (frames := await reader.next_frames()) is not None:
        found.append(b"".join(frames))
    return found


async def stream_of(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_an_async_source_is_read_chunk_by_chunk() -> None:
    assert await frames_of(reader_of(stream_of(FRAME, FRAME[:100], FRAME[100:], b"ab"))) == [
        FRAME,
        b"",
        FRAME,
        b"",
        b"ab",
    ]


async def test_a_plain_source_is_read_a_second_at_a_time_after_its_first_frame() -> None:
    chunks = [FRAME[:1_600]] * 50
    assert [len(read) for read in await frames_of(reader_of(chunks))] == [3_200, 32_000, 32_000, 12_800]


async def test_every_iterable_of_bytes_is_a_source_and_a_bytes_object_is_one_chunk() -> None:
    for source in ([b"ab", b"cd"], iter([b"ab", b"cd"]), stream_of(b"ab", b"cd"), b"abcd"):
        assert b"".join(await frames_of(reader_of(source))) == b"abcd"  # type: ignore[arg-type]


async def test_an_utterance_end_flushes_the_incomplete_frame_and_adds_an_empty_one() -> None:
    for source in ([b"ab", UtteranceEnd(), b"cd"], stream_of(b"ab", UtteranceEnd(), b"cd")):
        reader, frames = reader_of(source), []
        while (read := await reader.next_frames()) is not None:
            frames += [bytes(frame) for frame in read]
        assert frames == [b"ab", b"", b"cd"]


async def test_the_exception_of_a_source_is_raised_after_all_its_audio() -> None:
    def plain() -> Iterator[bytes]:
        yield FRAME
        yield b"ab"
        raise OSError("the microphone is gone")

    async def asynchronous() -> AsyncIterator[bytes]:
        for chunk in plain():
            yield chunk

    for source in (plain(), asynchronous()):
        reader, frames = reader_of(source), b""
        with pytest.raises(OSError, match="the microphone is gone"):
            while (read := await reader.next_frames()) is not None:
                frames += b"".join(read)
        assert frames == FRAME + b"ab"


class Source:
    """A source that yields a frame and then returns or raises `then`; the base of a plain and an async one."""

    def __init__(self, then: object) -> None:
        self._items = [FRAME, then]

    def __next__(self) -> bytes:
        chunk = self._items.pop(0)
        if isinstance(chunk, Exception):
            raise chunk
        return cast("bytes", chunk)

    async def __anext__(self) -> bytes:
        return self.__next__()


class PlainSource(Source):
    def __iter__(self) -> Self:
        return self


class AsyncSource(Source):
    def __aiter__(self) -> Self:
        return self


async def test_a_source_ends_with_the_exception_of_its_kind() -> None:
    assert await frames_of(reader_of(PlainSource(StopIteration()))) == [FRAME, b""]
    assert await frames_of(reader_of(AsyncSource(StopAsyncIteration()))) == [FRAME, b""]


@pytest.mark.parametrize(
    ("kind", "then", "error"),
    [
        (PlainSource, None, f"ConfigurationError: {NOT_AUDIO} NoneType"),
        (AsyncSource, None, f"ConfigurationError: {NOT_AUDIO} NoneType"),
        (PlainSource, StopAsyncIteration(), "RuntimeError: the source raised StopAsyncIteration"),
        (AsyncSource, StopIteration(), "RuntimeError: coroutine raised StopIteration"),
    ],
)
async def test_another_item_or_exception_does_not_end_a_source(
    kind: type[PlainSource | AsyncSource], then: object, error: str
) -> None:
    with pytest.raises((ConfigurationError, RuntimeError)) as caught:
        await frames_of(reader_of(kind(then)))
    assert f"{type(caught.value).__name__}: {caught.value}" == error


async def test_a_source_that_is_closed_early_cleans_up() -> None:
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
