"""The second attempt with new credentials, by values: when there is one, and which error is raised."""

from __future__ import annotations

import pytest

from asr_async import AuthenticationError, ConnectionLostError
from asr_async.vendors.credentials import with_fresh_credentials


class Vendor:
    """A vendor that accepts some credentials; its attempts and the discarded credentials are recorded."""

    def __init__(self, accepted: str, *, can_refresh: bool = True) -> None:
        self.accepted = accepted
        self.can_refresh = can_refresh
        self.attempts: list[str] = []
        self.discarded: list[str] = []

    async def attempt(self, credentials: str) -> str:
        self.attempts.append(credentials)
        if credentials == "unreachable":
            raise ConnectionLostError("cannot reach the vendor")
        if credentials != self.accepted:
            raise AuthenticationError(f"refused {credentials}")
        return "response"

    def discard(self, credentials: str, _error: AuthenticationError) -> bool:
        self.discarded.append(credentials)
        return self.can_refresh

    async def obtain(self) -> str:
        return "new"

    async def run(self, credentials: str) -> str:
        return await with_fresh_credentials(credentials, self.attempt, discard=self.discard, obtain=self.obtain)


async def test_accepted_credentials_are_used_once() -> None:
    vendor = Vendor("cached")
    assert await vendor.run("cached") == "response"
    assert (vendor.attempts, vendor.discarded) == (["cached"], [])


async def test_refused_credentials_are_discarded_and_new_ones_are_tried_once() -> None:
    vendor = Vendor("new")
    assert await vendor.run("cached") == "response"
    assert (vendor.attempts, vendor.discarded) == (["cached", "new"], ["cached"])


async def test_new_credentials_that_are_refused_too_are_the_error() -> None:
    vendor = Vendor("none")
    with pytest.raises(AuthenticationError, match="refused new"):
        await vendor.run("cached")
    assert vendor.attempts == ["cached", "new"]


async def test_credentials_that_cannot_be_refreshed_are_not_tried_again() -> None:
    vendor = Vendor("new", can_refresh=False)
    with pytest.raises(AuthenticationError, match="refused given"):
        await vendor.run("given")
    assert vendor.attempts == ["given"]


async def test_another_error_is_not_about_credentials() -> None:
    vendor = Vendor("new")
    with pytest.raises(ConnectionLostError):
        await vendor.run("unreachable")
    assert (vendor.attempts, vendor.discarded) == (["unreachable"], [])
