"""Sessions of the realtime protocol with the emulator: results, the manual mode, and errors."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from asr_async import (
    AuthenticationError,
    ConfigurationError,
    ConnectionLostError,
    DashScope,
    Local,
    LocalProtocolError,
    Paraformer,
    QwenRealtime,
    Result,
    Session,
    SpeechEnded,
    SpeechEnding,
    SpeechStarted,
    Timeouts,
    VendorError,
    connect,
    transcribe,
)
from asr_async.emulator import Scripted, serve
from asr_async.vendors.dashscope.realtime_models import REALTIME_MODEL_ROWS

from ...support.paths import RECORDINGS
from ...support.probe_engine import ProbeEngine
from ...support.waiting import wait_until

pytestmark = pytest.mark.both_loops

SECOND = bytes(32_000)
SCRIPT = [("hello there my friend", 100, 900), ("and good bye", 1_200, 1_900)]
TEXTS = [text for text, _, _ in SCRIPT]
MANUAL = QwenRealtime(manual_commit=True)


def session(options: QwenRealtime | Paraformer | None = None, engine: Any = None) -> connect:
    return connect(options or QwenRealtime(), Local(engine=engine or Scripted(SCRIPT)))


async def finals(open_session: Session) -> list[tuple[int, str, int, int]]:
    return [
        (result.segment_id, result.text, result.start_ms, result.end_ms)
        async for result in open_session
        if result.is_final
    ]


async def test_a_stream_yields_growing_interims_and_finals_with_the_times_of_the_speech() -> None:
    async with session(QwenRealtime(language="en")) as open_session:
        results = [result async for result in open_session.stream([SECOND, SECOND], pace=None)]
    assert [result.text for result in results if result.is_final] == TEXTS
    assert [result.text for result in results if result.segment_id == 0] == [
        "hello",
        "hello there",
        "hello there my",
        TEXTS[0],
    ]
    assert [(result.start_ms, result.end_ms) for result in results if result.is_final] == [(100, 900), (1_200, 1_900)]
    assert {(result.language, result.words) for result in results} == {("en", ())}
    assert results[-1].emotion == "neutral"
    assert results[-1].request_id == open_session.stats.request_id
    assert open_session.stats.request_id.startswith("sess_")


async def test_events_stand_around_their_segments() -> None:
    async with session() as open_session:
        events = [event async for event in open_session.events([SECOND, SECOND], pace=None)]
    others = [event for event in events if not isinstance(event, Result)]
    assert others == [
        SpeechStarted(segment_id=0, start_ms=100),
        SpeechEnding(segment_id=0, end_ms=900),
        SpeechEnded(segment_id=0, end_ms=900),
        SpeechStarted(segment_id=1, start_ms=1_200),
        SpeechEnding(segment_id=1, end_ms=1_900),
        SpeechEnded(segment_id=1, end_ms=1_900),
    ]


async def test_a_source_is_transcribed_and_silence_is_an_empty_transcript() -> None:
    async with serve(Scripted(SCRIPT)) as emulator:
        service = DashScope("key", endpoint=emulator.dashscope_url)
        assert (await transcribe([SECOND, SECOND], QwenRealtime(), service)).text == " ".join(TEXTS)
        assert (await transcribe([bytes(1_600)], QwenRealtime(), service)).text == ""


async def test_both_protocols_are_spoken_to_one_endpoint() -> None:
    async with serve(Scripted(SCRIPT)) as emulator:
        service = DashScope("key", endpoint=emulator.dashscope_url)
        for options in (Paraformer(), QwenRealtime(), MANUAL):
            assert (await transcribe([SECOND, SECOND], options, service)).text == " ".join(TEXTS)


# --- the manual mode -------------------------------------------------------------------------------------------------


async def test_each_commit_makes_one_final_of_the_audio_before_it() -> None:
    # each commit is a recognition of its own, which plays the script from its beginning
    async with session(MANUAL) as open_session:
        await open_session.send(SECOND)
        await open_session.commit()
        await open_session.send(SECOND)
        await open_session.send(SECOND[:1_000])  # not a whole frame: it goes with its utterance all the same
        await open_session.commit()
        await open_session.finish()
        assert await finals(open_session) == [(0, TEXTS[0], 0, 1_000), (1, TEXTS[0], 1_000, 2_031)]


async def test_the_final_of_a_commit_arrives_while_the_session_is_open() -> None:
    async with session(MANUAL) as open_session:
        await open_session.send(SECOND)
        await open_session.commit()
        async with asyncio.timeout(5):
            first = await anext(open_session.__aiter__())
        assert first.text == TEXTS[0]
        await open_session.finish()
        assert await finals(open_session) == []


async def test_finish_commits_the_rest_and_a_commit_without_audio_sends_nothing() -> None:
    async with session(MANUAL) as open_session:
        await open_session.commit()
        await open_session.send(SECOND + SECOND)
        await open_session.finish()
        assert await finals(open_session) == [(0, " ".join(TEXTS), 0, 2_000)]
        with pytest.raises(LocalProtocolError, match="cannot send audio"):
            await open_session.commit()


@pytest.mark.parametrize("options", [QwenRealtime(), Paraformer()])
async def test_options_without_the_manual_mode_refuse_a_commit(options: Any) -> None:
    async with session(options) as open_session:
        with pytest.raises(ConfigurationError) as caught:
            await open_session.commit()
    assert str(caught.value) == (
        f"commit(): {options.model} finds the ends of utterances by itself; use options that have manual_commit=True"
    )


async def test_a_commit_beside_a_stream_is_refused() -> None:
    async with session(MANUAL) as open_session:
        stream = open_session.stream([SECOND], pace=None)
        await anext(stream)
        with pytest.raises(LocalProtocolError, match="push only into an open session, without stream"):
            await open_session.commit()


# --- errors and cancellation -----------------------------------------------------------------------------------------


async def test_a_refused_key_is_an_authentication_error() -> None:
    async with serve(Scripted(SCRIPT), api_keys={"right"}) as emulator:
        with pytest.raises(AuthenticationError, match=r"Invalid API-key provided"):
            await transcribe([SECOND], QwenRealtime(), DashScope("wrong", endpoint=emulator.dashscope_url))


async def test_settings_that_the_server_refuses_end_the_opening_with_its_words() -> None:
    with pytest.raises(
        VendorError, match=r"the emulator decodes pcm and wav only, not opus \(session.input_audio_format\)"
    ):
        async with session(QwenRealtime(format="opus")):
            pass


async def test_an_error_of_the_server_ends_the_session_behind_its_results() -> None:
    engine = ProbeEngine(refuse_at="finish")
    async with session(engine=engine) as open_session:
        await open_session.send(SECOND)
        await wait_until(lambda: engine.received)
        await engine.emit_text("one")
        with pytest.raises(VendorError, match="cannot finish") as caught:
            await open_session.finish()
        results = open_session.__aiter__()
        assert (await anext(results)).text == "one"
    assert caught.value.retryable
    assert caught.value.code == "InternalError"


async def test_a_model_that_the_server_does_not_have_is_not_worth_a_second_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = QwenRealtime()
    monkeypatch.delitem(REALTIME_MODEL_ROWS, options.model)  # as of now, the emulator does not have it
    with pytest.raises(ConnectionLostError, match="Model not found") as caught:
        async with session(options):
            pass
    assert (caught.value.retryable, caught.value.code) == (False, "1007")


async def test_the_embedded_recogniser_recognises_the_speech() -> None:
    transcript = await transcribe(
        RECORDINGS / "demo.wav",
        QwenRealtime(language="en"),
        Local("pocketsphinx"),
        timeouts=Timeouts(start=60, finish=60),  # loading the model takes long on a busy machine
    )
    spoken = (RECORDINGS / "demo.txt").read_text(encoding="utf-8")
    assert transcript.text.split() == re.findall(r"[a-z']+", spoken.lower())
