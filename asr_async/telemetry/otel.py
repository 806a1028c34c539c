"""Spans and metrics of sessions, by the API of OpenTelemetry (extra `otel`).

    async with Client(DashScope(), observers=[OpenTelemetryObserver()]) as client:
        ...

One span for each session, a child of the span that is current where the session is opened, and the metrics below. The
names under `gen_ai` are those of OpenTelemetry's conventions for generative AI, the operation `speech_to_text` that of
their open proposal (semantic-conventions-genai, pull request 390); all others are under `asr`. No text of speech is in
any of them, nor the text of an error, which may quote a vendor's message.

| metric | instrument | measures |
|---|---|---|
| `gen_ai.client.operation.duration` | histogram, s | a session, from its opening to its end |
| `gen_ai.client.operation.time_to_first_chunk` | histogram, s | first audio sent → first result |
| `asr.client.final.delay` | histogram, s | last sample of a segment sent → its final result |
| `asr.client.session.active` | up-down counter | open sessions |
| `asr.client.session.waiting` | up-down counter | sessions that wait for `Limits` |
| `asr.client.limit.wait.duration` | histogram, s | a wait for `Limits`, by `asr.limit.permit` |
| `asr.client.connection.setup.duration` | histogram, s | opening a vendor task, by `asr.connection.reused` |
| `asr.client.reconnects` | counter | attempts to replace a connection, by `error.type` |
| `asr.client.fail_overs` | counter | changes of the member of a `Fallback` |
| `asr.client.gap.duration` | counter, s | lost audio |
| `asr.client.audio.duration` | counter, s | audio, by `asr.audio.kind`: source, silence, replay |
| `asr.client.billed.duration` | counter, s | the usage that the vendor reports |
| `asr.client.pacer.lateness` | histogram, s | the largest lateness of a frame in a session |
| `asr.client.interims.conflated` | counter | interims that a newer one replaced before they were read |

The last five are recorded at the end of a session. The event loop only puts events into a queue: a thread of the
observer calls OpenTelemetry, so that an exporter that blocks, or raises, delays no session.

Does not know an SDK or an exporter: your program installs and configures them.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..errors import ASRError, ConfigurationError
from .observer import Observer

try:
    from opentelemetry import context as otel_context
    from opentelemetry import metrics, trace
except ImportError:
    raise ImportError(
        "asr_async.telemetry.otel needs OpenTelemetry's API: pip install 'asr-async[otel]'", name="opentelemetry"
    ) from None

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from ..results import Gap, Result, SessionStats
    from .observer import SessionInfo

__all__ = ["OpenTelemetryObserver"]

logger: logging.Logger = logging.getLogger("asr_async")

Attributes = dict[str, str | int | float | bool]

SCOPE = "asr_async"
OPERATION = "speech_to_text"

BUCKETS_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""The boundaries of all histograms: those of the conventions for durations of generative AI."""

MAX_WAITING = 10_000
"""The events that wait for OpenTelemetry: with an exporter that blocks, those of thousands of sessions for seconds."""

PAUSE_S = 0.1
"""The time between two passes of the thread: to wake it for each event would cost ten times the recording."""

EXIT_S = 3.0
"""The time that the exit of the interpreter waits for events that are not recorded yet."""

_CODE = re.compile(r"[A-Za-z0-9_./-]{1,64}")
"""A vendor's code that can be the value of an attribute; anything else may be a sentence."""


class OpenTelemetryObserver(Observer):
    """An observer that records spans and metrics; see the module for their names.

    One observer can serve any number of clients, also of several event loops.

    Args:
        tracer_provider: the provider of the tracer. None, the default, is the global one.
        meter_provider: the provider of the meter. None, the default, is the global one.
        metric_tags: the names of the tags of sessions that become attributes of metrics, as `asr.tag.NAME`. Spans have
            all tags; metrics have none by default, since each value of each tag is a time series of its own.

    Raises:
        ConfigurationError: `metric_tags` is a string.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        metric_tags: Iterable[str] = (),
    ) -> None:
        if isinstance(metric_tags, str):
            raise ConfigurationError(f"metric_tags={metric_tags!r}: must be a list of names, such as [{metric_tags!r}]")
        self._recorder = _Recorder(
            trace.get_tracer(SCOPE, tracer_provider=tracer_provider),
            metrics.get_meter(SCOPE, meter_provider=meter_provider),
            frozenset(metric_tags),
        )
        self._thread = _CallThread()
        # the numbers of the sessions whose start was put into the queue
        self._open: set[int] = set()

    def __repr__(self) -> str:
        return f"<OpenTelemetryObserver {len(self._open)} sessions, {self._thread!r}>"

    def flush(self, timeout: float = EXIT_S) -> bool:
        """Wait until everything that was observed is recorded, and return True; False if that takes longer.

        For programs that end at once, and for tests; exporters have a `force_flush` of their own.

        Args:
            timeout: the longest wait in seconds.
        """
        return self._thread.flush(timeout)

    def on_session_start(self, session: SessionInfo) -> None:
        """Begin the span."""
        if self._thread.call(self._recorder.start, session, otel_context.get_current(), _Now()):
            self._open.add(session.number)

    def on_limit_wait_start(self, session: SessionInfo) -> None:
        """Count the session as waiting."""
        self._record(self._recorder.wait, session)

    def on_limit_wait(self, session: SessionInfo, *, waited_s: float, permit: str) -> None:
        """Record the wait."""
        self._record(self._recorder.end_wait, session, waited_s, permit)

    def on_connect(
        self,
        session: SessionInfo,
        *,
        duration_s: float,
        is_reused: bool,
        host: str,
        member: str | None,  # noqa: ARG002 - `on_fail_over` has it where it changes
    ) -> None:
        """Record the connection."""
        self._record(self._recorder.connect, session, duration_s, is_reused, host, time.time_ns())

    def on_first_result(self, session: SessionInfo, *, delay_s: float | None) -> None:
        """Record the delay, without the text."""
        self._record(self._recorder.first_result, session, delay_s, time.time_ns())

    def on_final(self, session: SessionInfo, result: Result, *, delay_s: float | None) -> None:  # noqa: ARG002
        """Record the delay, without the text."""
        if delay_s is not None:
            self._record(self._recorder.final, session, delay_s)

    def on_reconnect(self, session: SessionInfo, *, attempt: int, error: Exception) -> None:
        """Record the attempt, and the kind of the error."""
        self._record(self._recorder.reconnect, session, attempt, error_type(error), time.time_ns())

    def on_fail_over(self, session: SessionInfo, *, from_member: str | None, to_member: str | None) -> None:
        """Record the names of both members."""
        self._record(self._recorder.fail_over, session, from_member or "", to_member or "", time.time_ns())

    def on_gap(self, session: SessionInfo, gap: Gap) -> None:
        """Record the place of the lost audio, without its reason, which may quote the vendor."""
        self._record(self._recorder.gap, session, gap.start_ms, gap.end_ms, time.time_ns())

    def on_session_end(self, session: SessionInfo, *, error: BaseException | None, stats: SessionStats) -> None:
        """End the span, and record the figures of the session."""
        if session.number in self._open:
            self._open.discard(session.number)
            kind = None if error is None else error_type(error)
            self._thread.call(self._recorder.end, session.number, kind, stats, _Now(), must_be_kept=True)

    def _record(self, function: Callable[..., None], session: SessionInfo, *args: object) -> None:
        if session.number in self._open:
            self._thread.call(function, session.number, *args)


def error_type(error: BaseException) -> str:
    """Return the kind of an error: the vendor's code if it has one that is no text, else the name of the class."""
    code = error.code if isinstance(error, ASRError) else None
    return code if code and _CODE.fullmatch(code) else type(error).__name__


class _CallThread:
    """A daemon thread that makes the calls that are put into its queue, one after another, in their order.

    It makes those of a tenth of a second together, and sleeps while there are none. It begins with the first call, in
    each process: a process that was forked has none of the threads of its parent.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        # ends a pause of the thread
        self._hurry = threading.Event()
        self._lock = threading.Lock()
        self._process = 0
        self._dropped = 0

    def __repr__(self) -> str:
        return f"{self._calls.qsize()} events waiting, {self._dropped} dropped"

    def call(self, function: Callable[..., None], *args: object, must_be_kept: bool = False) -> bool:
        """Put a call into the queue and return True; if the queue is full, drop it, log that once, and return False.

        Args:
            function: the function.
            args: its arguments.
            must_be_kept: True for a call that is not dropped: the end of something that another call has begun.
        """
        if self._process != os.getpid():
            self._start()
        if not must_be_kept and self._calls.qsize() >= MAX_WAITING:
            if not self._dropped:
                logger.warning("OpenTelemetry does not keep up, events are dropped: check that no exporter blocks")
            self._dropped += 1
            return False
        self._calls.put((function, *args))
        return True

    def flush(self, timeout: float) -> bool:
        """Wait until all calls are made that were put into the queue before; return False if that takes longer."""
        if self._process != os.getpid():
            return True
        is_done = threading.Event()
        self._calls.put((is_done.set,))
        self._hurry.set()
        return is_done.wait(timeout)

    def _start(self) -> None:
        with self._lock:
            if self._process == os.getpid():
                return
            self._calls, self._hurry = queue.SimpleQueue(), threading.Event()
            self._process = os.getpid()
            arguments = (self._calls, self._hurry)
            threading.Thread(target=_make_calls, args=arguments, name="asr_async telemetry", daemon=True).start()
            # the thread keeps the queue alive, not this object: without it the thread ends
            weakref.finalize(self, self._calls.put, None).atexit = False
            _threads.add(self)
            # Functions run at exit in the reverse order of their registration: this one before that of the SDK, whose
            # providers exist by now.
            atexit.unregister(_flush_all)
            atexit.register(_flush_all)


def _make_calls(calls: queue.SimpleQueue[tuple[Any, ...] | None], hurry: threading.Event) -> None:
    """Make calls until there is a None in place of one. An exception, of an exporter for instance, is logged once."""
    has_failed = False
    while (call := calls.get()) is not None:
        function, *args = call
        try:
            function(*args)
        except Exception as error:  # whatever an exporter raises
            level = logging.DEBUG if has_failed else logging.WARNING
            logger.log(level, "OpenTelemetry raised an exception, which is ignored", exc_info=error)
            has_failed = True
        if calls.empty():
            hurry.wait(PAUSE_S)
            hurry.clear()


_threads: weakref.WeakSet[_CallThread] = weakref.WeakSet()


def _flush_all() -> None:
    """Make the calls that wait when the interpreter exits, before the SDK closes its exporters."""
    deadline = time.monotonic() + EXIT_S
    for thread in list(_threads):
        thread.flush(max(0.0, deadline - time.monotonic()))


class _Now:
    """The present instant: by the wall clock for spans, and by a clock that is never set for durations."""

    __slots__ = ("monotonic_s", "wall_ns")

    def __init__(self) -> None:
        self.wall_ns = time.time_ns()
        self.monotonic_s = time.monotonic()


class _OpenSession:
    """The span of one session, and the attributes of its metrics."""

    __slots__ = ("attributes", "began_at", "is_waiting", "server", "span")

    def __init__(self, span: Span, attributes: Attributes, began_at: _Now) -> None:
        self.span = span
        self.attributes = attributes
        self.began_at = began_at
        # the attributes of the address of its newest connection
        self.server: Attributes = {}
        self.is_waiting = False


class _Recorder:
    """The spans of open sessions and all instruments; used by one thread."""

    def __init__(self, tracer: trace.Tracer, meter: metrics.Meter, metric_tags: frozenset[str]) -> None:
        self._tracer = tracer
        self._metric_tags = metric_tags
        self._sessions: dict[int, _OpenSession] = {}

        def histogram(name: str, description: str) -> metrics.Histogram:
            return meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=BUCKETS_S)

        self._duration = histogram("gen_ai.client.operation.duration", "Duration of a session.")
        self._first_result = histogram(
            "gen_ai.client.operation.time_to_first_chunk", "First audio sent to first result received."
        )
        self._final_delay = histogram(
            "asr.client.final.delay", "Last sample of a segment sent to its final result received."
        )
        self._active = meter.create_up_down_counter("asr.client.session.active", "{session}", "Open sessions.")
        self._waiting = meter.create_up_down_counter(
            "asr.client.session.waiting", "{session}", "Sessions that wait for a limit of the client."
        )
        self._wait = histogram("asr.client.limit.wait.duration", "Wait for a limit of the client.")
        self._setup = histogram("asr.client.connection.setup.duration", "Opening of a vendor task.")
        self._reconnects = meter.create_counter(
            "asr.client.reconnects", "{reconnect}", "Attempts to replace a lost connection."
        )
        self._fail_overs = meter.create_counter(
            "asr.client.fail_overs", "{change}", "Changes to another member of a fallback."
        )
        self._gaps = meter.create_counter("asr.client.gap.duration", "s", "Audio that no result covers.")
        self._audio = meter.create_counter("asr.client.audio.duration", "s", "Audio that was sent.")
        self._billed = meter.create_counter("asr.client.billed.duration", "s", "Usage that the vendor reports.")
        self._lateness = histogram("asr.client.pacer.lateness", "Largest lateness of a frame in a session.")
        self._conflated = meter.create_counter(
            "asr.client.interims.conflated", "{result}", "Interims that a newer one replaced before they were read."
        )

    def start(self, session: SessionInfo, context: Context, now: _Now) -> None:
        attributes: Attributes = {
            "gen_ai.operation.name": OPERATION,
            "gen_ai.provider.name": session.provider or session.vendor,
            "gen_ai.request.model": session.model,
        }
        tags: Attributes = {f"asr.tag.{name}": value for name, value in session.tags.items()}
        language: Attributes = {"gen_ai.speech.input.language": session.language} if session.language else {}
        span = self._tracer.start_span(
            f"{OPERATION} {session.model}",
            context,
            kind=trace.SpanKind.CLIENT,
            attributes={**attributes, **language, **tags},
            start_time=now.wall_ns,
        )
        for name in self._metric_tags & session.tags.keys():
            attributes[f"asr.tag.{name}"] = session.tags[name]
        self._sessions[session.number] = _OpenSession(span, attributes, now)
        self._active.add(1, attributes)

    def wait(self, number: int) -> None:
        session = self._sessions[number]
        session.is_waiting = True
        self._waiting.add(1, session.attributes)

    def end_wait(self, number: int, waited_s: float, permit: str) -> None:
        session = self._sessions[number]
        self._stop_waiting(session)
        self._wait.record(waited_s, {**session.attributes, "asr.limit.permit": permit})

    def _stop_waiting(self, session: _OpenSession) -> None:
        if session.is_waiting:
            session.is_waiting = False
            self._waiting.add(-1, session.attributes)

    def connect(self, number: int, duration_s: float, is_reused: bool, host: str, now_ns: int) -> None:
        session = self._sessions[number]
        session.server = _server_attributes(host)
        reused: Attributes = {"asr.connection.reused": is_reused}
        self._setup.record(duration_s, {**session.attributes, **session.server, **reused})
        session.span.set_attributes(session.server)
        details: Attributes = {**session.server, **reused, "asr.connection.setup.duration": duration_s}
        session.span.add_event("asr.connected", details, now_ns)

    def first_result(self, number: int, delay_s: float | None, now_ns: int) -> None:
        session = self._sessions[number]
        session.span.add_event("asr.first_result", {} if delay_s is None else {"asr.delay": delay_s}, now_ns)
        if delay_s is not None:
            self._first_result.record(delay_s, {**session.attributes, **session.server})

    def final(self, number: int, delay_s: float) -> None:
        session = self._sessions[number]
        self._final_delay.record(delay_s, {**session.attributes, **session.server})

    def reconnect(self, number: int, attempt: int, kind: str, now_ns: int) -> None:
        session = self._sessions[number]
        session.span.add_event("asr.reconnected", {"asr.attempt": attempt, "error.type": kind}, now_ns)
        self._reconnects.add(1, {**session.attributes, **session.server, "error.type": kind})

    def fail_over(self, number: int, from_member: str, to_member: str, now_ns: int) -> None:
        session = self._sessions[number]
        members: Attributes = {"asr.member.from": from_member, "asr.member.to": to_member}
        session.span.add_event("asr.fallback", members, now_ns)
        self._fail_overs.add(1, {**session.attributes, **members})

    def gap(self, number: int, start_ms: int, end_ms: int, now_ns: int) -> None:
        session = self._sessions[number]
        session.span.add_event("asr.gap", {"asr.start_ms": start_ms, "asr.end_ms": end_ms}, now_ns)
        self._gaps.add((end_ms - start_ms) / 1000, session.attributes)

    def end(self, number: int, kind: str | None, stats: SessionStats, now: _Now) -> None:
        session = self._sessions.pop(number)
        self._stop_waiting(session)
        self._active.add(-1, session.attributes)
        attributes = {**session.attributes, **session.server}
        self._record_audio(attributes, stats)
        self._lateness.record(stats.pacer_lateness_max_ms / 1000, attributes)
        self._conflated.add(stats.interims_conflated, attributes)
        if _CODE.fullmatch(stats.request_id):
            session.span.set_attribute("gen_ai.response.id", stats.request_id)
        if kind is not None:
            attributes["error.type"] = kind
            session.span.set_attribute("error.type", kind)
            session.span.set_status(trace.StatusCode.ERROR)
        self._duration.record(now.monotonic_s - session.began_at.monotonic_s, attributes)
        session.span.end(now.wall_ns)

    def _record_audio(self, attributes: Attributes, stats: SessionStats) -> None:
        lengths_ms = {
            "source": stats.audio_sent_ms or 0,
            "silence": stats.silence_sent_ms,
            "replay": stats.replayed_ms,
        }
        for kind, length_ms in lengths_ms.items():
            if length_ms:
                self._audio.add(length_ms / 1000, {**attributes, "asr.audio.kind": kind})
        if stats.usage_seconds:
            self._billed.add(stats.usage_seconds, attributes)


def _server_attributes(host: str) -> Attributes:
    """Return the attributes for "host", "host:port" or "[address]:port"."""
    name, _, port = host.rpartition(":")
    if not name or not port.isdecimal():
        return {"server.address": host.strip("[]")}
    return {"server.address": name.strip("[]"), "server.port": int(port)}
