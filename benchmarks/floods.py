"""Servers that send without end: the memory of a session with each of them, and how it ends.

Each flood runs against a session in a process of its own, with a slow consumer. Printed is the peak of the memory
that is resident (`VmHWM` of `/proc/self/status`) over that at the start, behind the imports. The servers are written
with `websockets` and raw sockets; no code of the library runs in them. Linux only.

    python benchmarks/floods.py
    python benchmarks/floods.py --floods pings finals --seconds 10

Exit status 1 if a session needed 64 MiB or more over the start, or had not ended when all deadlines had passed.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from asr_async import ASRError, DashScope, Gummy, Huawei, Paraformer, QwenRealtime, Rasr, Retry, Timeouts, connect

MAX_MIB = 64
"""The memory that a session may need over the start."""

TIMEOUTS = Timeouts(connect=2, start=2, idle=2, finish=2, translation=1, close=1)
RETRY = Retry(attempts=2, max_delay_s=0.5)

SLOW_S = 0.05
"""The time that the consumer takes for each event, until the deadlines have ended the session."""

TEXT = "flood " * 3_400
"""20 KB."""

Options: TypeAlias = Paraformer | Gummy | QwenRealtime | Rasr
Script: TypeAlias = Callable[[ServerConnection], Awaitable[None]]


class Flood(msgspec.Struct, frozen=True, kw_only=True):
    """A server, and the session with it."""

    what: str
    options: Options = Paraformer()
    serve: Script | None = None
    """The script of each connection."""
    respond: bytes | None = None
    """The bytes that answer the handshake again and again, if there is no WebSocket."""


class Row(msgspec.Struct, kw_only=True):
    """The outcome of one flood."""

    flood: str
    what: str
    start_mib: float
    over_start_mib: float
    seconds: float
    events: int
    end: str

    @property
    def is_good(self) -> bool:
        """True if the memory was bounded, and the session ended by itself."""
        return self.over_start_mib < MAX_MIB and not self.end.startswith("not ended")


# --- servers: the protocols ------------------------------------------------------------------------------------------


async def start_task(connection: ServerConnection) -> str:
    """Begin a task of DashScope's task protocol, and return its id."""
    task_id: str = json.loads(await connection.recv())["header"]["task_id"]
    await connection.send(task_event("task-started", task_id))
    return task_id


def task_event(event: str, task_id: str, **payload: Any) -> str:
    """Return a message of the task protocol."""
    return json.dumps({"header": {"task_id": task_id, "event": event, "attributes": {}}, "payload": payload})


def sentence(task_id: str, number: int, *, is_final: bool, text: str = TEXT, words: int = 0, step_ms: int = 100) -> str:
    """Return a result with the next sentence."""
    begin_ms, end_ms = step_ms * number, step_ms * (number + 1)
    word = {"text": "flood", "begin_time": begin_ms, "end_time": end_ms, "punctuation": ""}
    members = {"sentence_id": number, "begin_time": begin_ms, "text": text, "words": [word] * words}
    members |= {"end_time": end_ms if is_final else None, "sentence_end": is_final}
    return task_event("result-generated", task_id, output={"sentence": members})


async def read(connection: ServerConnection) -> None:
    """Receive audio without end, so that the flood is not held back by it."""
    async for _ in connection:
        pass


async def send_all(connection: ServerConnection, messages: Iterator[str | bytes]) -> None:
    """Send messages as fast as the client reads them, and read the audio beside that."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(read(connection))
        for message in messages:
            await connection.send(message)


async def write_all(connection: ServerConnection, pieces: Iterator[bytes]) -> None:
    """Write bytes as fast as the client reads them, and read nothing."""
    transport = connection.transport
    transport.pause_reading()
    for piece in pieces:
        transport.write(piece)
        while transport.get_write_buffer_size() > 1_000_000:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.001)
        if transport.is_closing():
            return


def ws_frame(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    """Return the bytes of a server's frame."""
    return Frame(opcode, data, fin).serialize(mask=False)


def task_flood(make: Callable[[str, int], str]) -> Script:
    """Return a server that sends `make(task_id, number)` for all numbers."""

    async def script(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await send_all(connection, (make(task_id, number) for number in itertools.count()))

    return script


# --- servers: the floods ---------------------------------------------------------------------------------------------


async def send_pings(connection: ServerConnection) -> None:
    """Send pings and read nothing."""
    await start_task(connection)
    await write_all(connection, itertools.repeat(ws_frame(Opcode.PING, bytes(125)) * 100))


async def send_pings_between_results(connection: ServerConnection) -> None:
    """Send pings between the fragments of results, and read nothing."""
    task_id = await start_task(connection)
    ping = ws_frame(Opcode.PING, bytes(125)) * 50

    def pieces() -> Iterator[bytes]:
        for number in itertools.count():
            begin, end = sentence(task_id, number, is_final=True, text="word").encode().split(b'"payload"')
            yield ws_frame(Opcode.TEXT, begin, fin=False) + ping + ws_frame(Opcode.CONT, b'"payload"' + end) + ping

    await write_all(connection, pieces())


async def send_empty_fragments(connection: ServerConnection) -> None:
    """Send a message that never ends and never grows."""
    await start_task(connection)
    fragment = ws_frame(Opcode.CONT, b"", fin=False)
    await write_all(
        connection, itertools.chain([ws_frame(Opcode.TEXT, b"", fin=False)], itertools.repeat(fragment * 1_000))
    )


async def send_huawei(connection: ServerConnection, *, is_final: bool) -> None:
    """Send results of ever new segments by Huawei's protocol."""
    await connection.recv()
    await connection.send(json.dumps({"resp_type": "START", "trace_id": "t"}))

    def messages() -> Iterator[str]:
        for number in itertools.count():
            result = {"text": TEXT, "score": 0.9, "word_info": []}
            times = {"start_time": 100 * number, "end_time": 100 * (number + 1)}
            segment = {**times, "is_final": is_final, "result": result}
            yield json.dumps({"resp_type": "RESULT", "trace_id": "t", "segments": [segment]})

    await send_all(connection, messages())


async def send_huawei_interims(connection: ServerConnection) -> None:
    """Send interims of ever new segments by Huawei's protocol."""
    await send_huawei(connection, is_final=False)


async def send_huawei_finals(connection: ServerConnection) -> None:
    """Send finals by Huawei's protocol."""
    await send_huawei(connection, is_final=True)


async def send_qwen(connection: ServerConnection, *, is_final: bool) -> None:
    """Send results of ever new items by Qwen's realtime protocol."""
    await connection.send(json.dumps({"type": "session.created", "session": {"id": "s"}}))
    await connection.recv()
    await connection.send(json.dumps({"type": "session.updated", "session": {"id": "s"}}))
    transcription = "conversation.item.input_audio_transcription"

    def messages() -> Iterator[str]:
        for number in itertools.count():
            item = {"item_id": f"item_{number}"}
            started = {"type": "input_audio_buffer.speech_started", "audio_start_ms": 100 * number, **item}
            yield json.dumps(started)
            kind, text = ("completed", "transcript") if is_final else ("text", "stash")
            yield json.dumps({"type": f"{transcription}.{kind}", "content_index": 0, "text": "", text: TEXT, **item})

    await send_all(connection, messages())


async def send_qwen_interims(connection: ServerConnection) -> None:
    """Send interims of ever new items by Qwen's realtime protocol."""
    await send_qwen(connection, is_final=False)


async def send_qwen_finals(connection: ServerConnection) -> None:
    """Send finals by Qwen's realtime protocol."""
    await send_qwen(connection, is_final=True)


def translated(task_id: str, number: int) -> str:
    """Return a final of Gummy with a translation that is never final."""
    times = {"sentence_id": number, "begin_time": 100 * number, "end_time": 100 * (number + 1)}
    spoken = {**times, "text": TEXT, "sentence_end": True, "words": []}
    translation = {**times, "lang": "en", "text": TEXT, "sentence_end": False, "words": []}
    return task_event("result-generated", task_id, output={"transcription": spoken, "translations": [translation]})


async def send_without_a_task(connection: ServerConnection) -> None:
    """Send messages, but not the one that opens the task."""
    task_id = json.loads(await connection.recv())["header"]["task_id"]
    await send_all(connection, (task_event(f"event {number} {TEXT}", task_id) for number in itertools.count()))


async def grow_the_end(connection: ServerConnection) -> None:
    """Send a result that ends later every half second behind the end of the audio, and confirm nothing."""
    task_id = await start_task(connection)
    while isinstance(await connection.recv(), bytes):
        pass
    for number in itertools.count():
        await connection.send(sentence(task_id, number, is_final=True, text="word", step_ms=500))
        await asyncio.sleep(0.5)


async def repeat_a_final(connection: ServerConnection) -> None:
    """Send the same final on each connection, without an end, and abort it."""
    task_id = await start_task(connection)
    await connection.recv()
    members = {"begin_time": 0, "end_time": None, "text": "word", "sentence_end": True}
    await connection.send(task_event("result-generated", task_id, output={"sentence": members}))
    await asyncio.sleep(0.1)
    connection.transport.abort()


FLOODS = {
    "pings": Flood(what="pings, from a server that reads nothing", serve=send_pings),
    "pings-in-messages": Flood(
        what="pings between the fragments of results, from a server that reads nothing",
        serve=send_pings_between_results,
    ),
    "fragments": Flood(what="a message of empty fragments that never ends", serve=send_empty_fragments),
    "finals": Flood(
        what="finals of 20 KB", serve=task_flood(lambda task_id, number: sentence(task_id, number, is_final=True))
    ),
    "same-final": Flood(
        what="one final of 20 KB with ever new numbers",
        serve=task_flood(lambda task_id, number: sentence(task_id, number, is_final=True, step_ms=0)),
    ),
    "short-finals": Flood(
        what="finals of one character",
        serve=task_flood(lambda task_id, number: sentence(task_id, number, is_final=True, text="a")),
    ),
    "large-finals": Flood(
        what="finals of 4 MiB",
        serve=task_flood(lambda task_id, number: sentence(task_id, number, is_final=True, text="flood " * 700_000)),
    ),
    "words": Flood(
        what="finals of 2,000 words",
        serve=task_flood(lambda task_id, number: sentence(task_id, number, is_final=True, text="a", words=2_000)),
    ),
    "interims": Flood(
        what="interims of ever new sentences",
        serve=task_flood(lambda task_id, number: sentence(task_id, number, is_final=False)),
    ),
    "huawei-finals": Flood(what="finals of 20 KB (Huawei)", options=Rasr(), serve=send_huawei_finals),
    "huawei-interims": Flood(
        what="interims of ever new segments (Huawei)", options=Rasr(interim_results=True), serve=send_huawei_interims
    ),
    "qwen-finals": Flood(what="finals of 20 KB (Qwen realtime)", options=QwenRealtime(), serve=send_qwen_finals),
    "qwen-interims": Flood(
        what="interims of ever new items (Qwen realtime)", options=QwenRealtime(), serve=send_qwen_interims
    ),
    "translations": Flood(
        what="finals with translations that are never final (Gummy)",
        options=Gummy(translation_target_languages=["en"]),
        serve=task_flood(translated),
    ),
    "unknown": Flood(
        what="unknown events with ever new names of 20 KB",
        serve=task_flood(lambda task_id, number: task_event(f"event {number} {TEXT}", task_id)),
    ),
    "no-task": Flood(what="messages, but the task is not opened", serve=send_without_a_task),
    "growing-end": Flood(what="ever later results behind the end of the audio", serve=grow_the_end),
    "repeated-final": Flood(what="the same final without an end on each connection, and a cut", serve=repeat_a_final),
    "headers": Flood(
        what="a response with headers that never end", respond=b"X-Flood: " + bytes(100).hex().encode() + b"\r\n"
    ),
    "refusal": Flood(what="a refusal with a body that never ends", respond=b"\r\n" + b"flood " * 1_000),
}


# --- the measured process --------------------------------------------------------------------------------------------


def resident_mib(name: str) -> float:
    """Return a size from the status of this process in MiB: VmRSS, or VmHWM for the peak."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    match = re.search(rf"{name}:\s+(\d+) kB", status)
    return 0.0 if match is None else int(match[1]) / 1024


async def microphone(seconds: float) -> AsyncIterator[bytes]:
    """Yield a frame of silence every 100 ms."""
    for _ in range(round(seconds * 10)):
        yield bytes(3_200)
        await asyncio.sleep(0.1)


async def measure(name: str, url: str, seconds: float) -> Row:
    """Run a session against a flood, in the process that is measured."""
    flood, start_mib, began_at = FLOODS[name], resident_mib("VmRSS"), time.monotonic()
    slow_until = began_at + seconds + 3 * TIMEOUTS.idle
    events, end = 0, "confirmed by the vendor"
    try:
        async with asyncio.timeout(deadlines_s(seconds)):
            service = service_for(flood, url)
            async with connect(flood.options, service, timeouts=TIMEOUTS, retry=RETRY) as session:
                async for _ in session.events(microphone(seconds)):
                    events += 1
                    if time.monotonic() < slow_until:
                        await asyncio.sleep(SLOW_S)
    except ASRError as error:
        end = f"{type(error).__name__}: {error}"
    except TimeoutError:
        end = "not ended when all deadlines had passed"
    return Row(
        flood=name,
        what=flood.what,
        start_mib=round(start_mib, 1),
        over_start_mib=round(resident_mib("VmHWM") - start_mib, 1),
        seconds=round(time.monotonic() - began_at, 1),
        events=events,
        end=end,
    )


def service_for(flood: Flood, url: str) -> DashScope | Huawei:
    """Return the service of the flood's vendor, at this endpoint."""
    if isinstance(flood.options, Rasr):
        return Huawei(ak="a", sk="s", project_id="p", region="r", endpoint=url)
    return DashScope("key", endpoint=url)


def deadlines_s(seconds: float) -> float:
    """Return the longest time that a session may take: each deadline on each connection, and the slow consumer."""
    each = TIMEOUTS.connect + TIMEOUTS.start + 2 * TIMEOUTS.idle + TIMEOUTS.finish + TIMEOUTS.close + RETRY.max_delay_s
    return seconds + (1 + RETRY.attempts) * each + 3 * TIMEOUTS.idle


# --- the servers' process --------------------------------------------------------------------------------------------


async def run_flood(name: str, seconds: float) -> Row:
    """Serve a flood, and measure a session with it in a child process."""
    flood = FLOODS[name]
    if flood.serve is None:
        async with await asyncio.start_server(lambda _, writer: respond(flood, writer), "127.0.0.1", 0) as server:
            return await measure_in_child(name, server.sockets[0].getsockname()[1], seconds)
    serve_one = flood.serve

    async def behave(connection: ServerConnection) -> None:
        try:
            await serve_one(connection)
        except* (ConnectionClosed, ConnectionError):
            pass

    async with serve(behave, "127.0.0.1", 0, compression=None, max_size=None, ping_interval=None) as websockets:
        return await measure_in_child(name, next(iter(websockets.sockets)).getsockname()[1], seconds)


async def respond(flood: Flood, writer: asyncio.StreamWriter) -> None:
    """Answer a handshake without end."""
    assert flood.respond is not None
    try:
        writer.write(b"HTTP/1.1 403 Forbidden\r\n")
        while True:
            writer.write(flood.respond)
            await writer.drain()
    except ConnectionError:
        writer.close()


async def measure_in_child(name: str, port: int, seconds: float) -> Row:
    """Run `measure` in another process."""
    arguments = ["--measure", name, "--url", f"ws://127.0.0.1:{port}/", "--seconds", str(seconds)]
    child = await asyncio.create_subprocess_exec(
        sys.executable, __file__, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    output, _ = await child.communicate()
    return msgspec.json.decode(output, type=Row)


async def run(names: list[str], seconds: float, jobs: int, report: Callable[[Row], None]) -> list[Row]:
    """Run floods, some at the same time, and report each in their order."""
    may_run = asyncio.Semaphore(jobs)

    async def run_one(name: str) -> Row:
        async with may_run:
            return await run_flood(name, seconds)

    rows = []
    for running in [asyncio.create_task(run_one(name)) for name in names]:
        rows.append(await running)
        report(rows[-1])
    return rows


def print_row(row: Row) -> None:
    """Print one row as a line and its end below."""
    print(f"{row.flood:18} {row.over_start_mib:6.1f} MiB over {row.start_mib:.0f} {row.seconds:6.1f} s  {row.what}")
    print(f"{'':18} {row.events} events, then {row.end}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments, run, print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--floods", nargs="+", choices=FLOODS, default=list(FLOODS), help="default: all of them")
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="the length of the audio that is streamed (default: %(default)s)"
    )
    parser.add_argument("--jobs", type=int, default=1, help="number of floods at the same time (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    parser.add_argument("--measure", choices=FLOODS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure is not None:
        print(msgspec.json.encode(asyncio.run(measure(options.measure, options.url, options.seconds))).decode())
        return 0
    rows = asyncio.run(
        run(options.floods, options.seconds, options.jobs, (lambda _: None) if options.json else print_row)
    )
    if options.json:
        print(msgspec.json.encode(rows).decode())
    return 0 if all(row.is_good for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
