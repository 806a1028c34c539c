"""`AsrPhraseManager`: the hot-word lists of the v1 models, for the argument `phrase_id`.

The vendor keeps them as outputs of fine-tuning jobs.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

from ..._rest import call_rest
from ...api_entities.dashscope_response import DashScopeAPIResponse
from ...common.error import InvalidParameter

__all__ = ["AsrPhraseManager"]

JOBS = "/fine-tunes"
LISTS = "/fine-tunes/outputs"


class AsrPhraseManager:
    """The hot-word lists of an account. Errors of the vendor are returned, not raised."""

    @classmethod
    def create_phrases(
        cls,
        model: str,
        phrases: dict[str, Any],
        training_type: str = "compile_asr_phrase",
        workspace: str | None = None,
        **kwargs: Any,
    ) -> DashScopeAPIResponse:
        """Create a list; its id is `response.output["finetuned_output"]`.

        Raises:
            AuthenticationError: there is no key.
            InvalidParameter: there are no phrases, or there is no training type.
        """
        _check(phrases=phrases, training_type=training_type)
        return _compile(model, phrases, training_type, workspace, {}, kwargs)

    @classmethod
    def update_phrases(
        cls,
        model: str,
        phrase_id: str,
        phrases: dict[str, Any],
        training_type: str = "compile_asr_phrase",
        workspace: str | None = None,
        **kwargs: Any,
    ) -> DashScopeAPIResponse:
        """Replace the phrases of a list.

        Raises:
            AuthenticationError: there is no key.
            InvalidParameter: an argument is empty.
        """
        _check(phrase_id=phrase_id, phrases=phrases, training_type=training_type)
        return _compile(model, phrases, training_type, workspace, {"finetuned_output": phrase_id}, kwargs)

    @classmethod
    def query_phrases(cls, phrase_id: str, workspace: str | None = None, **kwargs: Any) -> DashScopeAPIResponse:
        """Return a list.

        Raises:
            AuthenticationError: there is no key.
            InvalidParameter: there is no id.
        """
        _check(phrase_id=phrase_id)
        return call_rest("GET", f"{LISTS}/{quote(phrase_id)}", workspace=workspace, **kwargs)

    @classmethod
    def list_phrases(
        cls, page: int = 1, page_size: int = 10, workspace: str | None = None, **kwargs: Any
    ) -> DashScopeAPIResponse:
        """Return a page of the lists.

        Raises:
            AuthenticationError: there is no key.
        """
        query = urlencode({"page_no": page, "page_size": page_size})
        return call_rest("GET", f"{LISTS}?{query}", workspace=workspace, **kwargs)

    @classmethod
    def delete_phrases(cls, phrase_id: str, workspace: str | None = None, **kwargs: Any) -> DashScopeAPIResponse:
        """Delete a list.

        Raises:
            AuthenticationError: there is no key.
            InvalidParameter: there is no id.
        """
        _check(phrase_id=phrase_id)
        return call_rest("DELETE", f"{LISTS}/{quote(phrase_id)}", workspace=workspace, **kwargs)


def _compile(
    model: str,
    phrases: dict[str, Any],
    training_type: str,
    workspace: str | None,
    more: dict[str, Any],
    request: dict[str, Any],
) -> DashScopeAPIResponse:
    body = {
        "model": model,
        "training_file_ids": [],
        "validation_file_ids": [],
        "hyper_parameters": {"phrase_list": phrases},
        "training_type": training_type,
        **more,
    }
    return call_rest("POST", JOBS, body=json.dumps(body).encode(), workspace=workspace, **request)


def _check(**arguments: Any) -> None:
    for name, value in arguments.items():
        if not value:
            raise InvalidParameter(f"{name} is empty!")
