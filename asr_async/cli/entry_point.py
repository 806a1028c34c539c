"""The console script, which also runs if the extra `cli` is not installed, and says so."""

from __future__ import annotations

import os
import sys

__all__ = ["main"]

_EXTRA_PACKAGES = {"click", "rich"}


def main() -> None:
    """Run the command line on `sys.argv` and exit."""
    _occupy_closed_streams()
    try:
        from .app import app  # noqa: PLC0415 - importing the package must not need the extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA_PACKAGES:
            raise
        sys.stderr.write("asr-async: the command line needs an extra: pip install 'asr-async[cli]'\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)  # `ExitStatus.INTERRUPTED`; its module may not be loaded yet
    app(prog_name="asr-async")


def _occupy_closed_streams() -> None:
    """Open the null device in the place of standard streams that are closed.

    Otherwise, a socket would get their number, and what a library writes to standard output would go into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
