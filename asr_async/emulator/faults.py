"""Faults on demand: what is to go wrong with the emulator's connections, on which of them, and when.

A plan is a list of faults, in Python or as JSON; `kind` is the class in lower case with underscores:

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

**Which connections.** WebSocket connections are counted from 1, through all rooms, in the order in which they come; who
has a wrong key is not counted. A fault concerns the one with the number `connection`, or each `every`th, or all; of
these those that `probability` picks, by the seed of the plan and nothing else: the same plan strikes the same
connections whenever it is run. It strikes a connection once, and `times` connections in all.

**Where.** Most faults say so by one of

- `at`: "handshake", or as the client's message arrives "start" (run-task, session.update, START) and "finish", or after
  the first frame of "audio", or after the frame of audio (or the finishing) that brought the first "result";
- `after_frames`: when so many messages with audio have been listened to, over all tasks of the connection;
- `after_audio_ms`: when so much audio has been listened to, at the end of the message that holds it;
- `after_s`: so many seconds after the connection was opened.

Knows no protocol and no socket: a `ConnectionFaults` is asked at each step of a connection what is to happen now, and
whoever asks does it. Plain HTTP, for tables and tokens, has no faults.
"""

from __future__ import annotations

import logging
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

import msgspec

from ..errors import ConfigurationError
from ..vendors.options import did_you_mean

if TYPE_CHECKING:
    import os
    from typing import Self

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
    "Refuse",
    "SlowReader",
    "Throttle",
]

Moment = Literal["handshake", "start", "audio", "finish", "result"]

MAX_REASON_BYTES = 123
"""What a close frame has room for (RFC 6455, 5.5)."""

_UNSENDABLE_CODES = frozenset({1004, 1005, 1006, 1015})
"""They stand for what was not said in a close frame (RFC 6455, 7.4.1)."""

_Count = Annotated[int, msgspec.Meta(ge=1)]
_Length = Annotated[float, msgspec.Meta(ge=0)]

_logger = logging.getLogger("asr_async")


def _kind_of(class_name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", class_name).lower()


class Place(msgspec.Struct, frozen=True):
    """Where on a connection a fault strikes; one member is set."""

    at: Moment | None = None
    after_frames: int | None = None
    after_audio_ms: float | None = None
    after_s: float | None = None


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag=_kind_of):
    """What all faults have: on which connections, and how often.

    Raises:
        ConfigurationError: a member has the wrong type, is out of range or does not go with the others.
    """

    _moment: ClassVar[Moment | None] = None
    """Where it strikes if nothing else is said."""

    connection: _Count | None = None
    """The number of the one connection it is about."""
    every: _Count | None = None
    """It is about each connection whose number is a multiple of this."""
    times: _Count | None = None
    """How many connections it strikes at most."""
    probability: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    """Of striking a connection that it is about."""

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
        """Hold the members against each other; for the kinds to fill in."""

    @property
    def kind(self) -> str:
        """Its name in JSON."""
        return _kind_of(type(self).__name__)

    @property
    def place(self) -> Place:
        """Where it strikes."""
        return Place(at=self._moment)


class _PlacedFault(Fault, frozen=True, kw_only=True, omit_defaults=True):
    """A fault that may strike anywhere; see the module about these members."""

    at: Moment | None = None
    after_frames: _Count | None = None
    after_audio_ms: _Length | None = None
    after_s: _Length | None = None

    def _check(self) -> None:
        given = [name for name in Place.__struct_fields__ if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigurationError(f"{self.kind}: {' and '.join(given)} exclude each other")
        if not given and self._moment is None:
            raise ConfigurationError(f"{self.kind}: say where: one of {', '.join(Place.__struct_fields__)}")

    @property
    def place(self) -> Place:
        """Where it strikes."""
        given = Place(self.at, self.after_frames, self.after_audio_ms, self.after_s)
        return super().place if given == Place() else given


class Refuse(Fault, frozen=True, kw_only=True, omit_defaults=True):
    """The handshake is answered with an HTTP status in place of a WebSocket."""

    _moment = "handshake"

    status: Annotated[int, msgspec.Meta(ge=400, le=599)] = 503
    code: str | None = None
    """The vendor's own error code, in a body as the vendor's; without it the body is empty, as a gateway's."""
    message: str = "refused on demand"
    retry_after_s: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """The Retry-After header."""


class Delay(_PlacedFault, frozen=True, kw_only=True, omit_defaults=True):
    """From a point on, by default from the handshake with its answer, all messages of the server come later.

    They do not come slower: it is the length of the way that grows. Pongs are not held back.
    """

    _moment = "handshake"

    by_ms: Annotated[float, msgspec.Meta(gt=0)]


class Cut(_PlacedFault, frozen=True, kw_only=True, omit_defaults=True):
    """The connection breaks: a TCP reset, with no closing message. At the handshake it comes in place of the answer."""


class HalfOpen(_PlacedFault, frozen=True, kw_only=True, omit_defaults=True):
    """From a point on nothing is read and nothing is sent, pongs neither, but the socket stays open.

    At the handshake there is no answer. It lasts for ten minutes, or until the emulator leaves.
    """


class Close(_PlacedFault, frozen=True, kw_only=True, omit_defaults=True):
    """The server closes the WebSocket with this code and reason, and no word of the vendor's protocol before."""

    code: Annotated[int, msgspec.Meta(ge=1000, le=4999)] = 1011
    reason: str = ""

    def _check(self) -> None:
        super()._check()
        if self.code in _UNSENDABLE_CODES:
            raise ConfigurationError(f"close: code={self.code}: never stands in a close frame; for 1006 use cut")
        if len(self.reason.encode()) > MAX_REASON_BYTES:
            raise ConfigurationError(f"close: reason: a close frame has room for {MAX_REASON_BYTES} bytes")


class Garbage(_PlacedFault, frozen=True, kw_only=True, omit_defaults=True):
    """The server sends one message that nobody can read, and goes on."""

    binary: bool = False
    """Bytes in a binary message, which no vendor sends; otherwise half of a JSON object as text."""


class SlowReader(_PlacedFault, frozen=True, kw_only=True, omit_defaults=True):
    """From a point on, by default from the beginning, the server reads no faster than this."""

    _moment = "handshake"

    bytes_per_second: Annotated[float, msgspec.Meta(gt=0)]


class Fail(_PlacedFault, frozen=True, kw_only=True, omit_defaults=True):
    """The vendor's own message of failure: task-failed, error, ERROR.

    With `after_s` it waits for the start; when there is nothing any more that could fail, nothing happens.
    """

    code: str | None = None
    """The vendor's error code; None is its code for an internal error."""
    message: str = "failed on demand"

    def _check(self) -> None:
        super()._check()
        if self.at == "handshake":
            raise ConfigurationError(
                'fail: at="handshake": nothing runs yet that could fail; use refuse, or at="start"'
            )


class MuteFinish(Fault, frozen=True, kw_only=True, omit_defaults=True):
    """The end of the audio (finish-task, session.finish, END) is never answered, nor are last results."""

    _moment = "finish"


class Throttle(Fault, frozen=True, kw_only=True, omit_defaults=True):
    """The start is refused with the vendor's code for too many sessions."""

    _moment = "start"


_KINDS: dict[str, type[Fault]] = {
    _kind_of(kind.__name__): kind
    for kind in (Refuse, Delay, Cut, HalfOpen, Close, Garbage, SlowReader, Fail, MuteFinish, Throttle)
}

AT_THE_DOOR = (Refuse, Delay, Cut, HalfOpen)
"""What strikes at the handshake before it is answered; other faults need the open connection."""


class Faults:
    """A checked plan. It is only read: each emulator counts for itself."""

    def __init__(self, faults: Iterable[Fault | Mapping[str, Any]], *, seed: int = 0) -> None:
        """Check the plan; `seed` decides with `probability` which connections are struck.

        Raises:
            ConfigurationError: a fault cannot be read, by its place in the list.
        """
        self.faults: tuple[Fault, ...] = tuple(_numbered(number, fault) for number, fault in enumerate(faults, 1))
        self.seed = seed

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read a plan: JSON, a list of faults or `{"seed": 7, "faults": [...]}`.

        Raises:
            ConfigurationError: the file cannot be read, or is not a plan.
        """
        try:
            plan = msgspec.json.decode(Path(path).read_bytes())
            return cls(_listed(plan), seed=_seed(plan))
        except OSError as error:
            raise ConfigurationError(f"faults {path}: {error.strerror}") from None
        except msgspec.DecodeError as error:
            raise ConfigurationError(f"faults {path}: not JSON: {error}") from None
        except ConfigurationError as error:
            raise ConfigurationError(f"faults {path}: {error}") from None

    def __repr__(self) -> str:
        return f"<Faults {', '.join(fault.kind for fault in self.faults) or 'none'}, seed {self.seed}>"


def _listed(plan: Any) -> list[Any]:
    faults = plan.get("faults") if isinstance(plan, dict) else plan
    if not isinstance(faults, list) or (isinstance(plan, dict) and set(plan) - {"seed", "faults"}):
        raise ConfigurationError('must be a list of faults or {"seed": ..., "faults": [...]}')
    return faults


def _seed(plan: Any) -> int:
    seed = plan.get("seed", 0) if isinstance(plan, dict) else 0
    if not isinstance(seed, int):
        raise ConfigurationError(f"seed={seed!r}: expected a whole number")
    return seed


def _numbered(number: int, value: Fault | Mapping[str, Any]) -> Fault:
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
    """A plan under way: how many connections have come, and what has struck."""

    def __init__(self, plan: Faults) -> None:
        self._plan = plan
        self._connections = 0
        self._struck: Counter[int] = Counter()
        """By place in the plan."""

    @property
    def struck(self) -> dict[str, int]:
        """How many connections each kind of fault has struck."""
        counts: Counter[str] = Counter()
        for index, count in self._struck.items():
            counts[self._plan.faults[index].kind] += count
        return dict(counts)

    def connection(self) -> ConnectionFaults:
        """Count one more connection, and pick what may strike it."""
        self._connections += 1
        concerned = [index for index in range(len(self._plan.faults)) if self._concerns(index)]
        return ConnectionFaults(self, self._connections, {index: self._plan.faults[index] for index in concerned})

    def _concerns(self, index: int) -> bool:
        fault, number = self._plan.faults[index], self._connections
        if fault.connection not in {None, number} or number % (fault.every or 1):
            return False
        # by the connection's number, not one after the other: what other connections do must not change it
        chance = random.Random(f"{self._plan.seed}/{index}/{number}").random()  # noqa: S311 - no secret
        return chance < fault.probability

    def strike(self, index: int) -> bool:
        """Count a strike, if there is one left."""
        times = self._plan.faults[index].times
        if times is not None and self._struck[index] >= times:
            return False
        self._struck[index] += 1
        return True


class ConnectionFaults:
    """What is to go wrong on one connection. Each question takes what it returns out of the script."""

    def __init__(self, run: FaultInjector, number: int, waiting: Mapping[int, Fault]) -> None:
        self._run = run
        self._number = number
        self._waiting = dict(waiting)
        """By place in the plan, in its order."""
        self._frames = 0
        self._audio_ms = 0.0
        self._has_result = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing more can happen."""
        return not self._waiting

    def __repr__(self) -> str:
        return f"<ConnectionFaults of connection {self._number}: {len(self._waiting)} to come>"

    def at_the_door(self) -> list[Fault]:
        """What strikes before the handshake is answered."""
        return self._take(lambda fault: fault.place.at == "handshake" and isinstance(fault, AT_THE_DOOR))

    def at(self, moment: Moment) -> list[Fault]:
        """What strikes at this moment; at "result" nothing before there was one."""
        if moment == "result" and not self._has_result:
            return []
        return self._take(lambda fault: fault.place.at == moment)

    def after_audio(self, length_ms: float) -> list[Fault]:
        """What strikes when a message with so much audio has been listened to."""
        self._frames += 1
        self._audio_ms += length_ms
        return self._take(self._is_due)

    def _is_due(self, fault: Fault) -> bool:
        place = fault.place
        return (
            place.at == "audio"
            or (place.at == "result" and self._has_result)
            or (place.after_frames is not None and place.after_frames <= self._frames)
            or (place.after_audio_ms is not None and place.after_audio_ms <= self._audio_ms)
        )

    def hear_of_result(self) -> None:
        """The client was told a result: what waits for one strikes after this message of audio."""
        self._has_result = True

    @property
    def timed(self) -> list[Fault]:
        """What waits for a time; `take` it when that has come."""
        return [fault for fault in self._waiting.values() if fault.place.after_s is not None]

    def take(self, wanted: Fault) -> list[Fault]:
        """The fault, if it may strike now."""
        return self._take(lambda fault: fault is wanted)

    def _take(self, is_wanted: Callable[[Fault], bool]) -> list[Fault]:
        wanted = [index for index, fault in self._waiting.items() if is_wanted(fault)]
        taken = {index: self._waiting.pop(index) for index in wanted}
        striking = [fault for index, fault in taken.items() if self._run.strike(index)]
        for fault in striking:
            _logger.info("emulator: connection %d: %s on demand", self._number, fault.kind)
        return striking
