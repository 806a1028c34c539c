"""The audio that no final result covers yet: what is kept, sent again, forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asr_async._session.replay_buffer import LostAudio, ReplayBuffer
from asr_async.audio import AudioBytes, AudioFormat

if TYPE_CHECKING:
    from collections.abc import Iterator

PCM = AudioFormat("pcm", 1_000)  # 2 bytes a millisecond: figures that can be read
FRAME_MS = 100


def frame(number: int) -> memoryview:
    """The numbered frame: each of its 100 samples holds the number of its millisecond in the source."""
    first = number * FRAME_MS
    return memoryview(b"".join((first + n).to_bytes(2, "little") for n in range(FRAME_MS)))


def milliseconds(piece: AudioBytes) -> tuple[int, int]:
    """From where to where in the source a piece goes."""
    return int.from_bytes(piece[:2], "little"), int.from_bytes(piece[-2:], "little") + 1


def rest_of(ledger: ReplayBuffer) -> Iterator[AudioBytes]:
    """Send what there is to send."""
    while ledger.unsent:
        yield ledger.pop()


def ledger_of(seconds: float, *, max_s: float = 60.0) -> ReplayBuffer:
    """A ledger with so much audio, all of it sent."""
    ledger = ReplayBuffer(PCM, max_s=max_s)
    for number in range(round(seconds * 10)):
        ledger.add(frame(number))
        ledger.pop()
    return ledger


def test_frames_come_out_as_they_went_in_and_uncopied() -> None:
    ledger = ReplayBuffer(PCM, max_s=1.0)
    first = frame(0)
    ledger.add(first)
    (piece,) = rest_of(ledger)
    assert piece is first


def test_a_new_connection_begins_behind_the_last_final_result_to_the_sample() -> None:
    ledger = ledger_of(1.0)
    ledger.cover(340)
    assert ledger.rewind() is None
    assert ledger.cursor_ms == 340
    assert [milliseconds(ledger.pop()) for _ in range(3)] == [(340, 400), (400, 500), (500, 600)]


def test_without_a_final_result_everything_is_sent_again() -> None:
    ledger = ledger_of(0.5)
    assert ledger.rewind() is None
    assert milliseconds(ledger.pop()) == (0, 100)


def test_what_a_final_result_covers_is_let_go_of() -> None:
    ledger = ledger_of(1.0)
    ledger.cover(730)
    assert ledger.kept_bytes == 300 * 2


def test_a_result_that_claims_more_than_was_sent_covers_what_was_sent() -> None:
    ledger = ledger_of(0.5)
    ledger.add(frame(5))
    ledger.cover(9_999)
    ledger.rewind()
    assert milliseconds(ledger.pop()) == (500, 600)


def test_a_late_result_of_an_earlier_part_uncovers_nothing() -> None:
    ledger = ledger_of(1.0)
    ledger.cover(700)
    ledger.cover(300)
    ledger.rewind()
    assert ledger.cursor_ms == 700


def test_a_rest_below_the_smallest_piece_is_begun_earlier() -> None:
    ledger = ledger_of(0.3)
    ledger.cover(195)
    ledger.rewind(min_bytes=40)
    assert milliseconds(ledger.pop()) == (180, 200)


def test_beyond_the_bound_the_oldest_sent_audio_is_forgotten_and_told_as_lost_when_it_is_needed() -> None:
    ledger = ledger_of(2.5, max_s=1.0)
    assert ledger.kept_bytes == 1_000 * 2
    ledger.cover(1_200)
    assert ledger.rewind() == LostAudio(1_200, 1_500)
    assert milliseconds(ledger.pop()) == (1_500, 1_600)
    assert not ledger.rewind(), "a loss is told once"


def test_what_was_forgotten_but_is_covered_is_no_loss() -> None:
    ledger = ledger_of(2.5, max_s=1.0)
    ledger.cover(1_500)
    assert ledger.rewind() is None


def test_audio_that_is_to_be_sent_is_never_forgotten_and_the_source_has_to_wait() -> None:
    ledger = ReplayBuffer(PCM, max_s=0.3)
    room = []
    for number in range(3):
        room.append(ledger.has_room)
        ledger.add(frame(number))
    room.append(ledger.has_room)
    sent = [milliseconds(piece) for piece in rest_of(ledger)]
    room.append(ledger.has_room)
    assert room == [True, True, True, False, True]
    assert sent == [(0, 100), (100, 200), (200, 300)]


def test_what_is_to_be_sent_again_makes_no_room_for_what_is_new() -> None:
    ledger = ledger_of(0.3, max_s=0.3)
    ledger.rewind()
    room = [ledger.has_room for _ in rest_of(ledger)]
    assert room == [False, False, True]


def test_an_empty_frame_keeps_its_place_among_the_others() -> None:
    ledger = ReplayBuffer(PCM, max_s=1.0)
    for piece in (frame(0), memoryview(b""), frame(1)):
        ledger.add(piece)
    assert [len(piece) for piece in rest_of(ledger)] == [200, 0, 200]
    ledger.cover(50)
    ledger.rewind()
    assert [len(piece) for piece in rest_of(ledger)] == [100, 0, 200]
    ledger.cover(100)
    ledger.rewind()
    assert [len(piece) for piece in rest_of(ledger)] == [200], "what it ended is final"


def test_compressed_audio_is_sent_again_from_the_start_of_its_container() -> None:
    ledger = ReplayBuffer(AudioFormat("mp3", 16_000), max_s=1.0)
    for piece in (b"head", b"tail"):
        ledger.add(memoryview(piece))
        ledger.pop()
    ledger.cover(9_000)
    assert ledger.rewind() is None
    assert ledger.cursor_ms == 0
    assert b"".join(rest_of(ledger)) == b"headtail"


def test_compressed_audio_that_is_not_all_there_any_more_is_lost_from_the_last_final_result_on() -> None:
    ledger = ReplayBuffer(AudioFormat("mp3", 16_000), max_s=1.0)
    for _ in range(3):
        ledger.add(memoryview(bytes(8_000)))
        ledger.pop()
    ledger.cover(9_000)
    assert ledger.rewind() == LostAudio(9_000, None)


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order: nothing is skipped but what was told as lost."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = ReplayBuffer(PCM, max_s=0.5)
        self.frames = 0
        self.sent_until = 0
        self.covered = 0

    @precondition(lambda self: self.ledger.has_room)
    @rule()
    def source_brings_a_frame(self) -> None:
        self.ledger.add(frame(self.frames))
        self.frames += 1

    @rule()
    def a_frame_is_sent(self) -> None:
        assert self.ledger.is_drained == (self.sent_until == self.frames * FRAME_MS)
        if not self.ledger.is_drained:
            begins_ms, ends_ms = milliseconds(self.ledger.pop())
            assert begins_ms == self.sent_until
            self.sent_until = ends_ms

    @rule(end_ms=st.integers(0, 5_000))
    def a_result_is_final(self, end_ms: int) -> None:
        self.ledger.cover(end_ms)
        self.covered = max(self.covered, min(end_ms, self.sent_until))

    @rule()
    def a_new_connection_begins(self) -> None:
        lost = self.ledger.rewind()
        if lost is not None:
            assert lost.start_ms == self.covered
            assert lost.end_ms is not None
            self.covered = lost.end_ms
        self.sent_until = self.ledger.cursor_ms
        assert self.sent_until == self.covered

    @invariant()
    def what_is_kept_is_bounded(self) -> None:
        assert self.ledger.kept_bytes <= (500 + FRAME_MS) * 2
        assert self.ledger.cursor_ms == self.sent_until


TestAnyOrder = AnyOrder.TestCase


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(0, 1_500))
def test_frames_may_be_of_any_size(sizes: list[int], end_ms: int) -> None:
    ledger = ReplayBuffer(PCM, max_s=10.0)
    source = b"".join(n.to_bytes(2, "little") for n in range(sum(sizes)))
    start = 0
    for size in sizes:
        ledger.add(memoryview(source)[2 * start : 2 * (start + size)])
        start += size
        ledger.pop()
    ledger.cover(end_ms)
    ledger.rewind()
    rest = b"".join(rest_of(ledger))
    assert rest == source[2 * end_ms :]
