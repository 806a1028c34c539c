"""FunASR on machines of one's own takes over from the cloud, in the example; both are emulated, the cloud is cut."""

from __future__ import annotations

import asyncio
import sys

from asr_async.emulator import Scripted, serve
from asr_async.emulator.faults import Cut, Fault, Refuse

from .support.child_processes import child_environment
from .support.paths import EXAMPLES, RECORDINGS

CLOUD = Scripted([("in the cloud", 300, 1_200), ("never heard", 1_400, 3_300)])
OWN = Scripted([("at home", 300, 1_200), ("it goes on", 4_200, 6_200)])
NO_ADDRESS = "no address of a FunASR server: set FUNASR_SERVER, or pass it, FunASRServer('ws://127.0.0.1:10095')"
UNUSED = "ws://127.0.0.1:1"
"""Nothing listens there: the second address of one's own."""


async def run_example(environment: dict[str, str]) -> tuple[int | None, list[str], list[str]]:
    """Return the exit status of the example, and the lines of its output and of its log."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLES / "own_server_fallback.py"), str(RECORDINGS / "demo.wav")),
        env={**child_environment(), "DASHSCOPE_API_KEY": "key", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, log = await process.communicate()
    return process.returncode, output.decode().splitlines(), log.decode().splitlines()


async def test_the_example_goes_on_at_ones_own_server_when_the_cloud_is_cut_off() -> None:
    refusals = [Refuse(status=503, connection=number) for number in range(2, 12)]
    faults: list[Fault] = [Cut(after_audio_ms=1_300, connection=1), *refusals]
    async with serve(engine=CLOUD, faults=faults) as cloud, serve(engine=OWN) as own:
        status, lines, log = await run_example(
            {"DASHSCOPE_WEBSOCKET_BASE_URL": cloud.dashscope_url, "FUNASR_SERVER": f"{UNUSED},{own.funasr_url}"}
        )
        member = f"<FunASRServer {own.funasr_url}> funasr/nano"
    assert status == 0, log
    assert lines[0] == "0.3 s: in the cloud"
    assert lines[-1].endswith(" s: it goes on")
    changes = [line for line in log if line.startswith("recognised by ")]
    assert changes[0].startswith("recognised by <DashScope ")
    assert changes[1].startswith(f"recognised by {member} after: ")
    assert any(line.startswith("not with ") for line in log)


async def test_the_example_names_the_variable_that_it_needs() -> None:
    status, lines, log = await run_example({"FUNASR_SERVER": ""})
    assert (status, lines) == (1, [])
    assert log == [f"Fallback: member 2: {NO_ADDRESS}"]
