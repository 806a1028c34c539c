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
ERRORS = ("error", "Error", "ERROR", "Traceback")

_sleep = time.sleep


def shorter_sleep(seconds: Any) -> None:
    """Sleep, but not for long."""
    _sleep(min(float(seconds), SHORT_SLEEP_S if seconds < LONG_SLEEP_S else LONG_SLEEP_S))


def prepare(folder: Path) -> None:
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
    sys.modules["pyaudio"] = microphone()
    time.sleep = shorter_sleep


def microphone() -> Any:
    """Return a module `pyaudio`, whose microphone presses Ctrl+C when its sound ends."""

    class Stream:
        def __init__(self) -> None:
            self._rest = FRAMES // 2

        def read(self, frames: int, **_: Any) -> bytes:
            self._rest -= 1
            if self._rest < 0:
                _sleep(0.5)  # a person waits for the words
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
    prepare(Path.cwd())
    for _ in range(job["runs"]):
        handler = signal.getsignal(signal.SIGINT)
        outcome = run(job["program"], job["sentences"])
        signal.signal(signal.SIGINT, handler)
        print(json.dumps(outcome, ensure_ascii=False), file=output, flush=True)


if __name__ == "__main__":
    main()
