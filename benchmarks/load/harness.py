"""The processes of a measurement: a load server and a child, started anew for each job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec
import trustme

from .jobs import Job

BENCHMARKS = Path(__file__).parent.parent

START_DELAY_MS = 20
"""Delay before the server opens a task. The official SDK loses its audio if the server's confirmation arrives before
its `start()` returns, which never happens over a real network."""


class PeerFailedError(Exception):
    """A child ended before its job was done; its traceback is on standard error."""


class CertificateAuthority(AbstractContextManager["CertificateAuthority"]):
    """A certificate authority of one run, in temporary files."""

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        self.trusted, self.certificate = folder / "ca.pem", folder / "server.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.trusted)
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(self.certificate)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._folder.cleanup()


class LoadServer:
    """A running load server."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.url = _read_line(process).strip()

    def request(self, command: str) -> dict[str, Any]:
        """Send `reset` or `report`; return the figures so far."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        figures: dict[str, Any] = json.loads(_read_line(self._process))
        return figures


def run_job(job: Job, *, scheme: str = "ws", start_delay_ms: float = START_DELAY_MS) -> dict[str, Any]:
    """Run a job with a load server and a child of its own, over `ws` or `wss`, and set the job's `url`.

    Returns:
        The figures of the child; under `server` those of the server during the child's measurement, and under
        `server_total` those of the server at the end.

    Raises:
        PeerFailedError: the child failed.
    """
    figures: dict[str, Any] = {}
    with ExitStack() as stack:
        authority = stack.enter_context(CertificateAuthority()) if scheme == "wss" else None
        server = stack.enter_context(_server(authority, start_delay_ms))
        for line in _child(msgspec.structs.replace(job, url=server.url), authority):
            event = line.pop("event")
            if event == "measuring":
                server.request("reset")
            elif event == "measured":
                figures["server"] = server.request("report")
            else:
                figures["server_total"] = server.request("report")
            figures.update(line)
    return figures


@contextmanager
def _server(authority: CertificateAuthority | None, start_delay_ms: float) -> Iterator[LoadServer]:
    command = ["-m", "load.server", "--start-delay-ms", str(start_delay_ms)]
    if authority is not None:
        command += ["--certificate", str(authority.certificate)]
    with _python(command, authority, stdin=subprocess.PIPE) as process:
        yield LoadServer(process)


def _child(job: Job, authority: CertificateAuthority | None) -> Iterator[dict[str, Any]]:
    with _python(["-m", "load.child", msgspec.json.encode(job).decode()], authority) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
        if process.wait():
            raise PeerFailedError(f"exit status {process.returncode}")


@contextmanager
def _python(
    arguments: list[str], authority: CertificateAuthority | None, stdin: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    path = os.pathsep.join(filter(None, (str(BENCHMARKS), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path}
    if authority is not None:
        environment["SSL_CERT_FILE"] = str(authority.trusted)
    command = [sys.executable, "-P", *arguments]  # -P: no imports from the current directory
    with subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise
        if process.stdin is not None:
            process.stdin.close()  # the server ends when its standard input does


def _read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    if not (line := process.stdout.readline()):
        raise SystemExit("the load server ended; its traceback is above")
    return line
