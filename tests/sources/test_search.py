"""Folders and patterns, on this machine and in an object store that the tests start, and recordings in that store."""

from __future__ import annotations

import os
import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import pytest

from asr_async import AudioFormat, ConfigurationError, ConnectionLostError, read_audio
from asr_async.sources import SourceVersion, find_sources, find_version

from ..support.object_store import stored
from ..support.wav_files import write_wav

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = ("b.wav", "a.WAV", "late/c.wav", "late/deep/d.wav", ".hidden/e.wav", "notes.txt")
IN_FOLDER = ["a.WAV", "b.wav", ".hidden/e.wav", "late/c.wav", "late/deep/d.wav"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with recordings, other files, and folders in it."""
    for name in NAMES:
        path = tmp_path / "calls" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_wav(path, 0.1)
    return tmp_path / "calls"


def names(found: Iterator[Any], start: str) -> list[str]:
    return [one.source.removeprefix(f"{start}/") for one in found]


class TestFolders:
    def test_recordings_are_found_in_order_with_the_folders_in_between(self, folder: Path) -> None:
        assert names(find_sources(folder), str(folder)) == IN_FOLDER
        assert [one.stem for one in find_sources(f"{folder}/")][-2:] == [PurePath("late/c"), PurePath("late/deep/d")]

    def test_a_link_to_a_folder_is_not_followed(self, folder: Path) -> None:
        (folder / "loop").symlink_to(folder)
        assert names(find_sources(folder), str(folder)) == IN_FOLDER
        assert names(find_sources(folder / "**" / "*.wav"), str(folder)) == ["b.wav", "late/c.wav", "late/deep/d.wav"]

    def test_a_file_may_have_any_name(self, folder: Path) -> None:
        (found,) = find_sources(folder / "notes.txt")
        assert (found.source, found.stem) == (str(folder / "notes.txt"), PurePath("notes"))

    def test_the_version_of_a_file_is_its_size_and_the_time_of_its_last_change(self, folder: Path) -> None:
        os.utime(folder / "b.wav", ns=(5, 7_000_000_001))
        assert find_version(folder / "b.wav") == SourceVersion(3_244, "7000000001")

    def test_only_one_folder_is_listed_at_a_time(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        listed: list[str] = []
        scandir = os.scandir
        monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))  # type: ignore[func-returns-value]
        next(find_sources(folder))
        assert listed == [str(folder)]


class TestPatterns:
    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("*.wav", ["b.wav"]),
            ("[ab].*", ["a.WAV", "b.wav"]),
            ("*/c.wav", ["late/c.wav"]),
            ("l*", ["late/c.wav", "late/deep/d.wav"]),
            ("**/*.wav", ["b.wav", "late/c.wav", "late/deep/d.wav"]),
            ("**", ["a.WAV", "b.wav", "notes.txt", "late/c.wav", "late/deep/d.wav"]),
            ("**/**/?.wav", ["b.wav", "late/c.wav", "late/deep/d.wav"]),
            ("**/deep/*", ["late/deep/d.wav"]),
            (".*/*", [".hidden/e.wav"]),
            ("late/*/d.wav", ["late/deep/d.wav"]),
        ],
    )
    def test_a_pattern_matches_what_it_matches_in_a_shell(
        self, folder: Path, pattern: str, expected: list[str]
    ) -> None:
        assert names(find_sources(f"{folder}/{pattern}"), str(folder)) == expected

    def test_a_pattern_without_a_folder_begins_in_the_current_one(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(folder)
        assert [one.source for one in find_sources("*.wav")] == ["b.wav"]

    def test_outputs_keep_the_folders_behind_the_first_star(self, folder: Path) -> None:
        assert [one.stem for one in find_sources(f"{folder}/*/*.wav")] == [PurePath("late/c")]


class TestErrors:
    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("missing", "No such file or directory"),
            ("missing/*.wav", "no file matches"),
            ("*.ogg", "no file matches"),
            ("empty", "the folder holds no audio files"),
        ],
    )
    def test_what_is_not_there_is_named(self, folder: Path, name: str, reason: str) -> None:
        (folder / "empty").mkdir()
        with pytest.raises(FileNotFoundError) as caught:
            list(find_sources(folder / name))
        assert (caught.value.strerror, caught.value.filename) == (reason, str(folder / name))

    def test_a_folder_that_cannot_be_listed_is_an_error_or_is_reported(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scandir = os.scandir

        def refusing(path: str) -> object:
            if path.endswith("late"):
                raise PermissionError(13, "Permission denied", path)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refusing)
        with pytest.raises(PermissionError):
            list(find_sources(folder))
        errors: list[OSError] = []
        assert names(find_sources(folder, on_error=errors.append), str(folder)) == IN_FOLDER[:3]
        assert [error.filename for error in errors] == [str(folder / "late")]


# --- an object store --------------------------------------------------------------------------------------------------

PCM16K = AudioFormat("pcm", 16_000)


@pytest.fixture(scope="module")
def store() -> Iterator[Any]:
    """Return the filesystem of a store with the same recordings."""
    with stored({f"calls/{name}": WAV for name in NAMES}) as filesystem:
        yield filesystem


HEADER = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\x80>\0\0\0}\0\0\x02\0\x10\0data\xff\xff\xff\xff"
SAMPLES = bytes(range(256)) * 4 * 1024
WAV = HEADER + SAMPLES


async def read_all(url: str) -> bytes:
    audio = read_audio(url)
    await audio.preflight(PCM16K)
    return b"".join([chunk async for chunk in audio])


class TestObjectStores:
    def test_buckets_are_searched_as_folders_are(self, store: Any) -> None:
        assert names(find_sources("s3://calls"), "s3://calls") == IN_FOLDER
        assert names(find_sources("s3://calls/late/"), "s3://calls") == ["late/c.wav", "late/deep/d.wav"]
        found = list(find_sources("obs://calls/**/*.wav"))
        assert [one.source for one in found] == [
            "obs://calls/b.wav",
            "obs://calls/late/c.wav",
            "obs://calls/late/deep/d.wav",
        ]
        assert [one.stem for one in found][-1:] == [PurePath("late/deep/d")]
        assert {one.version for one in found} == {find_version("s3://calls/b.wav")}

    @pytest.mark.parametrize("url", ["s3://calls/late/c.wav", "obs://calls/a.WAV"])
    async def test_an_object_is_read_as_a_file_is(self, store: Any, url: str) -> None:
        assert await read_all(url) == SAMPLES

    async def test_an_object_that_changes_is_refused(self, store: Any) -> None:
        store.pipe("calls/changing.bin", WAV)
        audio = read_audio("s3://calls/changing.bin")
        await audio.preflight(PCM16K)
        with pytest.raises(ConnectionLostError, match=r"s3://calls/changing\.bin changed while it was read"):
            async for _ in audio:
                store.pipe("calls/changing.bin", WAV + b"more")

    @pytest.mark.parametrize(
        ("url", "error"),
        [
            ("s3://calls/missing.wav", FileNotFoundError),
            ("s3://missing/a.wav", FileNotFoundError),
            ("s3://calls/late", IsADirectoryError),
        ],
    )
    async def test_what_is_not_there_is_named(self, store: Any, url: str, error: type[OSError]) -> None:
        with pytest.raises(error) as caught:
            await read_all(url)
        assert caught.value.filename == url

    async def test_a_filesystem_that_is_not_installed_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "ossfs", None)
        with pytest.raises(ConfigurationError, match=r"oss://calls/a\.wav cannot be read: Install ossfs to access"):
            await read_all("oss://calls/a.wav")
