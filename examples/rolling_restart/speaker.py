"""A client that speaks a recording, and continues elsewhere when its connection ends, as a browser's page does."""

from __future__ import annotations

import asyncio
import json

from aiohttp import ClientError, ClientSession, ClientWebSocketResponse

BYTES_PER_MS = 32  # 16-bit samples at 16 kHz
CHUNK_MS = 100


class Speaker:
    """One stream: its final texts, the end of the last one, and the number of connections it took."""

    def __init__(self, samples: bytes, *, speed: float = 1.0) -> None:
        self.texts: list[str] = []
        self.final_ms = 0
        self.connections = 0
        self._samples = samples
        self._speed = speed
        self._started_at = 0.0

    async def speak(self, url: str) -> None:
        """Speak until everything is recognised."""
        self._started_at = asyncio.get_running_loop().time()
        async with ClientSession() as http:
            while not await self._connect(http, f"{url}/captions?start_ms={self.final_ms}"):  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async def _connect(self, http: ClientSession, url: str) -> bool:
        """Speak from the end of the last final result on; return True at the end, False if it is to go on elsewhere."""
        try:
            async with http.ws_connect(url) as websocket:
                self.connections += 1
                sending = asyncio.create_task(self._send(websocket))
                try:
                    async for message in websocket:
                        match json.loads(message.data):
                            case {"type": "result", "is_final": True, "text": text, "end_ms": end_ms}:
                                self.texts.append(text)
                                self.final_ms = end_ms
                            case {"type": "end"}:
                                return True
                            case {"type": "error", "message": reason, "retryable": False}:
                                raise RuntimeError(reason)
                finally:
                    sending.cancel()
        except (ClientError, OSError):
            pass  # the process died, or none is healthy: the same as if it had moved
        return False

    async def _send(self, websocket: ClientWebSocketResponse) -> None:
        """Send what is not final yet at once, and the rest as it is spoken."""
        for start_ms in range(self.final_ms, len(self._samples) // BYTES_PER_MS, CHUNK_MS):
            due_at = self._started_at + start_ms / 1000 / self._speed
            await asyncio.sleep(due_at - asyncio.get_running_loop().time())
            await websocket.send_bytes(self._samples[start_ms * BYTES_PER_MS :][: CHUNK_MS * BYTES_PER_MS])
        await websocket.send_json({"type": "stop"})
