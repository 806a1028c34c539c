"""Several services as one: when one is down, the next has the audio.

A `Fallback` is a service like any other: it says whom to call, and the session does it. What makes it more is its
`Endpoint.choice`: the session's links tell it how their connections go, a `CircuitBreaker` for each member says who is
left alone, and a connection that is lost, or not to be had, is replaced by another member's through the same replay and
rotation as ever. It does not know sockets, audio or results.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

import msgspec

from ._limits.circuit_breaker import CircuitBreaker
from ._session.policy import rotation_s
from .config import Retry
from .errors import (
    ASRError,
    AuthenticationError,
    ConfigurationError,
    ConnectionLostError,
    DeadlineError,
    RemoteProtocolError,
)
from .vendors import model_info
from .vendors.catalogue import missing_from
from .vendors.codec import Codec, TaskDescription
from .vendors.options import Options
from .vendors.service import with_network

if TYPE_CHECKING:
    from ._net.network_options import NetworkOptions
    from .vendors.service import Endpoint, Service, Vocabularies

__all__ = ["Difference", "Fallback"]

logger: logging.Logger = logging.getLogger("asr_async")

CREDENTIALS_S = 5.0
"""How long a member may look for its credentials (a token of IAM): less than `Timeouts.connect`, which others need."""

SOONEST_RETURN_S = 1.0
RETURN_SPREAD = 1.5
"""Many sessions that lost a member together do not come back together: each waits up to so many times as long."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the first member can do and a later one cannot."""

    member: str
    """Who cannot."""
    feature: str
    """A field of `ModelInfo`: "translation", "emotion", "context", ..."""
    values: tuple[str | int, ...] = ()
    """Which of it: languages, ways to cut a sentence; of `max_audio_s`, how much the later one takes."""

    def __str__(self) -> str:
        what = f" {', '.join(map(str, self.values))}" if self.values else ""
        return f"{self.member}: {self.feature}{what}"


class Fallback:
    """Several services, the best first: `connect(fallback.options, service=fallback)`, or `Client(fallback)`.

    A session begins with the first member that answers. When a member is down, the audio that no final result covers
    goes to the next one, on the same line of time and segments. When a better one answers again, the session returns to
    it at the end of a segment. What is known of the members' health is shared by all sessions of this object.

    A member that cannot be reached or that refuses (its key too) is left alone for a second, and twice as long each
    time, up to `cooldown_s`; ten times that for an error that trying again does not mend. One whose connection is lost
    is asked again first, as `Retry` says; the third loss in a row without a final result means that it is down. An
    error in mid-stream that is about what was sent (an audio that cannot be decoded) is raised as ever.

    Members declare the same audio, all or none have `manual_commit`, and all or none stop after one sentence. What else
    a later one cannot do is in `differences`, and goes on without: `update_context` is kept for those that take it.

    Args:
        members: pairs of a service and the options for it, such as `(DashScope(), Paraformer())`.
        cooldown_s: the longest time that a member is left alone before one session tries it again.

    Raises:
        ConfigurationError: no members, or such as cannot stand in for each other.
    """

    def __init__(self, members: Sequence[tuple[Service, Options]], *, cooldown_s: float = 30.0) -> None:
        self._members = _checked_members(members, cooldown_s)
        self._roster = _Roster(self._members)
        # one for each client that is open
        self._entered: list[AsyncExitStack] = []
        self._has_told = False

    def __repr__(self) -> str:
        return f"<Fallback {', then '.join(map(repr, self._members))}>"

    @property
    def options(self) -> Options:
        """The first member's: what the sessions are made with."""
        return self._members[0].options

    @property
    def differences(self) -> tuple[Difference, ...]:
        """What the first member can do and a later one cannot, as far as `models()` has both."""
        first = model_info(self.options)
        return tuple(
            Difference(member=member.name, feature=feature, values=values)
            for member in self._members[1:]
            if first is not None and (info := model_info(member.options)) is not None
            for feature, values in missing_from(info, first).items()
        )

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for service in {id(member.service): member.service for member in self._members}.values():
                await stack.enter_async_context(service)
            self._entered.append(stack.pop_all())
        if not self._has_told:
            self._has_told = True
            for difference in self.differences:
                logger.info("%r: what the first can do and a later one cannot: %s", self, difference)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._entered.pop().aclose()

    def describe(self, options: Options) -> TaskDescription:
        """Return the facts that hold for every member: audio is sent in messages that all of them accept.

        Raises:
            ConfigurationError: the options are not this object's.
        """
        self._refuse_others(options)
        first, *others = [member.description for member in self._members]
        return msgspec.structs.replace(
            first,
            min_frame_bytes=max(first.min_frame_bytes, *(other.min_frame_bytes for other in others), 1),
            max_frame_bytes=min([first.max_frame_bytes, *(other.max_frame_bytes for other in others)]),
        )

    def codec(self, options: Options, *, task_id: str) -> Codec:
        """Make the codec of the first member; a connection's codec is made by the member that was chosen for it.

        Raises:
            ConfigurationError: the options are not this object's.
        """
        self._refuse_others(options)
        return self._members[0].codec(task_id=task_id)

    def with_network(self, network: NetworkOptions) -> Fallback:
        """Return a Fallback of the same members, health included, with other options of the network."""
        services = {id(member.service): with_network(member.service, network) for member in self._members}
        fallback = copy.copy(self)
        members = tuple(member.with_service(services[id(member.service)]) for member in self._members)
        fallback._members = members  # noqa: SLF001 - of this class
        fallback._roster = _Roster(members)  # noqa: SLF001
        fallback._entered = []  # noqa: SLF001
        return fallback

    @property
    def vocabularies(self) -> Vocabularies:
        """None: tables are a vendor's.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError("Fallback keeps no hot-word tables: they are a vendor's, as of DashScope(...)")

    async def resolve(self, options: Options) -> Endpoint:
        """Say where to connect: the first member that is not left alone, else the one that failed longest ago.

        Raises:
            ASRError: no member has credentials.
            ConfigurationError: the options are not this object's.
        """
        self._refuse_others(options)
        return await self._roster.choose({})

    def _refuse_others(self, options: Options) -> None:
        if options != self.options:
            raise ConfigurationError(
                f"{type(options).__name__}: a Fallback has the options of its members; make sessions of it with "
                "fallback.options"
            )


class _Member:
    """A service, the options for it, and its health."""

    def __init__(self, rank: int, service: Service, options: Options, *, cooldown_s: float) -> None:
        self.rank = rank
        self.service = service
        self.options = options
        self.name = f"{service!r} {options.model}"
        self.circuit = CircuitBreaker(cooldown_s)
        self.rotation_s = rotation_s(Retry(), options)
        info = model_info(options)
        self.stops_after_one_sentence = info is not None and info.segmentation == ("one sentence",)
        self.description = service.describe(options)

    def with_service(self, service: Service) -> _Member:
        """Return this member with another service and the same health."""
        member = copy.copy(self)
        member.service = service
        return member

    def __repr__(self) -> str:
        return self.name if self.circuit.is_closed else f"{self.name} (down)"

    def codec(self, *, task_id: str) -> Codec:
        return self.service.codec(self.options, task_id=task_id)


class _Roster:
    """The members, the best first, and who of them is to be asked now."""

    def __init__(self, members: tuple[_Member, ...]) -> None:
        self._members = members

    async def choose(self, refusals: dict[_Member, ASRError]) -> Endpoint:
        """The target of the next member that has not refused yet.

        Raises:
            ASRError: all have; see `Choice.following`.
        """
        while (member := self._best_but(refusals)) is not None:
            choice = _Choice(self, member, refusals)
            try:
                return await choice.again()
            except ASRError as error:
                choice.refused(error)
        raise _one_for_all(refusals)

    def better_in_s(self, than: _Member) -> float | None:
        """When to look for a better member; None where there is none, or no place to change over."""
        if than.rank == 0 or than.stops_after_one_sentence or than.options.audio.bytes_per_second is None:
            return None
        soonest_s = min(better.circuit.retry_in_s(_now()) for better in self._members[: than.rank])
        return max(SOONEST_RETURN_S, soonest_s) * random.uniform(1.0, RETURN_SPREAD)  # noqa: S311

    def has_another_up(self, than: _Member) -> bool:
        """Whether a member is there that is not left alone."""
        now = _now()
        return any(member is not than and not member.circuit.is_open(now) for member in self._members)

    def _best_but(self, tried: dict[_Member, ASRError]) -> _Member | None:
        left = [member for member in self._members if member not in tried]
        now = _now()
        for member in left:
            if member.circuit.allow(now):
                return member
        return min(left, key=lambda member: member.circuit.failed_at, default=None)


class _Choice:
    """A member, chosen for a connection after others had refused it; see `vendors.service.Choice`."""

    def __init__(self, roster: _Roster, member: _Member, refusals: dict[_Member, ASRError]) -> None:
        self._roster = roster
        self._member = member
        self._refusals = refusals
        self.name = member.name
        self.rank = member.rank
        self.options = member.options
        self.rotation_s = member.rotation_s
        self.description = member.description

    def __repr__(self) -> str:
        return f"<Choice {self._member!r}>"

    def codec(self, *, task_id: str) -> Codec:
        return self._member.codec(task_id=task_id)

    async def again(self) -> Endpoint:
        try:
            async with asyncio.timeout(CREDENTIALS_S) as limit:
                target = await self._member.service.resolve(self._member.options)
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlineError(f"no credentials within {CREDENTIALS_S:g} s", retryable=True) from None
        return msgspec.structs.replace(target, choice=self)

    async def following(self) -> Endpoint:
        return await self._roster.choose(self._refusals)

    def better_in_s(self) -> float | None:
        return self._roster.better_in_s(self._member)

    def refused(self, error: ASRError) -> None:
        self._refusals[self._member] = error
        self._blame(error, was_open=False)

    def lost(self, error: ASRError) -> bool:
        if not (error.retryable or isinstance(error, _ABOUT_THE_CONNECTION)):
            return False
        self._blame(error, was_open=True)
        return self._member.circuit.is_open(_now()) and self._roster.has_another_up(self._member)

    def proved(self) -> None:
        if not self._member.circuit.is_closed:
            logger.info("%s recognises again", self.name)
        self._member.circuit.record_success()

    def _blame(self, error: ASRError, *, was_open: bool) -> None:
        circuit = self._member.circuit
        circuit.record_failure(_now(), error, task_was_open=was_open)
        if not circuit.is_closed:
            level = logging.INFO if error.retryable else logging.WARNING  # a wrong key should not go unnoticed
            logger.log(level, "%s is left alone for %g s after: %s", self.name, circuit.open_for_s, error)


_ABOUT_THE_CONNECTION = (AuthenticationError, ConnectionLostError, DeadlineError, RemoteProtocolError)
"""What says nothing about the audio, so that another member may do better also where the same one would not."""


def _checked_members(pairs: Any, cooldown_s: float) -> tuple[_Member, ...]:
    if not isinstance(cooldown_s, int | float) or not cooldown_s > 0:
        raise ConfigurationError(f"Fallback(cooldown_s={cooldown_s!r}): must be a positive number of seconds")
    if not isinstance(pairs, list | tuple) or not pairs:
        raise ConfigurationError("Fallback: give a list of (service, options), such as [(DashScope(), Paraformer())]")
    members = tuple(_checked_member(rank, pair, cooldown_s) for rank, pair in enumerate(pairs))
    for member in members[1:]:
        _check_that_it_can_stand_in(members[0], member)
    return members


def _checked_member(rank: int, pair: Any, cooldown_s: float) -> _Member:
    where = f"Fallback: member {rank + 1}"
    match pair:
        case (Fallback(), _):
            raise ConfigurationError(f"{where} is a Fallback: list its members here")
        case (service, Options() as options) if callable(getattr(service, "codec", None)):
            try:
                return _Member(rank, service, options, cooldown_s=cooldown_s)
            except ConfigurationError as error:
                raise ConfigurationError(f"{where}: {error.message}") from None
        case _:
            raise ConfigurationError(f"{where} is not a pair of a service and options")


def _check_that_it_can_stand_in(first: _Member, other: _Member) -> None:
    ours, theirs = first.options.audio, other.options.audio
    if ours != theirs:
        raise ConfigurationError(
            f"Fallback: {first.name} is told {ours.encoding} at {ours.sample_rate} Hz, {other.name} {theirs.encoding} "
            f"at {theirs.sample_rate} Hz: one source goes to both, so declare the same"
        )
    if first.description.takes_commits != other.description.takes_commits:
        raise ConfigurationError(
            f"Fallback: manual_commit differs between {first.name} and {other.name}: commit() must mean the same to all"
        )
    if first.stops_after_one_sentence != other.stops_after_one_sentence:
        one, many = (first, other) if first.stops_after_one_sentence else (other, first)
        raise ConfigurationError(
            f"Fallback: {one.name} stops after one sentence, {many.name} does not: the rest would be missing"
        )


def _one_for_all(refusals: dict[_Member, ASRError]) -> ASRError:
    """The last error that is worth another attempt, else the last, with the words of all."""
    *others, (member, chosen) = sorted(refusals.items(), key=lambda refusal: refusal[1].retryable)
    told = [f"{other.name}: {error}" for other, error in others]
    chosen.message = "; ".join([*told, f"{member.name}: {chosen.message}"])
    return chosen


def _now() -> float:
    return asyncio.get_running_loop().time()
