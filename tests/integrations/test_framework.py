"""Frameworks that are missing or too old: one line says which, and what to install."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from asr_async.integrations._framework import require

from ..support.child_processes import child_environment

if TYPE_CHECKING:
    from pathlib import Path


def import_with(metadata: Path, module: str) -> str:
    """Return the last line of the traceback when a module is imported in a process that finds this metadata first."""
    environment = child_environment()
    environment["PYTHONPATH"] = f"{metadata}:{environment['PYTHONPATH']}"
    command = [sys.executable, "-c", f"import {module}"]
    completed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert completed.returncode == 1
    return completed.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("extra", "distribution", "minimum"),
    [("livekit", "livekit-agents", "1.8.9"), ("pipecat", "pipecat-ai", "1.14")],
)
def test_a_framework_that_is_too_old_is_named_in_one_line(
    extra: str, distribution: str, minimum: str, tmp_path: Path
) -> None:
    folder = tmp_path / f"{distribution.replace('-', '_')}-1.2.10.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2.10\n", encoding="utf-8"
    )
    module = f"asr_async.integrations.{extra}"
    assert import_with(tmp_path, module) == (
        f"ImportError: {module} needs {distribution} {minimum} or newer, and 1.2.10 is installed: "
        f"pip install 'asr-async[{extra}]' --upgrade"
    )


def test_a_framework_that_is_missing_is_named_with_its_extra() -> None:
    text = "asr_async.integrations.livekit needs no-such-framework: pip install 'asr-async[livekit]'"
    with pytest.raises(ModuleNotFoundError, match=re.escape(text)):
        require("no-such-framework", "1.8.9", extra="livekit")


@pytest.mark.parametrize("version", ["1.8.9", "1.8.10", "1.9", "2.0rc1"])
def test_a_framework_that_is_new_enough_is_accepted(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: version)
    require("livekit-agents", "1.8.9", extra="livekit")
