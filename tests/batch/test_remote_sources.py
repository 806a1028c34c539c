"""Batches of recordings on other machines: behind URLs of http, and in an object store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from asr_async import ConfigurationError, DashScope, Paraformer
from asr_async.batch import Batch, BatchOutcome
from asr_async.batch.sources import find_sources
from asr_async.emulator import Scripted, serve

from ..support.object_store import stored
from ..support.recording_server import WebRecording, recording_server
from ..support.wav_files import write_wav

if TYPE_CHECKING:
    from pathlib import Path

    from asr_async.batch.sources import BatchSources


async def run(folder: Path, sources: BatchSources) -> list[BatchOutcome]:
    """Run a batch, which continues the one before it in this folder."""
    async with serve(Scripted([("go forward", 100, 900)])) as emulator:
        service = DashScope("key", endpoint=emulator.dashscope_url)
        batch = Batch(folder / "run.sqlite", sources, Paraformer(), service, output=folder / "texts")
        async with batch:
            return [outcome async for outcome in batch]


def texts(folder: Path) -> dict[str, str]:
    paths = (folder / "texts").rglob("*.json")
    return {str(path.relative_to(folder / "texts")): json.loads(path.read_text())["text"] for path in paths}


@pytest.fixture
def wav(tmp_path: Path) -> bytes:
    return write_wav(tmp_path / "a.wav", 1).read_bytes()


async def test_recordings_behind_urls_are_transcribed_once(tmp_path: Path, wav: bytes) -> None:
    with recording_server() as server:
        urls = [server.add(f"/calls/{name}.wav", wav) for name in ("a", "late/b")]
        assert {outcome.state for outcome in await run(tmp_path, urls)} == {"done"}
        assert await run(tmp_path, urls) == []
    assert texts(tmp_path) == {"a.json": "go forward", "late/b.json": "go forward"}


async def test_a_url_whose_recording_has_changed_is_poison(tmp_path: Path, wav: bytes) -> None:
    recording = WebRecording(wav)

    def change(recording: WebRecording, _start: int) -> None:
        if len(recording.starts) > 1:  # behind the look at the versions
            recording.etag = '"2"'

    recording.on_request = change
    with recording_server() as server:
        (outcome,) = await run(tmp_path, server.add("/calls/a.wav", recording))
    assert (outcome.state, outcome.error_class) == ("poison", "ConfigurationError")
    assert outcome.error is not None
    assert "changed since the run was begun: it was written to" in outcome.error


async def test_objects_of_a_store_are_transcribed(tmp_path: Path, wav: bytes) -> None:
    with stored({"calls/a.wav": wav, "calls/late/b.wav": wav, "calls/notes.txt": b"no audio"}):
        outcomes = await run(tmp_path, ["s3://calls/**/*.wav"])
        assert [(outcome.source, outcome.state) for outcome in sorted(outcomes, key=lambda one: one.source)] == [
            ("s3://calls/a.wav", "done"),
            ("s3://calls/late/b.wav", "done"),
        ]
    assert texts(tmp_path) == {"a.json": "go forward", "late/b.json": "go forward"}


def test_a_url_with_a_secret_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match=r"https://host/a\.wav: the URL holds a password or a signature"
    ) as caught:
        find_sources("https://host/a.wav?Signature=abcdefgh", "json")
    assert "abcdefgh" not in str(caught.value)
