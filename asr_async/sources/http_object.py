"""A recording behind an `http` or `https` URL, read by range requests on one response after another.

The standard library's client is used, since it blocks, as readers of files do, and takes proxies and certificates from
the environment. A server that ignores ranges sends the recording from its start; what is in front of the place is then
read and dropped. Blocks: it is for threads. Does not know audio.
"""

from __future__ import annotations

import base64
import errno
import os
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlunsplit

from .._net.user_agent import USER_AGENT
from .._text.secret import SecretText, secret_url, shown_url, tolerant_repr
from ..errors import ConfigurationError, ConnectionLostError
from .stored_object import SourceVersion, check_version, parse_url

if TYPE_CHECKING:
    from email.message import Message
    from http.client import HTTPResponse
    from urllib.error import HTTPError

__all__ = ["HttpObject"]

TIMEOUT_S = 30.0
"""The longest wait for a connection, and for bytes of a response."""

SKIPPED_AT_ONCE = 256 * 1024

_TEMPORARY = frozenset({408, 425, 429})
"""The statuses below 500 of a server that may answer later."""

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")


class HttpObject:
    """A `StoredObject` behind a URL.

    Attributes:
        name: the URL for texts.
        version: see `StoredObject`.
    """

    def __init__(self, url: str) -> None:
        self.name: str = shown_url(url)
        self._url, self._authorization = _without_user(secret_url(url))
        self.version: SourceVersion | None = None
        self._response: HTTPResponse | None = None
        # the place of the next byte of the response
        self._position = 0

    @tolerant_repr
    def __repr__(self) -> str:
        return f"<HttpObject {self.name}>"

    def find(self) -> SourceVersion:
        """Return the version that is there now. It is a GET, since signed URLs allow no other method."""
        try:
            self._request(0)
        finally:
            self.close()
        assert self.version is not None  # noqa: S101 - the request has set it
        return self.version

    def fetch(self, start: int, size: int) -> bytes:
        """Return at most `size` bytes from this place on; none only at the end."""
        import http.client  # noqa: PLC0415 - loaded only when it is used

        if self._response is None or start != self._position:
            self._request(start)
        response, left = self._response, size
        pieces: list[bytes] = []
        while response is not None and left > 0:
            try:
                data = response.read(left)
            except (OSError, ValueError, http.client.HTTPException) as error:
                # what came before is used; the next call goes on behind it
                self.close()
                if not pieces:
                    raise ConnectionError(str(error)) from None
                break
            if not data:
                self.close()
                break
            pieces.append(data)
            left -= len(data)
            self._position += len(data)
        found = b"".join(pieces)
        if not found and self._ends_later(start):
            raise ConnectionError("the server closed the connection before the end")
        return found

    def close(self) -> None:
        """Close the response. Idempotent."""
        response, self._response = self._response, None
        if response is not None:
            response.close()

    def _ends_later(self, position: int) -> bool:
        size_bytes = None if self.version is None else self.version.size_bytes
        return size_bytes is not None and position < size_bytes

    def _request(self, start: int) -> None:
        """Begin a response at this place."""
        self.close()
        response, begin = self._open(start)
        self._response, self._position = response, begin
        while response is not None and self._position < start:
            skipped = response.read(min(SKIPPED_AT_ONCE, start - self._position))
            if not skipped:
                self.close()
                return
            self._position += len(skipped)

    def _open(self, start: int) -> tuple[HTTPResponse | None, int]:
        """Return a response and the place at which it begins; no response if there is nothing at the place."""
        import http.client  # noqa: PLC0415 - loaded only when it is used
        import urllib.error  # noqa: PLC0415
        import urllib.request  # noqa: PLC0415

        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", "Range": f"bytes={start}-"}
        try:
            request = urllib.request.Request(self._url, headers=headers)  # noqa: S310 - the caller has looked
            if self._authorization:
                request.add_unredirected_header("Authorization", self._authorization)
            response: HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310
        except urllib.error.HTTPError as error:
            self._check_status(error, start)
            return None, start
        except urllib.error.URLError as error:
            raise self._unreachable(error.reason) from None
        except (http.client.HTTPException, ValueError) as error:
            raise ConfigurationError(f"{self.name} cannot be read: {type(error).__name__}, check the URL") from None
        try:
            begin, size = _place(response.headers, start, is_part=response.status == HTTPStatus.PARTIAL_CONTENT)
            self._set_version(response.headers, size)
        except BaseException:
            response.close()
            raise
        return response, begin

    def _set_version(self, headers: Message[str, str], size: int | None) -> None:
        version = SourceVersion(size, headers.get("ETag") or headers.get("Last-Modified"))
        check_version(self.name, self.version, version)
        self.version = version

    def _check_status(self, error: HTTPError, start: int) -> None:
        """Raise what a status means; one that says that nothing is at the place is the end."""
        status, headers = error.code, error.headers
        error.close()
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            size = _place(headers, start, is_part=True)[1]
            self._set_version(headers, start if size is None else size)
            return
        text = f"HTTP status {status}"
        if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
            raise FileNotFoundError(errno.ENOENT, f"{os.strerror(errno.ENOENT)} ({text})", self.name)
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise PermissionError(errno.EACCES, f"{os.strerror(errno.EACCES)} ({text})", self.name)
        if status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _TEMPORARY:
            raise ConfigurationError(f"{self.name} cannot be read: the server answers with {text}", code=str(status))
        raise ConnectionError(f"the server answers with {text}")

    def _unreachable(self, reason: Any) -> Exception:
        """Return the error for a connection that could not be opened."""
        import ssl  # noqa: PLC0415 - loaded only when it is used

        if isinstance(reason, ssl.SSLCertVerificationError):
            text = f"its certificate is not trusted ({reason.verify_message}): name its authority in SSL_CERT_FILE"
            return ConnectionLostError(f"{self.name} cannot be read: {text}")
        if isinstance(reason, OSError) and reason.errno and reason.errno > 0:
            return ConnectionError(os.strerror(reason.errno))
        return ConnectionError(str(reason) or type(reason).__name__)


def _without_user(url: str) -> tuple[str, str]:
    """Return a URL without its user and password, and the header of them; an empty one if there are none."""
    parts = parse_url(url)
    if parts.username is None:
        return url, ""
    credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    host = parts.netloc.rpartition("@")[2]
    header = f"Basic {base64.b64encode(credentials.encode()).decode()}"
    return secret_url(urlunsplit(parts._replace(netloc=host))), SecretText(header)


def _place(headers: Message[str, str], start: int, *, is_part: bool) -> tuple[int, int | None]:
    """Return the place at which a response begins, and the size of the whole object if it is known.

    Raises:
        ConnectionError: it begins behind the place that was requested, or does not say where.
    """
    if not is_part:
        length = headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    match = _CONTENT_RANGE.match(headers.get("Content-Range", ""))
    if match is None:
        raise ConnectionError("the server sent a part without saying which")
    begin = int(match[1] or start)
    if begin > start:
        raise ConnectionError(f"the server sent the bytes from {begin} on instead of those from {start} on")
    return begin, None if match[2] == "*" else int(match[2])
