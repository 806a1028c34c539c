"""The sessions of the blocking face, and the iterators of their results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Self, TypeVar

from ..results import Event, Gap, Result, SessionStats
from ._loop import ItemReader
from ._sources import nonblocking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ..session import Session as AsynchronousSession
    from ..sources import AudioChunk, AudioSource, SourceErrorAction
    from ..vendors.options import ContextMessage
    from ._loop import BackgroundLoop, Held

__all__ = ["ResultStream", "Session"]

T = TypeVar("T", bound=Event)


class Session:
    """One recognition, as `asr_async.Session`: used with `with`, once, by `stream`, by `events`, or by pushing audio.

    Made by `connect(...)` and `Client.session(...)`. Its methods can be called from any thread: one can push audio,
    another iterate the results.

        with client.session(Paraformer()) as session:
            session.send(chunk)  # again and again
            session.finish()
            for result in session:  # or: for event in session.events()
                print(result.text)
    """

    def __init__(self, loop: BackgroundLoop, held: Held[AsynchronousSession], session: AsynchronousSession) -> None:
        self._loop = loop
        self._held = held
        self._session = session
        # of all iterators of pushed audio: one goes on where another was left
        self._reader: ItemReader[Result] = ItemReader(loop)

    def __repr__(self) -> str:
        return f"<sync {self._session!r}>"

    def __enter__(self) -> Self:
        return self.open()

    def open(self, *, timeout: float | None = None) -> Self:
        """Connect, as `with` does, but with a deadline of its own; `close` ends what it begins.

        Raises:
            ASRError: see `asr_async.connect`.
            DeadlineError: the session was not open within `timeout` seconds, beside the deadlines of `Timeouts`.
        """
        self._held.enter(timeout)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._held.leave()

    # --- audio in, results out ---------------------------------------------------------------------------------------

    def stream(
        self, audio: AudioSource, *, pace: float | None = 1.0, on_source_error: SourceErrorAction = "finish"
    ) -> ResultStream[Result]:
        """Send a source and iterate its results; see `asr_async.Session.stream`.

        A plain iterable is read in a thread of its own, so that it may block.
        """
        results = self._session.stream(nonblocking(audio), pace=pace, on_source_error=on_source_error)
        return ResultStream(ItemReader(self._loop), results)

    def events(
        self,
        audio: AudioSource | None = None,
        *,
        pace: float | None = 1.0,
        on_source_error: SourceErrorAction = "finish",
    ) -> ResultStream[Event]:
        """Iterate all events of a source, or of the audio that is pushed; see `asr_async.Session.events`."""
        events = self._session.events(nonblocking(audio), pace=pace, on_source_error=on_source_error)
        return ResultStream(ItemReader(self._loop), events)

    def __iter__(self) -> ResultStream[Result]:
        """Iterate the results of pushed audio, from where the last loop was left on."""
        return ResultStream(self._reader, aiter(self._session))

    def send(self, chunk: AudioChunk, *, timeout: float | None = None) -> None:
        """Push a chunk of audio, and return when there is room for more; see `asr_async.Session.send`."""
        self._loop.run(self._session.send, chunk, timeout=timeout)

    def commit(self, *, timeout: float | None = None) -> None:
        """End an utterance (push-to-talk); see `asr_async.Session.commit`."""
        self._loop.run(self._session.commit, timeout=timeout)

    def finalize(self, *, timeout: float | None = None) -> None:
        """Make everything final that was said until now, and go on; see `asr_async.Session.finalize`."""
        self._loop.run(self._session.finalize, timeout=timeout)

    def update_context(self, messages: Sequence[ContextMessage], *, timeout: float | None = None) -> None:
        """Replace the context of the running recognition; see `asr_async.Session.update_context`."""
        self._loop.run(self._session.update_context, messages, timeout=timeout)

    def finish(self, *, timeout: float | None = None) -> None:
        """Announce that no more audio comes, and wait until all results have arrived; see `asr_async.Session.finish`.

        After a `DeadlineError` of `timeout` the announcement is made: call it again to wait longer.
        """
        self._loop.run(self._session.finish, timeout=timeout)

    def cancel(self, *, timeout: float | None = None) -> None:
        """Drop the audio that is not recognised yet, and close; see `asr_async.Session.cancel`."""
        self._loop.run(self._session.cancel, timeout=timeout)

    def close(self) -> None:
        """Close at once, whatever is in progress. Idempotent; a loop that still waits gets a `LocalProtocolError`."""
        self._loop.run(self._session.aclose)
        self._held.leave()

    # --- figures -----------------------------------------------------------------------------------------------------

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """The lost audio of this session so far; see `asr_async.Session.gaps`."""
        return self._session.gaps

    def wall_time(self, source_ms: int) -> float | None:
        """Return the time of day at which the audio at a place was sent; see `asr_async.Session.wall_time`."""
        return self._session.wall_time(source_ms)

    @property
    def stats(self) -> SessionStats:
        """The figures of this session so far."""
        return self._session.stats


class ResultStream(Generic[T]):
    """The results, or all events, of one session as an iterator; see `asr_async.ResultStream`."""

    def __init__(self, reader: ItemReader[T], results: AsyncIterator[T]) -> None:
        self._reader = reader
        self._results = results

    def __repr__(self) -> str:
        return f"<sync {self._results!r}>"

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        return self.next()

    def next(self, *, timeout: float | None = None) -> T:
        """Return the next event; a loop can continue after an error of the timeout, and after a `KeyboardInterrupt`.

        Args:
            timeout: the longest wait in seconds. None, the default, waits as long as the session does.

        Raises:
            ASRError: the error that ended the session.
            DeadlineError: no event came within `timeout` seconds; none is lost.
            StopIteration: the session has ended, and all its events were returned.
        """
        try:
            return self._reader.read(self._results.__anext__, timeout)
        except StopAsyncIteration:
            raise StopIteration from None
