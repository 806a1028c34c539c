"""Add a vendor of your own, here AssemblyAI: the codec (`own_vendor_codec.py`), options, and a service with the key.

ASSEMBLYAI_API_KEY=... python examples/own_vendor.py examples/audio/demo.wav
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from typing import Any

from own_vendor_codec import UniversalCodec

from asr_async import AudioFormat, VendorError, connect, read_audio
from asr_async.vendors.codec import TaskDescription
from asr_async.vendors.options import Options
from asr_async.vendors.service import Endpoint


class Universal(Options, frozen=True, kw_only=True):
    vendor = "assemblyai"
    model: str = "universal-streaming"
    audio = AudioFormat("pcm", 16_000)


class AssemblyAI(AsyncExitStack):  # a context manager, like every service
    def describe(self, options: Options) -> TaskDescription:
        return TaskDescription(audio_format=options.audio, max_frame_bytes=32_000)

    def codec(self, options: Options, *, task_id: str) -> UniversalCodec:  # noqa: ARG002
        return UniversalCodec()

    async def resolve(self, options: Options) -> Endpoint:
        url = os.environ.get("ASSEMBLYAI_URL", "wss://streaming.assemblyai.com/v3/ws")
        return Endpoint(
            url=f"{url}?sample_rate={options.audio.sample_rate}",
            headers={"Authorization": os.environ["ASSEMBLYAI_API_KEY"]},
            handshake_error=lambda status, _headers, body: VendorError(f"HTTP {status}: {body.decode()}"),
        )


async def main(path: str) -> None:
    """Print each final with its start time."""
    service: Any = AssemblyAI()  # without hot words, so it is not the whole of a `Service`
    async with connect(Universal(), service) as session:
        async for result in session.stream(read_audio(path)):
            if result.is_final:
                print(f"{result.start_ms / 1000:.1f} s: {result.text}")


asyncio.run(main(sys.argv[1]))
