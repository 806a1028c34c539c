"""The emulated DashScope REST API: hot-word tables of both generations, and temporary keys.

Answers as the documents show; the HTTP status of each error code is the one on the platform's error page (2026). All
keys belong to one account.
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
    ErrorBody,
    FineTuned,
    FineTunedList,
    ListVocabulary,
    QueryVocabulary,
    Token,
    UpdateVocabulary,
    VocabularyId,
    VocabularyList,
)
from ..api_keys import key_of
from .hotwords import HotWordTableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...vendors.dashscope.rest_wire import VocabularyAction
    from ..api_keys import ApiKeys
    from .hotwords import HotWordTables

__all__ = ["PATH", "add_routes", "refusal", "reject_by_key"]

PATH = "/api/v1"

DEFAULT_KEY_LIFETIME_S = 60
MAX_KEY_LIFETIME_S = 1_800

MAX_PAGE_SIZE = 100

_STATUS = {"InvalidApiKey": 401, "InvalidParameter": 400, "ModelNotFound": 404, "NotFound": 404}

_Shape = TypeVar("_Shape")


def add_routes(application: web.Application, *, keys: ApiKeys, tables: HotWordTables) -> None:
    """Add the REST routes."""
    api = _RestApi(keys, tables)
    router = application.router
    router.add_post(f"{PATH}{TOKENS_PATH}", api.handler(api.issue_key))
    router.add_post(f"{PATH}{VOCABULARY_PATH}", api.handler(api.customize))
    router.add_post(f"{PATH}{FINE_TUNES_PATH}", api.handler(api.compile_phrases))
    router.add_get(f"{PATH}{FINE_TUNED_PATH}", api.handler(api.list_phrases))
    router.add_get(f"{PATH}{FINE_TUNED_PATH}/{{phrase_id}}", api.handler(api.query_phrases))
    router.add_delete(f"{PATH}{FINE_TUNED_PATH}/{{phrase_id}}", api.handler(api.delete_phrases))


def reject_by_key(request: web.Request, keys: ApiKeys) -> web.Response | None:
    """Return the response that rejects a client by its API key, here and at a WebSocket; None if it is accepted."""
    key = key_of(request.headers.get("Authorization", ""))
    if not key:
        return _refusal_response("InvalidApiKey", "No API-key provided.")
    if not keys.accepts(key):
        return _refusal_response("InvalidApiKey", "Invalid API-key provided.")
    return None


class _RestApi:
    """The request handlers of the REST API."""

    def __init__(self, keys: ApiKeys, tables: HotWordTables) -> None:
        self._keys = keys
        self._tables = tables

    def handler(
        self, operation: Callable[[web.Request], Awaitable[msgspec.Struct | dict[str, Any]]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Wrap an operation: check the key, encode its result as JSON, and convert its errors to refusals."""

        async def handle(request: web.Request) -> web.Response:
            if rejection := reject_by_key(request, self._keys):
                return rejection
            try:
                return _json(await operation(request))
            except HotWordTableError as error:
                return _refusal_response(error.code, error.message)

        return handle

    async def issue_key(self, request: web.Request) -> Token:
        lifetime_s = _number(request, "expire_in_seconds", DEFAULT_KEY_LIFETIME_S, MAX_KEY_LIFETIME_S)
        return Token(token=self._keys.issue(lifetime_s), expires_at=int(time.time()) + lifetime_s)

    async def customize(self, request: web.Request) -> dict[str, Any]:
        body = _decode(await request.read(), Customization)
        if body.model != VOCABULARY_MODEL:
            raise HotWordTableError("ModelNotFound", f"Model not found: {body.model}")
        return _answer(self._run_action(body.input))

    def _run_action(self, action: VocabularyAction) -> msgspec.Struct | dict[str, Any]:
        tables = self._tables
        match action:
            case CreateVocabulary():
                vocabulary_id = tables.create_vocabulary(action.prefix, action.target_model, action.vocabulary)
                return VocabularyId(vocabulary_id=vocabulary_id)
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
        body = _decode(await request.read(), CompilePhrases)
        if body.training_type != PHRASE_TRAINING:
            raise HotWordTableError("InvalidParameter", f"training_type: the emulator supports {PHRASE_TRAINING} only")
        phrase_id = body.finetuned_output or None
        return _answer(self._tables.compile_phrases(phrase_id, body.model, body.hyper_parameters.phrase_list))

    async def list_phrases(self, request: web.Request) -> dict[str, Any]:
        page = _number(request, "page_no", 1, 1_000_000)
        size = _number(request, "page_size", 10, MAX_PAGE_SIZE)
        phrase_lists = self._tables.phrase_lists((page - 1) * size, size)
        total = self._tables.phrase_list_count
        return _answer(FineTunedList(finetuned_outputs=phrase_lists, page_no=page, page_size=size, total=total))

    async def query_phrases(self, request: web.Request) -> dict[str, Any]:
        return _answer(self._tables.phrase_list(request.match_info["phrase_id"]))

    async def delete_phrases(self, request: web.Request) -> dict[str, Any]:
        phrase_id = request.match_info["phrase_id"]
        self._tables.delete_phrase_list(phrase_id)
        return _answer(FineTuned(finetuned_output=phrase_id))


def _decode(content: bytes, shape: type[_Shape]) -> _Shape:
    try:
        return msgspec.json.decode(content, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HotWordTableError("InvalidParameter", str(error)) from None


def _number(request: web.Request, name: str, default: int, maximum: int) -> int:
    text = request.query.get(name, str(default))
    number = int(text) if text.isdecimal() and len(text) <= len(str(maximum)) else 0
    if not 1 <= number <= maximum:
        raise HotWordTableError("InvalidParameter", f"{name} {text}: must be between 1 and {maximum}")
    return number


def _page_size(size: int) -> int:
    if not 1 <= size <= MAX_PAGE_SIZE:
        raise HotWordTableError("InvalidParameter", f"page_size {size}: must be between 1 and {MAX_PAGE_SIZE}")
    return size


def _answer(output: msgspec.Struct | dict[str, Any]) -> dict[str, Any]:
    return {"output": output, "usage": {"count": 1}, "request_id": str(uuid.uuid4())}


def _refusal_response(code: str, message: str) -> web.Response:
    return _json(refusal(code, message), status=HTTPStatus(_STATUS[code]))


def refusal(code: str, message: str) -> ErrorBody:
    """Return the body of a refusal in plain HTTP."""
    return ErrorBody(code=code, message=message, request_id=str(uuid.uuid4()))


def _json(content: msgspec.Struct | dict[str, Any], *, status: int = HTTPStatus.OK) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), status=status, content_type="application/json")
