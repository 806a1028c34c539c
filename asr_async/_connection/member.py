"""The member of a service that a connection goes to: one of several of `Fallback`, or of equal servers, or the service.

The rest of the package only sees a `MemberChoice`, so a service without other members needs no special case.

Does not know sockets or audio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ..vendors.credentials import with_fresh_credentials
from ..vendors.service import ReplicatedService, ServiceOfMembers
from .replicas import choose_replica

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..errors import ASRError
    from ..vendors.codec import Codec, TaskDescription
    from ..vendors.options import Options
    from ..vendors.service import Endpoint, MemberChoice, Service

__all__ = ["SoleMember", "choose_member", "connect_member"]

T = TypeVar("T")


async def choose_member(service: Service, options: Options) -> MemberChoice:
    """Return the member that a new connection should go to.

    Raises:
        ASRError: as `Service.resolve`.
    """
    if isinstance(service, ServiceOfMembers):
        return await service.choose(options)
    if isinstance(service, ReplicatedService) and len(service.replicas) > 1:
        return await choose_replica(service, options)
    return SoleMember(service, options, await service.resolve(options))


class SoleMember:
    """The choice of a service that has no other members; see `MemberChoice`."""

    __slots__ = ("_refusal", "_service", "endpoint", "options")

    name: str | None = None
    rank = 0
    rotation_s: float | None = None

    def __init__(self, service: Service, options: Options, endpoint: Endpoint) -> None:
        self._service = service
        self._refusal: ASRError | None = None
        self.options = options
        self.endpoint = endpoint

    def __repr__(self) -> str:
        return f"<SoleMember {self._service!r} {self.options.model}>"

    @property
    def description(self) -> TaskDescription:
        """The facts about the service's tasks."""
        return self._service.describe(self.options)

    def codec(self, *, task_id: str) -> Codec:
        """Make the codec of one task."""
        return self._service.codec(self.options, task_id=task_id)

    async def refresh(self) -> SoleMember:
        """Resolve the endpoint again, with the credentials of now."""
        return SoleMember(self._service, self.options, await self._service.resolve(self.options))

    async def next_member(self) -> MemberChoice:
        """Raise the refusal: there is no other member."""
        assert self._refusal is not None  # noqa: S101 - the next member is only needed after a refusal
        raise self._refusal

    def preferred_in_s(self) -> float | None:
        """Return None: there is no member to prefer."""
        return None

    def record_refusal(self, error: ASRError) -> None:
        """Keep the error for `next_member`."""
        self._refusal = error

    def record_loss(self, error: ASRError, *, is_refusal: bool = False) -> bool:  # noqa: ARG002 - as `MemberChoice`
        """Return False: there is no member to fail over to."""
        return False

    def record_final(self) -> None:
        """Do nothing: without other members there is no circuit breaker."""


async def connect_member(choice: MemberChoice, attempt: Callable[[MemberChoice], Awaitable[T]]) -> T:
    """Run an attempt to connect; if the vendor refuses cached credentials, run it once more with new ones.

    Raises:
        ASRError: the attempt failed for another reason, or again.
    """
    return await with_fresh_credentials(
        choice,
        attempt,
        discard=lambda refused, error: refused.endpoint.refresh_credentials(error),
        obtain=choice.refresh,
    )
