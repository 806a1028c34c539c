"""Shell completion: printed, installed, and asked for a word as a shell asks."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from .command_line import environment, invoke

if TYPE_CHECKING:
    from pathlib import Path

FILES = {
    "bash": "data/bash-completion/completions/asr-async",
    "zsh": ".zfunc/_asr-async",
    "fish": "config/fish/completions/asr-async.fish",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("ZDOTDIR", raising=False)
    return tmp_path


@pytest.mark.parametrize("shell", FILES)
def test_the_script_is_printed_or_installed(shell: str, home: Path) -> None:
    printed = invoke("completion", shell)
    installed = invoke("completion", shell, "--install")
    assert (printed.exit_code, installed.exit_code) == (0, 0)
    assert "_ASR_ASYNC_COMPLETE" in printed.stdout
    assert (home / FILES[shell]).read_text(encoding="utf-8").strip() == printed.stdout.strip()
    assert installed.stdout.startswith(f"Written to {home / FILES[shell]}. ")


def test_the_shell_of_the_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert "function _asr_async_completion" in invoke("completion").stdout
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    outcome = invoke("completion")
    assert outcome.exit_code == 2
    assert "name a shell: bash, zsh, fish" in outcome.stderr


def test_a_folder_that_cannot_be_written_is_named(home: Path) -> None:
    (home / ".zfunc").write_text("", encoding="utf-8")
    outcome = invoke("completion", "zsh", "--install")
    assert outcome.exit_code == 1
    assert outcome.stderr == f"Error: {home}/.zfunc/_asr-async: File exists\n"


def complete(*words: str) -> list[str]:
    variables = {
        "_ASR_ASYNC_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": f"{len(words) - 1}",
    }
    code = "from asr_async.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(None) | variables, capture_output=True, timeout=60, check=True
    )
    return [line.partition(",")[2] for line in done.stdout.decode().splitlines()]


def test_commands_options_and_models_are_completed() -> None:
    assert complete("asr-async", "trans") == ["transcribe"]
    assert complete("asr-async", "transcribe", "--lang") == ["--language"]
    assert "paraformer-realtime-8k-v2" in complete("asr-async", "transcribe", "--model", "paraformer-realtime")
