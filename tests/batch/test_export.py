"""The table of a run: JSON, CSV and Parquet, with the texts of the outputs."""

from __future__ import annotations

import csv
import io
import json
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pyarrow.parquet
import pytest

from asr_async import ConfigurationError, Result, Transcript
from asr_async.batch import Manifest, StorageError
from asr_async.batch.export import export_rows, format_of_table
from asr_async.batch.outputs import render
from asr_async.batch.records import Figures, Lease, RunRecord, SourceEntry

from ..test_pickling import STATS

if TYPE_CHECKING:
    from pathlib import Path

RESULT = Result(text='你好, "world"', is_final=True, segment_id=0, start_ms=0, end_ms=900, translations={})
TRANSCRIPT = Transcript(
    text=RESULT.text,
    results=(RESULT,),
    duration_ms=1_000,
    gaps=(),
    usage_seconds=None,
    request_id="r",
    stats=STATS,
)


async def export(folder: Path, table: str, output_format: str = "json", count: int = 2) -> bytes:
    """Return the table of a run whose first source is done, and whose second one is no audio."""
    entries = [SourceEntry(source=f"/calls/{n}", output=f"{n}.out", size_bytes=1, version="1") for n in range(count)]
    async with Manifest(str(folder / "run.sqlite"), create=True) as manifest:
        await manifest.begin(RunRecord(options={}, output=str(folder), format=output_format))
        await manifest.add(entries)
        lease, poison = [await manifest.claim("worker") for _ in range(2)]
        assert isinstance(lease, Lease)
        assert isinstance(poison, Lease)
        await manifest.prepare(lease, "ab", Figures(audio_s=1, billed_s=2))
        await manifest.finish(lease)
        await manifest.fail(poison, ConfigurationError("no audio"), "poison")
        (folder / "0.out").write_bytes(render(TRANSCRIPT, output_format))
        file = io.BytesIO()
        assert await export_rows(manifest, file, table) == count
        return file.getvalue()


def rows_of(folder: Path) -> list[dict[str, Any]]:
    common = {"missing_s": 0.0, "error_class": None, "error": None, "text": None}
    return [
        common
        | {"source": "/calls/0", "state": "done", "output": f"{folder}/0.out", "attempts": 0, "audio_s": 1.0}
        | {"billed_s": 2.0, "text": RESULT.text},
        common
        | {"source": "/calls/1", "state": "poison", "output": f"{folder}/1.out", "attempts": 1, "audio_s": 0.0}
        | {"billed_s": 0.0, "error_class": "ConfigurationError", "error": "no audio"},
    ]


async def test_json_is_an_array_of_objects(tmp_path: Path) -> None:
    assert json.loads(await export(tmp_path, "json")) == rows_of(tmp_path)


async def test_csv_has_a_header_and_quotes_what_needs_it(tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO((await export(tmp_path, "csv")).decode())))
    expected = [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows_of(tmp_path)]
    assert rows == expected


async def test_parquet_has_typed_columns(tmp_path: Path) -> None:
    table = pyarrow.parquet.read_table(io.BytesIO(await export(tmp_path, "parquet")))
    assert table.to_pylist() == rows_of(tmp_path)
    assert str(table.schema.field("billed_s").type) == "double"


@pytest.mark.parametrize(
    ("output_format", "text"), [("text", RESULT.text), ("jsonl", RESULT.text), ("json", RESULT.text), ("srt", None)]
)
async def test_the_text_is_that_of_the_output(output_format: str, text: str | None, tmp_path: Path) -> None:
    assert json.loads(await export(tmp_path, "json", output_format))[0]["text"] == text


async def test_a_table_of_several_pages_is_complete(tmp_path: Path) -> None:
    rows = json.loads(await export(tmp_path, "json", count=450))
    assert [row["source"] for row in rows] == [f"/calls/{n}" for n in range(450)]


async def test_an_output_that_is_gone_has_no_text_and_a_changed_one_is_reported(tmp_path: Path) -> None:
    await export(tmp_path, "json")
    async with Manifest(str(tmp_path / "run.sqlite")) as manifest:
        (tmp_path / "0.out").write_text("edited")
        with pytest.raises(StorageError, match=r"0\.out is not an output of this run any more: "):
            await export_rows(manifest, io.BytesIO(), "json")
        (tmp_path / "0.out").unlink()
        file = io.BytesIO()
        assert await export_rows(manifest, file, "json", states=["done"]) == 1
        assert json.loads(file.getvalue())[0]["text"] is None


async def test_an_empty_table_is_an_empty_array(tmp_path: Path) -> None:
    await export(tmp_path, "json")
    file = io.BytesIO()
    async with Manifest(str(tmp_path / "run.sqlite")) as manifest:
        assert await export_rows(manifest, file, "json", states=["todo"]) == 0
    assert json.loads(file.getvalue()) == []


async def test_what_cannot_be_exported_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Manifest(str(tmp_path / "new.sqlite"), create=True) as manifest:
        with pytest.raises(ConfigurationError, match=r"new\.sqlite has no run yet$"):
            await export_rows(manifest, io.BytesIO(), "json")
        await manifest.begin(RunRecord(options={}, output="/texts", format="json"))
        with pytest.raises(ConfigurationError, match=r"^format 'xlsx': must be one of json, csv, parquet$"):
            await export_rows(manifest, io.BytesIO(), "xlsx")
        full = io.FileIO("/dev/full", "w")
        with closing(full), pytest.raises(StorageError, match=r"^the table cannot be written: No space left on dev"):
            await export_rows(manifest, full, "csv")
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(ConfigurationError, match=r"^Parquet needs pyarrow: pip install 'asr-async\[parquet\]'$"):
            await export_rows(manifest, io.BytesIO(), "parquet")


def test_the_format_of_a_table_follows_its_name() -> None:
    assert [format_of_table(name) for name in ("a.csv", "a.PARQUET", "a.json", "a", "a.txt")] == [
        "csv",
        "parquet",
        "json",
        "json",
        "json",
    ]
