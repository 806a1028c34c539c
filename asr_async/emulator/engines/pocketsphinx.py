"""The embedded recogniser: pocketsphinx in worker processes, behind the `Engine` interface.

Knows no vendor protocol, and never loads pocketsphinx into this process: decoding holds the interpreter lock
for up to a tenth of a second at a time, which would stall the event loop. So every core gets one worker
process (`_pocketsphinx_worker`) that hosts several decoders, and this module keeps the books: which worker
has room, which answer belongs to which call, and what happens to the callers when a worker dies.

Calls and answers travel over the worker's standard input and output as length-prefixed msgpack. A recognition
has at most one call under way, of at most 100 ms of audio: this bounds what waits in the pipes, slows a
client down to what the worker can decode, and lets sessions that are faster than real time take turns with
the others.

Hot words have no effect: pocketsphinx cannot make a word likelier that its language model knows, and for one that it
lacks it builds the search anew, for 0.2 to 0.5 s in which every session of the worker waits.
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

ANSWER_SECONDS = 30.0
"""How long a worker may take for one call. Audio takes some hundredths of a second, starting a process and a
decoder about half a second: a worker that takes this long hangs."""

CLOSE_SECONDS = 2.0
"""How long a worker may take to leave by itself when the engine closes; it is killed then."""

CATCH_UP_SECONDS = 0.3
"""How long a new decoder lets sessions that are behind go first: about as long as the last one stopped them."""

LENGTH_BYTES = 4

WORKER_MODULE = "asr_async.emulator.engines._pocketsphinx_worker"
"""A name, not an import: Python warns when what `-m` starts was imported by its own package already."""


class OpenCall(msgspec.Struct, frozen=True, tag=True):
    """Begin a session, with a decoder that remembers nothing."""

    call: int
    session: int


class FeedCall(msgspec.Struct, frozen=True, tag=True):
    """Recognise some samples more."""

    call: int
    session: int
    samples: bytes


class FinishCall(msgspec.Struct, frozen=True, tag=True):
    """Recognise to the end."""

    call: int
    session: int


class CloseCall(msgspec.Struct, frozen=True, tag=True):
    """Give the decoder of a session back, if there is such a session. Not answered: nobody waits for it."""

    session: int


Call = OpenCall | FeedCall | FinishCall
"""What is answered."""

Message = Call | CloseCall


class Answer(msgspec.Struct, frozen=True):
    """What came out of a call, and how things stand after it."""

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

    Worker processes start when they are needed: the first with the engine, in the background, so that it is
    ready when the first client has connected; each other one with a session that finds no idle worker.

    Args:
        workers: how many processes at most; None for one per usable core.
        sessions_per_worker: more are refused. Measured, a core decodes 9 to 15 in real time, depending on how
            fast it is; beyond that nothing is lost, but every session falls behind its speaker.
    """

    def __init__(self, workers: int | None = None, sessions_per_worker: int = 10) -> None:
        self._max_workers = _usable_cores() if workers is None else workers
        self._sessions_per_worker = sessions_per_worker
        if self._capacity < 1:
            raise ValueError(f"workers={workers}, sessions_per_worker={sessions_per_worker}: no room for a session")
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
        # here the package itself is not imported: its decoder, some 100 MB, lives in the workers only
        if importlib.util.find_spec("pocketsphinx") is None:
            raise ConfigurationError("the embedded recogniser needs an extra: pip install 'asr-async[local]'")
        self._entered = True
        self._workers.append(_Worker())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._entered = False
        workers, self._workers = self._workers, []
        await _close_all(workers)

    async def open(self, request: Request, emit: Emit) -> Recognition:
        """Begin a recognition.

        Raises:
            EngineRefusedError: `unsupported` for another sample rate than 16 kHz, another language than English,
                and a translation; `capacity` when all workers are full; `broken` when a worker cannot be started or
                dies.
            RuntimeError: the engine was not entered with `async with`.
        """
        if not self._entered:
            raise RuntimeError("enter the engine first: async with PocketSphinx() as engine")
        _check(request)
        self._remove_ended()
        recognition = _PocketSphinxRecognition(self._worker_with_room(), emit)
        await recognition.start()
        return recognition

    def _remove_ended(self) -> None:
        for worker in [worker for worker in self._workers if worker.ended]:
            self._workers.remove(worker)
            worker.raise_bug()

    def _worker_with_room(self) -> _Worker:
        """The one with the fewest sessions, or a new one if all have some and there may be more."""
        staying = [worker for worker in self._workers if not worker.leaving]
        if all(worker.sessions for worker in staying) and len(staying) < self._max_workers:
            staying.append(_Worker())
            self._workers.append(staying[-1])
        worker = min(staying, key=lambda worker: worker.sessions)
        if worker.sessions >= self._sessions_per_worker:
            raise EngineRefusedError(
                f"all {self._capacity} sessions of the embedded recogniser are taken "
                f"({self._max_workers} workers x {self._sessions_per_worker}): try again when one has ended",
                kind="capacity",
            )
        return worker


class _PocketSphinxRecognition:
    """One session on a worker. Holds one of its places from construction until it fails or is closed."""

    def __init__(self, worker: _Worker, emit: Emit) -> None:
        self._worker = worker
        self._emit = emit
        self._session = worker.number()
        self._over = ""
        """Why nothing more can be asked; empty as long as it can."""
        self._holds_place = True
        self._last = Answer(call=0)
        worker.sessions += 1

    def __repr__(self) -> str:
        state = f"over ({self._over})" if self._over else "open"
        return f"<PocketSphinx recognition {self._session}: {state}, silent for {self.silent_ms} ms>"

    @property
    def silent_ms(self) -> int:
        """Audio since a word was last heard (since the start, if none was)."""
        return self._last.silent_ms

    @property
    def has_speech(self) -> bool:
        """Whether any word was heard; noise is none."""
        return self._last.has_speech

    async def start(self) -> None:
        with self._over_on_error():
            self._last = await self._worker.open(self._session)

    async def feed(self, samples: bytes) -> None:
        """Recognise samples; returns when they are decoded and what they brought was emitted.

        Raises:
            EngineRefusedError: the worker died or hangs, or the recognition was over already.
        """
        with self._over_on_error():
            for start in range(0, len(samples), PIECE_BYTES):
                piece = samples[start : start + PIECE_BYTES]
                await self._exchange(FeedCall(self._worker.number(), self._session, piece))

    async def finish(self) -> None:
        """Recognise to the end.

        Raises:
            EngineRefusedError: as for `feed`.
        """
        with self._over_on_error():
            await self._exchange(FinishCall(self._worker.number(), self._session))
        self._end("it was finished")

    async def aclose(self) -> None:
        """Give the decoder and the place back, at any time; idempotent, never waits."""
        self._end("it was closed")

    async def _exchange(self, call: Call) -> None:
        if self._over:
            raise EngineRefusedError(f"this recognition is over: {self._over}", kind="broken")
        self._last = await self._worker.call(call)
        for hypothesis in self._last.hypotheses:
            await self._emit(hypothesis)

    @contextlib.contextmanager
    def _over_on_error(self) -> Iterator[None]:
        """Whatever interrupts a call (a cancellation too) may have lost hypotheses: nothing may follow it."""
        try:
            yield
        except BaseException as error:
            self._end(f"it was interrupted by {error!r}")
            raise

    def _end(self, reason: str) -> None:
        self._over = self._over or reason
        if self._holds_place:
            # No need to wait, as the pipe keeps the order: a call that still lies in it comes before this,
            # and the first call of whoever gets the place comes after.
            self._holds_place = False
            self._worker.sessions -= 1
            self._worker.post(CloseCall(self._session))


class _Worker:
    """One worker process from its start to its end, and the calls that wait for it."""

    def __init__(self) -> None:
        self.sessions = 0
        self.leaving = False
        """The process has been told to leave, was killed or has ended: nothing new for it."""
        self._decoders = 1
        """How many the process has made; the first without being asked."""
        self._making_decoder = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Answer | None]] = {}
        """By number of the call; None answers all of them when the process has ended."""
        self._unsent = bytearray()
        """What was posted while the process was being started."""
        self._process: asyncio.subprocess.Process | None = None
        self._fate = "was not started"
        self.task = asyncio.create_task(self._run(), name="pocketsphinx worker")
        """Ends with the process; fails only by a bug."""
        # Not at the end of the task itself: a task that is cancelled before its first step never gets there.
        self.task.add_done_callback(self._answer_all_with_none)

    def __repr__(self) -> str:
        return f"<PocketSphinx worker: {self._fate}, {self.sessions} sessions, {len(self._waiting)} calls>"

    @property
    def ended(self) -> bool:
        return self.task.done()

    def raise_bug(self) -> None:
        """Raise what the ended task failed by, if it did."""
        if not self.task.cancelled():
            self.task.result()

    def number(self) -> int:
        """One that was not used before, for a call or a session."""
        return next(self._numbers)

    async def open(self, session: int) -> Answer:
        """Begin a session, which counts among `sessions` already.

        A new decoder keeps the process, and so its other sessions, waiting for some tenths of a second. They
        make up for it between one decoder and the next, so that many openings at once do not add up for them.
        """
        if self.sessions <= self._decoders:
            return await self.call(OpenCall(self.number(), session))
        async with self._making_decoder:
            await self._until_others_are_answered()
            answer = await self.call(OpenCall(self.number(), session))
            self._decoders += 1
        return answer

    async def _until_others_are_answered(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_SECONDS):
                while self._waiting:
                    await asyncio.wait(self._waiting.values())

    async def call(self, call: Call) -> Answer:
        """Post a call and wait for its answer; an answer that nobody waits for any more is dropped.

        Raises:
            EngineRefusedError: `broken`: the process has ended, or gave no answer in time and is killed.
        """
        answered: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._waiting[call.call] = answered
        try:
            self.post(call)
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = None if self.ended else await answered
        except TimeoutError:
            self.kill()
            raise self._broken(f"gave no answer in {ANSWER_SECONDS:g} s") from None
        finally:
            del self._waiting[call.call]
        if answer is None:
            raise self._broken(self._fate)
        return answer

    def post(self, message: Message) -> None:
        # No drain(): each session has one small call under way at most, and waits for its answer instead.
        if self._process is None:
            self._unsent += pack(message)
        elif not _stdin(self._process).is_closing():
            _stdin(self._process).write(pack(message))

    def close(self) -> None:
        """Let the process leave by itself."""
        self.leaving = True
        if self._process is None:
            self.task.cancel()
        else:
            _stdin(self._process).close()

    def kill(self) -> None:
        self.leaving = True
        if self._process is None:
            self.task.cancel()
        else:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _run(self) -> None:
        try:
            self._process = process = await _start_process()
            self._fate = f"runs as process {process.pid}"
            _stdin(process).write(self._unsent)
        except OSError as error:
            self._fate = f"cannot be started: {error}"
        else:
            await self._read_until_end(process)

    async def _read_until_end(self, process: asyncio.subprocess.Process) -> None:
        try:
            await self._read_answers(process)
        except BaseException:
            self.kill()
            raise
        finally:
            self.leaving = True
            self._fate = _fate(await process.wait())
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
        answered = self._waiting.get(answer.call)
        if answered is not None and not answered.done():
            answered.set_result(answer)

    def _answer_all_with_none(self, _task: asyncio.Task[None]) -> None:
        for answered in self._waiting.values():
            if not answered.done():
                answered.set_result(None)

    @staticmethod
    def _broken(fate: str) -> EngineRefusedError:
        return EngineRefusedError(f"the embedded recogniser broke down: its process {fate}", kind="broken")


async def _close_all(workers: list[_Worker]) -> None:
    """Let worker processes leave, kill those that do not, and wait for them."""
    if not workers:
        return
    tasks = [worker.task for worker in workers]
    for worker in workers:
        worker.close()
    try:
        await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
    finally:
        for worker in workers:
            worker.kill()
        await asyncio.wait(tasks)
    for worker in workers:
        worker.raise_bug()


async def _start_process() -> asyncio.subprocess.Process:
    # `-P` and the whole path: the worker finds the same modules as this process, and none by accident in the
    # current directory. Standard error stays the user's, for what a dying worker has to say.
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


def _fate(status: int) -> str:
    """How a process ended, in words that follow "its process"."""
    if status < 0:
        return f"was ended by signal {-status} ({signal.strsignal(-status)})"
    return f"ended with status {status}"


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check(request: Request) -> None:
    """Refuse what no worker could do."""
    if request.sample_rate != SAMPLE_RATE:
        raise EngineRefusedError(
            f"the embedded recogniser's model knows audio of {SAMPLE_RATE} Hz only, not {request.sample_rate} Hz "
            "(of 8000 Hz audio it got 66 to 90 % of the words wrong): record and send "
            f"{SAMPLE_RATE} Hz, or use a vendor's service",
            kind="unsupported",
        )
    if request.languages and not any(_is_english(language) for language in request.languages):
        raise EngineRefusedError(
            "the embedded recogniser knows English only: the language hints must contain 'en', and are "
            f"{', '.join(request.languages)}",
            kind="unsupported",
        )
    if request.translate_to:
        raise EngineRefusedError(
            f"the embedded recogniser cannot translate (into {', '.join(request.translate_to)}): ask for recognition "
            "only, or use a vendor's service",
            kind="unsupported",
        )


def _is_english(language: str) -> bool:
    return language.lower().replace("_", "-").split("-")[0] == "en"
