"""A Ray cluster of this machine for benchmarks and tests, whose workers have an environment of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

__all__ = ["WITHOUT_TOKENS", "processes_of", "ray_cluster"]

WITHOUT_TOKENS = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
"""The environment of a cluster that only this machine reaches, and of the programs that connect to it."""


@contextmanager
def ray_cluster(environment: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """Run a cluster while the context lasts; yield its address and the folder of its files.

    Args:
        environment: the environment of the cluster and of its workers.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # the paths of its sockets are short
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", f"--port={port}"]
        command += ["--num-cpus=2", "--include-dashboard=false", f"--temp-dir={folder}"]
        with subprocess.Popen(
            command,
            env={**environment, **WITHOUT_TOKENS},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                assert process.stdout is not None
                output = []
                for line in process.stdout:
                    output.append(line)
                    if "Ray runtime started" in line:
                        break
                else:
                    raise RuntimeError("the cluster has not started: " + "".join(output))
                yield f"127.0.0.1:{port}", Path(folder)
            finally:
                _end(process, Path(folder))


def _end(process: subprocess.Popen[str], folder: Path) -> None:
    """End the program and what it has started, which outlives it."""
    os.killpg(process.pid, signal.SIGTERM)
    for one in processes_of(str(folder)):
        try:
            os.kill(one, signal.SIGKILL)
        except ProcessLookupError:
            continue
    assert process.stdout is not None
    process.stdout.close()


def processes_of(text: str) -> list[int]:
    """Return the processes of this machine whose command line has a text, but for this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in command and int(path.parent.name) != os.getpid():
            found.append(int(path.parent.name))
    return found
