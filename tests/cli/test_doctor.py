"""`asr-async doctor`: versions, extras, keys, and the steps to a service, against servers on this machine."""

from __future__ import annotations

import importlib.metadata
import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trustme
import websockets.asyncio.server as websockets

from asr_async import ConfigurationError, Local, __version__
from asr_async.cli.checks import Finding, check_endpoint, check_extras, check_keys, check_recognisers, check_redis
from asr_async.emulator import Scripted
from asr_async.vendors import vendors
from asr_async.vendors.service import Endpoint

from ..support import sound_device
from ..support.certificates import server_ssl_context, trust_by_environment
from ..support.child_processes import child_environment
from ..support.paths import RECORDINGS
from ..support.sherpa_models import write_model
from ..support.terminal import Terminal
from ..support.wav_files import write_wav
from .command_line import COMMAND, SCRIPT, environment, invoke
from .engines import emulator_thread

if TYPE_CHECKING:
    from pathlib import Path

    from websockets.asyncio.server import ServerConnection


def rows(output: str) -> dict[str, tuple[str, str]]:
    """Return subject → mark and text of the findings."""
    found = re.findall(r"^([✓·!✗]) (\S.*?) {2,}(.+)$", output, re.MULTILINE)
    return {subject: (mark, text) for mark, subject, text in found}


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for vendor in vendors().values():
        for name in vendor.key_variables:
            monkeypatch.delenv(name, raising=False)


def test_versions_extras_and_keys_are_listed() -> None:
    outcome = invoke("doctor")
    found = rows(outcome.stdout)
    assert outcome.exit_code == 0
    assert found["asr-async"] == ("✓", __version__)
    assert found["Python"][1].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert "websockets" in found["libraries"][1]
    assert {"moonshine", "pocketsphinx", "sherpa:FOLDER"} <= set(found)
    assert found["--service local"] == ("✓", Local().recogniser)
    assert found["DASHSCOPE_API_KEY"] == ("·", "not set")
    assert outcome.stdout.endswith("All checks passed.\n")


def test_each_step_to_a_service_is_timed_and_the_key_is_masked(url: str) -> None:
    outcome = invoke("doctor", url=url)
    found = rows(outcome.stdout)
    assert outcome.exit_code == 0
    assert "Service dashscope, paraformer-realtime-v2:" in outcome.stdout
    assert re.fullmatch(r"127\.0\.0\.1 is 127\.0\.0\.1 \(\d+ ms\)", found["DNS"][1])
    assert re.fullmatch(r"port \d+ \(\d+ ms\)", found["TCP"][1])
    assert found["clock"] == ("✓", "differs from the server's by less than 1 s")
    assert re.fullmatch(r"127\.0\.0\.1:\d+ accepts the connection \(\d+ ms\)", found["handshake"][1])
    assert found["DASHSCOPE_API_KEY"] == ("✓", "sk-*** (15 characters)")
    assert "sk-of-this-test" not in outcome.output


async def findings_of_tls_server(authority: trustme.CA) -> dict[str, Finding]:
    async def serve(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async with websockets.serve(serve, "127.0.0.1", 0, ssl=server_ssl_context(authority)) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        url = f"wss://127.0.0.1:{port}/"
        endpoint = Endpoint(url=url, headers={}, handshake_error=lambda *_: ConfigurationError("refused"))
        return {finding.subject: finding async for finding in check_endpoint(endpoint)}


async def test_tls_is_a_step_with_its_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    trust_by_environment(authority, monkeypatch, tmp_path)
    found = await findings_of_tls_server(authority)
    assert re.fullmatch(r"TLSv1\.\d, certificate until .* GMT \(\d+ ms\)", found["TLS"].text)
    assert found["handshake"].state == "good"


async def test_a_certificate_that_is_not_trusted_has_advice() -> None:
    found = await findings_of_tls_server(trustme.CA())
    assert found["TCP"].state == "good"
    assert found["connection"].text.startswith("the certificate is not trusted (")
    assert found["connection"].text.endswith("): set SSL_CERT_FILE to the right ones")
    assert found["handshake"].state == "failed"


def test_a_service_that_cannot_be_reached_fails() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    outcome = invoke("doctor", url=f"ws://127.0.0.1:{port}/")
    assert outcome.exit_code == 1
    assert rows(outcome.stdout)["handshake"][0] == "✗"


def test_a_refused_key_fails_at_the_handshake() -> None:
    with emulator_thread(Scripted(SCRIPT), api_keys={"another"}) as url:
        outcome = invoke("doctor", url=url)
    assert outcome.exit_code == 1
    assert rows(outcome.stdout)["handshake"][0] == "✗"
    assert "sk-of-this-test" not in outcome.output


def test_another_address_can_be_checked_and_needs_a_key(url: str) -> None:
    outcome = invoke("doctor", "--endpoint", url)
    assert outcome.exit_code == 1
    assert rows(outcome.stdout)["credentials"][1].startswith("no DashScope key: set DASHSCOPE_API_KEY")
    assert invoke("doctor", "--endpoint", url, url="ws://127.0.0.1:9/").exit_code == 0


def test_an_unknown_model_is_wrong_use() -> None:
    outcome = invoke("doctor", "--model", "paraformer")
    assert outcome.exit_code == 2
    assert "unknown model 'paraformer'" in outcome.stderr


def test_a_key_with_blanks_or_quotes_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (" sk-1", "sk-1\n", '"sk-1"'):
        monkeypatch.setenv("DASHSCOPE_API_KEY", value)
        (finding,) = check_keys(vendors()["dashscope"])
        assert (finding.state, "sk-1" in finding.text) == ("warning", False)


def test_an_extra_that_is_not_installed_has_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = [
        "msgspec>=1",
        "rich>=1; extra == 'cli'",
        'nothing-like-it>=1; python_version > "3" and extra == "x"',
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _name: requirements)
    cli, missing = check_extras()
    assert (cli.state, cli.subject, cli.text) == ("good", "cli", f"rich {importlib.metadata.version('rich')}")
    assert (missing.state, missing.text) == ("note", "not installed: pip install 'asr-async[x]'")


def test_recognisers_that_are_not_installed_have_their_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("moonshine_voice", "pocketsphinx", "sherpa_onnx"):
        monkeypatch.setitem(sys.modules, name, None)
    assert [finding.state for finding in check_recognisers()] == ["note"] * 4


def test_a_model_in_a_folder_is_tried(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "streaming CTC")
    outcome = invoke("doctor", "--engine", f"sherpa:{folder}")
    assert outcome.exit_code == 0
    mark, text = rows(outcome.stdout)["--engine"]
    assert mark == "✓"
    assert re.fullmatch(rf"sherpa \(streaming CTC model in {re.escape(str(folder))}\) starts \(\d+ ms\)", text)
    (folder / "tokens.txt").unlink()
    outcome = invoke("doctor", "--engine", f"sherpa:{folder}")
    assert outcome.exit_code == 1
    assert "has no tokens.txt: it looks like half of a streaming CTC model" in rows(outcome.stdout)["--engine"][1]


async def test_a_malformed_redis_url_fails_without_a_word_of_its_password() -> None:
    finding = await check_redis("redis://user@host:the-password/0")
    text = "Limits(shared=...): must be redis://host:port/0, rediss://host:port/0 or unix:///path"
    assert finding == Finding("failed", "Redis", text)


async def test_a_redis_server_that_is_not_there_fails() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    finding = await check_redis(f"redis://user:secret@127.0.0.1:{port}/0")
    assert finding.state == "failed"
    assert "secret" not in finding.text


@pytest.mark.parametrize("columns", [40, 100])
def test_the_report_fits_the_terminal(columns: int, url: str) -> None:
    terminal = Terminal(columns, rows=100)
    assert terminal.run([*COMMAND, "doctor"], environment(url, columns=None)) == 0
    assert terminal.lines[0] == "Versions:"
    assert terminal.lines[-1] == "All checks passed."
    assert any(line.startswith("✓ handshake") for line in terminal.lines)
    assert any("accepts the connection" in line for line in terminal.lines)


class TestSound:
    def run(self, *arguments: str, microphone: Path | None = None) -> tuple[int, dict[str, tuple[str, str]]]:
        """Run with a stand-in for the microphone, or without one."""
        variables = {"PYTHONPATH": child_environment()["PYTHONPATH"]}
        variables |= {} if microphone is None else {"MICROPHONE": str(microphone)}
        done = subprocess.run(
            [*sound_device.COMMAND, "doctor", *arguments],
            env=environment(None) | variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, rows(done.stdout)

    def test_the_level_of_the_microphone_is_measured(self) -> None:
        status, found = self.run(microphone=RECORDINGS / "demo.wav")
        assert status == 0
        assert re.fullmatch(r"peak at -\d+ dB in 1 s", found["microphone"][1])

    def test_a_silent_microphone_is_a_warning(self, tmp_path: Path) -> None:
        status, found = self.run(microphone=write_wav(tmp_path / "silence.wav"))
        assert (status, found["microphone"]) == (
            0,
            ("!", "records silence: is it muted, or may this program not use it?"),
        )

    def test_a_machine_without_a_microphone_is_no_failure(self) -> None:
        status, found = self.run()
        assert (status, found["microphone"][0]) == (0, "·")

    def test_a_file_is_checked(self, tmp_path: Path) -> None:
        status, found = self.run(str(RECORDINGS / "demo.wav"))
        assert (status, found["format"][0]) == (0, "✓")
        assert found["format"][1].startswith("16-bit WAV, 16000 Hz, mono")
        status, found = self.run(str(write_wav(tmp_path / "silence.wav")))
        assert status == 1
        assert found["silent"][0] == "✗"

    def test_a_file_that_cannot_be_read_fails(self, tmp_path: Path) -> None:
        (tmp_path / "a.mp3").write_text("hello", encoding="utf-8")
        status, found = self.run(str(tmp_path / "a.mp3"))
        assert status == 1
        assert found["unreadable"][0] == "✗"
