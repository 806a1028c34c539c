"""The reader of the emulator's JSON files: fault plans and scripts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ..errors import ConfigurationError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

__all__ = ["load_json"]

_Parsed = TypeVar("_Parsed")


def load_json(path: str | os.PathLike[str], *, kind: str, parse: Callable[[Any], _Parsed]) -> _Parsed:
    """Read a JSON file and parse its content.

    Args:
        path: the file.
        kind: the kind of file, with which each error text begins.
        parse: converts the decoded content.

    Raises:
        ConfigurationError: the file cannot be read, is not JSON, or `parse` rejects its content.
    """
    try:
        return parse(msgspec.json.decode(Path(path).read_bytes()))
    except OSError as error:
        raise ConfigurationError(f"{kind} {path}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"{kind} {path}: not JSON: {error}") from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{kind} {path}: {error}") from None
