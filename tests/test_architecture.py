"""The house keeps its floors: what a room may import is a test, not a habit."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from .children import child_environment

PACKAGE = Path(__file__).parent.parent / "asr_async"
FLOORS = [
    ("words", ["_version", "errors", "results", "audio", "hotwords", "_timeouts"]),
    (
        "rules",
        [
            "_pacer",
            "_ledger",
            "_timeline",
            "_recovery",
            "_circuit",
            "_quota",
            "_meter",
            "vendors.codec",
            "vendors.options",
            "vendors.catalogue",
            "vendors.*.catalogue",
            "vendors.verdict",
            "vendors.*.wire",
            "vendors.*.rest_wire",
            "vendors.*.hotwords",
            "vendors.*.models",
            "vendors.*.realtime_wire",
            "vendors.*.realtime_models",
            "vendors.*.errors",
            "vendors.*.signing",
        ],
    ),
    ("codecs", ["vendors.*.codec", "vendors.*.realtime", "vendors.dashscope.segments", "vendors.dashscope.gummy"]),
    (
        "edges",
        [
            "vendors.service",
            "_signal",
            "_counts",
            "_redis_counts",
            "limits",
            "_network",
            "_framing",
            "_tls",
            "_proxies",
            "_transport",
            "_http",
            "_tape",
            "vendors.*.credentials",
            "vendors.*.tokens",
            "vendors.*.rest",
            "vendors.*.vocabularies",
            "vendors.*.service",
            "sources.source",
            "sources.file",
            "sources.pushed",
            "sources",
        ],
    ),
    ("registry", ["vendors.registry", "vendors", "vendors.*"]),
    ("one connection", ["_pool", "_ticker", "_link", "_dialer"]),
    ("one session", ["_outbox", "_run", "_feed", "_delivery", "_relay", "session"]),
    ("several services", ["fallback"]),
    ("doors", ["_fanout", "local", "client", ""]),
]
IMPURE = {"asyncio", "websockets", "time", "aiohttp", "anyio", "redis", "socket", "random", "uuid", "os", "logging"}
PURE_FLOORS = {"words", "rules", "codecs"}


def module_name(path: Path) -> str:
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return "" if name == "__init__" else name.removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """What a file imports, anywhere in it: absolute names, own modules relative to the package."""
    own = module_name(path)
    package = own if path.name == "__init__.py" else own.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module or "")
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".") if package else []
            base = parts[: len(parts) - (node.level - 1)]
            target = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            found.add(f"asr_async.{target}".rstrip("."))
    return found


def floor_of(name: str) -> int | None:
    for number, (_, patterns) in enumerate(FLOORS):
        for pattern in patterns:
            wanted, have = pattern.split("."), name.split(".")
            if len(wanted) == len(have) and all(w in {"*", h} for w, h in zip(wanted, have, strict=True)):
                return number
    return None


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if floor_of(module_name(path)) is not None]


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_room_imports_only_from_its_own_floor_and_those_below(path: Path) -> None:
    here = floor_of(module_name(path))
    assert here is not None
    for name in imports(path):
        if name == "asr_async" or name.startswith("asr_async."):
            there = floor_of(name.removeprefix("asr_async").removeprefix("."))
            lazily_used = module_name(path) == "local" and name == "asr_async.emulator"
            assert lazily_used or (there is not None and there <= here), f"{path.name} imports {name}"


@pytest.mark.parametrize(
    "path", [path for path in FILES if FLOORS[floor_of(module_name(path)) or 0][0] in PURE_FLOORS], ids=module_name
)
def test_words_rules_and_codecs_know_no_sockets_no_tasks_and_no_clock(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & IMPURE


def test_every_room_of_the_package_stands_on_a_floor() -> None:
    elsewhere = {"__main__"}  # the door of the command line
    homeless = {
        module_name(path)
        for path in PACKAGE.rglob("*.py")
        if floor_of(module_name(path)) is None
        and module_name(path).split(".")[0] not in {"cli", "emulator", *elsewhere}
    }
    assert homeless == set()


def test_each_network_library_stays_where_it_belongs() -> None:
    for library, rooms in {
        "websockets": {"_transport", "_framing", "_proxies"},
        "aiohttp": {"_http", "emulator"},
        "redis": {"_redis_counts"},
        "click": {"cli"},
    }.items():
        users = {
            module_name(path).split(".")[0]
            for path in PACKAGE.rglob("*.py")
            if library in {name.split(".")[0] for name in imports(path)}
        }
        assert users <= rooms


def test_nothing_outside_a_vendors_folder_asks_for_its_name() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] != "vendors":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Compare):
                    assert ".vendor ==" not in ast.unparse(node), path


def test_importing_the_package_loads_nothing_optional_and_no_server_side() -> None:
    code = (
        "import sys, asr_async\n"
        "optional = ('aiohttp', 'redis', 'click', 'rich', 'pocketsphinx', 'uvloop', 'asr_async.emulator')\n"
        "print(' '.join(n for n in optional if n in sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env=child_environment(), capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == ""


def test_importing_the_package_reads_no_environment() -> None:
    code = (
        "import os\n"
        "class Watched(dict):\n"
        "    def get(self, key, default=None):\n"
        "        assert not str(key).startswith(('DASHSCOPE', 'HUAWEI')), key\n"
        "        return super().get(key, default)\n"
        "    __getitem__ = lambda self, key: self.get(key)\n"
        "os.environ = Watched(os.environ)\n"
        "import asr_async; asr_async.DashScope(); asr_async.Huawei()"
    )
    subprocess.run([sys.executable, "-c", code], env=child_environment(), check=True)
