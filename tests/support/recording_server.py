"""A web server for recordings, with the faults that real ones have, in a thread."""

from __future__ import annotations

import http.server
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["RecordingServer", "WebRecording", "recording_server"]

WRITTEN_AT_ONCE = 256 * 1024


@dataclass
class WebRecording:
    """A recording of the server, and its faults."""

    content: bytes | Callable[[int, int], bytes]
    """The bytes, or a function that makes those between two places."""
    size: int = 0
    has_ranges: bool = True
    has_length: bool = True
    is_chunked: bool = False
    cuts: list[int] = field(default_factory=list)
    """The places at which a response breaks, each once."""
    statuses: list[int] = field(default_factory=list)
    """The statuses of the first requests."""
    etag: str = '"1"'
    on_request: Callable[[WebRecording, int], None] | None = None
    """Called with the recording and the place of each request."""
    starts: list[int] = field(default_factory=list)
    """The place of each request."""

    def __post_init__(self) -> None:
        if isinstance(self.content, bytes):
            self.size = len(self.content)

    def part(self, begin: int, end: int) -> bytes:
        return self.content[begin:end] if isinstance(self.content, bytes) else self.content(begin, end)


@dataclass
class RecordingServer:
    """The recordings by their paths, and the address of the server."""

    url: str
    recordings: dict[str, WebRecording] = field(default_factory=dict)

    def add(self, path: str, recording: WebRecording | bytes) -> str:
        """Serve a recording, and return its URL."""
        self.recordings[path.partition("?")[0]] = WebRecording(recording) if isinstance(recording, bytes) else recording
        return self.url + path


@contextmanager
def recording_server() -> Iterator[RecordingServer]:
    """Serve recordings on a free port of 127.0.0.1."""

    class Handler(_Handler):
        recordings: ClassVar[dict[str, WebRecording]] = {}

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield RecordingServer(f"http://127.0.0.1:{server.server_port}", Handler.recordings)
        finally:
            server.shutdown()
            thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    recordings: ClassVar[dict[str, WebRecording]]

    def log_message(self, *_arguments: object) -> None:
        """Write nothing."""

    def do_GET(self) -> None:
        recording = self.recordings.get(self.path.partition("?")[0])
        if recording is None:
            self.send_error(404)
            return
        start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        recording.starts.append(start)
        if recording.on_request is not None:
            recording.on_request(recording, start)
        if recording.statuses:
            self.send_error(recording.statuses.pop(0))
        else:
            self._send(recording, start)

    def _send(self, recording: WebRecording, start: int) -> None:
        if not recording.has_ranges:
            start = 0
        elif start >= recording.size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{recording.size}")
            self.send_header("ETag", recording.etag)
            self.end_headers()
            return
        self.send_response(206 if recording.has_ranges else 200)
        if recording.has_ranges:
            self.send_header("Content-Range", f"bytes {start}-{recording.size - 1}/{recording.size}")
        if recording.has_length:
            self.send_header("Content-Length", str(recording.size - start))
        if recording.is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.send_header("ETag", recording.etag)
        self.end_headers()
        cut = next((place for place in recording.cuts if place >= start), recording.size)
        if cut in recording.cuts:
            recording.cuts.remove(cut)
        try:
            for begin in range(start, cut, WRITTEN_AT_ONCE):
                part = recording.part(begin, min(cut, begin + WRITTEN_AT_ONCE))
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if recording.is_chunked else part)
            if recording.is_chunked and cut == recording.size:
                self.wfile.write(b"0\r\n\r\n")
        except ConnectionError:
            pass  # the client has read enough
