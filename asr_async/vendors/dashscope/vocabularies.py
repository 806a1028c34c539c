"""The hot-word tables of a DashScope account, both generations behind one interface.

Vocabularies (ids "vocab-...") are for the models from v2 on, and their ids for the option `vocabulary_id`. Phrase
lists, which the vendor stores as outputs of fine-tuning jobs (ids "paraformer-realtime-v1-ft-..."), are for the v1
models, and their ids for the option `phrase_id`. The model decides the kind of a new table, the id that of an existing
one. The vendor has tables in an account's default workspace only (custom hot words page, 2026-05-15).
"""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar
from urllib.parse import quote

from msgspec import UNSET, UnsetType

from ...errors import AuthenticationError, ConfigurationError, RemoteProtocolError
from ...hotwords import HotWord, Vocabulary
from ..rest import RestClient
from .errors import is_invalid_key
from .hotwords import check_name, hot_word_model, phrase_list, uses_phrase_list, vocabulary_entries
from .rest_wire import (
    FINE_TUNED_PATH,
    FINE_TUNES_PATH,
    PHRASE_OUTPUT,
    VOCABULARY_PATH,
    CompilePhrases,
    CreateVocabulary,
    Customization,
    DeleteVocabulary,
    EmptyOutput,
    FineTuned,
    FineTunedList,
    ListVocabulary,
    PhraseParameters,
    QueryVocabulary,
    Response,
    UpdateVocabulary,
    VocabularyAction,
    VocabularyEntry,
    VocabularyId,
    VocabularyList,
    WireVocabulary,
)

__all__ = ["DashScopeVocabularies"]

T = TypeVar("T")

PREFIX = "vocab-"
PAGE_SIZE = 10
"""The documented default; an account has ten vocabularies at most."""
PHRASE_PAGE_SIZE = 100
"""The most that the official SDK documents."""
MAX_PAGES = 100


class DashScopeVocabularies:
    """The hot-word tables of an account; see `asr_async.vendors.service.Vocabularies` for the methods' contract.

    Args:
        rest: the REST interfaces of the account.
        lists_phrases: True if the account's region has v1 models, and so phrase lists.
    """

    def __init__(self, rest: RestClient, *, lists_phrases: bool) -> None:
        self._vocabularies = _Vocabularies(rest)
        self._phrases = _Phrases(rest)
        self._lists_phrases = lists_phrases

    async def create(
        self,
        words: Iterable[HotWord | str],
        *,
        name: str,
        model: str | None = None,
        language: str | None = None,
        description: str | None = None,
    ) -> str:
        """Make a table and return its id: for `vocabulary_id`, or with a v1 model for `phrase_id`.

        Args:
            words: at most 500 words. A weight is 1 to 5, 4 by default; for v1 also -6 to -1. A text with any character
                beyond ASCII has at most 15 characters, another at most 7 words; for v1 10 and 5.
            name: 1 to 10 of a-z and 0-9. It is part of a vocabulary's id; a phrase list has no name.
            model: the model that the table is for; no other can use it.
            language: the language of words that do not name one; not for v1.
            description: refused, since DashScope has none.

        Raises:
            ASRError: as with `Vocabularies`.
        """
        if description is not None:
            raise ConfigurationError("description: DashScope's tables have none; leave it out")
        check_name(name)
        row = hot_word_model(model)
        if not uses_phrase_list(row.model):
            entries = vocabulary_entries(words, model=row.model, language=language)
            return await self._vocabularies.create(name, row.model, entries)
        if language is not None:
            raise ConfigurationError(f"language={language!r}: {row.model} has no language; leave it out")
        return await self._phrases.compile(row.model, phrase_list(words))

    async def update(self, vocabulary_id: str, words: Iterable[HotWord | str]) -> None:
        """Replace all words of a table, in two requests: the first returns its model, which sets the limits."""
        model = (await self.get(vocabulary_id)).model
        if _is_vocabulary(vocabulary_id):
            await self._vocabularies.update(vocabulary_id, vocabulary_entries(words, model=model))
        elif model is None:
            raise RemoteProtocolError(
                f"DashScope does not name the model of {vocabulary_id}, without which it cannot be changed"
            )
        else:
            await self._phrases.compile(model, phrase_list(words), phrase_id=vocabulary_id)

    async def list(self) -> builtins.list[Vocabulary]:
        """Return all vocabularies, then all phrase lists, without their words."""
        tables = [table async for table in self._vocabularies.list()]
        if self._lists_phrases:
            try:
                tables += [table async for table in self._phrases.list()]
            except AuthenticationError as error:
                # A key without the right to fine-tuning cannot use phrase lists: its list of tables is complete.
                if is_invalid_key(error):
                    raise
        return tables

    async def get(self, vocabulary_id: str) -> Vocabulary:
        """Return one table with its words; of a phrase list, the vendor does not return the words."""
        return await self._tables_of(vocabulary_id).get(vocabulary_id)

    async def delete(self, vocabulary_id: str) -> None:
        """Remove a table."""
        await self._tables_of(vocabulary_id).delete(vocabulary_id)

    def _tables_of(self, vocabulary_id: str) -> _Vocabularies | _Phrases:
        if not vocabulary_id.strip():
            raise ConfigurationError(f"vocabulary_id={vocabulary_id!r}: must not be empty")
        return self._vocabularies if _is_vocabulary(vocabulary_id) else self._phrases


def _is_vocabulary(vocabulary_id: str) -> bool:
    return vocabulary_id.startswith(PREFIX)


class _Vocabularies:
    """The tables of the models from v2 on."""

    def __init__(self, rest: RestClient) -> None:
        self._rest = rest

    async def create(self, name: str, model: str, entries: tuple[VocabularyEntry, ...]) -> str:
        action = CreateVocabulary(target_model=model, prefix=name, vocabulary=entries)
        return (await self._call(action, Response[VocabularyId])).output.vocabulary_id

    async def update(self, vocabulary_id: str, entries: tuple[VocabularyEntry, ...]) -> None:
        await self._call(UpdateVocabulary(vocabulary_id=vocabulary_id, vocabulary=entries), Response[EmptyOutput])

    async def list(self) -> AsyncIterator[Vocabulary]:
        for page in range(MAX_PAGES):
            action = ListVocabulary(page_index=page, page_size=PAGE_SIZE)
            tables = (await self._call(action, Response[VocabularyList])).output.vocabulary_list
            for table in tables:
                yield _from_vocabulary(table.vocabulary_id or "", table)
            if len(tables) < PAGE_SIZE:
                return
        raise _too_many_pages("vocabularies")

    async def get(self, vocabulary_id: str) -> Vocabulary:
        response = await self._call(QueryVocabulary(vocabulary_id=vocabulary_id), Response[WireVocabulary])
        return _from_vocabulary(vocabulary_id, response.output)

    async def delete(self, vocabulary_id: str) -> None:
        await self._call(DeleteVocabulary(vocabulary_id=vocabulary_id), Response[EmptyOutput])

    async def _call(self, action: VocabularyAction, response_type: type[T]) -> T:
        return await self._rest.call("POST", VOCABULARY_PATH, response_type, Customization(input=action))


class _Phrases:
    """The tables of the v1 models."""

    def __init__(self, rest: RestClient) -> None:
        self._rest = rest

    async def compile(self, model: str, phrases: dict[str, int], *, phrase_id: str | UnsetType = UNSET) -> str:
        body = CompilePhrases(model=model, hyper_parameters=PhraseParameters(phrases), finetuned_output=phrase_id)
        return (await self._rest.call("POST", FINE_TUNES_PATH, Response[FineTuned], body)).output.finetuned_output

    async def list(self) -> AsyncIterator[Vocabulary]:
        for page in range(1, MAX_PAGES + 1):
            path = f"{FINE_TUNED_PATH}?page_no={page}&page_size={PHRASE_PAGE_SIZE}"
            outputs = (await self._rest.call("GET", path, Response[FineTunedList])).output.finetuned_outputs
            for output in outputs:
                if output.output_type == PHRASE_OUTPUT:
                    yield _from_phrases(output)
            if len(outputs) < PHRASE_PAGE_SIZE:
                return
        raise _too_many_pages("phrase lists")

    async def get(self, phrase_id: str) -> Vocabulary:
        return _from_phrases((await self._rest.call("GET", _path_of(phrase_id), Response[FineTuned])).output)

    async def delete(self, phrase_id: str) -> None:
        await self._rest.call("DELETE", _path_of(phrase_id), Response[EmptyOutput])


def _from_vocabulary(vocabulary_id: str, table: WireVocabulary) -> Vocabulary:
    name, dash, _ = vocabulary_id.removeprefix(PREFIX).partition("-")
    return Vocabulary(
        vocabulary_id=vocabulary_id,
        name=name if dash else None,
        model=table.target_model,
        status=table.status,
        words=None if table.vocabulary is None else tuple(map(_word, table.vocabulary)),
    )


def _word(entry: VocabularyEntry) -> HotWord:
    return HotWord(
        entry.text,
        weight=entry.weight,
        language=entry.lang,
        translation=entry.translation,
        target_language=entry.target_lang,
    )


def _from_phrases(output: FineTuned) -> Vocabulary:
    return Vocabulary(vocabulary_id=output.finetuned_output, model=output.model, status=output.status)


def _path_of(phrase_id: str) -> str:
    return f"{FINE_TUNED_PATH}/{quote(phrase_id, safe='')}"


def _too_many_pages(tables: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"DashScope lists more than {MAX_PAGES} pages of {tables}")
