"""Caption a recording with DashScope, and with FunASR on machines of your own while DashScope cannot be reached.

FUNASR_SERVER=wss://asr-1.internal:10095,wss://asr-2.internal:10095 \
    python examples/own_server_fallback.py examples/audio/demo.wav
"""

from __future__ import annotations

import asyncio
import sys

from asr_async import (
    ASRError,
    DashScope,
    Fallback,
    FunASR,
    FunASRNano,
    FunASRServer,
    Reconnected,
    Result,
    Timeouts,
    connect,
    read_audio,
)

CLOUD_IS_AWAY = Timeouts(connect=3, idle=3)
"""Three seconds without a sign of the cloud mean that it cannot be reached: a caption must not wait longer."""


async def main(path: str) -> None:
    """Print each final with its start time, and on standard error each change of the service."""
    desk = Fallback([(DashScope(), FunASR()), (FunASRServer(), FunASRNano())])
    for difference in desk.differences:
        print(f"not with {difference}", file=sys.stderr)
    async with connect(desk.options, desk, timeouts=CLOUD_IS_AWAY) as session:
        print(f"recognised by {session.stats.member}", file=sys.stderr)
        async for event in session.events(read_audio(path)):
            if isinstance(event, Reconnected):
                print(f"recognised by {session.stats.member} after: {event.reason}", file=sys.stderr)
            if isinstance(event, Result) and event.is_final:
                print(f"{event.start_ms / 1000:.1f} s: {event.text}")


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1]))
    except ASRError as error:
        sys.exit(str(error))
