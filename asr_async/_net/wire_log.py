"""The wire log ("tape" for users): all messages of a client's connections as JSON lines, so a bug report is a test.

Does not know vendors or audio formats. One line is one `Record`, of one of four kinds by its member `what`:

```
{"what":"connect","connection":1,"ms":0,"host":"dashscope.aliyuncs.com","path":"/api-ws/v1/inference","headers":[...]}
{"what":"frame","connection":1,"ms":31,"direction":"sent","kind":"text","text":"{...}"}
{"what":"frame","connection":1,"ms":84,"direction":"sent","kind":"binary","binary":{"bytes":3200}}
{"what":"refused","connection":2,"ms":12,"status":429,"headers":[...],"retry_after":"7","body":"{...}"}
{"what":"closed","connection":1,"ms":5120,"code":1000,"reason":"","by":"client"}
```

Connections count from 1, `ms` from the beginning of each. Of headers only the names are recorded, of the URL no query;
credentials in their values are replaced by `***` wherever they occur in a text, escaped or not. Audio is left out
unless it is asked for: of binary messages, and of the long base64 strings that some protocols send in texts, only the
size is recorded.

Each line is written at once and by itself, so a crash leaves whole lines behind and nothing piles up. A write goes into
the system's memory and takes microseconds; after a failed write the log ends, with a warning.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import logging
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import msgspec

from .._text.redaction import Redactor, secrets_of
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from typing import Self

    from .hosts import Destination, Message

__all__ = [
    "BinaryContent",
    "CloseRecord",
    "ConnectRecord",
    "ConnectionLog",
    "MessageRecord",
    "Record",
    "RefusalRecord",
    "WireLog",
    "count_audio_bytes",
    "read_tape",
]

MAX_BODY_CHARS = 4_096
"""The part of a refusal's body that is recorded."""

_AUDIO_IN_TEXT = re.compile(r"[A-Za-z0-9+/]{256,}={0,2}")
"""Longer than any word or id, and 12 ms of audio."""
_AUDIO_LEFT_OUT = re.compile(r"<(\d+) bytes in base64>")

_logger = logging.getLogger("asr_async")


# --- records ---------------------------------------------------------------------------------------------------------


class ConnectRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="connect"):
    """The beginning of a connection."""

    connection: int
    ms: int
    host: str
    path: str
    headers: tuple[str, ...]
    """Names only."""


class RefusalRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="refused"):
    """The HTTP response that refused a handshake."""

    connection: int
    ms: int
    status: int
    headers: tuple[str, ...] = ()
    """Names only."""
    retry_after: str | None = None
    body: str = ""


class BinaryContent(msgspec.Struct, frozen=True, omit_defaults=True):
    """The content of a binary message."""

    bytes: int
    base64: str | None = None
    """The bytes, where audio is recorded."""


class MessageRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="frame", omit_defaults=True):
    """One whole message."""

    connection: int
    ms: int
    direction: Literal["sent", "received"]
    kind: Literal["text", "binary"]
    text: str | None = None
    binary: BinaryContent | None = None


class CloseRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="closed"):
    """The end of a connection; 1006 stands for an end without a closing message."""

    connection: int
    ms: int
    code: int
    reason: str = ""
    by: Literal["client", "server"]
    """The side that closed first, or that lost the connection."""


Record = ConnectRecord | RefusalRecord | MessageRecord | CloseRecord

_decoder = msgspec.json.Decoder(Record)


def read_tape(path: str | os.PathLike[str]) -> list[Record]:
    """Read the records of a whole log; an incomplete last line, cut off by a crash, is left out.

    Raises:
        ConfigurationError: the file cannot be read, or is not a wire log.
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


def count_audio_bytes(text: str) -> int:
    """Return the size of the audio that a text message holds in base64, or held before it was left out."""
    present = sum(len(match[0].rstrip("=")) * 3 // 4 for match in _AUDIO_IN_TEXT.finditer(text))
    return present + sum(int(match[1]) for match in _AUDIO_LEFT_OUT.finditer(text))


# --- audio ----------------------------------------------------------------------------------------------------------


def _without_audio(text: str) -> str:
    return _AUDIO_IN_TEXT.sub(lambda match: f"<{count_audio_bytes(match[0])} bytes in base64>", text)


# --- recording -------------------------------------------------------------------------------------------------------


class WireLog:
    """The file that records the connections of one client; a context manager that closes it."""

    def __init__(self, path: str | os.PathLike[str], *, with_audio: bool = False) -> None:
        """Create the file, or empty it; readable for its owner only, since it holds what was spoken.

        Raises:
            ConfigurationError: the file cannot be written, or is not a regular file.
        """
        self._path = path
        self._with_audio = with_audio
        self._connections = 0
        try:
            # unbuffered: each line reaches the system at once
            self._file = open(path, "r+b", buffering=0, opener=_private)  # noqa: SIM115 - Path has no opener
        except OSError as error:
            reason = _IS_LINK if error.errno == errno.ELOOP else f"cannot be written: {error.strerror}"
            raise ConfigurationError(f"tape={os.fspath(path)!r}: {reason}") from None

    def __repr__(self) -> str:
        state = "closed" if self._file.closed else "open"
        return f"<WireLog {self._path} {state}, connections: {self._connections}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """End the log. Idempotent."""
        self._file.close()

    def record_connect(self, endpoint: Destination) -> ConnectionLog:
        """Record the beginning of a connection, and return the log of everything that follows on it."""
        self._connections += 1
        log = ConnectionLog(
            self, self._connections, Redactor(secrets_of(endpoint.url, endpoint.headers)), with_audio=self._with_audio
        )
        path = urlsplit(endpoint.url).path
        self.write(
            ConnectRecord(
                connection=self._connections, ms=0, host=endpoint.host, path=path, headers=(*endpoint.headers,)
            )
        )
        return log

    def write(self, record: Record) -> None:
        """Append one line; on a full disk the log ends, not the session."""
        if self._file.closed:
            return
        try:
            self._file.write(msgspec.json.encode(record) + b"\n")
        except OSError as error:
            _logger.warning("tape %s: nothing more is recorded: %s", self._path, error.strerror)
            self.close()


_IS_LINK = "is a link: name the file that it leads to, so that no other file is overwritten"

_NOT_FOLLOWING = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""A link is not followed, and the opening of a FIFO does not wait for its reader; Windows has neither."""


def _private(path: str, _flags: int) -> int:
    """Open a file for its owner only, also one that exists; emptied once it is known to be a regular file."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _NOT_FOLLOWING | getattr(os, "O_BINARY", 0), 0o600)
    try:
        _empty(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _empty(descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    if hasattr(os, "fchmod"):
        os.fchmod(descriptor, 0o600)
    os.ftruncate(descriptor, 0)


class ConnectionLog:
    """The part of a wire log that records one connection."""

    def __init__(self, wire_log: WireLog, connection: int, redactor: Redactor, *, with_audio: bool) -> None:
        self._wire_log = wire_log
        self._connection = connection
        self._redactor = redactor
        self._with_audio = with_audio
        self._began_at = _now()
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<ConnectionLog of connection {self._connection} {'closed' if self._is_closed else 'open'}>"

    def record_refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Record the HTTP response that refused the handshake."""
        retry_after = next((value for name, value in headers.items() if name.lower() == "retry-after"), None)
        text = self._redactor.text(body.decode(errors="replace"))[:MAX_BODY_CHARS]
        self._wire_log.write(
            RefusalRecord(
                connection=self._connection,
                ms=self._ms,
                status=status,
                headers=(*headers,),
                retry_after=retry_after and self._redactor.text(retry_after),
                body=text,
            )
        )

    def record_sent(self, message: Message) -> None:
        """Record a message of this side."""
        self._wire_log.write(self._message("sent", message))

    def record_received(self, message: Message) -> None:
        """Record a message of the server."""
        self._wire_log.write(self._message("received", message))

    def record_close(self, code: int, reason: str, *, by: Literal["client", "server"]) -> None:
        """Record the end; only the first call counts."""
        if self._is_closed:
            return
        self._is_closed = True
        reason = self._redactor.text(reason)
        self._wire_log.write(CloseRecord(connection=self._connection, ms=self._ms, code=code, reason=reason, by=by))

    @property
    def _ms(self) -> int:
        return round((_now() - self._began_at) * 1000)

    def _message(self, direction: Literal["sent", "received"], message: Message) -> MessageRecord:
        if not isinstance(message, str):
            content = base64.b64encode(message).decode() if self._with_audio else None
            binary = BinaryContent(bytes=len(message), base64=content)
            return MessageRecord(
                connection=self._connection, ms=self._ms, direction=direction, kind="binary", binary=binary
            )
        text = self._redactor.text(message if self._with_audio else _without_audio(message))
        return MessageRecord(connection=self._connection, ms=self._ms, direction=direction, kind="text", text=text)


def _now() -> float:
    return asyncio.get_running_loop().time()
