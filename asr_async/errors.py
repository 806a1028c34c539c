"""Everything that can go wrong, as one tree.

```
ASRError
├── ConfigurationError (ValueError)        an option, a file or a call that can never work; nothing was sent
├── AuthenticationError                    no credentials, or the vendor refused them
├── DeadlineError (TimeoutError)           a wait of `Timeouts` ran out
├── ConnectionLostError (ConnectionError)  no connection, or it closed before the vendor confirmed the end
├── AudioLostError                         audio had to be given up after a reconnect; see `start_ms` and `end_ms`
├── VendorError                            the vendor answered with an error code
│   └── RateLimitedError                   ... because of too many sessions or starts; see `retry_after`
└── ProtocolError
    ├── LocalProtocolError                 this side broke the order of the protocol (a bug in the calling code)
    └── RemoteProtocolError                the other side did (an unreadable or unexpected message)
```

Each error knows whether the same call may succeed when it is made again (`retryable`), the vendor's own code and
request id where there is one, and it says in one line what to do. No error text ever holds a credential.
Errors that the caller's own audio source raises are not wrapped: they reach the caller as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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


class ASRError(Exception):
    """Base of all errors of this library.

    Attributes:
        message: what happened and what to do, one line.
        retryable: whether the same call may succeed later, unchanged.
        code: the vendor's own error code, an HTTP status or a WebSocket close code, where there is one.
        request_id: what the vendor's support asks for, where there is one.
        vendor: who reported it; None when it was found on this side.
        transcript: what had been recognised until then; set by `transcribe()`, which hands out results only at its end.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = False,
        code: str | None = None,
        request_id: str | None = None,
        vendor: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retryable = retryable
        self.code = code
        self.request_id = request_id
        self.vendor = vendor
        self.transcript: Transcript | None = None

    def __reduce__(self) -> tuple[object, ...]:
        # The default calls the class with `args` alone, without the keywords that a subclass may require. The state
        # replaces the call: it holds every attribute and the notes. As with every exception, `__cause__` stays behind.
        return _new_error, (type(self),), {**self.__dict__, "args": self.args}

    def __str__(self) -> str:
        about = [f"{name} {value}" for name, value in (("code", self.code), ("request", self.request_id)) if value]
        return f"{self.message} ({', '.join(about)})" if about else self.message


def _new_error(error_class: type[ASRError]) -> ASRError:
    """Return an error of a class without its text and attributes, which unpickling and copying set next."""
    return error_class.__new__(error_class)


class ConfigurationError(ASRError, ValueError):
    """An option, a file or a call that can never work as given; nothing was sent."""


class AuthenticationError(ASRError):
    """There are no credentials, or the vendor refused the ones given."""


class DeadlineError(ASRError, TimeoutError):
    """A wait ran into its deadline (`Timeouts`); what had been recognised is still there."""


class ConnectionLostError(ASRError, ConnectionError):
    """No connection could be made, or it ended before the vendor confirmed the end of the transcript."""


class AudioLostError(ASRError):
    """Audio that no final result covers had to be given up: the transcript would have a hole.

    Attributes:
        start_ms: where it begins in the source.
        end_ms: where it ends; None for compressed audio, of which nothing more can be recognised.
    """

    def __init__(self, message: str, *, start_ms: int, end_ms: int | None, request_id: str | None = None) -> None:
        super().__init__(message, request_id=request_id)
        self.start_ms = start_ms
        self.end_ms = end_ms

    @classmethod
    def between(cls, start_ms: int, end_ms: int | None, cause: ASRError) -> AudioLostError:
        """Make the error for a place in the source and what took the connection."""
        where = f"from {start_ms} ms on" if end_ms is None else f"from {start_ms} to {end_ms} ms"
        advice = (
            "compressed audio can be sent again only from its start, and that is more than Retry.buffer_s holds"
            if end_ms is None
            else "it was longer without a final result than Retry.buffer_s holds; Retry(on_gap='continue') goes on"
        )
        return cls(f"audio is lost {where}, after: {cause.message}: {advice}", start_ms=start_ms, end_ms=end_ms)


class VendorError(ASRError):
    """The vendor answered with an error; `code` is the vendor's own."""


class RateLimitedError(VendorError):
    """The vendor refused because of too many sessions or starts.

    Attributes:
        retry_after: seconds to wait as the vendor asked for it; None where it did not say.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        code: str | None = None,
        request_id: str | None = None,
        vendor: str | None = None,
    ) -> None:
        super().__init__(message, retryable=True, code=code, request_id=request_id, vendor=vendor)
        self.retry_after = retry_after


class ProtocolError(ASRError):
    """One of the two sides did not keep to the protocol."""


class LocalProtocolError(ProtocolError):
    """The calling code did things in an order that cannot work, for instance `send` after `finish`."""


class RemoteProtocolError(ProtocolError):
    """The other side sent something that the protocol does not allow."""
