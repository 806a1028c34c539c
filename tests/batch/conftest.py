"""The databases that the tests of manifests run in."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from ..support.postgres import postgres_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the location of a manifest that does not exist yet."""
    if request.param == "sqlite":
        return str(tmp_path / "run.sqlite")
    return f"{request.getfixturevalue('postgres')}#run-{next(_numbers)}"
