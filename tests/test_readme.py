"""The README: its length, its environment variables, its files for the emulator, its code and its links."""

from __future__ import annotations

import ast
import builtins
import importlib
import re
from typing import TYPE_CHECKING

import pytest

import asr_async
from asr_async._net.proxy import _VARIABLES as PROXY_VARIABLES
from asr_async.emulator import Faults, Scripted

from .support.paths import PACKAGE, ROOT

if TYPE_CHECKING:
    from pathlib import Path

README = (ROOT / "README.md").read_text(encoding="utf-8")
MOST_LINES = 250

VARIABLE = re.compile(r"(DASHSCOPE|FUNASR|HUAWEICLOUD|OPENAI|SSL)_[A-Z_]*[A-Z]")
"""The environment variables of vendors and of TLS. Error codes look alike, but begin otherwise."""

PLACEHOLDERS = {"path", "paths", "session", "source", "chunk", "text", "options"}
"""Names in the README's code that stand for the reader's own."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def variables_of_the_package() -> set[str]:
    constants = (
        node.value
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return {value for value in constants if VARIABLE.fullmatch(value)}


def is_in(name: str, module: str | None) -> bool:
    return module is not None and hasattr(importlib.import_module(module), name)


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= MOST_LINES


def test_the_readme_names_every_environment_variable() -> None:
    proxies = {f"{name}_proxy".upper() for names in PROXY_VARIABLES.values() for name in names}
    variables = variables_of_the_package()
    assert {"DASHSCOPE_API_KEY", "HUAWEICLOUD_SIS_AK", "SSL_CERT_FILE"} <= variables
    assert {name for name in variables | proxies if f"`{name}`" not in README} == set()


def test_the_script_and_the_faults_of_the_readme_are_accepted_by_the_emulator(tmp_path: Path) -> None:
    script, faults = blocks("json")
    path = tmp_path / "file.json"
    path.write_text(script, encoding="utf-8")
    assert repr(Scripted.from_file(path)) == "<Scripted 2 segments>"
    path.write_text(faults, encoding="utf-8")
    assert [fault.kind for fault in Faults.from_file(path).faults] == ["refuse", "cut", "half_open", "fail"]


@pytest.mark.parametrize("code", blocks("python"))
def test_the_code_of_the_readme_uses_public_names(code: str) -> None:
    # await at the top level, as in Jupyter
    tree = compile(code, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    assigned = {node.id for node in names if isinstance(node.ctx, ast.Store)} | PLACEHOLDERS
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)}
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported = {name.name for node in imports for name in node.names if is_in(name.name, node.module)}
    known = assigned | defined | imported | {"asyncio"} | set(dir(builtins)) | set(asr_async.__all__)
    assert {node.id for node in names} - known == set()


def test_the_links_of_the_readme_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", README)
    assert "benchmarks/figures/cost.svg" in links
    assert [link for link in links if not (ROOT / link).exists()] == []
