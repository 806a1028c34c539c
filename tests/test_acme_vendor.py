"""The example of a vendor of another author: installed as a package, it works like the built-in ones."""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from asr_async import (
    AuthenticationError,
    Client,
    ConfigurationError,
    Fallback,
    Local,
    Timeouts,
    VendorError,
    connect,
    models,
)
from asr_async.cli.serve import _instructions
from asr_async.emulator import Scripted, position_audio, position_of, serve
from asr_async.emulator.pytest_plugin import AsrEmulator
from asr_async.vendors import options_for_model, vendors

from .support.child_processes import child_environment
from .support.paths import ROOT
from .support.speech import example_text, plain_words
from .support.virtual_time import run_virtual

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PACKAGE = ROOT / "examples" / "acme_vendor"
RECORDING = ROOT / "examples" / "audio" / "demo.wav"
SCRIPT = [("good morning", 200, 1_100), ("this is a test", 1_600, 2_800)]
AUDIO = [position_audio(begin_ms, begin_ms + 100, 16_000) for begin_ms in range(0, 4_000, 100)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the package is installed, with nothing from a network."""
    folder = tmp_path_factory.mktemp("site")
    options = [
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--disable-pip-version-check",
        "--target",
        str(folder),
    ]
    command = [sys.executable, "-m", "pip", "install", *options, str(PACKAGE)]
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    return folder


@pytest.fixture
def acme(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The installed package."""
    monkeypatch.syspath_prepend(str(site))
    vendors.cache_clear()
    yield importlib.import_module("acme_vendor")
    for name in [name for name in sys.modules if name.partition(".")[0] == "acme_vendor"]:
        del sys.modules[name]
    vendors.cache_clear()


def engine() -> Scripted:
    return Scripted(SCRIPT, position=position_of)


async def texts_of(session: Any, audio: Any = AUDIO, *, pace: float | None = None) -> list[str]:
    return [result.text async for result in session.stream(audio, pace=pace) if result.is_final]


# --- what every vendor has --------------------------------------------------------------------------------------------


def test_its_models_are_listed(acme: Any) -> None:
    assert [row.model for row in models() if row.vendor == "acme"] == ["acme-live-1", "acme-live-2"]
    assert options_for_model("acme-live-1") is acme.Acme
    with pytest.raises(ConfigurationError, match="model='acme-live-3': "):
        acme.Acme(model="acme-live-3")


async def test_local_recognises_over_its_protocol(acme: Any) -> None:
    async with connect(acme.Acme(), Local(engine())) as session:
        results = [result async for result in session.stream(AUDIO, pace=None)]
    assert [(result.text, result.start_ms) for result in results if result.is_final] == [
        ("good morning", 200),
        ("this is a test", 1_600),
    ]
    assert not all(result.is_final for result in results)


async def test_it_connects_with_the_environment(acme: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(engine(), api_keys={"secret-key"}) as emulator:
        monkeypatch.setenv("ACME_ENDPOINT", emulator.environment("acme")["ACME_ENDPOINT"])
        monkeypatch.setenv("ACME_API_KEY", "secret-key")
        async with connect(acme.Acme()) as session:
            assert await texts_of(session) == ["good morning", "this is a test"]


async def test_a_wrong_key_is_refused_with_its_own_error(acme: Any) -> None:
    async with serve(engine(), api_keys={"secret-key"}) as emulator:
        service = acme.AcmeService("wrong-key", endpoint=f"ws://{emulator.address}")
        with pytest.raises(AuthenticationError) as caught:
            async with connect(acme.Acme(), service):
                pass
    assert caught.value.message == "HTTP 401: the key is not valid: check the key or the token"
    assert (caught.value.vendor, caught.value.code, caught.value.status) == ("acme", "bad_key", 401)


async def test_fallback_goes_from_its_service_to_another_one(acme: Any) -> None:
    gone = acme.AcmeService("key", endpoint="ws://127.0.0.1:9")
    fallback = Fallback([(gone, acme.Acme()), (Local(engine()), acme.Acme(model="acme-live-1"))])
    assert fallback.differences == ()
    async with connect(fallback.options, fallback) as session:
        assert await texts_of(session) == ["good morning", "this is a test"]


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "cut", "after_audio_ms": 2_000},
        {"kind": "close", "after_audio_ms": 2_000, "code": 1000},
        {"kind": "close", "at": "finish", "code": 1011},
        {"kind": "fail", "after_audio_ms": 2_000, "code": "busy"},
    ],
)
async def test_lost_connections_are_replaced_without_a_lost_word(acme: Any, fault: dict[str, Any]) -> None:
    async with serve(engine(), faults=[{**fault, "times": 1}]) as emulator:
        async with connect(acme.Acme(), acme.AcmeService("key", endpoint=f"ws://{emulator.address}")) as session:
            assert await texts_of(session) == ["good morning", "this is a test"]
            assert session.stats.reconnects == 1
        assert sum(emulator.faults_struck.values()) == 1


async def test_an_error_of_the_protocol_is_typed(acme: Any) -> None:
    fault = {"kind": "fail", "after_audio_ms": 500, "code": "bad_language", "message": "no such language"}
    async with serve(engine(), faults=[fault]) as emulator:
        with pytest.raises(VendorError) as caught:
            async with connect(acme.Acme(), acme.AcmeService("key", endpoint=f"ws://{emulator.address}")) as session:
                await texts_of(session)
    assert (caught.value.message, caught.value.code) == ("no such language", "bad_language")


def test_keepalive_messages_keep_a_session_without_audio_open(acme: Any) -> None:
    async def scenario() -> None:
        async with serve(engine()) as emulator:
            service = acme.AcmeService("key", endpoint=f"ws://{emulator.address}")
            async with connect(acme.Acme(), service) as session:
                await asyncio.sleep(60)
                for chunk in AUDIO:
                    await session.send(chunk)
                await asyncio.sleep(60)
                await session.finish()
                assert [result.text async for result in session if result.is_final] == [
                    "good morning",
                    "this is a test",
                ]
                assert session.stats.reconnects == 0

    run_virtual(scenario)


async def test_an_end_that_is_not_confirmed_is_an_error(acme: Any) -> None:
    async with serve(engine(), faults=[{"kind": "mute_finish"}]) as emulator:
        service = acme.AcmeService("key", endpoint=f"ws://{emulator.address}")
        async with Client(service, timeouts=Timeouts(finish=0.5)) as client:
            with pytest.raises(TimeoutError, match=r"did not confirm the end within 0\.5 s"):
                await client.transcribe(AUDIO, acme.Acme(), pace=None)


async def test_the_pytest_plugin_leads_to_it(acme: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(engine()) as emulator:
        for name, value in AsrEmulator(emulator, 4_000).environment.items():
            monkeypatch.setenv(name, value)
        async with connect(acme.Acme()) as session:
            assert await texts_of(session) == ["good morning", "this is a test"]


async def test_serve_prints_how_to_connect_to_it(acme: Any) -> None:
    async with serve(engine()) as emulator:
        assert (
            "This client, as acme:\n"
            f"  ACME_API_KEY=any ACME_ENDPOINT=ws://{emulator.address} \\\n"
            "    asr-async transcribe --service acme FILE\n"
        ) in _instructions(emulator, None)


# --- the command line -------------------------------------------------------------------------------------------------


def asr_async(site: Path, *arguments: str) -> str:
    environment = child_environment()
    environment["PYTHONPATH"] = f"{site}{os.pathsep}{environment['PYTHONPATH']}"
    command = [sys.executable, "-m", "asr_async", *arguments]
    run = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_command_line_lists_it_and_transcribes_with_it(site: Path) -> None:
    assert "acme-live-2" in asr_async(site, "models", "--vendor", "acme")
    text = asr_async(
        site, "transcribe", "--service", "local", "--model", "acme-live-2", "--format", "text", str(RECORDING)
    )
    assert plain_words(text) == plain_words(example_text("demo"))


def test_the_page_has_the_number_of_lines_of_each_file() -> None:
    page = (PACKAGE / "README.md").read_text(encoding="utf-8")
    stated = dict(re.findall(r"^\| \[[^]]+\]\(([\w/.]+)\) \| (\d+) \|", page, flags=re.MULTILINE))
    counted = {
        name: str(sum(bool(line.strip()) for line in (PACKAGE / name).read_text(encoding="utf-8").splitlines()))
        for name in stated
    }
    assert stated == counted
    assert len(stated) == 6
