"""Programs for the official package, with the prefix of their imports changed, beside that package.

Nine are those that the vendor prints: the SDK pages of Paraformer, Fun-ASR and Gummy (2025-10 to 2026-01). Those called
`common_...` are of the kinds that are common in public. The one change of each program is its URL; a file stands in for
the microphone, and for the download of a sample.
"""

from __future__ import annotations

import contextlib
import io
import signal
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asr_async.emulator import Emulator

from .conftest import SEGMENTS, Package, microphone, write_recording

PROGRAMS = sorted(Path(__file__).with_name("programs").glob("*.txt"))
CHINESE = [str(segment["text"]) for segment in SEGMENTS]
ENGLISH = ["Hello, big world.", "Good bye."]

real_sleep = time.sleep


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Run programs in a folder of their own, in less than real time, and restore their signal handler."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "sleep", lambda seconds: real_sleep(min(seconds, 0.003)))
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


def run(package: Package, program: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a program and return what it prints; Ctrl+C is pressed at the end of the microphone's audio."""
    program = package.imports_of(program)
    for path in ("inference", "realtime"):
        url = emulator.dashscope_url.replace("inference", path)
        program = program.replace(f"wss://dashscope.aliyuncs.com/api-ws/v1/{path}", url)
    recording = write_recording(Path.cwd())
    response = types.SimpleNamespace(content=recording.read_bytes())
    monkeypatch.setattr("requests.get", lambda url: response)
    namespace: dict[str, Any] = {"__name__": "__main__"}

    def press_ctrl_c() -> None:
        real_sleep(0.3)  # a person waits for the words, which the official package delivers late
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setitem(sys.modules, "pyaudio", microphone(press_ctrl_c))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(program, "program", "exec"), namespace)
        except SystemExit:
            pass  # of its handler of Ctrl+C
        except KeyboardInterrupt:  # it has none
            namespace["translator"].stop()
    return printed.getvalue()


def sentences_in(printed: str, texts: list[str]) -> list[str]:
    """Return those of the sentences that were printed, in the order in which they were printed first."""
    places = [(printed.find(text), text) for text in texts]
    return [text for place, text in sorted(places) if place >= 0]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_prints_the_same_sentences_as_with_the_official_package(
    path: Path, face: Package, official: Package, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = path.read_text(encoding="utf-8")
    printed = run(face, program, emulator, monkeypatch)
    expected = run(official, program, emulator, monkeypatch)
    for language in (CHINESE, ENGLISH):
        assert sentences_in(printed, language) == sentences_in(expected, language)
    is_one_sentence = "TranslationRecognizerChat" in program
    assert sentences_in(printed, CHINESE) == CHINESE[: 1 if is_one_sentence else 2]
    for words in ("open", "close", "complete", "sentence end, request_id", "the microphone is stopped", "[Metric]"):
        assert (words in printed) == (words in expected), words


def test_the_printed_programs_are_those_of_the_pages() -> None:
    printed = [path for path in PROGRAMS if not path.stem.startswith("common_")]
    assert (len(printed), len(PROGRAMS)) == (9, 14)
