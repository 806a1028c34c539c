"""Child processes of tests: they import what the tests import, wherever they begin and whatever else is installed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["child_environment", "import_path"]


def import_path() -> str:
    """This process's, as `PYTHONPATH`. One that is handed down as it is may be relative, or not be there at all."""
    return os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)


def child_environment() -> dict[str, str]:
    """This process's, with its import path."""
    return {**os.environ, "PYTHONPATH": import_path()}
