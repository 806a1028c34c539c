"""Write captions while you speak: a file that grows, and no caption in it is ever changed.

python examples/live_captions.py captions.vtt                               # the microphone, until Ctrl-C
python examples/live_captions.py captions.vtt examples/audio/meeting.wav    # a recording stands in for it
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from asr_async import AudioFile, Local, Microphone, Paraformer, connect, microphone, read_audio
from asr_async.subtitles import LiveCaptions


async def main(source: AudioFile | Microphone, path: Path) -> None:
    """Append each caption to the file, and print it."""
    service = None if "DASHSCOPE_API_KEY" in os.environ else Local()
    captions = LiveCaptions("vtt")
    with path.open("w", encoding="utf-8", buffering=1) as file:
        file.write(captions.header)
        async with connect(Paraformer(), service) as session:
            async for result in session.stream(source):
                text = captions.add(result)
                file.write(text)
                print(text, end="", flush=True)


recording = read_audio(sys.argv[2]) if len(sys.argv) > 2 else microphone()
asyncio.run(main(recording, Path(sys.argv[1])))
