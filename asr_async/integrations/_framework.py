"""The check that a framework is installed, in a version that its adapter works with.

Does not know any framework.
"""

from __future__ import annotations

import itertools
from importlib import metadata

__all__ = ["require"]


def require(distribution: str, minimum: str, *, extra: str) -> None:
    """Refuse a framework that is missing or too old, before the adapter imports names that it may not have.

    Args:
        distribution: the name of the framework on the package index.
        minimum: the lowest version, as in the project's own dependencies.
        extra: the extra of this package that installs it.

    Raises:
        ImportError: it is too old.
        ModuleNotFoundError: it is not installed.
    """
    command = f"pip install 'asr-async[{extra}]'"
    try:
        installed = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        raise ModuleNotFoundError(
            f"asr_async.integrations.{extra} needs {distribution}: {command}", name=distribution
        ) from None
    if _numbers(installed) < _numbers(minimum):
        raise ImportError(
            f"asr_async.integrations.{extra} needs {distribution} {minimum} or newer, and {installed} is installed: "
            f"{command} --upgrade",
            name=distribution,
        )


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: (1, 8) for "1.8.dev3"."""
    return tuple(map(int, itertools.takewhile(str.isdecimal, version.split("."))))
