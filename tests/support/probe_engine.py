"""A speech engine for tests: they control its progress and failures, and it records its calls."""

from __future__ import annotations

import asyncio
from typing import Literal, Self

from asr_async.emulator import EngineRefusedError, Hypothesis, Request
from asr_async.emulator.engines.engine import Emit

__all__ = ["ProbeEngine"]


class ProbeEngine:
    """An engine that is also its only recognition."""

    def __init__(self, *, refuse_at: str = "", kind: Literal["unsupported", "capacity", "broken"] = "broken") -> None:
        self.refuse_at = refuse_at
        self.kind = kind
        self.gates: dict[str, asyncio.Event] = {step: asyncio.Event() for step in ("open", "feed", "finish")}
        """The engine waits at a step until its gate is set; all are set until a test clears one."""
        for gate in self.gates.values():
            gate.set()
        self.running = 0
        self.received = bytearray()
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

    async def _enter_step(self, step: str) -> None:
        await self.gates[step].wait()
        if self.refuse_at == step:
            raise EngineRefusedError(f"cannot {step}", kind=self.kind)

    async def open(self, request: Request, emit: Emit) -> ProbeEngine:
        self.request = request
        self.emit = emit
        try:
            await self._enter_step("open")
        except asyncio.CancelledError:
            self.released.set()
            raise
        return self

    async def feed(self, samples: bytes) -> None:
        self.frames += 1
        await self._enter_step("feed")
        self.received += samples

    async def finish(self) -> None:
        self.finishing = True
        await self._enter_step("finish")

    async def aclose(self) -> None:
        self.released.set()

    async def emit_text(self, text: str, *, is_final: bool = True) -> None:
        """Emit a hypothesis, as a recogniser does that has recognised this text."""
        assert self.emit is not None
        await self.emit(Hypothesis(text=text, is_final=is_final, start_ms=0, end_ms=500))
