"""One attempt to stream to a service, silent audio for it, and the service of an emulator."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from asr_async import (
    ASRError,
    DashScope,
    Huawei,
    OpenAI,
    OpenAIRealtime,
    Paraformer,
    Rasr,
    Retry,
    Timeouts,
    VLLMRealtime,
    connect,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asr_async.emulator import Emulator
    from asr_async.sources import AudioSource
    from asr_async.vendors.options import Options

__all__ = ["SILENT_SECOND", "SilentMicrophone", "emulator_service", "endless_silence", "stream_once"]

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


class SilentMicrophone:
    """A live source that yields a silent second in each second, without end."""

    live = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(1)
            yield SILENT_SECOND


def emulator_service(emulator: Emulator, options: Options) -> DashScope | Huawei | OpenAI:
    """Return the service of the options' vendor, with the emulator as its endpoint."""
    if isinstance(options, Rasr):
        return Huawei(ak="a", sk="s", project_id="p", region="r", endpoint=emulator.huawei_url)
    if isinstance(options, OpenAIRealtime | VLLMRealtime):
        return OpenAI("key", endpoint=emulator.openai_url)
    return DashScope("key", endpoint=emulator.dashscope_url)
