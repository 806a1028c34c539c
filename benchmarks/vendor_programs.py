"""The programs that the vendors' documents print, run many times against the emulator: each must end alike every time.

    python benchmarks/vendor_programs.py                                   # each program, 50 runs
    python benchmarks/vendor_programs.py --huawei-sdk FOLDER               # FOLDER holds the package huaweicloud_sis
    python benchmarks/vendor_programs.py --versions 2.0.2 1.27.8 1.25.24   # DashScope's, with these versions of its SDK

A version of the SDK is installed into a folder of its own. Each program runs unchanged but for its addresses, its keys
and its files, in a process without this library (`programs/child.py`). With versions, the scenarios of
`tests/witnesses` run with each of them too. Huawei's SDK is not on a package index: download it from the vendor.

Exit status: 0 if every program had one outcome, 1 otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

from asr_async.emulator import Emulator, Scripted, serve
from asr_async.emulator.faults import Delay

ROOT = Path(__file__).parent.parent
CHILD = Path(__file__).parent / "programs" / "child.py"
DASHSCOPE_PROGRAMS = ROOT / "tests" / "compat" / "programs"
OTHER_PROGRAMS = ROOT / "tests" / "witnesses" / "programs"
FACES = ROOT / "asr_async" / "compat"
SCENARIOS = ROOT / "tests" / "witnesses" / "test_dashscope_sdk.py"

ENDPOINT = "wss://dashscope.aliyuncs.com/api-ws/v1/"
"""The beginning of the addresses in the programs, which that of the emulator replaces."""

SEGMENTS = (
    {"text": "你好世界。", "start_ms": 100, "end_ms": 1000, "translations": {"en": "Hello, big world."}},
    {"text": "再见。", "start_ms": 1400, "end_ms": 2000, "translations": {"en": "Good bye."}},
)
# Huawei writes no punctuation by default, so the sentences are looked for without it
SENTENCES = ["你好世界", "再见", "Hello, big world", "Good bye"]

NETWORK = Delay(by_ms=100)
"""The way to a vendor. The SDK sends no audio if its task starts before the thread that calls `start` goes on, which a
busy machine may stop for longer than a server without a network needs."""

RUN_TASK = """
import asyncio, json, threading, time, websocket, websockets

URL = "wss://dashscope.aliyuncs.com/api-ws/v1/inference"
HEADERS = {"Authorization": "Bearer any"}
RUN_TASK = json.dumps({
    "header": {"action": "run-task", "task_id": "t1", "streaming": "duplex"},
    "payload": {"task_group": "audio", "task": "asr", "function": "recognition", "input": {},
                "model": "paraformer-realtime-v2", "parameters": {"format": "pcm", "sample_rate": 16000}},
})
"""
EARLY_WITH_ASYNCIO = """
async def main():
    async with websockets.connect(URL, additional_headers=HEADERS, proxy=None) as ws:
        try:
            await ws.send(RUN_TASK)
            for _ in range(22):
                await ws.send(bytes(3200))
                await asyncio.sleep(0.01)
        except websockets.ConnectionClosed:
            pass
        async for message in ws:
            print(message)

asyncio.run(main())
"""
EARLY_WITH_THREADS = """
opened, audio_sent, ended = threading.Event(), threading.Event(), threading.Event()
app = websocket.WebSocketApp(
    URL,
    HEADERS,
    on_open=lambda app: opened.set(),
    # else a busy machine may stop the sender for so long that this thread reads task-started before it goes on
    on_ping=lambda *_: audio_sent.wait(10),
    on_message=lambda app, message: print(message),
    on_close=lambda *_: ended.set(),
)
threading.Thread(target=app.run_forever, daemon=True).start()
opened.wait(10)
try:
    app.send(RUN_TASK)
    for _ in range(22):
        app.send(bytes(3200), opcode=2)
        audio_sent.set()
        time.sleep(0.01)
except websocket.WebSocketConnectionClosedException:
    pass
ended.wait(10)
"""
"""Programs that do not wait for task-started, as third-party clients do not."""


class Program(NamedTuple):
    """A program and the process it runs in."""

    name: str
    text: str
    path: Sequence[Path] = ()
    """Folders of packages, before all others."""


def programs(emulator: Emulator, sdk: Sequence[Path], huawei_sdks: Sequence[Path]) -> Iterator[Program]:
    """Yield the programs, with the addresses of the emulator."""
    endpoint = emulator.dashscope_url.removesuffix("inference")
    for path in sorted(DASHSCOPE_PROGRAMS.glob("*.txt")):
        text = path.read_text(encoding="utf-8")
        settings = (
            "import dashscope as _settings\n"
            f"_settings.base_websocket_api_url = {emulator.dashscope_url!r}\n_settings.api_key = 'any'\n"
        )
        text = text.replace(ENDPOINT, endpoint)
        yield Program(f"DashScope SDK: {path.stem}", settings + text, sdk)
    if sdk:
        return
    run_task = RUN_TASK.replace(ENDPOINT, endpoint)
    yield Program("DashScope, without waiting: asyncio", run_task + EARLY_WITH_ASYNCIO)
    yield Program("DashScope, without waiting: threads", run_task + EARLY_WITH_THREADS)
    yield Program("Huawei: huawei_short_stream", _huawei_sample(emulator))
    for folder in huawei_sdks:
        yield Program(f"Huawei SDK {folder.name}: huawei_sdk", _huawei_sdk_sample(emulator, folder), [folder])
    face = _huawei_sdk_sample(emulator, FACES).replace("from huaweicloud_sis", "from asr_async.compat.huaweicloud_sis")
    yield Program("asr_async.compat.huaweicloud_sis: huawei_sdk", face, [ROOT])


def _huawei_sample(emulator: Emulator) -> str:
    text = (OTHER_PROGRAMS / "huawei_short_stream.txt").read_text(encoding="utf-8")
    text = text.replace("wss://{{endpoint}}/v1/{{project_id}}", f"{emulator.huawei_url}/v1/any")
    return text.replace("'音频路径'", "'speech.pcm'").replace("'用户对应region的token'", "'any'")


def _huawei_sdk_sample(emulator: Emulator, folder: Path) -> str:
    text = (OTHER_PROGRAMS / "huawei_sdk.txt").read_text(encoding="utf-8")
    for name, value in {
        "ak": "any",
        "sk": "key",
        "region": "cn-north-4",
        "project_id": "any",
        "path": "speech.pcm",
        "audio_format": "pcm8k16bit",
        "property": "chinese_8k_common",
    }.items():
        text = re.sub(rf"^{name} = ''", f"{name} = {value!r}", text, count=1, flags=re.MULTILINE)
    address = f"service_endpoint={emulator.huawei_url!r}, token_url='{emulator.url}/v3/auth/tokens', config=config"
    if "use_aksk" in (folder / "huaweicloud_sis" / "client" / "rasr_client.py").read_text(encoding="utf-8"):
        return text.replace("config=config", address)
    # the line of 2020 knows tokens only, and no digit_norm
    text = text.replace("ak=ak, sk=sk, use_aksk=True", "user_name='any', password='any', domain_name='any'")
    return text.replace("config=config", address).replace("    request.set_digit_norm", "    # request.set_digit_norm")


async def run(program: Program, runs: int, processes: int) -> Counter[str]:
    """Run a program in several processes; return the number of each outcome."""
    shares = [runs // processes + (index < runs % processes) for index in range(processes)]
    parts = await asyncio.gather(*(_run_in_process(program, share) for share in shares if share))
    return Counter(outcome for part in parts for outcome in part)


async def _run_in_process(program: Program, runs: int) -> list[str]:
    folders = [str(folder) for folder in program.path]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(folders),
        "PYTHONUTF8": "1",
        "NO_PROXY": "127.0.0.1",
        "DASHSCOPE_API_KEY": "any",
    }
    job = json.dumps({"program": program.text, "runs": runs, "sentences": SENTENCES})
    with tempfile.TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(CHILD),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=environment,
        )
        output, _ = await process.communicate(job.encode())
    outcomes = [_outcome(json.loads(line)) for line in output.decode().splitlines() if line.startswith("{")]
    return outcomes + ["no outcome: the process ended"] * (runs - len(outcomes))


def _outcome(found: dict[str, Any]) -> str:
    parts = [" / ".join(found["sentences"]) or "no sentence", *map(_without_ids, found["errors"]), found["end"]]
    return "; ".join(parts)


def _without_ids(line: str) -> str:
    return re.sub(r"[0-9a-f]{8}-?[0-9a-f-]{12,}|[0-9a-f]{32}", "ID", line)


def install(version: str, folder: Path) -> Path:
    """Install a version of the DashScope SDK into a folder of its own, and return the folder."""
    target = folder / f"dashscope-{version}"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target)]
    subprocess.run([*command, f"dashscope=={version}"], check=True)
    return target


def scenarios(sdk: Path) -> dict[str, str]:
    """Run the scenarios of `tests/witnesses` with this SDK; return scenario → result."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--junitxml={report}",
            "--tb=native",
            "-o",
            "filterwarnings=ignore",  # older versions leave sockets and event loops open
            str(SCENARIOS),
        ]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(sdk), str(ROOT)))}
        subprocess.run(
            command, cwd=ROOT, env=environment, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        cases = ET.parse(report).getroot().iter("testcase")
        return {case.get("name", ""): _result(case) for case in cases}


def _result(case: ET.Element) -> str:
    failure = case.find("failure")
    failure = case.find("error") if failure is None else failure
    return "complete" if failure is None else (failure.get("message") or "failed").splitlines()[0][:100]


async def report_programs(arguments: argparse.Namespace, sdk: Sequence[Path]) -> bool:
    """Print a line for each program; return True if each had one outcome."""
    is_alike = True
    async with serve(Scripted(SEGMENTS), faults=[NETWORK]) as emulator:
        for program in programs(emulator, sdk, arguments.huawei_sdk):
            if arguments.only not in program.name:
                continue
            outcomes = await run(program, arguments.runs, arguments.processes)
            is_alike &= len(outcomes) == 1
            for outcome, count in outcomes.most_common():
                print(f"{program.name:<48}{count:>4} of {arguments.runs}  {outcome}", flush=True)
    return is_alike


def report_scenarios(sdk: Path) -> None:
    """Print the number of scenarios that complete, and those that do not."""
    results = scenarios(sdk)
    complete = sum(result == "complete" for result in results.values())
    print(f"scenarios: {complete} of {len(results)} complete")
    for name, result in results.items():
        if result != "complete":
            print(f"  {name}: {result}")


def _folder(text: str) -> Path:
    """Return the absolute path of a folder: the programs run in others."""
    return Path(text).resolve()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the programs and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50, help="runs of each program (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=5, help="processes at a time (default: %(default)s)")
    parser.add_argument("--only", default="", help="run only programs whose name contains this")
    parser.add_argument("--versions", nargs="*", default=[], help="versions of the DashScope SDK to install and try")
    parser.add_argument("--huawei-sdk", nargs="*", type=_folder, default=[], help="folders with huaweicloud_sis")
    arguments = parser.parse_args(argv)
    is_alike = True
    if not arguments.versions or arguments.huawei_sdk:
        is_alike = asyncio.run(report_programs(arguments, []))
    with tempfile.TemporaryDirectory() as folder:
        for version in arguments.versions:
            print(f"dashscope {version}", flush=True)
            sdk = install(version, Path(folder))
            report_scenarios(sdk)
            is_alike &= asyncio.run(report_programs(arguments, [sdk]))
    return 0 if is_alike else 1


if __name__ == "__main__":
    sys.exit(main())
