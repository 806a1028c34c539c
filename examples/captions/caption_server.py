"""Live captions of a browser's microphone, in rooms.

    python examples/captions/caption_server.py

and open http://127.0.0.1:8080. Without `DASHSCOPE_API_KEY` in the environment, the recogniser on this machine is used.
The key stays here: browsers send their audio to this program only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import WSMessage, web

from asr_async import Client, FunASR, Gummy, Local, Paraformer
from asr_async.integrations.web import captions
from asr_async.vendors.options import Options
from rooms import RefusedError, Rooms, Watcher

PAGE = Path(__file__).parent / "page"
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; connect-src 'self' ws: wss:; style-src 'self'; base-uri 'none'",
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
}
MAX_MESSAGE_BYTES = 256 * 1024
TICK_S = 4.0

CLIENT = web.AppKey("client", Client)
PLACES = web.AppKey("places", asyncio.Semaphore)
ROOMS = web.AppKey("rooms", Rooms)
OPTIONS = web.AppKey("options", Options)


def application(client: Client, options: Options, *, speakers: int = 10, rooms: int = 50) -> web.Application:
    """Return the application, with a client that is open as long as it runs."""
    app = web.Application()
    app[CLIENT], app[OPTIONS], app[ROOMS] = client, options, Rooms(rooms)
    app[PLACES] = asyncio.Semaphore(speakers)
    app.router.add_get("/", page)
    app.router.add_get("/rooms/{room}/speak", speak)
    app.router.add_get("/rooms/{room}/watch", watch)
    app.router.add_static("/page/", PAGE)
    app.on_response_prepare.append(add_headers)
    return app


async def page(_request: web.Request) -> web.FileResponse:
    return web.FileResponse(PAGE / "index.html")


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


async def connected(request: web.Request) -> web.WebSocketResponse:
    """Complete the handshake of a page of this server; others could make their visitors' browsers use it."""
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        raise web.HTTPForbidden(text="this page belongs to another server")
    websocket = web.WebSocketResponse(heartbeat=20, max_msg_size=MAX_MESSAGE_BYTES)
    await websocket.prepare(request)
    return websocket


async def refuse(websocket: web.WebSocketResponse, reason: str) -> web.WebSocketResponse:
    with contextlib.suppress(ConnectionError):
        await websocket.send_str(json.dumps({"type": "error", "message": reason, "retryable": True}))
        await websocket.close(code=1013, message=reason.encode())
    return websocket


async def speak(request: web.Request) -> web.WebSocketResponse:
    """Caption the microphone of a browser: in its room, and to itself, which then knows what need not be sent again."""
    key, start_text = request.query.get("key", ""), request.query.get("start_ms", "0")
    if not re.fullmatch(r"[\w-]{1,40}", key) or not re.fullmatch(r"\d{1,12}", start_text):
        raise web.HTTPBadRequest(text="speak?key=NAME&start_ms=NUMBER")
    start_ms = int(start_text)
    websocket = await connected(request)
    try:
        speaker = await request.app[ROOMS][request.match_info["room"]].speak(key, start_ms)
    except RefusedError as error:
        return await refuse(websocket, str(error))
    try:
        app = request.app
        async with ticking(websocket):
            await captions(
                websocket, app[CLIENT], app[OPTIONS], places=app[PLACES], on_event=speaker.add, start_ms=start_ms
            )
    finally:
        speaker.leave()
    return websocket


async def watch(request: web.Request) -> web.WebSocketResponse:
    """Send the captions of a room, from the first one that is kept on."""
    websocket = await connected(request)
    try:
        room = request.app[ROOMS][request.match_info["room"]]
        watcher = room.watch()
    except RefusedError as error:
        return await refuse(websocket, str(error))
    leaving = asyncio.ensure_future(websocket.receive())  # a watcher sends nothing but its end
    try:
        async with ticking(websocket):
            while (message := await next_message(watcher, leaving)) is not None:
                await websocket.send_str(message)
    except ConnectionError:
        pass  # it has left in the middle of a message
    finally:
        leaving.cancel()
        room.leave(watcher)
    with contextlib.suppress(ConnectionError):
        await websocket.close()
    return websocket


async def next_message(watcher: Watcher, leaving: asyncio.Future[WSMessage]) -> str | None:
    """Return the next message for a watcher; None when it leaves, or is too slow."""
    getting = asyncio.ensure_future(watcher.get())
    waits: set[asyncio.Future[Any]] = {getting, leaving}
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return getting.result() if getting.done() else None
    finally:
        getting.cancel()


@contextlib.asynccontextmanager
async def ticking(websocket: web.WebSocketResponse) -> AsyncIterator[None]:
    """Send a tick at regular times: browsers do not show pings to pages, which find a dead connection by this."""

    async def tick() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await websocket.send_json({"type": "tick", "every_ms": round(1_000 * TICK_S)})
                await asyncio.sleep(TICK_S)

    task = asyncio.create_task(tick())
    try:
        yield
    finally:
        task.cancel()


async def main() -> None:
    parser = argparse.ArgumentParser(description="Live captions in the browser")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 for other machines, which need HTTPS in front")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--speakers", type=int, default=10, help="browsers that may speak at once")
    parser.add_argument("--translate", metavar="LANGUAGE", help="a second line in this language (with a key)")
    arguments = parser.parse_args()
    has_key = "DASHSCOPE_API_KEY" in os.environ
    options: Options = FunASR() if has_key else Paraformer()
    if arguments.translate:
        options = Gummy(translation_target_languages=[arguments.translate])
    async with Client(None if has_key else Local(), options=options) as client:
        runner = web.AppRunner(application(client, options, speakers=arguments.speakers))
        await runner.setup()
        try:
            await web.TCPSite(runner, arguments.host, arguments.port).start()
            host, port = runner.addresses[0][:2]
            print(f"http://{host}:{port}", flush=True)
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
