"""The checks of DashScope's hot words, for both generations of its tables, before anything is sent.

Vocabularies are for the models from v2 on: at most 500 words with weights of 1 to 5 (custom hot words page,
2026-05-15). Phrase lists are for the v1 models: at most 500 words, with negative weights for words that should be
recognised less often (page on Paraformer's phrases, 2025-10-15). Does not know requests.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator

import msgspec

from ...errors import ConfigurationError
from ...hotwords import HotWord
from ..options import did_you_mean
from .models import MODEL_ROWS, ModelRow
from .rest_wire import VocabularyEntry

__all__ = [
    "TABLE_NAME",
    "check_name",
    "entry_problem",
    "hot_word_model",
    "phrase_list",
    "phrase_problem",
    "uses_phrase_list",
    "vocabulary_entries",
]

MAX_WORDS = 500
USUAL_WEIGHT = 4
"""The vendor's recommendation if there is no reason for another weight."""

TABLE_NAME = re.compile(r"[a-z0-9]{1,10}")

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")


def check_name(name: str) -> None:
    """Refuse a name that cannot be part of a table's id.

    Raises:
        ConfigurationError: the name is not 1 to 10 lower-case letters and digits.
    """
    if not TABLE_NAME.fullmatch(name):
        raise ConfigurationError(f"name={name!r}: must be 1 to 10 of a-z and 0-9")


def hot_word_model(model: str | None) -> ModelRow:
    """Return the capability row of a model that a table can be made for.

    Raises:
        ConfigurationError: there is no model, or it is unknown, or it has no hot words.
    """
    supporting = [row.model for row in MODEL_ROWS.values() if row.options & {"vocabulary_id", "phrase_id"}]
    if model is None:
        raise ConfigurationError(f"model=None: a DashScope table is for one model: {', '.join(supporting)}")
    if model in supporting:
        return MODEL_ROWS[model]
    if model in MODEL_ROWS:
        raise ConfigurationError(f"model={model!r} has no hot words: {', '.join(supporting)} do")
    raise ConfigurationError(f"unknown model {model!r}: {did_you_mean(model, supporting)}")


def uses_phrase_list(model: str | None) -> bool:
    """Return True if the model's hot words are a phrase list and not a vocabulary."""
    row = MODEL_ROWS.get(model or "")
    return row is not None and "phrase_id" in row.options


def vocabulary_entries(
    words: Iterable[HotWord | str], *, model: str | None, language: str | None = None
) -> tuple[VocabularyEntry, ...]:
    """Make the entries of a vocabulary.

    Args:
        words: the words; one with a translation is sent without a weight unless it has one.
        model: the model of the table; for one that is not in the capability table, only the words are checked.
        language: the language of words that do not name one.

    Raises:
        ConfigurationError: a word breaks a rule, or there are no words or too many.
    """
    return tuple(_entry(word, model, word.language or language) for word in _checked(words))


def _entry(word: HotWord, model: str | None, language: str | None) -> VocabularyEntry:
    translated = word.translation is not None or word.target_language is not None
    if translated and not _translates(model):
        raise _refused(word, f"{model} does not translate: leave out translation and target_language")
    if translated and not (word.translation and word.target_language and language):
        raise _refused(word, "a translation needs translation, target_language and language, all three")
    entry = VocabularyEntry(
        text=word.text,
        weight=USUAL_WEIGHT if word.weight is None and not translated else word.weight,
        lang=language,
        target_lang=word.target_language,
        translation=word.translation,
    )
    if problem := entry_problem(entry):
        raise _refused(word, problem)
    return entry


def _translates(model: str | None) -> bool:
    row = MODEL_ROWS.get(model or "")
    return row is None or "translation_target_languages" in row.options


def entry_problem(entry: VocabularyEntry) -> str | None:
    """Return the rule that the text or the weight of a vocabulary's entry breaks; None if it breaks none."""
    if entry.weight is not None and not 1 <= entry.weight <= 5:
        return f"weight {entry.weight}, must be between 1 and 5"
    if not entry.text.isascii() and len(entry.text) > 15:
        return f"{len(entry.text)} characters, at most 15 where any is not ASCII"
    if entry.text.isascii() and len(entry.text.split()) > 7:
        return f"{len(entry.text.split())} words, at most 7"
    return None


def phrase_list(words: Iterable[HotWord | str]) -> dict[str, int]:
    """Make a phrase list.

    Raises:
        ConfigurationError: a word breaks a rule or is repeated, or there are no words or too many.
    """
    phrases: dict[str, int] = {}
    for word in _checked(words):
        for name in ("language", "translation", "target_language"):
            if getattr(word, name) is not None:
                raise _refused(word, f"the v1 models have no {name}")
        weight = USUAL_WEIGHT if word.weight is None else word.weight
        if problem := phrase_problem(word.text, weight):
            raise _refused(word, problem)
        if word.text in phrases:
            raise _refused(word, "is repeated")
        phrases[word.text] = weight
    return phrases


def phrase_problem(text: str, weight: int) -> str | None:
    """Return the rule that a word of a phrase list breaks; None if it breaks none."""
    if not (1 <= weight <= 5 or -6 <= weight <= -1):
        return f"weight {weight}, must be between 1 and 5, or between -6 and -1"
    if _HAN.fullmatch(text):
        return f"{len(text)} characters, at most 10" if len(text) > 10 else None
    count = len(text.split())
    return f"{count} words, at most 5" if count > 5 else None


def _checked(words: Iterable[HotWord | str]) -> Iterator[HotWord]:
    """Yield the words as hot words; refuse those that break a rule of both generations."""
    if isinstance(words, str):
        raise ConfigurationError(f"words={words!r}: must be a list of words, [{words!r}]")
    count = 0
    for given in itertools.islice(words, MAX_WORDS + 1):
        count += 1
        if count > MAX_WORDS:
            raise ConfigurationError(f"words: more than {MAX_WORDS}, the most that a table holds")
        word = _as_hot_word(given)
        if not word.text.strip():
            raise ConfigurationError("words: one is empty")
        if word.heard_as is not None:
            raise _refused(word, "DashScope has no heard_as")
        yield word
    if not count:
        raise ConfigurationError("words: none, a table holds at least one")


def _as_hot_word(given: HotWord | str) -> HotWord:
    try:
        members = {"text": given} if isinstance(given, str) else msgspec.structs.asdict(given)
        return msgspec.convert(members, HotWord)
    except (TypeError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"words: {given!r} is neither text nor a HotWord: {error}") from None


def _refused(word: HotWord, problem: str) -> ConfigurationError:
    return ConfigurationError(f"hot word {word.text!r}: {problem}")
