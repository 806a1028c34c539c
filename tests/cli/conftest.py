"""The recording, the script and the emulator that the tests of the command line share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..support.wav_files import write_wav
from .command_line import SCRIPT
from .engines import CountingEngine, emulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "clip.wav")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.json"
    path.write_text(json.dumps(SCRIPT), encoding="utf-8")
    return path


@pytest.fixture
def engine() -> CountingEngine:
    return CountingEngine(SCRIPT)


@pytest.fixture
def url(engine: CountingEngine) -> Iterator[str]:
    with emulator_thread(engine) as url:
        yield url
