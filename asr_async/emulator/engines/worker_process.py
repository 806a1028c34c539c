"""The main loop of a worker process, and the table of sessions that decode within their calls.

A worker module, such as `_pocketsphinx_worker`, is started by a `WorkerPool`, and calls `run_worker` with a function
that loads its model. This module knows no recogniser. An error ends the process: the
parent process fails the sessions of the worker with the last lines of its standard error, and starts another one. The
process ends when its standard input does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, BinaryIO, Protocol

import msgspec

from .worker_messages import (
    LENGTH_BYTES,
    Answer,
    CloseCall,
    Emitted,
    FeedCall,
    FinishCall,
    OpenCall,
    ParentMessage,
    Ready,
    WorkerMessage,
    pack,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .engine import Hypothesis, Request

__all__ = ["Sender", "SessionTable", "StreamingSession", "StreamingSessions", "run_worker"]


class Sender:
    """Sends messages to the parent process, from any thread."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def send(self, *messages: WorkerMessage) -> None:
        """Write messages to the pipe, with no message of another thread between them."""
        data = b"".join(map(pack, messages))
        with self._lock, contextlib.suppress(BrokenPipeError):  # the main loop ends with the parent process
            self._pipe.write(data)
            self._pipe.flush()


class SessionTable(Protocol):
    """The sessions of a worker process."""

    def handle(self, message: ParentMessage) -> None:
        """Process a message; its answer is sent now or later."""
        ...

    def close(self) -> None:
        """End all work; nothing is sent afterwards."""
        ...


class StreamingSession(Protocol):
    """A session that decodes its audio as it arrives, such as that of a streaming model."""

    @property
    def silent_ms(self) -> int:
        """The audio since speech was last recognised (since the start if there was none), in milliseconds."""
        ...

    @property
    def has_speech(self) -> bool:
        """True if any speech was recognised."""
        ...

    def feed(self, samples: bytes) -> Iterable[Hypothesis]:
        """Recognise samples; return the hypotheses that are new."""
        ...

    def finish(self) -> Iterable[Hypothesis]:
        """Recognise to the end; return the hypotheses that are new."""
        ...

    def close(self) -> None:
        """Release all resources."""
        ...


class StreamingSessions:
    """A table of sessions that decode within their calls, one call after the other.

    Knows neither fairness nor deadlines: the parent process sends small pieces and enforces the deadlines.

    Args:
        sender: sends to the parent process.
        create: returns a new session for a request.
    """

    def __init__(self, sender: Sender, create: Callable[[Request], StreamingSession]) -> None:
        self._sender = sender
        self._create = create
        self._sessions: dict[int, StreamingSession] = {}

    def handle(self, message: ParentMessage) -> None:
        """Process a message, and send its hypotheses and its answer."""
        match message:
            case OpenCall():
                self._sessions[message.session] = self._create(message.request)
                self._answer(message, ())
            case FeedCall():
                self._answer(message, self._sessions[message.session].feed(message.samples))
            case FinishCall():
                self._answer(message, self._sessions[message.session].finish())
            case CloseCall():
                if session := self._sessions.pop(message.session, None):
                    session.close()

    def _answer(self, call: OpenCall | FeedCall | FinishCall, hypotheses: Iterable[Hypothesis]) -> None:
        emitted = [Emitted(call.session, hypothesis) for hypothesis in hypotheses]
        session = self._sessions[call.session]
        answer = Answer(call.call, silent_ms=session.silent_ms, has_speech=session.has_speech)
        self._sender.send(*emitted, answer)

    def close(self) -> None:
        """Close all sessions."""
        while self._sessions:
            self._sessions.popitem()[1].close()


def run_worker(load: Callable[[Sender], SessionTable]) -> None:
    """Load the model with `load`, then serve calls until standard input ends."""
    # Ctrl-C reaches every process of the terminal. The parent handles it, and closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError), _claim_stdout() as pipe:
        sender = Sender(pipe)
        try:
            sessions = load(sender)
            sender.send(Ready())
            for message in _messages(sys.stdin.buffer):
                sessions.handle(message)
        except ImportError as error:  # the parent has found the library: a part of it, or of the system, is missing
            error.add_note("the library is damaged: install it again")
            raise
        sessions.close()


def _claim_stdout() -> BinaryIO:
    """Reserve standard output for the answers; everything printed from now on goes to standard error."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def _messages(calls: BinaryIO) -> Iterator[ParentMessage]:
    """Yield the messages until the parent closes the pipe."""
    decoder = msgspec.msgpack.Decoder(ParentMessage)
    while len(length := calls.read(LENGTH_BYTES)) == LENGTH_BYTES:
        yield decoder.decode(calls.read(int.from_bytes(length, "big")))
