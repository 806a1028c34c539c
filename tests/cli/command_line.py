"""The command line as tests run it: in this process with click's runner, or as a process of its own."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys

from click.testing import CliRunner
from click.testing import Result as Outcome

from asr_async.cli.app import app

from ..support.paths import ROOT

SCRIPT = [
    {"text": "go forward ten meters", "start_ms": 200, "end_ms": 1_400},
    {"text": "今天天气不错。", "start_ms": 1_700, "end_ms": 2_700},
]
FINALS = "go forward ten meters\n今天天气不错。\n"
SUMMARY = re.compile(r"10 words · first result after \d+ ms · 3\.0 s of audio in \d+\.\d s")
ESCAPE = "\x1b"
PACED = "20"
"""Slow enough to receive each interim; at full speed a final replaces them."""


def environment(url: str | None, *, columns: int | None = 100) -> dict[str, str]:
    """Return the environment of this process, with the URL of an emulator, or without a key."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DASHSCOPE_", "FORCE_"))}
    kept = {"PYTHONIOENCODING": "utf-8"} | kept | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}
    if columns is None:  # the size of the terminal counts
        del kept["COLUMNS"]
    return kept if url is None else kept | vendor_at(url)


def vendor_at(url: str) -> dict[str, str]:
    return {"DASHSCOPE_API_KEY": "sk-of-this-test", "DASHSCOPE_WEBSOCKET_BASE_URL": url}


def invoke(*arguments: object, url: str | None = None) -> Outcome:
    env: dict[str, str | None] = {"DASHSCOPE_API_KEY": None, "DASHSCOPE_WEBSOCKET_BASE_URL": None}
    env |= vendor_at(url) if url else {}
    return CliRunner(env=env).invoke(app, [str(argument) for argument in arguments])


def transcribe(*arguments: object, url: str | None = None) -> Outcome:
    return invoke("transcribe", "--pace", "max", *arguments, url=url)


# --- as a process ----------------------------------------------------------------------------------------------------


COMMAND = (sys.executable, "-m", "asr_async")

# A shell that runs the tests in the background makes its children ignore SIGINT, and Python does not change that.
INTERRUPTIBLE = (
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from asr_async.cli import main; main()",
)


WITHOUT_UVLOOP = (*INTERRUPTIBLE[:2], f"import sys; sys.modules['uvloop'] = None; {INTERRUPTIBLE[2]}")


def process(
    *arguments: object,
    url: str | None = None,
    command: tuple[str, ...] = COMMAND,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
) -> subprocess.Popen[bytes]:
    line = [*command, *map(str, arguments)]
    # Unbuffered, since `communicate` does not read what `readline` left in the buffer.
    return subprocess.Popen(
        line,
        env=environment(url),
        cwd=ROOT,
        bufsize=0,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
    )


def finished(*arguments: object, url: str | None = None) -> tuple[int, str, str]:
    with process(*arguments, url=url) as running:
        out, err = running.communicate(timeout=60)
    return running.returncode, out.decode(), err.decode()


def on_terminal(*arguments: object, url: str, share: bool = False) -> tuple[int, str, str]:
    """Run with standard error, or both, on a terminal; return the status, standard output and the terminal's text."""
    terminal, child_end = pty.openpty()
    with process(*arguments, url=url, stdout=child_end if share else subprocess.PIPE, stderr=child_end) as running:
        os.close(child_end)
        shown = read_terminal(terminal)
        out = b"" if share or running.stdout is None else running.stdout.read()
    return running.returncode, out.decode(), shown.decode()


def read_terminal(terminal: int) -> bytes:
    """Read until the other end is closed, which Linux reports as an error and other systems as an end of file."""
    shown = b""
    with contextlib.closing(os.fdopen(terminal, "rb", buffering=0)) as file:
        while True:
            chunk = b""
            with contextlib.suppress(OSError):
                chunk = file.read(65_536)
            if not chunk:
                return shown
            shown += chunk
