"""The outputs of a batch: one file for each source, which is either complete or not there.

An output is written under a temporary name, synced, and renamed, and then the folder is synced; the manifest records
the hash of its content before it gets its name. After a crash at any instant, `adopt` finds the file by that hash under
one of the two names. Everything here blocks.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import ConfigurationError
from ..results import Event, Transcript
from ..subtitles import subtitles
from ..wire import to_json
from .databases import StorageError

__all__ = ["EXTENSIONS", "OutputFolder", "check_format", "render"]

_TEMPORARY = ".part"


def _json_lines(transcript: Transcript) -> str:
    events: list[Event] = [*transcript.results, *transcript.gaps]
    return "".join(f"{to_json(event)}\n" for event in events)


_RENDERERS: dict[str, tuple[str, Callable[[Transcript], str]]] = {
    "text": ("txt", Transcript.to_text),
    "json": ("json", lambda transcript: f"{transcript.to_json()}\n"),
    "jsonl": ("jsonl", _json_lines),
    "srt": ("srt", Transcript.to_srt),
    "vtt": ("vtt", Transcript.to_vtt),
}

EXTENSIONS: dict[str, str] = {name: extension for name, (extension, _) in _RENDERERS.items()}
"""Name of a format → extension of its files."""


def check_format(name: str) -> None:
    """Refuse a format that is not known, or whose library is not installed.

    Raises:
        ConfigurationError: the text says which are known, or how to install it.
    """
    if name not in _RENDERERS:
        raise ConfigurationError(f"format={name!r}: must be one of {', '.join(_RENDERERS)}")
    try:
        if name in {"srt", "vtt"}:
            subtitles([], "srt")
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"format={name!r}: {error}") from None


def render(transcript: Transcript, format_name: str) -> bytes:
    """Return the content of an output: "jsonl" has a line for each final result and gap, as `to_json` writes them."""
    _, renderer = _RENDERERS[format_name]
    return renderer(transcript).encode()


class OutputFolder:
    """The folder of the outputs.

    Args:
        path: the folder; it is made with the first output.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def path(self, output: str) -> Path:
        """Return the path of an output."""
        return self._path / output

    def partial_path(self, output: str) -> Path:
        """Return the path of what was recognised of a source that failed: `call.partial.json`."""
        path = self.path(output)
        return path.with_suffix(f".partial{path.suffix}")

    def write_temporary(self, output: str, content: bytes) -> str:
        """Write an output under a temporary name, down to the disk; return the hash of its content.

        Raises:
            StorageError: it cannot be written.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        with self._errors(output):
            path = self._temporary_path(output, sha256)
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with path.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:
                path.unlink(missing_ok=True)
                raise
        return sha256

    def give_name(self, output: str, sha256: str) -> bool:
        """Rename an output that was written; return False if another worker has taken it.

        Raises:
            StorageError: it cannot be renamed.
        """
        with self._errors(output):
            path = self.path(output)
            try:
                self._temporary_path(output, sha256).replace(path)
            except FileNotFoundError:
                return False
            _sync_folder(path.parent)
            self.partial_path(output).unlink(missing_ok=True)
        return True

    def adopt(self, output: str, sha256: str) -> bool:
        """Return True if an output with this hash is there, under its name from now on.

        Raises:
            StorageError: it cannot be read or renamed.
        """
        with self._errors(output):
            if _hash_of(self._temporary_path(output, sha256)) == sha256:
                return self.give_name(output, sha256)
            return _hash_of(self.path(output)) == sha256

    def write_partial(self, output: str, content: bytes) -> None:
        """Write what was recognised of a source that failed. A crash may lose it.

        Raises:
            StorageError: it cannot be written.
        """
        with self._errors(output):
            path = self.partial_path(output)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def remove_temporary_files(self) -> None:
        """Remove what killed workers left, once no worker works for the run any more."""
        for path in self._path.rglob(f".*{_TEMPORARY}"):
            with suppress(OSError):
                path.unlink()

    def _temporary_path(self, output: str, sha256: str) -> Path:
        path = self.path(output)
        return path.with_name(f".{path.name}.{sha256[:16]}{_TEMPORARY}")

    @contextmanager
    def _errors(self, output: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise StorageError(
                f"{self.path(output)} cannot be written: {reason}. Make room or give this user the right to, and run "
                "the same command again: finished sources stay finished"
            ) from None


def _hash_of(path: Path) -> str | None:
    """Return the hash of a file; None if there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def _sync_folder(folder: Path) -> None:
    """Write the names in a folder to the disk, where the system has that."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
