"""The outputs of a transcript: standard output, one file for all sources, or one file for each source.

Does not know results or formats: an output writes text.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, Self

import click

from .exit_status import WrongUse, discard_output
from .inputs import shown_name
from .transcript_formats import EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from io import FileIO

    from .inputs import Input
    from .output_options import OutputChoice

__all__ = ["FileOutput", "Output", "OutputError", "OutputPart", "StandardOutput", "is_folder", "outputs_for"]

_ONE_SOURCE_FORMATS = frozenset({"json", "srt", "vtt"})
"""Formats that hold one source per file, since they are one object, or times and numbers restart with each source."""


class OutputError(Exception):
    """An output cannot be written: the disk is full, for example. What was written before stays."""

    def __init__(self, name: str, error: OSError) -> None:
        super().__init__(f"{name}: {error.strerror or error}")


class Output(Protocol):
    """A destination of text, which is written inside `with`."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def write(self, text: str) -> None:
        """Write and flush."""
        ...

    async def wait_until_direct(self) -> None:
        """Wait until `write` writes directly and does not buffer any more."""
        ...


class StandardOutput:
    """The standard output of the process.

    Args:
        around: makes the context of each write; on a terminal, something else may have to make room for it.
    """

    def __init__(self, around: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext) -> None:
        self._around = around

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None

    def write(self, text: str) -> None:
        """Write and flush: UTF-8 in every locale, but the encoding of the terminal to a terminal.

        Raises:
            BrokenPipeError: the reader closed it.
            OutputError: it cannot be written for another reason.
        """
        if not text:
            return
        encoding = sys.stdout.encoding if sys.stdout.isatty() else "utf-8"
        try:
            with self._around():
                click.echo(text.encode(encoding, errors="replace"), nl=False)
        except BrokenPipeError:
            raise
        except OSError as error:
            discard_output(sys.stdout)
            raise OutputError("standard output", error) from None

    async def wait_until_direct(self) -> None:
        """Return at once."""


class FileOutput:
    """A file, truncated when it is entered for the first time and appended to after that."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mode: Literal["wb", "ab"] = "wb"
        self._file: FileIO | None = None

    def __repr__(self) -> str:
        return f"<FileOutput {self._path}>"

    def __enter__(self) -> Self:
        try:
            self._file = self._path.open(self._mode, buffering=0)
        except OSError as error:
            raise self._error(error) from None
        self._mode = "ab"
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def write(self, text: str) -> None:
        """Write and flush.

        Raises:
            OutputError: it cannot be written.
        """
        if self._file is None:
            raise RuntimeError("enter the output before writing to it")
        try:
            data = memoryview(text.encode())
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise self._error(error) from None

    def _error(self, error: OSError) -> OutputError:
        return OutputError(shown_name(self._path), error)

    async def wait_until_direct(self) -> None:
        """Return at once."""


class OutputPart:
    """The part of one source in an output that several sources share, in the order of the sources.

    A part writes directly once all parts before it are closed; until then it buffers its text. The first part starts
    when it is entered. Closing a direct part starts the next one, and also those after it that are closed already. A
    part does not limit its buffer: the caller does, with `wait_until_direct`.
    """

    def __init__(self, output: Output, next_part: OutputPart | None, *, is_first: bool) -> None:
        self._output = output
        self._next_part = next_part
        self._is_first = is_first
        self._buffer: list[str] = []
        self._direct = asyncio.Event()
        self._is_closed = False

    def __repr__(self) -> str:
        state = "direct" if self._direct.is_set() else f"{len(self._buffer)} texts buffered"
        return f"<OutputPart of {self._output!r}, {state}>"

    def __enter__(self) -> Self:
        if self._is_first:
            self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._is_closed = True
        if self._direct.is_set():
            self._start_next_parts()

    def write(self, text: str) -> None:
        """Write and flush, or buffer."""
        if not self._direct.is_set():
            self._buffer.append(text)
            return
        with self._output as output:
            output.write(text)

    async def wait_until_direct(self) -> None:
        """Wait until all parts before this one are closed."""
        await self._direct.wait()

    def start(self) -> None:
        """Write the buffered text, and write directly from now on; an output file is created even without text."""
        text = "".join(self._buffer)
        self._buffer.clear()
        self._direct.set()
        self.write(text)

    def _start_next_parts(self) -> None:
        """Start the next part and those after it, up to the first that is open, even if one of them cannot write."""
        first_error: OutputError | None = None
        part = self._next_part
        while part is not None:
            try:
                part.start()
            except OutputError as error:
                first_error = first_error or error
            part = part._next_part if part._is_closed else None  # noqa: SLF001 - of the same class
        if first_error is not None:
            raise first_error


def outputs_for(inputs: Sequence[Input], choice: OutputChoice, standard_output: StandardOutput) -> list[Output]:
    """Return the output of each source; a directory that is named with a trailing `/` is created.

    Raises:
        WrongUse: the transcripts of the sources cannot be written to this output.
    """
    output, format_name = choice.path, choice.format_name
    if output is not None and is_folder(output):
        return _file_outputs(inputs, Path(output), EXTENSIONS[format_name])
    if len(inputs) > 1 and format_name in _ONE_SOURCE_FORMATS:
        raise WrongUse(
            f"a file in {format_name} holds one transcript; for several files name a directory: --output transcripts/"
        )
    if output is None and sys.stdout is None:
        raise WrongUse("standard output is closed: name a file, such as --output transcript.txt")
    shared = standard_output if output is None else FileOutput(_check_path(Path(output), inputs))
    return [shared] if len(inputs) == 1 else _parts(shared, len(inputs))


def _parts(output: Output, count: int) -> list[Output]:
    """Return the parts of an output, in order."""
    parts: list[Output] = []
    next_part: OutputPart | None = None
    for number in reversed(range(count)):
        next_part = OutputPart(output, next_part, is_first=number == 0)
        parts.append(next_part)
    return parts[::-1]


def is_folder(output: str) -> bool:
    """Return True if an output is named as a folder, or is one."""
    return output.endswith(("/", os.sep)) or Path(output).is_dir()


def _file_outputs(inputs: Sequence[Input], directory: Path, extension: str) -> list[Output]:
    paths = [directory / f"{source.stem}.{extension}" for source in inputs]
    path, count = Counter(paths).most_common(1)[0]
    if count > 1:
        raise WrongUse(f"--output {directory}: {count} of the files would be written to the same {path.name}")
    try:
        for parent in dict.fromkeys([directory, *(path.parent for path in paths)]):
            parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WrongUse(f"--output {directory}: {error.strerror}") from None
    return [FileOutput(_check_path(path, inputs)) for path in paths]


def _check_path(path: Path, inputs: Sequence[Input]) -> Path:
    """Return the path of an output file; raise now what would otherwise fail after connecting, at the first result."""
    name = shown_name(path)
    if not path.parent.is_dir():
        raise WrongUse(f"--output {name}: the directory {shown_name(path.parent)} does not exist")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise WrongUse(f"--output {name} is not writable")
    if path.is_file() and any(Path(one.source).exists() and path.samefile(one.source) for one in inputs):
        raise WrongUse(f"--output {name} is one of the files to transcribe")
    return path
