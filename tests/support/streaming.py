"""One attempt to stream to a service, and silent audio for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from asr_async import ASRError, DashScope, Paraformer, Retry, Timeouts, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asr_async.sources import AudioSource

__all__ = ["SILENT_SECOND", "endless_silence", "stream_once"]

SILENT_SECOND = bytes(32_000)


async def stream_once(
    service: DashScope, *, timeouts: Timeouts | None = None, audio: AudioSource | None = None
) -> tuple[list[str], ASRError | None]:
    """Stream two silent seconds, or `audio`, without a reconnect; return the texts and the error."""
    texts: list[str] = []
    try:
        async with connect(Paraformer(), service, timeouts=timeouts, retry=Retry(attempts=0)) as session:
            async for result in session.stream([SILENT_SECOND] * 2 if audio is None else audio, pace=None):
                texts.append(result.text)
    except ASRError as error:
        assert "\n" not in str(error)
        return texts, error
    return texts, None


async def endless_silence() -> AsyncIterator[bytes]:
    """Yield silent frames until the consumer stops."""
    while True:
        yield bytes(3_200)
        await asyncio.sleep(0.01)
