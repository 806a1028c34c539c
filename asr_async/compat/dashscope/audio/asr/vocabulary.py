"""`VocabularyService`: the hot-word tables of an account, for the option `vocabulary_id`."""

from __future__ import annotations

import json
import time
from typing import Any

from ....._text.secret import SecretText
from ..._rest import call_rest

__all__ = ["VocabularyService", "VocabularyServiceException"]

RETRY_S = 2.0


class VocabularyServiceException(Exception):  # noqa: N818 - the SDK's name
    """A refused request, or one that did not reach the vendor (status -1)."""

    def __init__(self, request_id: str, status_code: int, code: str, error_message: str) -> None:
        super().__init__(request_id, status_code, code, error_message)
        self._request_id = request_id
        self._status_code = status_code
        self._code = code
        self._error_message = error_message

    def __str__(self) -> str:
        return (
            f"Request: {self._request_id}, Status Code: {self._status_code}, Code: {self._code}, "
            f"Error Message: {self._error_message}"
        )


class VocabularyService:
    """The hot-word tables of an account.

    Args:
        api_key: the key; None is the one of the settings.
        workspace: the id of a workspace.
        model: None is "speech-biasing".
        kwargs: `base_address` and `headers`.
    """

    MAX_QUERY_TRY_COUNT = 3

    def __init__(
        self, api_key: str | None = None, workspace: str | None = None, model: str | None = None, **kwargs: Any
    ) -> None:
        self._api_key = api_key = None if api_key is None else SecretText(api_key)
        self._workspace = workspace
        self._kwargs = kwargs
        self._last_request_id: str | None = None
        self.model: str = "speech-biasing" if model is None else model

    def create_vocabulary(self, target_model: str, prefix: str, vocabulary: list[dict[str, Any]]) -> str:
        """Create a table for a model, and return its id.

        Raises:
            VocabularyServiceException: the request failed.
        """
        request = {"target_model": target_model, "prefix": prefix, "vocabulary": vocabulary}
        vocabulary_id: str = self._call("create_vocabulary", request)["vocabulary_id"]
        return vocabulary_id

    def list_vocabularies(
        self, prefix: str | None = None, page_index: int = 0, page_size: int = 10
    ) -> list[dict[str, Any]]:
        """Return the tables of a page, or those of it whose names have the prefix.

        Raises:
            VocabularyServiceException: the request failed.
        """
        request = {"prefix": prefix} if prefix else {}
        output = self._call("list_vocabulary", {**request, "page_index": page_index, "page_size": page_size})
        tables: list[dict[str, Any]] = output["vocabulary_list"]
        return tables

    def query_vocabulary(self, vocabulary_id: str) -> dict[str, Any]:
        """Return a table with its words.

        Raises:
            VocabularyServiceException: the request failed.
        """
        return self._call("query_vocabulary", {"vocabulary_id": vocabulary_id})

    def update_vocabulary(self, vocabulary_id: str, vocabulary: list[dict[str, Any]]) -> None:
        """Replace the words of a table.

        Raises:
            VocabularyServiceException: the request failed.
        """
        self._call("update_vocabulary", {"vocabulary_id": vocabulary_id, "vocabulary": vocabulary})

    def delete_vocabulary(self, vocabulary_id: str) -> None:
        """Delete a table.

        Raises:
            VocabularyServiceException: the request failed.
        """
        self._call("delete_vocabulary", {"vocabulary_id": vocabulary_id})

    def get_last_request_id(self) -> str | None:
        """Return the id of the newest request that succeeded."""
        return self._last_request_id

    def _call(self, action: str, arguments: dict[str, Any]) -> dict[str, Any]:
        body = {"model": self.model, "input": {"action": action, **arguments}, "parameters": {}}
        for attempt in range(self.MAX_QUERY_TRY_COUNT + 1):
            response = call_rest(
                "POST",
                "/services/audio/asr/customization",
                body=json.dumps(body).encode(),
                api_key=self._api_key,
                workspace=self._workspace,
                **self._kwargs,
            )
            if response.status_code != -1 or attempt == self.MAX_QUERY_TRY_COUNT:
                break
            time.sleep(RETRY_S)
        if response.status_code != 200:
            raise VocabularyServiceException(response.request_id, response.status_code, response.code, response.message)
        self._last_request_id = response.request_id
        output: dict[str, Any] = response.output or {}
        return output
