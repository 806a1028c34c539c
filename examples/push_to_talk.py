"""A push-to-talk bot: it answers what is said while a key is held, as soon as the key is released.

python examples/push_to_talk.py                                                    # the microphone; Enter is the key
python examples/push_to_talk.py examples/audio/demo.wav examples/audio/house.wav   # a recording for each time
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable

from asr_async import Local, Paraformer, Session, connect, microphone, read_audio


async def converse(
    session: Session, utterances: AsyncIterable[AsyncIterable[bytes]], answer: Callable[[str], None]
) -> None:
    """Answer each utterance: the audio from the pressing of the key to its release."""
    texts: list[str] = []

    async def listen() -> None:
        async for result in session:
            if result.is_final:
                texts.append(result.text)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listen())
        async for utterance in utterances:
            async for chunk in utterance:
                await session.send(chunk)
            await session.finalize()  # now `texts` has all of it, and no silence was waited for
            answer(" ".join(texts))
            texts.clear()
        await session.finish()


async def hold_key() -> AsyncIterator[AsyncIterable[bytes]]:
    print("Press Enter, speak, and press Enter again; Ctrl-D ends.")
    while await asyncio.to_thread(sys.stdin.readline):
        yield record(asyncio.create_task(asyncio.to_thread(sys.stdin.readline)))


async def record(released: asyncio.Task[str]) -> AsyncIterator[bytes]:
    async for chunk in microphone():
        yield chunk
        if released.done():
            return


async def main(paths: list[str]) -> None:
    service = None if "DASHSCOPE_API_KEY" in os.environ else Local()
    async with connect(Paraformer(), service) as session:
        utterances = play(paths) if paths else hold_key()
        await converse(session, utterances, lambda text: print("You said:", text or "nothing"))


async def play(paths: list[str]) -> AsyncIterator[AsyncIterable[bytes]]:
    for path in paths:
        yield read_audio(path)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
