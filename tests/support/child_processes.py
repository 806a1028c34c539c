"""The environment of child processes: they import the same modules as the tests, from any working directory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["child_environment", "import_path"]


def import_path() -> str:
    """Return this process's import path as a value of `PYTHONPATH`.

    The inherited `PYTHONPATH` does not serve: it may hold relative paths, or be unset.
    """
    return os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)


def child_environment() -> dict[str, str]:
    """Return this process's environment, with its import path in `PYTHONPATH`."""
    return {**os.environ, "PYTHONPATH": import_path()}
