"""Two processes behind a load balancer, one of them restarted while streams run: python restart.py."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import wave
from collections.abc import AsyncIterator
from pathlib import Path

from balancer import Balancer, is_healthy
from speaker import Speaker

HERE = Path(__file__).parent
RECORDING = HERE.parent / "audio" / "demo.wav"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def service(port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process of the service while the context lasts, and yield it when it listens."""
    process = await asyncio.create_subprocess_exec(sys.executable, HERE / "service.py", str(port))
    try:
        while not await is_healthy(port):
            await asyncio.sleep(0.05)
            assert process.returncode is None, "the service has not started"
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def restart(speakers: list[Speaker], *, after_s: float) -> None:
    """Have the speakers speak, and restart the process of half of them meanwhile."""
    ports = [free_port(), free_port()]
    async with contextlib.AsyncExitStack() as stack:
        first, _ = [await stack.enter_async_context(service(port)) for port in ports]
        url = await stack.enter_async_context(Balancer(ports).serve())
        async with asyncio.TaskGroup() as group:
            for speaker in speakers:
                group.create_task(speaker.speak(url))
            await asyncio.sleep(after_s)
            first.send_signal(signal.SIGTERM)
            await first.wait()
            await stack.enter_async_context(service(ports[0]))


if __name__ == "__main__":
    with wave.open(str(RECORDING)) as file:
        samples = file.readframes(file.getnframes())
    speakers = [Speaker(samples) for _ in range(4)]
    asyncio.run(restart(speakers, after_s=3))
    for one in speakers:
        print(f"{one.connections} connections: {' '.join(one.texts)}")
