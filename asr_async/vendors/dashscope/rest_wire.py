"""The messages of DashScope's REST interfaces that this library uses, defined once for client and server.

Three interfaces: hot-word tables ("vocabularies") for the models from v2 on; phrase lists for the v1 models, which the
vendor stores as outputs of fine-tuning jobs; temporary keys. Members that this library does not use are left out; the
others are lenient, since no response of the service itself has been recorded. Sources: the platform's pages on custom
hot words (2026-05-15), on Paraformer's phrases (2025-10-15) and on temporary keys, and messages of the official SDK
2.0.2 and 1.25.0 (`tests/vectors/`).
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from ..._text.secret import ShownByRepr

VOCABULARY_PATH = "/services/audio/asr/customization"
FINE_TUNES_PATH = "/fine-tunes"
FINE_TUNED_PATH = "/fine-tunes/outputs"
TOKENS_PATH = "/tokens"
"""All behind the HTTP base, `https://host/api/v1`."""

VOCABULARY_MODEL = "speech-biasing"
"""The `model` of every vocabulary request; it is not a model of recognition."""

PHRASE_TRAINING = "compile_asr_phrase"
PHRASE_OUTPUT = "custom_resource"
"""The types that distinguish a phrase list from other outputs of fine-tuning jobs."""

T = TypeVar("T")


class Response(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """The response to every request except that for a temporary key."""

    output: T
    request_id: str | None = None


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON body of a refused request, handshakes included."""

    code: str = ""
    message: str = ""
    request_id: str | None = None


# --- vocabularies ----------------------------------------------------------------------------------------------------


class VocabularyEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A hot word; the last two members are for Gummy, which translates."""

    text: str
    weight: int | None = None
    lang: str | None = None
    target_lang: str | None = None
    translation: str | None = None


class CreateVocabulary(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="create_vocabulary"):
    """Make a table for one model; the response is a `VocabularyId`."""

    target_model: str
    prefix: str
    vocabulary: tuple[VocabularyEntry, ...]


class UpdateVocabulary(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="update_vocabulary"):
    """Replace all words of a table; the response is empty."""

    vocabulary_id: str
    vocabulary: tuple[VocabularyEntry, ...]


class ListVocabulary(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="list_vocabulary"):
    """Tables, page by page from 0 on; the response is a `VocabularyList`."""

    prefix: str | UnsetType | None = UNSET
    page_index: int = 0
    page_size: int = 10


class QueryVocabulary(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="query_vocabulary"):
    """One table with its words; the response is a `WireVocabulary`."""

    vocabulary_id: str


class DeleteVocabulary(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="delete_vocabulary"):
    """Remove a table; the response is empty."""

    vocabulary_id: str


VocabularyAction = CreateVocabulary | UpdateVocabulary | ListVocabulary | QueryVocabulary | DeleteVocabulary


class Customization(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every vocabulary request."""

    input: VocabularyAction
    model: str = VOCABULARY_MODEL
    parameters: dict[str, Any] = {}


class VocabularyId(msgspec.Struct, frozen=True, kw_only=True):
    """The id of a new table."""

    vocabulary_id: str


class WireVocabulary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A table. Listings hold the id and no words; a single table holds the words and no id."""

    vocabulary_id: str | None = None
    gmt_create: str | None = None
    gmt_modified: str | None = None
    status: str | None = None
    """OK, or UNDEPLOYED if the table cannot be used yet."""
    target_model: str | None = None
    vocabulary: tuple[VocabularyEntry, ...] | None = None


class VocabularyList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of tables."""

    vocabulary_list: tuple[WireVocabulary, ...]


class EmptyOutput(msgspec.Struct, frozen=True):
    """An output without members that this library uses."""


# --- phrase lists ----------------------------------------------------------------------------------------------------


class PhraseParameters(msgspec.Struct, frozen=True):
    """The words with their weights."""

    phrase_list: dict[str, int]


class CompilePhrases(msgspec.Struct, frozen=True, kw_only=True):
    """Make a phrase list, or replace the words of `finetuned_output`; the response is a `FineTuned`."""

    model: str
    hyper_parameters: PhraseParameters
    training_file_ids: tuple[str, ...] = ()
    validation_file_ids: tuple[str, ...] = ()
    training_type: str = PHRASE_TRAINING
    finetuned_output: str | UnsetType = UNSET


class FineTuned(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The output of a fine-tuning job; `finetuned_output` is its id. The vendor does not return the words."""

    finetuned_output: str
    job_id: str | None = None
    status: str | None = None
    training_type: str | None = None
    create_time: str | None = None
    model: str | None = None
    output_type: str | None = None


class FineTunedList(msgspec.Struct, frozen=True, kw_only=True):
    """One page, counted from 1, of all outputs of this account's fine-tuning jobs."""

    finetuned_outputs: tuple[FineTuned, ...] = ()
    page_no: int | None = None
    page_size: int | None = None
    total: int | None = None


# --- temporary keys --------------------------------------------------------------------------------------------------


class Token(ShownByRepr, frozen=True):
    """A temporary key and the Unix time in seconds at which it expires."""

    token: str
    expires_at: int

    def __repr__(self) -> str:
        return f"<Token expires_at={self.expires_at}>"
