"""As whom Huawei is called: keys, a token, or an IAM user; one of the three, whole.

What is given as arguments is never mixed with what stands in the environment: keys belong together.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from ...errors import AuthenticationError, ConfigurationError
from .errors import VENDOR

__all__ = ["KEY_VARIABLES", "Account", "Credentials", "GivenToken", "Keys", "from_arguments", "from_environment"]

KEY_VARIABLES = ("HUAWEICLOUD_SIS_AK", "HUAWEICLOUD_SIS_SK")
"""An access key and its secret."""


class Keys(msgspec.Struct, frozen=True):
    """An access key and its secret, which sign each request; temporary ones have a security token as well."""

    ak: str
    sk: str
    security_token: str | None = None

    def __repr__(self) -> str:
        return "<Keys>"


class GivenToken(msgspec.Struct, frozen=True):
    """A project's token that somebody else got, and renews."""

    token: str

    def __repr__(self) -> str:
        return "<GivenToken>"


class Account(msgspec.Struct, frozen=True):
    """An IAM user, whose password buys tokens."""

    username: str
    password: str
    domain: str
    """The account that the user belongs to."""

    def __repr__(self) -> str:
        return "<Account>"


Credentials = Keys | GivenToken | Account

_PARTS: dict[type[Keys | GivenToken | Account], tuple[str, ...]] = {
    Keys: ("ak", "sk"),
    GivenToken: ("token",),
    Account: ("username", "password", "domain"),
}


def from_arguments(given: Mapping[str, str | None]) -> Credentials | None:
    """Put the arguments of `Huawei(...)` together; None when there are none.

    Args:
        given: by the arguments' names, those of `_PARTS` and `security_token`.

    Raises:
        ConfigurationError: a part is missing, or there are two kinds; names only, no values.
    """
    values = {name: value.strip() for name, value in given.items() if value is not None}
    kinds = [kind for kind, names in _PARTS.items() if any(name in values for name in names)]
    if len(kinds) > 1:
        named = [" and ".join(name for name in _PARTS[kind] if name in values) for kind in kinds]
        raise ConfigurationError(f"Huawei({', '.join(values)}): give {' or '.join(named)}, not both")
    if "security_token" in values and kinds != [Keys]:
        raise ConfigurationError("security_token= belongs to temporary keys: give ak= and sk= with it")
    if not kinds:
        return None
    (kind,) = kinds
    missing = [name for name in _PARTS[kind] if not values.get(name)]
    if missing:
        present = " and ".join(name for name in _PARTS[kind] if values.get(name))
        about = f"{present} given without {' and '.join(missing)}" if present else f"{' and '.join(missing)} is empty"
        raise ConfigurationError(f"Huawei: {about}")
    for name, value in values.items():
        if name in {"ak", "sk", "token", "security_token"} and not _is_header_text(value):
            raise ConfigurationError(f"Huawei({name}=...): holds characters that no {name} has: check it")
    return kind(**values)


def from_environment() -> Keys:
    """The keys in the environment.

    Raises:
        AuthenticationError: they are not there, or not both.
    """
    values = [os.environ.get(name, "").strip() for name in KEY_VARIABLES]
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
            raise AuthenticationError(f"{name} holds characters that no key has: check it", vendor=VENDOR)
    return Keys(*values)


def _is_header_text(value: str) -> bool:
    return value.isascii() and value.isprintable() and not any(character.isspace() for character in value)
