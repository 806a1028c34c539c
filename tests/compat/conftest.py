"""An emulator in a thread of its own, and the face and the official package as clients of it."""

from __future__ import annotations

import importlib
import re
import types
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asr_async.emulator import Emulator, Scripted, serve
from asr_async.emulator.faults import Delay

from ..support.threaded_server import in_a_thread

SEGMENTS = (
    {"text": "你好世界。", "start_ms": 100, "end_ms": 1000, "translations": {"en": "Hello, big world."}},
    {"text": "再见。", "start_ms": 1400, "end_ms": 2000, "translations": {"en": "Good bye."}},
)
FRAME = bytes(3_200)
OFFICIAL = "dashscope"
FACE = "asr_async.compat.dashscope"


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    # The official SDK has a race: it loses the audio if the vendor answers before its start() has returned.
    faults = [Delay(at="start", by_ms=20)]
    with in_a_thread(serve(Scripted(SEGMENTS), api_keys={"sk-test"}, faults=faults)) as running:
        yield running


class Package:
    """The official package, or the face, with the settings of an emulator."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.settings: Any = importlib.import_module(prefix)
        self.asr: Any = importlib.import_module(f"{prefix}.audio.asr")
        self.omni: Any = importlib.import_module(f"{prefix}.audio.qwen_omni.omni_realtime")
        self.error: Any = importlib.import_module(f"{prefix}.common.error")

    def imports_of(self, program: str) -> str:
        """Return a program with the prefix of this package in its imports."""
        program = re.sub(r"^import dashscope$", f"import {self.prefix} as dashscope", program, flags=re.MULTILINE)
        return re.sub(r"^from dashscope\b", f"from {self.prefix}", program, flags=re.MULTILINE)


def configure(package: Package, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, api_key: str = "sk-test") -> None:
    monkeypatch.setattr(package.settings, "api_key", api_key)
    monkeypatch.setattr(package.settings, "base_websocket_api_url", emulator.dashscope_url)
    monkeypatch.setattr(package.settings, "base_http_api_url", emulator.dashscope_http_url)
    monkeypatch.setenv("DASHSCOPE_API_KEY", api_key)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="session")
def packages() -> dict[str, Package]:
    return {prefix: Package(prefix) for prefix in (OFFICIAL, FACE)}


@pytest.fixture
def face(packages: dict[str, Package], emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Package:
    configure(packages[FACE], emulator, monkeypatch)
    return packages[FACE]


@pytest.fixture
def official(packages: dict[str, Package], emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Package:
    configure(packages[OFFICIAL], emulator, monkeypatch)
    return packages[OFFICIAL]


@pytest.fixture(params=[OFFICIAL, FACE])
def package(
    request: pytest.FixtureRequest,
    packages: dict[str, Package],
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> Package:
    """Both packages, one after the other."""
    package = packages[request.param]
    configure(package, emulator, monkeypatch)
    return package


def write_recording(folder: Path) -> Path:
    """Write a recording as long as the emulator's script."""
    path = folder / "asr_example.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(FRAME * 22)
    return path


def microphone(on_end: Any) -> types.ModuleType:
    """Return a module `pyaudio` whose microphone has 2.2 s of sound and then calls a function."""

    class Stream:
        def __init__(self) -> None:
            self._rest = 11

        def read(self, frames: int, *, exception_on_overflow: bool = True) -> bytes:
            del exception_on_overflow
            self._rest -= 1
            if self._rest < 0:
                on_end()
            return bytes(2 * frames)

        def stop_stream(self) -> None:
            print("the microphone is stopped")  # noqa: T201 - as the program does

        def close(self) -> None: ...

    class PyAudio:
        def open(self, **_: Any) -> Stream:
            return Stream()

        def terminate(self) -> None: ...

    module = types.ModuleType("pyaudio")
    vars(module).update(paInt16=8, PyAudio=PyAudio)
    return module
