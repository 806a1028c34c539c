"""The page about the migration from the official SDK: its programs print the same, its prefix is the only change."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
from pathlib import Path

import pytest

from asr_async.emulator import Emulator

from ..support.paths import EXAMPLES
from .conftest import FACE, OFFICIAL, SEGMENTS, Package, write_recording

PAGE = (EXAMPLES / "migration.md").read_text(encoding="utf-8")
BEFORE, AFTER, ASYNC = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def run(program: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "migration.md", "exec"), {"__name__": "__main__"})
    return printed.getvalue()


@pytest.mark.usefixtures("face", "official")
def test_the_programs_of_the_page_print_the_same(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DASHSCOPE_WEBSOCKET_BASE_URL", emulator.dashscope_url)
    shutil.copy(write_recording(tmp_path), "meeting.wav")
    expected = "".join(f"{segment['text']}\n" for segment in SEGMENTS)
    for program in (BEFORE, AFTER, ASYNC):
        assert run(program.replace("sk-...", "sk-test")) == expected


def test_the_prefix_is_the_only_change(packages: dict[str, Package]) -> None:
    changed = packages[FACE].imports_of(BEFORE)
    assert changed.replace(f"import {FACE} as dashscope", "from asr_async.compat import dashscope") == AFTER
    assert OFFICIAL in BEFORE
