"""The libraries of the engines: whether they are installed, without importing them."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["missing_package"]


def missing_package(packages: Mapping[str, str]) -> str | None:
    """Return the first package, of those that each module comes from, that is not installed; None if all are.

    A folder without `__init__` is what uninstalling a package leaves when another one has files in it, such as
    sherpa-onnx-core in that of sherpa-onnx. Python takes it for a namespace package, which has no origin.
    """
    for module, package in packages.items():
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            return package
    return None
