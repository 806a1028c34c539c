"""The pytest plugin: its example, its markers, and a project of another author that has it installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import zipfile
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from asr_async.emulator import pytest_plugin

from ..support.child_processes import child_environment
from ..support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PLUGIN = "asr_async.emulator.pytest_plugin"
IS_INSTALLED = any(entry_point.value == PLUGIN for entry_point in entry_points(group="pytest11"))
LOADED = [] if IS_INSTALLED else ["-p", PLUGIN]
"""Loads the plugin where the package is on the path only, and has no entry point."""

OPTIONS = ["-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "-q"]


def run_tests(folder: Path, code: str, *arguments: str) -> str:
    """Run a module of tests in a process of its own; return the output."""
    (folder / "test_program.py").write_text(textwrap.dedent(code), encoding="utf-8")
    return run_pytest(folder, child_environment(), *LOADED, *arguments)


def run_pytest(folder: Path, environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", *OPTIONS, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    return done.stdout + done.stderr


def test_the_example_of_the_documentation_is_a_passing_test(tmp_path: Path) -> None:
    assert pytest_plugin.__doc__ is not None
    example = re.search(r"^    import pytest\n.*?(?=^\S)", pytest_plugin.__doc__, re.MULTILINE | re.DOTALL)
    assert example is not None
    assert "1 passed" in run_tests(tmp_path, example[0])


def test_markers_and_parameters_choose_the_script_and_the_faults(tmp_path: Path) -> None:
    code = """
        import pytest
        from asr_async import Client, Paraformer, QwenRealtime, Rasr
        from asr_async.emulator.faults import Cut, Redraw

        @pytest.mark.parametrize("options", [Paraformer(), QwenRealtime(), Rasr()])
        @pytest.mark.parametrize("asr_faults", [[Cut(after_audio_ms=1_700, times=1)], [Redraw(noise=0)], []])
        async def test_no_word_is_lost(asr_emulator, asr_faults, options):
            async with Client(options=options) as client:
                transcript = await client.transcribe(asr_emulator.audio())
            assert transcript.text == "good morning this is a test"
            assert sum(asr_emulator.faults_struck.values()) >= len(asr_faults)

        @pytest.mark.asr_faults({"kind": "refuse", "status": 401})
        async def test_a_refusal(asr_emulator):
            from asr_async import AuthenticationError, transcribe
            with pytest.raises(AuthenticationError):
                await transcribe(asr_emulator.audio(), Paraformer())
        """
    assert "10 passed" in run_tests(tmp_path, code)


def test_other_audio_starts_the_script_from_its_beginning(tmp_path: Path) -> None:
    code = """
        from asr_async import Paraformer, sync

        def test_a_synchronous_program(asr_emulator):
            for _ in range(2):
                text = sync.transcribe([bytes(32_000 * 4)], Paraformer()).text
                assert text == "good morning this is a test"
        """
    assert "1 passed" in run_tests(tmp_path, code)


def test_a_wrong_script_is_an_error_with_its_number(tmp_path: Path) -> None:
    code = """
        import pytest

        @pytest.mark.asr_script(("one", 200, 900), ("two", 500, 1_200))
        def test_anything(asr_emulator):
            pass
        """
    output = run_tests(tmp_path, code)
    assert "ConfigurationError: segment 2: starts at 500 ms, before the previous segment ends (900 ms)" in output


def test_loading_the_plugin_imports_no_server_and_no_recogniser() -> None:
    code = (
        "import sys, pytest, asr_async; before = set(sys.modules)\n"
        "import asr_async.emulator.pytest_plugin\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=child_environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["asr_async.emulator", "asr_async.emulator.pytest_plugin"]


# --- a project of another author -------------------------------------------------------------------------------------

PROJECT = {
    "pyproject.toml": """
        [build-system]
        requires = ["hatchling"]
        build-backend = "hatchling.build"

        [project]
        name = "door-opener"
        version = "1.0"
        dependencies = ["asr-async"]

        [tool.pytest.ini_options]
        asyncio_default_fixture_loop_scope = "function"
        filterwarnings = ["error"]
        addopts = ["--strict-markers"]
        """,
    "door_opener/__init__.py": """
        from asr_async import Client, FunASR

        async def doors(audio):
            async with Client(options=FunASR()) as client, client.session() as session:
                async for result in session.stream(audio, pace=None):
                    if result.is_final and result.text.startswith("open"):
                        yield result.text.removeprefix("open the ")
        """,
    "tests/test_doors.py": """
        import pytest
        from door_opener import doors

        SCRIPT = [("open the front door", 200, 1_500), ("never mind", 2_000, 2_900), ("open the gate", 3_500, 4_400)]

        @pytest.mark.asr_script(*SCRIPT)
        @pytest.mark.asr_faults({"kind": "cut", "after_audio_ms": 2_200, "times": 2})
        async def test_the_right_doors_open_although_the_connection_is_cut(asr_emulator):
            assert [door async for door in doors(asr_emulator.audio())] == ["front door", "gate"]
            assert asr_emulator.faults_struck == {"cut": 2}
        """,
    "tests/test_anything_else.py": """
        import sys

        def test_a_test_without_the_fixtures_pays_for_nothing():
            assert "asr_async.emulator.server" not in sys.modules and "aiohttp" not in sys.modules
        """,
}


def install_wheel(project: Path, folder: Path) -> None:
    """Build a project's wheel, and unpack it as an installer does."""
    wheels = folder / "wheels"
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
    subprocess.run(command, cwd=project, check=True, capture_output=True, timeout=60)
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    wheel.unlink()


def test_an_installed_project_of_another_author_uses_the_plugin(tmp_path: Path) -> None:
    project = tmp_path / "project"
    for name, text in PROJECT.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(textwrap.dedent(text), encoding="utf-8")
    for each in (ROOT, project):
        install_wheel(each, tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    assert "2 passed" in run_pytest(project, environment)
    assert "fixtures defined from asr_async.emulator.pytest_plugin" in run_pytest(project, environment, "--fixtures")
