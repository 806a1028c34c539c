"""The body of an HTTP response that refuses a handshake or a request, in whatever form it comes.

The refusal of a gateway, a proxy or a load balancer has not the form of the vendor behind it: JSON of another shape, a
page of HTML, one line of text, nothing, bytes of another encoding. Does not know a vendor, nor the meaning of a code.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from .._text.lines import one_line

__all__ = ["ErrorDetails", "find_header", "read_error_body"]

MAX_TEXT_CHARS = 200
"""The longest part of a vendor's text in an error text; `ASRError.raw` holds more of it."""

MAX_CODE_CHARS = 100
MAX_PAGE_CHARS = 16_384
"""The part of a page or text that is read: what it says stands at its beginning."""

MAX_OBJECTS = 64
"""The number of objects and lists of a JSON body that are searched. An error's members are on its first levels."""

UNREADABLE_SHARE = 0.1
"""The share of undecodable characters from which on a body is binary data, and not a text with a defect."""

_CODE_NAMES = ("code", "errorcode", "errcode")
_TEXT_NAMES = ("message", "errormessage", "errormsg", "errmsg", "msg", "errordescription", "detail", "reason", "error")
_ID_NAMES = ("requestid", "traceid", "reqid")
"""Names of members, in lower case without `_` and `-`, in the order of their precedence. `code`, `message` and
`request_id` are DashScope's, `error_code` and `error_msg` are Huawei's; an object `error` around them is IAM's and that
of OpenAI's interface, which DashScope offers too. The others are common among gateways."""

_TAG = re.compile(r"<(/?)([a-zA-Z!?][^\s<>/]*)[^<>]*>")
_WITHOUT_TEXT = frozenset({"script", "style"})


class ErrorDetails(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a body; texts are empty if it has none."""

    code: str = ""
    text: str = ""
    """One line of at most `MAX_TEXT_CHARS`."""
    request_id: str | None = None
    raw: str | None = None
    """The body as text; None for an empty one."""


def read_error_body(body: bytes) -> ErrorDetails:
    """Return the content of a body. No body is an error here: the HTTP status remains."""
    if not body:
        return ErrorDetails()
    raw = _decode(body)
    try:
        content = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError):
        return ErrorDetails(text=_readable(_without_tags(raw[:MAX_PAGE_CHARS])), raw=raw)
    if isinstance(content, str):
        return ErrorDetails(text=_readable(content), raw=raw)
    objects = [*_objects(content)]
    code = _first_text(objects, _CODE_NAMES) or _first_text(objects[1:], ("type",))
    text = _first_text(objects, _TEXT_NAMES) or _first_text(objects, ("title",))
    if not text and _has_other_text(objects, content):
        text = raw  # a shape that is not known: all of it is better than nothing
    return ErrorDetails(
        code=one_line(code, MAX_CODE_CHARS),
        text=_readable(_without_tags(text[:MAX_PAGE_CHARS])),
        request_id=one_line(_first_text(objects, _ID_NAMES), MAX_CODE_CHARS) or None,
        raw=raw,
    )


def find_header(headers: Mapping[str, str], name: str) -> str:
    """Return the value of a header, whose name may be written in any case; empty if there is none."""
    name = name.casefold()
    return next((value for key, value in headers.items() if key.casefold() == name), "")


def _decode(body: bytes) -> str:
    for encoding in ("utf-8-sig", "gb18030"):  # the second is the other encoding of Chinese pages
        try:
            return body.decode(encoding)
        except UnicodeDecodeError:
            continue
    return body.decode(errors="replace")


def _readable(text: str) -> str:
    """Return a text as one line; empty if it has no word, or is binary data."""
    text = text[:MAX_PAGE_CHARS]
    has_word = any(char.isalnum() for char in text)
    unreadable = text.count("\ufffd")
    return one_line(text, MAX_TEXT_CHARS) if has_word and unreadable <= UNREADABLE_SHARE * len(text) else ""


def _without_tags(text: str) -> str:
    """Return the text of a page without its tags, scripts and repetitions (title and heading); other text unchanged."""
    if not text.lstrip().startswith("<"):
        return text
    pieces: list[str] = []
    inside = ""
    position = 0
    for tag in _TAG.finditer(text):
        if not inside:
            pieces.append(text[position : tag.start()])
        position = tag.end()
        name = tag[2].casefold()
        if name in _WITHOUT_TEXT and inside in {"", name}:
            inside = "" if tag[1] else name
    if not inside:
        pieces.append(text[position:])
    lines = (html.unescape(" ".join(piece.split())) for piece in pieces)
    return " ".join(dict.fromkeys(line for line in lines if line))


# --- JSON ------------------------------------------------------------------------------------------------------------


def _objects(content: Any) -> Iterator[dict[str, Any]]:
    """Return the objects of a body, the outer ones first, with the names of their members as `_CODE_NAMES` has them."""
    level = [content]
    left = MAX_OBJECTS
    while level and left > 0:
        inner: list[Any] = []
        for value in level[:left]:
            if isinstance(value, dict):
                yield {name.casefold().replace("_", "").replace("-", ""): member for name, member in value.items()}
                inner += value.values()
            elif isinstance(value, list):
                inner += value[:MAX_OBJECTS]
        left -= len(level)
        level = [value for value in inner if isinstance(value, dict | list)]


def _first_text(objects: list[dict[str, Any]], names: tuple[str, ...]) -> str:
    for members in objects:
        for name in names:
            if text := _as_text(members.get(name)):
                return text
    return ""


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    return str(value) if type(value) is int and abs(value) < 10**9 else ""


def _has_other_text(objects: list[dict[str, Any]], content: Any) -> bool:
    """Return True if a body says anything but a code and an id."""
    if isinstance(content, list) and any(isinstance(value, str) for value in content):
        return True
    known = {*_CODE_NAMES, *_ID_NAMES}
    return any(
        isinstance(value, str) and value.strip() and name not in known
        for members in objects
        for name, value in members.items()
    )
