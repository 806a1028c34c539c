"""The interface of a vendor's codec: messages in, messages and events out, and one table of allowed steps.

A codec is the client side of one vendor task on one connection. It does not know sockets, asyncio tasks, clocks or
random numbers: ids are arguments, and the session passes it every message that arrives and sends every message that it
returns. So the wire format of a new vendor is written, read and tested with values alone.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar, get_args, runtime_checkable

import msgspec

from ..errors import ASRError, LocalProtocolError, RemoteProtocolError
from ..results import Event
from .lenient import LenientReader, UnreadableError

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
    "EndingCodec",
    "Failed",
    "FinalPending",
    "Finished",
    "InputClosed",
    "KeepaliveCodec",
    "MembersLeftOut",
    "Message",
    "NoSpeech",
    "Reread",
    "Started",
    "State",
    "Step",
    "TaskDescription",
    "TaskLifecycle",
    "Unheard",
    "Unrecognised",
    "UntimedCodec",
    "Usage",
    "check_codec",
    "check_events",
    "read_message",
    "reread_events",
]

_Message = TypeVar("_Message")

Message = str | bytes | memoryview
"""One WebSocket message: text as str, binary as bytes or memoryview."""


class Started(msgspec.Struct, frozen=True, gc=False):
    """The vendor is ready for audio.

    Where it does not answer the start (`TaskDescription.answers_start`), this may come later or not at all.
    """

    request_id: str


class Usage(msgspec.Struct, frozen=True, gc=False):
    """The seconds that the vendor bills for the task so far: cumulative, so the last event counts."""

    seconds: float


class InputClosed(msgspec.Struct, frozen=True):
    """The vendor recognises no more audio: the session sends none and finishes the task; results may still come."""


class FinalPending(msgspec.Struct, frozen=True, gc=False):
    """A final result waits for a message that may complete it; see `DeferringCodec.release_pending`."""

    segment_id: int


class Unheard(msgspec.Struct, frozen=True, gc=False):
    """Speech that the vendor reported (a detection, a commit) and never gave a text for.

    It is returned at the end of the task, in front of the ending, since the text may come until then; a commit that is
    withdrawn because later ones were answered is returned before.
    """

    start_ms: int
    end_ms: int | None
    """None if the vendor did not report an end: it may reach to the end of the audio."""
    reason: str


class Finished(msgspec.Struct, frozen=True):
    """The vendor confirmed the end: every result has arrived. No other event ends a transcript without an error."""


class NoSpeech(msgspec.Struct, frozen=True):
    """The vendor ended the task after `finish` with an error that means: the audio contained no speech.

    This is an error for a source without any speech, but not for the end of a source whose words an earlier connection
    has recognised.
    """

    error: ASRError


class Failed(msgspec.Struct, frozen=True):
    """The vendor ended the task with an error."""

    error: ASRError


class Unrecognised(msgspec.Struct, frozen=True, gc=False):
    """A message that this version does not know; it is kept and reported once, and never ends a task."""

    name: str
    raw: str


class MembersLeftOut(msgspec.Struct, frozen=True):
    """Members of a message that could not be used; the rest of it was. Each name is reported once."""

    names: tuple[str, ...]


Ending = Finished | NoSpeech | Failed
"""The events after which no other comes."""

ENDINGS = frozenset({Finished, NoSpeech, Failed})
"""The same as a set of types: a look-up by `type(event)` takes a tenth of the time of `isinstance` with a union of
structs, and is made for each event."""

CodecEvent = Event | Started | Usage | InputClosed | FinalPending | Unheard | Unrecognised | MembersLeftOut | Ending

_EVENT_TYPES = frozenset(get_args(CodecEvent))


class TaskDescription(msgspec.Struct, frozen=True, kw_only=True):
    """The facts about a vendor task that follow from its options alone, known before there is a connection."""

    audio_format: AudioFormat
    """The format that the task declares to the vendor."""
    min_frame_bytes: int = 1
    """The size of the smallest message of audio that the vendor accepts, the last one of a task included."""
    max_frame_bytes: int
    """The size of the largest message of audio."""
    takes_commits: bool = False
    """True if the caller decides where an utterance ends; the codec is a `CommittingCodec` then."""
    context_refusal: str | None = None
    """The reason for which a running task accepts no new context; None if the codec is a `ContextCodec`."""
    answers_start: bool = True
    """False if the vendor does not answer the start: audio is sent at once. An error that comes later ends the task as
    any other does; the vendor's id of the task, if there is one, is that of `Codec.request_id` whenever it is known."""
    ends_by_close: bool = False
    """True if the vendor confirms the end by closing the connection after `finish`, in good order (WebSocket close code
    1000, or none). The codec is an `EndingCodec` then. A connection that is closed before the vendor can have received
    the end of the audio, or with another code, or that breaks, is lost."""
    quiet_end_s: float | None = None
    """The time without a message, after `finish`, that means the end, where the vendor confirms it by nothing; None if
    it does. The codec is an `EndingCodec` then.

    It counts from the last message on, and from the time at which the audio could have been recognised in real time;
    the server must have answered a ping meanwhile, so the silence is not the network's. Audio behind the last result
    is reported as a `Gap`, unless it is about a second or less: the vendor has not confirmed that it holds no speech.
    """
    keepalive_s: float | None = None
    """The time without audio after which a message keeps the vendor from ending the task; None if nothing is needed.
    The codec is a `KeepaliveCodec` then. No such message is sent after `finish`."""


@runtime_checkable
class Codec(Protocol):
    """The client side of one vendor task: the members that every vendor has.

    `receive` returns the events of an incoming message, and raises `RemoteProtocolError` for one that cannot be read. A
    member that is not needed never makes a message unreadable: see `lenient`. Every other method returns the messages
    to send now, in order. The members that only some protocols have are in `CommittingCodec`, `ContextCodec`,
    `CancellingCodec`, `DeferringCodec`, `EndingCodec`, `KeepaliveCodec` and `UntimedCodec`.
    """

    @property
    def request_id(self) -> str:
        """The vendor's id of this task, empty while it has none; it may change until `Started`."""
        ...

    def start(self) -> Sequence[Message]:
        """Return the messages that open the task."""
        ...

    def audio(self, frame: AudioBytes) -> Message:
        """Return the message that carries one piece of audio."""
        ...

    def finish(self) -> Sequence[Message]:
        """Return the messages that end the audio; the vendor still sends the results of it."""
        ...

    def receive(self, message: str | bytes) -> list[CodecEvent]:
        """Return the events of one message of the vendor."""
        ...


class Reread(msgspec.Struct, Generic[_Message], frozen=True):
    """A message that the strict decoder does not accept, or that is binary."""

    message: _Message | None
    """The message as far as it could be read; None if nothing of it is to be handled."""
    note: Unrecognised | MembersLeftOut | None
    """The event that reports what is missing; None if nothing is."""


def read_message(
    message: str | bytes,
    decode: Callable[[str], _Message | Reread[_Message]],
    reader: LenientReader[_Message],
    *,
    of: str,
    vendor: str,
    request_id: str | None,
) -> _Message | Reread[_Message]:
    """Decode a message: JSON as text, or in a binary message, as gateways pass it on that know no other.

    Args:
        message: the message as it arrived.
        decode: the vendor's strict decoder.
        reader: the reader of the messages that the strict decoder refuses.
        of: the vendor's name in error texts.
        vendor: the vendor's name in options and errors (`ASRError.vendor`).
        request_id: the vendor's id of the task, if it is known already.

    Raises:
        RemoteProtocolError: the message cannot be read, not even leniently. A binary one is `Unrecognised` then, since
            it may hold anything.
    """
    if isinstance(message, bytes):
        return _read_binary(message, decode, reader)
    try:
        return decode(message)
    except (msgspec.DecodeError, RecursionError) as error:
        try:
            return _reread(message, reader)
        except UnreadableError:
            text = f"unreadable message from {of} ({error}): {message[:80]!r}"
            raise RemoteProtocolError(text, request_id=request_id, vendor=vendor, raw=message) from None


def _reread(message: str, reader: LenientReader[_Message]) -> Reread[_Message]:
    partial, left_out = reader.read(message)
    return Reread(partial, MembersLeftOut(left_out) if left_out else None)


def _read_binary(
    message: bytes, decode: Callable[[str], _Message | Reread[_Message]], reader: LenientReader[_Message]
) -> Reread[_Message]:
    try:
        text = message.decode()
        try:
            decoded = decode(text)
        except (msgspec.DecodeError, RecursionError):
            decoded = _reread(text, reader)
    except (UnicodeDecodeError, UnreadableError):
        return Reread(None, Unrecognised("binary message", f"{len(message)} bytes"))
    return decoded if isinstance(decoded, Reread) else Reread(decoded, None)


def reread_events(
    reread: Reread[_Message], handle: Callable[[_Message, str], list[CodecEvent]], message: str | bytes
) -> list[CodecEvent]:
    """Return the events of a message that the strict decoder does not accept, or that is binary.

    Args:
        reread: the message.
        handle: the codec's method for a message, called with it and its text.
        message: the message as it arrived.
    """
    notes: list[CodecEvent] = [] if reread.note is None else [reread.note]
    if reread.message is None:
        return notes
    return [*notes, *handle(reread.message, message if isinstance(message, str) else message.decode())]


@runtime_checkable
class CommittingCodec(Protocol):
    """A codec of a protocol in which the caller decides where an utterance ends."""

    def commit(self) -> Sequence[Message]:
        """Return the messages that have the audio since the last commit recognised as one utterance."""
        ...


@runtime_checkable
class ContextCodec(Protocol):
    """A codec of a protocol in which a running task accepts a new context."""

    def update_context(self, context: Sequence[ContextMessage]) -> Sequence[Message]:
        """Return the messages that replace the context of the running task.

        Raises:
            ConfigurationError: the model has no context, or the context is too long.
        """
        ...


@runtime_checkable
class CancellingCodec(Protocol):
    """A codec of a protocol with a message that drops the rest of the task; elsewhere only closing does."""

    def cancel(self) -> Sequence[Message]:
        """Return the messages that drop the results that have not arrived yet."""
        ...


@runtime_checkable
class DeferringCodec(Protocol):
    """A codec that reports `FinalPending`: a final that a later message may still complete."""

    def release_pending(self, segment_id: int) -> list[CodecEvent]:
        """Return the pending final of a segment, as complete as it is now; empty if it was returned since.

        A codec has no clock, so the session decides when a final has waited long enough.
        """
        ...

    def lost_translations(self, reason: str) -> list[CodecEvent]:
        """Return a `TranslationLost` for each final that was returned without a final translation; each once.

        At the end that the vendor confirms, the codec returns them by itself. The session calls this when the
        connection is lost before.
        """
        ...


@runtime_checkable
class EndingCodec(Protocol):
    """A codec of a protocol in which no message confirms the end; see `ends_by_close` and `quiet_end_s`."""

    def end(self) -> list[CodecEvent]:
        """Return the events of the end: a final for each interim without one (`is_confirmed=False`), then `Finished`.

        Called after `finish`, when the server has closed the connection or has been quiet. If an answer is still
        missing, by what the codec knows, it returns no ending: then the connection is lost, or the session waits for
        the next message or the next quiet. A codec with a `SegmentTracker` has the finals from `close_at_end`.
        """
        ...


@runtime_checkable
class KeepaliveCodec(Protocol):
    """A codec of a protocol whose server ends a task to which nothing is sent; see `TaskDescription.keepalive_s`."""

    def keepalive(self) -> Sequence[Message]:
        """Return the messages that keep the task open."""
        ...


@runtime_checkable
class UntimedCodec(Protocol):
    """A codec of a protocol in which results may have no times, by which words that are known could be left out."""

    @property
    def has_untimed_results(self) -> bool:
        """True unless the finals of this task have shown that the server reports times."""
        ...

    def expect_repeats(self) -> None:
        """Mark results without times (`Result.may_repeat`): audio is sent that an earlier task had got.

        Called before the first audio of a task that replaces a lost one, or an old one whose last audio it gets too.
        """
        ...


def check_codec(codec: object, description: TaskDescription, *, vendor: str) -> None:
    """Refuse a codec that lacks a member which every codec has, or which the description of its tasks announces.

    Raises:
        LocalProtocolError: the text names the codec, its vendor and the missing member.
    """
    announced: list[tuple[bool, type, str]] = [
        (True, Codec, "request_id, start(), audio(), finish() and receive()"),
        (description.takes_commits, CommittingCodec, "commit(), since its tasks take commits"),
        (description.ends_by_close, EndingCodec, "end(), since its tasks end by the server's close"),
        (description.quiet_end_s is not None, EndingCodec, "end(), since its tasks end by quiet"),
        (description.keepalive_s is not None, KeepaliveCodec, "keepalive(), since its tasks have a keepalive_s"),
    ]
    for is_needed, protocol, members in announced:
        if is_needed and not isinstance(codec, protocol):
            raise LocalProtocolError(
                f"the codec {type(codec).__name__} of vendor {vendor!r} must have {members}", vendor=vendor
            )


def check_events(events: object) -> None:
    """Refuse a return value of a codec that is not a list of events.

    Raises:
        TypeError: the text says what it is.
    """
    if not isinstance(events, list | tuple):
        raise TypeError(f"a value of type {type(events).__name__}, not a list of events")
    for event in events:
        if type(event) not in _EVENT_TYPES:
            raise TypeError(f"a list with a value of type {type(event).__name__}, which is no event of a codec")


class State(enum.Enum):
    """The state of a task."""

    # A member equals only itself. The standard method hashes its name again with each frame of audio.
    __hash__: ClassVar[Callable[[object], int]] = object.__hash__

    IDLE = "idle"
    STARTING = "starting"
    STREAMING = "streaming"
    FINISHING = "finishing"
    DONE = "done"
    FAILED = "failed"


class Step(enum.Enum):
    """A step from one state to another: the first six are the client's, the rest are the vendor's."""

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


CLIENT_STEPS = frozenset({Step.START, Step.AUDIO, Step.UPDATE, Step.COMMIT, Step.FINISH, Step.CANCEL})

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
"""The whole life of a task, for every vendor. `FINISHED_EARLY` is for codecs of models that end a task by themselves
(one sentence, a length limit); with all others, a task that ends before `FINISH` is an error: audio was cut off."""


class TaskLifecycle:
    """The state of one task, which changes by `TRANSITIONS` only."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: State = State.IDLE

    def __repr__(self) -> str:
        return f"<TaskLifecycle {self.state.value}>"

    def advance(self, step: Step) -> None:
        """Change the state.

        Raises:
            LocalProtocolError: the client's step is not allowed in this state.
            RemoteProtocolError: the vendor's step is not allowed in this state.
        """
        after = TRANSITIONS.get((self.state, step))
        if after is None:
            if step in CLIENT_STEPS:
                raise LocalProtocolError(f"cannot {step.value} while the task is {self.state.value}")
            raise RemoteProtocolError(f"the vendor reported {step.value!r} while the task was {self.state.value}")
        self.state = after
