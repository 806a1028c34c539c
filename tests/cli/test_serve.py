"""`asr-async serve`: the emulator as a process."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .command_line import (
    FINALS,
    INTERRUPTIBLE,
    invoke,
    process,
    transcribe,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class EmulatorProcess:
    """The command `serve` as a process, with the URL on its first line; what it printed is there after its end."""

    url: str
    status: int
    instructions: str
    errors: str


@contextlib.contextmanager
def emulator_process(*arguments: object) -> Iterator[EmulatorProcess]:
    """Run `serve` on a free port, and end it with Ctrl-C."""
    emulator = EmulatorProcess()
    with process("serve", "--port", "0", *arguments, command=INTERRUPTIBLE) as running:
        assert running.stdout is not None
        emulator.url = running.stdout.readline().decode().strip()
        yield emulator
        running.send_signal(signal.SIGINT)
        instructions, errors = running.communicate(timeout=60)
    emulator.status, emulator.instructions, emulator.errors = running.returncode, instructions.decode(), errors.decode()


def test_the_emulator_runs_until_ctrl_c(script: Path, clip: Path) -> None:
    with emulator_process("--script", script) as emulator:
        transcript = transcribe(clip, "--service", "dashscope", url=emulator.url).stdout
    assert transcript == FINALS
    assert f"DASHSCOPE_WEBSOCKET_BASE_URL={emulator.url}" in emulator.instructions
    assert f'dashscope.base_websocket_api_url = "{emulator.url}"' in emulator.instructions
    endpoint = emulator.url.removesuffix("/api-ws/v1/inference")
    assert f"HUAWEICLOUD_SIS_ENDPOINT={endpoint} HUAWEICLOUD_SIS_AK=any " in emulator.instructions
    assert f"FUNASR_SERVER={endpoint}/funasr/realtime asr-async transcribe --service funasr" in emulator.instructions
    assert (emulator.status, emulator.errors) == (130, "")


@pytest.mark.parametrize(("api_key", "sk"), [("sk-secret", "any"), ("sk-secret:sk-secret", "YOUR_SECRET")])
def test_only_the_given_key_is_accepted(api_key: str, sk: str, script: Path, clip: Path) -> None:
    with emulator_process("--script", script, "--api-key", api_key) as emulator:
        refused = transcribe(clip, url=emulator.url)
    assert refused.exit_code == 1
    assert "sk-secret" not in emulator.instructions
    assert f"HUAWEICLOUD_SIS_AK=YOUR_KEY HUAWEICLOUD_SIS_SK={sk} " in emulator.instructions


def test_faults_are_injected(script: Path, clip: Path, tmp_path: Path) -> None:
    faults = tmp_path / "faults.json"
    faults.write_text('[{"kind": "refuse", "status": 403, "code": "AccessDenied", "message": "closed today"}]')
    with emulator_process("--script", script, "--faults", faults) as emulator:
        refused = transcribe(clip, "--service", "dashscope", url=emulator.url)
    assert refused.exit_code == 1
    assert "closed today" in refused.stderr


@pytest.mark.parametrize(
    ("content", "message"), [("nonsense", "not JSON"), ('[{"kind": "cut"}]', "fault 1: cut: needs one of at")]
)
def test_malformed_faults_are_refused(content: str, message: str, script: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content, encoding="utf-8")
    outcome = invoke("serve", "--script", script, "--faults", path)
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert f"faults {path}: {message}" in outcome.stderr


def test_a_port_in_use_is_reported(script: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = invoke("serve", "--script", script, "--port", port)
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert outcome.stderr.startswith(f"asr-async: cannot listen on 127.0.0.1 port {port}: ")
    assert outcome.stderr.endswith("--port 0 uses a free port\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "scripted"], "--engine scripted needs --script FILE, with its results"),
        (["--engine", "pocketsphinx", "--script", "x.json"], "--script is only for --engine scripted"),
        (["--script", "missing.json"], "script missing.json: No such file or directory"),
        (["--faults", "missing.json"], "faults missing.json: No such file or directory"),
        (
            ["--engine", "whisper"],
            "engine='whisper': there is no such engine: choose moonshine, pocketsphinx or sherpa:F",
        ),
        (["--engine", "sherpa:missing"], "Sherpa('missing'): is no folder: give the folder of a sherpa-onnx model"),
        (["--port", "70000"], "70000 is not in the range 0<=x<=65535"),
        (["--api-key", ""], "--api-key must be KEY or KEY:SECRET, and neither may be empty"),
        (["--api-key", ":secret"], "--api-key must be KEY or KEY:SECRET, and neither may be empty"),
        (["--api-key", "key:"], "--api-key must be KEY or KEY:SECRET, and neither may be empty"),
    ],
)
def test_wrong_use_is_refused(arguments: list[str], message: str) -> None:
    outcome = invoke("serve", *arguments)
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert message in outcome.stderr


@pytest.mark.parametrize("content", ["nonsense", '{"segments": 1}', '[{"text": "a"}]'])
def test_a_malformed_script_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content, encoding="utf-8")
    outcome = invoke("serve", "--script", path)
    assert outcome.exit_code == 2
    assert f"script {path}: " in outcome.stderr


def test_a_missing_recogniser_is_reported_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("moonshine_voice", "pocketsphinx"):
        monkeypatch.setitem(sys.modules, module, None)
    outcome = invoke("serve", "--port", "0")
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert "pip install 'asr-async[local]' or, where its wheels do not fit" in outcome.stderr
    assert "'asr-async[local-small]'" in outcome.stderr
