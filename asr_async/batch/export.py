"""The table of a run: a row for each source, with its text, as JSON, CSV or Parquet.

Rows are read and written in pages, so a table of any length needs little memory. Does not know what a run is doing.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections.abc import Collection, Sequence
from pathlib import Path, PurePath
from typing import IO, Any, Protocol

import anyio.to_thread
import msgspec

from ..errors import ConfigurationError
from ..results import Result, join_texts
from ..wire import from_json
from .databases import StorageError
from .manifest import Manifest
from .outputs import OutputFolder
from .records import Row, RowState, RunRecord

__all__ = ["TABLE_FORMATS", "export_rows", "format_of_table"]

TABLE_FORMATS = ("json", "csv", "parquet")

PAGE_ROWS = 200

_COLUMNS: dict[str, type] = {
    "source": str,
    "state": str,
    "output": str,
    "attempts": int,
    "audio_s": float,
    "billed_s": float,
    "missing_s": float,
    "error_class": str,
    "error": str,
    "text": str,
}


class _Writer(Protocol):
    """A table that is being written. Everything blocks."""

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write a page of rows."""
        ...

    def close(self) -> None:
        """Write the end."""
        ...


def format_of_table(path: str) -> str:
    """Return the format that the name of a table stands for; JSON for other names."""
    suffix = PurePath(path).suffix.lower().removeprefix(".")
    return suffix if suffix in TABLE_FORMATS else "json"


async def export_rows(
    manifest: Manifest, file: IO[bytes], format_name: str, *, states: Collection[RowState] | None = None
) -> int:
    """Write the rows of a manifest, and return their number.

    The text of a source is read from its output; it is missing where that is subtitles.

    Args:
        manifest: the open manifest.
        file: an open binary file.
        format_name: "json" (an array of objects), "csv" or "parquet" (needs the extra `parquet`).
        states: the states of the rows; None is all.

    Raises:
        ConfigurationError: the format is not known, its library is not installed, or the manifest has no run yet.
        StorageError: the manifest or an output cannot be read, or the file cannot be written.
    """
    record = await manifest.record()
    if record is None:
        raise ConfigurationError(f"{manifest.name} has no run yet")
    writer = await _call(_writer, file, format_name)
    count, page = 0, list[Row]()
    rows = manifest.rows() if states is None else manifest.rows(states)
    async for row in rows:
        page.append(row)
        if len(page) == PAGE_ROWS:
            await _call(_write_page, writer, record, page)
            count, page = count + len(page), []
    await _call(_write_page, writer, record, page)
    await _call(writer.close)
    return count + len(page)


async def _call(function: Any, *arguments: object) -> Any:
    """Call a function in a thread, and raise its errors as those of this package."""
    try:
        return await anyio.to_thread.run_sync(function, *arguments)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StorageError(f"the table cannot be written: {error.strerror or error}") from None


def _write_page(writer: _Writer, record: RunRecord, rows: Sequence[Row]) -> None:
    folder = OutputFolder(record.output)
    cells = []
    for row in rows:
        path = folder.path(row.output)
        text = _text_of(path, record.format) if row.state == "done" else None
        values = msgspec.structs.asdict(row) | {"output": str(path), "text": text}
        cells.append({name: values[name] for name in _COLUMNS})
    writer.write(cells)


def _text_of(path: Path, format_name: str) -> str | None:
    """Return the text of an output; None if it is not there, or has no plain text."""
    try:
        content = path.read_text(encoding="utf-8")
        match format_name:
            case "json":
                text: str = json.loads(content)["text"]
                return text
            case "jsonl":
                events = [from_json(line) for line in content.splitlines()]
                return join_texts([event.text for event in events if isinstance(event, Result)])
            case "text":
                return content.rstrip("\n")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        raise StorageError(f"{path} is not an output of this run any more: {error}") from None
    return None


def _writer(file: IO[bytes], format_name: str) -> _Writer:
    match format_name:
        case "json":
            return _JsonWriter(file)
        case "csv":
            return _CsvWriter(file)
        case "parquet":
            return _ParquetWriter(file)
    raise ConfigurationError(f"format {format_name!r}: must be one of {', '.join(TABLE_FORMATS)}")


class _JsonWriter:
    """An array of objects, one on each line."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._separator = b"[\n"

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        for row in rows:
            self._file.write(self._separator + msgspec.json.encode(row))
            self._separator = b",\n"

    def close(self) -> None:
        self._file.write(b"\n]\n" if self._separator != b"[\n" else b"[]\n")
        self._file.flush()


class _CsvWriter:
    """Comma-separated values in UTF-8 with a header, as RFC 4180 has them."""

    def __init__(self, file: IO[bytes]) -> None:
        # the file is the caller's, so this text layer is detached and not closed
        self._text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        self._writer = csv.DictWriter(self._text, _COLUMNS)
        self._writer.writeheader()

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        self._writer.writerows(rows)

    def close(self) -> None:
        self._text.detach()


class _ParquetWriter:
    """A Parquet file with a row group for each page."""

    def __init__(self, file: IO[bytes]) -> None:
        try:
            self._arrow = importlib.import_module("pyarrow")
            parquet = importlib.import_module("pyarrow.parquet")
        except ImportError:
            raise ConfigurationError("Parquet needs pyarrow: pip install 'asr-async[parquet]'") from None
        types = {str: self._arrow.string(), int: self._arrow.int64(), float: self._arrow.float64()}
        self._schema = self._arrow.schema([(name, types[kind]) for name, kind in _COLUMNS.items()])
        self._writer = parquet.ParquetWriter(file, self._schema)

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        if rows:
            self._writer.write_table(self._arrow.Table.from_pylist(list(rows), schema=self._schema))

    def close(self) -> None:
        self._writer.close()
