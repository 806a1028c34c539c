"""The embedded recogniser: pocketsphinx in worker processes, behind the `Engine` interface.

Knows no vendor protocol, and never loads pocketsphinx into this process: decoding holds the interpreter lock for up to
a tenth of a second at a time, which would stall the event loop. Each core therefore gets one worker process
(`_pocketsphinx_worker`) that hosts several decoders. This module assigns sessions to workers, matches answers to calls,
and fails the waiting calls when a worker dies.

Calls and answers are length-prefixed msgpack on the worker's standard input and output. A recognition has at most one
call under way, of at most 100 ms of audio. This bounds the data in the pipes, slows a client down to the rate that the
worker can decode, and makes sessions that are faster than real time alternate with the others.

Hot words have no effect: pocketsphinx cannot raise the probability of a word that its language model contains, and for
a word that it lacks it rebuilds the search, which blocks every session of the worker for 0.2 to 0.5 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import os
import signal
import sys
from typing import TYPE_CHECKING, Self, cast

import msgspec

from ...errors import ConfigurationError
from .engine import EngineRefusedError, Hypothesis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .engine import Emit, Recognition, Request

__all__ = ["PocketSphinx"]

SAMPLE_RATE = 16_000
PIECE_BYTES = SAMPLE_RATE // 10 * 2
"""100 ms of samples: the most that one call carries."""

ANSWER_TIMEOUT_S = 30.0
"""The longest time for one call. Audio needs some hundredths of a second, the start of a process and a decoder about
half a second: a worker that needs longer than this hangs."""

CLOSE_TIMEOUT_S = 2.0
"""The time that a worker has to exit by itself when the engine closes; after that it is killed."""

CATCH_UP_S = 0.3
"""The longest wait of a new decoder for sessions that lag: about as long as the last new decoder blocked them."""

LENGTH_BYTES = 4

WORKER_MODULE = "asr_async.emulator.engines._pocketsphinx_worker"
"""A name, not an import: Python warns if the module that `-m` starts has already been imported by its package."""


class OpenCall(msgspec.Struct, frozen=True, tag=True):
    """The call that starts a session, with a decoder in its initial state."""

    call: int
    session: int


class FeedCall(msgspec.Struct, frozen=True, tag=True):
    """The call that recognises more samples."""

    call: int
    session: int
    samples: bytes


class FinishCall(msgspec.Struct, frozen=True, tag=True):
    """The call that recognises to the end."""

    call: int
    session: int


class CloseCall(msgspec.Struct, frozen=True, tag=True):
    """The message that releases the decoder of a session, if there is such a session. It has no answer."""

    session: int


Call = OpenCall | FeedCall | FinishCall
"""The messages that have an answer."""

Message = Call | CloseCall


class Answer(msgspec.Struct, frozen=True):
    """The result of a call, and the state of the session after it."""

    call: int
    hypotheses: tuple[Hypothesis, ...] = ()
    silent_ms: int = 0
    has_speech: bool = False


def pack(message: Message | Answer) -> bytes:
    """Encode a message with its length in front."""
    payload = msgspec.msgpack.encode(message)
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


class PocketSphinx:
    """Offline recognition of English speech at 16 kHz; needs `pip install 'asr-async[local]'`.

    Worker processes start when they are needed: the first with the engine, in the background, so that it is ready when
    the first client has connected; each further one with a session that finds no idle worker.

    Args:
        workers: the most processes; None means one per usable core.
        sessions_per_worker: the most sessions of one worker; more are refused. As measured, a core decodes 9 to 15
            sessions in real time, depending on its speed; beyond that nothing is lost, but every session lags behind
            its speaker.

    Raises:
        ValueError: the numbers leave no room for a session.
    """

    def __init__(self, workers: int | None = None, sessions_per_worker: int = 10) -> None:
        self._max_workers = _usable_cores() if workers is None else workers
        self._sessions_per_worker = sessions_per_worker
        if self._capacity < 1:
            raise ValueError(f"workers={workers}, sessions_per_worker={sessions_per_worker}: both must be at least 1")
        self._workers: list[_Worker] = []
        self._entered = False

    def __repr__(self) -> str:
        sessions = sum(worker.sessions for worker in self._workers)
        state = "open" if self._entered else "closed"
        return f"<PocketSphinx: {state}, {len(self._workers)} workers, {sessions} of {self._capacity} sessions>"

    @property
    def _capacity(self) -> int:
        return self._max_workers * self._sessions_per_worker

    async def __aenter__(self) -> Self:
        """Start the first worker.

        Raises:
            ConfigurationError: pocketsphinx is not installed.
        """
        # the package is not imported here: its decoder, some 100 MB, is loaded in the workers only
        if importlib.util.find_spec("pocketsphinx") is None:
            raise ConfigurationError("the embedded recogniser is not installed: pip install 'asr-async[local]'")
        self._entered = True
        self._workers.append(_Worker())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._entered = False
        workers, self._workers = self._workers, []
        await _close_all(workers)

    async def open(self, request: Request, emit: Emit) -> Recognition:
        """Start a recognition.

        Raises:
            EngineRefusedError: `unsupported` for a sample rate other than 16 kHz, a language other than English, or a
                translation; `capacity` if all workers are full; `broken` if a worker cannot be started or dies.
            RuntimeError: the engine was not entered with `async with`.
        """
        if not self._entered:
            raise RuntimeError("the engine is not running: use `async with PocketSphinx() as engine`")
        _check(request)
        self._remove_ended()
        recognition = _PocketSphinxRecognition(self._select_worker(), emit)
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
            usable.append(_Worker())
            self._workers.append(usable[-1])
        worker = min(usable, key=lambda worker: worker.sessions)
        if worker.sessions >= self._sessions_per_worker:
            raise EngineRefusedError(
                f"all {self._capacity} sessions of the embedded recogniser are in use "
                f"({self._max_workers} workers x {self._sessions_per_worker}): try again when one has ended",
                kind="capacity",
            )
        return worker


class _PocketSphinxRecognition:
    """One session on a worker; it occupies one of the worker's sessions until it fails or is closed."""

    def __init__(self, worker: _Worker, emit: Emit) -> None:
        self._worker = worker
        self._emit = emit
        self._session = worker.next_number()
        self._end_reason = ""
        """The reason why the recognition is over; empty while it is open."""
        self._is_counted = True
        """True while the session counts among the worker's sessions."""
        self._last = Answer(call=0)
        worker.sessions += 1

    def __repr__(self) -> str:
        state = f"over ({self._end_reason})" if self._end_reason else "open"
        return f"<PocketSphinx recognition {self._session}: {state}, silent for {self.silent_ms} ms>"

    @property
    def silent_ms(self) -> int:
        """The audio since a word was last recognised (since the start if there was none), in milliseconds."""
        return self._last.silent_ms

    @property
    def has_speech(self) -> bool:
        """True if any word was recognised; noise does not count."""
        return self._last.has_speech

    async def start(self) -> None:
        with self._end_on_error():
            self._last = await self._worker.open(self._session)

    async def feed(self, samples: bytes) -> None:
        """Recognise samples; return when they are decoded and their hypotheses are emitted.

        Raises:
            EngineRefusedError: the worker died or hangs, or the recognition was already over.
        """
        with self._end_on_error():
            for start in range(0, len(samples), PIECE_BYTES):
                piece = samples[start : start + PIECE_BYTES]
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
        """Release the decoder, at any time; idempotent, never waits."""
        self._end("it was closed")

    async def _exchange(self, call: Call) -> None:
        if self._end_reason:
            raise EngineRefusedError(f"this recognition is over: {self._end_reason}", kind="broken")
        self._last = await self._worker.call(call)
        for hypothesis in self._last.hypotheses:
            await self._emit(hypothesis)

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
            self._worker.post(CloseCall(self._session))


class _Worker:
    """One worker process, from its start to its end, and the calls that wait for its answers."""

    def __init__(self) -> None:
        self.sessions = 0
        self.is_leaving = False
        """True if the process is closing, was killed or has ended: it receives no new sessions."""
        self._decoders = 1
        """The number of decoders that the process has created; it creates the first one at its start."""
        self._decoder_lock = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Answer | None]] = {}
        """The waiting calls, by number; None answers all of them when the process has ended."""
        self._unsent = bytearray()
        """The messages posted while the process is being started."""
        self._process: asyncio.subprocess.Process | None = None
        self._status = "was not started"
        self.task = asyncio.create_task(self._run(), name="pocketsphinx worker")
        """Ends with the process; fails only because of a bug."""
        # A callback, not the end of the task itself: a task that is cancelled before its first step never runs that.
        self.task.add_done_callback(self._answer_all_with_none)

    def __repr__(self) -> str:
        return f"<PocketSphinx worker: {self._status}, {self.sessions} sessions, {len(self._waiting)} calls>"

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

    async def open(self, session: int) -> Answer:
        """Start a session, which already counts among `sessions`.

        The creation of a decoder blocks the process, and so its other sessions, for some tenths of a second. They catch
        up between one decoder and the next, so that the delays of many simultaneous starts do not add up.
        """
        if self.sessions <= self._decoders:
            return await self.call(OpenCall(self.next_number(), session))
        async with self._decoder_lock:
            await self._wait_for_other_calls()
            answer = await self.call(OpenCall(self.next_number(), session))
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
            self.kill()
            raise self._broken(f"gave no answer in {ANSWER_TIMEOUT_S:g} s") from None
        finally:
            del self._waiting[call.call]
        if answer is None:
            raise self._broken(self._status)
        return answer

    def post(self, message: Message) -> None:
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
            self._process = process = await _start_process()
            self._status = f"runs as process {process.pid}"
            _stdin(process).write(self._unsent)
        except OSError as error:
            self._status = f"cannot be started: {error}"
        else:
            await self._read_until_end(process)

    async def _read_until_end(self, process: asyncio.subprocess.Process) -> None:
        try:
            await self._read_answers(process)
        except BaseException:
            self.kill()
            raise
        finally:
            self.is_leaving = True
            self._status = _describe_exit(await process.wait())
            _stdin(process).close()
            with contextlib.suppress(OSError):
                await _stdin(process).wait_closed()

    async def _read_answers(self, process: asyncio.subprocess.Process) -> None:
        answers = cast("asyncio.StreamReader", process.stdout)
        decoder = msgspec.msgpack.Decoder(Answer)
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                length = int.from_bytes(await answers.readexactly(LENGTH_BYTES), "big")
                self._accept(decoder.decode(await answers.readexactly(length)))

    def _accept(self, answer: Answer) -> None:
        future = self._waiting.get(answer.call)
        if future is not None and not future.done():
            future.set_result(answer)

    def _answer_all_with_none(self, _task: asyncio.Task[None]) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_result(None)

    @staticmethod
    def _broken(status: str) -> EngineRefusedError:
        return EngineRefusedError(f"the embedded recogniser failed: its process {status}", kind="broken")


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


async def _start_process() -> asyncio.subprocess.Process:
    # `-P` and the whole path: the worker finds the same modules as this process, and none by accident in the current
    # directory. Standard error is inherited, so that the messages of a dying worker are visible.
    path = os.pathsep.join(entry or os.curdir for entry in sys.path)
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", WORKER_MODULE),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )


def _stdin(process: asyncio.subprocess.Process) -> asyncio.StreamWriter:
    return cast("asyncio.StreamWriter", process.stdin)


def _describe_exit(status: int) -> str:
    """Return the exit of a process in words that follow "its process"."""
    if status < 0:
        return f"was ended by signal {-status} ({signal.strsignal(-status)})"
    return f"ended with status {status}"


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check(request: Request) -> None:
    """Refuse a request that no worker can serve."""
    if request.sample_rate != SAMPLE_RATE:
        raise EngineRefusedError(
            f"the embedded recogniser supports {SAMPLE_RATE} Hz only, not {request.sample_rate} Hz "
            "(with 8000 Hz audio 66 to 90 % of its words were wrong): record and send "
            f"{SAMPLE_RATE} Hz, or use a vendor's service",
            kind="unsupported",
        )
    if request.languages and not any(_is_english(language) for language in request.languages):
        raise EngineRefusedError(
            "the embedded recogniser supports English only: the language hints must contain 'en', and are "
            f"{', '.join(request.languages)}",
            kind="unsupported",
        )
    if request.translate_to:
        raise EngineRefusedError(
            f"the embedded recogniser cannot translate (into {', '.join(request.translate_to)}): request recognition "
            "only, or use a vendor's service",
            kind="unsupported",
        )


def _is_english(language: str) -> bool:
    return language.lower().replace("_", "-").split("-")[0] == "en"
