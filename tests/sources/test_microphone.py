"""The microphone: a stand-in for sounddevice, whose device is played by the test, records into sessions."""

from __future__ import annotations

import asyncio
import struct
import sys
import types
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from asr_async import (
    AudioFormat,
    ConfigurationError,
    DashScope,
    Gap,
    Microphone,
    Paraformer,
    Result,
    connect,
    microphone,
)
from asr_async.cli.interruption import Interruption, StoppableSource
from asr_async.emulator import Scripted, serve
from asr_async.sources import DroppedAudio
from asr_async.sources.microphone import SoundBuffer

from ..support.virtual_time import now, run_virtual
from ..support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

PCM16K = AudioFormat()
BLOCK = struct.pack("<h", 8_192) * 800
LOUD = struct.pack("<h", -32_768) * 800


class PortAudioError(Exception):
    """The error of the library."""


class Stream:
    """The stream of a device: the test calls `play`, as the thread of PortAudio does."""

    opened: ClassVar[list[Stream]] = []

    def __init__(
        self, *, callback: Callable[..., None], finished_callback: Callable[[], None], **settings: Any
    ) -> None:
        if settings["device"] == "busy":
            raise PortAudioError("Error opening RawInputStream: Device unavailable [PaErrorCode -9985]")
        self.settings = settings
        self.callback = callback
        self.unplug = finished_callback
        self.state = "open"
        self.opened.append(self)

    def start(self) -> None:
        self.state = "started"

    def close(self) -> None:
        self.state = "closed"

    def play(self, *blocks: bytes) -> None:
        for block in blocks:
            self.callback(memoryview(block), len(block) // 2, None, None)


def query_devices(device: object = None, kind: str | None = None) -> object:
    devices = [{"name": "Webcam", "max_input_channels": 1}, {"name": "Speakers", "max_input_channels": 0}]
    if kind is None:
        return devices
    if device not in {None, "webcam", "busy"}:
        raise ValueError(f"No input device matching {device!r}")
    return devices[0]


def check_input_settings(_device: object, *, samplerate: int, **_settings: object) -> None:
    if samplerate == 11_025:
        raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")


@pytest.fixture(autouse=True)
def sounddevice(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Return a module with the part of the library's interface that is used."""
    module = types.ModuleType("sounddevice")
    for name, value in (
        ("RawInputStream", Stream),
        ("PortAudioError", PortAudioError),
        ("query_devices", query_devices),
        ("check_input_settings", check_input_settings),
    ):
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    Stream.opened.clear()
    return module


async def opened(source: Microphone, expected: AudioFormat = PCM16K) -> tuple[AsyncIterator[bytes], Stream]:
    """Return the iterator of a source and the stream of its device, which has played a block."""
    await source.preflight(expected)
    pieces = aiter(source)
    reading = asyncio.ensure_future(anext(pieces))
    await wait_until(lambda: Stream.opened)
    (stream,) = Stream.opened
    stream.play(BLOCK)
    assert await reading == BLOCK
    return pieces, stream


async def test_it_records_at_the_rate_of_the_session_until_it_is_closed() -> None:
    source = microphone("webcam")
    pieces, stream = await opened(source, AudioFormat("pcm", 8_000))
    settings = {"samplerate": 8_000, "blocksize": 400, "device": "webcam", "channels": 1, "dtype": "int16"}
    assert stream.settings == settings
    stream.play(LOUD, BLOCK)
    assert [await anext(pieces), await anext(pieces)] == [LOUD, BLOCK]
    await pieces.aclose()  # type: ignore[attr-defined]
    assert stream.state == "closed"
    with pytest.raises(StopAsyncIteration):
        await anext(pieces)


async def test_the_level_is_the_peak_of_the_newest_block() -> None:
    source = microphone()
    assert source.level == 0.0
    _, stream = await opened(source)
    assert source.level == 0.25
    stream.play(LOUD)
    assert source.level == 1.0


async def test_it_begins_with_a_header_if_the_options_declare_wav() -> None:
    source, wav = microphone(), AudioFormat("wav", 16_000)
    await source.preflight(wav)
    assert await anext(aiter(source)) == wav.header


async def test_the_newest_audio_is_dropped_from_a_full_buffer_and_a_mark_takes_its_place() -> None:
    source = microphone(buffer_s=0.1)
    pieces, stream = await opened(source)
    stream.play(BLOCK, BLOCK, LOUD, LOUD, LOUD)
    assert [await anext(pieces), await anext(pieces)] == [BLOCK, BLOCK]
    assert source.dropped_ms == 0
    stream.play(BLOCK)
    mark = await anext(pieces)
    assert isinstance(mark, DroppedAudio)
    assert mark.size_bytes == 3 * len(LOUD)
    assert mark.reason == "the microphone: the session took no audio, and the buffer was full (buffer_s=0.1)"
    assert await anext(pieces) == BLOCK
    assert source.dropped_ms == 150


@pytest.mark.parametrize("options", [Paraformer(), Paraformer(format="wav")], ids=["pcm", "wav"])
async def test_dropped_audio_is_a_gap_and_times_count_it(options: Paraformer) -> None:
    async with serve(engine=Scripted([("good morning", 0, 400), ("call me", 600, 1_700)])) as emulator:
        source = microphone(buffer_s=1)
        async with connect(options, DashScope("key", endpoint=emulator.dashscope_url)) as session:
            events = session.events(StoppableSource(source, Interruption(on_first=lambda: None)))
            first = asyncio.ensure_future(anext(events))
            await wait_until(lambda: Stream.opened)
            (stream,) = Stream.opened
            stream.play(*[BLOCK] * 24)  # 1.2 s at once: 0.2 s too much
            received = [await first]
            await wait_until(lambda: source.dropped_ms)  # the buffer was read up to there
            stream.play(*[BLOCK] * 18)
            stream.unplug()
            with pytest.raises(OSError, match="brings no more audio"):
                async for event in events:
                    received.append(event)
    (gap,) = [event for event in received if isinstance(event, Gap)]
    assert gap == session.gaps[0]
    header_ms = len(options.audio.header) // 32  # times are from the first byte on
    assert (gap.start_ms, gap.end_ms, source.dropped_ms) == (1_000 + header_ms, 1_200 + header_ms, 200)
    last = [event for event in received if isinstance(event, Result)][-1]
    assert (last.text, last.end_ms) == ("call me", 1_900)


def test_a_buffer_keeps_the_order_of_audio_and_of_what_was_dropped() -> None:
    buffer = SoundBuffer(4)
    for block in (b"ab", b"cd", b"ef", b"gh"):
        buffer.put(block)
    assert [buffer.pop(), buffer.pop()] == [b"ab", b"cd"]
    buffer.put(b"ij")
    assert [buffer.pop(), buffer.pop(), buffer.pop()] == [4, b"ij", None]
    assert repr(buffer) == "<SoundBuffer 0 bytes>"


async def test_a_device_that_is_unplugged_ends_in_an_error_behind_its_audio() -> None:
    pieces, stream = await opened(microphone("webcam"))
    stream.play(LOUD)
    stream.unplug()
    assert await anext(pieces) == LOUD
    with pytest.raises(OSError, match="the microphone 'webcam' brings no more audio: was it unplugged"):
        await anext(pieces)


def test_a_device_that_brings_nothing_any_more_is_gone() -> None:
    async def scenario() -> None:
        pieces, _ = await opened(microphone())
        began_at = now()
        with pytest.raises(OSError, match="the microphone brings no more audio"):
            await anext(pieces)
        assert now() - began_at == pytest.approx(5.0, abs=0.1)

    run_virtual(scenario)


async def test_a_session_recognises_what_is_recorded() -> None:
    async with serve(engine=Scripted([("good morning", 0, 400)])) as emulator:
        service = DashScope("key", endpoint=emulator.dashscope_url)
        async with connect(Paraformer(), service) as session:
            results = session.stream(microphone())
            reading = asyncio.ensure_future(anext(results))
            await wait_until(lambda: Stream.opened)
            (stream,) = Stream.opened
            stream.play(*[BLOCK] * 40)
            assert "good" in (await reading).text
    assert stream.state == "closed"


# --- bad input --------------------------------------------------------------------------------------------------------


async def refusal(source: Microphone, expected: AudioFormat = PCM16K) -> str:
    with pytest.raises(ConfigurationError) as caught:
        await source.preflight(expected)
    return str(caught.value)


async def test_a_device_that_is_missing_or_cannot_record_so_is_refused() -> None:
    assert await refusal(microphone("usb")) == (
        "the microphone 'usb' was not found (No input device matching 'usb'): there are 'Webcam'"
    )
    assert await refusal(microphone(), AudioFormat("pcm", 11_025)) == (
        "the microphone does not record one channel at 11025 Hz (Invalid sample rate [PaErrorCode -9997]): choose "
        "another device or sample rate"
    )
    assert await refusal(microphone(), AudioFormat("mp3")) == "a microphone records pcm, but the options declare mp3"
    with pytest.raises(ConfigurationError, match=r"buffer_s=0: must be a positive number of seconds"):
        microphone(buffer_s=0)


async def test_a_system_without_devices_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def query_no_devices(_device: object = None, kind: str | None = None) -> list[object]:
        if kind is None:
            return []
        raise PortAudioError("Error querying device -1")

    monkeypatch.setattr(sys.modules["sounddevice"], "query_devices", query_no_devices)
    assert await refusal(microphone()) == (
        "the microphone was not found (Error querying device -1): the system has none"
    )


async def test_a_device_that_is_in_use_is_an_error() -> None:
    source = microphone("busy")
    await source.preflight(PCM16K)
    with pytest.raises(
        OSError, match="the microphone 'busy' cannot be opened: Error opening RawInputStream: Device un"
    ):
        await anext(aiter(source))


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("raise OSError('PortAudio library not found')", "microphone() needs the PortAudio library: apt-get install"),
        ("raise ImportError('no cffi')", 'microphone() needs sounddevice: pip install "asr-async[mic]"'),
    ],
)
async def test_a_missing_library_is_named(
    module: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sounddevice.py").write_text(module)
    monkeypatch.delitem(sys.modules, "sounddevice")
    monkeypatch.syspath_prepend(tmp_path)
    assert (await refusal(microphone())).startswith(text)
