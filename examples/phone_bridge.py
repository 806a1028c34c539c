"""Caption phone calls that Twilio streams here: point <Connect><Stream url="wss://.../call"/></Connect> to it.

python examples/phone_bridge.py 8080
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from aiohttp import web

from asr_async import ASRError, Client, Local, Paraformer
from asr_async.integrations.twilio import ClientGoneError, TwilioStream, TwilioStreamError

OPTIONS = Paraformer(model="paraformer-realtime-8k-v2")
CLIENT = web.AppKey("client", Client)


async def call(request: web.Request) -> web.WebSocketResponse:
    websocket = web.WebSocketResponse(heartbeat=20)
    await websocket.prepare(request)
    stream = TwilioStream(websocket, OPTIONS, on_digit=lambda digit: print(f"pressed {digit}", flush=True))
    try:
        start = await stream.started()
        async with request.app[CLIENT].session(OPTIONS, tags={"call": start.call_sid}) as session:
            async for result in session.stream(stream, on_source_error="cancel"):
                if result.is_final:
                    print(f"{start.call_sid} {result.start_ms / 1000:.1f} s: {result.text}", flush=True)
    except (ASRError, ClientGoneError, TwilioStreamError) as error:
        logging.getLogger("phone_bridge").warning("%s", error)
    return websocket


async def main(port: int) -> None:
    app = web.Application()
    app.router.add_get("/call", call)
    async with Client(None if "DASHSCOPE_API_KEY" in os.environ else Local(), options=OPTIONS) as app[CLIENT]:
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        print("ws://{}:{}/call".format(*runner.addresses[0][:2]), flush=True)
        await asyncio.Event().wait()


asyncio.run(main(int(sys.argv[1])))
