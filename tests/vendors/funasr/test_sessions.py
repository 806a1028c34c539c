"""Whole sessions with FunASR's emulated servers, and with scripted ones that behave otherwise."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.server import ServerConnection

from asr_async import (
    ASRError,
    ConnectionLostError,
    DeadlineError,
    Event,
    FunASR2Pass,
    FunASRNano,
    FunASRServer,
    Gap,
    Local,
    Paraformer,
    RateLimitedError,
    Reconnected,
    Result,
    Retry,
    Timeouts,
    VendorError,
    connect,
    transcribe,
)
from asr_async.emulator import EngineRefusedError, Scripted, serve
from asr_async.emulator.faults import Cut, Fail, Throttle

from ...support.paths import RECORDINGS
from ...support.scripted_server import scripted_server
from ...support.virtual_time import now, run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asr_async.vendors.options import Options

AUDIO = [bytes(96_000)]
"""3 s."""
SCRIPT = Scripted([("Good morning.", 200, 1_000), ("How are you?", 1_500, 2_400)], interim_every_ms=200)
ONCE = Retry(attempts=0)
TIMED: list[Options] = [FunASRNano(), FunASR2Pass(), FunASR2Pass(mode="offline")]


async def finals_of(options: Options, service: Any) -> list[tuple[str, int, int]]:
    transcript = await transcribe(AUDIO, options, service, pace=None)
    return [(result.text, result.start_ms, result.end_ms) for result in transcript.results]


# --- the emulator ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", TIMED, ids=lambda options: options.model)
async def test_sentences_have_the_times_of_the_server(options: Options) -> None:
    assert await finals_of(options, Local(SCRIPT)) == [("Good morning.", 200, 1_000), ("How are you?", 1_500, 2_400)]


async def test_the_online_mode_has_no_times() -> None:
    finals = await finals_of(FunASR2Pass(mode="online"), Local(SCRIPT))
    assert [text for text, _, _ in finals] == ["Good morning.", "How are you?"]


async def test_2pass_has_the_words_of_finals() -> None:
    transcript = await transcribe(AUDIO, FunASR2Pass(), Local(SCRIPT), pace=None)
    assert [(word.text, word.start_ms, word.end_ms) for word in transcript.results[0].words] == [
        ("Good", 200, 600),
        ("morning", 600, 1_000),
    ]


async def test_hot_words_are_passed_on() -> None:
    engine = Scripted(
        [{"text": "Seediq Bale", "start_ms": 0, "end_ms": 900, "variants": {"Seediq Bale": "seat a bail"}}]
    )
    for options in (
        FunASRNano(hotwords=["Seediq Bale"]),
        FunASR2Pass(hotwords={"Seediq Bale": 20}),
    ):
        assert [text for text, _, _ in await finals_of(options, Local(engine))] == ["Seediq Bale"]
    assert [text for text, _, _ in await finals_of(FunASRNano(), Local(engine))] == ["seat a bail"]


async def test_replacements_are_made_by_the_server() -> None:
    options = FunASRNano(replacements={"morning": "evening"})
    assert [text for text, _, _ in await finals_of(options, Local(SCRIPT))] == ["Good evening.", "How are you?"]


async def test_commits_end_utterances() -> None:
    async with connect(FunASRNano(manual_commit=True), Local(SCRIPT)) as session:
        await session.send(AUDIO[0][: 2_000 * 32])
        await session.commit()
        await session.finish()
        results = [event async for event in session.events() if isinstance(event, Result) and event.is_final]
    assert [(result.text, result.start_ms, result.end_ms) for result in results] == [
        ("Good morning. How are", 200, 2_000)
    ]


@pytest.mark.parametrize("options", TIMED[:2], ids=lambda options: options.model)
async def test_a_lost_connection_is_replaced(options: Options) -> None:
    async with serve(engine=SCRIPT, faults=[Cut(after_audio_ms=1_200, connection=1)]) as emulator:
        url = emulator.funasr_url if isinstance(options, FunASRNano) else emulator.funasr_2pass_url
        async with connect(options, FunASRServer(url), retry=Retry(max_delay_s=0.01)) as session:
            events = [event async for event in session.events(AUDIO, pace=None)]
    assert sum(isinstance(event, Reconnected) for event in events) == 1
    assert not [event for event in events if isinstance(event, Gap)]


async def test_failures_of_the_emulated_servers_are_errors() -> None:
    async with serve(engine=SCRIPT, faults=[Throttle(connection=1), Fail(after_frames=1)]) as emulator:
        service = FunASRServer(emulator.funasr_url)
        with pytest.raises(RateLimitedError, match="too many sessions: throttled on demand"):
            async with connect(FunASRNano(), service, retry=ONCE):
                pass
        with pytest.raises(VendorError, match="internal error: failed on demand: an error of the vendor"):
            async with connect(FunASRNano(), service, retry=ONCE) as session:
                [result async for result in session.stream(AUDIO)]
        with pytest.raises(ConnectionLostError, match=r"internal error: failed on demand \(code 1011"):
            async with connect(FunASR2Pass(), FunASRServer(emulator.funasr_2pass_url), retry=ONCE) as session:
                [result async for result in session.stream(AUDIO)]


async def test_a_reason_that_is_too_long_for_a_close_frame_is_cut_off() -> None:
    async with serve(engine=SCRIPT, faults=[Fail(message="é" * 100, after_frames=1)]) as emulator:
        with pytest.raises(VendorError, match=f"internal error: {'é' * 100}"):
            async with connect(FunASRNano(), FunASRServer(emulator.funasr_url), retry=ONCE) as session:
                [result async for result in session.stream(AUDIO)]
        with pytest.raises(ConnectionLostError, match=rf"internal error: {'é' * 53} \(code 1011"):
            async with connect(FunASR2Pass(), FunASRServer(emulator.funasr_2pass_url), retry=ONCE) as session:
                [result async for result in session.stream(AUDIO)]


async def test_an_engine_that_cannot_recognise_is_named() -> None:
    class Refusing(Scripted):
        async def open(self, request: Any, emit: Any) -> Any:
            raise EngineRefusedError("no model for zh", kind="unsupported")

    with pytest.raises(VendorError, match="not supported: no model for zh") as caught:
        await transcribe(AUDIO, FunASRNano(language="zh"), Local(Refusing([])), pace=None)
    assert not caught.value.retryable


async def test_the_embedded_recogniser_serves_both_protocols() -> None:
    for options in (FunASRNano(), FunASR2Pass()):
        transcript = await transcribe(RECORDINGS / "demo.wav", options, Local())
        assert len(transcript.text.split()) > 10


# --- refusals and servers that do not do what they should ------------------------------------------------------------


async def test_the_real_time_options_at_an_older_server_name_the_right_ones() -> None:
    async with serve(engine=SCRIPT) as emulator:
        with pytest.raises(VendorError) as caught:
            async with connect(FunASRNano(), FunASRServer(emulator.funasr_2pass_url), retry=ONCE):
                pass
    assert str(caught.value) == (
        "HTTP 400: Failed to open a WebSocket connection: missing subprotocol: this is a server of the older 2pass "
        "protocol, funasr_wss_server.py: pass FunASR2Pass(...) (code 400)"
    )


def test_the_2pass_options_at_a_real_time_server_name_the_right_ones() -> None:
    async def scenario() -> ASRError:
        async with serve(engine=SCRIPT) as emulator:
            with pytest.raises(VendorError) as caught:
                async with connect(FunASR2Pass(), FunASRServer(emulator.funasr_url), retry=ONCE) as session:
                    [result async for result in session.stream(AUDIO, pace=None)]
            return caught.value

    assert "the options of funasr-realtime-server are FunASRNano" in str(run_virtual(scenario))


def test_a_server_that_never_answers_start_is_given_up() -> None:
    async def silent(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async def scenario() -> tuple[ASRError, float]:
        async with own_server(silent) as service:
            with pytest.raises(DeadlineError) as caught:
                async with connect(FunASRNano(), service, retry=ONCE, timeouts=Timeouts(start=4)):
                    pass
            return caught.value, now()

    error, waited_s = run_virtual(scenario)
    assert "did not open the task within 4 s (Timeouts.start)" in str(error)
    assert 4 <= waited_s < 5


async def test_a_server_that_closes_instead_of_finishing_is_an_error_behind_what_it_recognised() -> None:
    async def closing(connection: ServerConnection) -> None:
        await start_nano(connection)
        async for message in connection:
            if message == "STOP":
                await connection.send(nano_result("good morning", 200, 1_000))
                return

    events, error = await collect(FunASRNano(), closing)
    assert [event.text for event in events if isinstance(event, Result)] == ["good morning"]
    assert isinstance(error, ConnectionLostError)
    assert "closed the connection before the end of the transcript (code 1000)" in str(error)


async def test_an_older_server_that_closes_instead_of_finishing_is_an_error() -> None:
    async def closing(connection: ServerConnection) -> None:
        async for message in connection:
            if message == '{"is_speaking":false,"is_end":true}':
                await connection.send(two_pass_result("good morning", is_final=True))
                return

    events, error = await collect(FunASR2Pass(), closing)
    assert [event.text for event in events if isinstance(event, Result)] == ["good morning"]
    assert isinstance(error, ConnectionLostError)
    assert "closed the connection before the end of the transcript" in str(error)


def test_an_older_python_server_ends_by_being_quiet() -> None:
    """Its first message comes behind the end of the audio: nothing shows yet which server it is."""

    async def quiet(connection: ServerConnection) -> None:
        async for message in connection:
            if isinstance(message, str) and not json.loads(message)["is_speaking"]:
                await connection.send(two_pass_result("good morning", is_final=False))

    async def scenario() -> tuple[list[Event], float]:
        events, error = await collect(FunASR2Pass(), quiet)
        assert error is None
        return events, now()

    events, took_s = run_virtual(scenario)
    (result,) = [event for event in events if isinstance(event, Result)]
    assert (result.text, result.is_final) == ("good morning", True)
    (gap,) = [event for event in events if isinstance(event, Gap)]
    assert gap.reason == "the vendor does not confirm the end, and sent no more for 3 s behind the audio"
    assert (gap.start_ms, gap.end_ms) == (result.end_ms, 3_000)
    assert 3 <= took_s < 12


def test_a_long_file_for_a_server_that_never_confirms_the_end_takes_no_longer_than_real_time() -> None:
    """Results of the online mode have no times: they do not show that the server has recognised the audio already."""

    async def online(connection: ServerConnection) -> None:
        async for message in connection:
            if isinstance(message, str) and not json.loads(message)["is_speaking"]:
                words = {"mode": "online", "text": "good morning", "wav_name": "x", "is_final": True}
                await connection.send(json.dumps(words))

    async def scenario() -> float:
        events, error = await collect(FunASR2Pass(mode="online"), online, audio=AUDIO * 10)
        assert error is None
        assert [event.text for event in events if isinstance(event, Result) and event.is_final] == ["good morning"]
        return now()

    assert 30 <= run_virtual(scenario) < 45


def test_a_rotation_sends_no_audio_twice_to_a_server_without_times() -> None:
    """Its results do not show which words of that audio were delivered."""
    connections = 0

    async def offline(connection: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        received_bytes = said = 0
        async for message in connection:
            if isinstance(message, str):
                if not json.loads(message)["is_speaking"]:
                    await connection.send(two_pass_result("the end", is_final=False))
                continue
            received_bytes += len(message)
            if received_bytes // 32_000 > said:
                said += 1
                await connection.send(two_pass_result(f"{connections} {said}", is_final=True))

    async def scenario() -> int:
        async with own_server(offline) as service:
            retry = Retry(rotate_after=2.0)
            async with connect(FunASR2Pass(mode="offline"), service, retry=retry) as session:
                async for _ in session.events(AUDIO * 3, pace=1.0):
                    pass
                return session.stats.replayed_ms

    assert run_virtual(scenario) == 0
    assert connections >= 3


def test_a_rotation_sends_a_word_that_has_begun_to_the_successor_too_if_the_server_reports_times() -> None:
    """Each second has a word, whose final follows when the next one has begun; one that is cut in two has none."""
    audio = [bytes([n, 0]) * 1_600 for n in range(60)]  # each 100 ms have their number
    begins: list[int] = []

    async def runtime(connection: ServerConnection) -> None:
        begin_ms = received_ms = said = 0
        async for message in connection:
            is_over = isinstance(message, str) and not json.loads(message)["is_speaking"]
            if isinstance(message, bytes):
                if not received_ms:
                    begins.append(message[0])
                    begin_ms = 100 * message[0]
                    said = -(-(begin_ms - 100) // 1_000)  # the first word that begins here
                received_ms += len(message) // 32
            while begin_ms + received_ms >= 1_000 * said + (900 if is_over else 1_500):
                places = [[1_000 * said + 100 - begin_ms, 1_000 * said + 900 - begin_ms]]
                await connection.send(two_pass_result(f"word{said}", is_final=False, timestamp=places))
                said += 1
            if is_over:
                await connection.send(two_pass_result("", is_final=True))

    async def scenario() -> list[tuple[str, bool]]:
        retry = Retry(rotate_after=2.0)
        async with own_server(runtime) as service, connect(FunASR2Pass(), service, retry=retry) as session:
            events = [event async for event in session.events(audio, pace=1.0)]
        return [(event.text, event.may_repeat) for event in events if isinstance(event, Result) and event.is_final]

    assert run_virtual(scenario) == [(f"word{n}", False) for n in range(6)]
    assert len(begins) >= 3
    assert all(begin % 10 in {0, 8, 9} for begin in begins), "no word is cut in two"


# --- scripted servers ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def own_server(script: Any) -> AsyncIterator[FunASRServer]:
    """Run a scripted server, which chooses the subprotocol that is offered, and yield a service for it."""
    options = {"subprotocols": ["binary"], "select_subprotocol": lambda _, offered: offered[0] if offered else None}
    async with scripted_server(script, **options) as dashscope:
        yield FunASRServer((await dashscope.resolve(Paraformer())).url)


async def start_nano(connection: ServerConnection) -> None:
    while await connection.recv() != "START":
        pass
    await connection.send('{"event": "started"}')


def nano_result(text: str, start: int, end: int) -> str:
    sentence = {"text": text, "start": start, "end": end}
    return json.dumps({"sentences": [sentence], "partial": "", "duration_ms": 3_000, "is_final": True})


def two_pass_result(text: str, *, is_final: bool, **members: Any) -> str:
    return json.dumps({"mode": "2pass-offline", "text": text, "wav_name": "x", "is_final": is_final, **members})


async def collect(options: Options, script: Any, *, audio: list[bytes] = AUDIO) -> tuple[list[Event], ASRError | None]:
    """Return the events of a session with a scripted server, and the error that ended it."""
    events: list[Event] = []
    async with own_server(script) as service:
        try:
            async with connect(options, service, retry=ONCE) as session:
                async for event in session.events(audio, pace=None):
                    events.append(event)
        except ASRError as error:
            return events, error
    return events, None
