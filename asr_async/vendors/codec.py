"""What a vendor's codec is: bytes in, bytes and events out, one picture of allowed steps.

A codec speaks one task on one connection, from the client's side. It does not know sockets, tasks, clocks or random
numbers: ids are given to it, and the session gives it every frame that arrives and sends every frame it returns. So a
new vendor's wire format is written, read and tested with values alone.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar, runtime_checkable

import msgspec

from ..errors import ASRError, LocalProtocolError, RemoteProtocolError
from ..results import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..audio import AudioBytes, AudioFormat
    from .options import ContextMessage

__all__ = [
    "ENDINGS",
    "CancellingCodec",
    "Codec",
    "CodecEvent",
    "CommittingCodec",
    "ContextCodec",
    "DeferringCodec",
    "Ending",
    "Failed",
    "FinalPending",
    "Finished",
    "InputClosed",
    "Message",
    "NoSpeech",
    "Started",
    "State",
    "Step",
    "TaskDescription",
    "TaskLifecycle",
    "Unrecognised",
    "Usage",
    "read_message",
]

_Message = TypeVar("_Message")

Message = str | bytes | memoryview
"""One WebSocket message: text as str, binary as bytes or memoryview."""


class Started(msgspec.Struct, frozen=True, gc=False):
    """The vendor is ready for audio."""

    request_id: str


class Usage(msgspec.Struct, frozen=True, gc=False):
    """What the vendor bills for the task so far: cumulative, the last one counts."""

    seconds: float


class InputClosed(msgspec.Struct, frozen=True):
    """The vendor listens no more: send no more audio and finish; results may still come."""


class FinalPending(msgspec.Struct, frozen=True, gc=False):
    """A final result is complete but for what may still come; call `Codec.overdue` when it has waited long enough."""

    segment_id: int


class Finished(msgspec.Struct, frozen=True):
    """The vendor confirmed the end: every result has arrived. Nothing else may end a transcript."""


class NoSpeech(msgspec.Struct, frozen=True):
    """The vendor ended the task after `finish` with an error that says no more than that nobody spoke.

    An error for a caller who sent nothing else, but not for the rest of a source of which a connection before has heard
    the words.
    """

    error: ASRError


class Failed(msgspec.Struct, frozen=True):
    """The vendor ended the task with an error."""

    error: ASRError


class Unrecognised(msgspec.Struct, frozen=True, gc=False):
    """A message that this version does not know; kept, reported once, never fatal."""

    name: str
    raw: str


Ending = Finished | NoSpeech | Failed
"""What nothing comes behind."""

ENDINGS = frozenset({Finished, NoSpeech, Failed})
"""The same, to ask for the type of an event: that costs a tenth of what `isinstance` does with a struct of another
kind, and is asked for each."""

CodecEvent = Event | Started | Usage | InputClosed | FinalPending | Unrecognised | Ending


class TaskDescription(msgspec.Struct, frozen=True, kw_only=True):
    """The facts about a vendor task that follow from its options alone, known before there is a connection."""

    audio_format: AudioFormat
    """The format that the vendor is told."""
    min_frame_bytes: int = 1
    """The size of the smallest message of audio that the vendor accepts; the last one counts too."""
    max_frame_bytes: int
    """The size of the largest one."""
    takes_commits: bool = False
    """True if the caller decides where an utterance ends; the codec is a `CommittingCodec` then."""
    context_refusal: str | None = None
    """The reason why a running task takes no new context; None if it takes one, and the codec is a `ContextCodec`."""


class Codec(Protocol):
    """The client side of one vendor task: the members that every vendor has.

    `receive` returns the events of an incoming message, and raises `RemoteProtocolError` for one that cannot be read.
    Every other method returns the messages to send now, in order. What only some protocols have is in
    `CommittingCodec`, `ContextCodec`, `CancellingCodec` and `DeferringCodec`.
    """

    @property
    def request_id(self) -> str:
        """What the vendor knows this task by; may change until `Started`."""
        ...

    def start(self) -> Sequence[Message]:
        """Open the task."""
        ...

    def audio(self, frame: AudioBytes) -> Message:
        """Wrap one piece of audio."""
        ...

    def finish(self) -> Sequence[Message]:
        """Say that no more audio comes; results are still wanted."""
        ...

    def receive(self, frame: str | bytes) -> list[CodecEvent]:
        """Read one message of the vendor."""
        ...


def read_message(
    frame: str | bytes, decode: Callable[[str], _Message], *, of: str, vendor: str, request_id: str | None
) -> _Message | Unrecognised:
    """Decode a text message; a binary one is not known to any vendor so far.

    Args:
        frame: as it came.
        decode: the vendor's decoder.
        of: the vendor as a reader of error texts knows it.
        vendor: its name here.
        request_id: what the vendor knows the task by, where that is known.

    Raises:
        RemoteProtocolError: it cannot be decoded.
    """
    if isinstance(frame, bytes):
        return Unrecognised("binary message", f"{len(frame)} bytes")
    try:
        return decode(frame)
    except msgspec.DecodeError as error:
        text = f"unreadable message from {of} ({error}): {frame[:80]!r}"
        raise RemoteProtocolError(text, request_id=request_id, vendor=vendor) from None


@runtime_checkable
class CommittingCodec(Protocol):
    """A codec of a protocol in which the caller may say where an utterance ends."""

    def commit(self) -> Sequence[Message]:
        """Have the audio since the last commit recognised as one utterance."""
        ...


@runtime_checkable
class ContextCodec(Protocol):
    """A codec of a protocol whose running task takes a new context."""

    def update_context(self, context: Sequence[ContextMessage]) -> Sequence[Message]:
        """Replace the context of the running task.

        Raises:
            ConfigurationError: the model takes none, or not as much.
        """
        ...


@runtime_checkable
class CancellingCodec(Protocol):
    """A codec of a protocol with a message that drops the rest of the task; elsewhere only closing does."""

    def cancel(self) -> Sequence[Message]:
        """Drop the results that have not arrived yet."""
        ...


@runtime_checkable
class DeferringCodec(Protocol):
    """A codec that reports `FinalPending`: a final that a later message may still complete."""

    def release_pending(self, segment_id: int) -> list[CodecEvent]:
        """Return the final of a segment that is pending, as complete as it is; empty if it was returned since.

        A codec has no clock, so its session decides when.
        """
        ...


class State(enum.Enum):
    """Where a task stands."""

    # A member equals only itself. The standard method hashes its name again with each frame of audio.
    __hash__: ClassVar[Callable[[object], int]] = object.__hash__

    IDLE = "idle"
    STARTING = "starting"
    STREAMING = "streaming"
    FINISHING = "finishing"
    DONE = "done"
    FAILED = "failed"


class Step(enum.Enum):
    """What moves a task on: the first six are ours, the rest the vendor's."""

    __hash__: ClassVar[Callable[[object], int]] = object.__hash__

    START = "start"
    AUDIO = "audio"
    UPDATE = "update the context"
    COMMIT = "commit"
    FINISH = "finish"
    CANCEL = "cancel"
    STARTED = "started"
    RESULT = "result"
    FINISHED = "finished"
    FINISHED_EARLY = "finished by itself"
    FAIL = "failed"


OUR_STEPS = frozenset({Step.START, Step.AUDIO, Step.UPDATE, Step.COMMIT, Step.FINISH, Step.CANCEL})

TRANSITIONS: dict[tuple[State, Step], State] = {
    (State.IDLE, Step.START): State.STARTING,
    (State.STARTING, Step.STARTED): State.STREAMING,
    (State.STARTING, Step.FAIL): State.FAILED,
    (State.STARTING, Step.CANCEL): State.DONE,
    (State.STREAMING, Step.AUDIO): State.STREAMING,
    (State.STREAMING, Step.UPDATE): State.STREAMING,
    (State.STREAMING, Step.COMMIT): State.STREAMING,
    (State.STREAMING, Step.RESULT): State.STREAMING,
    (State.STREAMING, Step.FINISH): State.FINISHING,
    (State.STREAMING, Step.CANCEL): State.DONE,
    (State.STREAMING, Step.FINISHED_EARLY): State.DONE,
    (State.STREAMING, Step.FAIL): State.FAILED,
    (State.FINISHING, Step.RESULT): State.FINISHING,
    (State.FINISHING, Step.FINISHED): State.DONE,
    (State.FINISHING, Step.CANCEL): State.DONE,
    (State.FINISHING, Step.FAIL): State.FAILED,
}
"""The whole life of a task, for every vendor. `FINISHED_EARLY` is taken only by codecs of models that end by themselves
(one sentence, a length limit); for all others a task that ends before `FINISH` is an error, since audio was cut off."""


class TaskLifecycle:
    """Walks `TRANSITIONS` and refuses what is not in them."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: State = State.IDLE

    def __repr__(self) -> str:
        return f"<TaskLifecycle {self.state.value}>"

    def advance(self, step: Step) -> None:
        """Go one step.

        Raises:
            LocalProtocolError: the step is ours and not allowed in this state.
            RemoteProtocolError: the step is the vendor's and not allowed in this state.
        """
        after = TRANSITIONS.get((self.state, step))
        if after is None:
            if step in OUR_STEPS:
                raise LocalProtocolError(f"cannot {step.value} while the task is {self.state.value}")
            raise RemoteProtocolError(f"the vendor reported {step.value!r} while the task was {self.state.value}")
        self.state = after
