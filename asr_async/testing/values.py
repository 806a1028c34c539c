"""The checks of a codec with values: the calls of a recorded session are repeated with new codecs.

Each function raises `Broken` with the reason if the contract is broken. Does not know a vendor, sockets or tasks.
"""

from __future__ import annotations

import copy
import pickle
import time
from collections.abc import Callable, Sequence

from .._text.lines import one_line
from ..errors import ASRError, LocalProtocolError
from ..results import Result, SpeechEnded, SpeechStarted
from ..vendors.codec import (
    Codec,
    CodecEvent,
    CommittingCodec,
    ContextCodec,
    Started,
    TaskDescription,
    check_codec,
    check_events,
)
from ..vendors.options import Options
from .conversation import Conversation, is_ending, without_raw
from .mutations import mutations, with_unknown_members

__all__ = ["VALUE_CHECKS", "Broken", "Subject", "check_description"]

MAX_CONTROL_BYTES = 1024 * 1024
"""The longest message that opens or ends a task."""

MAX_RECEIVE_S = 1.0
"""The longest time that a codec may take for one message of a few kilobytes: it holds the event loop."""

MAX_MUTATED_MESSAGES = 12
"""The messages of a conversation that are damaged: the first of each kind, by the events that they bring."""


class Broken(Exception):  # noqa: N818 - the contract, not this program
    """The contract is broken; the text says in which way."""


class Subject:
    """One vendor's codec with some options, and a recorded conversation with its room."""

    def __init__(
        self,
        options: Options,
        description: TaskDescription,
        create: Callable[[str], Codec],
        conversation: Conversation,
        *,
        vendor: str,
    ) -> None:
        self.options = options
        self.description = description
        self.conversation = conversation
        self.vendor = vendor
        self._create = create

    def __repr__(self) -> str:
        return f"<Subject {type(self.options).__name__} {self.options.model}>"

    def new_codec(self, task_id: str | None = None) -> Codec:
        """Return a codec that nothing was called of."""
        return self._create(self.conversation.task_id if task_id is None else task_id)

    def played(self, until: int | None = None) -> Codec:
        """Return a codec after the calls of the conversation, up to a place."""
        return self.conversation.play(self.new_codec(), until)

    @property
    def start_place(self) -> int:
        """The place of the call whose events contain `Started`.

        Raises:
            Broken: there is none.
        """
        for place in self.conversation.received:
            if any(isinstance(event, Started) for event in self.conversation.calls[place].returned):
                return place
        raise Broken("receive() never returned Started")

    @property
    def finish_place(self) -> int:
        """The place of the call of `finish`.

        Raises:
            Broken: there is none.
        """
        for place, call in enumerate(self.conversation.calls):
            if call.method == "finish":
                return place
        raise Broken("finish() was never called: the session did not get that far")


# --- the description -------------------------------------------------------------------------------------------------


def check_description(options: Options, description: TaskDescription, codec: Codec, *, vendor: str) -> None:
    """Check that options, description and codec agree.

    Raises:
        Broken: they do not.
        ASRError: a member that the description announces is missing.
    """
    check_codec(codec, description, vendor=vendor)
    audio, capabilities = description.audio_format, options.capabilities
    if audio != options.audio:
        raise Broken(f"the description declares {audio}, and the options {options.audio}")
    frame_bytes = audio.frame_bytes()
    if not 1 <= description.min_frame_bytes <= frame_bytes <= description.max_frame_bytes:
        raise Broken(
            f"a frame of 100 ms has {frame_bytes} bytes, and the description allows {description.min_frame_bytes} to "
            f"{description.max_frame_bytes}"
        )
    if capabilities.commit != description.takes_commits:
        raise Broken(f"capabilities.commit={capabilities.commit}, but takes_commits={description.takes_commits}")
    if capabilities.context and description.context_refusal is not None:
        raise Broken(f"capabilities.context=True, but context_refusal={description.context_refusal!r}")
    if capabilities.context and not isinstance(codec, ContextCodec):
        raise Broken("capabilities.context=True, but the codec has no update_context()")
    if description.takes_commits and not isinstance(codec, CommittingCodec):
        raise Broken("takes_commits=True, but the codec has no commit()")
    if audio.encoding not in capabilities.formats:
        raise Broken(f"the audio is {audio.encoding}, which capabilities.formats={capabilities.formats} lacks")


# --- the client's side -----------------------------------------------------------------------------------------------


def _check_start(subject: Subject) -> None:
    """The messages that open a task are a bounded sequence."""
    _check_sequence("start", subject.new_codec().start())


def _check_finish(subject: Subject) -> None:
    """The messages that end the audio are a bounded sequence."""
    _check_sequence("finish", subject.played(subject.finish_place).finish())


def _check_sequence(method: str, messages: object) -> None:
    if isinstance(messages, str | bytes) or not isinstance(messages, Sequence):
        raise Broken(f"{method}() returned a value of type {type(messages).__name__}, not a sequence of messages")
    for message in messages:
        _check_message(method, message, MAX_CONTROL_BYTES)


def _check_message(method: str, message: object, limit: int) -> None:
    if not isinstance(message, str | bytes | memoryview):
        raise Broken(f"{method}() returned a message of type {type(message).__name__}, not str, bytes or memoryview")
    size = message.nbytes if isinstance(message, memoryview) else len(message)
    if size > limit:
        raise Broken(f"{method}() returned a message of {size} bytes")


def _check_audio(subject: Subject) -> None:
    """Every frame within the bounds becomes one bounded message, as bytes and as memoryview."""
    description = subject.description
    place = subject.start_place + 1 if description.answers_start else 1
    sample_bytes = description.audio_format.sample_bytes
    smallest = -(-description.min_frame_bytes // sample_bytes) * sample_bytes
    for size in (smallest, description.audio_format.frame_bytes(), min(description.max_frame_bytes, 64 * 1024)):
        frame = bytes(size)
        message = subject.played(place).audio(frame)
        _check_message("audio", message, 2 * size + 4_096)
        if subject.played(place).audio(memoryview(frame)) != message:
            raise Broken(f"audio() returns another message for a memoryview of {size} bytes than for bytes")


def _check_order(subject: Subject) -> None:
    """Steps that the table does not allow are refused with LocalProtocolError.

    A codec that refuses none of them leaves the order to the session, which keeps it.
    """
    description = subject.description
    frame = bytes(description.audio_format.frame_bytes())
    started = subject.start_place + 1 if description.answers_start else 1
    finished = subject.finish_place + 1
    refused: list[tuple[str, Callable[[], object]]] = [
        ("audio() before start()", lambda: subject.new_codec().audio(frame)),
        ("finish() before start()", lambda: subject.new_codec().finish()),
        ("a second start()", lambda: subject.played(started).start()),
        ("audio() behind finish()", lambda: subject.played(finished).audio(frame)),
        ("a second finish()", lambda: subject.played(finished).finish()),
    ]
    if description.answers_start:
        refused.append(("audio() before the start was answered", lambda: _begun(subject).audio(frame)))
    accepted = []
    for step, call in refused:
        try:
            call()
        except LocalProtocolError:
            continue
        accepted.append(step)
    if accepted and len(accepted) < len(refused):
        raise Broken(f"{accepted[0]} must raise LocalProtocolError, as other steps do: give the codec a TaskLifecycle")


def _begun(subject: Subject) -> Codec:
    codec = subject.new_codec()
    codec.start()
    return codec


def _check_determinism(subject: Subject) -> None:
    """The same calls bring the same messages and events."""
    codec = subject.new_codec()
    for number, call in enumerate(subject.conversation.calls, 1):
        returned = call.repeat(codec)
        same = (
            without_raw(returned) == without_raw(call.returned)
            if call.method == "receive"
            else returned == call.returned
        )
        if not same:
            raise Broken(
                f"call {number}, {call.method}(), returns something else the second time: a codec has no clock and no "
                f"random numbers; ids are arguments ({_shown(call.returned)}, then {_shown(returned)})"
            )


def _shown(value: object) -> str:
    return one_line(repr(value), 120)


# --- the vendor's side -----------------------------------------------------------------------------------------------


def _check_events(subject: Subject) -> None:
    """Segments keep their number, have one final and plausible times; the ending is the last event."""
    finals: set[int] = set()
    started: set[int] = set()
    has_ended = False
    for place in subject.conversation.received:
        for event in subject.conversation.calls[place].returned:
            if has_ended:
                raise Broken(f"{type(event).__name__} follows the ending")
            has_ended = is_ending(event)
            if isinstance(event, SpeechStarted):
                if event.segment_id in started:
                    raise Broken(f"segment {event.segment_id} has a second SpeechStarted")
                started.add(event.segment_id)
            elif isinstance(event, Result):
                _check_result(event, finals, started)
            elif isinstance(event, SpeechEnded) and event.segment_id not in started:
                raise Broken(f"segment {event.segment_id} ends before its SpeechStarted")
    if not has_ended and not (subject.description.ends_by_close or subject.description.quiet_end_s is not None):
        raise Broken("the session is over, but receive() returned no ending")


def _check_result(result: Result, finals: set[int], started: set[int]) -> None:
    number = result.segment_id
    kind = "a final" if result.is_final else "an interim"
    if number not in started:
        raise Broken(f"segment {number} has {kind} before its SpeechStarted")
    if number in finals:
        raise Broken(f"segment {number} has {kind} behind its final: each segment has one final, its last result")
    if result.is_final:
        finals.add(number)
    if not 0 <= result.start_ms <= result.end_ms:
        raise Broken(f"segment {number} lasts from {result.start_ms} to {result.end_ms} ms")


def _check_ending(subject: Subject) -> None:
    """No event follows the ending, whatever still arrives."""
    codec = subject.played()
    ended = any(is_ending(event) for place in subject.conversation.received for event in _returned(subject, place))
    if not ended:
        return  # the end is the server's close, or quiet
    for place in subject.conversation.received:
        try:
            events = codec.receive(subject.conversation.calls[place].argument)
        except ASRError:
            continue
        check_events(events)
        for event in events:
            if is_ending(event) or isinstance(event, Result | Started):
                raise Broken(f"{type(event).__name__} follows the ending, for a message that comes late")


def _returned(subject: Subject, place: int) -> list[CodecEvent]:
    events: list[CodecEvent] = subject.conversation.calls[place].returned
    return events


def _check_early_messages(subject: Subject) -> None:
    """No result is returned before the task has started."""
    if not subject.description.answers_start:
        return
    for place in subject.conversation.received:
        if any(isinstance(event, Result) for event in _returned(subject, place)):
            try:
                events = _begun(subject).receive(subject.conversation.calls[place].argument)
            except ASRError:
                return
            if any(isinstance(event, Result) for event in events):
                raise Broken("a result that arrives before the start was answered is returned")
            return


def _check_unknown_members(subject: Subject) -> None:
    """Members that this version of the codec does not know change nothing."""
    codec = subject.new_codec()
    for call in subject.conversation.calls:
        if call.method != "receive":
            call.repeat(codec)
            continue
        try:
            events = codec.receive(with_unknown_members(call.argument))
        except ASRError as error:
            raise Broken(f"a message with a member that is not known is refused: {error}") from None
        if without_raw(events) != without_raw(call.returned):
            raise Broken(f"a member that is not known changes the events of {_shown(call.argument)}")


def _check_damaged_messages(subject: Subject) -> None:
    """A damaged message brings events or an ASRError, at once, and nothing else."""
    for place in _messages_to_damage(subject):
        for name, message in mutations(subject.conversation.calls[place].argument):
            codec = subject.played(place)
            started_at = time.perf_counter()
            try:
                check_events(codec.receive(message))
            except ASRError:
                pass
            except Exception as error:
                raise Broken(
                    f"{name} raises {type(error).__name__}, not an ASRError: {one_line(str(error), 200)}"
                ) from error
            if time.perf_counter() - started_at > MAX_RECEIVE_S:
                raise Broken(f"{name} takes receive() more than {MAX_RECEIVE_S:g} s")


def _messages_to_damage(subject: Subject) -> list[int]:
    kinds: dict[tuple[str, ...], int] = {}
    for place in subject.conversation.received:
        kinds.setdefault(tuple(type(event).__name__ for event in _returned(subject, place)), place)
    return list(kinds.values())[:MAX_MUTATED_MESSAGES]


# --- values ----------------------------------------------------------------------------------------------------------


def _check_copies(subject: Subject) -> None:
    """Options and events can be pickled, copied and compared; options can be keys."""
    events = [event for place in subject.conversation.received for event in _returned(subject, place)]
    for value in (subject.options, *events):
        for name, copied in (("pickled", pickle.loads(pickle.dumps(value))), ("copied", copy.deepcopy(value))):  # noqa: S301
            if type(copied) is not type(value) or (copied != value and not is_ending(value)):
                raise Broken(f"{_shown(value)} is another value when it is {name}: {_shown(copied)}")
    hash(subject.options)


VALUE_CHECKS: dict[str, Callable[[Subject], None]] = {
    "the messages of start()": _check_start,
    "the messages of finish()": _check_finish,
    "messages of audio": _check_audio,
    "the order of steps": _check_order,
    "the same calls again": _check_determinism,
    "segments, times and the ending": _check_events,
    "messages behind the ending": _check_ending,
    "results before the start": _check_early_messages,
    "members that are not known": _check_unknown_members,
    "damaged messages": _check_damaged_messages,
    "pickling and copying": _check_copies,
}
"""The name of each check, and its function."""
