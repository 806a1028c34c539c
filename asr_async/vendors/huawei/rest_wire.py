"""The messages of Huawei's REST interfaces that this library uses: IAM tokens and hot-word tables.

Only shapes, defined once for client and server. Sources: pages "authentication" and "hot-word management" of the SIS
API reference (public documentation repository, 2021-10; live pages sis_03_0071 ff., 2025/26), and requests of the
official SDK 3.1.219 (REST).
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

# --- POST /v3/auth/tokens --------------------------------------------------------------------------------------------


class Domain(msgspec.Struct, frozen=True):
    """An account by its name."""

    name: str


class Project(msgspec.Struct, frozen=True, omit_defaults=True):
    """A project by its name, which is the region's, or by its id."""

    name: str | None = None
    id: str | None = None


class User(msgspec.Struct, frozen=True):
    """An IAM user; its domain is the account it belongs to."""

    name: str
    password: str
    domain: Domain


class Password(msgspec.Struct, frozen=True):
    """The password as the method of identification."""

    user: User


class Identity(msgspec.Struct, frozen=True):
    """The identity that requests a token, with its method."""

    methods: tuple[Literal["password"]]
    password: Password


class Scope(msgspec.Struct, frozen=True, omit_defaults=True):
    """The scope of a token: a project. SIS refuses a token for a whole account (`domain`) with SIS.0101."""

    project: Project | None = None
    domain: Domain | None = None


class Auth(msgspec.Struct, frozen=True, omit_defaults=True):
    """The content of a token request."""

    identity: Identity
    scope: Scope | None = None


class TokenRequest(msgspec.Struct, frozen=True):
    """A request for a token."""

    auth: Auth


class TokenTimes(msgspec.Struct, frozen=True, omit_defaults=True):
    """The begin and the end of a token's life, by the vendor's clock."""

    expires_at: datetime | None = None
    issued_at: datetime | None = None


class TokenResponse(msgspec.Struct, frozen=True):
    """The body of the response; the token itself is in its header X-Subject-Token."""

    token: TokenTimes = TokenTimes()


# --- /v1/{project_id}/asr/vocabularies -------------------------------------------------------------------------------


class WireVocabulary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A table, in requests to create or replace it and in responses; listings have no `contents`."""

    vocabulary_id: str | None = None
    name: str | None = None
    description: str | None = None
    language: str | None = None
    contents: tuple[str, ...] | None = None


class VocabularyId(msgspec.Struct, frozen=True):
    """The response to the creation and the replacement of a table."""

    vocabulary_id: str


class VocabularyList(msgspec.Struct, frozen=True):
    """The response to a listing."""

    count: int
    result: tuple[WireVocabulary, ...] = ()
