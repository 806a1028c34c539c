"""The embedded recogniser takes over when the line to the vendor is down, in sessions and in the example."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from asr_async import DashScope, Fallback, FunASR, Local, Paraformer, Timeouts, connect, read_audio
from asr_async.emulator import Scripted, serve
from asr_async.emulator.faults import Cut, HalfOpen, Refuse

from .support.child_processes import child_environment
from .support.paths import EXAMPLES, RECORDINGS
from .support.speech import example_text, plain_words

if TYPE_CHECKING:
    from asr_async.emulator import Emulator, Fault

VENDOR_TEXTS = [("first sentence by the vendor", 300, 3_300), ("second sentence by the vendor", 4_200, 6_200)]
"""Where the two sentences of the recording are; the texts show that the vendor's results were used."""

DEMO = plain_words(example_text("demo"))

SHORT_TIMEOUTS = Timeouts(connect=1, idle=1)


def desk_at(emulator: Emulator) -> Fallback:
    return Fallback([(DashScope("key", endpoint=emulator.dashscope_url), FunASR()), (Local(), Paraformer())])


async def caption(emulator: Emulator) -> str:
    """Return the words of the finals of the demo recording, from a vendor at an emulator with the fallback."""
    desk = desk_at(emulator)
    async with connect(desk.options, desk, timeouts=SHORT_TIMEOUTS) as session:
        results = [result async for result in session.stream(read_audio(RECORDINGS / "demo.wav"), pace=None)]
        assert not session.gaps
    return plain_words(" ".join(result.text for result in results if result.is_final))


@pytest.mark.parametrize(
    "fault",
    [
        Refuse(status=503),
        HalfOpen(at="handshake"),
        HalfOpen(after_audio_ms=1_500),
        Cut(after_audio_ms=1_500),
    ],
    ids=["refused", "half-open at the handshake", "half-open in a sentence", "cut in a sentence"],
)
async def test_the_embedded_recogniser_takes_over_when_the_vendor_is_down(fault: Fault) -> None:
    async with serve(engine=Scripted(VENDOR_TEXTS), faults=[fault]) as emulator:
        assert await caption(emulator) == DEMO
        assert list(emulator.faults_struck) == [fault.kind]


async def test_the_embedded_recogniser_takes_over_when_nothing_listens_at_the_vendors_address() -> None:
    async with serve(engine=Scripted(VENDOR_TEXTS)) as emulator:
        desk = desk_at(emulator)
    async with connect(desk.options, desk) as session:
        results = [result async for result in session.stream(read_audio(RECORDINGS / "demo.wav"), pace=None)]
    assert plain_words(" ".join(result.text for result in results if result.is_final)) == DEMO


async def test_the_vendor_recognises_while_the_line_is_up() -> None:
    async with serve(engine=Scripted(VENDOR_TEXTS)) as emulator:
        assert await caption(emulator) == "first sentence by the vendor second sentence by the vendor"


async def test_the_example_captions_every_word_when_the_line_goes_down_in_a_sentence() -> None:
    refusals = [Refuse(status=503, connection=number) for number in range(2, 12)]
    faults: list[Fault] = [Cut(after_audio_ms=1_500, connection=1), *refusals]
    async with serve(engine=Scripted(VENDOR_TEXTS), faults=faults) as emulator:
        vendor = {"DASHSCOPE_API_KEY": "key", "DASHSCOPE_WEBSOCKET_BASE_URL": emulator.dashscope_url}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(str(EXAMPLES / "offline_fallback.py"), str(RECORDINGS / "demo.wav")),
            env={**child_environment(), **vendor},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, log = await process.communicate()
    assert process.returncode == 0, log.decode()
    texts = [line.partition(" s: ")[2] for line in output.decode().splitlines()]
    assert plain_words(" ".join(texts)) == DEMO
    first, second = [line for line in log.decode().splitlines() if line.startswith("recognised by ")]
    assert first.startswith("recognised by <DashScope")
    assert second.startswith("recognised by <Local")
