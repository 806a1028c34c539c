"""The log records of one session, which have its tags as attributes.

Does not know what is logged.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .observer import SessionInfo

__all__ = ["SessionLogger"]

PREFIX = "tag_"
"""The beginning of the attribute of a tag that has the name of an attribute which each log record has."""


class SessionLogger(logging.LoggerAdapter[logging.Logger]):
    """The logger of one session: its records have `asr_session`, `asr_vendor`, `asr_model` and the tags as attributes.

    `asr_session` is `SessionInfo.number`. A tag whose name is an attribute of every log record, such as "name" or
    "args", is the attribute "tag_name" or "tag_args".
    """

    def __init__(self, session: SessionInfo) -> None:
        super().__init__(logging.getLogger("asr_async"))
        self._session = session

    def __repr__(self) -> str:
        return f"<SessionLogger {self._session!r}>"

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the attributes of the record. A name that `logging` does not allow would be an exception there."""
        session = self._session
        extra: dict[str, Any] = {
            "asr_session": session.number,
            "asr_vendor": session.vendor,
            "asr_model": session.model,
        }
        # those of the program's own record factory too, which may be set at any time
        taken = {*vars(logging.makeLogRecord({})), "message", "asctime", *extra}
        for name, value in session.tags.items():
            while name in taken:
                name = PREFIX + name  # noqa: PLW2901
            extra[name] = value
            taken.add(name)
        return msg, {**kwargs, "extra": extra}
