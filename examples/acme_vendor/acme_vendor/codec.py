"""The codec of Acme's protocol: messages in, messages and events out; no socket, no task and no clock.

Audio is binary. The server sends `text` messages: interims of a numbered utterance, then its final. Nothing answers the
start, and nothing confirms the end: after `finish` the server sends the last texts and closes the connection.
"""

from __future__ import annotations

import msgspec

from asr_async import Result, VendorError
from asr_async.audio import AudioBytes
from asr_async.vendors.codec import (
    CodecEvent,
    Failed,
    Finished,
    Message,
    Reread,
    TaskDescription,
    Unrecognised,
    read_message,
    reread_events,
)
from asr_async.vendors.error_rules import ErrorRule
from asr_async.vendors.lenient import LenientReader, Milliseconds
from asr_async.vendors.segments import SegmentTracker, TrackedSegment
from asr_async.vendors.vendor_errors import VendorErrors

from .options import Acme

ERRORS = VendorErrors("acme", {"busy": ErrorRule(VendorError, True, "try again")})
"""The errors of responses and messages: by the vendor's code, else by its words, else by the HTTP status."""


class AcmeMessage(msgspec.Struct, frozen=True):
    """A message of the server. A member that is missing or has another type is absent, and the rest is used."""

    type: str | None = None
    utterance: int | None = None
    start_ms: Milliseconds | None = None
    end_ms: Milliseconds | None = None
    text: str | None = None
    final: bool | None = None
    code: str | None = None
    message: str | None = None


_decode = msgspec.json.Decoder(AcmeMessage).decode
_reader: LenientReader[AcmeMessage] = LenientReader(AcmeMessage)


def describe(options: Acme) -> TaskDescription:
    """Return the facts that the session needs before there is a connection."""
    return TaskDescription(
        audio_format=options.audio,
        max_frame_bytes=64_000,
        answers_start=False,
        ends_by_close=True,
        keepalive_s=4.0,  # the server waits for 10 s
    )


class AcmeCodec:
    """The client side of one task."""

    request_id = ""  # this vendor has none

    def __init__(self) -> None:
        # finds the segment of a message, numbers it, drops repeats and makes the events around results
        self._segments: SegmentTracker[int | None, TrackedSegment[int | None]] = SegmentTracker(TrackedSegment)

    def start(self) -> list[Message]:
        """Return nothing: the URL holds the options."""
        return []

    def audio(self, frame: AudioBytes) -> Message:
        """Return the audio itself."""
        return frame

    def keepalive(self) -> list[Message]:
        """Return the message that keeps the task open while no audio is sent."""
        return ['{"type": "keepalive"}']

    def finish(self) -> list[Message]:
        """Return the end of the audio."""
        return ['{"type": "finish"}']

    def end(self) -> list[CodecEvent]:
        """Return the events of the server's close: the interims that have no final become finals, with a mark."""
        return [*self._segments.close_at_end("the vendor sent no text for it"), Finished()]

    def receive(self, message: str | bytes) -> list[CodecEvent]:
        """Return the events of one message."""
        read = read_message(message, _decode, _reader, of="Acme", vendor="acme", request_id=None)
        if isinstance(read, Reread):  # it does not fit its type: what can be used, and a note about the rest
            return reread_events(read, self._handle, message)
        return self._handle(read, str(message))

    def _handle(self, message: AcmeMessage, raw: str) -> list[CodecEvent]:
        match message.type:
            case "text":
                return self._on_text(message, raw)
            case "error":
                return [Failed(ERRORS.of_message(message.code or "", message.message or "", raw=raw))]
        return [Unrecognised(str(message.type), raw)]

    def _on_text(self, message: AcmeMessage, raw: str) -> list[CodecEvent]:
        events: list[CodecEvent] = []
        text, is_final, start_ms, end_ms = message.text or "", bool(message.final), message.start_ms, message.end_ms
        segment = self._segments.assign(message.utterance, start_ms, end_ms, text, is_final=is_final, events=events)
        if segment is None:  # a repeat, or no text
            return events
        result = Result(
            text=text,
            is_final=is_final,
            segment_id=segment.id,
            start_ms=segment.start_ms,
            end_ms=segment.end_ms,
            raw=raw,
        )
        if not is_final:
            segment.interim_result = result
            return [*events, result]
        return [*events, *self._segments.end(segment, result), result, *self._segments.close(segment)]
