"""Every message of Huawei's REST interfaces in use, spelled once for both sides: IAM tokens and hot-word tables.

Only shapes. Sources: pages "authentication" and "hot-word management" of the SIS API reference (public documentation
repository, 2021-10; live pages sis_03_0071 ff., 2025/26), and requests of the official SDK 3.1.219 (REST).
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
    """The one method in use."""

    user: User


class Identity(msgspec.Struct, frozen=True):
    """Who asks."""

    methods: tuple[Literal["password"]]
    password: Password


class Scope(msgspec.Struct, frozen=True, omit_defaults=True):
    """What for: a project; a token for a whole account (`domain`) is good for nothing here (SIS.0101)."""

    project: Project | None = None
    domain: Domain | None = None


class Auth(msgspec.Struct, frozen=True, omit_defaults=True):
    """The one member of a token request."""

    identity: Identity
    scope: Scope | None = None


class TokenRequest(msgspec.Struct, frozen=True):
    """Ask for a token."""

    auth: Auth


class TokenTimes(msgspec.Struct, frozen=True, omit_defaults=True):
    """When a token was made and when it ends, by the vendor's clock."""

    expires_at: datetime | None = None
    issued_at: datetime | None = None


class TokenResponse(msgspec.Struct, frozen=True):
    """The body of the answer; the token itself is in its header X-Subject-Token."""

    token: TokenTimes = TokenTimes()


# --- /v1/{project_id}/asr/vocabularies -------------------------------------------------------------------------------


class WireVocabulary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A table: sent to create or replace one, given out for one, and without `contents` in listings."""

    vocabulary_id: str | None = None
    name: str | None = None
    description: str | None = None
    language: str | None = None
    contents: tuple[str, ...] | None = None


class VocabularyId(msgspec.Struct, frozen=True):
    """The answer to creating and replacing."""

    vocabulary_id: str


class VocabularyList(msgspec.Struct, frozen=True):
    """The answer to listing."""

    count: int
    result: tuple[WireVocabulary, ...] = ()


# --- refusals --------------------------------------------------------------------------------------------------------


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of a refused request, handshake or not; `error_code` is the service's or the gateway's."""

    error_code: str | None = None
    error_msg: str | None = None
    request_id: str | None = None
    error: IamError | None = None
    """Where IAM puts its own refusals."""


class IamError(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why IAM gave no token."""

    code: int | str | None = None
    title: str | None = None
    message: str | None = None
