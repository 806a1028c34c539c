"""The emulator's DashScope REST room: hot-word tables of both generations, and temporary keys.

Answers as the documents show it; the HTTP status of each error code is that of the platform's error page (2026). All
keys are of one account.
"""

from __future__ import annotations

import time
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from aiohttp import web

from ...vendors.dashscope.rest_wire import (
    FINE_TUNED_PATH,
    FINE_TUNES_PATH,
    PHRASE_TRAINING,
    TOKENS_PATH,
    VOCABULARY_MODEL,
    VOCABULARY_PATH,
    CompilePhrases,
    CreateVocabulary,
    Customization,
    DeleteVocabulary,
    FineTuned,
    FineTunedList,
    ListVocabulary,
    QueryVocabulary,
    Refusal,
    Token,
    UpdateVocabulary,
    VocabularyId,
    VocabularyList,
)
from .hotwords import HotWordTableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...vendors.dashscope.rest_wire import VocabularyAction
    from ..api_keys import ApiKeys
    from .hotwords import HotWordTables

__all__ = ["PATH", "add_routes", "refusal_at_the_door", "refusal_of"]

PATH = "/api/v1"

DEFAULT_KEY_LIFE_S = 60
MAX_KEY_LIFE_S = 1_800

MAX_PAGE_SIZE = 100

_STATUS = {"InvalidApiKey": 401, "InvalidParameter": 400, "ModelNotFound": 404, "NotFound": 404}

_Shape = TypeVar("_Shape")


def add_routes(application: web.Application, *, keys: ApiKeys, tables: HotWordTables) -> None:
    """Add the REST routes."""
    room = _Room(keys, tables)
    router = application.router
    router.add_post(f"{PATH}{TOKENS_PATH}", room.handler(room.issue_key))
    router.add_post(f"{PATH}{VOCABULARY_PATH}", room.handler(room.customize))
    router.add_post(f"{PATH}{FINE_TUNES_PATH}", room.handler(room.compile_phrases))
    router.add_get(f"{PATH}{FINE_TUNED_PATH}", room.handler(room.list_phrases))
    router.add_get(f"{PATH}{FINE_TUNED_PATH}/{{phrase_id}}", room.handler(room.query_phrases))
    router.add_delete(f"{PATH}{FINE_TUNED_PATH}/{{phrase_id}}", room.handler(room.delete_phrases))


def refusal_at_the_door(request: web.Request, keys: ApiKeys) -> web.Response | None:
    """The answer to a client whose key is not let in, in this room or the WebSocket's; None for the others."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    key = key.strip()
    # samples of the documents write "bearer" as well
    if scheme.lower() != "bearer" or not key:
        return _refused("InvalidApiKey", "No API-key provided.")
    if not keys.let_in(key):
        return _refused("InvalidApiKey", "Invalid API-key provided.")
    return None


class _Room:
    """What each route does."""

    def __init__(self, keys: ApiKeys, tables: HotWordTables) -> None:
        self._keys = keys
        self._tables = tables

    def handler(
        self, act: Callable[[web.Request], Awaitable[msgspec.Struct | dict[str, Any]]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """An act for those who are let in, its answer as JSON, its errors as refusals."""

        async def handle(request: web.Request) -> web.Response:
            if refusal := refusal_at_the_door(request, self._keys):
                return refusal
            try:
                return _json(await act(request))
            except HotWordTableError as error:
                return _refused(error.code, error.message)

        return handle

    async def issue_key(self, request: web.Request) -> Token:
        life_s = _number(request, "expire_in_seconds", DEFAULT_KEY_LIFE_S, MAX_KEY_LIFE_S)
        return Token(token=self._keys.issue(life_s), expires_at=int(time.time()) + life_s)

    async def customize(self, request: web.Request) -> dict[str, Any]:
        asked = _read(await request.read(), Customization)
        if asked.model != VOCABULARY_MODEL:
            raise HotWordTableError("ModelNotFound", f"Model not found: {asked.model}")
        return _answer(self._customized(asked.input))

    def _customized(self, action: VocabularyAction) -> msgspec.Struct | dict[str, Any]:
        tables = self._tables
        match action:
            case CreateVocabulary():
                made = tables.create_vocabulary(action.prefix, action.target_model, action.vocabulary)
                return VocabularyId(vocabulary_id=made)
            case UpdateVocabulary():
                tables.update_vocabulary(action.vocabulary_id, action.vocabulary)
            case ListVocabulary():
                size = _page_size(action.page_size)
                start = max(0, action.page_index) * size
                return VocabularyList(vocabulary_list=tables.vocabularies(action.prefix or "", start, size))
            case QueryVocabulary():
                return tables.vocabulary(action.vocabulary_id)
            case DeleteVocabulary():
                tables.delete_vocabulary(action.vocabulary_id)
        return {}

    async def compile_phrases(self, request: web.Request) -> dict[str, Any]:
        asked = _read(await request.read(), CompilePhrases)
        if asked.training_type != PHRASE_TRAINING:
            raise HotWordTableError("InvalidParameter", f"training_type: the emulator knows {PHRASE_TRAINING} only")
        phrase_id = asked.finetuned_output or None
        return _answer(self._tables.compile_phrases(phrase_id, asked.model, asked.hyper_parameters.phrase_list))

    async def list_phrases(self, request: web.Request) -> dict[str, Any]:
        page = _number(request, "page_no", 1, 1_000_000)
        size = _number(request, "page_size", 10, MAX_PAGE_SIZE)
        found = self._tables.phrase_lists((page - 1) * size, size)
        total = self._tables.phrase_list_count
        return _answer(FineTunedList(finetuned_outputs=found, page_no=page, page_size=size, total=total))

    async def query_phrases(self, request: web.Request) -> dict[str, Any]:
        return _answer(self._tables.phrase_list(request.match_info["phrase_id"]))

    async def delete_phrases(self, request: web.Request) -> dict[str, Any]:
        phrase_id = request.match_info["phrase_id"]
        self._tables.delete_phrase_list(phrase_id)
        return _answer(FineTuned(finetuned_output=phrase_id))


def _read(body: bytes, shape: type[_Shape]) -> _Shape:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HotWordTableError("InvalidParameter", str(error)) from None


def _number(request: web.Request, name: str, default: int, most: int) -> int:
    text = request.query.get(name, str(default))
    number = int(text) if text.isdecimal() and len(text) <= len(str(most)) else 0
    if not 1 <= number <= most:
        raise HotWordTableError("InvalidParameter", f"{name} {text}: must be between 1 and {most}")
    return number


def _page_size(size: int) -> int:
    if not 1 <= size <= MAX_PAGE_SIZE:
        raise HotWordTableError("InvalidParameter", f"page_size {size}: must be between 1 and {MAX_PAGE_SIZE}")
    return size


def _answer(output: msgspec.Struct | dict[str, Any]) -> dict[str, Any]:
    return {"output": output, "usage": {"count": 1}, "request_id": str(uuid.uuid4())}


def _refused(code: str, message: str) -> web.Response:
    return _json(refusal_of(code, message), status=HTTPStatus(_STATUS[code]))


def refusal_of(code: str, message: str) -> Refusal:
    """What the platform says in plain HTTP when it refuses."""
    return Refusal(code=code, message=message, request_id=str(uuid.uuid4()))


def _json(content: msgspec.Struct | dict[str, Any], *, status: int = HTTPStatus.OK) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), status=status, content_type="application/json")
