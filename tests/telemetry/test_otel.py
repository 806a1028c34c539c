"""Spans and metrics by OpenTelemetry: of sessions with faults, without any text, and with exporters that fail."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from asr_async import (
    Client,
    ConfigurationError,
    Fallback,
    Gap,
    Limits,
    Paraformer,
    QwenRealtime,
    Rasr,
    Reconnected,
    Result,
    Retry,
    VendorError,
    connect,
)
from asr_async.telemetry import otel
from asr_async.telemetry.otel import OpenTelemetryObserver

from ..support.child_processes import child_environment
from ..support.numbered_audio import FinalAtEndServer, NumberedServer, NumberedSource, cut
from ..support.paths import EXAMPLES
from ..support.scripted_server import scripted_server, send_event, start_task
from ..support.virtual_time import run_virtual

BASE = {
    "gen_ai.operation.name": "speech_to_text",
    "gen_ai.provider.name": "alibaba_cloud.dashscope",
    "gen_ai.request.model": "paraformer-realtime-v2",
}


class Telemetry:
    """An observer whose spans and metrics are kept in memory."""

    def __init__(self, exporter: SpanExporter | None = None, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(exporter or self.exporter))
        self.observer = OpenTelemetryObserver(
            tracer_provider=tracers, meter_provider=MeterProvider([self._reader]), **options
        )
        self.tracer = tracers.get_tracer("test")

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        assert self.observer.flush(10)
        return self.exporter.get_finished_spans()

    @property
    def metrics(self) -> dict[str, list[Any]]:
        """The data points by the name of their metric."""
        assert self.observer.flush(10)
        data = self._reader.get_metrics_data()
        assert data is not None
        [resource] = data.resource_metrics
        [scope] = resource.scope_metrics
        assert scope.scope.name == "asr_async"
        return {metric.name: list(metric.data.data_points) for metric in scope.metrics}

    def values(self, name: str) -> dict[tuple[Any, ...], float]:
        """Return the values of a counter by its attributes beyond those of every metric and the address."""
        ignored = {*BASE, "server.address", "server.port"}
        return {
            tuple(value for key, value in point.attributes.items() if key not in ignored): point.value
            for point in self.metrics[name]
        }


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def events_of(span: ReadableSpan) -> list[tuple[str, dict[str, Any]]]:
    return [(event.name, dict(event.attributes or {})) for event in span.events]


# --- what is recorded ------------------------------------------------------------------------------------------------


def test_a_session_with_a_reconnect_a_gap_and_a_fail_over_has_a_span_and_metrics() -> None:
    telemetry = Telemetry(metric_tags=["tenant"])

    async def scenario() -> int:
        async with (
            scripted_server(FinalAtEndServer(cut, cut, cut, after_ms=4_000)) as first,
            scripted_server(NumberedServer()) as second,
        ):
            fallback = Fallback([(first, Paraformer()), (second, Paraformer(model="paraformer-realtime-v1"))])
            retry = Retry(buffer_s=2.0, on_gap="continue")
            async with (
                Client(fallback, observers=[telemetry.observer], retry=retry) as client,
                client.session(fallback.options, tags={"call": "4711", "tenant": "acme"}) as session,
            ):
                events = [event async for event in session.events(NumberedSource(12))]
                assert {Gap, Reconnected, Result} <= {type(event) for event in events}
                stats = session.stats
        assert stats.lost_ms > 0
        assert stats.replayed_ms > 0
        gaps_s = sum(event.end_ms - event.start_ms for event in events if isinstance(event, Gap)) / 1000
        assert telemetry.values("asr.client.gap.duration") == {("acme",): pytest.approx(gaps_s)}
        audio = telemetry.values("asr.client.audio.duration")
        assert audio == {("acme", "source"): 12.0, ("acme", "replay"): pytest.approx(stats.replayed_ms / 1000)}
        return sum(isinstance(event, Result) and event.is_final for event in events)

    finals = run_virtual(scenario)
    [span] = telemetry.spans
    assert (span.name, span.kind) == ("speech_to_text paraformer-realtime-v2", SpanKind.CLIENT)
    assert span.status.status_code is StatusCode.UNSET
    attributes = attributes_of(span)
    assert BASE.items() <= attributes.items()
    assert attributes["server.address"] == "127.0.0.1"
    assert len(attributes["gen_ai.response.id"]) == 32
    assert (attributes["asr.tag.call"], attributes["asr.tag.tenant"]) == ("4711", "acme")
    assert "error.type" not in attributes
    events = events_of(span)
    names = [name for name, _ in events]
    assert names[0] == "asr.connected"
    assert set(names) == {"asr.connected", "asr.first_result", "asr.reconnected", "asr.gap", "asr.fallback"}
    [fail_over] = [values for name, values in events if name == "asr.fallback"]
    assert fail_over["asr.member.from"].endswith("paraformer-realtime-v2")
    assert fail_over["asr.member.to"].endswith("paraformer-realtime-v1")
    attempts = [values for name, values in events if name == "asr.reconnected"]
    assert {values["error.type"] for values in attempts} == {"1006"}
    assert telemetry.values("asr.client.reconnects") == {("acme", "1006"): len(attempts)}
    assert list(telemetry.values("asr.client.fail_overs").values()) == [1]
    assert telemetry.values("asr.client.session.active") == {("acme",): 0}
    metrics = telemetry.metrics
    assert [point.count for point in metrics["gen_ai.client.operation.duration"]] == [1]
    assert [point.count for point in metrics["gen_ai.client.operation.time_to_first_chunk"]] == [1]
    assert sum(point.count for point in metrics["asr.client.connection.setup.duration"]) == names.count("asr.connected")
    assert sum(point.count for point in metrics["asr.client.final.delay"]) == finals
    assert metrics["asr.client.pacer.lateness"][0].explicit_bounds == otel.BUCKETS_S


def test_an_error_is_recorded_by_its_code_and_never_by_its_text() -> None:
    telemetry = Telemetry()

    async def refuse(connection: Any) -> None:
        task_id = await start_task(connection)
        error = {"error_code": "InvalidParameter", "error_message": "spoken words in an error"}
        await send_event(connection, "task-failed", task_id, **error)
        await connection.wait_closed()

    async def scenario() -> None:
        async with (
            scripted_server(refuse) as service,
            connect(Paraformer(), service, observers=[telemetry.observer]) as session,
        ):
            with pytest.raises(VendorError, match="spoken words"):
                await session.finish()

    run_virtual(scenario)
    [span] = telemetry.spans
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description is None
    assert attributes_of(span)["error.type"] == "InvalidParameter"
    [duration] = telemetry.metrics["gen_ai.client.operation.duration"]
    assert duration.attributes["error.type"] == "InvalidParameter"
    assert "spoken" not in span.to_json()


@pytest.mark.parametrize("code", ["please call me back", "请给我回电话", "x" * 65, None, ""])
def test_a_code_that_may_be_a_text_is_replaced_by_the_class_of_the_error(code: str | None) -> None:
    assert otel.error_type(VendorError("it broke", code=code)) == "VendorError"


def test_no_text_of_speech_is_recorded() -> None:
    telemetry = Telemetry()

    async def scenario() -> None:
        async with (
            scripted_server(NumberedServer(cut, after_ms=1_500)) as service,
            connect(Paraformer(), service, observers=[telemetry.observer]) as session,
        ):
            texts = [result.text async for result in session.stream(NumberedSource(3))]
        assert "to 1000" in texts

    run_virtual(scenario)
    [span] = telemetry.spans
    points = str(telemetry.metrics)
    assert not any(text in record for text in ("to 1000", "to 3000", "…") for record in (span.to_json(), points))


def test_a_wait_for_a_limit_is_recorded() -> None:
    telemetry = Telemetry()

    async def scenario() -> None:
        limits = Limits(max_sessions=1, starts_per_second=None)
        async with (
            scripted_server(NumberedServer()) as service,
            Client(service, limits=limits, observers=[telemetry.observer]) as client,
        ):
            async with client.session(Paraformer()):
                waiting = asyncio.create_task(client.session(Paraformer()).__aenter__())
                await asyncio.sleep(2)
                assert list(telemetry.values("asr.client.session.waiting").values()) == [1]
                assert list(telemetry.values("asr.client.session.active").values()) == [2]
            await (await waiting).aclose()

    run_virtual(scenario)
    assert list(telemetry.values("asr.client.session.waiting").values()) == [0]
    [wait] = telemetry.metrics["asr.client.limit.wait.duration"]
    assert wait.attributes["asr.limit.permit"] == "session"
    assert wait.sum == pytest.approx(2.0, abs=0.1)


def test_the_span_is_a_child_of_the_span_in_which_the_session_is_opened() -> None:
    telemetry = Telemetry()

    async def scenario() -> None:
        async with scripted_server(NumberedServer()) as service:
            with telemetry.tracer.start_as_current_span("request"):
                async with connect(Paraformer(), service, observers=[telemetry.observer]) as session:
                    async for _ in session.stream(NumberedSource(1)):
                        pass

    run_virtual(scenario)
    request, session = sorted(telemetry.spans, key=lambda span: span.name)
    assert session.parent is not None
    assert request.context is not None
    assert session.parent.span_id == request.context.span_id


@pytest.mark.parametrize(
    ("options", "language"),
    [
        (Paraformer(), ""),
        (Paraformer(language_hints=["zh"]), "zh"),
        (Paraformer(language_hints=["zh", "en"]), ""),
        (QwenRealtime(language="yue"), "yue"),
        (Rasr(), "zh"),
        (Rasr(property="english_16k_common"), "en"),
    ],
)
def test_the_language_of_a_session_is_the_only_one_of_its_options(options: Any, language: str) -> None:
    assert options.spoken_language == language


@pytest.mark.parametrize(
    ("host", "attributes"),
    [
        ("dashscope.aliyuncs.com", {"server.address": "dashscope.aliyuncs.com"}),
        ("127.0.0.1:8080", {"server.address": "127.0.0.1", "server.port": 8080}),
        ("[::1]:8080", {"server.address": "::1", "server.port": 8080}),
        ("[::1]", {"server.address": "::1"}),
    ],
)
def test_the_address_of_the_server_is_split(host: str, attributes: dict[str, Any]) -> None:
    assert otel._server_attributes(host) == attributes


# --- what must not harm a session ------------------------------------------------------------------------------------


def texts_with(observer: OpenTelemetryObserver) -> list[str]:
    async def scenario() -> list[str]:
        async with (
            scripted_server(NumberedServer()) as service,
            connect(Paraformer(), service, observers=[observer]) as session,
        ):
            return [result.text async for result in session.stream(NumberedSource(2)) if result.is_final]

    return run_virtual(scenario)


class BlockingExporter(SpanExporter):
    """An exporter that blocks until it is released."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.exported: list[str] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        assert self.release.wait(60)
        self.exported += [span.name for span in spans]
        return SpanExportResult.SUCCESS


def test_an_exporter_that_blocks_delays_no_session_and_gets_all_spans_later(caplog: pytest.LogCaptureFixture) -> None:
    exporter = BlockingExporter()
    telemetry = Telemetry(exporter)
    try:
        for _ in range(3):
            assert texts_with(telemetry.observer) == ["to 1000", "to 2000"]
        assert not telemetry.observer.flush(0.01)
        assert exporter.exported == []
    finally:
        exporter.release.set()
    assert telemetry.observer.flush(10)
    assert exporter.exported == ["speech_to_text paraformer-realtime-v2"] * 3
    assert not [record for record in caplog.records if record.name == "asr_async" and record.levelno > logging.INFO]


def test_events_beyond_the_bound_are_dropped_with_one_warning_and_no_session_stays_open(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otel, "MAX_WAITING", 3)
    exporter = BlockingExporter()
    telemetry = Telemetry(exporter)
    try:
        for _ in range(10):
            texts_with(telemetry.observer)
    finally:
        exporter.release.set()
    assert list(telemetry.values("asr.client.session.active").values()) == [0]
    assert 1 <= len(exporter.exported) < 10
    [text] = [record.getMessage() for record in caplog.records if "OpenTelemetry" in record.getMessage()]
    assert text == "OpenTelemetry does not keep up, events are dropped: check that no exporter blocks"
    assert texts_with(telemetry.observer)
    assert telemetry.observer.flush(10)


class RaisingTracerProvider(TracerProvider):
    def get_tracer(self, *args: Any, **values: Any) -> Any:
        tracer = super().get_tracer(*args, **values)
        tracer.start_span = self._raise  # type: ignore[method-assign]
        return tracer

    def _raise(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("no span today")


def test_an_exception_of_opentelemetry_is_logged_once_and_goes_no_further(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="asr_async")
    observer = OpenTelemetryObserver(tracer_provider=RaisingTracerProvider(), meter_provider=MeterProvider())
    for _ in range(2):
        assert texts_with(observer) == ["to 1000", "to 2000"]
    assert observer.flush(10)
    [record] = [record for record in caplog.records if record.name == "asr_async"]
    assert record.getMessage() == "OpenTelemetry raised an exception, which is ignored"
    assert "no span today" in str(record.exc_info)


def test_a_string_as_the_names_of_tags_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match=r"metric_tags='tenant': must be a list of names, such as \['tenant'\]"
    ):
        OpenTelemetryObserver(metric_tags="tenant")


def test_the_thread_ends_with_its_observer() -> None:
    before = set(threading.enumerate())
    telemetry = Telemetry()
    texts_with(telemetry.observer)
    [thread] = [thread for thread in threading.enumerate() if thread not in before and "telemetry" in thread.name]
    del telemetry
    gc.collect()  # the clients that had the observer
    thread.join(10)
    assert not thread.is_alive()


AT_EXIT = """
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from asr_async.telemetry import SessionInfo
from asr_async.telemetry.otel import OpenTelemetryObserver

tracers = TracerProvider()
tracers.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
observer = OpenTelemetryObserver(tracer_provider=tracers, meter_provider=MeterProvider())
session = SessionInfo(number=1, vendor="v", model="m")
observer.on_session_start(session)
observer.on_connect(session, duration_s=0.1, is_reused=False, host="h", member=None)
observer.on_session_end(session, error=None, stats=STATS)
"""


def run_python(code: str) -> str:
    completed = subprocess.run(
        [sys.executable, "-c", code],
        env={**child_environment(), "METRICS_PORT": "0"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=EXAMPLES.parent,
    )
    return completed.stdout


def test_a_span_that_ends_just_before_the_interpreter_is_exported() -> None:
    stats = (
        "__import__('asr_async').SessionStats(request_id='r', first_result_ms=None, last_result_ms=None, "
        "audio_sent_ms=None, usage_seconds=None, pacer_lateness_max_ms=0, interims_conflated=0, results_received=0, "
        "finals_received=0, reconnects=0, lost_ms=0)"
    )
    printed = run_python(AT_EXIT.replace("STATS", stats))
    assert '"speech_to_text m"' in printed
    assert '"asr.connected"' in printed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_a_thread_of_its_own() -> None:
    code = f"""
import os
{AT_EXIT.partition("session =")[0]}
session = SessionInfo(number=1, vendor="v", model="m")
observer.on_session_start(session)
assert observer.flush(10)
if os.fork() == 0:
    observer.on_session_start(SessionInfo(number=2, vendor="v", model="m"))
    os._exit(0 if observer.flush(10) else 1)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
print("recorded in both")
"""
    assert "recorded in both" in run_python(code)


def test_without_opentelemetry_the_error_names_the_extra() -> None:
    code = """
import sys
sys.modules["opentelemetry"] = None
try:
    import asr_async.telemetry.otel
except ImportError as error:
    print(error)
"""
    assert run_python(code) == "asr_async.telemetry.otel needs OpenTelemetry's API: pip install 'asr-async[otel]'\n"


def test_the_example_shows_the_page_that_prometheus_reads() -> None:
    completed = subprocess.run(
        [sys.executable, "examples/prometheus_metrics.py", "examples/audio/demo.wav"],
        env={**child_environment(), "METRICS_PORT": "0"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=EXAMPLES.parent,
    )
    for name in ("asr_client_audio_duration_seconds_total", "gen_ai_client_operation_duration_seconds_count"):
        assert f"\n{name}{{" in completed.stderr
    assert len((EXAMPLES / "prometheus_metrics.py").read_text().splitlines()) <= 40
