"""Starts a load server and a child for every measurement, and listens to both."""

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
"""Before the server opens a task. The official SDK loses its audio if the answer overtakes the end of its `start()`,
as it never does over a real network."""


class PeerFailedError(Exception):
    """A child ended before it had done its job; its traceback is on standard error."""


class Authority(AbstractContextManager["Authority"]):
    """Certificates for this run, in files that go with it."""

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
    """A running server."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.url = _line(process).strip()

    def ask(self, command: str) -> dict[str, Any]:
        """`reset` or `report`; both answer with the figures so far."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(_line(self._process))
        return answer


def run(job: Job, *, scheme: str = "ws", start_delay_ms: float = START_DELAY_MS) -> dict[str, Any]:
    """Do a job with a server and a child of its own, over `ws` or `wss`; its `url` is filled in.

    Returns:
        What the child said, under `server` what the server saw while the child measured, and under `server_total` what
        it had seen in the end.

    Raises:
        PeerFailedError: the child could not do it.
    """
    figures: dict[str, Any] = {}
    with ExitStack() as stack:
        authority = stack.enter_context(Authority()) if scheme == "wss" else None
        server = stack.enter_context(_server(authority, start_delay_ms))
        for said in _child(msgspec.structs.replace(job, url=server.url), authority):
            what = said.pop("say")
            if what == "measuring":
                server.ask("reset")
            elif what == "measured":
                figures["server"] = server.ask("report")
            else:
                figures["server_total"] = server.ask("report")
            figures.update(said)
    return figures


@contextmanager
def _server(authority: Authority | None, start_delay_ms: float) -> Iterator[LoadServer]:
    command = ["-m", "load.server", "--start-delay-ms", str(start_delay_ms)]
    if authority is not None:
        command += ["--certificate", str(authority.certificate)]
    with _python(command, authority, stdin=subprocess.PIPE) as process:
        yield LoadServer(process)


def _child(job: Job, authority: Authority | None) -> Iterator[dict[str, Any]]:
    with _python(["-m", "load.child", msgspec.json.encode(job).decode()], authority) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
        if process.wait():
            raise PeerFailedError(f"exit status {process.returncode}")


@contextmanager
def _python(
    arguments: list[str], authority: Authority | None, stdin: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    path = os.pathsep.join(filter(None, (str(BENCHMARKS), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path}
    if authority is not None:
        environment["SSL_CERT_FILE"] = str(authority.trusted)
    command = [sys.executable, "-P", *arguments]  # not what lies in the current directory
    with subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise
        if process.stdin is not None:
            process.stdin.close()  # which ends the server


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    if not (line := process.stdout.readline()):
        raise SystemExit("the load server ended; its traceback is above")
    return line
