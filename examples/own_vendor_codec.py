"""The codec of `own_vendor.py`: AssemblyAI's streaming protocol, https://www.assemblyai.com/docs (as of 2026-11).

Messages in, messages and events out; no socket and no clock, so a test of it needs values only.
"""

from __future__ import annotations

import json

from asr_async import Result, VendorError
from asr_async.vendors.codec import CodecEvent, Failed, Finished, Message, Started


class UniversalCodec:
    """The client side of one session; see `asr_async.vendors.codec.Codec` for the methods."""

    request_id: str = ""

    def start(self) -> list[Message]:
        return []  # the handshake opens the task

    def audio(self, frame: bytes | memoryview) -> Message:
        return frame

    def finish(self) -> list[Message]:
        return ['{"type": "Terminate"}']

    def receive(self, message: str | bytes) -> list[CodecEvent]:
        match json.loads(message):
            case {"type": "Begin", "id": request_id}:
                self.request_id = request_id
                return [Started(self.request_id)]
            case {"type": "Turn", "turn_order": n, "transcript": text, "end_of_turn": end, "words": [first, *rest]}:
                end_ms = [first, *rest][-1]["end"]
                return [Result(text=text, is_final=end, segment_id=n, start_ms=first["start"], end_ms=end_ms)]
            case {"type": "Termination"}:
                return [Finished()]
            case {"type": "Error", "error": reason}:
                return [Failed(VendorError(reason, vendor="assemblyai"))]
        return []
