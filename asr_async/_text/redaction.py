"""The removal of secrets from texts of others: a server or a gateway may send back what it was sent.

A secret is found as it is, as JSON, a URL or HTML escape its characters, and in base64. Escapes are replaced in the
text and in the secrets, and then the one is searched for the others: a pattern of all forms takes milliseconds to
compile, and a signature is another one on each connection. Does not know vendors or connections.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

from .secret import MASK

__all__ = ["Redactor", "secrets_of"]

MIN_SECRET_CHARS = 6
"""A shorter value is no credential, and would occur inside ordinary words."""

MAX_COMPARED_CHARS = 64
"""The part of a secret that is looked for; of a longer one, such as a token, what follows up to a blank goes too."""

_ESCAPES = re.compile(r"\\+(?:u[0-9a-fA-F]{4})?|(?:%[0-9a-fA-F]{2})+|&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[a-zA-Z]+);")
_REST = re.compile(r"[^\s\"'<>]*")
_BASE64_REST = re.compile(r"[A-Za-z0-9+/=_-]*")
_URL_SAFE = str.maketrans("-_", "+/")
_ENDS = "\\\"'… \t\r\n"
"""The characters that may stand behind a secret that the end of the text cuts off."""

_SECRET_NAMES = re.compile("auth|token|key|cookie|secret|signature|password", re.IGNORECASE)


def secrets_of(url: str, headers: Mapping[str, str]) -> frozenset[str]:
    """Return everything in a URL and in headers that is, or may be, a credential."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return frozenset({url})  # any part of it may be one
    found = {unquote(part) for part in (parts.username, parts.password) if part}
    found |= {value for name, value in parse_qsl(parts.query) if _SECRET_NAMES.search(name)}
    for name, value in headers.items():
        if _SECRET_NAMES.search(name):
            found |= _parts_of(str(value))
    return frozenset(secret for secret in found if len(secret) >= MIN_SECRET_CHARS)


def _parts_of(value: str) -> set[str]:
    """Split a header's value, without its scheme: "Bearer KEY", "SCHEME Access=KEY, Signature=..."."""
    pieces = re.split(r"[\s,;]+", value)
    credentials = pieces[1:] if len(pieces) > 1 else pieces
    return {value, *credentials, *(piece.partition("=")[2] for piece in credentials)}


class Redactor:
    """The removal of some secrets from texts; made where a text has to be cleaned, since most connections need none."""

    __slots__ = ("_base64_forms", "_secrets")

    def __init__(self, secrets: Iterable[str]) -> None:
        whole = {str(secret) for secret in secrets if len(secret) >= MIN_SECRET_CHARS}
        # a secret may itself look like an escape, which is replaced where it was not escaped
        plain = {form for secret in whole for form in (secret.replace("\\", ""), _unescaped(secret)[0])}
        self._secrets = [form for form in plain if len(form) >= MIN_SECRET_CHARS]
        self._base64_forms = [form for secret in whole for form in _base64_forms(secret[:MAX_COMPARED_CHARS])]

    def __repr__(self) -> str:
        return f"<Redactor {'of secrets' if self._secrets else 'of none'}>"

    def finds(self, text: str) -> bool:
        """Return True if a secret is in the text."""
        return next(self._places(text), None) is not None

    def text(self, text: str) -> str:
        """Return the text with a mask in place of each secret."""
        places = sorted(self._places(text))
        if not places:
            return text
        kept: list[str] = []
        kept_from = 0
        for begin, end in places:
            if begin >= kept_from:
                kept += text[kept_from:begin], MASK
            kept_from = max(kept_from, end)
        return "".join([*kept, text[kept_from:]])

    def bytes(self, body: bytes) -> bytes:
        """Return bytes of any encoding with a mask in place of each secret."""
        return self.text(body.decode(errors="surrogateescape")).encode(errors="surrogateescape")

    def _places(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the begin and the end of each secret in a text, in no order."""
        if not self._secrets:
            return
        plain, origins = _unescaped(text)
        for begin, end in self._plain_places(plain):
            if origins is None:
                yield begin, end
            else:
                yield origins[begin], origins[end]

    def _plain_places(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the places in a text without escapes."""
        shown = text.rstrip(_ENDS)
        for secret in self._secrets:
            compared = secret[:MAX_COMPARED_CHARS]
            for begin in _occurrences(compared, text):
                end = begin + len(compared)
                yield begin, end if len(secret) == len(compared) else _end_of(_REST, text, end)
            if (length := _cut_off_length(compared, shown)) is not None:
                yield len(shown) - length, len(text)
        standard = text.translate(_URL_SAFE)
        for form in self._base64_forms:
            for begin in _occurrences(form, standard):
                yield begin, _end_of(_BASE64_REST, text, begin + len(form))


def _occurrences(part: str, text: str) -> Iterator[int]:
    begin = text.find(part)
    while begin >= 0:
        yield begin
        begin = text.find(part, begin + 1)


def _end_of(pattern: re.Pattern[str], text: str, begin: int) -> int:
    match = pattern.match(text, begin)
    return begin if match is None else match.end()


def _cut_off_length(secret: str, text: str) -> int | None:
    """Return the length of the beginning of a secret with which a text ends; None if it is too short for one."""
    for length in range(len(secret), MIN_SECRET_CHARS - 1, -1):
        if text.endswith(secret[:length]):
            return length
    return None


def _base64_forms(secret: str) -> Iterator[str]:
    """Yield the base64 characters of a secret behind 0, 1 and 2 other bytes: `user:password` is encoded as a whole."""
    content = secret.encode(errors="surrogatepass")
    for bytes_before, shared_chars in enumerate((0, 2, 3)):
        encoded = base64.b64encode(bytes(bytes_before) + content).decode()
        # the characters at both ends depend on the bytes beside the secret, too
        yield encoded[shared_chars : (bytes_before + len(content)) * 8 // 6]


def _unescaped(text: str) -> tuple[str, list[int] | None]:
    r"""Return a text without escapes of JSON, URLs and HTML, and the place that each character and the end had.

    Escapes may be escaped again (`\\u0022`), so backslashes are left out; also those of the text itself. The places are
    None if the text has no escapes.
    """
    pieces: list[str] = []
    origins: list[int] = []
    done = 0
    for match in _ESCAPES.finditer(text):
        begin, end = match.span()
        pieces.append(text[done:begin])
        origins += range(done, begin)
        for character, origin in _characters_of(match[0], begin):
            pieces.append(character)
            origins.append(origin)
        done = end
    if not done:
        return text, None
    pieces.append(text[done:])
    origins += range(done, len(text) + 1)
    return "".join(pieces), origins


def _characters_of(escape: str, begin: int) -> Iterator[tuple[str, int]]:
    """Yield the characters of an escape, but for backslashes, with their places in the text."""
    if escape.startswith("\\"):
        if not escape.endswith("\\") and (character := chr(int(escape[-4:], 16))) != "\\":
            yield character, begin
    elif escape.startswith("%"):
        content = bytes.fromhex(escape.replace("%", ""))
        for character in content.decode(errors="surrogateescape"):
            if character != "\\":
                yield character, begin
            begin += 3 * len(character.encode(errors="surrogateescape"))
    else:
        character = html.unescape(escape)
        if character == "\\":
            return
        if len(character) == 1:
            yield character, begin
        else:  # no escape, but it looks like one
            yield from zip(escape, range(begin, begin + len(escape)), strict=True)
