"""Huawei's hot-word tables over REST. Words are checked by the documented limits before a request is sent.

Source: pages "hot-word management" of the SIS API reference (2021-10; sis_03_0071, 2025/26) and of the user manual
(sis_09_0005, hot words 3.0: weights and forced replacement).
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar
from urllib.parse import quote

import msgspec

from ...errors import ConfigurationError, RemoteProtocolError
from ...hotwords import HotWord, Vocabulary
from ..options import check_range, did_you_mean
from .errors import VENDOR
from .rest_wire import VocabularyId, VocabularyList, WireVocabulary

__all__ = ["HuaweiVocabularies"]

MAX_WORDS = 10_000
MAX_WORD_CHARACTERS = {"chinese_mandarin": 32, "english": 64}
"""By the language of the table; there are no other languages."""
MAX_DESCRIPTION_CHARACTERS = 255
MAX_REPLACEMENT_CHARACTERS = 32

_NAME = re.compile(r"[A-Za-z0-9_#-]{1,32}")
_WORD = re.compile(r"[A-Z\u3400-\u9fff]+")

_Shape = TypeVar("_Shape")

Call = Callable[[str, str, bytes], Awaitable[bytes]]
"""Sends a request (method, path behind that of the tables, body) with credentials, and returns the response's body."""


class HuaweiVocabularies:
    """The hot-word tables of a project and region; see `Vocabularies` for the methods' contract.

    A table has a `name` (1..32 letters, digits, "_", "#", "-"; unique), a `language` (chinese_mandarin, the default, or
    english) and a `description` of up to 255 characters; it does not belong to a `model`. Words consist of Han
    characters and capital letters only, up to 32 of them (english 64); a table has at most 10,000 words, a project at
    most 100 tables. `HotWord.weight` is 1..10; `heard_as` makes a forced replacement, which has no weight. Both work
    with chinese_16k_general and chinese_8k_general.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    def __repr__(self) -> str:
        return "<HuaweiVocabularies>"

    async def create(
        self,
        words: Iterable[HotWord | str],
        *,
        name: str,
        model: str | None = None,
        language: str | None = None,
        description: str | None = None,
    ) -> str:
        """Make a table and return its id, for `Rasr(vocabulary_id=...)`."""
        if model is not None:
            raise ConfigurationError(f"model={model!r}: Huawei's tables do not belong to a model; leave it out")
        table = _table(words, name=name, language=language or "chinese_mandarin", description=description)
        body = await self._call("POST", "", msgspec.json.encode(table))
        return _decode(body, VocabularyId).vocabulary_id

    async def update(self, vocabulary_id: str, words: Iterable[HotWord | str]) -> None:
        """Replace all words of a table, in two requests: the second has to repeat the rest of the table."""
        words = list(words)
        old = await self.get(vocabulary_id)
        language = old.language or "chinese_mandarin"
        table = _table(words, name=old.name or "", language=language, description=old.description)
        await self._call("PUT", _path(vocabulary_id), msgspec.json.encode(table))

    async def list(self) -> builtins.list[Vocabulary]:
        """Return all tables, without their words."""
        listing = _decode(await self._call("GET", "", b""), VocabularyList)
        return [_vocabulary(table) for table in listing.result]

    async def get(self, vocabulary_id: str) -> Vocabulary:
        """Return one table with its words."""
        body = await self._call("GET", _path(vocabulary_id), b"")
        return _vocabulary(_decode(body, WireVocabulary))

    async def delete(self, vocabulary_id: str) -> None:
        """Remove a table."""
        await self._call("DELETE", _path(vocabulary_id), b"")


def _path(vocabulary_id: str) -> str:
    if not vocabulary_id:
        raise ConfigurationError("vocabulary_id='': must not be empty")
    return f"/{quote(vocabulary_id, safe='')}"


def _decode(body: bytes, shape: type[_Shape]) -> _Shape:
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.DecodeError as error:
        raise RemoteProtocolError(f"unreadable response about hot-word tables ({error})", vendor=VENDOR) from None


# --- tables and words ------------------------------------------------------------------------------------------------


def _table(words: Iterable[HotWord | str], *, name: str, language: str, description: str | None) -> WireVocabulary:
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"name={name!r}: 1 to 32 letters, digits, '_', '-' and '#'")
    if language not in MAX_WORD_CHARACTERS:
        raise ConfigurationError(f"language={language!r}: {did_you_mean(language, MAX_WORD_CHARACTERS)}")
    if description is not None and len(description) > MAX_DESCRIPTION_CHARACTERS:
        raise ConfigurationError(
            f"description: {len(description)} characters, at most {MAX_DESCRIPTION_CHARACTERS} are allowed"
        )
    contents = tuple(_content(HotWord(word) if isinstance(word, str) else word, language) for word in words)
    if not 1 <= len(contents) <= MAX_WORDS:
        raise ConfigurationError(f"{len(contents)} hot words: a table has 1 to {MAX_WORDS}")
    return WireVocabulary(name=name, language=language, description=description, contents=contents)


def _content(word: HotWord, language: str) -> str:
    """Return a word in the vendor's form: "word", "word/5" or "heard=written"."""
    for member in ("language", "translation", "target_language"):
        if getattr(word, member) is not None:
            raise ConfigurationError(f"hot word {word.text!r}: Huawei's hot words have no {member}")
    check_range(f"hot word {word.text!r}: weight", word.weight, 1, 10)
    if word.heard_as is not None:
        return _replacement(word, word.heard_as, language)
    _check_word(word.text, language)
    return word.text if word.weight is None else f"{word.text}/{word.weight}"


def _replacement(word: HotWord, heard_as: str, language: str) -> str:
    _check_word(heard_as, language)
    if word.weight is not None:
        raise ConfigurationError(f"hot word {word.text!r}: with heard_as it has no weight")
    if not 1 <= len(word.text) <= MAX_REPLACEMENT_CHARACTERS:
        raise ConfigurationError(
            f"hot word {word.text!r}: a replacement has 1 to {MAX_REPLACEMENT_CHARACTERS} characters"
        )
    return f"{heard_as}={word.text}"


def _check_word(text: str, language: str) -> None:
    if not _WORD.fullmatch(text):
        raise ConfigurationError(
            f"hot word {text!r}: Han characters and capital letters only, no spaces, digits or punctuation"
        )
    if len(text) > MAX_WORD_CHARACTERS[language]:
        raise ConfigurationError(
            f"hot word {text!r}: {len(text)} characters, at most {MAX_WORD_CHARACTERS[language]} in {language}"
        )


def _vocabulary(table: WireVocabulary) -> Vocabulary:
    return Vocabulary(
        vocabulary_id=table.vocabulary_id or "",
        name=table.name,
        language=table.language,
        description=table.description,
        words=None if table.contents is None else tuple(_hot_word(content) for content in table.contents),
    )


def _hot_word(content: str) -> HotWord:
    heard, replaced, written = content.partition("=")
    if replaced:
        return HotWord(written, heard_as=heard)
    text, weighted, weight = content.rpartition("/")
    return HotWord(text, weight=int(weight)) if weighted and weight.isdecimal() else HotWord(content)
