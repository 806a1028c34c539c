"""Run one of the vendors' printed programs several times, in the process of an SDK, and write an outcome for each run.

Imports nothing of this library: the process has the SDK that is to be tried. A recording stands in for the microphone
and for the downloads of samples, and sleeps are short. The outcome is a line of JSON: the sentences that the program
printed, each once, the errors that it printed, and its end.
"""

from __future__ import annotations

import contextlib
import io
import json
import signal
import sys
import time
import types
import wave
from pathlib import Path
from typing import Any

FRAME = bytes(3_200)
FRAMES = 22
SHORT_SLEEP_S = 0.02
"""The time between two messages, in place of up to 0.1 s."""
LONG_SLEEP_S = 1.0
"""The time that a program gives the vendor, in place of up to 10 s."""
WORDS_S = 10.0
"""The longest time that a person waits for words before Ctrl+C."""
ERRORS = ("error", "Error", "ERROR", "Traceback")

_sleep = time.sleep


def shorter_sleep(seconds: Any) -> None:
    """Sleep, but not for long."""
    _sleep(min(float(seconds), SHORT_SLEEP_S if seconds < LONG_SLEEP_S else LONG_SLEEP_S))


def has_printed(sentences: list[str]) -> bool:
    """Return True if the program has printed one of these sentences."""
    text = sys.stdout.getvalue() if isinstance(sys.stdout, io.StringIO) else ""
    return any(sentence in text for sentence in sentences)


def prepare(folder: Path, sentences: list[str]) -> None:
    """Write the recordings that the programs open, and replace what they import for a microphone and downloads."""
    with wave.open(str(folder / "asr_example.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(FRAME * FRAMES)
    # 2.2 s at 8 kHz, and two bytes more: a last message that is smaller than the documents allow
    (folder / "speech.pcm").write_bytes(bytes(8 * 4_400 + 2))
    content = (folder / "asr_example.wav").read_bytes()
    import requests  # noqa: PLC0415 - the SDKs bring it

    requests.get = lambda *_, **__: types.SimpleNamespace(content=content)  # type: ignore[assignment]
    sys.modules["pyaudio"] = microphone(sentences)
    time.sleep = shorter_sleep


def microphone(sentences: list[str]) -> Any:
    """Return a module `pyaudio`, whose microphone presses Ctrl+C when words are printed.

    It records silence until then: the SDK reads results only while it sends audio, and sends none if it is stopped
    before its task has started.
    """

    class Stream:
        def __init__(self) -> None:
            self._rest = FRAMES // 2
            self._deadline = time.monotonic() + WORDS_S

        def read(self, frames: int, **_: Any) -> bytes:
            self._rest -= 1
            if self._rest < 0:
                _sleep(SHORT_SLEEP_S)
                if has_printed(sentences) or time.monotonic() > self._deadline:
                    signal.raise_signal(signal.SIGINT)
            return bytes(2 * frames)

        def stop_stream(self) -> None: ...

        def close(self) -> None: ...

    class PyAudio:
        def open(self, **_: Any) -> Stream:
            return Stream()

        def terminate(self) -> None: ...

    module: Any = types.ModuleType("pyaudio")
    module.paInt16, module.PyAudio = 8, PyAudio
    return module


def run(program: str, sentences: list[str]) -> dict[str, Any]:
    """Run a program and return its outcome."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed = io.StringIO()
    end = "ends"
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            exec(compile(program, "program", "exec"), namespace)
        except SystemExit:
            end = "exits"  # the handler of Ctrl+C
        except KeyboardInterrupt:  # it has none
            namespace["translator" if "translator" in namespace else "recognition"].stop()
            end = "is stopped"
        except Exception as error:  # noqa: BLE001 - any error is an outcome
            end = f"{type(error).__name__}: {str(error)[:100]}"
    text = printed.getvalue()
    places = sorted((text.find(sentence), sentence) for sentence in sentences if sentence in text)
    errors = [line.strip()[:160] for line in text.splitlines() if any(word in line for word in ERRORS)]
    return {"sentences": [sentence for _, sentence in places], "errors": errors[:2], "end": end}


def main() -> None:
    """Read the job from standard input, run it, and write an outcome per run."""
    job = json.load(sys.stdin)
    output = sys.stdout
    prepare(Path.cwd(), job["sentences"])
    for _ in range(job["runs"]):
        # the programs have a handler of their own, or none; a shell ignores Ctrl+C for what it starts in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
        outcome = run(job["program"], job["sentences"])
        print(json.dumps(outcome, ensure_ascii=False), file=output, flush=True)


if __name__ == "__main__":
    main()
