"""Transcribe a recording live: the seven lines of the README, with the embedded recogniser if there is no key.

python examples/stream_file.py examples/audio/demo.wav
"""

from __future__ import annotations

import asyncio
import os
import sys

from asr_async import Local, Paraformer, connect, read_audio


async def main(path: str) -> None:
    """Print interims in place, and each final on a line of its own."""
    service = None if "DASHSCOPE_API_KEY" in os.environ else Local()
    async with connect(Paraformer(), service) as session:
        async for result in session.stream(read_audio(path)):
            print(f"\r\x1b[K{result.text}", end="\n" if result.is_final else "")


asyncio.run(main(sys.argv[1]))
