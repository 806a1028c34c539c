"""Every message of DashScope's REST side that is in use here, spelled once for both sides.

Three interfaces: hot-word tables ("vocabularies") for the models from v2 on, phrase lists for the v1 models, which are
kept as the outputs of fine-tuning jobs, and temporary keys. Members that nobody reads are left out; members that are
read are lenient, since no answer of the service itself was seen. Sources: the platform's pages on custom hot words
(2026-05-15), on Paraformer's phrases (2025-10-15) and on temporary keys, and frames of the official SDK 2.0.2 and
1.25.0 (`tests/vectors/`).
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

VOCABULARY_PATH = "/services/audio/asr/customization"
FINE_TUNES_PATH = "/fine-tunes"
FINE_TUNED_PATH = "/fine-tunes/outputs"
TOKENS_PATH = "/tokens"
"""All behind the HTTP base, `https://host/api/v1`."""

VOCABULARY_MODEL = "speech-biasing"
"""What vocabularies are asked for as; no model of recognition."""

PHRASE_TRAINING = "compile_asr_phrase"
PHRASE_OUTPUT = "custom_resource"
"""What tells phrase lists from the other things that a fine-tuning job makes."""

T = TypeVar("T")


class Response(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """What comes back from everything but temporary keys."""

    output: T
    request_id: str | None = None


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON body of a refused request, handshakes included."""

    code: str = ""
    message: str = ""
    request_id: str | None = None


# --- vocabularies ----------------------------------------------------------------------------------------------------


class VocabularyEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A hot word; the last two members are Gummy's, which translates."""

    text: str
    weight: int | None = None
    lang: str | None = None
    target_lang: str | None = None
    translation: str | None = None


class CreateVocabulary(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="create_vocabulary"):
    """Make a table for one model; the answer is a `VocabularyId`."""

    target_model: str
    prefix: str
    vocabulary: tuple[VocabularyEntry, ...]


class UpdateVocabulary(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="update_vocabulary"):
    """Replace all words of a table; the answer is empty."""

    vocabulary_id: str
    vocabulary: tuple[VocabularyEntry, ...]


class ListVocabulary(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="list_vocabulary"):
    """Tables, page by page from 0 on; the answer is a `VocabularyList`."""

    prefix: str | UnsetType | None = UNSET
    page_index: int = 0
    page_size: int = 10


class QueryVocabulary(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="query_vocabulary"):
    """One table with its words; the answer is a `WireVocabulary`."""

    vocabulary_id: str


class DeleteVocabulary(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="delete_vocabulary"):
    """Remove a table; the answer is empty."""

    vocabulary_id: str


VocabularyAction = CreateVocabulary | UpdateVocabulary | ListVocabulary | QueryVocabulary | DeleteVocabulary


class Customization(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every vocabulary request."""

    input: VocabularyAction
    model: str = VOCABULARY_MODEL
    parameters: dict[str, Any] = {}


class VocabularyId(msgspec.Struct, frozen=True, kw_only=True):
    """What a new table is called."""

    vocabulary_id: str


class WireVocabulary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A table. Listings hold the id and no words; a single table holds the words and no id."""

    vocabulary_id: str | None = None
    gmt_create: str | None = None
    gmt_modified: str | None = None
    status: str | None = None
    """OK, or UNDEPLOYED: not to be used yet."""
    target_model: str | None = None
    vocabulary: tuple[VocabularyEntry, ...] | None = None


class VocabularyList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of tables."""

    vocabulary_list: tuple[WireVocabulary, ...]


class EmptyOutput(msgspec.Struct, frozen=True):
    """An output of which nothing is read."""


# --- phrase lists ----------------------------------------------------------------------------------------------------


class PhraseParameters(msgspec.Struct, frozen=True):
    """The words with their weights."""

    phrase_list: dict[str, int]


class CompilePhrases(msgspec.Struct, frozen=True, kw_only=True):
    """Make a phrase list, or replace the words of `finetuned_output`; the answer is a `FineTuned`."""

    model: str
    hyper_parameters: PhraseParameters
    training_file_ids: tuple[str, ...] = ()
    validation_file_ids: tuple[str, ...] = ()
    training_type: str = PHRASE_TRAINING
    finetuned_output: str | UnsetType = UNSET


class FineTuned(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a fine-tuning job made; `finetuned_output` is its id. The words are never told."""

    finetuned_output: str
    job_id: str | None = None
    status: str | None = None
    training_type: str | None = None
    create_time: str | None = None
    model: str | None = None
    output_type: str | None = None


class FineTunedList(msgspec.Struct, frozen=True, kw_only=True):
    """One page, from 1 on, of everything that fine-tuning jobs of this account made."""

    finetuned_outputs: tuple[FineTuned, ...] = ()
    page_no: int | None = None
    page_size: int | None = None
    total: int | None = None


# --- temporary keys --------------------------------------------------------------------------------------------------


class Token(msgspec.Struct, frozen=True):
    """A temporary key and the Unix time in seconds until which it is let in."""

    token: str
    expires_at: int

    def __repr__(self) -> str:
        return f"<Token expires_at={self.expires_at}>"
