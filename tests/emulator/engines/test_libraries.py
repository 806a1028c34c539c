"""Whether a library is installed is seen without importing it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from asr_async.emulator.engines.libraries import missing_package

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_first_package_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_package").mkdir()
    (tmp_path / "a_package" / "__init__.py").write_text("raise AssertionError('it is not imported')")
    (tmp_path / "a_module.py").write_text("raise AssertionError('it is not imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert missing_package({"a_package": "a-package", "a_module": "a-module", "sys": "python"}) is None
    assert missing_package({"a_module": "a-module", "not_there": "not-there", "nor_this": "nor-this"}) == "not-there"


def test_a_module_that_is_blocked_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "json", None)
    assert missing_package({"json": "the-json"}) == "the-json"


def test_what_uninstalling_leaves_is_no_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "left_over" / "lib").mkdir(parents=True)
    (tmp_path / "left_over" / "lib" / "libruntime.so").touch()
    (tmp_path / "left_over" / "__main__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert missing_package({"left_over": "left-over"}) == "left-over"
