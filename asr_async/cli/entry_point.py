"""The console script's first step, which must work where the extra `cli` is not installed."""

from __future__ import annotations

import sys

__all__ = ["main"]

_NEEDED = {"click", "rich"}


def main() -> None:
    """Run the command line on `sys.argv` and exit."""
    try:
        from .app import app  # noqa: PLC0415 - only this call may need the extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        sys.stderr.write("asr-async: the command line needs an extra: pip install 'asr-async[cli]'\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)  # `ExitStatus.INTERRUPTED`, whose module is not loaded yet
    app(prog_name="asr-async")
