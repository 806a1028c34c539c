"""The captions application of the examples, with scripted browsers; `tests/integrations` opens its page."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from asr_async import Client, DashScope, Paraformer
from asr_async.emulator import Scripted, position_audio, position_of, serve

from ..support.paths import EXAMPLES
from .browsers import AiohttpBrowser
from .captions_application import serving_application

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SCRIPT = Scripted([("good morning all", 200, 1_100), ("second one here", 1_600, 2_600)], position=position_of)


class Site:
    """The application under test, and a client of it."""

    def __init__(self, url: str, session: ClientSession) -> None:
        self.url = url
        self.session = session

    @asynccontextmanager
    async def open(self, path: str, **settings: Any) -> AsyncIterator[ClientWebSocketResponse]:
        async with self.session.ws_connect(f"{self.url}{path}", **settings) as websocket:
            yield websocket


@asynccontextmanager
async def site(**limits: Any) -> AsyncIterator[Site]:
    async with (
        serve(SCRIPT) as emulator,
        Client(DashScope("key", endpoint=emulator.dashscope_url)) as client,
        serving_application(client, Paraformer(), **limits) as port,
        ClientSession() as session,
    ):
        yield Site(f"http://127.0.0.1:{port}", session)


async def receive(websocket: ClientWebSocketResponse, *kinds: str) -> dict[str, Any]:
    """Return the next message of one of these types."""
    while True:
        message: dict[str, Any] = await websocket.receive_json(timeout=20)
        if message["type"] in kinds:
            return message


async def final(websocket: ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    while not (message := await receive(websocket, kind))["is_final"]:
        pass
    return message


async def test_the_room_has_the_captions_of_its_speakers_and_no_other_room_has() -> None:
    async with (
        site() as here,
        here.open("/rooms/a/watch") as watching,
        here.open("/rooms/b/watch") as elsewhere,
        here.open("/rooms/a/speak?key=secret") as speaking,
    ):
        await speaking.send_bytes(position_audio(0, 3_000))
        await speaking.send_str('{"type":"stop"}')
        shown = [await final(watching, "caption") for _ in range(2)]
        assert "secret" not in str(shown)  # with it, a watcher could take the place of the speaker
        assert [caption["text"] for caption in shown] == ["good morning all", "second one here"]
        assert shown[1]["start"] - shown[0]["start"] == 1_400
        await receive(speaking, "end")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await receive(elsewhere, "caption")
        async with here.open("/rooms/a/watch") as late:
            assert [await receive(late, "caption") for _ in range(2)] == shown


async def test_a_browser_that_comes_back_continues_and_replaces_its_unfinished_text() -> None:
    async with site() as here, here.open("/rooms/a/watch") as watching:
        async with here.open("/rooms/a/speak?key=x") as lost:
            await lost.send_bytes(position_audio(0, 2_100))
            first = await final(watching, "caption")
            unfinished = await receive(watching, "caption")
            assert not unfinished["is_final"]
            # the old connection is open still: its browser has found that it is dead, the server has not
            async with here.open("/rooms/a/speak?key=x&start_ms=1100") as again:
                await again.send_bytes(position_audio(1_100, 3_000))
                await again.send_str('{"type":"stop"}')
                assert (await receive(watching, "withdrawn"))["id"] == unfinished["id"]
                second = await final(watching, "caption")
                await receive(again, "end")
            while (message := await lost.receive(timeout=20)).type is WSMsgType.TEXT:
                pass
            assert message.type in {WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.ERROR}
        async with here.open("/rooms/a/watch") as late:
            kept = [await receive(late, "caption") for _ in range(2)]
    assert kept == [first, second]
    assert (first["text"], second["text"]) == ("good morning all", "second one here")
    assert second["start"] - first["start"] == 1_400


async def test_a_final_that_the_browser_did_not_get_is_not_there_twice() -> None:
    """It was shown in the room when the connection was lost, and is recognised again."""
    async with site() as here, here.open("/rooms/a/watch") as watching:
        async with here.open("/rooms/a/speak?key=x") as lost:
            await lost.send_bytes(position_audio(0, 1_200))
            await final(watching, "caption")
        async with here.open("/rooms/a/speak?key=x&start_ms=0") as again:
            await again.send_bytes(position_audio(0, 1_200))
            await again.send_str('{"type":"stop"}')
            await receive(again, "end")
        async with here.open("/rooms/a/watch") as late:
            assert (await receive(late, "caption"))["text"] == "good morning all"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await receive(late, "caption")


# --- limits ----------------------------------------------------------------------------------------------------------


async def test_a_hundred_rooms_are_too_many_and_unused_ones_make_room() -> None:
    async with site(rooms=20) as here:
        opened = [await here.session.ws_connect(f"{here.url}/rooms/room-{number}/watch") for number in range(100)]
        answers = [await receive(websocket, "tick", "error") for websocket in opened]
        refused = [answer for answer in answers if answer["type"] == "error"]
        assert len(refused) == 80
        assert refused[0]["message"] == "all rooms are taken: try again later, or enter another room"
        await opened[0].close()
        async with here.open("/rooms/another/watch") as websocket:
            assert (await receive(websocket, "tick", "error"))["type"] == "tick"
        for websocket in opened:
            await websocket.close()


async def test_more_speakers_than_places_are_refused_with_a_message() -> None:
    async with site(speakers=1) as here, here.open("/rooms/a/speak?key=x") as first:
        await receive(first, "ready")
        async with here.open("/rooms/b/speak?key=y") as second:
            assert (await receive(second, "error"))["message"] == "all places are taken: try again later"


async def test_too_many_watchers_of_a_room_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rooms.MAX_WATCHERS", 1)
    async with site() as here, here.open("/rooms/a/watch") as first:
        await receive(first, "tick")
        async with here.open("/rooms/a/watch") as second:
            assert (await receive(second, "error"))["message"] == "the room is full: try again later"


async def test_a_watcher_that_does_not_read_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    from rooms import Notice, Room

    monkeypatch.setattr("rooms.MAX_WAITING", 3)
    room = Room()
    watcher = room.watch()
    for _ in range(10):
        room.send(Notice(text="hello"))
    assert [watcher.get_nowait() is None for _ in range(watcher.qsize())] == [False] * 4 + [True]
    assert not room.is_used


@pytest.mark.parametrize("path", ["/rooms/a/speak", "/rooms/a/speak?key=x&start_ms=-1", "/rooms/a/speak?key=x.y"])
async def test_a_malformed_request_is_refused(path: str) -> None:
    async with site() as here, here.session.get(f"{here.url}{path}") as response:
        assert response.status == 400


async def test_a_room_without_a_proper_name_is_refused() -> None:
    async with site() as here, here.open("/rooms/a%20b/watch") as websocket:
        error = await receive(websocket, "error")
    assert error["message"] == "the name of a room has letters, digits and hyphens, at most 40"


async def test_pages_of_other_servers_cannot_use_it() -> None:
    async with site() as here:
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            async with here.open("/rooms/a/speak?key=x", origin="https://example.com"):
                pass
        async with here.open("/rooms/a/speak?key=x", origin=here.url) as websocket:
            await receive(websocket, "ready")


async def test_a_flood_of_audio_waits_and_the_others_do_not() -> None:
    """The flood is a whole hour: ninety seconds of it are read at four times its speed, the rest in real time."""
    async with site() as here, here.open("/rooms/a/speak?key=flood") as flooding:
        await receive(flooding, "ready")
        hour = asyncio.create_task(send_an_hour(flooding))
        async with here.open("/rooms/a/speak?key=secret") as speaking:
            await speaking.send_bytes(position_audio(0, 1_200))
            assert (await final(speaking, "result"))["text"] == "good morning all"
        assert not hour.done()
        await AiohttpBrowser(flooding).leave()
        with pytest.raises(ConnectionError):
            await hour


async def send_an_hour(websocket: ClientWebSocketResponse) -> None:
    for _ in range(3_600):
        await websocket.send_bytes(bytes(32_000))


async def test_a_message_that_is_too_large_ends_the_connection() -> None:
    async with site() as here, here.open("/rooms/a/speak?key=x") as websocket:
        await receive(websocket, "ready")
        await websocket.send_bytes(bytes(300_000))
        while (message := await websocket.receive(timeout=20)).type is WSMsgType.TEXT:
            pass
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1009)


# --- the page --------------------------------------------------------------------------------------------------------


async def test_the_page_needs_no_other_server_and_holds_no_key() -> None:
    files = [path for path in (EXAMPLES / "captions" / "page").iterdir() if path.suffix != ".svg"]
    assert {path.suffix for path in files} == {".html", ".css", ".js"}
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"https?://|api.?key|innerHTML|eval\(", text, re.IGNORECASE), path
    async with site() as here:
        async with here.session.get(here.url) as response:
            assert response.headers["Content-Security-Policy"].startswith("default-src 'self'")
            page = await response.text()
        for path in re.findall(r'(?:src|href)="([^"]+)"', page):
            async with here.session.get(f"{here.url}{path}") as response:
                assert response.status == 200, path
