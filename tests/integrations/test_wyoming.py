"""The server for Home Assistant, with the client of the library `wyoming`, which Home Assistant uses."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import wave
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient
from wyoming.error import Error
from wyoming.info import Describe, Info

from asr_async import Client, ConfigurationError, DashScope, FunASR, Local, Paraformer
from asr_async.emulator import Scripted, serve
from asr_async.emulator.faults import Fail, Fault
from asr_async.integrations.wyoming import WyomingServer, _with_language

from ..cli.command_line import INTERRUPTIBLE, finished, process
from ..support.paths import EXAMPLES
from ..support.speech import example_text, plain_words
from ..support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from wyoming.event import Event

SCRIPT = Scripted([("turn on the light", 200, 1_100), ("今天天气不错。", 1_500, 2_500)])


@asynccontextmanager
async def scripted_server(folder: Path, *faults: Fault) -> AsyncIterator[AsyncClient]:
    """Run a server with a script; yield a client that is connected to it."""
    uri = f"unix://{folder}/wyoming"
    async with (
        serve(SCRIPT, faults=faults) as emulator,
        Client(DashScope("key", endpoint=emulator.dashscope_url)) as client,
        WyomingServer(uri, client, FunASR()),
        AsyncClient.from_uri(uri) as wyoming,
    ):
        yield wyoming


async def send_audio(
    wyoming: AsyncClient, seconds: float, *, rate: int = 16_000, width: int = 2, channels: int = 1
) -> None:
    await wyoming.write_event(AudioStart(rate=rate, width=width, channels=channels).event())
    size = rate * width * channels // 10
    for _ in range(round(seconds * 10)):
        await wyoming.write_event(AudioChunk(rate=rate, width=width, channels=channels, audio=bytes(size)).event())
    await wyoming.write_event(AudioStop().event())


async def events_until_the_end(wyoming: AsyncClient) -> list[Event]:
    events: list[Event] = []
    async with asyncio.timeout(30):
        while event := await wyoming.read_event():
            events.append(event)
            if TranscriptStop.is_type(event.type) or Error.is_type(event.type):
                break
    return events


@pytest.mark.parametrize(
    ("rate", "width", "channels"), [(16_000, 2, 1), (44_100, 2, 1), (48_000, 2, 2), (16_000, 4, 1), (8_000, 1, 1)]
)
async def test_a_request_gets_its_transcript_in_pieces_and_whole(
    tmp_path: Path, rate: int, width: int, channels: int
) -> None:
    async with scripted_server(tmp_path) as wyoming:
        await wyoming.write_event(Transcribe(language="en").event())
        await send_audio(wyoming, 3, rate=rate, width=width, channels=channels)
        start, *chunks, transcript, stop = await events_until_the_end(wyoming)
    assert TranscriptStart.is_type(start.type)
    assert TranscriptStop.is_type(stop.type)
    text = "turn on the light今天天气不错。"
    assert "".join(TranscriptChunk.from_event(chunk).text for chunk in chunks) == text
    assert Transcript.from_event(transcript).text == text
    assert len(chunks) == 2


async def test_the_audio_may_change_its_format(tmp_path: Path) -> None:
    async with scripted_server(tmp_path) as wyoming:
        await wyoming.write_event(AudioStart(rate=44_100, width=2, channels=1).event())
        for rate in (44_100, 16_000, 48_000):
            await wyoming.write_event(AudioChunk(rate=rate, width=2, channels=1, audio=bytes(2 * rate)).event())
        await wyoming.write_event(AudioStop().event())
        *_, transcript, _ = await events_until_the_end(wyoming)
    assert Transcript.from_event(transcript).text == "turn on the light今天天气不错。"


async def test_several_requests_on_one_connection(tmp_path: Path) -> None:
    async with scripted_server(tmp_path) as wyoming:
        for _ in range(2):
            await send_audio(wyoming, 1.2)
            *_, transcript, _ = await events_until_the_end(wyoming)
            assert Transcript.from_event(transcript).text == "turn on the light"


async def test_the_service_describes_itself(tmp_path: Path) -> None:
    async with scripted_server(tmp_path) as wyoming:
        await wyoming.write_event(Describe().event())
        event = await wyoming.read_event()
    assert event is not None
    (program,) = Info.from_event(event).asr
    assert (program.name, program.supports_transcript_streaming) == ("asr-async", True)
    assert [(model.name, model.languages) for model in program.models] == [("fun-asr-realtime", ["zh", "en", "ja"])]


def test_the_language_of_a_request_is_used_where_the_options_leave_it_open() -> None:
    assert _with_language(FunASR(), "en-GB") == FunASR(language_hints=["en"])
    assert _with_language(FunASR(language_hints=["zh"]), "en") == FunASR(language_hints=["zh"])
    assert _with_language(FunASR(), "tlh") == _with_language(FunASR(), None) == FunASR()


# --- wrong and lost clients ------------------------------------------------------------------------------------------


async def test_a_rate_without_a_resampler_is_an_error_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asr_async.integrations._samples.has_decoder", lambda: False)
    async with scripted_server(tmp_path) as wyoming:
        await wyoming.write_event(AudioStart(rate=44_100, width=2, channels=1).event())
        (event,) = await events_until_the_end(wyoming)
    assert Error.from_event(event).text == (
        "the client sends 44100 Hz, and the options declare 16000 Hz: send that rate, or pip install "
        "'asr-async[audio]' to resample"
    )


async def test_a_second_start_in_a_request_is_an_error_event(tmp_path: Path) -> None:
    async with scripted_server(tmp_path) as wyoming:
        for _ in range(2):
            await wyoming.write_event(AudioStart(rate=16_000, width=2, channels=1).event())
        *_, event = await events_until_the_end(wyoming)
    assert Error.from_event(event).text == "audio-start: the audio before it has not ended; send audio-stop first"


async def test_an_error_of_the_vendor_is_an_error_event_and_the_next_client_is_served(tmp_path: Path) -> None:
    async with scripted_server(tmp_path, Fail(at="start", connection=1)) as wyoming:
        await send_audio(wyoming, 1.2)
        *_, event = await events_until_the_end(wyoming)
        assert "failed on demand" in Error.from_event(event).text
        assert await wyoming.read_event() is None
        async with AsyncClient.from_uri(f"unix://{tmp_path}/wyoming") as other:
            await send_audio(other, 1.2)
            *_, transcript, _ = await events_until_the_end(other)
    assert Transcript.from_event(transcript).text == "turn on the light"


@pytest.mark.parametrize("garbage", [b"hello\n", b'{"type": "audio-chunk", "data": {}}\n', b'{"type": "audio-ch'])
async def test_a_client_that_breaks_the_protocol_is_a_line_in_the_log(
    tmp_path: Path, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with scripted_server(tmp_path):
        reader, writer = await asyncio.open_unix_connection(f"{tmp_path}/wyoming")
        writer.write(garbage)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
    assert "Traceback" not in caplog.text
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_client_that_leaves_in_mid_word_leaves_no_task(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    before = asyncio.all_tasks()
    async with scripted_server(tmp_path) as wyoming:
        async with AsyncClient.from_uri(f"unix://{tmp_path}/wyoming") as leaving:
            await leaving.write_event(AudioStart(rate=16_000, width=2, channels=1).event())
            await leaving.write_event(AudioChunk(rate=16_000, width=2, channels=1, audio=bytes(16_000)).event())
            assert await leaving.read_event() is not None
        await wait_until(lambda: "wyoming recognition" not in {task.get_name() for task in asyncio.all_tasks()})
        await wyoming.write_event(Describe().event())
        assert await wyoming.read_event() is not None
    await wait_until(lambda: asyncio.all_tasks() <= before)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("uri", ["tcp://localhost", "http://localhost:1", "10300"])
def test_a_malformed_address_is_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError, match=r"write tcp://host:port or unix:///path$"):
        WyomingServer(uri, Client(Local()), Paraformer())


# --- the command -----------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


async def test_the_command_serves_the_embedded_recogniser_until_ctrl_c() -> None:
    uri = f"tcp://127.0.0.1:{free_port()}"
    with process("wyoming", "--uri", uri, "--service", "local", command=INTERRUPTIBLE) as server:
        assert server.stderr is not None
        lines = [await asyncio.to_thread(server.stderr.readline) for _ in range(2)]
        assert f"Listening on {uri}" in lines[-1].decode()
        with wave.open(str(EXAMPLES / "audio" / "demo.wav")) as recording:
            audio = recording.readframes(recording.getnframes())
        async with AsyncClient.from_uri(uri) as wyoming:
            await wyoming.write_event(Describe().event())
            info = await wyoming.read_event()
            assert info is not None
            assert Info.from_event(info).asr[0].models[0].languages == ["en"]
            await wyoming.write_event(Transcribe(language="en").event())
            await wyoming.write_event(AudioStart(rate=16_000, width=2, channels=1).event())
            for begin in range(0, len(audio), 2_048):  # as Home Assistant sends it
                chunk = AudioChunk(rate=16_000, width=2, channels=1, audio=audio[begin : begin + 2_048])
                await wyoming.write_event(chunk.event())
            await wyoming.write_event(AudioStop().event())
            *_, transcript, _ = await events_until_the_end(wyoming)
        server.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(server.wait, 30) == 130
    assert plain_words(Transcript.from_event(transcript).text) == plain_words(example_text("demo"))


def test_an_address_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        status, _, errors = finished("wyoming", "--uri", uri, "--service", "local")
    assert status == 1
    assert "address already in use" in errors
    assert "Traceback" not in errors


def test_a_malformed_address_of_the_command_is_one_line() -> None:
    status, _, errors = finished("wyoming", "--uri", "10300", "--service", "local")
    assert (status, errors.count("\n")) == (2, 2)
    assert "write tcp://host:port or unix:///path" in errors
