"""Limits that processes share, against a real Redis: what is counted together, and what becomes of a dead process's."""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from redis.asyncio import Redis

from asr_async import ASRError, Client, ConfigurationError, ConnectionLostError, DashScope, Limits, Paraformer, Retry
from asr_async._limits.redis import SHARED_WINDOW_S, RedisLimitStore
from asr_async.emulator import Scripted, serve
from asr_async.emulator.faults import Cut, Throttle

from ..support.child_processes import child_environment, import_path
from ..support.paths import BENCHMARKS

PROGRAM = runpy.run_path(str(BENCHMARKS / "shared_limits.py"))
SCRIPT = Scripted([("Good morning.", 100, 900)])
SECOND = bytes(32_000)
WHERE = "redis"

DEADLINE_S = 20.0
"""For what takes a second or two on a machine with nothing else to do; less than the leases last that nobody set."""


@contextmanager
def running() -> Iterator[str]:
    """A Redis that stops behind the block; its URL."""
    if shutil.which("redis-server") is None:
        if os.environ.get("CI"):
            pytest.fail("redis-server is not installed: .ci/run does that")
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    with PROGRAM["redis_server"]() as url:
        yield url


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running() as url:
        yield url


@pytest.fixture
def redis(server: str) -> str:
    """Its URL, when nothing is counted."""
    from redis import Redis

    with Redis.from_url(server) as client:
        client.flushall()
    return server


async def until(there: bool, client: Redis, pattern: str) -> None:
    """Wait until Redis has such a key, or has none."""
    async with asyncio.timeout(DEADLINE_S):
        while bool(await client.keys(pattern)) != there:  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.01)


# --- processes -------------------------------------------------------------------------------------------------------


def test_two_processes_never_exceed_their_common_limit_in_any_second_and_take_turns(
    redis: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", import_path())
    PROGRAM["main"](["--seconds", "6", "--redis", redis, "--no-kill", "--json"])
    figures = json.loads(capsys.readouterr().out)
    # by Redis' clock: a machine with more to do than it can would stall the server that looks at its own
    assert figures["most_in_any_second_by_redis"] <= 20, figures
    assert figures["starts"] > 20, "more than the limit lets through at once"
    assert min(figures["starts_by_process"]) > 0.2 * figures["starts"], figures


HOLDER = f"""
import asyncio, sys
from asr_async._limits.redis import RedisLimitStore

async def main():
    async with RedisLimitStore(sys.argv[1], where="", lease_s=2) as store:
        for _ in range(3):
            await store.rate_limiter("{WHERE}").acquire_session(3)
        print("in", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_places_are_kept_as_long_as_their_process_lives_and_return_when_it_is_killed(redis: str) -> None:
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, redis, stdout=asyncio.subprocess.PIPE, env=child_environment()
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"in\n", "what it failed with is on standard error"
    async with RedisLimitStore(redis, where=WHERE, lease_s=1.5) as store:
        counts = store.rate_limiter(WHERE)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(4):  # twice as long as a lease
                await counts.acquire_session(3)
        holder.send_signal(signal.SIGKILL)
        await holder.wait()
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(3):
                await counts.acquire_session(3)


# --- counting --------------------------------------------------------------------------------------------------------


async def test_turns_come_in_the_order_of_asking_within_a_process_also_across_those_who_give_up(redis: str) -> None:
    order = list[int]()
    async with RedisLimitStore(redis, where=WHERE) as store:
        counts = store.rate_limiter(WHERE)

        async def ask(number: int) -> None:
            await counts.wait_for_permit("start", 3)
            order.append(number)

        began_at = time.monotonic()
        tasks = [asyncio.create_task(ask(number)) for number in range(10)]
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*tasks[:3])
        for number in (3, 5):  # the first of them is the one whose turn it is
            tasks[number].cancel()
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*tasks, return_exceptions=True)
    assert order == sorted(order)
    assert {0, 1, 2, 4, 6, 7, 8, 9} <= {*order}, "a machine with much to do may let one in before it gives up"
    assert time.monotonic() - began_at >= 2 * SHARED_WINDOW_S


async def test_who_is_late_is_passed_over(redis: str) -> None:
    async with RedisLimitStore(redis, where=WHERE) as store:
        for _ in range(2):
            assert await store.request_permit(WHERE, os.urandom(4).hex(), "start", 2) == 0
        # is told when to come back, and never does
        assert 0 < await store.request_permit(WHERE, "dead", "start", 2) < SHARED_WINDOW_S
        waits = [await store.request_permit(WHERE, "alive", "start", 2)]
        async with asyncio.timeout(DEADLINE_S):
            while waits[-1] > 0:
                await asyncio.sleep(waits[-1])
                waits.append(await store.request_permit(WHERE, "alive", "start", 2))


async def test_asking_twice_for_the_same_place_takes_one(redis: str) -> None:
    async with RedisLimitStore(redis, where=WHERE) as store:
        for _ in range(3):
            assert await store.request_session(WHERE, "the same", 2) == 0
        assert await store.request_session(WHERE, "another", 2) == 0
        assert await store.request_session(WHERE, "a third", 2) > 0


async def test_a_start_that_is_asked_for_again_was_not_made_and_counts_once(redis: str) -> None:
    async with RedisLimitStore(redis, where=WHERE) as store:
        for _ in range(5):
            assert await store.request_permit(WHERE, "the same", "start", 2) == 0
        assert await store.request_permit(WHERE, "another", "start", 2) == 0
        assert await store.request_permit(WHERE, "a third", "start", 2) > 0


async def test_who_gives_up_waiting_for_a_place_leaves_it_to_the_others(
    redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asr_async._limits.redis.PATIENCE_S", 2 * DEADLINE_S)  # nobody is passed over for being late
    async with RedisLimitStore(redis, where=WHERE) as first, RedisLimitStore(redis, where=WHERE) as second:
        leave = await first.rate_limiter(WHERE).acquire_session(1)
        waiting = asyncio.create_task(first.rate_limiter(WHERE).acquire_session(1))
        await asyncio.sleep(0.3)
        waiting.cancel()
        await asyncio.wait([waiting])
        leave()
        async with asyncio.timeout(DEADLINE_S):
            await second.rate_limiter(WHERE).acquire_session(1)


async def test_leases_that_were_lost_count_again_as_long_as_their_sessions_live(redis: str) -> None:
    async with RedisLimitStore(redis, where=WHERE, lease_s=0.9) as store:
        await store.rate_limiter(WHERE).acquire_session(1)
        async with Redis.from_url(redis) as client:
            await client.flushall()  # Redis was started anew
            await until(True, client, "*:sessions")
        assert await store.request_session(WHERE, "another", 1) > 0


async def test_keys_hold_no_credentials_and_vanish_when_nobody_counts_any_more(redis: str) -> None:
    async with serve(SCRIPT) as emulator:
        service = DashScope("sk-hunter2", endpoint=emulator.dashscope_url)
        limits = Limits(max_sessions=2, starts_per_second=5, shared=redis)
        async with Client(service, limits=limits) as client, Redis.from_url(redis) as spy:
            async with client.session(Paraformer()):
                names = {os.fsdecode(name) for name in await spy.keys()}
                assert {name.rpartition("}")[2] for name in names} == {":sessions", ":connects", ":starts"}
                assert all(name.startswith("asr_async:{dashscope:127.0.0.1:") for name in names)
                assert all([await spy.pttl(name) > 0 for name in names])
                dump = [await spy.zrange(name, 0, -1) for name in names]
                assert "hunter2" not in f"{names} {dump}"
            await until(False, spy, "*:sessions")


# --- sessions --------------------------------------------------------------------------------------------------------


async def test_what_one_client_is_refused_slows_all_down(redis: str) -> None:
    async with serve(SCRIPT, faults=[Throttle(connection=1)]) as emulator:
        service = DashScope("key", endpoint=emulator.dashscope_url)
        limits = Limits(shared=redis)
        async with (
            Client(service, limits=limits) as client,
            Client(service, limits=limits) as other,
            Redis.from_url(redis) as spy,
        ):
            asked_at = time.monotonic()
            with pytest.raises(ASRError):
                await client.transcribe([SECOND], Paraformer())
            await until(True, spy, "*:rest")
            async with asyncio.timeout(DEADLINE_S), other.session(Paraformer()):
                assert time.monotonic() - asked_at > 0.99


async def test_a_redis_that_is_not_there_is_an_error_of_one_line_without_the_password() -> None:
    async with serve(SCRIPT) as emulator:
        service = DashScope("key", endpoint=emulator.dashscope_url)
        limits = Limits(shared="redis://user:hunter2@127.0.0.1:1/0")
        async with Client(service, limits=limits) as client:
            with pytest.raises(ConnectionLostError) as refusal:
                await client.transcribe([SECOND], Paraformer())
            assert str(refusal.value).startswith(
                "no session begins without Redis at redis://127.0.0.1:1/0 (Limits.shared)"
            )
            assert "hunter2" not in str(refusal.value)
            assert "\n" not in str(refusal.value)
            assert refusal.value.retryable
            assert refusal.value.__cause__ is None


async def test_a_redis_that_refuses_the_password_says_so_and_is_not_asked_again(redis: str) -> None:
    async with RedisLimitStore(redis.replace("unix://", "unix://user:hunter2@"), where=WHERE) as store:
        with pytest.raises(ConnectionLostError) as refusal:
            await store.rate_limiter(WHERE).wait_for_permit("start", 20)
    assert str(refusal.value) == (
        "no session begins without Redis at redis (Limits.shared): invalid username-password pair or user is disabled"
    )
    assert not refusal.value.retryable


@pytest.mark.parametrize("query", ["nonsense=1", "socket_timeout=hunter2"])
async def test_an_option_of_the_url_that_redis_does_not_know_is_refused_when_the_client_is_opened(query: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        async with Client(DashScope("key"), limits=Limits(shared=f"redis://127.0.0.1/0?{query}")):
            pass
    assert str(refusal.value) == "Limits(shared=...): Redis at redis://127.0.0.1/0: an option behind '?' is wrong"


async def test_sessions_go_on_when_redis_is_lost_and_no_new_ones_begin() -> None:
    async with serve(SCRIPT) as emulator:
        service = DashScope("key", endpoint=emulator.dashscope_url)
        with running() as url:
            client = await Client(service, limits=Limits(max_sessions=5, shared=url)).__aenter__()
            session = await client.session(Paraformer()).__aenter__()
        try:
            with pytest.raises(ConnectionLostError, match="no session begins without Redis"):
                await client.transcribe([SECOND], Paraformer())
            texts = [result.text async for result in session.stream([SECOND], pace=None) if result.is_final]
            assert texts == ["Good morning."]
        finally:
            await session.__aexit__()
            await client.__aexit__()


async def test_a_reconnect_under_shared_limits_keeps_its_place(redis: str) -> None:
    async with serve(SCRIPT, faults=[Cut(after_audio_ms=300, connection=1)]) as emulator:
        service = DashScope("key", endpoint=emulator.dashscope_url)
        limits = Limits(max_sessions=1, starts_per_second=5, wait=DEADLINE_S, shared=redis)
        async with Client(service, limits=limits, retry=Retry(max_delay_s=0.1)) as client:
            transcript = await client.transcribe([SECOND], Paraformer())
            assert transcript.text == "Good morning."
            assert transcript.stats.reconnects == 1
            assert (await client.transcribe([SECOND], Paraformer())).text == "Good morning."
