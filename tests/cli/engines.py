"""Engines that count recognitions or fail, and an emulator in a thread that runs them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

from asr_async.emulator import EngineRefusedError, Scripted, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asr_async.emulator import Emulator, Engine
    from asr_async.emulator.engines.engine import Emit, Recognition, Request

__all__ = ["BAD", "BadAudioEngine", "CountingEngine", "FailingOnceEngine", "LongestFirstEngine", "emulator_thread"]

BAD = b"\x07\x00"
"""A sample that `BadAudioEngine` refuses."""

SECOND_BYTES = 32_000


class RecognitionWrapper:
    """A recognition that counts the bytes that it receives; the base of recognitions that change one method."""

    def __init__(self, recognition: Recognition) -> None:
        self._recognition = recognition
        self._received_bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._recognition, name)

    async def feed(self, samples: bytes) -> None:
        self._received_bytes += len(samples)
        await self._recognition.feed(samples)


class CountingEngine(Scripted):
    """An engine that counts the recognitions."""

    opened = 0

    async def open(self, request: Request, emit: Emit) -> Any:
        self.opened += 1
        return await super().open(request, emit)


class FailingOnceEngine(CountingEngine):
    """An engine that fails in its first recognition, after two seconds of audio."""

    async def open(self, request: Request, emit: Emit) -> Any:
        recognition = await super().open(request, emit)
        return _FailingRecognition(recognition) if self.opened == 1 else recognition


class _FailingRecognition(RecognitionWrapper):
    async def feed(self, samples: bytes) -> None:
        if self._received_bytes + len(samples) > 2 * SECOND_BYTES:
            raise EngineRefusedError("the engine stumbled", kind="unsupported")  # an error that is not retried
        await super().feed(samples)


class BadAudioEngine(Scripted):
    """An engine that fails after audio with a `BAD` sample."""

    async def open(self, request: Request, emit: Emit) -> Any:
        return _BadAudioRecognition(await super().open(request, emit))


class _BadAudioRecognition(RecognitionWrapper):
    async def feed(self, samples: bytes) -> None:
        await super().feed(samples)
        if BAD in samples:
            raise EngineRefusedError("the engine stumbled", kind="unsupported")


class LongestFirstEngine(CountingEngine):
    """An engine that records how many recognitions had begun when the longest one received its last audio."""

    opened_before_the_longest_ended = 0

    async def open(self, request: Request, emit: Emit) -> Any:
        return _LongRecognition(self, await super().open(request, emit))


class _LongRecognition(RecognitionWrapper):
    def __init__(self, engine: LongestFirstEngine, recognition: Recognition) -> None:
        super().__init__(recognition)
        self._engine = engine

    async def finish(self) -> None:
        if self._received_bytes > 5 * SECOND_BYTES:
            self._engine.opened_before_the_longest_ended = self._engine.opened
        await self._recognition.finish()


@contextlib.contextmanager
def emulator_thread(engine: Engine, **settings: Any) -> Iterator[str]:
    """Run an emulator in a thread and yield its URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    emulator: Emulator = serve(engine, **settings)
    try:
        asyncio.run_coroutine_threadsafe(emulator.__aenter__(), loop).result()
        yield emulator.dashscope_url
        asyncio.run_coroutine_threadsafe(emulator.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
