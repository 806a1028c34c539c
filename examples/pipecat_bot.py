"""A bot of Pipecat that listens with this library, without a transport: a recording is its caller.

    python examples/pipecat_bot.py examples/audio/demo.wav

In a call, `transport.input()` stands before the STT, and an LLM, a voice and `transport.output()` in place of `Bot`.
"""

import asyncio
import os
import sys

from pipecat.frames.frames import EndFrame, Frame, InputAudioRawFrame, LLMContextUserTurnFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from asr_async import Local, Paraformer, read_audio
from asr_async.integrations.pipecat import AsrAsyncSTTService


class Bot(FrameProcessor):
    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMContextUserTurnFrame):
            print(frame.text)
        await self.push_frame(frame, direction)


async def call(path: str, worker: PipelineWorker) -> None:
    async for block in read_audio(path):
        for start in range(0, len(block), 3_200):
            await worker.queue_frame(InputAudioRawFrame(bytes(block[start : start + 3_200]), 16_000, 1))
            await asyncio.sleep(0.1)
    await asyncio.sleep(2)  # the last words
    await worker.queue_frame(EndFrame())


async def main(path: str) -> None:
    service = None if "DASHSCOPE_API_KEY" in os.environ else Local()
    stt = AsrAsyncSTTService(Paraformer(), service, turns=True)
    pipeline = Pipeline([stt, LLMContextAggregatorPair(LLMContext()).user(), Bot()])
    worker = PipelineWorker(pipeline)
    runner = WorkerRunner()
    await runner.add_workers(worker)
    await asyncio.gather(runner.run(), call(path, worker))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
