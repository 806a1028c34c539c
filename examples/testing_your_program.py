"""Test a program of your own without a key, a network or a recogniser: the emulator speaks the vendor's protocol.

python -m pytest examples/testing_your_program.py
"""

from __future__ import annotations

import asyncio

from asr_async import DashScope, Paraformer, connect
from asr_async.emulator import Scripted, position_audio, position_of, serve
from asr_async.emulator.faults import Cut

SCRIPT = Scripted([("turn on the light", 200, 1_200), ("turn it off again", 2_000, 3_000)], position=position_of)
# Audio that carries its position, so that a connection which begins in the middle continues the script there.
AUDIO = position_audio(0, 4_000)


async def commands(service: DashScope) -> list[str]:
    """Return the commands that are spoken: the program that is tested."""
    async with connect(Paraformer(), service) as session:
        return [result.text async for result in session.stream([AUDIO], pace=None) if result.is_final]


def test_the_commands_are_recognised() -> None:
    async def test() -> None:
        async with serve(SCRIPT) as emulator:
            assert await commands(DashScope("any", endpoint=emulator.dashscope_url)) == [
                "turn on the light",
                "turn it off again",
            ]

    asyncio.run(test())


def test_a_lost_connection_loses_no_command() -> None:
    async def test() -> None:
        async with serve(SCRIPT, faults=[Cut(after_audio_ms=1_500, times=1)]) as emulator:
            assert len(await commands(DashScope("any", endpoint=emulator.dashscope_url))) == 2

    asyncio.run(test())
