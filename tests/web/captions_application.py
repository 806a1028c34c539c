"""The captions application of the examples, served on a free port."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import web

from caption_server import application

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asr_async import Client
    from asr_async.vendors.options import Options

__all__ = ["serving_application"]


@asynccontextmanager
async def serving_application(client: Client, options: Options, **limits: Any) -> AsyncIterator[int]:
    """Serve the application; yield its port."""
    runner = web.AppRunner(application(client, options, **limits), shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port: int = runner.addresses[0][1]
        yield port
    finally:
        await runner.cleanup()
