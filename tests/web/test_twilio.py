"""Calls of Twilio: its messages as its documentation shows them, over both frameworks."""

from __future__ import annotations

import asyncio
import base64
import math
from array import array
from typing import TYPE_CHECKING, Any

import pytest

from asr_async import Client, ConfigurationError, DashScope, Paraformer, QwenRealtime, Rasr
from asr_async.emulator import Scripted, serve
from asr_async.integrations.twilio import ClientGoneError, TwilioStream, TwilioStreamError

from .browsers import OPEN_BROWSER

if TYPE_CHECKING:
    from asr_async.vendors.options import Options

    from .browsers import Browser

STREAM = "MZ18ad3ab5a668481ce02b83e7395059f0"
CONNECTED = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
START = {
    "event": "start",
    "sequenceNumber": "1",
    "start": {
        "accountSid": "AC1",
        "streamSid": STREAM,
        "callSid": "CA1",
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"caller": "Ann"},
    },
    "streamSid": STREAM,
}
STOP = {"event": "stop", "sequenceNumber": "5", "stop": {"accountSid": "AC1", "callSid": "CA1"}, "streamSid": STREAM}
TELEPHONE = Paraformer(model="paraformer-realtime-8k-v2")


def media(codes: bytes, track: str = "inbound") -> dict[str, Any]:
    payload = base64.b64encode(codes).decode()
    return {"event": "media", "sequenceNumber": "3", "media": {"track": track, "payload": payload}, "streamSid": STREAM}


@pytest.fixture(params=list(OPEN_BROWSER))
def framework(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


async def chunks_of(framework: str, messages: list[dict[str, Any] | str], options: Options, **settings: Any) -> bytes:
    """Return the audio of a stream with these messages; the connection is lost behind them."""
    outcome: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def handle(websocket: Any) -> None:
        if framework == "starlette":
            await websocket.accept()
        stream = TwilioStream(websocket, options, **settings)
        try:
            outcome.set_result(b"".join([chunk async for chunk in stream]))
        except (ClientGoneError, TwilioStreamError) as error:
            outcome.set_exception(error)

    async with OPEN_BROWSER[framework](handle) as browser:
        for message in messages:
            await browser.send(message)
        if STOP not in messages:
            await browser.leave()
        async with asyncio.timeout(10):
            return await outcome


async def test_a_call_becomes_sixteen_bit_samples(framework: str) -> None:
    messages: list[dict[str, Any] | str] = [CONNECTED, START, media(b"\xff\x00\x80"), media(b"\x7f"), STOP]
    assert array("h", await chunks_of(framework, messages, TELEPHONE)).tolist() == [0, -32_124, 32_124, 0]


async def test_ulaw_is_passed_on_to_a_vendor_that_takes_it(framework: str) -> None:
    messages: list[dict[str, Any] | str] = [CONNECTED, START, media(b"\xff\x00"), STOP]
    assert await chunks_of(framework, messages, Rasr(property="chinese_8k_general", audio_format="ulaw8k8bit")) == (
        b"\xff\x00"
    )


async def test_a_model_with_sixteen_kilohertz_gets_resampled_audio(framework: str) -> None:
    messages: list[dict[str, Any] | str] = [CONNECTED, START, *[media(b"\xff" * 160) for _ in range(50)], STOP]
    assert math.isclose(len(await chunks_of(framework, messages, Paraformer())), 32_000, abs_tol=100)


async def test_only_the_chosen_track_is_passed_on_and_keys_and_marks_are_reported(framework: str) -> None:
    digits: list[str] = []
    marks: list[str] = []
    messages: list[dict[str, Any] | str] = [
        CONNECTED,
        START,
        media(b"\xff"),
        media(b"\x00", "outbound"),
        {"event": "dtmf", "streamSid": STREAM, "dtmf": {"track": "inbound_track", "digit": "5"}},
        {"event": "mark", "streamSid": STREAM, "mark": {"name": "greeting"}},
        {"event": "something new", "streamSid": STREAM},
        STOP,
    ]
    audio = await chunks_of(
        framework, messages, TELEPHONE, track="outbound", on_mark=marks.append, on_digit=digits.append
    )
    assert array("h", audio).tolist() == [-32_124]
    assert (digits, marks) == (["5"], ["greeting"])


async def test_a_call_is_recognised_and_marks_go_back(framework: str) -> None:
    texts: list[str] = []

    async def handle(websocket: Any) -> None:
        if framework == "starlette":
            await websocket.accept()
        stream = TwilioStream(websocket, TELEPHONE)
        start = await stream.started()
        async with client.session(TELEPHONE, tags={"call": start.call_sid}) as session:
            async for result in session.stream(stream, on_source_error="cancel"):
                if result.is_final:
                    texts.append(f"{start.custom_parameters['caller']}: {result.text}")
                    await stream.clear()
                    await stream.send_mark("answered")
        ended.set()

    async def speak(browser: Browser) -> None:
        await browser.send(CONNECTED)
        await browser.send(START)
        for _ in range(75):  # 20 ms each, as Twilio sends them
            await browser.send(media(b"\xff" * 160))
        await browser.send(STOP)

    ended = asyncio.Event()
    async with (
        serve(Scripted([("call me back", 200, 1_100)])) as emulator,
        Client(DashScope("key", endpoint=emulator.dashscope_url)) as client,
        OPEN_BROWSER[framework](handle) as browser,
    ):
        await speak(browser)
        assert await browser.receive() == {"event": "clear", "streamSid": STREAM}
        assert await browser.receive() == {"event": "mark", "mark": {"name": "answered"}, "streamSid": STREAM}
        await asyncio.wait_for(ended.wait(), 10)
    assert texts == ["Ann: call me back"]


# --- wrong streams ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [[], [CONNECTED]])
async def test_a_stream_without_a_start_message_is_one_clear_error(
    framework: str, first: list[dict[str, Any] | str]
) -> None:
    with pytest.raises(
        TwilioStreamError, match=r'^the stream sends "media" before "start": connect Twilio\'s <Stream>'
    ):
        await chunks_of(framework, [*first, media(b"\xff")], TELEPHONE)


async def test_a_connection_that_is_lost_in_the_call_is_an_error(framework: str) -> None:
    with pytest.raises(ClientGoneError):
        await chunks_of(framework, [CONNECTED, START, media(b"\xff")], TELEPHONE)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("hello", "^not a message of a media stream: JSON is malformed"),
        ({"sequenceNumber": "1"}, "^not a message of a media stream: Object missing required field `event`"),
        ({"event": "media", "media": {"payload": "@@@"}}, "^the payload of a media message is not base64"),
    ],
)
async def test_a_message_that_cannot_be_read_is_an_error(
    framework: str, message: dict[str, Any] | str, text: str
) -> None:
    with pytest.raises(TwilioStreamError, match=text):
        await chunks_of(framework, [CONNECTED, START, message], TELEPHONE)


class Unused:
    """A WebSocket of Starlette that is not used."""

    application_state = None

    async def send_text(self, data: str) -> None: ...


def test_options_that_a_call_cannot_serve_are_refused() -> None:
    websocket: Any = Unused()
    with pytest.raises(ConfigurationError, match=r"^Twilio sends samples, but the options declare mp3: declare pcm$"):
        TwilioStream(websocket, Paraformer(format="mp3"))
    with pytest.raises(ConfigurationError, match=r"^TwilioStream\(track='both'\): must be 'inbound' or 'outbound'$"):
        TwilioStream(websocket, track="both")  # type: ignore[arg-type]
    assert repr(TwilioStream(websocket, QwenRealtime(sample_rate=8_000))) == "<TwilioStream not started>"


async def test_nothing_is_sent_back_before_the_start() -> None:
    websocket: Any = Unused()
    with pytest.raises(TwilioStreamError, match=r'^the stream has not started: send behind "start"'):
        await TwilioStream(websocket, TELEPHONE).send_mark("greeting")
