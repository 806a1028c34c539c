"""Observers: the calls that a session makes, observers that fail, and objects that are refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from asr_async import (
    Client,
    ConfigurationError,
    ConnectionLostError,
    DashScope,
    Fallback,
    Gap,
    Limits,
    Paraformer,
    Result,
    Retry,
    Session,
    connect,
    transcribe,
)
from asr_async.telemetry import Observer, SessionInfo
from asr_async.telemetry.session_log import SessionLogger

from ..support.numbered_audio import FinalAtEndServer, NumberedServer, NumberedSource, cut
from ..support.scripted_server import scripted_server
from ..support.virtual_time import run_virtual


class Recorder(Observer):
    """An observer that keeps every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, SessionInfo, tuple[Any, ...], dict[str, Any]]] = []

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("on_"):
            return super().__getattribute__(name)

        def record(session: SessionInfo, *args: Any, **values: Any) -> None:
            self.calls.append((name, session, args, values))

        return record

    def values_of(self, name: str) -> list[dict[str, Any]]:
        return [values for called, _, _, values in self.calls if called == name]

    @property
    def names(self) -> list[str]:
        return [name for name, _, _, _ in self.calls if name != "on_audio_sent"]


@asynccontextmanager
async def observed_session(
    server: NumberedServer, observer: Observer, options: Paraformer | None = None, **client_options: Any
) -> AsyncIterator[Session]:
    async with (
        scripted_server(server) as service,
        Client(service, observers=[observer], **client_options) as client,
        client.session(options or Paraformer(), tags={"call": "4711"}) as session,
    ):
        yield session


# --- calls -----------------------------------------------------------------------------------------------------------


def test_a_session_is_observed_from_its_start_to_its_end() -> None:
    recorder = Recorder()

    async def scenario() -> None:
        async with observed_session(NumberedServer(), recorder) as session:
            texts = [result.text async for result in session.stream(NumberedSource(2)) if result.is_final]
            assert texts == ["to 1000", "to 2000"]
            assert recorder.values_of("on_session_end") == [{"error": None, "stats": session.stats}]

    run_virtual(scenario)
    assert recorder.names == [
        "on_session_start",
        "on_connect",
        "on_first_result",
        "on_final",
        "on_final",
        "on_session_end",
    ]
    assert {(s.vendor, s.model, s.tags["call"]) for _, s, _, _ in recorder.calls} == {
        ("dashscope", "paraformer-realtime-v2", "4711")
    }
    sent = recorder.values_of("on_audio_sent")
    assert [values["duration_ms"] for values in sent] == [100] * 20
    assert sum(values["size_bytes"] for values in sent) == 64_000
    [connected] = recorder.values_of("on_connect")
    assert connected["is_reused"] is False
    assert connected["member"] is None
    assert connected["host"].startswith("127.0.0.1:")
    assert connected["duration_s"] >= 0


def test_each_session_has_its_own_number_and_the_second_reuses_the_connection() -> None:
    recorder = Recorder()

    async def scenario() -> None:
        async with scripted_server(ReusableServer()) as service, Client(service, observers=[recorder]) as client:
            for _ in range(2):
                async with client.session(Paraformer()) as session:
                    assert [r.text async for r in session.stream(NumberedSource(1), pace=None) if r.is_final]

    run_virtual(scenario)
    assert [values["is_reused"] for values in recorder.values_of("on_connect")] == [False, True]
    numbers = {session.number for _, session, _, _ in recorder.calls}
    assert len(numbers) == 2


class ReusableServer(NumberedServer):
    """A server that accepts one task after another on each connection."""

    async def __call__(self, connection: Any) -> None:
        while True:
            await super().__call__(connection)


def test_the_delay_of_a_final_starts_when_its_last_sample_is_sent() -> None:
    recorder = Recorder()

    class LateServer(NumberedServer):
        async def _send_whole_seconds(self, connection: Any, task_id: str, *positions: int) -> int:
            start_ms, final_ms, now_ms = positions
            return await super()._send_whole_seconds(connection, task_id, start_ms, final_ms, max(0, now_ms - 300))

    async def scenario() -> None:
        async with observed_session(LateServer(), recorder) as session:
            async for _ in session.stream(NumberedSource(3)):
                pass

    run_virtual(scenario)
    delays = [values["delay_s"] for values in recorder.values_of("on_final")]
    assert delays[:2] == pytest.approx([0.3, 0.3], abs=0.011), "a frame is sent up to a tick late"
    assert recorder.values_of("on_first_result")[0]["delay_s"] > 0


def test_compressed_audio_has_no_delays() -> None:
    recorder = Recorder()

    async def scenario() -> None:
        async with observed_session(NumberedServer(), recorder, Paraformer(format="mp3")) as session:
            async for _ in session.stream(NumberedSource(2, every_s=0.1)):
                pass

    run_virtual(scenario)
    assert {values["delay_s"] for values in recorder.values_of("on_final")} == {None}
    assert {values["duration_ms"] for values in recorder.values_of("on_audio_sent")} == {None}


def test_a_reconnect_and_a_gap_are_observed() -> None:
    recorder = Recorder()

    async def scenario() -> None:
        server = FinalAtEndServer(cut, after_ms=5_000)
        retry = Retry(buffer_s=2.0, on_gap="continue")
        async with observed_session(server, recorder, retry=retry) as session:
            events = [event async for event in session.events(NumberedSource(8))]
        gaps = [args[0] for name, _, args, _ in recorder.calls if name == "on_gap"]
        assert gaps == [event for event in events if isinstance(event, Gap)]
        finals = [args[0] for name, _, args, _ in recorder.calls if name == "on_final"]
        assert finals == [event for event in events if isinstance(event, Result) and event.is_final]

    run_virtual(scenario)
    [reconnect] = recorder.values_of("on_reconnect")
    assert reconnect["attempt"] == 1
    assert isinstance(reconnect["error"], ConnectionLostError)
    assert len(recorder.values_of("on_connect")) == 2


def test_a_fail_over_is_observed_with_both_members() -> None:
    recorder = Recorder()

    async def scenario() -> None:
        async with (
            scripted_server(NumberedServer(cut, after_ms=1_500)) as first,
            scripted_server(NumberedServer()) as second,
        ):
            fallback = Fallback([(first, Paraformer()), (second, Paraformer(model="paraformer-realtime-v1"))])
            async with Client(fallback, observers=[recorder]) as client, client.session(fallback.options) as session:
                choice = await fallback.choose(fallback.options)
                async for result in session.stream(NumberedSource(4)):
                    if result.text == "to 1000":  # the member fails other sessions too
                        choice.record_refusal(ConnectionLostError("the vendor is down", retryable=True))

    run_virtual(scenario)
    [fail_over] = recorder.values_of("on_fail_over")
    assert "paraformer-realtime-v2" in fail_over["from_member"]
    assert "paraformer-realtime-v1" in fail_over["to_member"]


def test_a_wait_for_a_limit_is_observed_with_its_length() -> None:
    recorder = Recorder()

    async def scenario() -> None:
        limits = Limits(max_sessions=1, starts_per_second=None)
        async with (
            scripted_server(NumberedServer()) as service,
            Client(service, limits=limits, observers=[recorder]) as client,
        ):
            async with client.session(Paraformer()):
                waiting = asyncio.create_task(client.session(Paraformer()).__aenter__())
                await asyncio.sleep(2)
            await (await waiting).aclose()

    run_virtual(scenario)
    assert [values["waited_s"] for values in recorder.values_of("on_limit_wait")] == pytest.approx([2.0], abs=0.1)


def test_the_error_of_a_session_is_observed_even_if_it_never_opened() -> None:
    recorder = Recorder()

    async def scenario() -> None:
        service = DashScope("key", endpoint="ws://127.0.0.1:1/")
        with pytest.raises(ConnectionLostError):
            async with connect(Paraformer(), service, observers=[recorder]):
                pass
        with pytest.raises(ConnectionLostError):
            await transcribe(NumberedSource(1), Paraformer(), service, observers=[recorder])

    run_virtual(scenario)
    assert recorder.names == ["on_session_start", "on_session_end"] * 2


# --- observers that fail or are refused ------------------------------------------------------------------------------


class RaisingObserver(Observer):
    def on_audio_sent(self, session: SessionInfo, **_: Any) -> None:
        raise KeyError(session.model)


class BlockingObserver(Observer):
    """An observer that blocks for 0.11 s by a clock of its own, on which the load of the machine has no effect."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def on_final(self, session: SessionInfo, result: Result, **_: Any) -> None:
        self._now_s += 0.11

    def perf_counter(self) -> float:
        return self._now_s


def texts_with(observer: Observer) -> list[str]:
    texts: list[str] = []

    async def scenario() -> None:
        async with observed_session(NumberedServer(), observer) as session:
            texts.extend([result.text async for result in session.stream(NumberedSource(2)) if result.is_final])

    run_virtual(scenario)
    return texts


def test_an_exception_of_an_observer_is_logged_once_and_goes_no_further(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="asr_async")
    assert texts_with(RaisingObserver()) == ["to 1000", "to 2000"]
    [record] = [record for record in caplog.records if "RaisingObserver" in record.getMessage()]
    assert record.getMessage() == "RaisingObserver.on_audio_sent() raised an exception, which the session ignores"
    assert record.exc_info is not None
    assert record.exc_info[0] is KeyError


def test_an_observer_that_blocks_is_logged_once_with_the_remedy(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING, logger="asr_async")
    observer = BlockingObserver()
    monkeypatch.setattr("asr_async.telemetry.observer.time", observer)
    assert texts_with(observer) == ["to 1000", "to 2000"]
    [text] = [record.getMessage() for record in caplog.records if "BlockingObserver" in record.getMessage()]
    assert text == "BlockingObserver.on_final() blocked the event loop; put the work into a queue or a thread (0.1 s)"


class AsynchronousObserver(Observer):
    async def on_gap(self, session: SessionInfo, gap: Gap) -> None:  # type: ignore[override]
        """Do nothing; the coroutine function is the mistake."""


@pytest.mark.parametrize(
    ("observers", "text"),
    [
        (7, "observers=7: must be a list of observers"),
        ("prometheus", "observers='prometheus': must be a list of observers"),
        (Recorder(), "must be a list of observers"),
        ([Recorder], r"observers: Recorder is a class; pass an instance, Recorder\(\)"),
        ([print], r"has no method on_session_start\(\); derive it from asr_async.telemetry.Observer"),
        (
            [AsynchronousObserver()],
            r"observers: AsynchronousObserver.on_gap\(\) is a coroutine function; observers are called synchronously",
        ),
    ],
)
def test_an_object_that_is_not_an_observer_is_refused_by_the_client(observers: Any, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        Client(DashScope("key"), observers=observers)


@pytest.mark.parametrize("tags", [["call"], {"call": 4711}, {7: "call"}, "call"])
def test_tags_that_are_not_strings_are_refused_before_the_session_opens(tags: Any) -> None:
    async def scenario() -> None:
        async with Client(DashScope("key")) as client:
            with pytest.raises(ConfigurationError, match=r"tags=.*: must be a mapping of strings to strings"):
                client.session(Paraformer(), tags=tags)

    run_virtual(scenario)


def test_the_tags_of_a_session_are_in_its_repr_its_statistics_and_all_of_its_log_records(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="asr_async")
    recorder = Recorder()

    async def scenario() -> None:
        server = NumberedServer(cut, after_ms=400)
        async with observed_session(server, recorder, retry=Retry(max_delay_s=0.1)) as session:
            assert repr(session).endswith(" call='4711'>")
            async for _ in session.stream(NumberedSource(2)):
                pass
            assert session.stats.tags == {"call": "4711"}
            assert session.stats.reconnects == 1

    run_virtual(scenario)
    (number,) = {session.number for _, session, _, _ in recorder.calls}
    records = [vars(record) for record in caplog.records if record.name == "asr_async"]
    assert any("attempt 1 in" in record["message"] for record in records)
    for record in records:
        assert (record["asr_session"], record["call"]) == (number, "4711")


def test_a_tag_with_the_name_of_an_attribute_of_all_log_records_has_a_prefix_there(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_record = logging.getLogRecordFactory()

    def record_of_this_program(*args: Any, **values: Any) -> logging.LogRecord:
        record = make_record(*args, **values)
        record.tenant = "of the program"
        return record

    names = ["name", "args", "message", "asctime", "exc_info", "asr_session", "tenant", "tag_name", "two words", ""]
    info = SessionInfo(number=7, vendor="dashscope", model="m", tags={name: f"<{name}>" for name in names})
    monkeypatch.setattr(logging, "_logRecordFactory", record_of_this_program)
    with caplog.at_level(logging.INFO, logger="asr_async"):
        SessionLogger(info).info("one %s", "line")
    (record,) = caplog.records
    attributes = vars(record)
    assert (record.name, record.getMessage(), attributes["tenant"]) == ("asr_async", "one line", "of the program")
    assert (attributes["asr_session"], attributes["asr_vendor"]) == (7, "dashscope")
    prefixed = ["name", "args", "message", "asctime", "exc_info", "asr_session", "tenant"]
    assert {name: attributes[f"tag_{name}"] for name in prefixed} == {name: f"<{name}>" for name in prefixed}
    assert {name: attributes[name] for name in ("two words", "")} == {"two words": "<two words>", "": "<>"}
    assert attributes["tag_tag_name"] == "<tag_name>"
    assert record.filename == "test_observer.py", "the place that logs, not the logger of the session"


def test_tags_are_copied() -> None:
    recorder, tags = Recorder(), {"call": "1"}

    async def scenario() -> None:
        async with scripted_server(NumberedServer()) as service, Client(service, observers=[recorder]) as client:
            session = client.session(Paraformer(), tags=tags)
            tags["call"] = "2"
            async with session:
                pass

    run_virtual(scenario)
    assert {session.tags["call"] for _, session, _, _ in recorder.calls} == {"1"}
