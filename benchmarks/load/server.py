"""The load server: it costs less than any client, and measures the lateness of each frame.

It speaks the part of DashScope's task protocol that the clients use, checks nothing, and does not unmask audio.
The lateness of a frame is its arrival minus the length of the audio before it, minus the smallest such difference of
its task so far. So it means the same for every client, and no client reports on itself; the delays of the network and
of this process are included.

    python -m load.server [--certificate FILE] [--start-delay-ms N]

prints its URL, then answers each line of standard input with a JSON object of the figures; `reset` sets the counters
of frames and time back before that, `report` does not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import ssl
import sys
import time
from typing import Any, cast

from . import messages, ws_frames
from .measurements import cpu_s, event_loop_factory, quantiles_ms

PATH = "/api-ws/v1/inference"

BACKLOG = 4_096
"""Enough for all sessions of a run that connect at once."""

_AUDIO_WS_FRAME_BYTES = len(messages.FRAME) + 8
_AUDIO_FIRST_BYTE = 0x80 | ws_frames.BINARY


class Counters:
    """Counters of the server: frames and time since `reset`, connections and final results since the start."""

    def __init__(self) -> None:
        self.connections = 0
        self.finals = 0
        self.reset()

    def reset(self) -> None:
        """Start a new measurement."""
        self.lateness_s: list[float] = []
        self._began_at, self._cpu_s = time.perf_counter(), cpu_s()

    def report(self) -> dict[str, Any]:
        """Return the figures."""
        elapsed_s, used_s = time.perf_counter() - self._began_at, cpu_s() - self._cpu_s
        return {
            "frames": len(self.lateness_s),
            "lateness": quantiles_ms([1_000 * late_s for late_s in self.lateness_s]),
            "connections": self.connections,
            "finals": self.finals,
            "server_cpu_share": round(used_s / elapsed_s, 3),
        }


class Connection(asyncio.Protocol):
    """The connection of one client."""

    def __init__(self, counters: Counters, start_delay_s: float) -> None:
        self._counters = counters
        self._start_delay_s = start_delay_s
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._request: bytearray | None = bytearray()
        self._reader = ws_frames.WsFrameReader()
        self._task_id = ""
        # state of the running task
        self._audio_bytes = 0
        self._results = 0
        self._result_due_bytes = messages.RESULT_EVERY_BYTES
        self._earliest_at = float("inf")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transport does not inherit from it
        self._counters.connections += 1

    def data_received(self, data: bytes) -> None:
        if (
            len(data) == _AUDIO_WS_FRAME_BYTES
            and data[0] == _AUDIO_FIRST_BYTE
            and self._request is None
            and self._reader.is_between_frames
        ):
            self._receive_audio(len(messages.FRAME))
        elif self._request is not None:
            self._receive_handshake(data)
        else:
            for opcode, mask, payload in self._reader.read(data):
                self._receive_message(opcode, mask, payload)

    def _receive_handshake(self, data: bytes) -> None:
        assert self._request is not None
        self._request += data
        request, end, rest = bytes(self._request).partition(b"\r\n\r\n")
        if not end:
            return
        self._request = None
        self._write(ws_frames.handshake_response(request))
        if rest:
            self.data_received(rest)

    def _receive_message(self, opcode: int, mask: bytes, payload: bytes) -> None:
        if opcode == ws_frames.BINARY:
            self._receive_audio(len(payload))
        elif opcode == ws_frames.TEXT:
            self._receive_action(json.loads(ws_frames.apply_mask(payload, mask))["header"])
        elif opcode == ws_frames.PING:
            self._write(ws_frames.encode(ws_frames.PONG, ws_frames.apply_mask(payload, mask), masked=False))
        elif opcode == ws_frames.CLOSE and self._transport is not None:
            self._write(ws_frames.encode(ws_frames.CLOSE, ws_frames.apply_mask(payload, mask), masked=False))
            self._transport.close()

    def _receive_action(self, header: dict[str, str]) -> None:
        if header["action"] == "run-task":
            self._task_id = header["task_id"]
            self._audio_bytes = self._results = 0
            self._result_due_bytes = messages.RESULT_EVERY_BYTES
            self._earliest_at = float("inf")
            self._confirm_start()
        elif header["action"] == "finish-task":
            if self._results and not messages.is_final(self._results - 1):
                self._send_result()
            self._write(ws_frames.encode(ws_frames.TEXT, messages.finished(self._task_id), masked=False))

    def _confirm_start(self) -> None:
        confirmation = ws_frames.encode(ws_frames.TEXT, messages.started(self._task_id), masked=False)
        if self._start_delay_s:
            self._loop.call_later(self._start_delay_s, self._write, confirmation)
        else:
            self._write(confirmation)

    def _receive_audio(self, size: int) -> None:
        began_at = time.perf_counter() - self._audio_bytes / messages.BYTES_PER_S
        self._earliest_at = min(self._earliest_at, began_at)
        self._counters.lateness_s.append(began_at - self._earliest_at)
        self._audio_bytes += size
        if self._audio_bytes >= self._result_due_bytes:
            self._result_due_bytes += messages.RESULT_EVERY_BYTES
            self._send_result()

    def _send_result(self) -> None:
        self._write(messages.result_ws_frame(self._task_id.encode(), self._results))
        self._counters.finals += messages.is_final(self._results)
        self._results += 1

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


async def serve(certificate: str | None, start_delay_s: float) -> None:
    """Serve until standard input ends."""
    tls = None
    if certificate is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate)
    counters = Counters()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(counters, start_delay_s), "127.0.0.1", 0, ssl=tls, backlog=BACKLOG
    )
    port = server.sockets[0].getsockname()[1]
    print(f"{'ws' if tls is None else 'wss'}://127.0.0.1:{port}{PATH}", flush=True)
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async for command in commands:
        if command.strip() == b"reset":
            counters.reset()
        print(json.dumps(counters.report()), flush=True)


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--certificate", help="PEM file with key and certificates; serves wss instead of ws")
    parser.add_argument(
        "--start-delay-ms", type=float, default=0.0, help="delay before the start of a task is confirmed"
    )
    arguments = parser.parse_args()
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    with asyncio.Runner(loop_factory=event_loop_factory("fastest")) as runner:
        runner.run(serve(arguments.certificate, arguments.start_delay_ms / 1_000))


if __name__ == "__main__":
    main()
