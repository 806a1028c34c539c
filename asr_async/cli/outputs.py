"""Where a transcript goes: standard output, one file for all, or one file for each source."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, Protocol, Self

import click

from .transcript_formats import EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FileOutput", "Output", "Share", "StandardOutput", "outputs_for"]

_ONE_SOURCE_FORMATS = frozenset({"srt", "vtt"})
"""Their times and numbers begin anew with each source, so two sources in one file are no valid file."""


class Output(Protocol):
    """Takes text while it is entered, and hands it on at once."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def write(self, text: str) -> None:
        """Write and flush."""
        ...

    async def wait_for_turn(self) -> None:
        """Return when what is written is not kept back any more."""
        ...


class StandardOutput:
    """The process's own standard output."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None

    def write(self, text: str) -> None:
        """Write and flush; in UTF-8 whatever the locale, but to a terminal in what it can show."""
        if text:
            encoding = sys.stdout.encoding if sys.stdout.isatty() else "utf-8"
            click.echo(text.encode(encoding, errors="replace"), nl=False)

    async def wait_for_turn(self) -> None:
        """Return at once."""


class FileOutput:
    """A file, written anew the first time it is entered and continued from then on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mode: Literal["wb", "ab"] = "wb"
        self._file: IO[bytes] | None = None

    def __repr__(self) -> str:
        return f"<FileOutput {self._path}>"

    def __enter__(self) -> Self:
        self._file = self._path.open(self._mode)
        self._mode = "ab"
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def write(self, text: str) -> None:
        """Write and flush."""
        if self._file is None:
            raise RuntimeError("an output is entered before it is written to")
        self._file.write(text.encode())
        self._file.flush()

    async def wait_for_turn(self) -> None:
        """Return at once."""


class Share:
    """One of several sources' part of an output: written through in its turn, kept until then.

    The first has its turn when it is entered. It goes on when a share is left, over all that were left before. What
    they keep is bounded by who begins them, with the help of `wait_for_turn`.
    """

    def __init__(self, output: Output, following: Share | None, *, is_first: bool) -> None:
        self._output = output
        self._following = following
        self._is_first = is_first
        self._kept: list[str] = []
        self._turn = asyncio.Event()
        self._is_left = False

    def __repr__(self) -> str:
        return f"<Share of {self._output!r}, {'in turn' if self._turn.is_set() else f'{len(self._kept)} texts kept'}>"

    def __enter__(self) -> Self:
        if self._is_first:
            self.take_turn()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._is_left = True
        if self._turn.is_set():
            self._pass_on()

    def write(self, text: str) -> None:
        """Write and flush, or keep."""
        if not self._turn.is_set():
            self._kept.append(text)
            return
        with self._output as output:
            output.write(text)

    async def wait_for_turn(self) -> None:
        """Return when all before were left."""
        await self._turn.wait()

    def take_turn(self) -> None:
        """Write what was kept; the output is there from now on, even if nothing is written."""
        kept = "".join(self._kept)
        self._kept.clear()
        self._turn.set()
        self.write(kept)

    def _pass_on(self) -> None:
        """Also over what cannot be written: those behind must not wait for ever."""
        error: OSError | None = None
        share = self._following
        while share is not None:
            try:
                share.take_turn()
            except OSError as failure:
                error = error or failure
            share = share._following if share._is_left else None  # noqa: SLF001 - of the same class
        if error is not None:
            raise error


def outputs_for(sources: Sequence[Path], output: str | None, format_name: str) -> list[Output]:
    """Decide where each source's transcript goes; a directory that is asked for by a closing `/` is made.

    Raises:
        click.UsageError: the sources cannot all be written there.
    """
    if output is not None and _is_directory(output):
        return _one_each(sources, Path(output), EXTENSIONS[format_name])
    if len(sources) > 1 and format_name in _ONE_SOURCE_FORMATS:
        raise click.UsageError(
            f"{format_name} holds one recording per file: with several, name a directory, --output subtitles/"
        )
    whole = StandardOutput() if output is None else FileOutput(_checked(Path(output), sources))
    return [whole] if len(sources) == 1 else _shares(whole, len(sources))


def _shares(output: Output, count: int) -> list[Output]:
    """As many parts of an output, in order."""
    shares: list[Output] = []
    following: Share | None = None
    for number in reversed(range(count)):
        following = Share(output, following, is_first=number == 0)
        shares.append(following)
    return shares[::-1]


def _is_directory(output: str) -> bool:
    return output.endswith(("/", os.sep)) or Path(output).is_dir()


def _one_each(sources: Sequence[Path], directory: Path, extension: str) -> list[Output]:
    names = [f"{source.stem}.{extension}" for source in sources]
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise click.UsageError(f"--output {directory}: {count} of the files would all be written to {name}")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"--output {directory}: {error.strerror}") from None
    return [FileOutput(_checked(directory / name, sources)) for name in names]


def _checked(path: Path, sources: Sequence[Path]) -> Path:
    """Find out before anything is connected what would only fail when the first result is written."""
    if not path.parent.is_dir():
        raise click.UsageError(f"--output {path}: there is no directory {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise click.UsageError(f"--output {path}: not writable")
    if path.exists() and any(source.exists() and path.samefile(source) for source in sources):
        raise click.UsageError(f"--output {path}: this is one of the files to transcribe")
    return path
