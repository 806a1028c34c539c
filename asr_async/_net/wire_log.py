"""The wire tape: what went over a client's connections and when, as JSON lines, so that a bug report becomes a test.

One line is one `Record`, of one of four kinds by its member `what`:

```
{"what":"connect","connection":1,"ms":0,"host":"dashscope.aliyuncs.com","path":"/api-ws/v1/inference","headers":[...]}
{"what":"frame","connection":1,"ms":31,"direction":"sent","kind":"text","text":"{...}"}
{"what":"frame","connection":1,"ms":84,"direction":"sent","kind":"binary","binary":{"bytes":3200}}
{"what":"refused","connection":2,"ms":12,"status":429,"headers":[...],"retry_after":"7","body":"{...}"}
{"what":"closed","connection":1,"ms":5120,"code":1000,"reason":"","by":"client"}
```

Connections count from 1, `ms` from the beginning of each. Of headers only the names stand here, of the URL no query;
what their values hold of credentials is replaced by `***` wherever it occurs in a text. Audio is left out unless it is
asked for: of binary frames, and of the long base64 runs that some protocols send in texts, only the size is told.

Each line is written as it comes and by itself, so that what a crash leaves behind is whole and nothing piles up. That
goes into the memory of the system and takes microseconds; what cannot be written any more is left out, with a warning.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qsl, urlsplit

import msgspec

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from typing import Self

    from .hosts import Destination, Message

__all__ = [
    "Binary",
    "Closed",
    "Connect",
    "ConnectionLog",
    "MessageRecord",
    "Record",
    "Refused",
    "WireLog",
    "audio_bytes",
    "read_tape",
]

MASK = "***"

MIN_SECRET_CHARS = 6
"""What is shorter is no credential, and would be found in every word."""

MAX_BODY_CHARS = 4_096
"""So much of the body of a refusal."""

_SECRET_NAMES = re.compile("auth|token|key|cookie|secret|signature|password", re.IGNORECASE)
_AUDIO_IN_TEXT = re.compile(r"[A-Za-z0-9+/]{256,}={0,2}")
"""Longer than any word or id, and 12 ms of audio."""
_AUDIO_LEFT_OUT = re.compile(r"<(\d+) bytes in base64>")

_logger = logging.getLogger("asr_async")


# --- lines -----------------------------------------------------------------------------------------------------------


class Connect(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="connect"):
    """A connection is being made."""

    connection: int
    ms: int
    host: str
    path: str
    headers: tuple[str, ...]
    """Names only."""


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="refused"):
    """The handshake was answered with an HTTP status."""

    connection: int
    ms: int
    status: int
    headers: tuple[str, ...] = ()
    """Names only."""
    retry_after: str | None = None
    body: str = ""


class Binary(msgspec.Struct, frozen=True, omit_defaults=True):
    """A binary message."""

    bytes: int
    base64: str | None = None
    """What it held, where that was asked for."""


class MessageRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="frame", omit_defaults=True):
    """One whole message."""

    connection: int
    ms: int
    direction: Literal["sent", "received"]
    kind: Literal["text", "binary"]
    text: str | None = None
    binary: Binary | None = None


class Closed(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="closed"):
    """The connection ended; 1006 stands for an end without a closing message."""

    connection: int
    ms: int
    code: int
    reason: str = ""
    by: Literal["client", "server"]
    """Who was first to close, or lost the other."""


Record = Connect | Refused | MessageRecord | Closed

_decoder = msgspec.json.Decoder(Record)


def read_tape(path: str | os.PathLike[str]) -> list[Record]:
    """Read a whole tape; a last line that a crash has cut off is left out.

    Raises:
        ConfigurationError: the file cannot be read, or is not a tape.
    """
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise ConfigurationError(f"tape {path}: {error.strerror}") from None
    records: list[Record] = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            records.append(_decoder.decode(line))
        except msgspec.MsgspecError as error:
            raise ConfigurationError(f"tape {path}: line {number}: {error}") from None
    return records


def audio_bytes(text: str) -> int:
    """How much audio a text message holds in base64, or held before it was left out."""
    here = sum(len(match[0].rstrip("=")) * 3 // 4 for match in _AUDIO_IN_TEXT.finditer(text))
    return here + sum(int(match[1]) for match in _AUDIO_LEFT_OUT.finditer(text))


# --- what must not stand there ---------------------------------------------------------------------------------------


def secrets_of(url: str, headers: Mapping[str, str]) -> frozenset[str]:
    """Everything in a URL and in headers that is, or may be, a credential."""
    parts = urlsplit(url)
    found = {parts.username or "", parts.password or ""}
    found |= {value for name, value in parse_qsl(parts.query) if _SECRET_NAMES.search(name)}
    for name, value in headers.items():
        if _SECRET_NAMES.search(name):
            found |= _parts_of(value)
    return frozenset(secret for secret in found if len(secret) >= MIN_SECRET_CHARS)


def _parts_of(value: str) -> set[str]:
    """The pieces of a header's value without its scheme: "Bearer KEY", "SCHEME Access=KEY, Signature=..."."""
    pieces = re.split(r"[\s,;]+", value)
    credentials = pieces[1:] if len(pieces) > 1 else pieces
    return {value, *credentials, *(piece.partition("=")[2] for piece in credentials)}


def _masked(text: str, secrets: Collection[str]) -> str:
    for secret in sorted(secrets, key=len, reverse=True):  # the longest first: a shorter one may be part of it
        text = text.replace(secret, MASK)
    return text


def _without_audio(text: str) -> str:
    return _AUDIO_IN_TEXT.sub(lambda match: f"<{audio_bytes(match[0])} bytes in base64>", text)


# --- recording -------------------------------------------------------------------------------------------------------


class WireLog:
    """A file that the connections of one client are recorded in; a context manager that closes it."""

    def __init__(self, path: str | os.PathLike[str], *, with_audio: bool = False) -> None:
        """Begin the file anew, readable for its owner only: it holds what was said.

        Raises:
            ConfigurationError: it cannot be written.
        """
        self._path = path
        self._with_audio = with_audio
        self._connections = 0
        try:
            # unbuffered: see the module
            self._file = open(path, "wb", buffering=0, opener=_private)  # noqa: SIM115 - Path has no opener
        except OSError as error:
            raise ConfigurationError(f"tape={os.fspath(path)!r}: cannot be written: {error.strerror}") from None

    def __repr__(self) -> str:
        state = "closed" if self._file.closed else "open"
        return f"<WireLog {self._path} {state}, connections: {self._connections}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Record no more. Idempotent."""
        self._file.close()

    def record_connect(self, endpoint: Destination) -> ConnectionLog:
        """Record that a connection is being made; what happens on it is told to the log."""
        self._connections += 1
        log = ConnectionLog(
            self, self._connections, secrets_of(endpoint.url, endpoint.headers), with_audio=self._with_audio
        )
        path = urlsplit(endpoint.url).path
        self.write(
            Connect(connection=self._connections, ms=0, host=endpoint.host, path=path, headers=(*endpoint.headers,))
        )
        return log

    def write(self, record: Record) -> None:
        """Append one line; on a full disk the recording ends, not the session."""
        if self._file.closed:
            return
        try:
            self._file.write(msgspec.json.encode(record) + b"\n")
        except OSError as error:
            _logger.warning("tape %s: nothing more is recorded: %s", self._path, error.strerror)
            self.close()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class ConnectionLog:
    """The recording of one connection."""

    def __init__(self, tape: WireLog, connection: int, secrets: frozenset[str], *, with_audio: bool) -> None:
        self._tape = tape
        self._connection = connection
        self._secrets = secrets
        self._with_audio = with_audio
        self._began_at = _now()
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<ConnectionLog of connection {self._connection} {'closed' if self._is_closed else 'open'}>"

    def record_refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Record that the handshake was answered with an HTTP status."""
        retry_after = next((value for name, value in headers.items() if name.lower() == "retry-after"), None)
        text = _masked(body.decode(errors="replace"), self._secrets)[:MAX_BODY_CHARS]
        self._tape.write(
            Refused(
                connection=self._connection,
                ms=self._ms,
                status=status,
                headers=(*headers,),
                retry_after=retry_after,
                body=text,
            )
        )

    def record_sent(self, frame: Message) -> None:
        """Record a message of ours."""
        self._tape.write(self._frame("sent", frame))

    def record_received(self, frame: Message) -> None:
        """Record a message of the vendor's."""
        self._tape.write(self._frame("received", frame))

    def record_close(self, code: int, reason: str, *, by: Literal["client", "server"]) -> None:
        """Record the end; the first one that is told counts."""
        if self._is_closed:
            return
        self._is_closed = True
        reason = _masked(reason, self._secrets)
        self._tape.write(Closed(connection=self._connection, ms=self._ms, code=code, reason=reason, by=by))

    @property
    def _ms(self) -> int:
        return round((_now() - self._began_at) * 1000)

    def _frame(self, direction: Literal["sent", "received"], frame: Message) -> MessageRecord:
        if not isinstance(frame, str):
            content = base64.b64encode(frame).decode() if self._with_audio else None
            binary = Binary(bytes=len(frame), base64=content)
            return MessageRecord(
                connection=self._connection, ms=self._ms, direction=direction, kind="binary", binary=binary
            )
        text = _masked(frame if self._with_audio else _without_audio(frame), self._secrets)
        return MessageRecord(connection=self._connection, ms=self._ms, direction=direction, kind="text", text=text)


def _now() -> float:
    return asyncio.get_running_loop().time()
