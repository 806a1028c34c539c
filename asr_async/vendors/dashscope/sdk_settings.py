"""The settings of the vendor's official SDK: environment variables, and files in the home directory.

Source: the official SDK 2.0.2 (`common/env.py`, `common/api_key.py`, `v2/_config.py`), whose two generations read
different names; here all of them count, those of the newer generation first. The environment precedes the files. Both
are read for each connection and each HTTP request, never at import; the files are small, so the event loop waits for
them. No error text holds the content of a file.
"""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import NamedTuple

from ..._text.secret import SecretText
from ...errors import ConfigurationError

__all__ = [
    "KEY_VARIABLE",
    "WORKSPACE_VARIABLES",
    "Setting",
    "find_key",
    "find_region",
    "find_workspace",
    "inspects_data",
    "other_key_source",
]

KEY_VARIABLE = "DASHSCOPE_API_KEY"
KEY_FILE_VARIABLE = "DASHSCOPE_API_KEY_FILE_PATH"
CONFIG_VARIABLE = "DASHSCOPE_CONFIG"
REGION_VARIABLES = ("DASHSCOPE_REGION", "DASHSCOPE_API_REGION")
WORKSPACE_VARIABLES = ("DASHSCOPE_WORKSPACE", "DASHSCOPE_WORKSPACE_ID")
INSPECTION_VARIABLE = "DASHSCOPE_DISABLE_DATA_INSPECTION"

DEFAULT_KEY_FILE = "~/.dashscope/api_key"
DEFAULT_CONFIG_FILE = "~/.dashscope/config.toml"

MAX_FILE_BYTES = 65_536
"""A longer file is neither a key nor a configuration."""


class Setting(NamedTuple):
    """A value, and the name of the variable or file that it comes from."""

    value: str
    source: str


def find_key() -> Setting | None:
    """Return the API key.

    Raises:
        ConfigurationError: a file is named by a variable and missing, or cannot be read, or holds no key.
    """
    if setting := _variable(KEY_VARIABLE):
        return Setting(SecretText(setting.value), setting.source)
    return _find_key_in_files()


def other_key_source() -> str:
    """Return the file that holds the key, if there is one; the variable that holds the key itself does not count.

    Raises:
        ConfigurationError: as for `find_key`.
    """
    setting = _find_key_in_files()
    return setting.source if setting else ""


def _find_key_in_files() -> Setting | None:
    if named := _variable(KEY_FILE_VARIABLE):
        return _read_key(_path(named.value), f"{KEY_FILE_VARIABLE}={named.value}")
    if setting := _configured("api_key"):
        return Setting(SecretText(setting.value), setting.source)
    path = _path(DEFAULT_KEY_FILE)
    return _read_key(path, str(path)) if path.exists() else None


def find_region() -> Setting | None:
    """Return the region.

    Raises:
        ConfigurationError: the configuration file is named by a variable and missing, or cannot be read.
    """
    return _first_variable(REGION_VARIABLES) or _configured("region")


def find_workspace() -> Setting | None:
    """Return the id of the workspace.

    Raises:
        ConfigurationError: as for `find_region`.
    """
    return _first_variable(WORKSPACE_VARIABLES) or _configured("workspace")


def inspects_data() -> bool:
    """Return True if the environment requests the content check: by the word "false", as the SDK reads it."""
    setting = _variable(INSPECTION_VARIABLE)
    return setting is not None and setting.value.lower() == "false"


# --- the environment --------------------------------------------------------------------------------------------------


def _variable(name: str) -> Setting | None:
    value = os.environ.get(name, "").strip()
    return Setting(value, name) if value else None


def _first_variable(names: tuple[str, ...]) -> Setting | None:
    return next(filter(None, map(_variable, names)), None)


# --- files ------------------------------------------------------------------------------------------------------------


def _path(text: str) -> Path:
    return Path(os.path.expanduser(text))  # noqa: PTH111 - `Path.expanduser` raises without a home directory


def _read_key(path: Path, name: str) -> Setting:
    remedy = f"write the key into it, and nothing else; or set {KEY_VARIABLE}"
    key = SecretText(_read(path, name, remedy).strip())
    if not key:
        raise ConfigurationError(f"{name}: the file is empty: {remedy}")
    return Setting(key, str(path))


def _configured(member: str) -> Setting | None:
    """Return a member of the configuration file."""
    named = _variable(CONFIG_VARIABLE)
    path = _path(named.value if named else DEFAULT_CONFIG_FILE)
    name = f"{CONFIG_VARIABLE}={named.value}" if named else str(path)
    if named is None and not path.exists():
        return None
    remedy = f"correct the file, or {f'unset {CONFIG_VARIABLE}' if named else 'remove it'}"
    try:
        value = tomllib.loads(_read(path, name, remedy)).get(member)
    except tomllib.TOMLDecodeError as error:
        # these texts hold a place, and at most one character of the file
        raise ConfigurationError(f"{name}: not TOML, {error}: {remedy}") from None
    if value is not None and not isinstance(value, str):
        raise ConfigurationError(f"{name}: {member} must be text, not {type(value).__name__}: {remedy}")
    return Setting(value.strip(), f"{member} in {path}") if value and value.strip() else None


def _read(path: Path, name: str, remedy: str) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a FIFO would block
            raise ConfigurationError(f"{name}: not a file: {remedy}")
        with path.open("rb") as file:
            content = SecretText(file.read(MAX_FILE_BYTES + 1).decode("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigurationError(f"{name}: there is no such file: {remedy}") from None
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot be read, {error.strerror}: {remedy}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{name}: not a text file: {remedy}") from None
    if len(content) > MAX_FILE_BYTES:
        raise ConfigurationError(f"{name}: longer than {MAX_FILE_BYTES} bytes: {remedy}")
    return content
