"""Push audio into a session, as a bot does that receives it from elsewhere, and read the results in another task.

python examples/push_audio.py examples/audio/demo.wav
"""

from __future__ import annotations

import asyncio
import os
import sys

from asr_async import Local, Paraformer, Session, connect, read_audio


async def push(session: Session, path: str) -> None:
    """Push a recording, in place of the audio that a bot receives."""
    async for chunk in read_audio(path):
        await session.send(chunk)
    await session.finish()


async def main(path: str) -> None:
    """Print each final with its start time."""
    service = None if "DASHSCOPE_API_KEY" in os.environ else Local()
    async with connect(Paraformer(), service) as session, asyncio.TaskGroup() as group:
        group.create_task(push(session, path))
        async for result in session:
            if result.is_final:
                print(f"{result.start_ms / 1000:.1f} s: {result.text}")


asyncio.run(main(sys.argv[1]))
