"""Several services used as one: when one is down, the next one gets the audio.

A `Fallback` is a service that chooses a member for each connection (`ServiceOfMembers`). The session records how each
connection goes, a circuit breaker for each member decides which ones are tried, and a connection that is lost or cannot
be opened is replaced by one to another member, by the same replay and rotation as any other connection.

Does not know sockets, audio or results.
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

from ._connection.health import combine_refusals, may_succeed_elsewhere, record_failure
from ._limits.circuit_breaker import CircuitBreaker
from ._session.policy import rotation_s
from ._text.secret import tolerant_repr
from .config import Retry
from .errors import ASRError, ConfigurationError, DeadlineError
from .vendors import model_info
from .vendors.catalogue import missing_from
from .vendors.codec import Codec, TaskDescription
from .vendors.options import Options
from .vendors.service import ReplicatedService, with_network

if TYPE_CHECKING:
    from ._net.network_options import NetworkOptions
    from .vendors.service import Endpoint, MemberChoice, Service, Vocabularies

__all__ = ["Difference", "Fallback"]

logger: logging.Logger = logging.getLogger("asr_async")

CREDENTIALS_S = 5.0
"""The time that a member has to get its credentials (an IAM token): less than `Timeouts.connect`, so that there is time
left for the next member."""

SOONEST_RETURN_S = 1.0
RETURN_SPREAD = 1.5
"""The wait before a return is multiplied by a random factor of up to this, so that sessions that left a member together
do not return together."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A feature of the first member that a later one lacks."""

    member: str
    """The member that lacks it."""
    feature: str
    """A field of `ModelInfo`: "translation", "emotion", "context", ..."""
    values: tuple[str | int, ...] = ()
    """The values that are missing: languages, ways to cut a sentence; for `max_audio_s`, the limit of the member."""

    def __str__(self) -> str:
        values = f" {', '.join(map(str, self.values))}" if self.values else ""
        return f"{self.member}: {self.feature}{values}"


class Fallback:
    """Several services, the preferred one first: `Client(fallback)`, or `connect(fallback.options, fallback)`.

    A session begins with the first member that answers. When a member is down, the audio that no final result covers
    goes to the next one; times and segments continue. When a preferred member answers again, the session returns to it
    at the end of a segment. All sessions of this object share what is known about the members' health.

    A member that cannot be reached or that refuses (its key included) is not tried for a second, and for twice as long
    after each further failure, up to `cooldown_s`; ten times as long after an error that a retry does not solve. A
    member whose connection is lost is tried again first, as `Retry` says; the third loss in a row without a final
    result means that it is down. An error during the stream that is about the audio itself (it cannot be decoded) is
    raised as without a fallback, and so is a lost connection with `Retry(attempts=0)`. If all members are down, one
    error names the errors of all. `SessionStats.member` names the member that recognises at present.

    All members declare the same audio, all or none have `manual_commit`, and all or none stop after one sentence.
    `differences` lists what else a later member lacks; sessions continue without it, also without
    `Retry(silence="fill")` where a member cannot use it. `update_context` is kept for the members that take a context.

    Args:
        members: pairs of a service and the options for it, such as `(DashScope(), Paraformer())`.
        cooldown_s: the longest time before a member that is down is tried again by one session.

    Raises:
        ConfigurationError: no members, or members that cannot replace each other.
    """

    def __init__(self, members: Sequence[tuple[Service, Options]], *, cooldown_s: float = 30.0) -> None:
        self._members = _checked_members(members, cooldown_s)
        self._chooser = _Members(self._members)
        # one for each open client
        self._entered: list[AsyncExitStack] = []
        self._has_logged_differences = False

    @tolerant_repr
    def __repr__(self) -> str:
        return f"<Fallback {', then '.join(map(repr, self._members))}>"

    @property
    def options(self) -> Options:
        """The options of the first member, which sessions are made with."""
        return self._members[0].options

    @property
    def differences(self) -> tuple[Difference, ...]:
        """The features of the first member that later ones lack, for the models that `models()` lists."""
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
        if not self._has_logged_differences:
            self._has_logged_differences = True
            for difference in self.differences:
                logger.info("%r: a later member lacks a feature of the first: %s", self, difference)
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
        fallback._chooser = _Members(members)  # noqa: SLF001
        fallback._entered = []  # noqa: SLF001
        return fallback

    @property
    def vocabularies(self) -> Vocabularies:
        """Not available: hot-word tables belong to one vendor's account.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(
            "Fallback keeps no hot-word tables: use the vendor's own service, such as DashScope(...)"
        )

    async def choose(self, options: Options) -> MemberChoice:
        """Choose the member for a new connection.

        It is the first that its circuit breaker allows to try, else the one that failed longest ago.

        Raises:
            ASRError: no member has credentials.
            ConfigurationError: the options are not this object's.
        """
        self._refuse_others(options)
        return await self._chooser.choose({})

    async def resolve(self, options: Options) -> Endpoint:
        """Return the endpoint of the member that `choose` chooses.

        Raises:
            ASRError: as `choose`.
        """
        return (await self.choose(options)).endpoint

    def _refuse_others(self, options: Options) -> None:
        if options != self.options:
            raise ConfigurationError(
                f"{type(options).__name__}: a Fallback has the options of its members; make its sessions with "
                "fallback.options"
            )


class _Member:
    """A service with the options for it and its circuit breaker."""

    def __init__(self, service: Service, options: Options, *, cooldown_s: float) -> None:
        self.rank = 0
        self.service = service
        self.options = options
        self.description = service.describe(options)
        self.name = f"{service!r} {options.model}"
        self.breaker = CircuitBreaker(cooldown_s)
        self.rotation_s = rotation_s(Retry(), options)
        info = model_info(options)
        self.stops_after_one_sentence = info is not None and info.segmentation == ("one sentence",)

    def with_service(self, service: Service) -> _Member:
        """Return this member with another service and the same health."""
        member = copy.copy(self)
        member.service = service
        return member

    @tolerant_repr
    def __repr__(self) -> str:
        return self.name if self.breaker.is_closed else f"{self.name} (down)"

    def codec(self, *, task_id: str) -> Codec:
        return self.service.codec(self.options, task_id=task_id)

    async def resolve(self) -> Endpoint:
        try:
            async with asyncio.timeout(CREDENTIALS_S) as limit:
                return await self.service.resolve(self.options)
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlineError(f"no credentials within {CREDENTIALS_S:g} s", retryable=True) from None


class _Members:
    """All members, the preferred one first, and the decision which one is tried next."""

    def __init__(self, members: tuple[_Member, ...]) -> None:
        self._members = members

    async def choose(self, refusals: dict[_Member, ASRError]) -> _Choice:
        """Choose the next member that has not refused yet.

        Raises:
            ASRError: all have; see `MemberChoice.next_member`.
        """
        while (member := self._next(refusals)) is not None:
            try:
                return _Choice(self, member, refusals, await member.resolve())
            except ASRError as error:
                refusals[member] = error
                record_failure(member.name, member.breaker, error, task_was_open=False)
        raise combine_refusals((member.name, error) for member, error in refusals.items())

    def preferred_in_s(self, current: _Member) -> float | None:
        """Return the wait before a member preferred to the current one is tried; None if a change is not possible."""
        if current.rank == 0 or current.stops_after_one_sentence:
            return None
        soonest_s = min(preferred.breaker.retry_in_s(_now()) for preferred in self._members[: current.rank])
        return max(SOONEST_RETURN_S, soonest_s) * random.uniform(1.0, RETURN_SPREAD)  # noqa: S311

    def has_alternative(self, current: _Member) -> bool:
        """Return True if the circuit breaker of another member is not open."""
        now = _now()
        return any(member is not current and not member.breaker.is_open(now) for member in self._members)

    def _next(self, refusals: dict[_Member, ASRError]) -> _Member | None:
        remaining = [member for member in self._members if member not in refusals]
        now = _now()
        for member in remaining:
            if member.breaker.allow(now):
                return member
        return min(remaining, key=lambda member: member.breaker.failed_at, default=None)


class _Choice:
    """A member that was chosen for a connection, after others had refused it; see `MemberChoice`."""

    def __init__(
        self, members: _Members, member: _Member, refusals: dict[_Member, ASRError], endpoint: Endpoint
    ) -> None:
        self._members = members
        self._member = member
        self._refusals = refusals
        self.endpoint = endpoint
        self.name = member.name
        self.rank = member.rank
        self.options = member.options
        self.description = member.description
        self.rotation_s = member.rotation_s

    def __repr__(self) -> str:
        return f"<Choice {self._member!r}>"

    def codec(self, *, task_id: str) -> Codec:
        return self._member.codec(task_id=task_id)

    async def refresh(self) -> _Choice:
        return _Choice(self._members, self._member, self._refusals, await self._member.resolve())

    async def next_member(self) -> _Choice:
        return await self._members.choose(self._refusals)

    def preferred_in_s(self) -> float | None:
        return self._members.preferred_in_s(self._member)

    def record_refusal(self, error: ASRError) -> None:
        self._refusals[self._member] = error
        record_failure(self.name, self._member.breaker, error, task_was_open=False)

    def record_loss(self, error: ASRError, *, is_refusal: bool = False) -> bool:
        if not (is_refusal or may_succeed_elsewhere(error)):
            return False
        record_failure(self.name, self._member.breaker, error, task_was_open=True)
        return self._member.breaker.is_open(_now()) and self._members.has_alternative(self._member)

    def record_final(self) -> None:
        if not self._member.breaker.is_closed:
            logger.info("%s gives results again", self.name)
        self._member.breaker.record_success()


def _checked_members(pairs: Any, cooldown_s: float) -> tuple[_Member, ...]:
    if not isinstance(cooldown_s, int | float) or not cooldown_s > 0:
        raise ConfigurationError(f"Fallback(cooldown_s={cooldown_s!r}): must be a positive number of seconds")
    if not isinstance(pairs, list | tuple) or not pairs:
        raise ConfigurationError("Fallback: give a list of (service, options), such as [(DashScope(), Paraformer())]")
    members = tuple(
        member for number, pair in enumerate(pairs, 1) for member in _checked_member(number, pair, cooldown_s)
    )
    for rank, member in enumerate(members):
        member.rank = rank
    for member in members[1:]:
        _check_interchangeable(members[0], member)
    return members


def _checked_member(number: int, pair: Any, cooldown_s: float) -> list[_Member]:
    """Return the member of a pair; of a service with several equal servers, one for each."""
    where = f"Fallback: member {number}"
    match pair:
        case (Fallback(), _):
            raise ConfigurationError(f"{where} is a Fallback: list its members here")
        case (service, Options() as options) if callable(getattr(service, "codec", None)):
            try:
                services = service.replicas.values() if isinstance(service, ReplicatedService) else [service]
                return [_Member(each, options, cooldown_s=cooldown_s) for each in services]
            except ConfigurationError as error:
                raise ConfigurationError(f"{where}: {error.message}") from None
        case _:
            raise ConfigurationError(f"{where} is not a pair of a service and options")


def _check_interchangeable(first: _Member, other: _Member) -> None:
    ours, theirs = first.options.audio, other.options.audio
    if ours != theirs:
        raise ConfigurationError(
            f"Fallback: {first.name} declares {ours.encoding} at {ours.sample_rate} Hz, {other.name} {theirs.encoding} "
            f"at {theirs.sample_rate} Hz: both get the same source, so declare the same format"
        )
    if first.description.takes_commits != other.description.takes_commits:
        raise ConfigurationError(
            f"Fallback: manual_commit differs between {first.name} and {other.name}: set it for all or none"
        )
    if first.stops_after_one_sentence != other.stops_after_one_sentence:
        one, many = (first, other) if first.stops_after_one_sentence else (other, first)
        raise ConfigurationError(
            f"Fallback: {one.name} stops after one sentence, {many.name} does not: the rest would be missing"
        )


def _now() -> float:
    return asyncio.get_running_loop().time()
