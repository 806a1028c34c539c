"""The deadlines of `Timeouts` against a vendor that does not answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.server import ServerConnection

from asr_async import (
    ConfigurationError,
    ConnectionLostError,
    DashScope,
    DeadlineError,
    Paraformer,
    Reconnected,
    Retry,
    Timeouts,
    connect,
    transcribe,
)

from ..support.numbered_audio import (
    NumberedServer,
    NumberedSource,
    finals_of,
    finals_of_seconds,
    stop_answering,
    stream_events,
)
from ..support.scripted_server import (
    read_until_finish,
    scripted_server,
    send_event,
    send_final,
    send_interim,
    start_task,
)
from ..support.streaming import SILENT_SECOND, SilentMicrophone, stream_once
from ..support.virtual_time import now, run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable

pytestmark = pytest.mark.both_loops


async def timed(work: Awaitable[Any]) -> tuple[float, Any]:
    """Await the work, and return the seconds that it took and its outcome."""
    started_at = now()
    outcome = await work
    elapsed_s = now() - started_at
    await asyncio.sleep(1)  # the server receives the end of the connection
    return elapsed_s, outcome


def test_a_handshake_without_a_response_ends_at_the_connect_deadline() -> None:
    async def scenario() -> Any:
        async def read_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(read_only, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            service = DashScope("key", endpoint=f"ws://127.0.0.1:{port}/")
            return await timed(stream_once(service, timeouts=Timeouts(connect=3)))

    elapsed, (_, error) = run_virtual(scenario)
    assert isinstance(error, DeadlineError)
    assert "within 3 s (Timeouts.connect)" in str(error)
    assert elapsed == pytest.approx(3, abs=0.2)


def test_a_task_that_does_not_start_ends_at_the_start_deadline() -> None:
    async def never_start(connection: ServerConnection) -> None:
        async for _ in connection:
            pass

    async def scenario() -> Any:
        async with scripted_server(never_start) as service:
            return await timed(stream_once(service))

    elapsed, (_, error) = run_virtual(scenario)
    assert isinstance(error, DeadlineError)
    assert "did not open the task within 10 s (Timeouts.start)" in str(error)
    assert elapsed == pytest.approx(10, abs=0.2)


async def send_result(
    connection: ServerConnection, task_id: str, number: int, begin: int, end: int, *, is_final: bool
) -> None:
    """Send a result with an id of its own and with an end, interims too."""
    sentence = {"sentence_id": number, "begin_time": begin, "text": str(number), "sentence_end": is_final}
    sentence["end_time"] = end if is_final else None
    sentence["words"] = [{"text": str(number), "begin_time": begin, "end_time": end, "punctuation": ""}]
    await send_event(connection, "result-generated", task_id, {"output": {"sentence": sentence}})


async def send_one_final(connection: ServerConnection) -> None:
    task_id = await start_task(connection)
    await connection.recv()
    await send_final(connection, task_id, "one")
    async for _ in connection:
        pass


def test_a_finish_without_confirmation_ends_at_its_deadline_after_the_results() -> None:
    async def scenario() -> Any:
        async with scripted_server(send_one_final) as service:
            return await timed(stream_once(service))

    elapsed, (texts, error) = run_virtual(scenario)
    assert texts == ["one"]
    assert isinstance(error, DeadlineError)
    assert "did not confirm the end within 10 s (Timeouts.finish)" in str(error)
    assert error.request_id
    assert elapsed == pytest.approx(10, abs=0.2)


def test_results_of_pushed_audio_can_be_read_after_the_finish_deadline() -> None:
    async def scenario() -> Any:
        async with scripted_server(send_one_final) as service, connect(Paraformer(), service) as session:
            await session.send(SILENT_SECOND)
            with pytest.raises(DeadlineError):
                await session.finish()
            return [await anext(session.__aiter__())]

    results = run_virtual(scenario)
    assert [result.text for result in results] == ["one"]


def test_a_backlog_that_makes_progress_may_take_longer_than_the_finish_deadline() -> None:
    async def send_slowly(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await read_until_finish(connection)
        for number in range(5):
            await asyncio.sleep(8)
            await send_final(connection, task_id, str(number), 1_000 * number, 1_000 * number + 900)
        await send_event(connection, "task-finished", task_id, {"output": {}})

    async def scenario() -> Any:
        async with scripted_server(send_slowly) as service:
            return await timed(stream_once(service, audio=[SILENT_SECOND] * 5))

    elapsed, (texts, error) = run_virtual(scenario)
    assert (texts, error) == (["0", "1", "2", "3", "4"], None)
    assert elapsed == pytest.approx(40, abs=1)


@pytest.mark.parametrize("is_final", [True, False], ids=["finals", "interims"])
def test_results_beyond_the_audio_that_was_sent_do_not_extend_the_finish_deadline(is_final: bool) -> None:
    async def send_ever_later_results(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await read_until_finish(connection)
        for number in range(1_000):
            await send_result(connection, task_id, number, 500 * number, 500 * (number + 1), is_final=is_final)
            await asyncio.sleep(2)

    async def scenario() -> Any:
        async with scripted_server(send_ever_later_results) as service:
            return await timed(stream_once(service, timeouts=Timeouts(finish=3)))

    elapsed, (texts, error) = run_virtual(scenario)
    assert isinstance(error, DeadlineError)
    assert "did not confirm the end within 3 s (Timeouts.finish)" in str(error)
    assert texts[:4] == ["0", "1", "2", "3"], "up to the end of the two seconds"
    assert elapsed == pytest.approx(3 * 2 + 3, abs=0.2)


def test_very_small_steps_do_not_keep_a_finished_session_open() -> None:
    """A vendor has to work through the rest of the audio at a tenth of its pace at least."""

    async def creep(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await read_until_finish(connection)
        for number in range(2_000):
            await send_result(connection, task_id, 0, 0, 1 + number, is_final=False)
            await asyncio.sleep(2)

    async def scenario() -> Any:
        async with scripted_server(creep) as service:
            return await timed(stream_once(service, timeouts=Timeouts(finish=3)))

    elapsed, (_, error) = run_virtual(scenario)
    assert isinstance(error, DeadlineError)
    assert elapsed == pytest.approx(3 + 10 * 2, abs=0.2)


WEBM_MAGIC = b"\x1aE\xdf\xa3"
"""The first bytes of a container that cannot be cut."""


def test_compressed_audio_of_unknown_length_is_no_longer_than_its_bytes_allow() -> None:
    """At 2 kbit/s, 1,000 bytes are four seconds."""

    async def send_ever_later_results(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await read_until_finish(connection)
        for number in range(1_000):
            await send_result(connection, task_id, number, 1_000 * number, 1_000 * (number + 1), is_final=True)
            await asyncio.sleep(2)

    async def scenario() -> Any:
        async with (
            scripted_server(send_ever_later_results) as service,
            connect(Paraformer(format="opus"), service, timeouts=Timeouts(finish=3)) as session,
        ):
            with pytest.raises(DeadlineError, match=r"within 3 s \(Timeouts.finish\)"):
                async for _ in session.stream([WEBM_MAGIC + bytes(996)]):
                    pass
            return now()

    assert run_virtual(scenario) == pytest.approx(3 * 2 + 3, abs=0.2)


def test_interims_without_progress_do_not_extend_the_finish_deadline() -> None:
    async def repeat_an_interim(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await read_until_finish(connection)
        while True:
            await asyncio.sleep(1)
            await send_interim(connection, task_id, "mm")

    async def scenario() -> Any:
        async with scripted_server(repeat_an_interim) as service:
            return await timed(stream_once(service))

    elapsed, (_, error) = run_virtual(scenario)
    assert isinstance(error, DeadlineError)
    assert elapsed < 15


def test_a_blocked_send_ends_at_the_idle_timeout() -> None:
    async def stop_reading(connection: ServerConnection) -> None:
        await start_task(connection)
        connection.transport.pause_reading()
        await asyncio.sleep(3_600)

    async def scenario() -> Any:
        async with scripted_server(stop_reading, ping_interval=None) as service:
            return await timed(
                stream_once(service, audio=(SILENT_SECOND for _ in range(2_000)), timeouts=Timeouts(idle=8))
            )

    elapsed, (_, error) = run_virtual(scenario)
    assert isinstance(error, DeadlineError | ConnectionLostError)
    assert "Timeouts.idle" in str(error)
    assert elapsed < 8 + 5 + 5 + 1


def test_a_half_open_connection_ends_at_the_idle_timeout() -> None:
    async def stop_reading(connection: ServerConnection) -> None:
        await start_task(connection)
        connection.transport.pause_reading()
        await asyncio.sleep(3_600)

    async def one_frame() -> Any:
        yield bytes(3_200)
        await asyncio.sleep(3_600)

    async def scenario() -> Any:
        async with scripted_server(stop_reading, ping_interval=None) as service:
            return await timed(stream_once(service, audio=one_frame(), timeouts=Timeouts(idle=8)))

    elapsed, (_, error) = run_virtual(scenario)
    assert isinstance(error, ConnectionLostError)
    assert "no sign of life for 8 s (Timeouts.idle)" in str(error)
    assert elapsed < 8 + 5 + 1  # and `Timeouts.close`, since the closing handshake is not answered


def test_a_connection_with_messages_or_pongs_is_not_idle() -> None:
    async def send_without_reading(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        connection.transport.pause_reading()
        for number in range(10):
            await asyncio.sleep(7)  # results are sent, but no pong
            await send_final(connection, task_id, str(number), 1_000 * number, 1_000 * number + 900)
        connection.transport.resume_reading()
        await asyncio.sleep(60)  # pongs are sent, but no results
        await read_until_finish(connection)
        await send_event(connection, "task-finished", task_id, {"output": {}})

    async def one_frame() -> Any:
        yield bytes(3_200)
        await asyncio.sleep(140)

    async def scenario() -> Any:
        async with scripted_server(send_without_reading, ping_interval=None) as service:
            return await stream_once(service, audio=one_frame(), timeouts=Timeouts(idle=8))

    texts, error = run_virtual(scenario)
    assert error is None
    assert len(texts) == 10


def test_a_closing_handshake_without_a_response_ends_at_the_close_deadline() -> None:
    async def stop_reading(connection: ServerConnection) -> None:
        await start_task(connection)
        connection.transport.pause_reading()
        await asyncio.sleep(3_600)

    async def scenario() -> None:
        async with scripted_server(stop_reading, ping_interval=None) as service:
            async with connect(Paraformer(), service, timeouts=Timeouts(close=2)):
                pass
            closed_at.append(now())

    closed_at: list[float] = []
    run_virtual(scenario)
    assert closed_at[0] < 2.5


class NeverConfirms(NumberedServer):
    """A server that never confirms the end of a task."""

    async def _send_rest(self, *_args: Any) -> None:
        await asyncio.sleep(600)


def test_finish_raises_at_its_deadline_and_the_results_before_it_can_be_read() -> None:
    async def scenario() -> None:
        timeouts = Timeouts(finish=7)
        async with (
            scripted_server(NeverConfirms()) as service,
            connect(Paraformer(), service, timeouts=timeouts) as session,
        ):
            async for chunk in NumberedSource(2.5):
                await session.send(chunk)
            started_at = now()
            with pytest.raises(DeadlineError, match=r"did not confirm the end within 7 s \(Timeouts.finish\)"):
                await session.finish()
            assert now() - started_at == pytest.approx(7, abs=0.1)
            texts = []
            with pytest.raises(DeadlineError):
                async for result in session:
                    texts.append(result.text)
            assert texts == ["to 1000", "to 2000", "…"]

    run_virtual(scenario)


def test_the_error_of_a_transcription_contains_the_transcript_until_then() -> None:
    async def scenario() -> None:
        async with scripted_server(NeverConfirms()) as service:
            with pytest.raises(DeadlineError) as caught:
                await transcribe(NumberedSource(2.5), Paraformer(), service)
        assert caught.value.transcript is not None
        assert caught.value.transcript.text == "to 1000 to 2000"

    run_virtual(scenario)


class HalfOpen(NumberedServer):
    """A server whose first connection becomes half-open at one step: no message, no pong, no end."""

    def __init__(self, step: str) -> None:
        super().__init__()
        self._step = step
        self.half_open_at = 0.0

    async def __call__(self, connection: ServerConnection) -> None:
        await self._stop_at("opening", connection)
        await super().__call__(connection)

    async def _send_rest(self, connection: ServerConnection, *args: Any) -> None:
        await self._stop_at("finishing", connection)
        await super()._send_rest(connection, *args)

    async def _stop_at(self, step: str, connection: ServerConnection) -> None:
        if step == self._step and not self.half_open_at:
            self.half_open_at = now()
            await stop_answering(connection, "")


def test_a_connection_that_is_half_open_from_the_start_ends_at_the_start_deadline() -> None:
    async def scenario() -> None:
        server = HalfOpen("opening")
        async with scripted_server(server) as service:
            with pytest.raises(DeadlineError, match=r"did not open the task within 6 s \(Timeouts.start\)"):
                await connect(Paraformer(), service, timeouts=Timeouts(start=6, close=1)).__aenter__()
            assert now() - server.half_open_at < 6 + 1 + 0.1, "and a second for the closing handshake"

    run_virtual(scenario)


def test_a_connection_that_is_half_open_after_finish_is_replaced_within_a_second_after_the_idle_timeout() -> None:
    async def scenario() -> None:
        server = HalfOpen("finishing")
        timeouts = Timeouts(idle=6, finish=10)
        async with scripted_server(server) as service, connect(Paraformer(), service, timeouts=timeouts) as session:
            events = []
            async for event in session.events(NumberedSource(2.5)):
                events.append(event)
                if isinstance(event, Reconnected):
                    assert now() - server.half_open_at < 6 + 1
        assert [text for _, text, _, _ in finals_of(events)] == ["to 1000", "to 2000", "to 2500"]
        assert session.stats.reconnects == 1

    run_virtual(scenario)


@pytest.mark.parametrize("sends_interims", [False, True])
def test_a_server_that_stops_reading_is_replaced_within_a_second_after_the_idle_timeout(sends_interims: bool) -> None:
    """The blocked send reveals it, even if messages still arrive."""

    async def stop_reading(connection: ServerConnection, task_id: str) -> None:
        stopped_at.append(now())
        connection.transport.pause_reading()
        for number in range(600):
            await asyncio.sleep(1)
            if sends_interims:
                await send_interim(connection, task_id, f"word {number}", 1_000)

    stopped_at: list[float] = []

    async def scenario() -> None:
        server = NumberedServer(stop_reading, after_ms=1_500)
        length_s = 400
        async with (
            scripted_server(server) as service,
            connect(Paraformer(), service, timeouts=Timeouts(idle=6), retry=Retry(buffer_s=2 * length_s)) as session,
        ):
            events = []
            async for event in session.events(NumberedSource(length_s, chunk_ms=1_000), pace=None):
                events.append(event)
                if isinstance(event, Reconnected):
                    assert now() - stopped_at[0] < 6 + 1
        assert session.stats.reconnects == 1
        finals = finals_of(events)
        assert [(start_ms, end_ms) for _, _, start_ms, end_ms in finals] == [
            (1_000 * n, 1_000 * (n + 1)) for n in range(length_s)
        ]

    run_virtual(scenario)


# --- the first result ------------------------------------------------------------------------------------------------


class IgnoresAudio(NumberedServer):
    """A server that sends no result and no confirmation on its first connections; the later ones are normal."""

    def __init__(self, connections: float) -> None:
        super().__init__()
        self._count = connections
        self.first_audio_at: list[float] = []

    async def __call__(self, connection: ServerConnection) -> None:
        if len(self.first_audio_at) >= self._count:
            await super().__call__(connection)
            return
        await start_task(connection)
        self.first_audio_at.append(0.0)
        async for _ in connection:
            self.first_audio_at[-1] = self.first_audio_at[-1] or now()


def test_a_connection_without_a_result_ends_at_the_first_result_deadline() -> None:
    async def scenario() -> None:
        server = IgnoresAudio(connections=1)
        with pytest.raises(DeadlineError) as caught:
            await stream_events(server, SilentMicrophone(), retry=Retry(attempts=0), timeouts=Timeouts(first_result=6))
        assert now() - server.first_audio_at[0] == pytest.approx(6, abs=0.1)
        assert "no result within 6 s of the first audio (Timeouts.first_result)" in str(caught.value)
        assert caught.value.retryable

    run_virtual(scenario)


def test_all_audio_of_connections_without_a_result_is_replayed_on_the_next() -> None:
    async def scenario() -> None:
        server = IgnoresAudio(connections=2)
        events, stats = await stream_events(server, NumberedSource(20), timeouts=Timeouts(first_result=6))
        assert finals_of(events) == finals_of_seconds(20)
        assert stats.reconnects == 2
        reasons = {event.reason for event in events if isinstance(event, Reconnected)}
        assert reasons == {"no result within 6 s of the first audio (Timeouts.first_result)"}

    run_virtual(scenario)


def test_connections_without_a_result_are_an_error_when_no_attempts_are_left() -> None:
    async def scenario() -> None:
        server = IgnoresAudio(connections=float("inf"))
        with pytest.raises(DeadlineError, match="no result within 6 s"):
            await stream_events(server, SilentMicrophone(), retry=Retry(attempts=2), timeouts=Timeouts(first_result=6))
        assert len(server.first_audio_at) == 3
        assert now() == pytest.approx(18, abs=2.0)

    run_virtual(scenario)


def test_after_the_first_result_there_is_no_deadline_for_the_next() -> None:
    async def scenario() -> None:
        class OneWord(NumberedServer):
            async def _send_whole_seconds(self, *args: Any) -> int:
                return await super()._send_whole_seconds(*args) if args[3] == 0 else args[3]

        events, stats = await stream_events(OneWord(), NumberedSource(60), timeouts=Timeouts(first_result=2, finish=10))
        assert finals_of(events)[0] == (0, "to 1000", 0, 1_000)
        assert stats.reconnects == 0

    run_virtual(scenario)


def test_the_first_result_deadline_does_not_apply_before_the_first_audio_or_after_finish() -> None:
    async def scenario() -> None:
        timeouts = Timeouts(first_result=2, finish=7)
        async with (
            scripted_server(IgnoresAudio(connections=1)) as service,
            connect(Paraformer(), service, timeouts=timeouts) as session,
        ):
            await asyncio.sleep(15)
            started_at = now()
            await session.send(bytes(3_200))
            with pytest.raises(DeadlineError, match=r"did not confirm the end within 7 s \(Timeouts.finish\)"):
                await session.finish()
            assert now() - started_at == pytest.approx(7, abs=0.1)

    run_virtual(scenario)


def test_there_is_no_first_result_deadline_by_default() -> None:
    async def scenario() -> None:
        async with scripted_server(IgnoresAudio(connections=1)) as service, connect(Paraformer(), service) as session:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1_200):
                    async for _ in session.stream(SilentMicrophone()):
                        pass
            assert session.stats.reconnects == 0

    run_virtual(scenario, quiet_polls=0)


@pytest.mark.parametrize("value", [0, -1, "soon"])
def test_a_first_result_deadline_must_be_a_positive_number(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"Timeouts\(first_result={value!r}\): must be a positive number"):
        Timeouts(first_result=value)
