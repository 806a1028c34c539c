"""Messages of DashScope's realtime protocol for scripted servers."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

__all__ = ["RealtimeConnection"]

TRANSCRIPTION = "conversation.item.input_audio_transcription"


class RealtimeConnection:
    """The server's end of one connection: it opens the session, receives audio, and sends events."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection
        self._received_bytes = 0
        self.is_finished = False
        """True if the client has finished."""
        self.commits = 0
        """The number of commits that have arrived."""

    async def start(self) -> None:
        """Open the session."""
        await self.send("session.created", session={"id": "sess_1", "object": "realtime.session"})
        await self._connection.recv()
        await self.send("session.updated", session={"id": "sess_1"})

    async def send(self, kind: str, **members: Any) -> None:
        """Send one event."""
        await self._connection.send(json.dumps({"event_id": "event_1", "type": kind, **members}))

    async def receive_until(self, end_ms: int | None) -> None:
        """Receive audio until so much has arrived, or the client has finished; with None, until it has finished."""
        while not self.is_finished and (end_ms is None or self._received_bytes < 32 * end_ms):
            message = json.loads(await self._connection.recv())
            if message["type"] == "input_audio_buffer.append":
                self._received_bytes += len(base64.b64decode(message["audio"]))
            self.commits += message["type"] == "input_audio_buffer.commit"
            self.is_finished = message["type"] == "session.finish"

    async def start_speech(self, item: str, start_ms: int) -> None:
        """Report a start of speech."""
        await self.send("input_audio_buffer.speech_started", item_id=item, audio_start_ms=start_ms)

    async def stop_speech(self, item: str, end_ms: int) -> None:
        """Report an end of speech, and the commit of the item."""
        await self.send("input_audio_buffer.speech_stopped", item_id=item, audio_end_ms=end_ms)
        await self.commit(item)

    async def commit(self, item: str) -> None:
        """Report that an item was committed."""
        await self.send("input_audio_buffer.committed", item_id=item, previous_item_id=None)

    async def send_text(self, item: str, text: str, *, is_final: bool = False) -> None:
        """Send an interim or a final."""
        members = {"transcript": text} if is_final else {"text": "", "stash": text}
        kind = "completed" if is_final else "text"
        await self.send(f"{TRANSCRIPTION}.{kind}", item_id=item, content_index=0, language="en", **members)

    async def finish(self) -> None:
        """Confirm the end."""
        await self.send("session.finished")
        await self._connection.close()
