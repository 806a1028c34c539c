"""The project's development tasks: `nox --list` shows them, `nox` runs tests, lint and types."""

from __future__ import annotations

import os
from pathlib import Path

import nox

nox.needs_version = ">=2024.10"
nox.options.sessions = ["tests", "lint", "types"]

PYPROJECT = nox.project.load_toml("pyproject.toml")
CODE = ["asr_async", "tests", "benchmarks", "examples", "noxfile.py"]
EXTRAS = "local,local-small,sherpa,cli,audio,mic,storage,speed,redis,postgres,parquet,otel"
FRAMEWORKS = "livekit,pipecat,wyoming,ray"

WORKERS = 2 * (os.cpu_count() or 1)
"""More than one per core: many tests wait for timers, sockets and child processes."""

CORE_TESTS = [
    f"tests/{name}"
    for name in ("alignment", "audio", "batch", "session", "connection", "net", "limits", "loop", "vendors", "sources")
]
"""The tests of everything between the audio and the results, without the emulator's and the command line's own."""

LONG_TESTS = ["benchmarks", "emulator/engines", "text/test_canary.py", "session/test_memory.py"]
"""Tests that take long and depend little on the interpreter: of benchmarks, speech models, error texts by the thousand,
and hours of reconnects."""

FUNASR = "funasr==1.4.16"
"""The server that `tests/witnesses/test_funasr_server.py` runs. It is installed without what it depends on, some
gigabytes with PyTorch: stubs stand in its place."""

API_REFERENCE = "build/api"


def install(session: nox.Session, extras: str, *groups: str) -> None:
    """Install the package with extras, and the named dependency groups."""
    session.install("-e", f".[{extras}]", *nox.project.dependency_groups(PYPROJECT, *groups))


WITHOUT_FRAMEWORKS = "--ignore=tests/integrations"


def run_tests(session: nox.Session, *default_arguments: str) -> None:
    """Run pytest in parallel; arguments behind `--` replace the default ones."""
    install(session, EXTRAS, "tests")
    session.install("--no-deps", FUNASR)
    arguments = session.posargs or default_arguments
    session.run("pytest", f"--numprocesses={WORKERS}", WITHOUT_FRAMEWORKS, *arguments)


@nox.session
def demo(session: nox.Session) -> None:
    """Transcribe a recording with the embedded recogniser, live."""
    install(session, "local,cli")
    recording = session.posargs or ["examples/audio/demo.wav"]
    session.run("asr-async", "transcribe", "--service", "local", "--times", *recording)


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests in parallel."""
    run_tests(session)


@nox.session(name="tests-3.13", python="3.13")
def tests_on_newest_python(session: nox.Session) -> None:
    """Run the tests on Python 3.13, but for the longest of those that depend least on the interpreter."""
    run_tests(session, *(f"--ignore=tests/{path}" for path in LONG_TESTS))


@nox.session(name="core-tests-3.12", python="3.12")
def core_tests(session: nox.Session) -> None:
    """Run the tests of sessions, connections, limits and vendors on Python 3.12."""
    run_tests(session, *CORE_TESTS)


@nox.session
def integrations(session: nox.Session) -> None:
    """Run the tests that need frameworks or a browser (Chromium from the system)."""
    install(session, f"{EXTRAS},{FRAMEWORKS}", "tests", "integrations")
    session.run("pytest", f"--numprocesses={WORKERS}", *(session.posargs or ["tests/integrations"]))


@nox.session
def coverage(session: nox.Session) -> None:
    """Run all tests in parallel and report the coverage, child processes included."""
    install(session, EXTRAS, "tests", "coverage")
    session.install("--no-deps", FUNASR)
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", f"--numprocesses={WORKERS}", WITHOUT_FRAMEWORKS, *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def soak(session: nox.Session) -> None:
    """Run the tests of long streams for a day of virtual time instead of three hours."""
    install(session, EXTRAS, "tests")
    environment = {"ASR_ASYNC_SOAK_HOURS": "24"}
    session.run("pytest", "-m", "soak", "--timeout=3600", WITHOUT_FRAMEWORKS, *session.posargs, env=environment)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check", *CODE)
    session.run("ruff", "format", "--check", *CODE)


@nox.session
def types(session: nox.Session) -> None:
    """Check the types strictly, and that every public symbol has a declared type."""
    install(session, f"local,cli,audio,mic,redis,postgres,parquet,otel,{FRAMEWORKS}", "tests", "integrations", "types")
    session.install("nox")
    session.run("mypy")
    session.run("pyright", "--verifytypes", "asr_async", "--ignoreexternal")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the API reference from the docstrings; a warning is an error."""
    install(session, f"local,cli,audio,mic,redis,postgres,otel,{FRAMEWORKS}", "docs")
    options = ["--docformat", "google", "--output-directory", API_REFERENCE]
    # pdoc shows the names that a module has; those of the emulator are there from the first use on.
    pdoc = "from asr_async.emulator import serve; import runpy; runpy.run_module('pdoc', run_name='__main__')"
    # Deprecations in the frameworks, which the adapters import, are not this project's to fix.
    warnings = ["-W", "error", "-W", "ignore::DeprecationWarning"]
    session.run("python", *warnings, "-c", pdoc, *options, *public_modules())
    session.log(f"open {API_REFERENCE}/index.html")


def public_modules() -> list[str]:
    """Return the package, the public modules and packages directly below it and its `vendors`, and the faults."""
    package = Path("asr_async")
    paths = [*package.iterdir(), *(package / "vendors").iterdir()]
    public = [path for path in paths if path.suffix in {"", ".py"} and not path.name.startswith("_")]
    modules = sorted(".".join(path.with_suffix("").parts) for path in public)
    return [package.name, *modules, "asr_async.emulator.faults"]


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks; `nox -s bench -- --json` for machines."""
    install(session, "local,local-small,speed,redis", "bench")
    for script in sorted(Path("benchmarks").glob("bench_*.py")):
        session.run("python", str(script), *session.posargs)


@nox.session
def live(session: nox.Session) -> None:
    """Try every model that the keys in the environment reach; bills some seconds of audio each."""
    session.install("-e", ".")
    session.run("python", "benchmarks/live.py", *session.posargs)
