"""Caption a recording with DashScope, and with the embedded recogniser while the line to DashScope is down.

python examples/offline_fallback.py examples/audio/demo.wav
"""

from __future__ import annotations

import asyncio
import sys

from asr_async import DashScope, Fallback, FunASR, Local, Paraformer, Result, Timeouts, connect, read_audio

DESK = Fallback([(DashScope(), FunASR()), (Local(), Paraformer())])

LINE_IS_DOWN = Timeouts(connect=3, idle=3)
"""Three seconds without a sign of DashScope mean that it cannot be reached: a caption must not wait longer."""


async def main(path: str) -> None:
    """Print each final with its start time, and on standard error the service whenever it changes."""
    member: str | None = None
    async with connect(DESK.options, DESK, timeouts=LINE_IS_DOWN) as session:
        async for event in session.events(read_audio(path)):
            if session.stats.member != member:
                member = session.stats.member
                print(f"recognised by {member}", file=sys.stderr)
            if isinstance(event, Result) and event.is_final:
                print(f"{event.start_ms / 1000:.1f} s: {event.text}")


asyncio.run(main(sys.argv[1]))
