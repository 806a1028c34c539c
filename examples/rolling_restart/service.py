"""A caption service that hands its streams over at SIGTERM: python service.py PORT."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator

from aiohttp import web

from asr_async import Client, DashScope, Limits, Local, Paraformer
from asr_async.integrations.web import Handover, captions

CLIENT = web.AppKey("client", Client)
HANDOVER = web.AppKey("handover", Handover)


async def listen(request: web.Request) -> web.WebSocketResponse:
    websocket = web.WebSocketResponse(heartbeat=20)
    await websocket.prepare(request)
    start_ms = int(request.query.get("start_ms", "0"))
    app = request.app
    await captions(websocket, app[CLIENT], Paraformer(), start_ms=start_ms, handover=app[HANDOVER])
    return websocket


async def health(_request: web.Request) -> web.Response:
    return web.Response(text="ok")


async def hand_over(app: web.Application) -> None:
    """Move the streams: aiohttp calls this at SIGTERM, when it has closed its port to new ones."""
    print(f"{os.getpid()} hands over: {app[HANDOVER]!r}", flush=True)
    app[HANDOVER].begin()
    await app[HANDOVER].wait()


async def open_client(app: web.Application) -> AsyncIterator[None]:
    # The limits of the account hold for all processes together: SHARED_LIMITS=redis://localhost
    limits = Limits(max_sessions=50, shared=os.environ.get("SHARED_LIMITS"))
    async with Client(DashScope() if "DASHSCOPE_API_KEY" in os.environ else Local(), limits=limits) as app[CLIENT]:
        yield


def application() -> web.Application:
    app = web.Application()
    app[HANDOVER] = Handover()
    app.cleanup_ctx.append(open_client)
    app.on_shutdown.append(hand_over)
    app.add_routes([web.get("/captions", listen), web.get("/health", health)])
    return app


if __name__ == "__main__":
    web.run_app(application(), host="127.0.0.1", port=int(sys.argv[1]), print=None)
