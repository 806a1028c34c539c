"""The credentials for Huawei: access keys, a token, or an IAM user; one of the three, complete.

Arguments are never combined with environment variables: the parts of a key belong together.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..._text.secret import SecretText, ShownByRepr
from ...errors import AuthenticationError, ConfigurationError
from .errors import VENDOR

__all__ = [
    "KEY_VARIABLES",
    "PICKLE_ADVICE",
    "AccessKeys",
    "Credentials",
    "GivenToken",
    "IamUser",
    "from_arguments",
    "from_environment",
]

KEY_VARIABLES = ("HUAWEICLOUD_SIS_AK", "HUAWEICLOUD_SIS_SK")
"""An access key and its secret."""

PICKLE_ADVICE = (
    f"set {' and '.join(KEY_VARIABLES)} where it is unpickled, and pickle Huawei() without arguments of them"
)


class AccessKeys(ShownByRepr, frozen=True):
    """An access key and its secret, which sign each request; temporary ones have a security token as well."""

    ak: str
    sk: str
    security_token: str | None = None

    def __repr__(self) -> str:
        return "<AccessKeys>"


class GivenToken(ShownByRepr, frozen=True):
    """A project's token that the caller has requested, and renews."""

    token: str

    def __repr__(self) -> str:
        return "<GivenToken>"


class IamUser(ShownByRepr, frozen=True):
    """An IAM user, with the password that tokens are requested with."""

    username: str
    password: str
    domain: str
    """The account that the user belongs to."""

    def __repr__(self) -> str:
        return "<IamUser>"


Credentials = AccessKeys | GivenToken | IamUser

_PARTS: dict[type[AccessKeys | GivenToken | IamUser], tuple[str, ...]] = {
    AccessKeys: ("ak", "sk"),
    GivenToken: ("token",),
    IamUser: ("username", "password", "domain"),
}


def from_arguments(given: Mapping[str, str | None]) -> Credentials | None:
    """Return the credentials in the arguments of `Huawei(...)`; None if there are none.

    Args:
        given: the arguments by name: those of `_PARTS`, and `security_token`.

    Raises:
        ConfigurationError: a part is missing, or there are two kinds; the text names arguments, never values.
    """
    values = {name: SecretText(value.strip(), PICKLE_ADVICE) for name, value in given.items() if value is not None}
    kinds = [kind for kind, names in _PARTS.items() if any(name in values for name in names)]
    if len(kinds) > 1:
        named = [" and ".join(name for name in _PARTS[kind] if name in values) for kind in kinds]
        raise ConfigurationError(f"Huawei({', '.join(values)}): pass {' or '.join(named)}, not both")
    if "security_token" in values and kinds != [AccessKeys]:
        raise ConfigurationError("security_token= belongs to temporary keys: pass ak= and sk= with it")
    if not kinds:
        return None
    (kind,) = kinds
    missing = [name for name in _PARTS[kind] if not values.get(name)]
    if missing:
        present = " and ".join(name for name in _PARTS[kind] if values.get(name))
        about = f"{present} without {' and '.join(missing)}" if present else f"{' and '.join(missing)} is empty"
        raise ConfigurationError(f"Huawei: {about}")
    for name, value in values.items():
        if name in {"ak", "sk", "token", "security_token"} and not _is_header_text(value):
            raise ConfigurationError(f"Huawei({name}=...): contains characters that no {name} has: check it")
    return kind(**values)


def from_environment() -> AccessKeys:
    """Return the access keys in the environment variables `KEY_VARIABLES`.

    Raises:
        AuthenticationError: one of them is not set, or both.
    """
    values = [SecretText(os.environ.get(name, "").strip()) for name in KEY_VARIABLES]
    missing = [name for name, value in zip(KEY_VARIABLES, values, strict=True) if not value]
    if len(missing) == 1:
        (present,) = set(KEY_VARIABLES) - set(missing)
        raise AuthenticationError(f"half of the Huawei keys: {present} is set, {missing[0]} is not", vendor=VENDOR)
    if missing:
        raise AuthenticationError(
            f"no Huawei credentials: set {' and '.join(KEY_VARIABLES)}, or pass Huawei(ak=..., sk=...), "
            "Huawei(token=...) or Huawei(username=..., password=..., domain=...); service=Local() needs none",
            vendor=VENDOR,
        )
    for name, value in zip(KEY_VARIABLES, values, strict=True):
        if not _is_header_text(value):
            raise AuthenticationError(f"{name} contains characters that no key has: check it", vendor=VENDOR)
    return AccessKeys(*values)


def _is_header_text(value: str) -> bool:
    return value.isascii() and value.isprintable() and not any(character.isspace() for character in value)
