"""The errors of a vendor without a table of its own codes, or with a small one: of HTTP responses and of messages.

Pure; knows no vendor. The rules and their order are those of `error_rules`.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import ASRError, AuthenticationError, RateLimitedError, VendorError
from .error_body import find_header, read_error_body
from .error_rules import ErrorKind, ErrorRule, ErrorTable, parse_retry_after

__all__ = ["VendorErrors"]

_KEY = ErrorRule(AuthenticationError, False, "check the key or the token")
_DENIED = ErrorRule(AuthenticationError, False, "the account has no right to this")
_ACCOUNT = ErrorRule(VendorError, False, "check the account at the vendor")
_THROTTLED = ErrorRule(RateLimitedError, True, "too many sessions or starts; try again later")

_BY_KIND = {
    ErrorKind.CREDENTIALS: _KEY,
    ErrorKind.DENIED: _DENIED,
    ErrorKind.EXHAUSTED: _ACCOUNT,
    ErrorKind.BILLING: _ACCOUNT,
    ErrorKind.NOT_ACTIVATED: _ACCOUNT,
    ErrorKind.RATE_LIMIT: _THROTTLED,
}
_BY_STATUS = {401: _KEY, 402: _ACCOUNT, 403: _DENIED, 429: _THROTTLED}


class VendorErrors:
    """Makes the errors of one vendor: `ERRORS = VendorErrors("acme", {"E42": ErrorRule(VendorError, True)})`.

    `ERRORS.of_response` is an `Endpoint.handshake_error`.
    """

    def __init__(self, vendor: str, by_code: Mapping[str, ErrorRule] | None = None) -> None:
        """Make the table.

        Args:
            vendor: the vendor's name, for `ASRError.vendor`.
            by_code: the rules of the vendor's codes, which precede those of the words and of the HTTP status.
        """
        self._vendor = vendor
        self._table = ErrorTable(by_code or {}, _BY_KIND, _BY_STATUS)

    def __repr__(self) -> str:
        return f"<VendorErrors {self._vendor}>"

    def of_response(self, status: int, headers: Mapping[str, str], body: bytes) -> ASRError:
        """Return the error for an HTTP response that refuses a handshake or a request."""
        details = read_error_body(body)
        return self._table.find(details.code, details.text, status).make_error(
            f"HTTP {status}: {details.text or 'the request was refused'}",
            vendor=self._vendor,
            code=details.code or str(status),
            status=status,
            request_id=details.request_id or find_header(headers, "X-Request-Id") or None,
            retry_after=parse_retry_after(headers),
            raw=details.raw,
        )

    def of_message(self, code: str, text: str, *, request_id: str | None = None, raw: str | None = None) -> ASRError:
        """Return the error for a message of a task.

        Args:
            code: the vendor's code; empty if the message has none.
            text: the vendor's words.
            request_id: the vendor's id of the task, if it is known.
            raw: the whole message.
        """
        return self._table.find(code, text, None).make_error(
            text or "the vendor ended the task with an error",
            vendor=self._vendor,
            code=code or None,
            request_id=request_id,
            retry_after=None,
            raw=raw,
        )
