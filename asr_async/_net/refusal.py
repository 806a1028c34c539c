"""A reader for HTTP responses that refuse a handshake, and that the WebSocket library does not accept.

The library is strict, as it has to be with a server that a session depends on. A refusal is only reported, and old load
balancers answer in HTTP/1.0, without a reason phrase, or close before the end of the body: the status and the text that
did arrive are worth more than the news that they are malformed. Opens no connection.
"""

from __future__ import annotations

import re

import msgspec

__all__ = ["MAX_REFUSAL_BYTES", "Refusal", "parse_refusal"]

MAX_REFUSAL_BYTES = 65_536
"""The part of a response that is kept for this."""

_STATUS_LINE = re.compile(rb"HTTP/1(?:\.[0-9])? ([2-5][0-9]{2})(?: [^\r\n]*)?\r?\n")
_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")
_CHUNK_SIZE = re.compile(rb"(?:\r?\n)?([0-9a-fA-F]{1,8})[^\r\n]*\r?\n")


class Refusal(msgspec.Struct, frozen=True):
    """A response that is no switch to WebSocket."""

    status: int
    headers: dict[str, str]
    body: bytes
    """The part that arrived."""


def parse_refusal(data: bytes) -> Refusal | None:
    """Return the refusal that the bytes begin with; None if they hold no whole head of one."""
    status_line = _STATUS_LINE.match(data)
    end = _END_OF_HEADERS.search(data)
    if status_line is None or end is None:
        return None
    headers: dict[str, str] = {}
    for line in data[status_line.end() : end.start()].splitlines():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip()] = value.strip()
    body = data[end.end() :]
    if any(name.lower() == "transfer-encoding" and "chunked" in value.lower() for name, value in headers.items()):
        body = _without_chunk_sizes(body)
    return Refusal(int(status_line[1]), headers, body)


def _without_chunk_sizes(body: bytes) -> bytes:
    chunks: list[bytes] = []
    position = 0
    while (size := _CHUNK_SIZE.match(body, position)) is not None:
        position = size.end() + int(size[1], 16)
        chunks.append(body[size.end() : position])
    return b"".join(chunks)
