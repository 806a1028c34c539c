"""The receiving half of a session by values: where a replay begins, the audio that is kept for it, and its end."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from asr_async import AudioFormat, Gap, Paraformer, Result, Retry, Timeouts
from asr_async._alignment.places import JITTER_MS
from asr_async._connection.task import RecognitionTask
from asr_async._session.policy import ReconnectPolicy
from asr_async._session.receiver import KEPT_MS, Receiver
from asr_async._session.replay_buffer import CompressedReplayBuffer, ReplayBuffer
from asr_async._session.result_queue import ResultQueue
from asr_async._session.state import SessionStatus
from asr_async._session.stats import StatsRecorder
from asr_async.vendors.codec import TaskDescription, Unheard
from asr_async.vendors.dashscope.codec import TaskCodec

from ..support.virtual_time import run_virtual

PCM = AudioFormat()
SENT_MS = 5_000


class Received:
    """A receiver with the audio of some seconds, all of it sent, and the task that it reads."""

    def __init__(self, buffer: ReplayBuffer | None = None) -> None:
        options = Paraformer()
        description = TaskDescription(audio_format=options.audio, max_frame_bytes=3_200)
        choice: Any = SimpleNamespace(options=options, description=description, record_final=lambda: None)
        connection: Any = SimpleNamespace(send=lambda _message: True)
        log: Any = SimpleNamespace(warning=lambda *_: None)
        self.queue = ResultQueue()
        self.buffer = ReplayBuffer(PCM, max_s=60) if buffer is None else buffer
        self.stats = StatsRecorder(PCM)
        self.receiver = Receiver(
            SessionStatus(lambda _error: None),
            self.queue,
            buffer=self.buffer,
            stats=self.stats,
            policy=ReconnectPolicy(Retry()),
            translation_s=5.0,
            log=log,
        )
        self.receiver.bind(asyncio.get_running_loop())
        self.receiver.start_delivery(wants_events=True)
        codec = TaskCodec(options, task_id="T")
        self.task = RecognitionTask(codec, connection, choice, timeouts=Timeouts(), permit=connection, log=log)
        self.receiver.begin(self.task, 0)
        for _ in range(SENT_MS // 100):
            self.buffer.add([bytes(3_200)])
            self.buffer.pop()

    def result(self, segment_id: int, start_ms: int, end_ms: int, text: str, *, is_final: bool = True) -> None:
        self.receiver.receive(
            self.task, Result(text=text, is_final=is_final, segment_id=segment_id, start_ms=start_ms, end_ms=end_ms)
        )

    def replay_ms(self) -> int:
        """Return the place where a replay begins; no audio is lost for it."""
        assert self.buffer.rewind() is None
        return self.buffer.cursor_ms


def test_a_replay_begins_a_little_before_the_last_final_ends() -> None:
    async def scenario() -> None:
        received = Received()
        received.result(0, 1_000, 2_000, "one two")
        assert received.receiver.prepare_replay() == 2_000
        assert received.replay_ms() == 2_000 - JITTER_MS

    run_virtual(scenario)


def test_audio_that_cannot_be_cut_is_replayed_whole_and_is_covered_up_to_the_last_final() -> None:
    async def scenario() -> None:
        received = Received(CompressedReplayBuffer(AudioFormat("mp3"), max_s=60))
        assert not received.buffer.is_cuttable
        received.result(0, 1_000, 2_000, "one two")
        assert received.receiver.prepare_replay() == 2_000
        assert received.replay_ms() == 0

    run_virtual(scenario)


@pytest.mark.parametrize(("start_ms", "replay_ms"), [(1_900, 1_800), (1_700, 1_600), (1_500, 1_600)])
def test_a_segment_that_opens_a_little_before_the_last_final_ends_is_replayed(start_ms: int, replay_ms: int) -> None:
    """The audio is kept for one that begins `KEPT_MS` before, and no longer."""

    async def scenario() -> None:
        received = Received()
        received.result(0, 1_000, 2_000, "one two")
        received.result(1, start_ms, start_ms, "three", is_final=False)
        assert received.receiver.prepare_replay() == start_ms
        assert received.replay_ms() == replay_ms

    assert KEPT_MS == 300
    run_virtual(scenario)


def test_a_task_with_a_successor_ends_where_that_begins() -> None:
    async def scenario() -> None:
        received = Received()
        received.receiver.limit(3_000)
        received.result(0, 1_000, 1_000, "one two")
        received.receiver.receive(received.task, Unheard(2_500, None, "no text"))
        final, gap = [await received.queue.get() for _ in range(2)]
        assert isinstance(final, Result)
        assert (final.start_ms, final.end_ms) == (1_000, 3_000)
        assert gap == Gap(start_ms=2_500, end_ms=3_000, reason="no text")

    run_virtual(scenario)
