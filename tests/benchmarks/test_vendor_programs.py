"""The script that runs the vendors' printed programs: each of a few programs once, and its table."""

from __future__ import annotations

import importlib.util
import re
import signal
from collections.abc import Iterator
from types import ModuleType

import pytest

from ..support.paths import BENCHMARKS


@pytest.fixture(scope="module")
def vendor_programs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("vendor_programs", BENCHMARKS / "vendor_programs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def ctrl_c_is_ignored() -> Iterator[None]:
    """Ignore Ctrl+C, in the processes that are started too, as a shell does for what it starts in the background."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.parametrize(
    ("program", "outcome"),
    [
        ("huawei_short_stream", "你好世界 / 再见; ends"),
        ("without waiting: threads", r"no sentence; .*CLIENT_ERROR.*audio was sent before task-started.*; ends"),
        ("SDK: streamed_file", "你好世界 / 再见; ends"),
        ("SDK: common_qwen", "你好世界 / 再见; ends"),
        ("SDK: translated_microphone", "你好世界 / Hello, big world / 再见 / Good bye; is stopped"),  # by Ctrl+C
    ],
)
def test_a_program_has_its_outcome(
    vendor_programs: ModuleType, capsys: pytest.CaptureFixture[str], program: str, outcome: str, ctrl_c_is_ignored: None
) -> None:
    status = vendor_programs.main(["--runs", "1", "--processes", "1", "--only", program])
    printed = capsys.readouterr().out
    assert re.fullmatch(rf"\S.*{re.escape(program)} +1 of 1  {outcome}\n", printed), printed
    assert status == 0


def test_programs_with_several_outcomes_are_a_failure(
    vendor_programs: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program prints a sentence in every second run only."""
    program = "import builtins\nbuiltins.turn = not getattr(builtins, 'turn', False)\nif turn: print('再见')"
    monkeypatch.setattr(vendor_programs, "programs", lambda *_: [vendor_programs.Program("unsteady", program)])
    assert vendor_programs.main(["--runs", "4", "--processes", "1"]) == 1
    printed = capsys.readouterr().out
    assert sorted(line.split("4  ")[1] for line in printed.splitlines()) == ["no sentence; ends", "再见; ends"]
    assert printed.count("2 of 4") == 2
