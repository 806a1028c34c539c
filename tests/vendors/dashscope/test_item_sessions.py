"""Sessions of the realtime protocol with coughs, late finals and missing ids, while connections are cut and replaced.

The server recognises numbered audio (`numbered_audio`): one word in each second of the source, known by its place.
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from asr_async import (
    Client,
    Fallback,
    Gap,
    Paraformer,
    QwenRealtime,
    Reconnected,
    Result,
    Retry,
    SpeechEnded,
    SpeechStarted,
    connect,
)

from ...support.numbered_audio import BYTES_PER_MS, NumberedServer, NumberedSource
from ...support.scripted_server import scripted_server
from ...support.virtual_time import run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from websockets.asyncio.server import ServerConnection

    from asr_async import Event

pytestmark = pytest.mark.both_loops

TRANSCRIPTION = "conversation.item.input_audio_transcription"
Step = tuple[int, str, dict[str, Any]]
"""The place in the source at which a message is due, and the message."""


class ItemServer:
    """A server that recognises `word N` from 200 to 800 ms of second N, and takes a noise at its end for speech."""

    def __init__(
        self,
        *,
        cuts_ms: Iterable[int] = (),
        coughs: Callable[[int], bool] = lambda _second: True,
        late_ms: Callable[[int], int] = lambda _second: 0,
        names_items: bool = True,
        answers_last: bool = True,
    ) -> None:
        """Make a server.

        Args:
            cuts_ms: the places in the source at which a connection is cut, each once.
            coughs: tells whether there is a noise in a second: speech without a text.
            late_ms: the lateness of the final of a second.
            names_items: False if messages have no item ids.
            answers_last: False if the session is finished before the final of the last word.
        """
        self._cuts_ms = list(cuts_ms)
        self._coughs = coughs
        self._late_ms = late_ms
        self._names_items = names_items
        self._answers_last = answers_last
        self.started_at_ms: list[int] = []
        self.is_down = False

    async def __call__(self, connection: ServerConnection) -> None:
        """Serve one connection."""
        if self.is_down:
            await connection.close(1011)
            return
        await self._send(connection, "session.created", session={"id": "sess"})
        steps: list[Step] = []
        start_ms, now_ms = None, 0
        async for text in connection:
            message = json.loads(text)
            match message["type"]:
                case "session.update":
                    await self._send(connection, "session.updated", session={"id": "sess"})
                case "input_audio_buffer.append":
                    audio = base64.b64decode(message["audio"])
                    if start_ms is None:
                        start_ms = now_ms = int.from_bytes(audio[:2], "little")
                        self.started_at_ms.append(start_ms)
                        steps = self._steps(start_ms)
                    now_ms += len(audio) // BYTES_PER_MS
                    while steps[0][0] <= now_ms:
                        await self._send(connection, steps[0][1], **steps.pop(0)[2])
                    if self._cuts_ms and now_ms >= self._cuts_ms[0]:
                        self._cuts_ms.pop(0)
                        connection.transport.abort()
                        return
                case "session.finish":
                    await self._finish(connection, steps, now_ms)

    def _steps(self, start_ms: int) -> list[Step]:
        """Return the messages of a connection whose audio begins here."""
        steps: list[Step] = []
        for second in range((start_ms + 500) // 1_000, start_ms // 1_000 + 120):
            begin_ms = 1_000 * second
            word, item, noise = f"word{second}", f"item_{second}", f"noise_{second}"
            steps += self._detection(item, begin_ms + 200, begin_ms + 800, start_ms)
            steps.append((begin_ms + 500, f"{TRANSCRIPTION}.text", {"item_id": item, "text": "", "stash": "word"}))
            final_ms = begin_ms + 850 + self._late_ms(second)
            steps.append((final_ms, f"{TRANSCRIPTION}.completed", {"item_id": item, "transcript": word}))
            if self._coughs(second):
                steps += self._detection(noise, begin_ms + 880, begin_ms + 980, start_ms)
        if not self._names_items:
            for _, _, members in steps:
                del members["item_id"]
        return sorted(steps, key=lambda step: step[0])

    def _detection(self, item: str, begin_ms: int, end_ms: int, start_ms: int) -> list[Step]:
        started = {"item_id": item, "audio_start_ms": max(0, begin_ms - start_ms)}
        stopped = {"item_id": item, "audio_end_ms": end_ms - start_ms}
        return [
            (begin_ms + 50, "input_audio_buffer.speech_started", started),
            (end_ms, "input_audio_buffer.speech_stopped", stopped),
            (end_ms, "input_audio_buffer.committed", {"item_id": item, "previous_item_id": None}),
        ]

    async def _finish(self, connection: ServerConnection, steps: list[Step], now_ms: int) -> None:
        rest = [step for step in steps if step[1].endswith("completed") and f"word{now_ms // 1_000}" not in str(step)]
        last = f"word{now_ms // 1_000 - 1}"
        for _, kind, members in rest:
            second = int(members["transcript"].removeprefix("word"))
            if 1_000 * second < now_ms and (self._answers_last or members["transcript"] != last):
                await self._send(connection, kind, **members)
        await self._send(connection, "session.finished")

    async def _send(self, connection: ServerConnection, kind: str, **members: Any) -> None:
        await connection.send(json.dumps({"event_id": "event", "type": kind, **members}))


async def events_with(server: ItemServer, seconds: int, **retry: Any) -> list[Event]:
    async with (
        scripted_server(server) as service,
        connect(QwenRealtime(), service, retry=Retry(**retry)) as session,
    ):
        return [event async for event in session.events(NumberedSource(seconds))]


def words_of(events: Iterable[Event]) -> list[str]:
    """Return the words of all finals in the order of the audio."""
    finals = [event for event in events if isinstance(event, Result) and event.is_final]
    return [final.text for final in sorted(finals, key=lambda final: final.start_ms) if final.text]


def assert_whole(events: list[Event], seconds: int) -> None:
    """Assert that each word is in one final, and that each segment that starts ends once."""
    assert words_of(events) == [f"word{second}" for second in range(seconds)]
    started = [event.segment_id for event in events if isinstance(event, SpeechStarted)]
    ended = [event.segment_id for event in events if isinstance(event, SpeechEnded)]
    assert sorted(started) == sorted(ended)
    assert len(set(started)) == len(started)


CUTS_MS = [1_650, 4_450, 4_900, 7_050, 9_990, 13_300, 21_500]


@pytest.mark.parametrize("names_items", [True, False])
def test_coughs_and_cuts_lose_and_repeat_no_word(names_items: bool) -> None:
    server = ItemServer(cuts_ms=CUTS_MS, names_items=names_items)
    events = run_virtual(lambda: events_with(server, 25))
    assert_whole(events, 25)
    assert len([event for event in events if isinstance(event, Reconnected)]) == len(CUTS_MS)
    # of the last noise, nothing tells that it was none
    assert [(event.start_ms, event.end_ms) for event in events if isinstance(event, Gap)] == [(24_880, 24_980)]


def test_finals_that_are_late_and_out_of_order_are_not_lost_by_cuts() -> None:
    server = ItemServer(cuts_ms=CUTS_MS, coughs=lambda second: second % 3 == 0, late_ms=lambda second: second % 5 * 900)
    events = run_virtual(lambda: events_with(server, 25))
    assert_whole(events, 25)


def test_a_cough_is_no_lost_audio_however_long_ago() -> None:
    server = ItemServer(cuts_ms=[45_500], coughs=lambda second: second == 2)
    events = run_virtual(lambda: events_with(server, 50, buffer_s=25.0))
    assert_whole(events, 50)
    assert server.started_at_ms[1] > 40_000


def test_coughs_do_not_delay_a_rotation() -> None:
    server = ItemServer()
    events = run_virtual(lambda: events_with(server, 40, rotate_after=5.0))
    assert_whole(events, 40)
    lengths_ms = [later - start for start, later in zip(server.started_at_ms, server.started_at_ms[1:], strict=False)]
    assert len(lengths_ms) >= 5
    assert max(lengths_ms) < 8_000
    assert not [event for event in events if isinstance(event, Reconnected)]


def test_coughs_do_not_delay_a_fail_back() -> None:
    async def scenario() -> list[Event]:
        first, second = NumberedServer(), ItemServer()
        refuses = True

        async def refusing(connection: ServerConnection) -> None:
            if refuses:
                await connection.close(1011)
            else:
                await first(connection)

        async with scripted_server(refusing) as preferred, scripted_server(second) as substitute:
            fallback = Fallback([(preferred, Paraformer()), (substitute, QwenRealtime())])
            async with (
                Client(fallback) as client,
                client.session(fallback.options) as session,
            ):
                events: list[Event] = []
                async for event in session.events(NumberedSource(40)):
                    events.append(event)
                    refuses = len(events) < 20
        assert first.started_at_ms, "the session has returned to the preferred member"
        assert first.started_at_ms[0] < 20_000
        return events

    assert not [event for event in run_virtual(scenario) if isinstance(event, Reconnected | Gap)]


def test_an_interim_at_the_end_is_an_unconfirmed_final() -> None:
    server = ItemServer(answers_last=False, late_ms=lambda _second: 300, coughs=lambda _second: False)
    events = run_virtual(lambda: events_with(server, 5))
    finals = [event for event in events if isinstance(event, Result) and event.is_final]
    assert [(final.text, final.is_confirmed) for final in finals[3:]] == [("word3", True), ("word", False)]
    assert (finals[-1].start_ms, finals[-1].end_ms) == (4_200, 4_800)


def test_a_commit_that_is_never_completed_is_a_gap() -> None:
    class Silent(ItemServer):
        async def __call__(self, connection: ServerConnection) -> None:
            await self._send(connection, "session.created", session={"id": "sess"})
            async for text in connection:
                match json.loads(text)["type"]:
                    case "session.update":
                        await self._send(connection, "session.updated", session={"id": "sess"})
                    case "input_audio_buffer.commit":
                        await self._send(connection, "input_audio_buffer.committed", item_id="a")
                    case "session.finish":
                        await self._send(connection, "session.finished")

    async def scenario() -> tuple[Gap, ...]:
        async with scripted_server(Silent()) as service, connect(QwenRealtime(manual_commit=True), service) as session:
            await session.send(bytes(32_000))
            await session.finish()
            assert [result async for result in session] == []
            return tuple(session.gaps)

    (gap,) = run_virtual(scenario)
    assert (gap.start_ms, gap.end_ms) == (0, 1_000)


async def test_the_server_itself_recognises_every_word() -> None:
    server = ItemServer(late_ms=lambda second: second % 3 * 400)
    async with scripted_server(server) as service, connect(QwenRealtime(), service) as session, asyncio.timeout(20):
        events = [event async for event in session.events(NumberedSource(10), pace=None)]
    assert_whole(events, 10)
