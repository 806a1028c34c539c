"""The deadlines of `Timeouts` against a vendor that does not answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from asr_async import (
    ConfigurationError,
    ConnectionLostError,
    DashScope,
    DeadlineError,
    Paraformer,
    Timeouts,
    connect,
    transcribe,
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

    from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import ServerConnection

from asr_async import (
    Reconnected,
    Retry,
)

from ..support.numbered_audio import NumberedServer, NumberedSource, finals_of, finals_of_seconds, stop_answering

pytestmark = pytest.mark.both_loops


async def timed(work: Awaitable[Any]) -> tuple[float, Any]:
    """Wait for it; return how long it took, and what came out."""
    began_at = asyncio.get_running_loop().time()
    outcome = await work
    elapsed_s = asyncio.get_running_loop().time() - began_at
    await asyncio.sleep(1)  # the other side takes note of the end
    return elapsed_s, outcome


def test_a_server_that_never_answers_the_handshake_ends_at_the_connect_deadline() -> None:
    async def scenario() -> Any:
        async def be_mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(be_mute, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            service = DashScope("key", endpoint=f"ws://127.0.0.1:{port}/")
            return await timed(stream_once(service, timeouts=Timeouts(connect=3)))

    elapsed, (_, error) = run_virtual(scenario)
    assert isinstance(error, DeadlineError)
    assert "within 3 s (Timeouts.connect)" in str(error)
    assert elapsed == pytest.approx(3, abs=0.2)


def test_a_task_that_never_starts_ends_at_the_start_deadline() -> None:
    async def mute(connection: ServerConnection) -> None:
        async for _ in connection:
            pass

    async def scenario() -> Any:
        async with scripted_server(mute) as service:
            return await timed(stream_once(service))

    elapsed, (_, error) = run_virtual(scenario)
    assert isinstance(error, DeadlineError)
    assert "did not open the task within 10 s (Timeouts.start)" in str(error)
    assert elapsed == pytest.approx(10, abs=0.2)


async def mute_after_a_final(connection: ServerConnection) -> None:
    task_id = await start_task(connection)
    await connection.recv()
    await send_final(connection, task_id, "one")
    async for _ in connection:
        pass


def test_a_finish_that_is_never_confirmed_ends_at_its_deadline_with_what_was_recognised() -> None:
    async def scenario() -> Any:
        async with scripted_server(mute_after_a_final) as service:
            return await timed(stream_once(service))

    elapsed, (texts, error) = run_virtual(scenario)
    assert texts == ["one"]
    assert isinstance(error, DeadlineError)
    assert "did not confirm the end within 10 s (Timeouts.finish)" in str(error)
    assert error.request_id
    assert elapsed == pytest.approx(10, abs=0.2)


def test_the_push_form_keeps_what_was_recognised_too() -> None:
    async def scenario() -> Any:
        async with scripted_server(mute_after_a_final) as service, connect(Paraformer(), service) as session:
            await session.send(SILENT_SECOND)
            with pytest.raises(DeadlineError):
                await session.finish()
            return [await anext(session.__aiter__())]

    results = run_virtual(scenario)
    assert [result.text for result in results] == ["one"]


def test_a_backlog_that_is_being_worked_off_may_take_longer_than_the_finish_deadline() -> None:
    async def slow(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await read_until_finish(connection)
        for number in range(5):
            await asyncio.sleep(8)
            await send_final(connection, task_id, str(number), 1_000 * number, 1_000 * number + 900)
        await send_event(connection, "task-finished", task_id, {"output": {}})

    async def scenario() -> Any:
        async with scripted_server(slow) as service:
            return await timed(stream_once(service))

    elapsed, (texts, error) = run_virtual(scenario)
    assert (texts, error) == (["0", "1", "2", "3", "4"], None)
    assert elapsed == pytest.approx(40, abs=1)


def test_a_server_that_babbles_without_getting_on_does_not_put_off_the_deadline() -> None:
    async def babble(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await read_until_finish(connection)
        while True:
            await asyncio.sleep(1)
            await send_interim(connection, task_id, "mm")

    async def scenario() -> Any:
        async with scripted_server(babble) as service:
            return await timed(stream_once(service))

    elapsed, (_, error) = run_virtual(scenario)
    assert isinstance(error, DeadlineError)
    assert elapsed < 15


def test_a_connection_that_takes_no_more_audio_ends_at_the_idle_deadline() -> None:
    async def deaf(connection: ServerConnection) -> None:
        await start_task(connection)
        connection.transport.pause_reading()
        await asyncio.sleep(3_600)

    async def scenario() -> Any:
        async with scripted_server(deaf, ping_interval=None) as service:
            return await timed(
                stream_once(service, audio=(SILENT_SECOND for _ in range(2_000)), timeouts=Timeouts(idle=8))
            )

    elapsed, (_, error) = run_virtual(scenario)
    assert isinstance(error, DeadlineError | ConnectionLostError)
    assert "Timeouts.idle" in str(error)
    assert elapsed < 8 + 5 + 5 + 1


def test_a_half_open_connection_is_noticed_by_its_silence() -> None:
    async def vanish(connection: ServerConnection) -> None:
        await start_task(connection)
        connection.transport.pause_reading()
        await asyncio.sleep(3_600)

    async def silence() -> Any:
        yield bytes(3_200)
        await asyncio.sleep(3_600)

    async def scenario() -> Any:
        async with scripted_server(vanish, ping_interval=None) as service:
            return await timed(stream_once(service, audio=silence(), timeouts=Timeouts(idle=8)))

    elapsed, (_, error) = run_virtual(scenario)
    assert isinstance(error, ConnectionLostError)
    assert "no sign of life for 8 s (Timeouts.idle)" in str(error)
    assert elapsed < 8 + 5 + 1  # and the closing that nobody answers


def test_a_connection_that_answers_pings_or_talks_is_not_idle() -> None:
    async def talk_without_reading(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        connection.transport.pause_reading()
        for number in range(10):
            await asyncio.sleep(7)  # no pong comes, but results do
            await send_final(connection, task_id, str(number), 1_000 * number, 1_000 * number + 900)
        connection.transport.resume_reading()
        await asyncio.sleep(60)  # nothing is said, but pings are answered
        await read_until_finish(connection)
        await send_event(connection, "task-finished", task_id, {"output": {}})

    async def patient() -> Any:
        yield bytes(3_200)
        await asyncio.sleep(140)

    async def scenario() -> Any:
        async with scripted_server(talk_without_reading, ping_interval=None) as service:
            return await stream_once(service, audio=patient(), timeouts=Timeouts(idle=8))

    texts, error = run_virtual(scenario)
    assert error is None
    assert len(texts) == 10


def test_leaving_a_server_that_does_not_say_goodbye_ends_at_the_close_deadline() -> None:
    async def vanish(connection: ServerConnection) -> None:
        await start_task(connection)
        connection.transport.pause_reading()
        await asyncio.sleep(3_600)

    async def scenario() -> None:
        async with scripted_server(vanish, ping_interval=None) as service:
            async with connect(Paraformer(), service, timeouts=Timeouts(close=2)):
                pass
            left_at.append(asyncio.get_running_loop().time())

    left_at: list[float] = []
    run_virtual(scenario)
    assert left_at[0] < 2.5


class Mute(NumberedServer):
    """Hears to the end and never confirms it."""

    async def _send_rest(self, *_args: Any) -> None:
        await asyncio.sleep(600)


def test_finish_against_a_mute_vendor_ends_at_its_deadline_and_keeps_what_was_recognised() -> None:
    async def scenario() -> None:
        timeouts = Timeouts(finish=7)
        async with scripted_server(Mute()) as service, connect(Paraformer(), service, timeouts=timeouts) as session:
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


def test_a_transcription_by_a_mute_vendor_hands_over_what_was_recognised() -> None:
    async def scenario() -> None:
        async with scripted_server(Mute()) as service:
            with pytest.raises(DeadlineError) as caught:
                await transcribe(NumberedSource(2.5), Paraformer(), service)
        assert caught.value.transcript is not None
        assert caught.value.transcript.text == "to 1000 to 2000"

    run_virtual(scenario)


class SilentAt(NumberedServer):
    """Becomes half-open on its first connection, at some place: no message, no pong, no end."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self._where = where
        self.silent_at = 0.0

    async def __call__(self, connection: ServerConnection) -> None:
        await self._silent_at("opening", connection)
        await super().__call__(connection)

    async def _send_rest(self, connection: ServerConnection, *args: Any) -> None:
        await self._silent_at("finishing", connection)
        await super()._send_rest(connection, *args)

    async def _silent_at(self, where: str, connection: ServerConnection) -> None:
        if where == self._where and not self.silent_at:
            self.silent_at = now()
            await stop_answering(connection, "")


def test_a_vendor_that_is_half_open_from_the_start_is_noticed_at_the_deadline_of_the_opening() -> None:
    async def scenario() -> None:
        vendor = SilentAt("opening")
        async with scripted_server(vendor) as service:
            with pytest.raises(DeadlineError, match=r"did not open the task within 6 s \(Timeouts.start\)"):
                await connect(Paraformer(), service, timeouts=Timeouts(start=6, close=1)).__aenter__()
            assert now() - vendor.silent_at < 6 + 1 + 0.1, "and a second for the goodbye"

    run_virtual(scenario)


def test_a_connection_that_is_half_open_while_finishing_is_replaced_within_the_idle_deadline_and_a_second() -> None:
    async def scenario() -> None:
        vendor = SilentAt("finishing")
        timeouts = Timeouts(idle=6, finish=10)
        async with scripted_server(vendor) as service, connect(Paraformer(), service, timeouts=timeouts) as session:
            events = []
            async for event in session.events(NumberedSource(2.5)):
                events.append(event)
                if isinstance(event, Reconnected):
                    assert now() - vendor.silent_at < 6 + 1
        assert [text for _, text, _, _ in finals_of(events)] == ["to 1000", "to 2000", "to 2500"]
        assert session.stats.reconnects == 1

    run_virtual(scenario)


@pytest.mark.parametrize("goes_on_talking", [False, True])
def test_a_vendor_that_reads_no_more_is_noticed_within_the_idle_deadline_and_a_second(goes_on_talking: bool) -> None:
    """By the sending that is blocked, even if messages keep coming."""

    async def stop_reading(connection: ServerConnection, task_id: str) -> None:
        stopped_at.append(now())
        connection.transport.pause_reading()
        for number in range(600):
            await asyncio.sleep(1)
            if goes_on_talking:
                await send_interim(connection, task_id, f"word {number}", 1_000)

    stopped_at: list[float] = []

    async def scenario() -> None:
        vendor = NumberedServer(stop_reading, after_ms=1_500)
        length_s = 400
        async with (
            scripted_server(vendor) as service,
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


# --- the first result -------------------------------------------------------------------------------------------------


class Deaf(NumberedServer):
    """Takes audio on so many connections and tells nothing, not even when it should finish; then it listens."""

    def __init__(self, connections: float) -> None:
        super().__init__()
        self._deaf = connections
        self.heard_from: list[float] = []

    async def __call__(self, connection: ServerConnection) -> None:
        if len(self.heard_from) >= self._deaf:
            await super().__call__(connection)
            return
        await start_task(connection)
        self.heard_from.append(0.0)
        async for _ in connection:
            self.heard_from[-1] = self.heard_from[-1] or now()


async def talk(
    vendor: Deaf, source: Any, *, retry: Retry | None = None, timeouts: Timeouts | None = None
) -> tuple[list[Any], int]:
    """The events of a session, and how often it connected again."""
    events = []
    async with (
        scripted_server(vendor) as service,
        connect(Paraformer(), service, retry=retry, timeouts=timeouts) as session,
    ):
        async for event in session.events(source):
            events.append(event)
        return events, session.stats.reconnects


def test_a_vendor_that_takes_audio_and_tells_nothing_is_an_error_at_the_deadline_of_the_first_result() -> None:
    async def scenario() -> None:
        vendor = Deaf(connections=1)
        with pytest.raises(DeadlineError) as caught:
            await talk(vendor, SilentMicrophone(), retry=Retry(attempts=0), timeouts=Timeouts(first_result=6))
        assert now() - vendor.heard_from[0] == pytest.approx(6, abs=0.1)
        assert "no result within 6 s of the first audio (Timeouts.first_result)" in str(caught.value)
        assert caught.value.retryable

    run_virtual(scenario)


def test_another_connection_hears_all_that_the_deaf_one_was_told() -> None:
    async def scenario() -> None:
        vendor = Deaf(connections=2)
        events, reconnects = await talk(vendor, NumberedSource(20), timeouts=Timeouts(first_result=6))
        assert finals_of(events) == finals_of_seconds(20)
        assert reconnects == 2
        reasons = {event.reason for event in events if isinstance(event, Reconnected)}
        assert reasons == {"no result within 6 s of the first audio (Timeouts.first_result)"}

    run_virtual(scenario)


def test_a_vendor_that_stays_deaf_is_an_error_after_as_many_connections_as_retry_has() -> None:
    async def scenario() -> None:
        vendor = Deaf(connections=float("inf"))
        with pytest.raises(DeadlineError, match="no result within 6 s"):
            await talk(vendor, SilentMicrophone(), retry=Retry(attempts=2), timeouts=Timeouts(first_result=6))
        assert len(vendor.heard_from) == 3
        assert now() == pytest.approx(18, abs=2.0)

    run_virtual(scenario)


def test_after_the_first_result_a_vendor_may_be_quiet_as_long_as_nobody_speaks() -> None:
    async def scenario() -> None:
        class OneWord(NumberedServer):
            async def _send_whole_seconds(self, *args: Any) -> int:
                return await super()._send_whole_seconds(*args) if args[3] == 0 else args[3]

        events, reconnects = await talk(OneWord(), NumberedSource(60), timeouts=Timeouts(first_result=2, finish=10))  # type: ignore[arg-type]
        assert finals_of(events)[0] == (0, "to 1000", 0, 1_000)
        assert reconnects == 0

    run_virtual(scenario)


def test_before_there_is_audio_and_after_its_end_other_deadlines_hold() -> None:
    async def scenario() -> None:
        timeouts = Timeouts(first_result=2, finish=7)
        async with (
            scripted_server(Deaf(connections=1)) as service,
            connect(Paraformer(), service, timeouts=timeouts) as session,
        ):
            await asyncio.sleep(15)
            began_at = now()
            await session.send(bytes(3_200))
            with pytest.raises(DeadlineError, match=r"did not confirm the end within 7 s \(Timeouts.finish\)"):
                await session.finish()
            assert now() - began_at == pytest.approx(7, abs=0.1)

    run_virtual(scenario)


def test_nobody_has_to_speak_unless_the_caller_says_so() -> None:
    async def scenario() -> None:
        async with scripted_server(Deaf(connections=1)) as service, connect(Paraformer(), service) as session:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1_200):
                    async for _ in session.stream(SilentMicrophone()):
                        pass
            assert session.stats.reconnects == 0

    run_virtual(scenario, quiet_polls=0)


@pytest.mark.parametrize("value", [0, -1, "soon"])
def test_a_deadline_that_is_no_positive_number_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"Timeouts\(first_result={value!r}\): must be a positive number"):
        Timeouts(first_result=value)
