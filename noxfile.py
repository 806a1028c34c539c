"""The project's chores: `nox -s demo`, `tests`, `lint`, `types`, `bench`, `live`."""

from __future__ import annotations

from pathlib import Path

import nox

nox.options.sessions = ["tests", "lint", "types"]
nox.needs_version = ">=2024.10"

CODE = ["asr_async", "tests", "benchmarks", "examples", "noxfile.py"]
PYPROJECT = nox.project.load_toml("pyproject.toml")


def install(session: nox.Session, extras: str, *groups: str) -> None:
    """Install the package with extras, and the named dependency groups."""
    session.install("-e", f".[{extras}]", *nox.project.dependency_groups(PYPROJECT, *groups))


@nox.session
def demo(session: nox.Session) -> None:
    """Transcribe a recording with the embedded recogniser, live."""
    install(session, "local,cli")
    recording = session.posargs or ["examples/audio/demo.wav"]
    session.run("asr-async", "transcribe", "--service", "local", "--times", *recording)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, with coverage; those of sessions in both event loops (tests/conftest.py says which)."""
    install(session, "local,cli,speed,redis", "tests")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check", *CODE)
    session.run("ruff", "format", "--check", *CODE)


@nox.session
def types(session: nox.Session) -> None:
    """Check the types, strictly."""
    install(session, "local,cli,redis", "tests", "types")
    session.install("nox")
    session.run("mypy")


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks; `nox -s bench -- --json` for machines."""
    install(session, "local,speed,redis", "bench")
    for script in sorted(Path("benchmarks").glob("bench_*.py")):
        session.run("python", str(script), *session.posargs)


@nox.session
def live(session: nox.Session) -> None:
    """Try every model that the keys in the environment reach; bills some seconds of audio each."""
    session.install("-e", ".")
    session.run("python", "benchmarks/live.py", *session.posargs)
