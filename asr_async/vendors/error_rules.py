"""The rules for a vendor's errors: its code first, then its words, then the HTTP status.

A rule says which error it is, whether the same call may succeed later, and what to do. The codes and their spellings
are data in each vendor's folder. One code may stand for both a limit that passes and a quota that is used up, so words
about money have precedence over a code. Does not know a vendor, a clock, nor whether a retry follows.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from .._text.lines import one_line
from ..errors import ASRError, RateLimitedError, VendorError
from .error_body import find_header

__all__ = ["SERVER_ERROR", "ErrorKind", "ErrorRule", "ErrorTable", "code_key", "parse_retry_after"]

MAX_RETRY_AFTER_S = 3_600.0
"""The longest delay that is read from a response. All sessions of an account wait for it, so a wrong value must not
stop them for days; no session waits for that long itself."""


class ErrorRule(msgspec.Struct, frozen=True):
    """The meaning of an error code."""

    error_class: type[ASRError]
    retryable: bool
    """True if the same request may succeed later."""
    advice: str = ""
    """The remedy, for the end of the error text; empty if none is known."""
    concerns_account: bool = False
    """True if every request of the account with this model fails until the remedy is applied; `AuthenticationError`
    implies it."""

    def make_error(
        self,
        text: str,
        *,
        vendor: str,
        code: str | None,
        request_id: str | None,
        retry_after: float | None,
        status: int | None = None,
        raw: str | None = None,
    ) -> ASRError:
        """Return the error: the vendor's text in one line, with the advice behind it."""
        text = one_line(text)
        if self.advice:
            text = f"{text.rstrip('.!:')}: {self.advice}"
        if self.error_class is RateLimitedError:
            return RateLimitedError(
                text,
                retry_after=retry_after,
                code=code,
                status=status,
                request_id=request_id,
                vendor=vendor,
                raw=raw,
            )
        error = self.error_class(
            text,
            retryable=self.retryable,
            code=code,
            status=status,
            request_id=request_id,
            vendor=vendor,
            raw=raw,
        )
        if self.concerns_account:
            error.concerns_account = True
        return error


SERVER_ERROR = ErrorRule(VendorError, True, "an error of the vendor; try again")
"""The rule for an error on the vendor's side."""

_UNKNOWN = ErrorRule(VendorError, False)
_NO_WEBSOCKET = ErrorRule(
    VendorError, False, "this is no answer of the service: check the endpoint, its path and the proxy"
)
"""For a redirection, and for a page where a connection or a token should be."""


class ErrorKind(enum.Enum):
    """The kinds of errors that the words of an unknown error distinguish, in the order in which they are looked for."""

    EXHAUSTED = "a quota is used up, and waiting does not renew it"
    BILLING = "the account owes money"
    NOT_ACTIVATED = "the account has not activated the service"
    UNKNOWN_MODEL = "the model does not exist here"
    CREDENTIALS = "the key, the token or the signature is wrong"
    RATE_LIMIT = "too many sessions or starts"
    DENIED = "the account has no right to it"
    SERVER = "a failure of the vendor"


_BEFORE_CODES = frozenset({ErrorKind.EXHAUSTED, ErrorKind.BILLING})
"""The kinds that arrive with codes of limits and rights too (`Throttling.AllocationQuota` with "Free allocated quota
exceeded.": DashScope's error page, 2025-10)."""

_WORDS_OF_KIND: dict[ErrorKind, tuple[str, ...]] = {
    ErrorKind.EXHAUSTED: (
        r"\bfree (?:allocated |trial )?(?:quota|tier|credits?)\b.*\b(?:exceeded|exhausted|used up|expired|only)\b",
        r"\bquota (?:has been |is )?(?:exhausted|used up)\b(?!.* per (?:second|minute))",
        "免费额度|额度已用|额度耗尽",
    ),
    ErrorKind.BILLING: (
        r"\barrear|\boverdue|\bgood standing\b",
        r"\binsufficient (?:account )?(?:balance|funds|credits?)\b|\bbalance (?:is )?(?:insufficient|not enough)\b",
        "欠费|余额不足",
    ),
    ErrorKind.NOT_ACTIVATED: (
        r"\bnot (?:been |yet )?(?:activated|purchased|subscribed)\b|\bgrant not found\b|\beligible for using\b",
        "未开通|未订购",
    ),
    ErrorKind.UNKNOWN_MODEL: (r"\bmodel\b.*\b(?:does not exist|not exist|not found|can ?not be found)\b",),
    ErrorKind.CREDENTIALS: (
        (
            r"\b(?:invalid|incorrect|wrong|missing|no|expired|illegal) (?:\w+ )?"
            r"(?:api ?key|token|credentials?|signature|authentication)\b"
        ),
        r"\b(?:api ?key|token|credentials?|signature) (?:\w+ )?(?:invalid|expire|incorrect|mismatch|missing|fail)",
        r"\bunauthenticated\b|\bunauthorized\b|\bauthentication (?:fail|error|required)|\bverify (?:ak|sk|signature)",
    ),
    ErrorKind.RATE_LIMIT: (
        r"(?<!sample )\brate ?limit|\brate increased too quickly\b|\bthrottl|\bslow down\b",
        r"\btoo many (?:\w+ )?(?:requests|connections|sessions|tasks|starts)\b",
        r"\b(?:requests?|burst|concurren\w+|connections?|qps|rps|rpm|tpm) (?:rate )?(?:limit|quota)",
        r"\blimit (?:requests?|burst|concurren|qps|rps|rpm|tpm)",
        r"\bquota (?:\w+ )?exceeded\b|\binsufficient quota\b",
        r"\bexceed(?:s|ed)? (?:your |the )?(?:\w+ )?(?:quota|concurren\w+)\b|\bexceeded your current requests\b",
        "限流|请求过多|并发",
    ),
    ErrorKind.DENIED: (
        r"\baccess denied\b|\bnot authori[sz]ed\b|\bpermission denied\b|\bno (?:access )?permission\b|\bforbidden\b",
        r"\b(?:do|does) not have (?:access|permission)\b",
        "无权|没有权限",
    ),
    ErrorKind.SERVER: (
        (
            r"\b(?:system|server|internal|engine|model|service|backend|algorithm|inference|asr)"
            r"(?: internal| server| service| unknown| timeout)? (?:error|failed|failure|unavailable|overloaded|busy)\b"
        ),
        r"\bbad gateway\b|\bgateway time ?out\b|\b(?:temporarily|currently) unavailable\b|\bno backend\b",
        r"\b(?:try|retry) (?:again )?later\b",
        "系统错误|系统繁忙|服务繁忙|服务异常|服务不可用|稍后再试|稍后重试",
    ),
}
"""Patterns for a text in lower case whose words stand one blank apart, without punctuation."""

MAX_JUDGED_CHARS = 1_000
"""The part of a text that is searched for such words."""

_WORD = re.compile(r"[^\W_]+")
_INSIDE_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class ErrorTable:
    """The rules of one vendor."""

    def __init__(
        self,
        by_code: Mapping[str, ErrorRule],
        by_kind: Mapping[ErrorKind, ErrorRule],
        by_status: Mapping[int, ErrorRule],
    ) -> None:
        """Make the table.

        Args:
            by_code: the rules of codes, and of groups of codes by their first word: `Throttling` for
                `Throttling.RateQuota`. Case and punctuation do not count.
            by_kind: the rules of the kinds that words distinguish.
            by_status: the rules of HTTP statuses. Those from 500 on are errors of the vendor unless listed.
        """
        self._by_key = {code_key(code): rule for code, rule in by_code.items()}
        self._by_kind = {**by_kind, ErrorKind.SERVER: SERVER_ERROR}
        self._by_status = by_status

    def __repr__(self) -> str:
        return f"<ErrorTable {len(self._by_key)} codes>"

    def find(self, code: str, text: str, status: int | None) -> ErrorRule:
        """Return the rule for an error.

        Args:
            code: the vendor's code; empty if it gives none.
            text: the vendor's words; empty if it gives none.
            status: the HTTP status; None for a WebSocket message.
        """
        of_code = self._of_code(code)
        kind = _kind_of(text)
        if kind in _BEFORE_CODES and (of_code is None or of_code.retryable or of_code.error_class is not VendorError):
            return self._by_kind.get(kind, of_code or _UNKNOWN)
        if of_code is not None:
            return of_code
        return self._of_words(f"{code} {text}", status) or self._of_status(code, status)

    def _of_code(self, code: str) -> ErrorRule | None:
        words = _WORD.findall(code[:MAX_JUDGED_CHARS].casefold())
        for count in range(len(words), 0, -1):
            if (rule := self._by_key.get("".join(words[:count]))) is not None:
                return rule
        return None

    def _of_words(self, text: str, status: int | None) -> ErrorRule | None:
        kind = _kind_of(text)
        if kind is None or (kind is ErrorKind.SERVER and status is not None and not _may_be_retried(status)):
            return None
        return self._by_kind.get(kind)

    def _of_status(self, code: str, status: int | None) -> ErrorRule:
        if status is None and re.fullmatch("[45][0-9]{2}", code):
            status = int(code)
        if status is None:
            return _UNKNOWN
        if (rule := self._by_status.get(status)) is not None:
            return rule
        if _may_be_retried(status):
            return SERVER_ERROR
        return _NO_WEBSOCKET if status < 400 else _UNKNOWN


def code_key(code: str) -> str:
    """Return a code in the form in which codes are compared: `limit_burst_rate` and `LimitBurstRate` are one."""
    return "".join(_WORD.findall(code.casefold()))


def _may_be_retried(status: int) -> bool:
    return status in {408, 425, 429} or (status >= 500 and status not in {501, 505})


def _kind_of(text: str) -> ErrorKind | None:
    words = " ".join(_WORD.findall(_INSIDE_WORD.sub(" ", text[:MAX_JUDGED_CHARS]))).casefold()
    return next((kind for kind in ErrorKind if _pattern(kind).search(words)), None) if words else None


@functools.cache  # and not compiled before the first error
def _pattern(kind: ErrorKind) -> re.Pattern[str]:
    return re.compile("|".join(_WORDS_OF_KIND[kind]))


def parse_retry_after(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """Return the seconds of a Retry-After header, from 0 to `MAX_RETRY_AFTER_S`; None if there is no readable one.

    Args:
        headers: the headers of the response.
        now: this machine's time, with its zone. A date in the header is compared with the response's own Date if there
            is one, since the two come from the same clock, else with this.
    """
    value = find_header(headers, "Retry-After").strip()
    if re.fullmatch(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)", value):
        return _bounded(float(value))
    sent_at = _parse_date(find_header(headers, "Date")) or now
    until = _parse_date(value)
    return None if until is None or sent_at is None else _bounded((until - sent_at).total_seconds())


def _parse_date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)  # HTTP has no other zone


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
