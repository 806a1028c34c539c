"""The structure of the package: layers, pure modules, the users of each library, and the maps of the code."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

import asr_async

from .support.child_processes import child_environment
from .support.paths import PACKAGE

LAYERS = [
    "__main__",
    "cli",
    "",  # the package itself: `asr_async/__init__.py`
    "testing",
    "integrations",
    "compat",
    "batch",
    "sync",
    "client",
    "fallback",
    "session",
    "_session",
    "_connection",
    "_limits",
    "local",
    "emulator",
    "sources",
    "vendors",
    "_net",
    "_loop",
    "telemetry",
    "config",
    "audio",
    "hotwords",
    "wire",
    "errors",
    "results",
    "subtitles",
    "_alignment",
    "_text",
]
"""The packages and modules directly below `asr_async`, top first. Each imports only from those below it, also under
`TYPE_CHECKING`, so packages cannot form cycles. The map in the package's docstring has the same order."""

MOST_ROOT_MODULES = 10
"""A root with more modules than that has to be searched; dunder files do not count."""

IMPURE = {"asyncio", "websockets", "time", "aiohttp", "anyio", "redis", "socket", "random", "uuid", "os", "logging"}
PURE = [
    "config",
    "audio",
    "audio.*",
    "audio._containers.*",
    "hotwords",
    "errors",
    "results",
    "wire",
    "wire.json_events",
    "subtitles",
    "_alignment.overlap",
    "_alignment.places",
    "_alignment.words",
    "_text.lines",
    "_text.redaction",
    "_text.secret",
    "batch.failures",
    "batch.records",
    "_session.pacer",
    "_session.policy",
    "_session.replay_buffer",
    "_session.stats",
    "_session.timeline",
    "_connection.silence",
    "_net.refusal",
    "_limits.backoff",
    "_limits.circuit_breaker",
    "_limits.window",
    "testing.mutations",
    "testing.report",
    "vendors.catalogue",
    "vendors.codec",
    "vendors.error_body",
    "vendors.error_rules",
    "vendors.lenient",
    "vendors.options",
    "vendors.segments",
    "vendors.vendor_errors",
    "vendors.*.catalogue",
    "vendors.*.codec",
    "vendors.*.errors",
    "vendors.*.gummy",
    "vendors.*.hotwords",
    "vendors.*.models",
    "vendors.*.realtime",
    "vendors.*.realtime_models",
    "vendors.*.utterances",
    "vendors.*.realtime_wire",
    "vendors.*.rest_wire",
    "vendors.*.segments",
    "vendors.*.signing",
    "vendors.*.two_pass",
    "vendors.*.two_pass_wire",
    "vendors.*.wire",
]
"""Modules without sockets, tasks, clocks, random numbers and environment variables: their functions work on values."""

LIBRARIES = {
    "websockets": {"_net.websocket", "_net.ws_frames"},
    "python_socks": {"_net.tunnel"},
    "aiohttp": {"_net.http", "emulator", "integrations"},
    "starlette": {"integrations"},
    "livekit": {"integrations"},
    "pipecat": {"integrations"},
    "wyoming": {"integrations"},
    "redis": {"_limits.redis", "cli.checks"},
    "psycopg": {"batch.databases"},
    "sqlite3": {"batch.databases"},
    "click": {"cli"},
    "pysubs2": {"subtitles"},
    "opentelemetry": {"telemetry.otel"},
    "av": {"sources.decoded"},
    "fsspec": {"sources.object_store"},
    "ray": {"batch.ray_engine"},
    "sounddevice": {"sources.microphone"},
    "pytest": {"emulator.pytest_plugin"},
}
"""The only modules and packages that import each library."""

FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    """Return the name of a module within the package; that of the package itself is empty."""
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return "" if name == "__init__" else name.removesuffix(".__init__")


@functools.cache
def imports(path: Path, *, with_type_checking: bool = True) -> frozenset[str]:
    """Return the absolute names of all modules that a file imports, on any line of it."""
    own = module_name(path)
    package = own if path.name == "__init__.py" else own.rpartition(".")[0]
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    skipped = set() if with_type_checking else type_checking_nodes(tree)
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module or "")
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".") if package else []
            base = parts[: len(parts) - (node.level - 1)]
            imported = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            found.add(f"asr_async.{imported}".rstrip("."))
    return frozenset(found)


def type_checking_nodes(tree: ast.Module) -> set[ast.AST]:
    """Return the nodes that run for type checkers only."""
    return {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }


def layer_of(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def matches(module: str, pattern: str) -> bool:
    """Return True if the module has the pattern's name; `*` stands for one part of it."""
    expected, actual = pattern.split("."), module.split(".")
    return len(expected) == len(actual) and all(e in {"*", a} for e, a in zip(expected, actual, strict=True))


# --- layers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_module_imports_only_from_its_own_package_and_lower_ones(path: Path) -> None:
    here = layer_of(module_name(path))
    for name in imports(path):
        if name == "asr_async" or name.startswith("asr_async."):
            there = layer_of(name.removeprefix("asr_async").removeprefix("."))
            assert there == here or LAYERS.index(there) > LAYERS.index(here), f"{path} imports {name}"


def test_every_package_and_module_has_a_layer() -> None:
    assert {layer_of(module_name(path)) for path in FILES} == set(LAYERS)


def test_at_most_ten_modules_are_in_the_package_root() -> None:
    modules = [path.stem for path in PACKAGE.glob("*.py") if not path.name.startswith("__")]
    assert len(modules) <= MOST_ROOT_MODULES, f"move one of {modules} into a package"


def test_modules_have_no_import_cycles_at_run_time() -> None:
    names = {module_name(path): path for path in FILES}
    arrows = {
        name: {
            found
            for imported in imports(path, with_type_checking=False)
            if (found := imported.removeprefix("asr_async").removeprefix(".")) in names and found not in {"", name}
        }
        for name, path in names.items()
        if path.name != "__init__.py"
    }
    done: set[str] = set()

    def visit(name: str, importers: tuple[str, ...]) -> None:
        assert name not in importers, " imports ".join([*importers[importers.index(name) :], name])
        if name not in done:
            for found in arrows.get(name, ()):
                visit(found, (*importers, name))
            done.add(name)

    for name in arrows:
        visit(name, ())


# --- what a module may know ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [path for path in FILES if any(matches(module_name(path), pattern) for pattern in PURE)], ids=module_name
)
def test_a_pure_module_imports_no_sockets_tasks_or_clocks(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & IMPURE


@pytest.mark.parametrize("pattern", PURE)
def test_every_entry_in_the_list_of_pure_modules_exists(pattern: str) -> None:
    assert any(matches(module_name(path), pattern) for path in FILES)


def test_only_the_listed_modules_import_each_library() -> None:
    for library, allowed in LIBRARIES.items():
        users = {module_name(path) for path in FILES if library in {name.split(".")[0] for name in imports(path)}}
        assert {user for user in users if user not in allowed and layer_of(user) not in allowed} == set()


def test_no_code_outside_vendors_depends_on_a_vendors_name() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] != "vendors":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Compare):
                    assert ".vendor ==" not in ast.unparse(node), path


# --- importing the package -------------------------------------------------------------------------------------------


def test_importing_the_package_loads_no_optional_library_and_no_emulator() -> None:
    code = (
        "import sys, asr_async\n"
        "optional = ('aiohttp', 'av', 'redis', 'psycopg', 'sqlite3', 'click', 'rich', 'opentelemetry',\n"
        "            'pocketsphinx', 'pysubs2', 'sounddevice', 'fsspec', 'livekit', 'pipecat', 'wyoming',\n"
        "            'uvloop', 'ray', 'numpy', 'urllib.request', 'asr_async.emulator')\n"
        "print(' '.join(n for n in optional if n in sys.modules))"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code], env=child_environment(), capture_output=True, text=True, check=True
    )
    assert completed.stdout.strip() == ""


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


# --- maps of the code ------------------------------------------------------------------------------------------------


def test_the_map_in_the_package_docstring_lists_all_layers_in_order() -> None:
    assert asr_async.__doc__ is not None
    layout = asr_async.__doc__.partition("Layout")[2]
    names = re.findall(r"^    (\w+) {2,}\S", layout, re.MULTILINE)
    assert names == [layer for layer in LAYERS if layer]
