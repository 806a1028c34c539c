"""The examples and the README's program run, and the recordings match their texts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import jiwer
import pytest

from asr_async import Client, Local, Paraformer, read_audio

from .support.child_processes import child_environment
from .support.paths import EXAMPLES
from .support.recordings import spoken_words, words

RECORDINGS = sorted((EXAMPLES / "audio").glob("*.wav"))
README = EXAMPLES.parent / "README.md"


def run_script(script: Path, *arguments: str, cwd: Path) -> list[str]:
    """Run a script without a key; return the lines that a terminal shows at the end."""
    environment = {name: value for name, value in child_environment().items() if name != "DASHSCOPE_API_KEY"}
    environment["METRICS_PORT"] = "0"  # any free one
    command = [sys.executable, str(script), *arguments]
    completed = subprocess.run(command, capture_output=True, check=True, env=environment, cwd=cwd, timeout=60)
    return [line.rpartition("\r")[2] for line in completed.stdout.decode().replace("\r\n", "\n").split("\n")]


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_prints_the_words_of_the_recording(script: Path) -> None:
    lines = run_script(script, "examples/audio/demo.wav", cwd=EXAMPLES.parent)
    texts = [line.partition(" s: ")[2] or line for line in lines]
    assert words(" ".join(texts)) == spoken_words("demo")


async def test_the_embedded_recogniser_has_at_most_15_percent_word_errors_on_the_recordings() -> None:
    expected, recognised = [], {}
    async with Client(Local()) as client:
        for recording in RECORDINGS:
            expected.append(spoken_words(recording.stem))
            recognised[recording.stem] = words((await client.transcribe(read_audio(recording), Paraformer())).text)
    assert jiwer.wer(expected, list(recognised.values())) <= 0.15
    assert recognised["demo"] == spoken_words("demo")


def test_every_recording_has_a_text() -> None:
    assert len(RECORDINGS) >= 6
    assert all(spoken_words(recording.stem) for recording in RECORDINGS)


def test_the_seven_lines_of_the_readme_transcribe_a_recording(tmp_path: Path) -> None:
    code = re.search(r"```python\n(import asyncio\n.*?)```", README.read_text(), re.DOTALL)
    assert code is not None
    local = code[1].replace('"en"]))', '"en"]), Local())').replace("import Paraformer,", "import Local, Paraformer,")
    local = local.replace("meeting.wav", "demo.wav")
    assert local != code[1]
    script = tmp_path / "seven_lines.py"
    script.write_text(local)
    finals = run_script(script, cwd=EXAMPLES / "audio")
    assert words(" ".join(finals)) == spoken_words("demo")
