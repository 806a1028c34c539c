"""The audio that no final result covers yet, so that it can be sent again after a reconnect.

Frames are kept as they came, never copied. There are three marks in the source, each at the one before it or behind it:

    kept_from            covered                 cursor                    end
       │ may be dropped   │ sent, not yet final    │ buffered, not yet sent  │

A final result moves `covered`, sending moves the cursor, the source moves the end. A new connection moves the cursor
back to `covered` (`rewind`). The buffer is bounded in seconds: beyond that the oldest audio *that was sent* is dropped,
and if a rewind needs it, it is lost (`LostAudio`). Audio that is still to be sent is never dropped; the source has to
wait (`has_room`). An empty frame marks a place between two others: the end of an utterance.

Compressed audio is cut between its packets (`audio._containers`): its frames have places in milliseconds, and a stream
that begins in the middle begins with the headers of its container, and with a little audio that is covered already,
since a decoder predicts from the past. Audio in a container that cannot be cut is sent again from its start, as long as
all of it is in the buffer.

Does not know connections, results or clocks.
"""

from __future__ import annotations

import bisect
import math
from typing import TYPE_CHECKING

import msgspec

from ..audio import COMPRESSED_BYTES_PER_SECOND, AudioBytes, AudioFormat, CompressedFrame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..audio._containers import Packet, Writer

__all__ = ["CompressedReplayBuffer", "LostAudio", "ReplayBuffer", "replay_buffer_for"]

MAX_BYTES_PER_SECOND = 64_000
"""The most bytes that are kept for a second of compressed audio whose packets are known: 512 kbit/s, as much as Opus
can have. A stream may have any amount of bytes that belong to no packet."""

KEPT_BEHIND_MS = 1_000
"""The compressed audio that is kept although it is covered: a decoder needs the packets before those that it is given.
The longest reach is that of the bit reservoir of mp3, 255 bytes at 8 kbit/s."""

SPARSEST_BYTES_PER_SECOND = 250
"""The least size of a second of compressed audio in an unknown container: 2 kbit/s, where the lowest rate of any codec
in use, of Speex, is 2.15 kbit/s."""


class LostAudio(msgspec.Struct, frozen=True):
    """Audio that no final result covers and that cannot be sent again."""

    start_ms: int
    end_ms: int | None
    """None for compressed audio that cannot be cut, of which nothing more can be sent."""


def replay_buffer_for(audio_format: AudioFormat, *, max_s: float) -> ReplayBuffer:
    """Return a buffer for audio of this format that keeps `max_s` seconds at most."""
    return (ReplayBuffer if audio_format.bytes_per_second else CompressedReplayBuffer)(audio_format, max_s=max_s)


class ReplayBuffer:
    """The audio of one source, from the last final result to its newest frame; for samples, which give the time."""

    __slots__ = (
        "_begun_bytes",
        "_bytes_per_second",
        "_covered",
        "_cursor",
        "_end",
        "_format",
        "_kept_from",
        "_max_bytes",
        "_sent",
        "_sent_before",
        "unsent",
    )

    def __init__(self, audio_format: AudioFormat, *, max_s: float) -> None:
        """Keep `max_s` seconds at most."""
        self._format = audio_format
        self._bytes_per_second: int = audio_format.bytes_per_second or COMPRESSED_BYTES_PER_SECOND
        self._max_bytes = round(max_s * self._bytes_per_second)
        self._sent: list[AudioBytes] = []
        self.unsent: list[AudioBytes] = []
        """The frames that are to be sent, in order; the first perhaps from its middle on (`pop`). Changed here only."""
        self._kept_from = 0
        self._covered = 0
        self._end = 0
        self._cursor = 0
        # the position of the cursor inside the first frame that is to be sent
        self._begun_bytes = 0
        # the position of the cursor before it was last moved back
        self._sent_before = 0

    def __repr__(self) -> str:
        return f"<ReplayBuffer {self.kept_bytes} bytes, {self._end - self._cursor} of them to be sent>"

    @property
    def kept_bytes(self) -> int:
        """The size of the audio in the buffer."""
        return self._end - self._kept_from

    @property
    def cursor_bytes(self) -> int:
        """The position in the source up to which audio was sent to the present connection, or need not be."""
        return self._cursor

    @property
    def cursor_ms(self) -> int:
        """The place in the source of the next frame: time 0 of a connection that begins there."""
        return self._cursor * 1000 // self._bytes_per_second

    @property
    def sent_ms(self) -> int | None:
        """The place in the source up to which audio was sent at least once; None if it is not known.

        It is not known for compressed audio that cannot be cut.
        """
        return self._format.to_ms(max(self._sent_before, self._cursor))

    @property
    def longest_sent_ms(self) -> int:
        """The length of the audio that was sent at least once; if it is not known, the longest that it can have."""
        return max(self._sent_before, self._cursor) * 1000 // self._bytes_per_second

    @property
    def is_cuttable(self) -> bool:
        """True if a connection can begin in the middle of the source."""
        return True

    @property
    def end_bytes(self) -> int:
        """The size of the audio that the source has brought to the buffer; not for compressed audio that was cut."""
        return self._end

    @property
    def end_ms(self) -> int | None:
        """The length of the audio that the source has brought to the buffer; None if it is not known."""
        return self._format.to_ms(self._end)

    @property
    def is_repeating(self) -> bool:
        """True if the audio in front of the cursor was sent before, to an earlier connection."""
        return self._cursor <= self._sent_before

    def length_ms(self, size_bytes: int) -> int:
        """Return the length of audio that is not in the buffer."""
        return size_bytes * 1000 // self._bytes_per_second

    @property
    def position(self) -> int:
        """The place of the cursor in a unit that grows with time: bytes of samples, else milliseconds."""
        return self._cursor

    def position_after(self, length_ms: int) -> int:
        """Return the `position` of the cursor when it has moved by this length."""
        return self._cursor + self._format.to_bytes(length_ms)

    def begin_anew(self, overlap_ms: int = 0) -> int:
        """Prepare to send what follows the cursor to another connection, and return the place of its time 0.

        A stream of compressed audio begins a little earlier: a decoder needs packets from before the cursor.

        Args:
            overlap_ms: the length of the audio in front of the cursor that is sent again.
        """
        self._sent_before = max(self._sent_before, self._cursor)
        begin = self._cursor - self._format.to_bytes(overlap_ms)
        while self._sent and self._cursor > begin:
            frame = self._sent.pop()
            self.unsent.insert(0, frame)
            self._cursor -= len(frame)
        return self.cursor_ms

    @property
    def has_room(self) -> bool:
        """True if the source may bring more: there is room, or all was sent, so that the oldest can be dropped.

        Audio that is to be sent again is not dropped for new audio.
        """
        return self._end - self._kept_from < self._max_bytes or not self.unsent

    @property
    def is_drained(self) -> bool:
        """True if everything in the buffer has been sent."""
        return not self.unsent

    def add(self, frames: Sequence[AudioBytes]) -> None:
        """Append the next frames of the source."""
        self.unsent += frames
        self._end += sum(map(len, frames))
        while self._end - self._kept_from > self._max_bytes and self._sent:
            self._kept_from += len(self._sent.pop(0))

    def pop(self) -> AudioBytes:
        """Return the next unsent frame, or its part behind the cursor, and move the cursor behind it.

        Raises:
            IndexError: everything was sent.
        """
        frame = self.unsent.pop(0)
        self._sent.append(frame)
        if self._begun_bytes:
            frame, self._begun_bytes = frame[self._begun_bytes :], 0
        self._cursor += len(frame)
        return frame

    def cover(self, end_ms: int) -> None:
        """Record that final results cover the source up to this place: the audio before it is not needed again."""
        self._covered = max(self._covered, min(self._format.to_bytes(end_ms), self._cursor))
        covered, dropped = self._covered, 0
        kept_from = end = self._kept_from
        for frame in self._sent:
            end += len(frame)
            if end > covered:
                break
            kept_from = end
            dropped += 1
        self._kept_from = kept_from
        del self._sent[:dropped]

    def rewind(self, *, min_bytes: int = 1) -> LostAudio | None:
        """Move the cursor back to the end of the last final result.

        Args:
            min_bytes: the smallest message of audio that may be sent; a smaller rest of a frame begins earlier.

        Returns:
            The audio that is lost because it was dropped; None if none is.
        """
        self._sent_before = max(self._sent_before, self._cursor)
        self.unsent[:0] = self._sent
        self._sent.clear()
        self._cursor = max(self._covered, self._kept_from)
        if self.unsent:
            first_bytes = len(self.unsent[0])
            rest_bytes = self._kept_from + first_bytes - self._cursor
            self._cursor -= max(0, min(min_bytes, first_bytes) - rest_bytes)
        self._begun_bytes = self._cursor - self._kept_from
        if self._kept_from <= self._covered:
            return None
        lost = LostAudio(self._format.to_ms(self._covered), self._format.to_ms(self._kept_from))
        self._covered = self._kept_from
        return lost


class CompressedReplayBuffer(ReplayBuffer):
    """The audio of one compressed source. A frame that has no place in time makes it one that cannot be cut."""

    __slots__ = (
        "_covered_ms",
        "_cursor_ms",
        "_end_ms",
        "_head",
        "_is_cuttable",
        "_is_rewritten",
        "_kept_from_ms",
        "_max_s",
        "_sent_ms",
        "_writer",
    )

    def __init__(self, audio_format: AudioFormat, *, max_s: float) -> None:
        """Keep `max_s` seconds at most."""
        super().__init__(audio_format, max_s=max_s)
        self._max_s = max_s
        self._is_cuttable = True
        self._covered_ms = 0
        # the places of `_kept_from`, `_cursor` and `_end`
        self._kept_from_ms = self._cursor_ms = self._end_ms = 0.0
        # the place up to which audio was sent at least once
        self._sent_ms = 0.0
        # the bytes with which the stream behind the cursor begins, which are not part of the source
        self._head = b""
        # the writer of the packets behind a cut, if they are not sent as they came; then frames have lost their pages
        self._writer: Writer | None = None
        self._is_rewritten = False

    @property
    def cursor_ms(self) -> int:
        """The place in the source of the next frame; 0 for audio that is sent again from its start."""
        return int(self._cursor_ms)

    @property
    def sent_ms(self) -> int | None:
        """The place in the source up to which audio was sent at least once; None if it is not known."""
        return int(self._sent_ms) if self._is_cuttable else None

    @property
    def longest_sent_ms(self) -> int:
        """The length of the audio that was sent at least once; if it is not known, the longest that it can have."""
        if self._is_cuttable:
            return int(self._sent_ms)
        return max(self._sent_before, self._cursor) * 1000 // SPARSEST_BYTES_PER_SECOND

    @property
    def is_cuttable(self) -> bool:
        """True if a connection can begin in the middle of the source, as far as it has come."""
        return self._is_cuttable

    @property
    def end_ms(self) -> int | None:
        """The length of the audio that the source has brought to the buffer; None if it is not known."""
        return int(self._end_ms) if self._is_cuttable else None

    @property
    def position(self) -> int:
        """The place of the cursor in milliseconds."""
        return int(self._cursor_ms)

    def position_after(self, length_ms: int) -> int:
        """Return the `position` of the cursor when it has moved by this length."""
        return self.position + length_ms

    @property
    def has_room(self) -> bool:
        """True if the source may bring more: there is room, or all was sent, so that the oldest can be dropped."""
        is_full = self.kept_bytes >= self._byte_limit or self._kept_ms >= 1000 * self._max_s
        return not is_full or self.is_drained

    @property
    def _byte_limit(self) -> float:
        return MAX_BYTES_PER_SECOND * self._max_s if self._is_cuttable else self._max_bytes

    @property
    def _kept_ms(self) -> float:
        """The length of the audio in the buffer; 0 if it is not known."""
        return self._end_ms - self._kept_from_ms if self._is_cuttable else 0.0

    def _must_drop(self) -> bool:
        """Return True if the buffer is too full for the oldest frame.

        A decoder may need the newest of the audio that was sent, so it is dropped only for the bound in bytes.
        """
        oldest_end_ms = _end_ms(self._sent[0]) if self._sent[0] else 0.0
        is_needed = oldest_end_ms > self._cursor_ms - KEPT_BEHIND_MS
        is_too_long = self._kept_ms > 1000 * self._max_s and not is_needed
        return self.kept_bytes > self._byte_limit or is_too_long

    def add(self, frames: Sequence[AudioBytes]) -> None:
        """Append the next frames of the source."""
        for frame in frames:
            if isinstance(frame, CompressedFrame):
                self._end_ms = frame.end_ms
            elif frame:
                self._is_cuttable = False
            if self._is_written(frame):
                self.unsent.append(frame)
                self._end += len(frame)
        while self._sent and self._must_drop():
            self._drop_oldest()

    def _is_written(self, frame: AudioBytes) -> bool:
        """Return True if the frame is sent: behind a cut, pages on which no packet ends are not."""
        return self._writer is None or not isinstance(frame, CompressedFrame) or bool(frame.packets)

    def _drop_oldest(self) -> None:
        frame = self._sent.pop(0)
        self._kept_from += len(frame)
        if isinstance(frame, CompressedFrame):
            self._kept_from_ms = frame.end_ms

    def pop(self) -> AudioBytes:
        """Return the next unsent frame, and move the cursor behind it; behind a cut, first the headers of the stream.

        Raises:
            IndexError: everything was sent.
        """
        if self._head:
            head, self._head = self._head, b""
            return head
        frame = self.unsent.pop(0)
        self._sent.append(frame)
        self._cursor += len(frame)
        if isinstance(frame, CompressedFrame):
            self._cursor_ms = frame.end_ms
            self._sent_ms = max(self._sent_ms, frame.end_ms)
            if self._writer is not None:
                return self._writer.write(frame.packets)
        return frame

    def cover(self, end_ms: int) -> None:
        """Record that final results cover the source up to this place: the audio before it is not needed again."""
        if not self._is_cuttable:
            self._covered_ms = max(self._covered_ms, end_ms)
            return
        self._covered_ms = max(self._covered_ms, min(end_ms, int(self._cursor_ms)))
        dropped_to_ms = self._covered_ms - KEPT_BEHIND_MS
        while self._sent and (not self._sent[0] or _end_ms(self._sent[0]) <= dropped_to_ms):
            self._drop_oldest()

    def rewind(self, *, min_bytes: int = 1) -> LostAudio | None:  # noqa: ARG002 - packets have the size that they have
        """Move the cursor back to the last packet that begins before the end of the last final result.

        Args:
            min_bytes: not used: packets are never split.

        Returns:
            The audio that is lost because it was dropped; None if none is.
        """
        if self._is_cuttable:
            return self._begin_at(self._covered_ms)
        self._begin_whole()
        return LostAudio(self._covered_ms, None) if self._kept_from > 0 else None

    def begin_anew(self, overlap_ms: int = 0) -> int:
        """Prepare to send what follows the cursor to another connection, and return the place of its time 0.

        Args:
            overlap_ms: the length of the audio in front of the cursor that is sent again.
        """
        self._begin_at(max(0.0, self._cursor_ms - overlap_ms))
        return self.cursor_ms

    def _begin_whole(self) -> None:
        """Send everything again, as it came."""
        self._sent_before = max(self._sent_before, self._cursor)
        self.unsent[:0] = self._sent
        self._sent.clear()
        self._head, self._writer = b"", None
        self._cursor, self._cursor_ms = self._kept_from, self._kept_from_ms

    def _begin_at(self, place_ms: float) -> LostAudio | None:
        """Cut the source at the last packet that begins before this place; return what is missing between them."""
        frames = [*self._sent, *self.unsent]
        packets = [
            (packet, frame_index, packet_index)
            for frame_index, frame in enumerate(frames)
            if isinstance(frame, CompressedFrame)
            for packet_index, packet in enumerate(frame.packets)
            if packet.samples
        ]
        if not packets:
            self._begin_whole()
            return None
        track = next(frame.track for frame in frames if isinstance(frame, CompressedFrame) and frame.track is not None)
        only_packets = [packet for packet, _, _ in packets]
        begins_ms = [track.begin_ms(packet) for packet in only_packets]
        index = max(0, bisect.bisect_right(begins_ms, place_ms) - 1)
        lost = None
        if self._kept_from > 0:
            decodable = track.first_decodable(only_packets)
            is_hole = decodable > 0 or self._kept_from_ms >= place_ms + 1  # places are whole milliseconds
            if is_hole and begins_ms[decodable] >= place_ms + 1:
                lost_to_ms = math.ceil(begins_ms[decodable])
                lost = LostAudio(int(place_ms), lost_to_ms)
                self._covered_ms = max(self._covered_ms, lost_to_ms)
            index = max(index, decodable)
        cut = track.cut(only_packets, index)
        if self._kept_from == 0 and not self._is_rewritten and (cut.begin_ms <= 0 or cut.resume == 0):
            self._begin_whole()  # with the headers of the source itself
            return None
        self._head, self._writer, self._cursor_ms = cut.head, cut.writer, cut.begin_ms
        self._is_rewritten = self._is_rewritten or cut.writer is not None
        self._split(frames, packets, cut.resume, index)
        return lost

    def _split(self, frames: list[AudioBytes], packets: list[tuple[Packet, int, int]], resume: int, index: int) -> None:
        """Move the cursor in front of the packet `resume`. Marks between it and the packet `index` were sent."""
        _, frame_index, packet_index = packets[resume]
        _, marks_until, _ = packets[max(resume, index)]
        frame = frames[frame_index]
        assert isinstance(frame, CompressedFrame)  # noqa: S101 - it has packets
        before, behind = _split_frame(frame, packet_index)
        self._sent[:] = [*frames[:frame_index], *before]
        following = [
            later
            for later_index, later in enumerate(frames[frame_index + 1 :], frame_index + 1)
            if (later or later_index >= marks_until) and self._is_written(later)
        ]
        self.unsent[:] = [behind, *following]
        self._cursor = self._kept_from + sum(map(len, self._sent))
        self._end = self._cursor + sum(map(len, self.unsent))


def _end_ms(frame: AudioBytes) -> float:
    return frame.end_ms if isinstance(frame, CompressedFrame) else math.inf


def _split_frame(frame: CompressedFrame, index: int) -> tuple[list[AudioBytes], CompressedFrame]:
    """Return the part of a frame before a packet, if there is one, and the part that begins with it."""
    if index == 0:
        return [], frame
    packets = frame.packets[index:]
    data = b"".join([packet.data for packet in packets])
    before_bytes = max(0, len(frame) - len(data))
    assert frame.track is not None  # noqa: S101 - it has packets
    end_ms = frame.track.end_ms(frame.packets[index - 1])
    before = CompressedFrame(frame[:before_bytes], frame.packets[:index], track=frame.track, end_ms=end_ms)
    return [before], CompressedFrame(data, packets, track=frame.track, end_ms=frame.end_ms)
