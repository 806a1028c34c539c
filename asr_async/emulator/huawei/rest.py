"""The emulated Huawei REST API: tokens of IAM and hot-word tables.

The tables are checked as strictly as the documents demand, and a START can name one. Sources: the authentication and
hot-word pages of the SIS API reference (public documentation repository, 2021-10; live page sis_03_0071, 2025/26), the
user guide's page on hot words (sis_09_0005).
"""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from ...vendors.huawei.rest_wire import TokenRequest
from .auth import TOKEN_LIFETIME_S, Authenticator, json_response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Vocabularies", "add_routes"]

MAX_TABLES = 100
MAX_WORDS = 10_000
"""The limits of a project and of a table (live page; in 2021 they were 10 and 1024)."""

MAX_WORD_CHARACTERS = {"chinese": 32, "english": 64}
MAX_DESCRIPTION_CHARACTERS = 255
LANGUAGES = ("chinese_mandarin", "english")

MAX_PROJECTS = 100
"""A limit on the memory of this process; the documents name none."""

_NAME = re.compile(r"[A-Za-z0-9_#-]{1,32}")
_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
# a weight from 1 to 10, or the replacement text (hot words 3.0, user guide)
_WORD = re.compile(rf"(?P<word>[A-Z{_HAN}]+)(?:/(?:[1-9]|10)|=.{{1,32}})?")
_HAS_HAN = re.compile(f"[{_HAN}]")


def add_routes(application: web.Application, authenticator: Authenticator, vocabularies: Vocabularies) -> None:
    """Add the routes of IAM and of the hot-word tables."""
    tables = _TablesApi(authenticator, vocabularies)
    tables_path = "/v1/{project_id}/asr/vocabularies"
    application.router.add_post("/v3/auth/tokens", _Iam(authenticator).issue)
    application.router.add_post(tables_path, tables.handler(tables.create))
    application.router.add_get(tables_path, tables.handler(tables.list))
    application.router.add_get(f"{tables_path}/{{id}}", tables.handler(tables.get))
    application.router.add_put(f"{tables_path}/{{id}}", tables.handler(tables.update))
    application.router.add_delete(f"{tables_path}/{{id}}", tables.handler(tables.delete))


# --- tokens -----------------------------------------------------------------------------------------------------------


class _Iam:
    """The token endpoint of IAM, which issues tokens for names and passwords."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def issue(self, request: web.Request) -> web.Response:
        """Answer a POST: the token is in a header, its expiry in the body."""
        try:
            auth = msgspec.json.decode(await request.read(), type=TokenRequest).auth
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return _iam_error(400, "Bad Request", f"The request body is invalid: {error}")
        user = auth.identity.password.user
        if not self._authenticator.knows_user(user.name, user.password):
            return _iam_error(401, "Unauthorized", "The username or password is wrong.")
        now = datetime.now(UTC)
        token: dict[str, Any] = {
            "issued_at": _iam_time(now),
            "expires_at": _iam_time(now + timedelta(seconds=TOKEN_LIFETIME_S)),
            "methods": auth.identity.methods,
            "user": {"name": user.name, "domain": {"name": user.domain.name}},
        }
        project = auth.scope.project if auth.scope is not None else None
        if project is not None:
            token["project"] = project
        secret = self._authenticator.issue(for_project=project is not None)
        return json_response({"token": token}, status=201, headers={"X-Subject-Token": secret})


def _iam_time(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _iam_error(status: int, title: str, message: str) -> web.Response:
    return json_response({"error": {"code": status, "message": message, "title": title}}, status=status)


# --- hot-word tables --------------------------------------------------------------------------------------------------


class _RefusedError(Exception):
    """The refusal of a request about tables; `code` is the vendor's error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Content(msgspec.Struct, frozen=True, kw_only=True):
    """A table as a client submits it."""

    name: str
    language: str
    description: str = ""
    contents: tuple[str, ...]


class Vocabularies:
    """The tables of all projects, kept while the emulator runs."""

    def __init__(self) -> None:
        self._projects: dict[str, dict[str, _Content]] = {}

    def words(self, project_id: str, vocabulary_id: str) -> tuple[str, ...] | None:
        """Return the words of a table as they are to be spelled; None if the project has no such table."""
        content = self.of_project(project_id).get(vocabulary_id)
        return None if content is None else tuple(map(_spelling, content.contents))

    def of_project(self, project_id: str) -> dict[str, _Content]:
        """Return a copy of a project's tables, by id."""
        return dict(self._projects.get(project_id, {}))

    def create(self, project_id: str, content: _Content) -> str:
        """Store a new table; return its id."""
        tables = self._projects.get(project_id, {})
        if len(tables) >= MAX_TABLES:
            raise _RefusedError("SIS.0208", f"a project can have at most {MAX_TABLES} vocabularies")
        if not tables and len(self._projects) >= MAX_PROJECTS:
            raise _RefusedError("SIS.0206", f"the emulator stores the vocabularies of at most {MAX_PROJECTS} projects")
        vocabulary_id = str(uuid.uuid4())
        self._save(project_id, vocabulary_id, content)
        return vocabulary_id

    def update(self, project_id: str, vocabulary_id: str, content: _Content) -> None:
        """Replace a whole table."""
        self.get(project_id, vocabulary_id)
        self._save(project_id, vocabulary_id, content)

    def get(self, project_id: str, vocabulary_id: str) -> _Content:
        """Return a table."""
        content = self.of_project(project_id).get(vocabulary_id)
        if content is None:
            raise _RefusedError("SIS.0201", f"vocabulary {vocabulary_id} not found")
        return content

    def delete(self, project_id: str, vocabulary_id: str) -> None:
        """Delete a table."""
        self.get(project_id, vocabulary_id)
        del self._projects[project_id][vocabulary_id]
        if not self._projects[project_id]:
            del self._projects[project_id]

    def _save(self, project_id: str, vocabulary_id: str, content: _Content) -> None:
        for other_id, other in self.of_project(project_id).items():
            if other.name == content.name and other_id != vocabulary_id:
                raise _RefusedError("SIS.0204", f"'name' is invalid: there is a vocabulary {content.name} already")
        self._projects.setdefault(project_id, {})[vocabulary_id] = content


class _TablesApi:
    """The request handlers of the hot-word tables."""

    def __init__(self, authenticator: Authenticator, vocabularies: Vocabularies) -> None:
        self._authenticator = authenticator
        self._vocabularies = vocabularies

    def handler(
        self, operation: Callable[[web.Request, bytes], web.Response]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Wrap an operation: read the request, check its credentials, and convert its errors to responses."""

        async def handle(request: web.Request) -> web.Response:
            body = await request.read()
            if rejection := self._authenticator.reject(request, body):
                return rejection
            try:
                return operation(request, body)
            except _RefusedError as refused:
                return json_response({"error_code": refused.code, "error_msg": str(refused)}, status=400)

        return handle

    def create(self, request: web.Request, body: bytes) -> web.Response:
        vocabulary_id = self._vocabularies.create(_project(request), _read(body))
        return json_response({"vocabulary_id": vocabulary_id})

    def update(self, request: web.Request, body: bytes) -> web.Response:
        vocabulary_id = request.match_info["id"]
        self._vocabularies.update(_project(request), vocabulary_id, _read(body))
        return json_response({"vocabulary_id": vocabulary_id})

    def list(self, request: web.Request, _body: bytes) -> web.Response:
        """Answer with all tables.

        The documents disagree on what `offset` and `limit` count, and on the place of a filter.
        """
        tables = self._vocabularies.of_project(_project(request))
        summaries = [_summary(vocabulary_id, content) for vocabulary_id, content in tables.items()]
        return json_response({"count": len(summaries), "result": summaries})

    def get(self, request: web.Request, _body: bytes) -> web.Response:
        vocabulary_id = request.match_info["id"]
        content = self._vocabularies.get(_project(request), vocabulary_id)
        return json_response({**_summary(vocabulary_id, content), "contents": content.contents})

    def delete(self, request: web.Request, _body: bytes) -> web.Response:
        self._vocabularies.delete(_project(request), request.match_info["id"])
        return json_response(None, status=204)


def _project(request: web.Request) -> str:
    return request.match_info["project_id"]


def _summary(vocabulary_id: str, content: _Content) -> dict[str, Any]:
    return {
        "vocabulary_id": vocabulary_id,
        "name": content.name,
        "language": content.language,
        "description": content.description,
    }


def _read(body: bytes) -> _Content:
    """Decode a table and check it against the documents."""
    try:
        given = msgspec.json.decode(body, type=dict[str, Any])
        for name in ("name", "language", "contents"):
            if name not in given:
                raise _RefusedError("SIS.0012", f"'{name}' is missing")
        content = msgspec.convert(given, _Content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _RefusedError("SIS.0032", f"the request body is invalid: {error}") from None
    _check(content)
    return content


def _check(content: _Content) -> None:
    if not _NAME.fullmatch(content.name):
        raise _RefusedError("SIS.0204", "'name' is invalid: 1 to 32 letters, digits, '_', '-' or '#'")
    if content.language not in LANGUAGES:
        raise _RefusedError("SIS.0205", f"'language' is invalid: {' or '.join(LANGUAGES)}")
    if len(content.description) > MAX_DESCRIPTION_CHARACTERS:
        raise _RefusedError("SIS.0032", f"'description' is invalid: {MAX_DESCRIPTION_CHARACTERS} characters at most")
    if not 1 <= len(content.contents) <= MAX_WORDS:
        raise _RefusedError("SIS.0203", f"'contents' is invalid: 1 to {MAX_WORDS} words")
    for word in content.contents:
        _check_word(word)


def _spelling(entry: str) -> str:
    """Return the word of "word" or "word/weight", and the replacement of "word=replacement"."""
    _, is_replaced, replacement = entry.partition("=")
    return replacement if is_replaced else entry.partition("/")[0]


def _check_word(entry: str) -> None:
    match = _WORD.fullmatch(entry)
    if match is None:
        raise _RefusedError(
            "SIS.0203", f"'contents' is invalid: {entry[:64]!r} must consist of capital letters or Han characters"
        )
    word = match["word"]
    limit = MAX_WORD_CHARACTERS["chinese" if _HAS_HAN.search(word) else "english"]
    if len(word) > limit:
        raise _RefusedError("SIS.0203", f"'contents' is invalid: {word[:64]!r} has more than {limit} characters")
