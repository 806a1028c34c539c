"""The start of a worker process: runs the module of the first argument without the packages above it.

A worker needs the modules of engines, but neither sessions nor a server. To import `asr_async` and `asr_async.emulator`
as usual would cost each process 0.7 s of a core and 35 MB. This script gives both a path and no content, so that their
modules can be imported, and their `__init__` modules are not run.
"""

from __future__ import annotations

import runpy
import sys
import types
from pathlib import Path

__all__ = ["main"]


def main() -> None:
    """Run the module that the first argument names as the program, with the arguments behind it."""
    root = Path(__file__).parents[2]
    for name, folder in (("asr_async", root), ("asr_async.emulator", root / "emulator")):
        package = types.ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
