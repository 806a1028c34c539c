"""The errors of this library, as one tree.

```
ASRError
├── ConfigurationError (ValueError)        an option, a file or a call that can never work; nothing was sent
├── AuthenticationError                    no credentials, or the vendor refused them
├── DeadlineError (TimeoutError)           a deadline of `Timeouts` passed
├── ConnectionLostError (ConnectionError)  no connection, or it closed before the vendor confirmed the end
├── AudioLostError                         audio was lost with a connection; see `start_ms` and `end_ms`
├── VendorError                            the vendor answered with an error code
│   └── RateLimitedError                   ... because of too many sessions or starts; see `retry_after`
└── ProtocolError
    ├── LocalProtocolError                 the calling code broke the order of the protocol (a bug in it)
    └── RemoteProtocolError                the vendor broke it (an unreadable or unexpected message)
```

Each error has one line of text that says what is wrong and what to do, a flag that says whether the same call may
succeed later (`retryable`), and the vendor's code, request id and own words (`raw`) if there are any. No error text
holds a credential, nor a control character, whatever the vendor sends: an error can go into a log as it is.
Errors that the caller's audio source raises are not wrapped. Every error can be pickled and copied.
Does not know which of these errors lead to a reconnect or a fail-over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._text.lines import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from .results import Transcript

__all__ = [
    "ASRError",
    "AudioLostError",
    "AuthenticationError",
    "ConfigurationError",
    "ConnectionLostError",
    "DeadlineError",
    "LocalProtocolError",
    "ProtocolError",
    "RateLimitedError",
    "RemoteProtocolError",
    "VendorError",
]

MAX_RAW_CHARS = 4_096
"""The longest `ASRError.raw`: enough for every message of a vendor, and little to pickle or to log."""


class ASRError(Exception):
    """The base class of all errors of this library.

    Attributes:
        message: one line that says what is wrong and what to do.
        retryable: True if the same call may succeed later, unchanged.
        code: the vendor's error code, an HTTP status or a WebSocket close code, as text; None if there is none.
        status: the HTTP status of the response that refused a handshake or a request; None if there was no response:
            the code of an error in a running session is the vendor's own.
        request_id: the id of the request at the vendor, which the vendor's support needs; None if there is none.
        vendor: the vendor that reported the error; None if this library found it.
        raw: the vendor's message, or the body of its HTTP response, as it came, but not more than `MAX_RAW_CHARS`
            characters; None if there is none. It may hold line ends and control characters: write `repr(error.raw)`
            into a log.
        concerns_account: True if every call with this account and model fails in the same way until someone acts: wrong
            credentials, an unpaid bill, a used-up quota, an unknown model.
        transcript: everything recognised before the error. Only `transcribe()` sets it, since it returns results only
            at the end.
    """

    concerns_account: bool = False

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = False,
        code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        vendor: str | None = None,
        raw: str | None = None,
    ) -> None:
        message = printable(message)
        super().__init__(message)
        self.message: str = message
        self.retryable = retryable
        self.code: str | None = code and printable(code)
        self.status = status
        self.request_id: str | None = request_id and printable(request_id)
        self.vendor = vendor
        self.raw: str | None = raw[:MAX_RAW_CHARS] if raw else None
        self.transcript: Transcript | None = None

    def __reduce__(self) -> tuple[object, ...]:
        # The default calls the class with `args` alone, but a subclass may require keywords. This restores `args`,
        # the attributes and the notes without a call. `__cause__` is left out, as by every exception: it may be an
        # object of another library that cannot be pickled.
        return _new_error, (type(self),), {**self.__dict__, "args": self.args}

    def change_texts(self, change: Callable[[str], str]) -> None:
        """Replace each text that may be the vendor's, for instance by one without a credential that a server echoes."""
        self.message = change(self.message)
        self.code = self.code and change(self.code)
        self.request_id = self.request_id and change(self.request_id)
        self.raw = self.raw and change(self.raw)
        Exception.__init__(self, self.message)  # its `args`

    def __str__(self) -> str:
        details = [f"{name} {value}" for name, value in (("code", self.code), ("request", self.request_id)) if value]
        return f"{self.message} ({', '.join(details)})" if details else self.message


def _new_error(error_class: type[ASRError]) -> ASRError:
    """Return an empty error of a class. Unpickling and copying then set its text and attributes."""
    return error_class.__new__(error_class)


class ConfigurationError(ASRError, ValueError):
    """An option, a file or a call that can never work; nothing was sent."""


class AuthenticationError(ASRError):
    """Missing credentials, or credentials that the vendor refused."""

    concerns_account: bool = True


class DeadlineError(ASRError, TimeoutError):
    """A deadline of `Timeouts` that passed; results received before it stay available."""


class ConnectionLostError(ASRError, ConnectionError):
    """A failed attempt to connect, or a connection that ended before the vendor confirmed the end of the transcript."""


class AudioLostError(ASRError):
    """Lost audio that no final result covers: the transcript would have a gap.

    Attributes:
        start_ms: the start of the lost audio in the source.
        end_ms: its end; None for compressed audio that cannot be cut, since nothing after `start_ms` can be recognised.
    """

    def __init__(self, message: str, *, start_ms: int, end_ms: int | None, request_id: str | None = None) -> None:
        super().__init__(message, request_id=request_id)
        self.start_ms = start_ms
        self.end_ms = end_ms

    @classmethod
    def between(cls, start_ms: int, end_ms: int | None, cause: ASRError) -> AudioLostError:
        """Return the error for a range of the source and the error that ended the connection."""
        lost_range = f"from {start_ms} ms on" if end_ms is None else f"from {start_ms} to {end_ms} ms"
        advice = (
            "compressed audio in this container can be replayed only from its start, which is more than Retry.buffer_s "
            "holds"
            if end_ms is None
            else "the audio without a final result was longer than Retry.buffer_s holds; "
            "set Retry(on_gap='continue') to continue with a Gap"
        )
        return cls(f"audio is lost {lost_range}, after: {cause.message}: {advice}", start_ms=start_ms, end_ms=end_ms)


class VendorError(ASRError):
    """An error that the vendor reported; `code` is the vendor's error code."""


class RateLimitedError(VendorError):
    """A refusal by the vendor because of too many sessions or starts.

    Attributes:
        retry_after: the wait that the vendor asks for, in seconds; None if it gives none.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        vendor: str | None = None,
        raw: str | None = None,
    ) -> None:
        super().__init__(
            message, retryable=True, code=code, status=status, request_id=request_id, vendor=vendor, raw=raw
        )
        self.retry_after = retry_after


class ProtocolError(ASRError):
    """A violation of the protocol by one of the two sides."""


class LocalProtocolError(ProtocolError):
    """A call in an order that the protocol does not allow, for instance `send` after `finish`."""


class RemoteProtocolError(ProtocolError):
    """A message from the vendor that the protocol does not allow."""
