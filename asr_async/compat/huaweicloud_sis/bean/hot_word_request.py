"""The request of a hot-word table."""

from __future__ import annotations

from typing import Any

__all__ = ["HotWordRequest"]


class HotWordRequest:
    """The name, the words and the language of a table."""

    def __init__(self, name: str, word_list: list[str]) -> None:
        self._table: dict[str, Any] = {"name": name, "contents": word_list, "language": "chinese_mandarin"}

    def set_description(self, description: str) -> None:
        """Set the description."""
        self._table["description"] = description

    def set_language(self, language: str) -> None:
        """Set the language: chinese_mandarin or english."""
        self._table["language"] = language

    def construct_params(self) -> dict[str, Any]:
        """Return the body of the request."""
        return dict(self._table)
