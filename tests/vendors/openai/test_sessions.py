"""Sessions of OpenAI's realtime transcription with the emulator: results, commits, faults and errors."""

from __future__ import annotations

import json
import wave
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.server import serve as serve_websocket

from asr_async import (
    AuthenticationError,
    ConfigurationError,
    ConnectionLostError,
    DeadlineError,
    Local,
    OpenAI,
    OpenAIRealtime,
    Paraformer,
    Reconnected,
    Result,
    Retry,
    Timeouts,
    VendorError,
    connect,
    read_audio,
    transcribe,
)
from asr_async.emulator import Scripted, serve
from asr_async.emulator.faults import Close, Cut, HalfOpen, MuteFinish
from asr_async.emulator.positions import position_audio, position_of
from asr_async.vendors.openai.models import MODEL_ROWS

from ...support.paths import RECORDINGS
from ...support.virtual_time import run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from websockets.asyncio.server import ServerConnection

    from asr_async import Event

SECOND = bytes(48_000)
SCRIPT = [("hello there my friend", 100, 900), ("and good bye", 1_200, 1_900)]
TEXTS = [text for text, _, _ in SCRIPT]
LONG_SCRIPT = [
    (f"sentence number {number} is spoken", number * 2_000 + 300, number * 2_000 + 1_700) for number in range(6)
]
LONG_AUDIO = position_audio(0, 12_000, 24_000)
LIVE = OpenAIRealtime(model="gpt-live-transcribe")
QUICK = Retry(max_delay_s=0.01)


def places(events: list[Event]) -> list[tuple[str, int, int]]:
    return [(each.text, each.start_ms, each.end_ms) for each in events if isinstance(each, Result) and each.is_final]


def words(events: list[Event]) -> list[str]:
    return " ".join(text for text, _, _ in places(events)).split()


@pytest.mark.parametrize("encoding", ["pcm", "ulaw", "alaw"])
def test_detected_utterances_are_finals_at_their_places(encoding: Any) -> None:
    async def scenario() -> list[Event]:
        options = OpenAIRealtime(format=encoding, language="en")
        async with connect(options, Local(Scripted(SCRIPT))) as session:
            audio = [options.audio.silence(options.audio.to_bytes(1_000))] * 2
            return [event async for event in session.events(audio, pace=None)]

    events = run_virtual(scenario)
    assert places(events) == SCRIPT
    assert {event.language for event in events if isinstance(event, Result)} <= {"en", None}


@pytest.mark.parametrize("model", MODEL_ROWS)
def test_each_model_recognises_a_source(model: str) -> None:
    async def scenario() -> str:
        return (await transcribe([SECOND, SECOND], OpenAIRealtime(model=model), Local(Scripted(SCRIPT)))).text

    assert run_virtual(scenario) == " ".join(TEXTS)


@pytest.mark.parametrize("length_bytes", [0, 100, 4_800, 7_200])
@pytest.mark.parametrize("options", [OpenAIRealtime(), LIVE], ids=lambda options: options.model)
def test_silence_is_an_empty_transcript(options: OpenAIRealtime, length_bytes: int) -> None:
    async def scenario() -> str:
        return (await transcribe([bytes(length_bytes)], options, Local(Scripted([])))).text

    assert run_virtual(scenario) == ""


def test_each_commit_makes_one_final_of_the_audio_before_it() -> None:
    async def scenario() -> list[Event]:
        async with connect(LIVE, Local(Scripted(SCRIPT))) as session:
            await session.send(SECOND)
            await session.commit()
            await session.send(SECOND)
            await session.send(SECOND[:1_000])
            await session.commit()
            await session.finish()
            return [event async for event in session.events()]

    # each commit is a recognition of its own, which plays the script from its beginning
    assert places(run_virtual(scenario)) == [(TEXTS[0], 0, 1_000), (TEXTS[0], 1_000, 2_020)]


# --- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [OpenAIRealtime(), LIVE], ids=lambda options: options.model)
@pytest.mark.parametrize(
    "fault",
    [
        Cut(connection=1, after_audio_ms=1_000),
        Cut(connection=1, after_audio_ms=5_100),
        Cut(connection=1, at="finish"),
        Close(connection=1, code=1001, after_audio_ms=7_000),
        HalfOpen(connection=1, after_audio_ms=3_300),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_no_word_is_lost_by_a_lost_connection(options: OpenAIRealtime, fault: Any) -> None:
    async def scenario() -> list[Event]:
        engine = Scripted(LONG_SCRIPT, position=position_of)
        async with serve(engine, faults=[fault]) as emulator:
            service = OpenAI("key", endpoint=emulator.openai_url)
            async with connect(options, service, retry=QUICK, timeouts=Timeouts(idle=2)) as session:
                return [event async for event in session.events([LONG_AUDIO])]

    events = run_virtual(scenario)
    assert words(events) == " ".join(text for text, _, _ in LONG_SCRIPT).split()
    assert any(isinstance(event, Reconnected) for event in events)


def test_an_end_that_is_not_confirmed_is_an_error_with_what_was_recognised() -> None:
    async def scenario() -> None:
        engine = Scripted(SCRIPT)
        async with serve(engine, faults=[MuteFinish()]) as emulator:
            service = OpenAI("key", endpoint=emulator.openai_url)
            await transcribe([SECOND, SECOND], OpenAIRealtime(), service, retry=Retry(attempts=0))

    with pytest.raises(DeadlineError) as caught:
        run_virtual(scenario)
    assert caught.value.transcript is not None
    assert caught.value.transcript.text == " ".join(TEXTS)


def test_a_file_is_converted_to_the_rate_of_the_vendor() -> None:
    async def scenario() -> float:
        async with connect(OpenAIRealtime(), Local(Scripted([]))) as session:
            async for _ in session.stream(read_audio(RECORDINGS / "demo.wav"), pace=None):
                pass
            return session.stats.audio_sent_ms or 0.0

    with wave.open(str(RECORDINGS / "demo.wav")) as file:
        length_ms = file.getnframes() * 1_000 / file.getframerate()
    assert run_virtual(scenario) == pytest.approx(length_ms, abs=20)


# --- refusals --------------------------------------------------------------------------------------------------------


def test_a_refused_key_is_an_authentication_error() -> None:
    async def scenario() -> None:
        async with serve(Scripted(SCRIPT), api_keys={"right"}) as emulator:
            await transcribe([SECOND], OpenAIRealtime(), OpenAI("wrong", endpoint=emulator.openai_url))

    with pytest.raises(AuthenticationError) as caught:
        run_virtual(scenario)
    assert str(caught.value) == (
        "HTTP 401: Incorrect API key provided: check the key, and that it belongs to the endpoint "
        "(code invalid_api_key)"
    )


def test_a_model_that_the_server_does_not_have_is_refused_at_the_start() -> None:
    async def scenario() -> None:
        options = OpenAIRealtime(model="gpt-5-transcribe", strict=False)
        async with connect(options, Local(Scripted(SCRIPT))):
            pass

    with pytest.raises(VendorError, match="The model `gpt-5-transcribe` does not exist") as caught:
        run_virtual(scenario)
    assert (caught.value.retryable, caught.value.code) == (False, "model_not_found")


def test_turn_detection_with_a_model_that_has_none_is_refused_at_the_start() -> None:
    async def scenario() -> None:
        turns = {"audio": {"input": {"turn_detection": {"type": "server_vad"}}}}
        async with connect(OpenAIRealtime(model=LIVE.model, extra_parameters=turns), Local(Scripted(SCRIPT))):
            pass

    with pytest.raises(VendorError, match=r"Turn detection is not supported for this transcription model\. \(session"):
        run_virtual(scenario)


async def stream_to(script: Callable[[ServerConnection], Awaitable[None]], **options: Any) -> None:
    """Stream a second of audio to a scripted server, without retries."""
    async with serve_websocket(script, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        service = OpenAI("key", endpoint=f"ws://127.0.0.1:{port}/v1/realtime")
        timeouts = Timeouts(start=5, finish=5)
        async with connect(OpenAIRealtime(), service, timeouts=timeouts, retry=Retry(attempts=0), **options) as session:
            async for _ in session.stream([SECOND], pace=None):
                pass


async def start(connection: ServerConnection) -> None:
    """Open a session."""
    await connection.send(json.dumps({"type": "session.created", "session": {"id": "sess_1"}}))
    await connection.recv()
    await connection.send(json.dumps({"type": "session.updated", "session": {"id": "sess_1"}}))


async def never_answer(connection: ServerConnection) -> None:
    await connection.send(json.dumps({"type": "session.created", "session": {"id": "sess_1"}}))
    await connection.wait_closed()


async def close_instead_of_finishing(connection: ServerConnection) -> None:
    await start(connection)
    async for message in connection:
        if json.loads(message)["type"] == "input_audio_buffer.commit":
            await connection.close(1000)


async def fail_the_item(connection: ServerConnection) -> None:
    await start(connection)
    async for message in connection:
        if json.loads(message)["type"] == "input_audio_buffer.commit":
            await connection.send(json.dumps({"type": "input_audio_buffer.committed", "item_id": "item_1"}))
            error = {"type": "transcription_error", "code": "audio_unintelligible", "message": "It is unclear."}
            kind = "conversation.item.input_audio_transcription.failed"
            await connection.send(json.dumps({"type": kind, "item_id": "item_1", "content_index": 0, "error": error}))


@pytest.mark.parametrize(
    ("script", "error_class", "text"),
    [
        (never_answer, DeadlineError, "start"),
        (close_instead_of_finishing, ConnectionLostError, "closed"),
        (fail_the_item, VendorError, "It is unclear: check that the audio has the declared format"),
    ],
)
def test_a_server_that_does_not_do_its_part_is_named(script: Any, error_class: type[Exception], text: str) -> None:
    with pytest.raises(error_class, match=text):
        run_virtual(lambda: stream_to(script))


def test_the_options_of_another_vendor_are_refused() -> None:
    with pytest.raises(
        ConfigurationError, match="Paraformer does not belong to OpenAI: change the options or the service"
    ):
        OpenAI("key").describe(Paraformer())
