"""Write subtitles in two languages: what is said, and below it the translation.

python examples/translated_subtitles.py examples/audio/demo.wav demo.srt

The recogniser on this machine does not translate. So without a key, a script stands in for it, of this one recording.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from asr_async import Gummy, Local, transcribe
from asr_async.emulator import Scripted

SCRIPT = Path(__file__).with_name("translation.json")


async def main(recording: str) -> str:
    """Return the subtitles."""
    service = None if "DASHSCOPE_API_KEY" in os.environ else Local(Scripted.from_file(SCRIPT))
    options = Gummy(source_language="en", translation_target_languages=["zh"])
    transcript = await transcribe(recording, options, service)
    return transcript.to_srt()


subtitles = asyncio.run(main(sys.argv[1]))
Path(sys.argv[2]).write_text(subtitles, encoding="utf-8")
print(subtitles, end="")
