"""The examples and the README's program run, and the recordings match their texts."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import subprocess
import sys
import types
from typing import TYPE_CHECKING

import jiwer
import pysubs2
import pyte
import pytest

from asr_async import Client, Local, Paraformer, read_audio

from .support.child_processes import child_environment
from .support.paths import EXAMPLES
from .support.speech import example_text, plain_words

if TYPE_CHECKING:
    from pathlib import Path

ERASE_LINE = "\x1b[K"

MOST_LINES = 50
"""The lines of an example that are not blank."""

PRINTING_THE_WORDS = ["offline_fallback.py", "prometheus_metrics.py", "push_audio.py", "stream_file.py"]

RECORDINGS = sorted((EXAMPLES / "audio").glob("*.wav"))
README = EXAMPLES.parent / "README.md"


def run_script(script: Path, *arguments: str, cwd: Path) -> list[str]:
    """Run a script without a key; return the lines that a terminal shows at the end."""
    environment = {name: value for name, value in child_environment().items() if name != "DASHSCOPE_API_KEY"}
    environment["METRICS_PORT"] = "0"  # any free one
    command = [sys.executable, str(script), *arguments]
    completed = subprocess.run(command, capture_output=True, check=True, env=environment, cwd=cwd, timeout=60)
    lines = completed.stdout.decode().replace("\r\n", "\n").split("\n")
    return [line.rpartition("\r")[2].removeprefix(ERASE_LINE) for line in lines]


@pytest.mark.parametrize("script", PRINTING_THE_WORDS)
def test_an_example_prints_the_words_of_the_recording(script: str) -> None:
    lines = run_script(EXAMPLES / script, "examples/audio/demo.wav", cwd=EXAMPLES.parent)
    texts = [line.partition(" s: ")[2] or line for line in lines]
    assert plain_words(" ".join(texts)) == plain_words(example_text("demo"))


def test_the_push_to_talk_bot_answers_each_recording() -> None:
    recordings = [f"examples/audio/{name}.wav" for name in ("demo", "house")]
    *lines, _ = run_script(EXAMPLES / "push_to_talk.py", *recordings, cwd=EXAMPLES.parent)
    spoken = [plain_words(line.removeprefix("You said: ")) for line in lines]
    assert spoken[0] == plain_words(example_text("demo"))
    assert spoken[1].endswith("house near the river last summer")


def test_the_push_to_talk_bot_records_from_one_press_of_enter_to_the_next() -> None:
    """The key is released at once, before a word was said."""
    code = (
        "import runpy, sys\n"
        "from tests.support import sound_device; sys.modules['sounddevice'] = sound_device\n"
        "sys.argv = ['push_to_talk.py']; runpy.run_path('examples/push_to_talk.py', run_name='__main__')"
    )
    environment = {**child_environment(), "MICROPHONE": str(EXAMPLES / "audio" / "demo.wav")}
    environment.pop("DASHSCOPE_API_KEY", None)
    done = subprocess.run(
        [sys.executable, "-c", code],
        input="\n\n",
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=EXAMPLES.parent,
        timeout=60,
    )
    assert done.stdout.splitlines()[1:] == ["You said: nothing"]


def test_the_barge_in_bot_answers_the_last_sentence_to_its_end() -> None:
    printed = run_script(EXAMPLES / "barge_in.py", "examples/audio/demo.wav", cwd=EXAMPLES.parent)
    spoken = [plain_words(line) for line in printed if line]
    assert spoken[-1] == plain_words("You said: What is the weather going to be like today?")
    assert len(spoken) == 2, "the first answer is interrupted"


def test_many_files_prints_a_line_for_each(tmp_path: Path) -> None:
    for name in ("demo", "house"):
        shutil.copy(EXAMPLES / "audio" / f"{name}.wav", tmp_path)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    *lines, total, _ = run_script(EXAMPLES / "many_files.py", str(tmp_path), cwd=EXAMPLES.parent)
    texts = dict(line.split(": ", 1) for line in lines)
    assert plain_words(texts["demo.wav"]) == plain_words(example_text("demo"))
    assert plain_words(texts["house.wav"]).endswith("house near the river last summer")
    assert "is cut off" in texts["broken.wav"]
    assert total == "3 files, 12.2 s of audio"


def test_the_overnight_batch_is_continued_where_it_ended(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()
    for name in ("demo", "house"):
        shutil.copy(EXAMPLES / "audio" / f"{name}.wav", calls)
    (calls / "broken.wav").write_bytes(b"RIFF")
    arguments = ("calls", "texts")
    *lines, total, _ = run_script(EXAMPLES / "batch_overnight.py", *arguments, cwd=tmp_path)
    assert sorted(line.partition(": ")[0] for line in lines) == ["broken.wav", "demo.wav", "house.wav"]
    assert total == "2 of 3 files, 1 failed, 12.2 s of audio, 13.0 s billed, finished"
    assert plain_words((tmp_path / "texts" / "demo.txt").read_text()) == plain_words(example_text("demo"))
    assert run_script(EXAMPLES / "batch_overnight.py", *arguments, cwd=tmp_path) == [total, ""]


def test_translated_subtitles_are_written(tmp_path: Path) -> None:
    arguments = ("examples/audio/demo.wav", str(tmp_path / "demo.srt"))
    printed = run_script(EXAMPLES / "translated_subtitles.py", *arguments, cwd=EXAMPLES.parent)
    assert (tmp_path / "demo.srt").read_text(encoding="utf-8") == "\n".join(printed)
    first, second = pysubs2.load(str(tmp_path / "demo.srt"))
    assert first.plaintext == "Please call me back tomorrow\nmorning at nine o'clock.\n请明天早上九点给我回电话。"
    assert (first.start, first.end, second.start) == (200, 3_300, 4_100)


def test_the_program_of_the_testing_example_passes_its_tests() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/testing_your_program.py"]
    done = subprocess.run(
        command, env=child_environment(), cwd=EXAMPLES.parent, capture_output=True, text=True, timeout=60, check=False
    )
    assert "2 passed" in done.stdout, done.stdout


def test_live_captions_of_a_recording_are_written(tmp_path: Path) -> None:
    arguments = (str(tmp_path / "captions.vtt"), "examples/audio/demo.wav")
    run_script(EXAMPLES / "live_captions.py", *arguments, cwd=EXAMPLES.parent)
    captions = pysubs2.load(str(tmp_path / "captions.vtt"))
    assert plain_words(" ".join(caption.plaintext for caption in captions)) == plain_words(example_text("demo"))


def test_the_pictures_of_the_terminal_are_drawn(tmp_path: Path) -> None:
    shown = {"transcribe": "of 8 files", "models": "paraformer-realtime-v2", "doctor": "All checks passed."}
    arguments = [tmp_path, "--scenes", *shown, "--columns", "40", "--pace", "16"]
    command = [sys.executable, "-m", "examples.pictures.draw", *map(str, arguments)]
    subprocess.run(command, env=child_environment(), cwd=EXAMPLES.parent, check=True, timeout=100)
    drawn = {path.stem: path.read_text(encoding="utf-8").replace("&#160;", " ") for path in tmp_path.glob("*.svg")}
    assert {name for name, text in shown.items() if text not in drawn[f"{name}_40"]} == set()


def test_examples_are_short_and_described_with_their_output() -> None:
    described = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for script in EXAMPLES.glob("*.py"):
        lines = [line for line in script.read_text(encoding="utf-8").splitlines() if line]
        assert len(lines) <= MOST_LINES, script
        assert f"({script.name})" in described, f"examples/README.md does not describe {script.name}"


async def test_the_embedded_recogniser_has_at_most_15_percent_word_errors_on_the_recordings() -> None:
    expected, recognised = [], {}
    async with Client(Local()) as client:
        for recording in RECORDINGS:
            expected.append(plain_words(example_text(recording.stem)))
            recognised[recording.stem] = plain_words(
                (await client.transcribe(read_audio(recording), Paraformer())).text
            )
    assert jiwer.wer(expected, list(recognised.values())) <= 0.15
    assert recognised["demo"] == plain_words(example_text("demo"))


def test_every_recording_has_a_text() -> None:
    assert len(RECORDINGS) >= 6
    assert all(plain_words(example_text(recording.stem)) for recording in RECORDINGS)


def test_the_seven_lines_of_the_readme_transcribe_a_recording(tmp_path: Path) -> None:
    code = re.search(r"```python\n(import asyncio\n.*?)```", README.read_text(), re.DOTALL)
    assert code is not None
    local = code[1].replace('"en"]))', '"en"]), Local())').replace("import Paraformer,", "import Local, Paraformer,")
    local = local.replace("meeting.wav", "demo.wav")
    assert local != code[1]
    script = tmp_path / "seven_lines.py"
    script.write_text(local)
    finals = run_script(script, cwd=EXAMPLES / "audio")
    assert plain_words(" ".join(finals)) == plain_words(example_text("demo"))


def test_the_seven_lines_leave_nothing_of_a_longer_interim_on_the_terminal() -> None:
    code = re.search(r"^ +(print\(f.*)$", README.read_text(), re.MULTILINE)
    assert code is not None
    shown = io.StringIO()
    for text, is_final in (("one two three", False), ("one", False), ("won", True)):
        with contextlib.redirect_stdout(shown):
            exec(code[1], {"result": types.SimpleNamespace(text=text, is_final=is_final)})
    screen = pyte.Screen(40, 5)
    pyte.Stream(screen).feed(shown.getvalue().replace("\n", "\r\n"))
    assert [line.rstrip() for line in screen.display if line.strip()] == ["won"]
