"""What the tests of the adapters of voice agents share: a conversation of three sentences, and its audio."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from asr_async.emulator import Scripted, position_audio, position_of, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from asr_async.emulator import Emulator
    from asr_async.emulator.faults import Fault

__all__ = ["FRAME_MS", "LENGTH_MS", "SCRIPT", "SENTENCES", "emulator", "frames", "words"]

SCRIPT = [("good morning all", 500, 1_600), ("second one here", 2_600, 3_600), ("third and last", 4_200, 5_200)]
SENTENCES = [text for text, _, _ in SCRIPT]
LENGTH_MS = 6_500
FRAME_MS = 50


def emulator(*faults: Fault, follows_position: bool = True) -> Emulator:
    """Return an emulator that recognises the script; at the position of the audio, or by its length."""
    engine = Scripted(SCRIPT, position=position_of if follows_position else None)
    return serve(engine=engine, faults=list(faults))


async def frames(*, rate: int = 16_000, start_ms: int = 0, end_ms: int = LENGTH_MS) -> AsyncIterator[bytes]:
    """Yield the audio in real time, in frames."""
    for at_ms in range(start_ms, end_ms, FRAME_MS):
        yield position_audio(at_ms, at_ms + FRAME_MS, rate)
        await asyncio.sleep(FRAME_MS / 1_000)


def words(texts: Iterable[str]) -> list[str]:
    """Return the words of texts, without case and punctuation."""
    return [word.strip(".,!?").lower() for text in texts for word in text.split()]
