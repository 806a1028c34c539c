"""Standard input, FIFOs and other inputs that bring their audio as it comes: results come before the input ends."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from asr_async import AudioFormat, AudioLostError, ConfigurationError, DashScope, Paraformer, connect, read_audio
from asr_async.emulator import Scripted, serve

from ..support.child_processes import child_environment
from .wav_bytes import TONE, WAVS, chunk, fmt, riff

if TYPE_CHECKING:
    from pathlib import Path

PCM16K = AudioFormat()
HEADER = riff(fmt(), chunk(b"data", b"", size=0xFFFFFFFF), size=0xFFFFFFFF)


class Writer:
    """The writing end of a FIFO."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._path = path
        self._fd = -1

    async def write(self, data: bytes) -> None:
        if self._fd < 0:  # blocks until there is a reader
            self._fd = await asyncio.to_thread(os.open, self._path, os.O_WRONLY)
        await asyncio.to_thread(os.write, self._fd, data)

    def close(self) -> None:
        os.close(self._fd)


async def test_a_fifo_is_read_as_its_audio_comes(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "live")
    source = read_audio(tmp_path / "live")
    assert source.live is None
    checking = asyncio.ensure_future(source.preflight(PCM16K))
    await writer.write(HEADER + TONE[:100])
    await checking
    assert source.treatment == "16-bit WAV, 16000 Hz, mono: sent as it is"
    pieces = aiter(source)
    assert await anext(pieces) == TONE[:100]
    await writer.write(TONE[100:200])
    assert await anext(pieces) == TONE[100:200]
    await writer.write(TONE[200:203])
    assert await anext(pieces) == TONE[200:202]  # half a sample waits for its other half
    await writer.write(TONE[203:300])
    assert await anext(pieces) == TONE[202:300]
    writer.close()
    assert [piece async for piece in pieces] == []


async def test_samples_without_a_header_have_the_format_of_the_options(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "arecord")
    source = read_audio(tmp_path / "arecord")
    fitting = asyncio.ensure_future(source.fit(Paraformer(sample_rate=8_000)))
    await writer.write(TONE[:1_600])
    options = await fitting
    assert options.audio == AudioFormat("pcm", 8_000)
    await source.preflight(options.audio)
    assert source.treatment == "pcm without a header, 8000 Hz, mono: sent as it is"
    writer.close()
    assert b"".join([piece async for piece in source]) == TONE[:1_600]


async def test_the_first_result_comes_before_the_pipe_ends(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "live")
    script = Scripted([("good morning all", 100, 900)])
    async with serve(engine=script) as emulator:
        service = DashScope("key", endpoint=emulator.dashscope_url)
        async with connect(Paraformer(), service) as session:
            results = session.stream(read_audio(tmp_path / "live"))
            first = asyncio.ensure_future(anext(results))
            await writer.write(HEADER)
            await writer.write(TONE + TONE)
            assert "good" in (await first).text
            writer.close()
            assert [result.text async for result in results][-1] == "good morning all"


async def test_a_writer_that_dies_ends_in_an_error_behind_its_audio(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "live")
    source = read_audio(tmp_path / "live")
    pieces = aiter(source)
    reading = asyncio.ensure_future(anext(pieces))
    await writer.write(riff(fmt(), chunk(b"data", b"", size=10 * len(TONE))) + TONE)
    await reading
    writer.close()
    with pytest.raises(AudioLostError, match=r"ends after 0.5 s, but its header declares 5.0 s"):
        await anext(pieces)


async def test_a_live_input_is_read_once(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, WAVS["plain"].data)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        source = read_audio(pipe)
        assert b"".join([piece async for piece in source]) == TONE
        with pytest.raises(ConfigurationError, match="can be read once only, and was read before"):
            await anext(aiter(source))


def run(code: str, stdin: bytes = b"", *, close_stdin: bool = False) -> str:
    """Run a program and return its last line of output."""
    arguments = [sys.executable, "-c", textwrap.dedent(code)]
    if close_stdin:
        arguments = ["sh", "-c", 'exec "$0" "$@" <&-', *arguments]
    environment = child_environment()
    completed = subprocess.run(arguments, env=environment, input=stdin, capture_output=True, timeout=60, check=True)
    assert completed.stderr.decode() == ""
    return completed.stdout.decode().splitlines()[-1]


READ_STDIN = """
    import asyncio, asr_async
    async def main():
        try:
            print(len(b"".join([piece async for piece in asr_async.read_audio("-")])))
        except asr_async.ConfigurationError as error:
            print(error)
    asyncio.run(main())
"""


def test_a_dash_is_standard_input() -> None:
    assert run(READ_STDIN, WAVS["plain"].data) == str(len(TONE))
    assert run(READ_STDIN, b"") == "standard input is empty"
    text = "standard input is closed: give a file, or pipe audio into the program"
    assert run(READ_STDIN, close_stdin=True) == text


def test_a_program_ends_although_a_pipe_still_waits_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "live")
    code = f"""
        import asyncio, asr_async
        async def main():
            try:
                async with asyncio.timeout(0.2):
                    await asr_async.read_audio({str(tmp_path / "live")!r}).preflight(asr_async.AudioFormat())
            except TimeoutError:
                print("left")
        asyncio.run(main())
    """
    assert run(code) == "left"
