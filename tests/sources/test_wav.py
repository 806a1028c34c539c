"""WAV files as recorders, pipes and editors write them, from a file, from bytes and through a pipe."""

from __future__ import annotations

import struct
from array import array
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from asr_async import AudioFile, AudioFormat, AudioLostError, ConfigurationError, read_audio

from .wav_bytes import DATA, DEEP, TONE, VALUES, WAVS, WavCase, chunk, fmt, riff, stereo

if TYPE_CHECKING:
    from pathlib import Path

PCM16K = AudioFormat()


async def read(source: AudioFile, expected: AudioFormat = PCM16K) -> tuple[bytes, str | None]:
    """Return the audio of a source, and the text of the error behind it."""
    found = b""
    try:
        await source.preflight(expected)
        async for piece in source:
            found += piece
    except (AudioLostError, ConfigurationError) as error:
        return found, str(error)
    return found, None


@pytest.mark.parametrize("case", WAVS.values(), ids=WAVS)
async def test_a_wav_is_read_from_a_file_from_bytes_and_from_a_stream(case: WavCase, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(case.data)
    unseekable = BytesIO(case.data)
    unseekable.seekable = lambda: False  # type: ignore[method-assign]
    for source in (read_audio(path), read_audio(case.data), read_audio(BytesIO(case.data)), read_audio(unseekable)):
        samples, error = await read(source)
        is_stream = source.live is None
        if not (is_stream and case.error == "{} has no samples"):  # a stream has no size to know it by
            assert error == (None if case.error is None else case.error.format(source.name))
            assert samples == TONE[: 32 * case.read_ms]
        assert source.duration_ms == (None if is_stream or not case.read_ms else case.read_ms)


async def test_the_length_of_a_file_that_is_cut_off_is_that_of_its_samples(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(WAVS["cut off in the samples"].data)
    source = read_audio(path)
    await source.preflight(PCM16K)
    with pytest.raises(AudioLostError) as caught:
        assert [len(piece) async for piece in source] == []
    assert (caught.value.start_ms, caught.value.end_ms, source.duration_ms) == (500, 1_500, 500)


SILENCE = bytes(len(TONE))
STEREO = riff(fmt(channels=2), chunk(b"data", stereo(TONE, SILENCE)))
SURROUND = riff(fmt(channels=3), chunk(b"data", b"".join(struct.pack("<3h", value, value, 0) for value in VALUES)))


async def test_the_channels_are_mixed_or_one_is_picked() -> None:
    half = array("h", [value >> 1 for value in VALUES]).tobytes()
    assert await read(read_audio(STEREO)) == (half, None)
    assert await read(read_audio(STEREO, channel="left")) == (TONE, None)
    assert await read(read_audio(STEREO, channel="right")) == (SILENCE, None)
    assert await read(read_audio(STEREO, channel=1)) == (SILENCE, None)
    assert await read(read_audio(SURROUND, channel=1)) == (TONE, None)
    mixed = array("h", [2 * value // 3 for value in VALUES]).tobytes()
    assert await read(read_audio(SURROUND)) == (mixed, None)


async def test_a_channel_that_is_not_there_is_refused() -> None:
    source = read_audio(WAVS["plain"].data, channel="right")
    assert await read(source) == (b"", f"{source.name} has no channel 1: it has 1, and they count from 0")


async def test_samples_of_8_bits_have_no_sign() -> None:
    source = read_audio(riff(fmt(bits=8), chunk(b"data", bytes([0x80, 0xFF, 0x00]))))
    assert (await read(source))[0] == struct.pack("<3h", 0, 0x7F00, -0x8000)


@pytest.mark.parametrize(("tag", "codes"), [(6, b"\xd5\x55\x80"), (7, b"\xff\x7f\x80")])
async def test_g711_is_expanded_or_sent_as_it_is(tag: int, codes: bytes) -> None:
    expanded = {6: (8, -8, 5_504), 7: (0, 0, 32_124)}[tag]
    source = read_audio(riff(fmt(tag, bits=8, rate=8_000), chunk(b"data", codes)))
    assert (await read(source, AudioFormat("pcm", 8_000)))[0] == struct.pack("<3h", *expanded)
    law = {6: "alaw", 7: "ulaw"}[tag]
    assert (await read(source, AudioFormat(law, 8_000)))[0] == codes
    _, error = await read(source, AudioFormat(law, 16_000))
    assert error is not None
    assert "but the options declare" in error


async def test_loud_floats_are_clipped_and_what_is_no_number_is_silent() -> None:
    floats = struct.pack("<6f", 1.0, -1.0, 2.0, float("nan"), float("inf"), float("-inf"))
    source = read_audio(riff(fmt(3, bits=32), chunk(b"data", floats)))
    assert (await read(source))[0] == struct.pack("<6h", 32_767, -32_768, 32_767, 0, 32_767, -32_768)


async def test_a_wav_is_sent_as_it_is_if_the_options_declare_wav_and_else_with_a_header() -> None:
    wav = AudioFormat("wav", 16_000)
    plain = WAVS["LIST in front"].data
    assert await read(read_audio(plain), wav) == (plain, None)
    deep = riff(fmt(bits=24), chunk(b"data", DEEP))
    assert await read(read_audio(deep), wav) == (wav.header + TONE, None)


async def test_a_compressed_wav_from_a_pipe_is_refused() -> None:
    pipe = BytesIO(riff(fmt(0x11, bits=4), DATA))
    pipe.seekable = lambda: False  # type: ignore[method-assign]
    _, error = await read(read_audio(pipe))
    assert error == "the BytesIO is a WAV file with IMA ADPCM: read it from a file"
