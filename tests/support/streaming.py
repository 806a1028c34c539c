"""Streaming to a service, as the tests of what goes wrong do it: the texts that came, and what ended them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from asr_async import ASRError, DashScope, Paraformer, Retry, Timeouts, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asr_async.sources import AudioSource

SECOND = bytes(32_000)


async def stream(
    service: DashScope, *, timeouts: Timeouts | None = None, audio: AudioSource | None = None
) -> tuple[list[str], ASRError | None]:
    """Stream two seconds, or this; once, whatever happens."""
    texts: list[str] = []
    try:
        async with connect(Paraformer(), service, timeouts=timeouts, retry=Retry(attempts=0)) as session:
            async for result in session.stream([SECOND, SECOND] if audio is None else audio, pace=None):
                texts.append(result.text)
    except ASRError as error:
        assert "\n" not in str(error)
        return texts, error
    return texts, None


async def endless() -> AsyncIterator[bytes]:
    """Frames without an end."""
    while True:
        yield bytes(3_200)
        await asyncio.sleep(0.01)
