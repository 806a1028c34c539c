"""The hot-word tables of the emulated DashScope account, which the REST API stores and the task protocol looks up.

Knows neither HTTP nor WebSocket: an error is raised with a code and a message, and each protocol words its own answer.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING

import msgspec

from ...vendors.dashscope.hotwords import MAX_WORDS, TABLE_NAME, entry_problem, phrase_problem
from ...vendors.dashscope.models import MODEL_ROWS
from ...vendors.dashscope.rest_wire import PHRASE_OUTPUT, PHRASE_TRAINING, FineTuned, WireVocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...vendors.dashscope.rest_wire import VocabularyEntry

__all__ = ["HotWordTableError", "HotWordTables"]

MAX_VOCABULARIES = 10
"""The limit of an account, according to secondary sources."""

MAX_PHRASE_LISTS = 100
"""The documents name no limit, and show an account with 61 lists."""


class HotWordTableError(Exception):
    """A request about a hot-word table that cannot be fulfilled; `code` is the vendor's error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class HotWordTables:
    """The vocabularies and phrase lists by id, oldest first."""

    def __init__(self) -> None:
        self._vocabularies: dict[str, WireVocabulary] = {}
        self._phrase_lists: dict[str, tuple[FineTuned, Mapping[str, int]]] = {}

    # --- look-up by a task --------------------------------------------------------------------------------------------

    def hot_words(self, vocabulary_id: str, *, model: str, languages: Sequence[str]) -> tuple[str, ...]:
        """Return the words that apply to a task: with language hints only those of these languages, or of none.

        Raises:
            HotWordTableError: there is no such vocabulary, or it belongs to another model.
        """
        table = self.vocabulary(vocabulary_id)
        if table.target_model != model:
            # "target_model must equal the model used"; the documents give no code
            raise HotWordTableError("InvalidParameter", f"{vocabulary_id} is for {table.target_model}, not for {model}")
        return tuple(
            entry.text
            for entry in table.vocabulary or ()
            if not languages or entry.lang is None or entry.lang in languages
        )

    def phrases(self, phrase_id: str) -> tuple[str, ...]:
        """Return the words of a phrase list with a positive weight; nothing if there is no such list.

        The documents do not say what happens with an unknown id there.
        """
        _, phrases = self._phrase_lists.get(phrase_id, (None, {}))
        return tuple(text for text, weight in phrases.items() if weight > 0)

    # --- vocabularies -------------------------------------------------------------------------------------------------

    def create_vocabulary(self, prefix: str, model: str, entries: tuple[VocabularyEntry, ...]) -> str:
        """Create a vocabulary and return its id; it can be used at once."""
        if not TABLE_NAME.fullmatch(prefix):
            raise HotWordTableError("InvalidParameter", f"prefix {prefix!r}: 1 to 10 of a-z and 0-9")
        _check_model(model, "vocabulary_id")
        _check_entries(entries)
        if len(self._vocabularies) >= MAX_VOCABULARIES:
            raise HotWordTableError("InvalidParameter", f"there are {MAX_VOCABULARIES} vocabularies already")
        vocabulary_id = f"vocab-{prefix}-{uuid.uuid4().hex}"
        now = _now()
        self._vocabularies[vocabulary_id] = WireVocabulary(
            gmt_create=now, gmt_modified=now, status="OK", target_model=model, vocabulary=entries
        )
        return vocabulary_id

    def update_vocabulary(self, vocabulary_id: str, entries: tuple[VocabularyEntry, ...]) -> None:
        """Replace the words of a vocabulary."""
        table = self.vocabulary(vocabulary_id)
        _check_entries(entries)
        changed = msgspec.structs.replace(table, vocabulary=entries, gmt_modified=_now())
        self._vocabularies[vocabulary_id] = changed

    def vocabularies(self, prefix: str, start: int, count: int) -> tuple[WireVocabulary, ...]:
        """Return one page of the vocabularies with this prefix, in the form of a listing."""
        listed = [
            WireVocabulary(
                vocabulary_id=vocabulary_id,
                gmt_create=table.gmt_create,
                gmt_modified=table.gmt_modified,
                status=table.status,
            )
            for vocabulary_id, table in self._vocabularies.items()
            if vocabulary_id.startswith(f"vocab-{prefix}")
        ]
        return tuple(listed[start : start + count])

    def vocabulary(self, vocabulary_id: str) -> WireVocabulary:
        """Return one vocabulary with its words."""
        try:
            return self._vocabularies[vocabulary_id]
        except KeyError:
            raise HotWordTableError("NotFound", f"vocabulary {vocabulary_id} not found") from None

    def delete_vocabulary(self, vocabulary_id: str) -> None:
        """Remove a vocabulary."""
        self.vocabulary(vocabulary_id)
        del self._vocabularies[vocabulary_id]

    # --- phrase lists -------------------------------------------------------------------------------------------------

    def compile_phrases(self, phrase_id: str | None, model: str, phrases: Mapping[str, int]) -> FineTuned:
        """Create a phrase list, or replace the words of an existing one."""
        _check_model(model, "phrase_id")
        _check_count(len(phrases))
        for text, weight in phrases.items():
            if fault := phrase_problem(text, weight):
                raise HotWordTableError("InvalidParameter", f"phrase {text!r}: {fault}")
        # longer than the vendor's four digits, of which a hundred lists of one minute would repeat some
        job_id = f"ft-{dt.datetime.now(tz=dt.UTC):%Y%m%d%H%M}-{uuid.uuid4().hex[:12]}"
        if phrase_id is not None:
            self.phrase_list(phrase_id)
        elif len(self._phrase_lists) >= MAX_PHRASE_LISTS:
            raise HotWordTableError("InvalidParameter", f"there are {MAX_PHRASE_LISTS} phrase lists already")
        phrase_list = FineTuned(
            finetuned_output=phrase_id or f"{model}-{job_id}",
            job_id=job_id,
            model=model,
            create_time=_now(),
            output_type=PHRASE_OUTPUT,
        )
        self._phrase_lists[phrase_list.finetuned_output] = (phrase_list, dict(phrases))
        return msgspec.structs.replace(
            phrase_list, status="SUCCEEDED", training_type=PHRASE_TRAINING, model=None, output_type=None
        )

    def phrase_lists(self, start: int, count: int) -> tuple[FineTuned, ...]:
        """Return one page of the phrase lists."""
        return tuple(phrase_list for phrase_list, _ in self._phrase_lists.values())[start : start + count]

    @property
    def phrase_list_count(self) -> int:
        """The number of phrase lists."""
        return len(self._phrase_lists)

    def phrase_list(self, phrase_id: str) -> FineTuned:
        """Return one phrase list, without its words, which the API never returns."""
        try:
            return self._phrase_lists[phrase_id][0]
        except KeyError:
            raise HotWordTableError("NotFound", f"finetuned_output {phrase_id} not found") from None

    def delete_phrase_list(self, phrase_id: str) -> None:
        """Remove a phrase list."""
        self.phrase_list(phrase_id)
        del self._phrase_lists[phrase_id]


def _check_model(model: str, option: str) -> None:
    capability = MODEL_ROWS.get(model)
    if capability is None:
        raise HotWordTableError("ModelNotFound", f"Model not found: {model}")
    if option not in capability.options:
        raise HotWordTableError("InvalidParameter", f"{model} has no {option}")


def _check_entries(entries: tuple[VocabularyEntry, ...]) -> None:
    _check_count(len(entries))
    for entry in entries:
        if fault := entry_problem(entry):
            raise HotWordTableError("InvalidParameter", f"vocabulary: {entry.text!r}: {fault}")


def _check_count(count: int) -> None:
    if not 1 <= count <= MAX_WORDS:
        raise HotWordTableError("InvalidParameter", f"{count} words, must be between 1 and {MAX_WORDS}")


def _now() -> str:
    return f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d %H:%M:%S}"
