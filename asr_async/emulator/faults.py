"""Faults on demand: which fault the emulator injects, into which of its connections, and when.

A plan is a list of faults, in Python or as JSON; `kind` is the class name in lower case with underscores:

```python
serve(faults=[Refuse(status=503, connection=1), Cut(after_audio_ms=1_500, every=2, times=10)])
```
```json
{"seed": 7, "faults": [
  {"kind": "refuse", "status": 503, "connection": 1},
  {"kind": "cut", "after_audio_ms": 1500, "every": 2, "times": 10},
  {"kind": "half_open", "after_s": 3, "probability": 0.1}
]}
```

**Which connections.** WebSocket connections are numbered from 1 in the order in which they arrive, over all endpoints;
a client with a wrong key is not counted. A fault applies to the connection with the number `connection`, or to each
`every`th one, or to all; among these `probability` selects, by the seed of the plan and nothing else: the same plan
strikes the same connections in every run. A fault strikes a connection once, and `times` connections in all.

**When.** Most faults have a trigger, which is one of

- `at`: "handshake"; "start" and "finish", when the client's message arrives (run-task, session.update, START; the end
  of the audio); "audio", after the first message with audio; "result", after the message with audio (or the end of the
  audio) that produced the first result;
- `after_frames`: once this many messages with audio have been processed, over all tasks of the connection;
- `after_audio_ms`: once this much audio has been processed, at the end of the message that contains it;
- `after_s`: this many seconds after the connection was opened.

`Redraw` has no trigger: it changes what the engine recognises from the beginning of the connection on.

`Emulator.faults_struck` counts the connections that each kind has struck. A client that reconnects is tested with audio
that encodes its position, and `Scripted(..., position=position_of)`, which follows it over several connections.

Knows no protocol and no socket: a `ConnectionFaults` returns the faults that are due at each step of a connection, and
the caller injects them. Plain HTTP, for tables and tokens, has no faults.
"""

from __future__ import annotations

import logging
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

import msgspec

from ..audio import FRAME_MS
from ..errors import ConfigurationError
from ..vendors.options import did_you_mean
from .connection import MAX_REASON_BYTES
from .engines.redrawn import RedrawnEngine
from .json_file import load_json

if TYPE_CHECKING:
    import os
    from typing import Self

    from .engines.engine import Engine

__all__ = [
    "Close",
    "ConnectionFaults",
    "Cut",
    "Delay",
    "Fail",
    "Fault",
    "FaultInjector",
    "Faults",
    "Garbage",
    "HalfOpen",
    "Moment",
    "MuteFinish",
    "Redraw",
    "Refuse",
    "SlowReader",
    "Throttle",
]

Moment = Literal["handshake", "start", "audio", "finish", "result"]

_UNSENDABLE_CODES = frozenset({1004, 1005, 1006, 1015})
"""Codes that report the absence of a close frame or of its code, and are never sent (RFC 6455, 7.4.1)."""

_Count = Annotated[int, msgspec.Meta(ge=1)]
_Length = Annotated[float, msgspec.Meta(ge=0)]

_logger = logging.getLogger("asr_async")


def _kind_of(class_name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", class_name).lower()


class Trigger(msgspec.Struct, frozen=True):
    """The moment on a connection at which a fault is injected; one member is set."""

    at: Moment | None = None
    after_frames: int | None = None
    after_audio_ms: float | None = None
    after_s: float | None = None


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag=_kind_of):
    """The base of all faults: to which connections a fault applies, and how often.

    Args:
        connection: the number of the only connection that it applies to, from 1.
        every: apply to each connection with a number that is a multiple of this; not beside `connection`.
        times: the most connections that it strikes.
        probability: the probability that it strikes a connection that it applies to.

    Raises:
        ConfigurationError: a member has the wrong type, is out of range or conflicts with another one.
    """

    _moment: ClassVar[Moment | None] = None
    """The default trigger; None if a trigger must be given."""

    connection: _Count | None = None
    every: _Count | None = None
    times: _Count | None = None
    probability: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0

    def __post_init__(self) -> None:
        for field in msgspec.structs.fields(type(self)):
            value = getattr(self, field.name)
            try:
                msgspec.convert(value, field.type)
            except msgspec.ValidationError as error:
                reason = str(error).replace("Expected", "expected").replace("`", "")
                if field.name == "at":
                    reason = did_you_mean(value, get_args(Moment))
                raise ConfigurationError(f"{self.kind}: {field.name}={value!r}: {reason}") from None
        if self.connection is not None and self.every is not None:
            raise ConfigurationError(f"{self.kind}: connection and every exclude each other")
        self._check()

    def _check(self) -> None:
        """Check the members against each other; overridden by the kinds."""

    @property
    def kind(self) -> str:
        """The name of the kind in JSON."""
        return _kind_of(type(self).__name__)

    @property
    def trigger(self) -> Trigger:
        """The moment at which it is injected."""
        return Trigger(at=self._moment)


class _TriggeredFault(Fault, frozen=True, kw_only=True, omit_defaults=True):
    """A fault with a free choice of the trigger; the module docstring explains these members."""

    at: Moment | None = None
    after_frames: _Count | None = None
    after_audio_ms: _Length | None = None
    after_s: _Length | None = None

    def _check(self) -> None:
        given = [name for name in Trigger.__struct_fields__ if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigurationError(f"{self.kind}: {' and '.join(given)} exclude each other")
        if not given and self._moment is None:
            raise ConfigurationError(f"{self.kind}: needs one of {', '.join(Trigger.__struct_fields__)}")

    @property
    def trigger(self) -> Trigger:
        """The moment at which it is injected."""
        given = Trigger(self.at, self.after_frames, self.after_audio_ms, self.after_s)
        return super().trigger if given == Trigger() else given


class Refuse(Fault, frozen=True, kw_only=True, omit_defaults=True):
    """An HTTP error status as the answer to the handshake, in place of a WebSocket.

    Args:
        status: the HTTP status, 400 to 599.
        code: the vendor's own error code, in a body of the vendor's form; without it the body is empty, as from a
            gateway.
        message: the text beside the code.
        retry_after_s: the Retry-After header, in seconds.
    """

    _moment = "handshake"

    status: Annotated[int, msgspec.Meta(ge=400, le=599)] = 503
    code: str | None = None
    message: str = "refused on demand"
    retry_after_s: Annotated[int, msgspec.Meta(ge=0)] | None = None


class Delay(_TriggeredFault, frozen=True, kw_only=True, omit_defaults=True):
    """A network delay: all messages of the server arrive later, by default from the handshake's answer on.

    Only the latency grows, the rate stays the same. Pongs are not delayed.
    """

    _moment = "handshake"

    by_ms: Annotated[float, msgspec.Meta(gt=0)]


class Cut(_TriggeredFault, frozen=True, kw_only=True, omit_defaults=True):
    """A TCP reset without a close frame. At the handshake it replaces the answer."""


class HalfOpen(_TriggeredFault, frozen=True, kw_only=True, omit_defaults=True):
    """A half-open connection: nothing is read and nothing is sent, not even pongs, but the socket stays open.

    At the handshake there is no answer. The state lasts for ten minutes, or until the emulator shuts down.
    """


class Close(_TriggeredFault, frozen=True, kw_only=True, omit_defaults=True):
    """A close frame from the server with this code and reason, and no message of the vendor's protocol before it."""

    code: Annotated[int, msgspec.Meta(ge=1000, le=4999)] = 1011
    reason: str = ""

    def _check(self) -> None:
        super()._check()
        if self.code in _UNSENDABLE_CODES:
            raise ConfigurationError(f"close: code={self.code}: cannot be sent in a close frame; for 1006 use cut")
        if len(self.reason.encode()) > MAX_REASON_BYTES:
            raise ConfigurationError(f"close: reason: a close frame has room for {MAX_REASON_BYTES} bytes")


class Garbage(_TriggeredFault, frozen=True, kw_only=True, omit_defaults=True):
    """One unreadable message from the server, which then continues.

    Args:
        binary: True sends bytes in a binary message, which no vendor sends; False sends half of a JSON object as text.
    """

    binary: bool = False


class SlowReader(_TriggeredFault, frozen=True, kw_only=True, omit_defaults=True):
    """A server that reads no faster than this, from the trigger on, by default from the beginning."""

    _moment = "handshake"

    bytes_per_second: Annotated[float, msgspec.Meta(gt=0)]


class Fail(_TriggeredFault, frozen=True, kw_only=True, omit_defaults=True):
    """The vendor's own failure message: task-failed, error, ERROR.

    With `after_s` it waits for the start at least. It has no effect if nothing is running any more that could fail.

    Args:
        code: the vendor's error code; None means its code for an internal error.
        message: the text beside the code.
    """

    code: str | None = None
    message: str = "failed on demand"

    def _check(self) -> None:
        super()._check()
        if self.at == "handshake":
            raise ConfigurationError(
                'fail: at="handshake": nothing is running yet that could fail; use refuse, or at="start"'
            )


class MuteFinish(Fault, frozen=True, kw_only=True, omit_defaults=True):
    """No answer to the end of the audio (finish-task, session.finish, END), and no last results."""

    _moment = "finish"


class Throttle(Fault, frozen=True, kw_only=True, omit_defaults=True):
    """The refusal of the start, with the vendor's code for too many sessions."""

    _moment = "start"


class Redraw(Fault, frozen=True, kw_only=True, omit_defaults=True):
    """Other sentences over the same words, drawn anew on each connection that it strikes, as real recognisers do.

    Audio that a client sends again after a lost connection therefore comes back in other sentences, some with their
    boundary inside one that was final before. A connection recognises the words of which it has received the middle.
    Combine it with `cut` and others. A model of one sentence ends behind the first sentence that was drawn.

    Args:
        max_words: the most words of a sentence.
        jitter_ms: the most that each time is off, in both directions, by another value in each message.
        noise: the probability that a noise precedes a sentence: an interim that never becomes final, or, with the Qwen
            realtime protocol, detected speech that gets no text.
    """

    _moment = "handshake"

    max_words: _Count = 6
    jitter_ms: Annotated[int, msgspec.Meta(ge=0, le=FRAME_MS)] = FRAME_MS
    noise: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.2

    def redrawn(self, engine: Engine, seed: str) -> Engine:
        """Return the engine with sentences that are drawn from this seed."""
        return RedrawnEngine(engine, max_words=self.max_words, jitter_ms=self.jitter_ms, noise=self.noise, seed=seed)


_KINDS: dict[str, type[Fault]] = {
    _kind_of(kind.__name__): kind
    for kind in (Refuse, Delay, Cut, HalfOpen, Close, Garbage, SlowReader, Fail, MuteFinish, Throttle, Redraw)
}

HANDSHAKE_FAULTS = (Refuse, Delay, Cut, HalfOpen)
"""The faults that are injected before a handshake is answered; the others need the open connection."""


class Faults:
    """A checked plan of faults. Emulators only read it: each keeps its own counts."""

    def __init__(self, faults: Iterable[Fault | Mapping[str, Any]], *, seed: int = 0) -> None:
        """Check the plan; `seed` and `probability` together decide which connections are struck.

        Raises:
            ConfigurationError: a fault is invalid; the text gives its number in the list.
        """
        self.faults: tuple[Fault, ...] = tuple(_read_numbered(number, fault) for number, fault in enumerate(faults, 1))
        self.seed = seed

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read a plan: JSON, a list of faults or `{"seed": 7, "faults": [...]}`.

        Raises:
            ConfigurationError: the file cannot be read, or is not a plan.
        """
        return load_json(path, kind="faults", parse=lambda plan: cls(_read_list(plan), seed=_read_seed(plan)))

    def __repr__(self) -> str:
        return f"<Faults {', '.join(fault.kind for fault in self.faults) or 'none'}, seed {self.seed}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Faults):
            return NotImplemented
        return (self.faults, self.seed) == (other.faults, other.seed)

    def __hash__(self) -> int:
        return hash((self.faults, self.seed))


def _read_list(plan: Any) -> list[Any]:
    faults = plan.get("faults") if isinstance(plan, dict) else plan
    if not isinstance(faults, list) or (isinstance(plan, dict) and set(plan) - {"seed", "faults"}):
        raise ConfigurationError('must be a list of faults or {"seed": ..., "faults": [...]}')
    return faults


def _read_seed(plan: Any) -> int:
    seed = plan.get("seed", 0) if isinstance(plan, dict) else 0
    if not isinstance(seed, int):
        raise ConfigurationError(f"seed={seed!r}: expected a whole number")
    return seed


def _read_numbered(number: int, value: Fault | Mapping[str, Any]) -> Fault:
    try:
        return value if isinstance(value, Fault) else _read(value)
    except ConfigurationError as error:
        raise ConfigurationError(f"fault {number}: {error}") from None


def _read(value: Mapping[str, Any]) -> Fault:
    if not isinstance(value, Mapping) or "kind" not in value:
        raise ConfigurationError('expected an object with a kind, such as {"kind": "cut", "after_frames": 10}')
    members = dict(value)
    name = members.pop("kind")
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ConfigurationError(f"kind={name!r}: {did_you_mean(name, _KINDS)}")
    for member in members:
        if member not in kind.__struct_fields__:
            raise ConfigurationError(f"{name} has no {member!r}: {did_you_mean(member, kind.__struct_fields__)}")
    missing = [field.name for field in msgspec.structs.fields(kind) if field.required and field.name not in members]
    if missing:
        raise ConfigurationError(f"{name} needs {missing[0]}")
    return kind(**members)


class FaultInjector:
    """The progress of one emulator's plan: the number of connections, and the faults that have struck them."""

    def __init__(self, plan: Faults) -> None:
        self._plan = plan
        self._connections = 0
        self._struck: Counter[int] = Counter()
        """The number of connections that each fault has struck, by its index in the plan."""

    @property
    def struck(self) -> dict[str, int]:
        """The number of connections that each kind of fault has struck."""
        counts: Counter[str] = Counter()
        for index, count in self._struck.items():
            counts[self._plan.faults[index].kind] += count
        return dict(counts)

    def next_connection(self) -> ConnectionFaults:
        """Count a new connection, and select the faults that may strike it."""
        self._connections += 1
        selected = [index for index in range(len(self._plan.faults)) if self._applies(index)]
        return ConnectionFaults(self, self._connections, {index: self._plan.faults[index] for index in selected})

    def _applies(self, index: int) -> bool:
        fault, number = self._plan.faults[index], self._connections
        if fault.connection not in {None, number} or number % (fault.every or 1):
            return False
        # seeded by the connection's number, not drawn in sequence: other connections must not change the result
        chance = random.Random(f"{self._plan.seed}/{index}/{number}").random()  # noqa: S311 - no secret
        return chance < fault.probability

    def seed_of(self, index: int, connection: int) -> str:
        """Return the seed of what a fault draws on a connection."""
        return f"{self._plan.seed}/{index}/{connection}/drawn"

    def count_strike(self, index: int) -> bool:
        """Count one more connection that this fault strikes; return False if its `times` are used up."""
        times = self._plan.faults[index].times
        if times is not None and self._struck[index] >= times:
            return False
        self._struck[index] += 1
        return True


class ConnectionFaults:
    """The faults of one connection that are still to be injected; each `pop` removes the faults that it returns."""

    def __init__(self, injector: FaultInjector, number: int, pending: Mapping[int, Fault]) -> None:
        self._injector = injector
        self._number = number
        self._pending = dict(pending)
        """By index in the plan, in its order."""
        self._frames = 0
        self._audio_ms = 0.0
        self._has_result = False

    @property
    def is_empty(self) -> bool:
        """True if no fault is left."""
        return not self._pending

    def __repr__(self) -> str:
        return f"<ConnectionFaults of connection {self._number}: {len(self._pending)} pending>"

    def pop_before_handshake(self) -> list[Fault]:
        """Return the faults to inject before the handshake is answered."""
        return self._pop(lambda fault: fault.trigger.at == "handshake" and isinstance(fault, HANDSHAKE_FAULTS))

    def engine_of(self, engine: Engine) -> Engine:
        """Return the engine that recognises on this connection: the given one, unless its sentences are redrawn."""
        for index, fault in list(self._pending.items()):
            if isinstance(fault, Redraw) and self.pop(fault):
                engine = fault.redrawn(engine, self._injector.seed_of(index, self._number))
        return engine

    def pop_at(self, moment: Moment) -> list[Fault]:
        """Return the faults to inject at this moment; for "result", none before there was one."""
        if moment == "result" and not self._has_result:
            return []
        return self._pop(lambda fault: fault.trigger.at == moment)

    def pop_after_audio(self, length_ms: float) -> list[Fault]:
        """Count a processed message with this much audio, and return the faults that are due after it."""
        self._frames += 1
        self._audio_ms += length_ms
        return self._pop(self._is_due)

    def _is_due(self, fault: Fault) -> bool:
        trigger = fault.trigger
        return (
            trigger.at == "audio"
            or (trigger.at == "result" and self._has_result)
            or (trigger.after_frames is not None and trigger.after_frames <= self._frames)
            or (trigger.after_audio_ms is not None and trigger.after_audio_ms <= self._audio_ms)
        )

    def record_result(self) -> None:
        """Record that a result was sent: faults that wait for one are due after the present message of audio."""
        self._has_result = True

    @property
    def timed(self) -> list[Fault]:
        """The faults that wait for a time; `pop` each of them when that has come."""
        return [fault for fault in self._pending.values() if fault.trigger.after_s is not None]

    def pop(self, wanted: Fault) -> list[Fault]:
        """Return this fault if it may still strike, else nothing."""
        return self._pop(lambda fault: fault is wanted)

    def _pop(self, is_wanted: Callable[[Fault], bool]) -> list[Fault]:
        wanted = [index for index, fault in self._pending.items() if is_wanted(fault)]
        popped = {index: self._pending.pop(index) for index in wanted}
        striking = [fault for index, fault in popped.items() if self._injector.count_strike(index)]
        for fault in striking:
            _logger.info("emulator: connection %d: %s on demand", self._number, fault.kind)
        return striking
