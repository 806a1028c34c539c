"""The names of workers, which say whether their process is still alive.

Does not know what a worker does.
"""

from __future__ import annotations

import functools
import os
import secrets
import socket
from pathlib import Path

__all__ = ["is_dead", "process_name", "worker_name"]


@functools.cache
def _machine() -> str:
    """Return a name for this machine and the namespace of its process ids: containers may share the host's name."""
    try:
        namespace = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        namespace = ""
    return f"{socket.gethostname()}/{namespace}"


def worker_name() -> str:
    """Return a name for a worker of this process, which no other worker has."""
    return f"{_machine()}:{os.getpid()}:{secrets.token_hex(4)}"


def process_name() -> str:
    """Return the name of this process in texts."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def is_dead(worker: str) -> bool:
    """Return True if a worker belongs to this machine and its process has ended. False where that is not known."""
    machine, _, rest = worker.rpartition(":")[0].rpartition(":")
    if machine != _machine() or not hasattr(os, "kill") or os.name == "nt":
        return False
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except OSError:  # of another user
        return False
    return False
