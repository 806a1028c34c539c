"""`captions`: the whole handler of a browser, in aiohttp and Starlette."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientSession

from asr_async import (
    Client,
    ConfigurationError,
    DashScope,
    Event,
    GummyChat,
    Paraformer,
    Result,
    to_json,
)
from asr_async.emulator import Scripted, position_audio, position_of, serve
from asr_async.emulator.faults import Cut, Fail, Fault
from asr_async.integrations.web import Handover, captions

from ..support.waiting import wait_until
from .browsers import OPEN_BROWSER, AiohttpBrowser, Browser, aiohttp_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

SCRIPT = Scripted([("good morning all", 200, 1_100), ("second one here", 1_600, 2_600)], position=position_of)
AUDIO = position_audio(0, 3_000)
CHUNK = 3_200


@pytest.fixture(params=list(OPEN_BROWSER))
def framework(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@asynccontextmanager
async def scripted_client(*faults: Fault, script: Scripted = SCRIPT, **settings: Any) -> AsyncIterator[Client]:
    async with (
        serve(script, faults=faults) as emulator,
        Client(DashScope("key", endpoint=emulator.dashscope_url), **settings) as client,
    ):
        yield client


async def until_the_end(browser: Browser) -> list[dict[str, Any]]:
    """Return the messages up to "end" or "error"."""
    messages = [await browser.receive()]
    while messages[-1]["type"] not in {"end", "error"}:
        messages.append(await browser.receive())
    return messages


def finals(messages: Iterable[dict[str, Any]]) -> list[str]:
    return [message["text"] for message in messages if message.get("is_final")]


async def test_a_browser_gets_the_events_as_json_until_it_stops(framework: str) -> None:
    seen: list[Event] = []
    async with (
        scripted_client() as client,
        OPEN_BROWSER[framework](lambda ws: captions(ws, client, Paraformer(), on_event=seen.append)) as browser,
    ):
        await browser.send(AUDIO)
        await browser.send({"type": "stop"})
        first, *events, last = await until_the_end(browser)
        assert await browser.closed() == (1000, "")
    assert (first, last) == ({"type": "ready"}, {"type": "end"})
    assert finals(events) == ["good morning all", "second one here"]
    assert any(event["type"] == "result" and not event["is_final"] for event in events)
    assert [json.loads(to_json(event)) for event in seen if isinstance(event, Result)][-1] == events[-2]


@pytest.mark.parametrize(("rate", "channels"), [(48_000, 1), (16_000, 2), (48_000, 2)])
async def test_another_rate_and_stereo_are_converted(framework: str, rate: int, channels: int) -> None:
    """The script follows the clock here: resampled audio holds no positions."""
    script = Scripted([("good morning all", 200, 1_100)])
    async with (
        scripted_client(script=script) as client,
        OPEN_BROWSER[framework](lambda ws: captions(ws, client, Paraformer())) as browser,
    ):
        await browser.send({"type": "start", "sample_rate": rate, "channels": channels})
        for size in (4_801, 1_599, 3 * rate * channels):  # pieces of samples, too
            await browser.send(bytes(size))
        await browser.send({"type": "stop"})
        (result,) = [message for message in await until_the_end(browser) if message.get("is_final")]
    assert result["text"] == "good morning all"
    assert result["end_ms"] == 1_100


async def test_finalize_ends_a_sentence_early(framework: str) -> None:
    script = Scripted([("good morning all my friends", 0, 2_000)], position=position_of)
    async with (
        scripted_client(script=script) as client,
        OPEN_BROWSER[framework](lambda ws: captions(ws, client, Paraformer())) as browser,
    ):
        await browser.send(position_audio(0, 1_000))
        await browser.send({"type": "finalize"})
        messages = [await browser.receive()]
        while not messages[-1].get("is_final"):
            messages.append(await browser.receive())
        await browser.send(position_audio(1_000, 2_000))
        await browser.send({"type": "stop"})
        messages += await until_the_end(browser)
    texts = finals(messages)
    assert len(texts) == 2
    assert " ".join(texts) == "good morning all my friends"


async def test_the_times_continue_those_of_a_connection_before(framework: str) -> None:
    async with (
        scripted_client() as client,
        OPEN_BROWSER[framework](lambda ws: captions(ws, client, Paraformer(), start_ms=60_000)) as browser,
    ):
        await browser.send(AUDIO)
        await browser.send({"type": "stop"})
        messages = await until_the_end(browser)
    (first, _) = [message for message in messages if message.get("is_final")]
    assert (first["start_ms"], first["end_ms"], first["words"][0]["start_ms"]) == (60_200, 61_100, 60_200)
    assert first["lost_before_ms"] == 0


# --- clients that leave ----------------------------------------------------------------------------------------------


async def test_a_browser_that_leaves_in_mid_word_ends_its_session_without_a_traceback(
    framework: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ended = asyncio.Event()
    before = asyncio.all_tasks()

    async def handle(websocket: Any) -> None:
        await captions(websocket, client, Paraformer())
        ended.set()

    async with scripted_client() as client:
        async with OPEN_BROWSER[framework](handle) as browser:
            await browser.send(position_audio(0, 700))
            while (await browser.receive())["type"] != "result":
                pass
            await browser.leave()
            await asyncio.wait_for(ended.wait(), 10)
        assert "captions: the client left before the end of its audio (close code 1006)" in caplog.text
    await wait_until(lambda: asyncio.all_tasks() <= before)
    assert "Traceback" not in caplog.text
    assert not any(record.exc_info for record in caplog.records if record.levelno >= logging.INFO)


async def test_twenty_browsers_that_leave_in_mid_word_leave_no_task(caplog: pytest.LogCaptureFixture) -> None:
    before = asyncio.all_tasks()
    handled = 0

    async def handle(websocket: Any) -> None:
        nonlocal handled
        await captions(websocket, client, Paraformer())
        handled += 1

    async def leave_in_mid_word(url: str, session: ClientSession) -> None:
        async with session.ws_connect(url) as websocket:
            browser = AiohttpBrowser(websocket)
            await browser.send(position_audio(0, 700))
            while (await browser.receive())["type"] != "result":
                pass
            await browser.leave()

    async with scripted_client() as client:
        async with aiohttp_server(handle) as url, ClientSession() as session:
            await asyncio.gather(*(leave_in_mid_word(url, session) for _ in range(20)))
            await wait_until(lambda: handled == 20, timeout_s=20)
        assert "Traceback" not in caplog.text
    await wait_until(lambda: asyncio.all_tasks() <= before)


# --- wrong and hostile clients ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("hello", "not a control message: JSON is malformed: invalid character (byte 0): 'hello'"),
        ({"type": "pause"}, "the types are start, finalize and stop"),
        ({"type": "start", "channels": "two"}, "not a control message: Expected `int`, got `str`"),
    ],
)
async def test_an_unreadable_message_is_answered_with_what_is_expected(
    framework: str, message: dict[str, Any] | str, text: str
) -> None:
    async with (
        scripted_client() as client,
        OPEN_BROWSER[framework](lambda ws: captions(ws, client, Paraformer())) as browser,
    ):
        await browser.send(message)
        *_, error = await until_the_end(browser)
        code, _ = await browser.closed()
    assert code == 1007
    assert text in error["message"]
    assert error["retryable"] is False


async def test_a_start_behind_the_audio_is_an_error(framework: str) -> None:
    async with (
        scripted_client() as client,
        OPEN_BROWSER[framework](lambda ws: captions(ws, client, Paraformer())) as browser,
    ):
        await browser.send(bytes(CHUNK))
        await browser.send({"type": "start"})
        *_, error = await until_the_end(browser)
    assert error["message"] == '"start" must come before the audio, once'


@pytest.mark.parametrize(
    ("start", "text"),
    [
        ({"sample_rate": 1}, "the client declares a sample rate of 1 Hz: it must be 4000 to 192000"),
        ({"channels": 12}, "the client declares 12 channels: 1 to 8 are possible"),
    ],
)
async def test_samples_that_cannot_be_converted_are_an_error(framework: str, start: dict[str, int], text: str) -> None:
    async with (
        scripted_client() as client,
        OPEN_BROWSER[framework](lambda ws: captions(ws, client, Paraformer())) as browser,
    ):
        await browser.send({"type": "start", **start})
        *_, error = await until_the_end(browser)
    assert error["message"] == text


async def test_another_rate_without_a_resampler_names_both_rates(
    framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asr_async.integrations._samples.has_decoder", lambda: False)
    async with (
        scripted_client() as client,
        OPEN_BROWSER[framework](lambda ws: captions(ws, client, Paraformer())) as browser,
    ):
        await browser.send({"type": "start", "sample_rate": 48_000})
        *_, error = await until_the_end(browser)
    assert error["message"] == (
        "the client sends 48000 Hz, and the options declare 16000 Hz: send that rate, or pip install "
        "'asr-async[audio]' to resample"
    )


async def test_finalize_of_a_model_of_one_sentence_is_an_error(framework: str) -> None:
    async with (
        scripted_client() as client,
        OPEN_BROWSER[framework](lambda ws: captions(ws, client, GummyChat())) as browser,
    ):
        await browser.send({"type": "finalize"})
        *_, error = await until_the_end(browser)
    assert error["message"] == '"finalize": gummy-chat-v1 recognises one sentence: send "stop"'


async def test_a_browser_that_finds_no_place_is_refused_with_a_message(framework: str) -> None:
    places = asyncio.Semaphore(1)
    async with scripted_client() as client:
        open_browser = OPEN_BROWSER[framework]

        def handle(websocket: Any) -> Any:
            return captions(websocket, client, Paraformer(), places=places)

        async with open_browser(handle) as first:
            assert await first.receive() == {"type": "ready"}
            async with open_browser(handle) as second:
                assert await second.receive() == {
                    "type": "error",
                    "message": "all places are taken: try again later",
                    "retryable": True,
                }
                assert await second.closed() == (1013, "all places are taken: try again later")
            await first.send({"type": "stop"})
            await until_the_end(first)
        async with open_browser(handle) as third:
            assert await third.receive() == {"type": "ready"}


async def test_an_error_of_the_vendor_is_sent_and_logged_in_one_line(
    framework: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        scripted_client(Fail(at="start", code="InvalidParameter")) as client,
        OPEN_BROWSER[framework](lambda ws: captions(ws, client, Paraformer())) as browser,
    ):
        (error,) = await until_the_end(browser)
        assert (await browser.closed())[0] == 1011
    assert error["type"] == "error"
    assert "failed on demand" in error["message"]
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.getMessage().startswith(f"captions: {error['message']} (code InvalidParameter, request ")
    assert record.exc_info is None


async def test_captions_go_on_when_the_vendors_connection_is_cut(framework: str) -> None:
    async with (
        scripted_client(Cut(after_audio_ms=2_000, connection=1)) as client,
        OPEN_BROWSER[framework](lambda ws: captions(ws, client, Paraformer())) as browser,
    ):
        await browser.send(AUDIO)
        await browser.send({"type": "stop"})
        messages = await until_the_end(browser)
    assert finals(messages) == ["good morning all", "second one here"]
    assert "reconnected" in {message["type"] for message in messages}


async def test_something_else_than_a_websocket_is_refused() -> None:
    async with scripted_client() as client:
        with pytest.raises(ConfigurationError, match=r"^str is not a WebSocket that is known here: pass aiohttp's"):
            await captions("ws://x", client, Paraformer())  # type: ignore[arg-type]


# --- many browsers ---------------------------------------------------------------------------------------------------


async def test_fifty_browsers_get_their_own_words_in_time(capsys: pytest.CaptureFixture[str]) -> None:
    """Each speaks other words at once: the script is a long one, and each browser's audio begins at its own place."""
    names = [f"speaker {number} says hello" for number in range(50)]
    segments = [(name, 2_000 * number + 200, 2_000 * number + 1_400) for number, name in enumerate(names)]
    delays: list[float] = []
    loop = asyncio.get_running_loop()

    async def speak(number: int, url: str, session: ClientSession) -> str:
        async with session.ws_connect(url) as websocket:
            browser = AiohttpBrowser(websocket)
            assert await browser.receive() == {"type": "ready"}
            started_at = loop.time() + random.Random(number).random() / 10
            listening = asyncio.create_task(until_the_end(browser))
            for position_ms in range(0, 1_900, 100):
                await asyncio.sleep(max(0.0, started_at + position_ms / 1000 - loop.time()))
                begin_ms = 2_000 * number + position_ms
                await browser.send(position_audio(begin_ms, begin_ms + 100))
                if position_ms == 1_300:  # with its last word
                    sent_at[number] = loop.time()
            await browser.send({"type": "stop"})
            return " ".join(finals(await listening))

    sent_at: dict[int, float] = {}

    def note(event: Event) -> None:
        if isinstance(event, Result) and event.is_final:
            delays.append(loop.time() - sent_at[names.index(event.text)])

    async with (
        scripted_client(script=Scripted(segments, position=position_of)) as client,
        aiohttp_server(lambda ws: captions(ws, client, Paraformer(), on_event=note)) as url,
        ClientSession() as session,
    ):
        assert await asyncio.gather(*(speak(number, url, session) for number in range(50))) == names
    with capsys.disabled():
        sys.stdout.write(f"\ncaption delay of 50 browsers, p95: {1000 * sorted(delays)[47]:.0f} ms\n")


# --- hand-over --------------------------------------------------------------------------------------------------------


async def until_moved(browser: Browser) -> list[dict[str, Any]]:
    messages = [await browser.receive()]
    while messages[-1]["type"] != "moved":
        messages.append(await browser.receive())
    assert (await browser.closed())[0] == 1012
    return messages


async def test_captions_move_behind_the_final_result_of_the_open_segment(framework: str) -> None:
    handover = Handover()
    async with (
        scripted_client() as client,
        OPEN_BROWSER[framework](lambda ws: captions(ws, client, Paraformer(), handover=handover)) as browser,
    ):
        await browser.send(AUDIO[: 600 * 32])
        while (await browser.receive())["type"] != "result":
            pass
        handover.begin()
        assert repr(handover) == "<Handover begun, 1 captions here>"
        await browser.send(AUDIO[600 * 32 :])
        assert finals(await until_moved(browser)) == ["good morning all"]
        await handover.wait()


async def test_captions_without_an_open_segment_move_at_once_and_so_do_new_ones(framework: str) -> None:
    handover = Handover()
    async with scripted_client() as client:
        for _ in range(2):
            async with OPEN_BROWSER[framework](
                lambda ws: captions(ws, client, Paraformer(), handover=handover)
            ) as browser:
                assert await browser.receive() == {"type": "ready"}
                handover.begin()
                assert await until_moved(browser) == [{"type": "moved"}]
    assert handover.has_begun


async def test_a_segment_that_does_not_end_is_left_after_the_grace(framework: str) -> None:
    handover = Handover(grace_s=0.05)
    async with (
        scripted_client() as client,
        OPEN_BROWSER[framework](lambda ws: captions(ws, client, Paraformer(), handover=handover)) as browser,
    ):
        await browser.send(AUDIO[: 600 * 32])
        while (await browser.receive())["type"] != "result":
            pass
        handover.begin()
        assert finals(await until_moved(browser)) == []
