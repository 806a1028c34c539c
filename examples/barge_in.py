"""A barge-in bot: it answers what you say, and stops speaking as soon as you begin to speak.

python examples/barge_in.py                            # the microphone; with a headset, or it interrupts itself
python examples/barge_in.py examples/audio/demo.wav    # a recording stands in for it
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterable, Awaitable, Callable

from asr_async import Event, Local, Paraformer, Result, SpeechEnded, SpeechStarted, connect, microphone, read_audio

Speak = Callable[[str], Awaitable[None]]


async def converse(events: AsyncIterable[Event], speak: Speak) -> None:
    """Answer at the end of speech, and stop speaking where it begins."""
    texts: list[str] = []
    segments: set[int] = set()  # those that are open: some vendors have several at a time
    speaking: asyncio.Future[None] | None = None
    async for event in events:
        match event:
            case SpeechStarted():
                segments.add(event.segment_id)
                if speaking is not None:
                    speaking.cancel()
            case Result(is_final=True) if event.text:
                texts.append(event.text)
            case SpeechEnded():
                segments.discard(event.segment_id)
                if texts and not segments:
                    speaking = asyncio.ensure_future(speak(f"You said: {' '.join(texts)}"))
                    texts.clear()
    if speaking is not None:
        await asyncio.wait([speaking])


async def print_slowly(text: str) -> None:
    """Speak: a word every 300 ms, in place of a synthesiser."""
    try:
        for word in text.split():
            print(word, end=" ", flush=True)
            await asyncio.sleep(0.3)
        print()
    except asyncio.CancelledError:
        print("...")
        raise


async def main(path: str | None) -> None:
    service = None if "DASHSCOPE_API_KEY" in os.environ else Local()
    async with connect(Paraformer(), service) as session:
        await converse(session.events(read_audio(path) if path else microphone()), print_slowly)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
