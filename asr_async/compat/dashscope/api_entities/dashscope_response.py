"""The responses of `dashscope.api_entities.dashscope_response`: dictionaries whose members are attributes too."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["DashScopeAPIResponse", "DictMixin", "RecognitionResponse"]


class DictMixin(dict[str, Any]):
    """A dictionary whose members can be read and set as attributes."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({super().__repr__()})"

    def __str__(self) -> str:
        return json.dumps(self, ensure_ascii=False)


class DashScopeAPIResponse(DictMixin):
    """A response: `status_code` 200 with `output` and `usage`, or an error with `code` and `message`.

    The status of an error is that of the HTTP response, 44 for one that the vendor reported in a running task, and -1
    for a lost connection.
    """

    def __init__(
        self,
        status_code: int,
        request_id: str = "",
        code: str = "",
        message: str = "",
        output: Any = None,
        usage: Any = None,
        headers: dict[Any, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            status_code=status_code,
            request_id=request_id,
            code=code,
            message=message,
            output=output,
            usage=usage,
            headers=headers,
            **kwargs,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._shown()})"

    def __str__(self) -> str:
        return json.dumps(self._shown(), ensure_ascii=False)

    def _shown(self) -> dict[str, Any]:
        names = ("status_code", "request_id", "code", "message", "output", "usage")
        return {name: self.get(name) for name in names}


class RecognitionResponse(DashScopeAPIResponse):
    """A response of a recognition, whose `output` has a `sentence`."""

    @staticmethod
    def is_sentence_end(sentence: dict[str, Any] | None) -> bool:
        """Return True if the sentence is final: its end is known."""
        return sentence is not None and sentence.get("end_time") is not None
