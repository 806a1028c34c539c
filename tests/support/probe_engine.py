"""An engine for the tests of the emulator: it does what the test lets it do, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from typing import Any, Literal, Self

from asr_async.emulator import EngineRefusedError, Hypothesis, Request
from asr_async.emulator.engines.engine import Emit

__all__ = ["Probe", "until"]


class Probe:
    """An engine and its one recognition, held and asked by the test."""

    def __init__(self, *, refuse_at: str = "", kind: Literal["unsupported", "capacity", "broken"] = "broken") -> None:
        self.refuse_at = refuse_at
        self.kind = kind
        self.may: dict[str, asyncio.Event] = {act: asyncio.Event() for act in ("open", "feed", "finish")}
        """A test that clears one of these holds the engine there."""
        for event in self.may.values():
            event.set()
        self.running = 0
        self.heard = bytearray()
        self.frames = 0
        self.finishing = False
        self.released = asyncio.Event()
        self.silent_ms = 0
        self.has_speech = True
        self.request: Request | None = None
        self.emit: Emit | None = None

    async def __aenter__(self) -> Self:
        self.running += 1
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.running -= 1

    async def _act(self, act: str) -> None:
        await self.may[act].wait()
        if self.refuse_at == act:
            raise EngineRefusedError(f"cannot {act}", kind=self.kind)

    async def open(self, request: Request, emit: Emit) -> Probe:
        self.request = request
        self.emit = emit
        try:
            await self._act("open")
        except asyncio.CancelledError:
            self.released.set()
            raise
        return self

    async def feed(self, samples: bytes) -> None:
        self.frames += 1
        await self._act("feed")
        self.heard += samples

    async def finish(self) -> None:
        self.finishing = True
        await self._act("finish")

    async def aclose(self) -> None:
        self.released.set()

    async def say(self, text: str, *, is_final: bool = True) -> None:
        assert self.emit is not None
        await self.emit(Hypothesis(text=text, is_final=is_final, start_ms=0, end_ms=500))


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.005)
