"""The address that a connection goes to, of a service with several equal servers (`ReplicatedService`).

Each connection takes one at random, of those that their circuit breakers allow; none is preferred. What is known about
an address belongs to the service, so all its sessions share it. Does not know sockets or audio.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from .._limits.circuit_breaker import CircuitBreaker
from .health import combine_refusals, may_succeed_elsewhere, record_failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..errors import ASRError
    from ..vendors.codec import Codec, TaskDescription
    from ..vendors.options import Options
    from ..vendors.service import Endpoint, MemberChoice, ReplicatedService, Service

__all__ = ["choose_replica"]

logger: logging.Logger = logging.getLogger("asr_async")

COOLDOWN_S = 30.0
"""The longest time for which an address that is down is not tried, as the default of `Fallback`."""


async def choose_replica(service: ReplicatedService, options: Options) -> MemberChoice:
    """Return the address that a new connection should go to.

    Raises:
        ASRError: as `Service.resolve`.
    """
    replicas = _Replicas(service.replicas, service.health, options)
    return await replicas.choose()


class _Replicas:
    """The addresses of a service, and those that have refused one connection."""

    def __init__(self, services: Mapping[str, Service], health: dict[str, CircuitBreaker], options: Options) -> None:
        self.services = services
        self.options = options
        self.breakers = {name: health.setdefault(name, CircuitBreaker(COOLDOWN_S)) for name in services}
        self.refusals: dict[str, ASRError] = {}

    async def choose(self) -> _ReplicaChoice:
        """Choose an address that has not refused yet.

        Raises:
            ASRError: all have; the text names each with its error.
        """
        remaining = [name for name in self.services if name not in self.refusals]
        if not remaining:
            raise combine_refusals(self.refusals.items())
        random.shuffle(remaining)
        now = asyncio.get_running_loop().time()
        allowed = next((name for name in remaining if self.breakers[name].allow(now)), None)
        name = allowed or min(remaining, key=lambda each: self.breakers[each].failed_at)
        return _ReplicaChoice(self, name, await self.services[name].resolve(self.options))

    def has_alternative(self, name: str) -> bool:
        """Return True if the circuit breaker of another address is not open."""
        now = asyncio.get_running_loop().time()
        return any(other != name and not breaker.is_open(now) for other, breaker in self.breakers.items())


class _ReplicaChoice:
    """One of several equal addresses; see `MemberChoice`."""

    __slots__ = ("_breaker", "_replicas", "_service", "endpoint", "name", "options")

    rank = 0
    rotation_s: float | None = None

    def __init__(self, replicas: _Replicas, name: str, endpoint: Endpoint) -> None:
        self._replicas = replicas
        self._service = replicas.services[name]
        self._breaker = replicas.breakers[name]
        self.name = name
        self.options = replicas.options
        self.endpoint = endpoint

    def __repr__(self) -> str:
        return f"<ReplicaChoice {self._service!r} {self.options.model}>"

    @property
    def description(self) -> TaskDescription:
        """The facts about the service's tasks."""
        return self._service.describe(self.options)

    def codec(self, *, task_id: str) -> Codec:
        """Make the codec of one task."""
        return self._service.codec(self.options, task_id=task_id)

    async def refresh(self) -> _ReplicaChoice:
        """Resolve the endpoint again, with the credentials of now."""
        return _ReplicaChoice(self._replicas, self.name, await self._service.resolve(self.options))

    async def next_member(self) -> _ReplicaChoice:
        """Choose another address; each is tried once."""
        return await self._replicas.choose()

    def preferred_in_s(self) -> float | None:
        """Return None: no address is preferred."""
        return None

    def record_refusal(self, error: ASRError) -> None:
        """Record that no task could be opened."""
        self._replicas.refusals[self.name] = error
        record_failure(self.name, self._breaker, error, task_was_open=False)

    def record_loss(self, error: ASRError, *, is_refusal: bool = False) -> bool:
        """Record the error that ended the connection, and return True if another address should take over at once."""
        if not (is_refusal or may_succeed_elsewhere(error)):
            return False
        record_failure(self.name, self._breaker, error, task_was_open=True)
        is_open = self._breaker.is_open(asyncio.get_running_loop().time())
        return is_open and self._replicas.has_alternative(self.name)

    def record_final(self) -> None:
        """Record the first final result of the connection."""
        if not self._breaker.is_closed:
            logger.info("%s gives results again", self.name)
        self._breaker.record_success()
