"""A Postgres server for tests: without durability, on a socket in a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["postgres_server"]


def _program(name: str) -> str:
    """Return the path of a program; Debian does not have those of the server on the path."""
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    if installed:
        return str(installed[-1])
    if (found := shutil.which(name)) is not None:
        return found
    if os.environ.get("CI"):
        pytest.fail(f"{name} is not installed: .ci/run does that")
    pytest.skip(f"{name} is not installed: apt-get install postgresql")


@contextmanager
def postgres_server() -> Iterator[str]:
    """Run a Postgres while the context lasts, and yield the URL of its database."""
    programs = [_program(name) for name in ("initdb", "pg_ctl")]
    user = _user()
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as folder:  # the path of a socket is short
        if user is not None:
            shutil.chown(folder, user)
        data = f"{folder}/data"

        def run(*command: str) -> None:
            subprocess.run(command, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=60)

        run(programs[0], "-D", data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")
        settings = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
        run(programs[1], "-D", data, "-o", settings, "-l", f"{folder}/log", "-w", "start")
        try:
            yield f"postgresql://postgres@/postgres?host={folder}"
        finally:
            run(programs[1], "-D", data, "-m", "immediate", "-w", "stop")


def _user() -> str | None:
    """Return a user that is not root, which Postgres refuses to be; None is the present one."""
    if os.getuid() != 0:
        return None
    users = {each.pw_name for each in pwd.getpwall()}
    return "postgres" if "postgres" in users else "nobody"
