"""Worker processes that recognise for an engine: a pool of them, their sessions, and their failures.

Knows no recogniser: a `WorkerProgram` names the module that runs in the processes (`worker_process` is its main loop).
A model is never loaded into this process: decoding would stall the event loop, and some runtimes end the process on a
bad model. Each core gets one worker process, and all sessions of a worker share its model. This module assigns sessions
to workers, matches answers to calls, and fails the sessions when their worker dies.

A recognition has at most one call under way, of at most 100 ms of audio. This bounds the data in the pipes, slows a
client down to the rate that the worker can decode, and makes sessions that are faster than real time alternate with the
others. The hypotheses of a recognition arrive unasked; a task of their own sends them to the client, so that a client
that reads slowly delays no other session.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec

from ..._text.lines import printable
from .engine import EngineRefusedError
from .words import mask_half_words
from .worker_messages import (
    LENGTH_BYTES,
    Answer,
    CloseCall,
    Emitted,
    FeedCall,
    FinishCall,
    Notice,
    OpenCall,
    Ready,
    WorkerMessage,
    pack,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from .engine import Emit, Hypothesis, Recognition, Request
    from .worker_messages import Call, ParentMessage

__all__ = ["WorkerPool", "WorkerProgram", "usable_cores"]

PIECE_MS = 100
"""The most audio that one call carries."""

ANSWER_TIMEOUT_S = 30.0
"""The longest time for one call. Audio needs some hundredths of a second, the start of a process and a decoder about
half a second: a worker that needs longer than this hangs."""

CLOSE_TIMEOUT_S = 2.0
"""The time that a worker has to exit by itself when the engine closes; after that it is killed."""

CATCH_UP_S = 0.3
"""The longest wait of a new decoder for sessions that lag: about as long as the last new decoder blocked them."""

LAST_LINES = 3
"""The lines of a dead worker's standard error in the error message: native code explains itself in one to three."""

MAX_LINE_CHARACTERS = 300

START_SCRIPT = str(Path(__file__).with_name("worker_start.py"))

_TRACEBACK = "Traceback (most recent call last):"
_logger = logging.getLogger("asr_async")


class WorkerProgram(msgspec.Struct, frozen=True, kw_only=True):
    """The program of an engine's worker processes."""

    module: str
    """The name of the module that `worker_start` runs."""
    arguments: tuple[str, ...] = ()
    engine: str
    """The name of the engine's class, for texts."""
    noun: str = "the embedded recogniser"
    """The recogniser in error texts."""
    has_costly_sessions: bool = False
    """True if each further session of a process loads a decoder, which blocks the other sessions for tenths of a
    second."""


class WorkerPool:
    """The worker processes of an engine, as many as there are cores at most.

    They start when they are needed: the first with the pool, in the background, so that it is ready when the first
    client has connected; each further one with a session that finds no idle worker. A worker that has died is replaced
    with the next session.

    Args:
        program: the program of the processes.
        workers: the most processes; None means one per usable core.
        sessions_per_worker: the most sessions of one worker; more are refused.

    Raises:
        ValueError: the numbers leave no room for a session.
    """

    def __init__(self, program: WorkerProgram, workers: int | None, sessions_per_worker: int) -> None:
        self._program = program
        self._max_workers = usable_cores() if workers is None else workers
        self._sessions_per_worker = sessions_per_worker
        if self._capacity < 1:
            raise ValueError(f"workers={workers}, sessions_per_worker={sessions_per_worker}: both must be at least 1")
        self._workers: list[_Worker] = []
        self._is_open = False

    def __repr__(self) -> str:
        sessions = sum(worker.sessions for worker in self._workers)
        state = "open" if self._is_open else "closed"
        name = self._program.engine
        return f"<{name}: {state}, {len(self._workers)} workers, {sessions} of {self._capacity} sessions>"

    @property
    def _capacity(self) -> int:
        return self._max_workers * self._sessions_per_worker

    def start(self) -> None:
        """Start the first worker, in the background."""
        self._is_open = True
        self._workers.append(_Worker(self._program))

    async def wait_until_ready(self) -> None:
        """Wait until the first worker has loaded its model.

        Raises:
            EngineRefusedError: `broken`: the worker cannot be started, or dies while it loads.
        """
        await self._workers[0].wait_until_ready()

    async def close(self) -> None:
        """Close all workers, and with them their sessions."""
        self._is_open = False
        workers, self._workers = self._workers, []
        await _close_all(workers)

    async def open(self, request: Request, emit: Emit) -> Recognition:
        """Start a recognition on the worker with the fewest sessions.

        Raises:
            EngineRefusedError: `capacity` if all workers are full; `broken` if a worker cannot be started or dies.
            RuntimeError: the pool was not started.
        """
        if not self._is_open:
            raise RuntimeError(f"the engine is not running: use `async with {self._program.engine}(...) as engine`")
        self._remove_ended()
        recognition = _PooledRecognition(self._select_worker(), request, emit)
        await recognition.start()
        return recognition

    def _remove_ended(self) -> None:
        for worker in [worker for worker in self._workers if worker.has_ended]:
            self._workers.remove(worker)
            worker.raise_bug()

    def _select_worker(self) -> _Worker:
        """Return the worker with the fewest sessions, or a new one if none is idle and the limit allows it."""
        usable = [worker for worker in self._workers if not worker.is_leaving]
        if all(worker.sessions for worker in usable) and len(usable) < self._max_workers:
            usable.append(_Worker(self._program))
            self._workers.append(usable[-1])
        worker = min(usable, key=lambda worker: worker.sessions)
        if worker.sessions >= self._sessions_per_worker:
            raise EngineRefusedError(
                f"all {self._capacity} sessions of {self._program.noun} are in use "
                f"({self._max_workers} workers x {self._sessions_per_worker}): try again when one has ended",
                kind="capacity",
            )
        return worker


class _Outbox:
    """The hypotheses on their way to the client, and the task that sends them.

    Between two finals only the newest interim is kept: a client that reads slowly gets fewer interims, not older ones.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._waiting: deque[Hypothesis] = deque()
        self._task: asyncio.Task[None] | None = None

    def push(self, hypothesis: Hypothesis) -> None:
        """Add a hypothesis; it is sent behind those that wait, or replaces the interim among them."""
        if self._waiting and not self._waiting[-1].is_final and not self._waiting[-1].is_noise:
            self._waiting.pop()
        self._waiting.append(hypothesis)
        if self._task is None:
            self._task = asyncio.create_task(self._send_all(), name="hypotheses of a recognition")

    async def _send_all(self) -> None:
        while self._waiting:
            await self._emit(self._waiting.popleft())
        # in the same step as the last look at the queue: what is pushed from now on starts another task
        self._task = None

    async def flush(self) -> None:
        """Wait until everything is sent.

        Raises:
            BaseException: as the client's `emit` raised it.
        """
        if (task := self._task) is not None:
            await asyncio.wait({task})
            if not task.cancelled():
                task.result()

    async def close(self) -> None:
        """Stop sending; nothing is sent after this."""
        self._waiting.clear()
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # retrieved, so that asyncio does not report it: the recognition is over


class _PooledRecognition:
    """One session on a worker; it occupies one of the worker's sessions until it fails or is closed."""

    def __init__(self, worker: _Worker, request: Request, emit: Emit) -> None:
        self._worker = worker
        self._request = request
        self._piece_bytes = max(1, request.sample_rate * PIECE_MS // 1000) * 2
        self._outbox = _Outbox(emit)
        self._session = worker.next_number()
        self._end_reason = ""
        """The reason why the recognition is over; empty while it is open."""
        self._is_counted = True
        """True while the session counts among the worker's sessions."""
        self._last = Answer(call=0)
        worker.sessions += 1

    def __repr__(self) -> str:
        state = f"over ({self._end_reason})" if self._end_reason else "open"
        name = self._worker.program.engine
        return f"<{name} recognition {self._session}: {state}, silent for {self.silent_ms} ms>"

    @property
    def silent_ms(self) -> int:
        """The audio since speech was last recognised (since the start if there was none), in milliseconds."""
        return self._last.silent_ms

    @property
    def has_speech(self) -> bool:
        """True if any word was recognised; noise does not count."""
        return self._last.has_speech

    async def start(self) -> None:
        with self._end_on_error():
            self._worker.outboxes[self._session] = self._outbox
            self._last = await self._worker.open(self._session, self._request)

    async def feed(self, samples: bytes) -> None:
        """Recognise samples; return when the worker is ready for more, and the hypotheses that it sent are emitted.

        Raises:
            EngineRefusedError: the worker died or hangs, or the recognition was already over.
        """
        with self._end_on_error():
            for start in range(0, len(samples), self._piece_bytes):
                piece = samples[start : start + self._piece_bytes]
                await self._exchange(FeedCall(self._worker.next_number(), self._session, piece))

    async def finish(self) -> None:
        """Recognise to the end.

        Raises:
            EngineRefusedError: as for `feed`.
        """
        with self._end_on_error():
            await self._exchange(FinishCall(self._worker.next_number(), self._session))
        self._end("it was finished")

    async def aclose(self) -> None:
        """Release the session of the worker, at any time; idempotent."""
        self._end("it was closed")
        await self._outbox.close()

    async def _exchange(self, call: Call) -> None:
        if self._end_reason:
            raise EngineRefusedError(f"this recognition is over: {self._end_reason}", kind="broken")
        self._last = await self._worker.call(call)
        await self._outbox.flush()

    @contextlib.contextmanager
    def _end_on_error(self) -> Iterator[None]:
        """End the recognition if a call is interrupted or cancelled: hypotheses may be lost, so none may follow."""
        try:
            yield
        except BaseException as error:
            self._end(f"it was interrupted by {error!r}")
            raise

    def _end(self, reason: str) -> None:
        self._end_reason = self._end_reason or reason
        if self._is_counted:
            # No need to wait: the pipe keeps the order. A call that is still in it comes before this message, and
            # the first call of the session that replaces this one comes after it.
            self._is_counted = False
            self._worker.sessions -= 1
            self._worker.outboxes.pop(self._session, None)
            self._worker.post(CloseCall(self._session))


class _Worker:
    """One worker process, from its start to its end, and the calls that wait for its answers."""

    def __init__(self, program: WorkerProgram) -> None:
        self.program = program
        self.sessions = 0
        self.outboxes: dict[int, _Outbox] = {}
        """The receivers of hypotheses, by session."""
        self.is_leaving = False
        """True if the process is closing, was killed or has ended: it receives no new sessions."""
        self._decoders = 1
        """The number of decoders that the process has created; it creates the first one at its start."""
        self._decoder_lock = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Answer | None]] = {}
        """The waiting calls, by number; None answers all of them when the process has ended."""
        self._is_loaded = asyncio.Event()
        """Set once the process has loaded its model, or has ended."""
        self._unsent = bytearray()
        """The messages posted while the process is being started."""
        self._process: asyncio.subprocess.Process | None = None
        self._status = "was not started"
        self.task = asyncio.create_task(self._run(), name=f"{program.engine} worker")
        """Ends with the process; fails only because of a bug."""
        # A callback, not the end of the task itself: a task that is cancelled before its first step never runs that.
        self.task.add_done_callback(self._answer_all_with_none)

    def __repr__(self) -> str:
        calls = len(self._waiting)
        return f"<{self.program.engine} worker: {self._status}, {self.sessions} sessions, {calls} calls>"

    @property
    def has_ended(self) -> bool:
        return self.task.done()

    def raise_bug(self) -> None:
        """Raise the exception of the ended task, if it has one."""
        if not self.task.cancelled():
            self.task.result()

    def next_number(self) -> int:
        """Return an unused number for a call or a session."""
        return next(self._numbers)

    async def wait_until_ready(self) -> None:
        """Wait until the process has loaded its model.

        Raises:
            EngineRefusedError: `broken`: the process has ended, or did not load in time and was killed.
        """
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._is_loaded.wait()
        except TimeoutError:
            raise self._hangs() from None
        if self.has_ended:
            raise self._broken(self._status)

    async def open(self, session: int, request: Request) -> Answer:
        """Start a session, which already counts among `sessions`.

        The creation of a decoder blocks the process, and so its other sessions, for some tenths of a second. They catch
        up between one decoder and the next, so that the delays of many simultaneous starts do not add up.
        """
        if not self.program.has_costly_sessions or self.sessions <= self._decoders:
            return await self.call(OpenCall(self.next_number(), session, request))
        async with self._decoder_lock:
            await self._wait_for_other_calls()
            answer = await self.call(OpenCall(self.next_number(), session, request))
            self._decoders += 1
        return answer

    async def _wait_for_other_calls(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_S):
                while self._waiting:
                    await asyncio.wait(self._waiting.values())

    async def call(self, call: Call) -> Answer:
        """Post a call and wait for its answer; the answer to a cancelled call is dropped.

        Raises:
            EngineRefusedError: `broken`: the process has ended, or did not answer in time and was killed.
        """
        future: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._waiting[call.call] = future
        try:
            self.post(call)
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                answer = None if self.has_ended else await future
        except TimeoutError:
            raise self._hangs() from None
        finally:
            del self._waiting[call.call]
        if answer is None:
            raise self._broken(self._status)
        return answer

    def post(self, message: ParentMessage) -> None:
        # No drain(): each session has at most one small call under way, and waits for its answer instead.
        if self._process is None:
            self._unsent += pack(message)
        elif not _stdin(self._process).is_closing():
            _stdin(self._process).write(pack(message))

    def close(self) -> None:
        """Close the input of the process, which makes it exit."""
        self.is_leaving = True
        if self._process is None:
            self.task.cancel()
        else:
            _stdin(self._process).close()

    def kill(self) -> None:
        self.is_leaving = True
        if self._process is None:
            self.task.cancel()
        else:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _run(self) -> None:
        try:
            self._process = process = await _start_process(self.program)
            self._status = f"runs as process {process.pid}"
            _stdin(process).write(self._unsent)
        except OSError as error:
            self._status = f"cannot be started: {error}"
        else:
            await self._read_until_end(process)

    async def _read_until_end(self, process: asyncio.subprocess.Process) -> None:
        last_lines: deque[str] = deque(maxlen=LAST_LINES)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_read_errors(process, last_lines))
                group.create_task(self._read_messages(process))
        except BaseException:
            self.kill()
            raise
        finally:
            self.is_leaving = True
            self._status = _describe_exit(await process.wait(), last_lines)
            _stdin(process).close()
            with contextlib.suppress(OSError):
                await _stdin(process).wait_closed()

    async def _read_messages(self, process: asyncio.subprocess.Process) -> None:
        messages = cast("asyncio.StreamReader", process.stdout)
        decoder = msgspec.msgpack.Decoder(WorkerMessage)
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                length = int.from_bytes(await messages.readexactly(LENGTH_BYTES), "big")
                self._receive(decoder.decode(await messages.readexactly(length)))

    def _receive(self, message: WorkerMessage) -> None:
        match message:
            case Answer():
                future = self._waiting.get(message.call)
                if future is not None and not future.done():
                    future.set_result(message)
            case Emitted():
                if outbox := self.outboxes.get(message.session):
                    outbox.push(mask_half_words(message.hypothesis))
            case Notice():
                _logger.warning("%s: %s", self.program.noun, message.text)
            case Ready():
                self._is_loaded.set()

    def _answer_all_with_none(self, _task: asyncio.Task[None]) -> None:
        self._is_loaded.set()
        for future in self._waiting.values():
            if not future.done():
                future.set_result(None)

    def _hangs(self) -> EngineRefusedError:
        self.kill()
        return self._broken(f"gave no answer in {ANSWER_TIMEOUT_S:g} s")

    def _broken(self, status: str) -> EngineRefusedError:
        return EngineRefusedError(f"{self.program.noun} failed: its process {status}", kind="broken")


async def _close_all(workers: list[_Worker]) -> None:
    """Close worker processes, kill those that do not exit in time, and wait for all of them."""
    if not workers:
        return
    tasks = [worker.task for worker in workers]
    for worker in workers:
        worker.close()
    try:
        await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT_S)
    finally:
        for worker in workers:
            worker.kill()
        await asyncio.wait(tasks)
    for worker in workers:
        worker.raise_bug()


async def _start_process(program: WorkerProgram) -> asyncio.subprocess.Process:
    # `-P` and the whole path: the worker finds the same modules as this process, and none by accident in the current
    # directory.
    path = os.pathsep.join(entry or os.curdir for entry in sys.path)
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", START_SCRIPT, program.module, *program.arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )


async def _read_errors(process: asyncio.subprocess.Process, last_lines: deque[str]) -> None:
    """Read standard error to its end; keep its last lines, of a Python traceback only the line behind it."""
    in_traceback = False
    async for line in _lines(cast("asyncio.StreamReader", process.stderr)):
        _logger.debug("worker process %d: %s", process.pid, line)
        if line == _TRACEBACK:
            in_traceback = True
            last_lines.clear()
        elif in_traceback and line.startswith(" "):
            continue
        else:
            in_traceback = False
            last_lines.append(line)


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Yield the lines that are not empty, without control characters; a long one is cut."""
    rest = b""
    while chunk := await stream.read(4096):
        *whole, rest = (rest + chunk).split(b"\n")
        rest = rest[: 4 * MAX_LINE_CHARACTERS]
        for line in whole:
            if text := _printable(line):
                yield text
    if text := _printable(rest):
        yield text


def _printable(line: bytes) -> str:
    return printable(line.decode(errors="replace")).rstrip()[:MAX_LINE_CHARACTERS]


def _stdin(process: asyncio.subprocess.Process) -> asyncio.StreamWriter:
    return cast("asyncio.StreamWriter", process.stdin)


def _describe_exit(status: int, last_lines: deque[str]) -> str:
    """Return the exit of a process in words that follow "its process"."""
    reason = f": {' / '.join(last_lines)}" if last_lines else ""
    if status < 0:
        return f"was ended by signal {-status} ({signal.strsignal(-status)}){reason}"
    return f"ended with status {status}{reason}"


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
