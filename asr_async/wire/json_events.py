"""Events as JSON objects, so that they can cross a WebSocket, an HTTP response, a queue or a file.

An object has the fields of the event under their names, and the member `type`, which names its class:

    {"type":"result","text":"good morning","is_final":true,"segment_id":0,"start_ms":200,"end_ms":1100,"words":[],...}
    {"type":"gap","start_ms":1100,"end_ms":2400,"reason":"the connection was lost"}

Does not know sessions, sockets or files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import ConfigurationError
from ..results import Event, SessionStats, Transcript

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

__all__ = ["asdict", "from_json", "from_json_lines", "to_json", "to_json_lines"]

MAX_LINE_BYTES = 16 * 1024 * 1024
"""The longest line that is read: a final of some hours with the times of its words takes less."""

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def asdict(value: Event | Transcript | SessionStats) -> dict[str, Any]:
    """Return an event, a transcript or statistics as a dict that `json.dumps` accepts; events with the member `type`.

    Words, translations and results inside become dicts too, which `msgspec.structs.asdict` would leave as they are.

    Raises:
        ConfigurationError: it is none of them.
    """
    if not isinstance(value, Transcript | SessionStats):
        _check(value)
    members: dict[str, Any] = msgspec.to_builtins(value)
    return members


def to_json(event: Event) -> str:
    """Return an event as one line of JSON, without a line end: `await websocket.send_text(to_json(event))`.

    Raises:
        ConfigurationError: it is not an event.
    """
    _check(event)
    return _encoder.encode(event).decode()


def from_json(text: str | bytes) -> Event:
    """Return the event of a JSON text that `to_json` made, or a program in another language.

    Members that the class does not have are ignored, so that older programs read the events of newer ones.

    Raises:
        ConfigurationError: it is not the JSON object of an event.
    """
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError, TypeError) as error:
        shown = text[:80] if isinstance(text, str | bytes) else type(text).__name__
        raise ConfigurationError(f"not the JSON of an event: {error}: {shown!r}; to_json(event) makes it") from None


async def to_json_lines(events: AsyncIterable[Event]) -> AsyncIterator[str]:
    """Yield each event as a line of JSON with its line end (NDJSON), as soon as it arrives.

        return StreamingResponse(to_json_lines(session.events(source)), media_type="application/x-ndjson")

    An error of the session is raised to the reader of the lines behind the events before it; an HTTP response then ends
    without its last chunk, so that the other side sees that lines are missing.
    """
    async for event in events:
        yield f"{to_json(event)}\n"


async def from_json_lines(chunks: AsyncIterable[str | bytes]) -> AsyncIterator[Event]:
    """Yield the events of a stream of JSON lines that arrives in chunks of any size, such as an HTTP response.

        async for event in from_json_lines(response.content.iter_any()):
            ...

    Empty lines are skipped: some servers send them to keep a connection open. For a file, `map(from_json, file)` does.

    Raises:
        ConfigurationError: a line is not an event, is longer than 16 MiB, or the last one is cut off.
    """
    parts: list[bytes] = []  # of the line that is not complete yet
    size_bytes = 0
    async for chunk in chunks:
        first, *others = (chunk.encode() if isinstance(chunk, str) else bytes(chunk)).split(b"\n")
        parts.append(first)
        size_bytes += len(first)
        for start in others:
            if line := b"".join(parts).strip():
                yield from_json(line)
            parts, size_bytes = [start], len(start)
        if size_bytes > MAX_LINE_BYTES:
            limit = f"{MAX_LINE_BYTES // 1024**2} MiB"
            raise ConfigurationError(f"a line of events is longer than {limit}: {parts[0][:80]!r}")
    if line := b"".join(parts).strip():
        yield from_json(line)


def _check(event: object) -> None:
    """Refuse what is not an event: its JSON could not be read again."""
    if not isinstance(event, Event):
        raise ConfigurationError(f"{type(event).__name__} is not an event of a session, such as a Result or a Gap")
