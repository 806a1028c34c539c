"""`receive`: the audio of a browser as a source, without a session."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, cast

import pytest

from asr_async import Client, ConfigurationError, Local, Paraformer
from asr_async.integrations.web import ClientGoneError, ClientMessageError, receive
from asr_async.integrations.web import _RealTimeGate as RealTimeGate
from asr_async.sources import TaskEnd

from .browsers import OPEN_BROWSER

if TYPE_CHECKING:
    from asr_async.integrations.web import WebSocket


@pytest.fixture(params=list(OPEN_BROWSER))
def framework(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


async def chunks_of(framework: str, messages: list[bytes | dict[str, Any]], **settings: Any) -> list[bytes]:
    """Return the chunks of a source that got these messages; the browser leaves behind them."""
    outcome: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()

    async def handle(websocket: Any) -> None:
        if framework == "starlette":
            await websocket.accept()
        try:
            outcome.set_result([bytes(chunk) async for chunk in receive(websocket, **settings)])
        except (ClientGoneError, ClientMessageError) as error:
            outcome.set_exception(error)

    async with OPEN_BROWSER[framework](handle) as browser:
        for message in messages:
            await browser.send(message)
        if {"type": "stop"} not in messages:
            await browser.leave()
        async with asyncio.timeout(10):
            return await outcome


async def test_stop_ends_the_source_and_what_follows_is_not_read(framework: str) -> None:
    assert await chunks_of(framework, [b"ab", b"cd", {"type": "stop"}, b"ef"]) == [b"ab", b"cd"]


async def test_a_client_that_left_is_an_error_and_not_the_end(framework: str) -> None:
    with pytest.raises(ClientGoneError, match=r"^the client left before the end of its audio \(close code 1006\)$"):
        await chunks_of(framework, [b"ab"])


async def test_messages_of_other_types_are_the_programs(framework: str) -> None:
    seen: list[dict[str, Any]] = []
    messages: list[bytes | dict[str, Any]] = [{"type": "name", "name": "Ann"}, b"ab", {"type": "stop"}]
    assert await chunks_of(framework, messages, on_message=seen.append) == [b"ab"]
    assert seen == [{"type": "name", "name": "Ann"}]


async def test_a_known_type_with_wrong_members_is_an_error_all_the_same(framework: str) -> None:
    with pytest.raises(ClientMessageError, match="Expected `int"):
        await chunks_of(framework, [{"type": "start", "sample_rate": "high"}], on_message=lambda _: None)


class Messages:
    """A WebSocket of Starlette whose messages are all there, without a client."""

    application_state = None

    def __init__(self, messages: list[bytes | dict[str, Any]]) -> None:
        self.messages = messages

    async def send_text(self, data: str) -> None: ...

    async def receive(self) -> dict[str, Any]:
        message = self.messages.pop(0)
        content = {"bytes": message} if isinstance(message, bytes) else {"text": json.dumps(message)}
        return {"type": "websocket.receive", **content}


async def test_nothing_is_read_before_it_is_asked_for() -> None:
    websocket = Messages([b"ab", b"cd", b"ef"])
    source = receive(cast("WebSocket", websocket))
    assert await anext(source) == b"ab"
    assert websocket.messages == [b"cd", b"ef"]


async def test_finalize_is_a_mark_and_its_error_is_raised_in_its_place() -> None:
    source = receive(cast("WebSocket", Messages([{"type": "finalize"}, b"ab"])))
    mark = await anext(source)
    assert isinstance(mark, TaskEnd)
    mark.complete(ConfigurationError("this webm cannot be cut"))
    with pytest.raises(ConfigurationError, match="cannot be cut"):
        await anext(source)


async def test_a_session_with_other_options_is_refused() -> None:
    source = receive(cast("WebSocket", Messages([])), Paraformer(sample_rate=8_000))
    async with Client(Local()) as client, client.session(Paraformer()) as session:
        with pytest.raises(ConfigurationError, match=r"^the session has other options than receive\("):
            await anext(session.events(source))


# --- floods ----------------------------------------------------------------------------------------------------------


def seconds_to_pass(gate: RealTimeGate, length_s: float, *, now: float = 0.0) -> float:
    """Return the time that this much audio takes, which is there at once in chunks of 100 ms."""
    started_at = now
    for _ in range(round(length_s * 10)):
        now += gate.delay_s(now, 0.1)
    return now - started_at


def test_live_audio_is_never_delayed() -> None:
    gate = RealTimeGate()
    assert sum(gate.delay_s(second / 10, 0.1) for second in range(36_000)) == 0.0


def test_what_a_browser_has_kept_passes_at_four_times_real_time() -> None:
    assert seconds_to_pass(RealTimeGate(), 60) == pytest.approx(60 / 4, abs=0.3)


def test_a_flood_passes_ninety_seconds_ahead_of_real_time_and_no_more() -> None:
    assert seconds_to_pass(RealTimeGate(), 3_600) == pytest.approx(3_600 - 90, abs=0.3)


def test_a_pause_gives_no_credit_for_a_flood() -> None:
    gate = RealTimeGate()
    gate.delay_s(0.0, 0.1)
    assert seconds_to_pass(gate, 3_600, now=3_600.0) == pytest.approx(3_600 - 90, abs=0.3)
