"""The API keys that an emulator accepts, with the expiry of issued ones."""

from __future__ import annotations

import asyncio

from asr_async.emulator.api_keys import MAX_ISSUED, ApiKeys

from ..support.virtual_time import run_virtual


def test_known_and_issued_keys_are_accepted() -> None:
    async def scenario() -> None:
        keys = ApiKeys({"sk-a", "st-given"}, issued_prefix="st-")
        assert [keys.accepts(key) for key in ("sk-a", "st-given", "sk-b", "st-b")] == [True, True, False, False]
        any_keys = ApiKeys(None, issued_prefix="st-")
        assert [any_keys.accepts(key) for key in ("sk-a", "st-b")] == [True, False]
        issued = any_keys.issue(10)
        assert any_keys.accepts(issued)
        assert not keys.accepts(issued)

    run_virtual(scenario)


def test_the_oldest_issued_key_is_dropped_at_the_limit() -> None:
    async def scenario() -> None:
        keys = ApiKeys({"sk-a"}, issued_prefix="st-")
        issued = [keys.issue(10) for _ in range(MAX_ISSUED + 1)]
        assert [keys.accepts(key) for key in issued[:2]] == [False, True]
        assert repr(keys) == f"<ApiKeys 1 known, {MAX_ISSUED} issued>"

    run_virtual(scenario)


def test_an_issued_key_expires() -> None:
    async def scenario() -> None:
        keys = ApiKeys(None, issued_prefix="st-")
        key = keys.issue(10)
        await asyncio.sleep(9.9)
        assert keys.accepts(key)
        await asyncio.sleep(0.2)
        assert not keys.accepts(key)

    run_virtual(scenario)
