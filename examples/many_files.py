"""Transcribe all recordings of a folder, some at once; one that fails does not stop the others.

python examples/many_files.py examples/audio
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from asr_async import Client, Local, Paraformer


async def main(files: list[Path]) -> None:
    """Print each text as soon as it is there, and at the end how much audio it was."""
    service = None if "DASHSCOPE_API_KEY" in os.environ else Local()
    audio_ms = 0
    async with (
        Client(service, options=Paraformer()) as client,
        client.transcribe_many(files, concurrency=4) as batch,
    ):
        async for item in batch:
            if item.transcript is not None:
                audio_ms += item.transcript.duration_ms or 0
            print(f"{item.source.name}: {item.error or (item.transcript and item.transcript.text)}")
    print(f"{len(files)} files, {audio_ms / 1000:.1f} s of audio")


asyncio.run(main(sorted(Path(sys.argv[1]).glob("*.wav"))))
