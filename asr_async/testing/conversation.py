"""The calls of one session to its codec, recorded, and played again to new codecs.

A codec has no clock and no random numbers, so a new codec with the same id returns the same for the same calls. Does
not know a vendor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

import msgspec

from ..results import Result
from ..vendors.codec import ENDINGS, Codec, CodecEvent, check_events

if TYPE_CHECKING:
    from ..vendors.options import Options
    from ..vendors.service import Service

__all__ = ["Call", "Conversation", "RecordingService", "is_ending", "without_raw"]

_RECORDED = ("start", "audio", "commit", "finish", "receive")


class Call(msgspec.Struct, frozen=True):
    """One call of a codec's method."""

    method: str
    argument: Any
    """The frame or the message; None if the method has no argument."""
    returned: Any

    def repeat(self, codec: Codec, argument: Any = None) -> Any:
        """Call the method of another codec, with this argument or another one."""
        method: Callable[..., Any] = getattr(codec, self.method)
        given = self.argument if argument is None else argument
        return method() if given is None else method(given)


class Conversation:
    """The calls of one session to one codec."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        self.calls: list[Call] = []

    def __repr__(self) -> str:
        return f"<Conversation of {len(self.calls)} calls>"

    @property
    def received(self) -> list[int]:
        """The places of the vendor's messages among the calls."""
        return [place for place, call in enumerate(self.calls) if call.method == "receive"]

    def play(self, codec: Codec, until: int | None = None) -> Codec:
        """Repeat the calls with another codec, up to a place, and return it."""
        for call in self.calls[:until]:
            call.repeat(codec)
        return codec


class RecordingService:
    """A service whose codecs record the calls of their session."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.conversations: list[Conversation] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service, name)

    async def __aenter__(self) -> Self:
        await self._service.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._service.__aexit__(*exc_info)

    def codec(self, options: Options, *, task_id: str) -> Codec:
        """Make the codec of one task, and record its calls."""
        conversation = Conversation(task_id)
        self.conversations.append(conversation)
        return _recorded(self._service.codec(options, task_id=task_id), conversation)


def _recorded(codec: Codec, conversation: Conversation) -> Codec:
    """Return the codec, with a class whose methods record their calls: it keeps exactly the members that it has."""

    def recording(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Codec, *arguments: Any) -> Any:
            returned = method(self, *arguments)
            argument = bytes(arguments[0]) if name == "audio" else next(iter(arguments), None)
            conversation.calls.append(Call(name, argument, _kept(returned)))
            return returned

        return call

    cls = type(codec)
    members: dict[str, Any] = {
        name: recording(name, method) for name in _RECORDED if callable(method := getattr(cls, name, None))
    }
    object.__setattr__(codec, "__class__", type(cls.__name__, (cls,), {"__slots__": (), **members}))
    return codec


def _kept(returned: Any) -> Any:
    """Return a copy that a later call does not change."""
    if isinstance(returned, memoryview):
        return bytes(returned)
    return list(returned) if isinstance(returned, list) else returned


def is_ending(event: object) -> bool:
    """Return True for an event after which no other comes."""
    return type(event) in ENDINGS


def without_raw(events: Sequence[CodecEvent]) -> list[object]:
    """Return events that can be compared: without the text of the message that they come from."""
    check_events(events)
    return [msgspec.structs.replace(event, raw=None) if isinstance(event, Result) else event for event in events]
