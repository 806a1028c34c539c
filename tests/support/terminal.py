"""A terminal that runs a command line and shows what a person sees on it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import termios
from typing import TYPE_CHECKING

import pyte

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Terminal"]


class Terminal:
    """A pseudo-terminal with a screen of a given size; `lines` is its content, without trailing blanks."""

    def __init__(self, columns: int, rows: int = 40) -> None:
        self.screen = pyte.Screen(columns, rows)
        """The screen of pyte, with the colours of each character."""
        self._stream = pyte.ByteStream(self.screen)
        self._size = struct.pack("HHHH", rows, columns, 0, 0)
        self.frames: list[list[str]] = []
        """The different contents of the screen over time."""

    @property
    def lines(self) -> list[str]:
        lines = [line.rstrip() for line in self.screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def run(
        self,
        command: Sequence[str],
        environment: dict[str, str],
        *,
        on_output: Callable[[subprocess.Popen[bytes], list[str]], None] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> int:
        """Run a command to its end with both output streams on the terminal; return its status."""
        terminal, child_end = pty.openpty()
        fcntl.ioctl(child_end, termios.TIOCSWINSZ, self._size)
        with subprocess.Popen(
            command, env=environment, stdin=stdin, stdout=child_end, stderr=child_end, start_new_session=True
        ) as process:
            os.close(child_end)
            with contextlib.suppress(OSError):  # the end, on Linux
                while data := os.read(terminal, 65_536):
                    self._stream.feed(data)
                    if not self.frames or self.frames[-1] != self.lines:
                        self.frames.append(self.lines)
                    if on_output is not None:
                        on_output(process, self.lines)
            os.close(terminal)
        return process.returncode
