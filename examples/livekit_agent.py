"""A voice agent of LiveKit Agents that listens with this library, without a room: a recording is its caller.

    python examples/livekit_agent.py examples/audio/demo.wav

In a room, the same session gets its audio, an LLM and a voice from you: `await session.start(agent, room=ctx.room)`.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

from livekit import rtc
from livekit.agents import Agent, AgentSession
from livekit.agents.voice.io import AudioInput

from asr_async import Local, Paraformer, read_audio
from asr_async.integrations.livekit import STT


class Recording(AudioInput):
    """A caller whose voice is a recording, in real time."""

    def __init__(self, path: str) -> None:
        super().__init__(label=path)
        self.frames = self.read(path)
        self.ended = asyncio.Event()

    async def read(self, path: str) -> AsyncIterator[rtc.AudioFrame]:
        async for block in read_audio(path):
            for start in range(0, len(block), 3_200):
                samples = bytes(block[start : start + 3_200])
                yield rtc.AudioFrame(samples, 16_000, 1, len(samples) // 2)
                await asyncio.sleep(0.1)
        self.ended.set()

    async def __anext__(self) -> rtc.AudioFrame:
        return await anext(self.frames)


async def main(path: str) -> None:
    service = None if "DASHSCOPE_API_KEY" in os.environ else Local()
    async with STT(Paraformer(), service) as stt:
        session: AgentSession[None] = AgentSession(stt=stt, vad=None, turn_handling={"turn_detection": "stt"})
        session.on("user_input_transcribed", lambda event: event.is_final and print(event.transcript))
        session.input.audio = recording = Recording(path)
        await session.start(Agent(instructions="Answer in one sentence."))
        await recording.ended.wait()
        await asyncio.sleep(2)  # the last words
        await session.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
