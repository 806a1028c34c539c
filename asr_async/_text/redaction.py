"""The removal of secrets from texts of others: a server or a gateway may send back what it was sent.

A secret is found as it is, as JSON, a URL or HTML escape its characters, and in base64. Does not know vendors or
connections.
"""

from __future__ import annotations

import base64
import functools
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

    __slots__ = ("_pattern",)

    def __init__(self, secrets: Iterable[str]) -> None:
        self._pattern = _pattern_of(frozenset(str(secret) for secret in secrets if len(secret) >= MIN_SECRET_CHARS))

    def __repr__(self) -> str:
        return f"<Redactor {'of secrets' if self._pattern else 'of none'}>"

    def finds(self, text: str) -> bool:
        """Return True if a secret is in the text."""
        return self._pattern is not None and self._pattern.search(text) is not None

    def text(self, text: str) -> str:
        """Return the text with a mask in place of each secret."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def bytes(self, body: bytes) -> bytes:
        """Return bytes of any encoding with a mask in place of each secret."""
        return self.text(body.decode(errors="surrogateescape")).encode(errors="surrogateescape")


@functools.lru_cache(maxsize=64)
def _pattern_of(secrets: frozenset[str]) -> re.Pattern[str] | None:
    if not secrets:
        return None
    longest_first = sorted(secrets, key=len, reverse=True)  # one may contain a shorter one
    return re.compile("|".join(form for secret in longest_first for form in _secret_patterns(secret)))


def _secret_patterns(secret: str) -> Iterator[str]:
    """Yield patterns of a whole secret, of a secret that the end of the text cuts off, and of one in base64."""
    characters = [_character_pattern(character) for character in secret[:MAX_COMPARED_CHARS]]
    rest = r"[^\s\"'<>]*" if len(secret) > MAX_COMPARED_CHARS else ""
    beginning = ""
    for character in reversed(characters[MIN_SECRET_CHARS:]):
        beginning = f"(?:{character}{beginning})?"
    cut_off = rf"{''.join(characters[:MIN_SECRET_CHARS])}{beginning}[\\\s\"'…]*\Z"
    yield "".join(characters) + rest
    yield cut_off
    yield from map(_base64_pattern, _base64_forms(secret[:MAX_COMPARED_CHARS]))


def _base64_forms(secret: str) -> Iterator[str]:
    """Yield the base64 characters of a secret behind 0, 1 and 2 other bytes: `user:password` is encoded as a whole."""
    content = secret.encode(errors="surrogatepass")
    for bytes_before, shared_chars in enumerate((0, 2, 3)):
        encoded = base64.b64encode(bytes(bytes_before) + content).decode()
        # the characters at both ends depend on the bytes beside the secret, too
        yield encoded[shared_chars : (bytes_before + len(content)) * 8 // 6]


def _base64_pattern(encoded: str) -> str:
    forms = {"+": f"(?:{_character_pattern('+')}|-)", "/": f"(?:{_character_pattern('/')}|_)"}
    return "".join(forms.get(character, character) for character in encoded) + "[A-Za-z0-9+/=_-]*"


@functools.lru_cache(maxsize=512)
def _character_pattern(character: str) -> str:
    r"""Return a pattern of a character, as it is or escaped, once or several times: `\"`, `\u0022`, `%22`, `&quot;`."""
    code = ord(character)
    forms = [
        rf"\\{{0,8}}{re.escape(character)}",
        rf"\\{{1,8}}u(?i:{code:04x})" if code < 0x10000 else "",
        "".join(f"%(?i:{byte:02x})" for byte in character.encode(errors="surrogatepass")),
        rf"&#0*{code};",
        rf"&#[xX]0*(?i:{code:x});",
    ]
    if character == "\\":
        forms[0] = r"\\{1,8}"
    if (escaped := html.escape(character)) != character:
        forms.append(re.escape(escaped))
    return f"(?:{'|'.join(filter(None, forms))})"
