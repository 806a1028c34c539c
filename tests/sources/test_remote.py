"""Recordings behind `http` URLs: blocks, broken reads, servers without ranges, changes, errors, and bounded memory."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from asr_async import (
    AudioFormat,
    AuthenticationError,
    Client,
    ConfigurationError,
    ConnectionLostError,
    Local,
    Paraformer,
    preflight,
    read_audio,
)
from asr_async.emulator import Scripted
from asr_async.sources import SourceVersion, find_version, remote

from ..support.child_processes import child_environment
from ..support.encoders import encode
from ..support.recording_server import RecordingServer, WebRecording, recording_server
from ..support.wav_files import write_wav

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PCM16K = AudioFormat("pcm", 16_000)
SAMPLES = bytes(range(256)) * 4 * 1024
"""Enough for a first block and two others."""

NOISE = random.Random(1).randbytes(960_000)
"""Thirty seconds that compress little."""


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "RETRY_DELAYS_S", (0.0, 0.0))


@pytest.fixture(scope="module")
def server() -> Iterator[RecordingServer]:
    with recording_server() as found:
        yield found


@pytest.fixture(scope="module")
def wav(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_wav(tmp_path_factory.mktemp("wav") / "a.wav", samples=SAMPLES).read_bytes()


async def read_all(source: Any) -> bytes:
    await source.preflight(PCM16K)
    return b"".join([chunk async for chunk in source])


class TestReading:
    async def test_a_url_is_read_as_a_file_is(self, server: RecordingServer, wav: bytes) -> None:
        audio = read_audio(server.add("/calls/a.wav?name=x", wav))
        assert await read_all(audio) == SAMPLES
        assert (audio.duration_ms, audio.path, audio.name) == (32_768, None, f"{server.url}/calls/a.wav")

    async def test_the_suffix_of_the_url_names_samples_without_a_header(self, server: RecordingServer) -> None:
        audio = read_audio(server.add("/a.ulaw", bytes(8_000)) + "?token=1234567")
        assert (await audio.facts()).sample_rate == 8_000

    async def test_a_read_that_breaks_goes_on_at_its_place(self, server: RecordingServer, wav: bytes) -> None:
        recording = WebRecording(wav)
        audio = read_audio(server.add("/cut.wav", recording))
        await audio.preflight(PCM16K)
        recording.starts, recording.cuts = [], [100_000, 600_000, 600_000]
        assert b"".join([chunk async for chunk in audio]) == SAMPLES
        assert recording.starts == [0, 100_000, 600_000, 600_000]

    async def test_a_server_without_ranges_is_read_again_up_to_the_place(
        self, server: RecordingServer, wav: bytes
    ) -> None:
        recording = WebRecording(wav, has_ranges=False, cuts=[100_000, 600_000])
        assert await read_all(read_audio(server.add("/stream.wav", recording))) == SAMPLES

    async def test_a_server_without_a_length_sends_a_stream(self, server: RecordingServer, wav: bytes) -> None:
        recording = WebRecording(wav, has_ranges=False, has_length=False)
        audio = read_audio(server.add("/endless.wav", recording))
        assert await read_all(audio) == SAMPLES
        assert audio.duration_ms is None

    async def test_a_stream_of_chunks_that_breaks_is_read_again_up_to_the_place(
        self, server: RecordingServer, wav: bytes
    ) -> None:
        recording = WebRecording(wav, has_ranges=False, has_length=False, is_chunked=True)
        audio = read_audio(server.add("/chunked.wav", recording))
        await audio.preflight(PCM16K)
        recording.cuts = [100_000, 600_000]
        assert b"".join([chunk async for chunk in audio]) == SAMPLES

    async def test_busy_servers_are_asked_again(self, server: RecordingServer, wav: bytes) -> None:
        recording = WebRecording(wav, statuses=[503, 429])
        assert await read_all(read_audio(server.add("/busy.wav", recording))) == SAMPLES

    async def test_the_version_is_that_of_the_server(self, server: RecordingServer, wav: bytes) -> None:
        url = server.add("/version.wav", WebRecording(wav, etag='"abc"'))
        assert find_version(url) == SourceVersion(len(wav), '"abc"')


class TestContainers:
    @pytest.mark.parametrize("has_ranges", [True, False])
    async def test_a_container_with_its_table_of_contents_at_the_end_is_decoded(
        self, server: RecordingServer, tmp_path: Path, *, has_ranges: bool
    ) -> None:
        path = encode(write_wav(tmp_path / "a.wav", samples=NOISE), tmp_path / "a.m4a", "-c:a", "aac")
        assert path.read_bytes().find(b"moov") > path.read_bytes().find(b"mdat")
        url = server.add("/a.m4a", WebRecording(path.read_bytes(), has_ranges=has_ranges))
        assert len(await read_all(read_audio(url))) == pytest.approx(30 * 32_000, abs=4_000)

    async def test_without_a_length_such_a_container_is_refused(self, server: RecordingServer, tmp_path: Path) -> None:
        path = encode(write_wav(tmp_path / "a.wav", samples=NOISE), tmp_path / "a.m4a", "-c:a", "aac")
        url = server.add("/stream.m4a", WebRecording(path.read_bytes(), has_ranges=False, has_length=False))
        with pytest.raises(ConfigurationError, match=r"stream\.m4a cannot be read as a stream, since its"):
            await read_audio(url).preflight(PCM16K)

    async def test_an_error_of_the_network_is_no_damage_of_the_recording(
        self, server: RecordingServer, tmp_path: Path
    ) -> None:
        path = encode(write_wav(tmp_path / "a.wav", 30), tmp_path / "a.mp3", "-c:a", "libmp3lame")
        recording = WebRecording(path.read_bytes())
        audio = read_audio(server.add("/gone.mp3", recording))
        await audio.preflight(PCM16K)
        recording.cuts = [30_000] * 20
        with pytest.raises(
            ConnectionLostError, match=r"gone\.mp3 cannot be read from byte 30000 on: the server closed"
        ):
            await read_all(audio)


class TestErrors:
    async def test_a_recording_that_changes_is_refused(self, server: RecordingServer, wav: bytes) -> None:
        def change(recording: WebRecording, start: int) -> None:
            recording.etag = f'"{start}"'

        recording = WebRecording(wav, on_request=change)
        audio = read_audio(server.add("/change.wav", recording))
        await audio.preflight(PCM16K)
        recording.cuts = [100_000]
        with pytest.raises(ConnectionLostError, match=r"change\.wav changed while it was read") as caught:
            _ = [chunk async for chunk in audio]
        assert caught.value.retryable

    async def test_a_connection_that_breaks_at_each_attempt_is_named_with_its_place(
        self, server: RecordingServer, wav: bytes
    ) -> None:
        recording = WebRecording(wav, cuts=[100_000] * 9)
        text = r"cannot be read from byte 100000 on: the server closed the connection before the end"
        with pytest.raises(ConnectionLostError, match=text) as caught:
            await read_all(read_audio(server.add("/broken.wav", recording)))
        assert caught.value.retryable

    @pytest.mark.parametrize(
        ("status", "error", "text"),
        [
            (404, FileNotFoundError, r"No such file or directory \(HTTP status 404\): 'http://.*/wrong\.wav'"),
            (403, PermissionError, r"Permission denied \(HTTP status 403\)"),
            (400, ConfigurationError, r"wrong\.wav cannot be read: the server answers with HTTP status 400"),
            (500, ConnectionLostError, r"wrong\.wav cannot be reached: the server answers with HTTP status 500"),
        ],
    )
    async def test_each_status_has_its_error(
        self, server: RecordingServer, status: int, error: type[Exception], text: str
    ) -> None:
        url = server.add("/wrong.wav", WebRecording(b"x", statuses=[status] * 3))
        with pytest.raises(error, match=text):
            await read_audio(url + "?Signature=abcdefgh").preflight(PCM16K)

    async def test_a_server_that_is_not_there_is_named_without_what_is_secret(self) -> None:
        with pytest.raises(ConnectionLostError) as caught:
            await read_audio("http://me:password@127.0.0.1:9/a.wav?Signature=abcdefgh").preflight(PCM16K)
        assert str(caught.value) == "http://127.0.0.1:9/a.wav cannot be reached: Connection refused"

    def test_a_url_that_is_none_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="the URL of a recording cannot be read: Invalid IPv6 URL"):
            read_audio("https://[::1/a.wav")

    async def test_an_empty_recording_and_a_page_of_text_are_refused(self, server: RecordingServer) -> None:
        with pytest.raises(ConfigurationError, match=r"empty\.wav is empty"):
            await read_audio(server.add("/empty.wav", b"")).preflight(PCM16K)
        with pytest.raises(ConfigurationError, match=r"page\.wav is text, not audio"):
            await read_audio(server.add("/page.wav", b"<html>Please log in</html>" * 40)).preflight(PCM16K)

    @pytest.mark.parametrize(
        ("url", "text"),
        [
            (
                "nothing://a/b.wav",
                r"nothing://a/b\.wav cannot be read: no filesystem of fsspec is registered for nothing",
            ),
            (
                "obs://calls/a.wav",
                r"the address of obs:// is not known: set FSSPEC_OBS_ENDPOINT_URL=https://obs\.REGION",
            ),
        ],
    )
    async def test_a_store_that_is_not_installed_or_configured_is_named(self, url: str, text: str) -> None:
        with pytest.raises(ConfigurationError, match=text):
            await read_audio(url).preflight(PCM16K)

    async def test_a_store_that_fails_for_a_moment_is_asked_again(
        self, monkeypatch: pytest.MonkeyPatch, wav: bytes
    ) -> None:
        from fsspec.implementations import memory

        filesystem, failures = memory.MemoryFileSystem(), [OSError("busy"), TimeoutError("slow")]
        filesystem.pipe("/calls/busy.wav", wav)
        info = memory.MemoryFileSystem.info

        def fail_at_first(self: Any, path: str) -> object:
            if failures:
                raise failures.pop()
            return info(self, path)

        monkeypatch.setattr(memory.MemoryFileSystem, "info", fail_at_first)
        audio = read_audio("memory://calls/busy.wav")
        assert b"".join([chunk async for chunk in audio]) == SAMPLES
        assert failures == []

    async def test_without_fsspec_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "fsspec", None)
        with pytest.raises(ConfigurationError, match=r'pip install "asr-async\[storage\]", and the filesystem of the'):
            await read_audio("s3://calls/a.wav").preflight(PCM16K)

    async def test_a_filesystem_without_credentials_stops_a_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from fsspec.implementations import memory

        class NoCredentialsError(Exception):
            """The error of botocore."""

        def refuse(_filesystem: object, path: str) -> object:
            raise NoCredentialsError(path)

        monkeypatch.setattr(memory.MemoryFileSystem, "info", refuse)
        with pytest.raises(AuthenticationError, match=r"memory://a/b\.wav cannot be read: there are no credentials"):
            await read_audio("memory://a/b.wav").preflight(PCM16K)


class TestSessions:
    async def test_a_url_is_transcribed_and_reported_on(self, server: RecordingServer, wav: bytes) -> None:
        url = server.add("/whole.wav", wav)
        async with Client(Local(Scripted([{"text": "go", "start_ms": 0, "end_ms": 900}]))) as client:
            assert (await client.transcribe(read_audio(url), Paraformer())).text == "go"
        assert (await preflight(url, Paraformer())).name == url

    async def test_a_session_that_is_left_leaves_a_server_that_sends_nothing(
        self, server: RecordingServer, wav: bytes
    ) -> None:
        async for _ in read_audio(server.add("/left.wav", wav)):
            break


READER = """
import asyncio, resource, sys
from asr_async import AudioFormat, read_audio

async def main():
    size = 0
    async for chunk in read_audio(sys.argv[1]):
        if size < 5_000_000 <= size + len(chunk):
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        size += len(chunk)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, size)

asyncio.run(main())
"""


def test_the_memory_does_not_depend_on_the_length(server: RecordingServer) -> None:
    size = 500_000_000
    recording = WebRecording(lambda begin, end: bytes(end - begin), size=size)
    url = server.add("/long.pcm", recording)
    completed = subprocess.run(
        [sys.executable, "-c", READER, url], env=child_environment(), capture_output=True, text=True, check=True
    )
    begin_kib, end_kib, read_bytes = map(int, completed.stdout.split())
    assert read_bytes == size
    assert end_kib - begin_kib < 8 * 1024
