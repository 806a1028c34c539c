"""The dependency rule of the package: which part may import which, and which libraries each part may use."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from .support.child_processes import child_environment
from .support.paths import PACKAGE

LAYERS = [
    "__main__",
    "cli",
    "",  # the package itself: `asr_async/__init__.py`
    "client",
    "batch",
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
    "config",
    "audio",
    "hotwords",
    "errors",
    "results",
]
"""Packages and modules directly below `asr_async`, top first: each imports only from those below it, in type checking
too, so there are no cycles."""

LAZY = {("local", "emulator")}
"""Imports that only happen when used, since they load a server."""

IMPURE = {"asyncio", "websockets", "time", "aiohttp", "anyio", "redis", "socket", "random", "uuid", "os", "logging"}
PURE = [
    "config",
    "audio",
    "hotwords",
    "errors",
    "results",
    "_session.pacer",
    "_session.policy",
    "_session.replay_buffer",
    "_session.stats",
    "_session.timeline",
    "_connection.silence",
    "_limits.backoff",
    "_limits.circuit_breaker",
    "_limits.window",
    "vendors.catalogue",
    "vendors.codec",
    "vendors.error_rules",
    "vendors.options",
    "vendors.segments",
    "vendors.*.catalogue",
    "vendors.*.codec",
    "vendors.*.errors",
    "vendors.*.gummy",
    "vendors.*.hotwords",
    "vendors.*.models",
    "vendors.*.realtime",
    "vendors.*.realtime_models",
    "vendors.*.realtime_wire",
    "vendors.*.rest_wire",
    "vendors.*.segments",
    "vendors.*.signing",
    "vendors.*.wire",
]
"""Modules without sockets, tasks, clocks, random numbers and environment: values in, values out."""

LIBRARIES = {
    "websockets": {"_net.websocket", "_net.ws_frames"},
    "python_socks": {"_net.tunnel"},
    "aiohttp": {"_net.http", "emulator"},
    "redis": {"_limits.redis"},
    "click": {"cli"},
}
"""The only users of each network library, and of the command line's."""

FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return "" if name == "__init__" else name.removesuffix(".__init__")


def imports(path: Path, *, with_type_checking: bool = True) -> set[str]:
    """Return what a file imports, anywhere in it, by absolute names."""
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
            target = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            found.add(f"asr_async.{target}".rstrip("."))
    return found


def type_checking_nodes(tree: ast.Module) -> set[ast.AST]:
    return {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }


def layer_of(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def matches(module: str, pattern: str) -> bool:
    wanted, have = pattern.split("."), module.split(".")
    return len(wanted) == len(have) and all(w in {"*", h} for w, h in zip(wanted, have, strict=True))


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_module_imports_only_from_its_own_package_and_those_below(path: Path) -> None:
    here = layer_of(module_name(path))
    for name in imports(path):
        if name == "asr_async" or name.startswith("asr_async."):
            there = layer_of(name.removeprefix("asr_async").removeprefix("."))
            assert there == here or LAYERS.index(there) > LAYERS.index(here), f"{path} imports {name}"


def test_every_package_and_module_has_a_layer() -> None:
    assert {layer_of(module_name(path)) for path in FILES} == set(LAYERS)


def test_there_are_no_import_cycles_between_modules_at_run_time() -> None:
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

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " imports ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for found in arrows.get(name, ()):
                visit(found, (*trail, name))
            done.add(name)

    for name in arrows:
        visit(name, ())


@pytest.mark.parametrize(
    "path", [path for path in FILES if any(matches(module_name(path), pattern) for pattern in PURE)], ids=module_name
)
def test_pure_modules_know_no_sockets_tasks_or_clocks(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & IMPURE


@pytest.mark.parametrize("pattern", PURE)
def test_every_entry_of_the_list_of_pure_modules_exists(pattern: str) -> None:
    assert any(matches(module_name(path), pattern) for path in FILES)


def test_each_network_library_stays_where_it_belongs() -> None:
    for library, allowed in LIBRARIES.items():
        users = {module_name(path) for path in FILES if library in {name.split(".")[0] for name in imports(path)}}
        assert {user for user in users if user not in allowed and layer_of(user) not in allowed} == set()


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
