"""The other side of every benchmark: a server that costs less than any client, and knows how late each frame came.

It speaks as much of DashScope's task protocol as the clients use, takes everything on trust, and does not unmask audio.
How late: a frame's arrival, less the length of the audio before it, less the same of the frame of its task that was
earliest so far. So it means the same for every client, whatever that client says about itself; what the network and
this process add is in it.

    python -m load.server [--certificate FILE] [--start-delay-ms N]

prints its URL, then answers each line of standard input: `reset` begins to count anew, `report` prints a JSON object.
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

from . import messages, wire
from .figures import cpu_s, new_event_loop, quantiles_ms

PATH = "/api-ws/v1/inference"

BACKLOG = 4_096
"""As many as may want to connect at once."""

_AUDIO_BYTES_ON_THE_WIRE = len(messages.FRAME) + 8
_AUDIO_FIRST_BYTE = 0x80 | wire.BINARY


class Tally:
    """What came in and went out: frames and time since `reset`, connections and final results since the start."""

    def __init__(self) -> None:
        self.connections = 0
        self.finals = 0
        self.reset()

    def reset(self) -> None:
        """Begin a measurement."""
        self.lateness_s: list[float] = []
        self._began_at, self._cpu_s = time.perf_counter(), cpu_s()

    def report(self) -> dict[str, Any]:
        """The figures."""
        elapsed_s, used_s = time.perf_counter() - self._began_at, cpu_s() - self._cpu_s
        return {
            "frames": len(self.lateness_s),
            "lateness": quantiles_ms([1_000 * late_s for late_s in self.lateness_s]),
            "connections": self.connections,
            "finals": self.finals,
            "server_cpu_share": round(used_s / elapsed_s, 3),
        }


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, tally: Tally, start_delay_s: float) -> None:
        self._tally = tally
        self._start_delay_s = start_delay_s
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._request: bytearray | None = bytearray()
        self._reader = wire.FrameReader()
        self._task_id = ""
        # of the running task
        self._taken_bytes = 0
        self._results = 0
        self._result_due_bytes = messages.RESULT_EVERY_BYTES
        self._earliest_at = float("inf")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from it
        self._tally.connections += 1

    def data_received(self, data: bytes) -> None:
        if (
            len(data) == _AUDIO_BYTES_ON_THE_WIRE
            and data[0] == _AUDIO_FIRST_BYTE
            and self._request is None
            and self._reader.is_between_frames
        ):
            self._take_audio(len(messages.FRAME))
        elif self._request is not None:
            self._take_request(data)
        else:
            for opcode, mask, payload in self._reader.read(data):
                self._take(opcode, mask, payload)

    def _take_request(self, data: bytes) -> None:
        assert self._request is not None
        self._request += data
        request, end, rest = bytes(self._request).partition(b"\r\n\r\n")
        if not end:
            return
        self._request = None
        self._write(wire.handshake_response(request))
        if rest:
            self.data_received(rest)

    def _take(self, opcode: int, mask: bytes, payload: bytes) -> None:
        if opcode == wire.BINARY:
            self._take_audio(len(payload))
        elif opcode == wire.TEXT:
            self._take_action(json.loads(wire.unmasked(payload, mask))["header"])
        elif opcode == wire.PING:
            self._write(wire.frame(wire.PONG, wire.unmasked(payload, mask), masked=False))
        elif opcode == wire.CLOSE and self._transport is not None:
            self._write(wire.frame(wire.CLOSE, wire.unmasked(payload, mask), masked=False))
            self._transport.close()

    def _take_action(self, header: dict[str, str]) -> None:
        if header["action"] == "run-task":
            self._task_id = header["task_id"]
            self._taken_bytes = self._results = 0
            self._result_due_bytes = messages.RESULT_EVERY_BYTES
            self._earliest_at = float("inf")
            self._answer_start()
        elif header["action"] == "finish-task":
            if self._results and not messages.is_final(self._results - 1):
                self._send_result()
            self._write(wire.frame(wire.TEXT, messages.finished(self._task_id), masked=False))

    def _answer_start(self) -> None:
        answer = wire.frame(wire.TEXT, messages.started(self._task_id), masked=False)
        if self._start_delay_s:
            self._loop.call_later(self._start_delay_s, self._write, answer)
        else:
            self._write(answer)

    def _take_audio(self, size: int) -> None:
        began_at = time.perf_counter() - self._taken_bytes / messages.BYTES_PER_S
        self._earliest_at = min(self._earliest_at, began_at)
        self._tally.lateness_s.append(began_at - self._earliest_at)
        self._taken_bytes += size
        if self._taken_bytes >= self._result_due_bytes:
            self._result_due_bytes += messages.RESULT_EVERY_BYTES
            self._send_result()

    def _send_result(self) -> None:
        self._write(messages.result_frame(self._task_id.encode(), self._results))
        self._tally.finals += messages.is_final(self._results)
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
    tally = Tally()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(tally, start_delay_s), "127.0.0.1", 0, ssl=tls, backlog=BACKLOG
    )
    port = server.sockets[0].getsockname()[1]
    print(f"{'ws' if tls is None else 'wss'}://127.0.0.1:{port}{PATH}", flush=True)
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async for command in commands:
        if command.strip() == b"reset":
            tally.reset()
        print(json.dumps(tally.report()), flush=True)


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--certificate", help="PEM file with key and certificates: wss instead of ws")
    parser.add_argument("--start-delay-ms", type=float, default=0.0, help="before a task is answered")
    arguments = parser.parse_args()
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    with asyncio.Runner(loop_factory=new_event_loop("fastest")) as runner:
        runner.run(serve(arguments.certificate, arguments.start_delay_ms / 1_000))


if __name__ == "__main__":
    main()
