"""Tests of limits that processes share, against a real Redis, also when a process or Redis dies."""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from asr_async import ASRError, Client, ConfigurationError, ConnectionLostError, DashScope, Limits, Paraformer, Retry
from asr_async._limits import redis as redis_module
from asr_async._limits.redis import SHARED_WINDOW_S, RedisLimitStore
from asr_async.emulator import Scripted, serve
from asr_async.emulator.faults import Cut, Throttle

from ..support.child_processes import child_environment, import_path
from ..support.paths import BENCHMARKS, PACKAGE

BENCHMARK = runpy.run_path(str(BENCHMARKS / "shared_limits.py"))
SCRIPT = Scripted([("Good morning.", 100, 900)])
SECOND = bytes(32_000)
KEY = "account and model"

DEADLINE_S = 20.0
"""The deadline of what takes a second or two on an idle machine; less than a lease lasts by default."""


@contextmanager
def redis_server() -> Iterator[str]:
    """Run a Redis while the context lasts, and yield its URL."""
    if shutil.which("redis-server") is None:
        if os.environ.get("CI"):
            pytest.fail("redis-server is not installed: .ci/run does that")
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    with BENCHMARK["redis_server"]() as url:
        yield url


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture
def redis(server: str) -> str:
    """Return the URL of an empty Redis, which does not know that it had data."""
    from redis import Redis

    with Redis.from_url(server) as client:
        client.flushall()
        client.config_resetstat()
    return server


def open_store(url: str, lease_s: float = redis_module.LEASE_S, settle_s: float = 0) -> RedisLimitStore:
    """Return a store that grants leases at once, also in an empty Redis, unless it has a time to settle."""
    return RedisLimitStore(url, display_url="redis", lease_s=lease_s, settle_s=settle_s)


async def wait_for_keys(client: Redis, pattern: str, *, exist: bool) -> None:
    """Wait until Redis has a key that matches, or has none."""
    async with asyncio.timeout(DEADLINE_S):
        while bool(await client.keys(pattern)) != exist:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)


# --- scripts ---------------------------------------------------------------------------------------------------------


def test_the_scripts_are_files_of_the_package_and_each_is_used() -> None:
    scripts = (
        redis_module._ACQUIRE_SESSION,
        redis_module._ACQUIRE_START,
        redis_module._RENEW_LEASES,
        redis_module._EXTEND_BACKOFF,
    )
    assert {name for script in scripts for name in script} == {path.stem for path in PACKAGE.rglob("*.lua")}
    for script in scripts:
        source = redis_module._source(script)
        assert source.startswith("-- The clock of Redis"), script
        assert source is redis_module._source(script), "it is read once"


# --- processes -------------------------------------------------------------------------------------------------------


def test_two_processes_alternate_and_keep_their_common_limit_in_every_second(
    redis: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", import_path())
    BENCHMARK["main"](["--seconds", "6", "--redis", redis, "--no-kill", "--json"])
    figures = json.loads(capsys.readouterr().out)
    # by the clock of Redis: on an overloaded machine the server that receives the starts is delayed
    assert figures["most_in_any_second_by_redis"] <= 20, figures
    assert figures["starts"] > 20, "more than the limit lets through at once"
    assert min(figures["starts_by_process"]) > 0.2 * figures["starts"], figures


HOLDER = f"""
import asyncio, sys
from asr_async._limits.redis import RedisLimitStore

async def main():
    async with RedisLimitStore(sys.argv[1], display_url="", lease_s=2) as store:
        for _ in range(3):
            await store.rate_limiter("{KEY}").acquire_session(3)
        print("acquired", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_sessions_count_as_long_as_their_process_lives_and_no_longer_after_it_is_killed(redis: str) -> None:
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, redis, stdout=asyncio.subprocess.PIPE, env=child_environment()
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"acquired\n", "the reason is on standard error"
    async with open_store(redis, lease_s=1.5) as store:
        limiter = store.rate_limiter(KEY)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(4):  # twice as long as a lease
                await limiter.acquire_session(3)
        holder.send_signal(signal.SIGKILL)
        await holder.wait()
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(3):
                await limiter.acquire_session(3)


# --- counting --------------------------------------------------------------------------------------------------------


async def test_permits_are_granted_in_the_order_of_the_requests_within_a_process_also_if_some_are_cancelled(
    redis: str,
) -> None:
    order = list[int]()
    async with open_store(redis) as store:
        limiter = store.rate_limiter(KEY)

        async def request(number: int) -> None:
            await limiter.wait_for_permit("start", 3)
            order.append(number)

        began_at = time.monotonic()
        tasks = [asyncio.create_task(request(number)) for number in range(10)]
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*tasks[:3])
        for number in (3, 5):  # number 3 is the next one
            tasks[number].cancel()
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*tasks, return_exceptions=True)
    assert order == sorted(order)
    assert {0, 1, 2, 4, 6, 7, 8, 9} <= {*order}, "a busy machine may grant one before it is cancelled"
    assert time.monotonic() - began_at >= 2 * SHARED_WINDOW_S


async def test_a_request_that_is_not_repeated_in_time_loses_its_position(redis: str) -> None:
    async with open_store(redis) as store:
        for _ in range(2):
            assert await store.request_permit(KEY, os.urandom(4).hex(), "start", 2) == 0
        # this one should be repeated, and never is
        assert 0 < await store.request_permit(KEY, "dead", "start", 2) < SHARED_WINDOW_S
        waits = [await store.request_permit(KEY, "alive", "start", 2)]
        async with asyncio.timeout(DEADLINE_S):
            while waits[-1] > 0:
                await asyncio.sleep(waits[-1])
                waits.append(await store.request_permit(KEY, "alive", "start", 2))


async def test_a_session_without_a_limit_needs_no_lease(redis: str) -> None:
    async with open_store(redis) as store, Redis.from_url(redis) as spy:
        limiter = store.rate_limiter(KEY)
        release = await limiter.acquire_session(None)
        assert limiter.is_idle
        assert await spy.keys("*:sessions") == []
        release()


async def test_a_repeated_request_for_a_session_counts_once(redis: str) -> None:
    async with open_store(redis) as store:
        for _ in range(3):
            assert await store.request_session(KEY, "the same", 2) == 0
        assert await store.request_session(KEY, "another", 2) == 0
        assert await store.request_session(KEY, "a third", 2) > 0


async def test_a_repeated_request_for_a_start_counts_once_since_the_first_was_not_used(redis: str) -> None:
    async with open_store(redis) as store:
        for _ in range(5):
            assert await store.request_permit(KEY, "the same", "start", 2) == 0
        assert await store.request_permit(KEY, "another", "start", 2) == 0
        assert await store.request_permit(KEY, "a third", "start", 2) > 0


async def test_a_request_for_a_session_that_is_cancelled_leaves_the_queue(
    redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # no request leaves the queue because it is late
    monkeypatch.setattr("asr_async._limits.redis.GRACE_S", 2 * DEADLINE_S)
    async with open_store(redis) as first, open_store(redis) as second:
        release = await first.rate_limiter(KEY).acquire_session(1)
        waiting = asyncio.create_task(first.rate_limiter(KEY).acquire_session(1))
        await asyncio.sleep(0.3)
        waiting.cancel()
        await asyncio.wait([waiting])
        release()
        async with asyncio.timeout(DEADLINE_S):
            await second.rate_limiter(KEY).acquire_session(1)


async def test_leases_that_redis_has_lost_count_again_while_their_sessions_live(redis: str) -> None:
    async with open_store(redis, lease_s=0.9) as store:
        await store.rate_limiter(KEY).acquire_session(1)
        async with Redis.from_url(redis) as client:
            await client.flushall()  # as after a restart of Redis
            await wait_for_keys(client, "*:sessions", exist=True)
        assert await store.request_session(KEY, "another", 1) > 0


async def test_keys_contain_no_credentials_and_expire_when_no_session_is_left(redis: str) -> None:
    async with serve(SCRIPT) as emulator:
        service = DashScope("sk-hunter2", endpoint=emulator.dashscope_url)
        limits = Limits(max_sessions=2, starts_per_second=5, shared=redis)
        async with Client(service, limits=limits) as client, Redis.from_url(redis) as spy:
            async with client.session(Paraformer()):
                names = {os.fsdecode(name) for name in await spy.keys()}
                assert {name.rpartition("}")[2] for name in names} == {
                    ":sessions",
                    ":sessions:epoch",
                    ":connects",
                    ":starts",
                }
                assert all(name.startswith("asr_async:{dashscope:127.0.0.1:") for name in names)
                assert all([await spy.pttl(name) > 0 for name in names])
                dump = [await spy.zrange(name, 0, -1) for name in names if not name.endswith(":epoch")]
                assert "hunter2" not in f"{names} {dump}"
            await wait_for_keys(spy, "*:sessions", exist=False)


# --- a Redis that loses its data, stops or does not answer -----------------------------------------------------------


async def acquire(store: RedisLimitStore, count: int, max_sessions: int) -> None:
    await asyncio.gather(*(store.rate_limiter(KEY).acquire_session(max_sessions) for _ in range(count)))


async def test_the_limit_holds_when_redis_loses_all_leases(redis: str) -> None:
    """FLUSHALL, as a restart: the sessions of all clients count again before another one starts."""
    settle_s = redis_module.SETTLE_S
    async with (
        open_store(redis, settle_s=settle_s) as one,
        open_store(redis, settle_s=settle_s) as other,
        open_store(redis, settle_s=settle_s) as newcomer,
        Redis.from_url(redis) as client,
    ):
        await acquire(one, 3, 5)
        await acquire(other, 2, 5)
        await asyncio.sleep(2 * redis_module.CHECK_S)
        await client.flushall()
        requests = [asyncio.create_task(acquire(store, 5, 5)) for store in (newcomer, one, other)]
        done, pending = await asyncio.wait(requests, timeout=2 * settle_s)
        assert not done
        (leases,) = await client.keys("*:sessions")
        assert await client.zcard(leases) == 5
        for request in pending:
            request.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


@contextmanager
def redis_process(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Redis with its socket in a folder; another one may follow it there."""
    socket = folder / "redis.sock"
    socket.unlink(missing_ok=True)
    options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no", "--dir", str(folder)]
    with subprocess.Popen([shutil.which("redis-server") or "", *options], stdout=subprocess.DEVNULL) as process:
        try:
            while not socket.exists():
                assert process.poll() is None
                time.sleep(0.01)
            yield process
        finally:
            process.kill()


async def test_sessions_that_wait_survive_a_restart_of_redis(redis: str, tmp_path: Path) -> None:
    url = f"unix://{tmp_path / 'redis.sock'}"
    async with serve(SCRIPT) as emulator:
        service = DashScope("key", endpoint=emulator.dashscope_url)
        limits = Limits(max_sessions=50, shared=url, wait=DEADLINE_S)
        with redis_process(tmp_path):
            client = await Client(service, limits=limits).__aenter__()
            await client.transcribe([SECOND], Paraformer())
        try:
            tasks = [asyncio.create_task(client.transcribe([SECOND], Paraformer())) for _ in range(25)]
            done, _ = await asyncio.wait(tasks, timeout=1)
            assert not done
            with redis_process(tmp_path):
                async with asyncio.timeout(DEADLINE_S):
                    transcripts = await asyncio.gather(*tasks)
            assert {transcript.text for transcript in transcripts} == {"Good morning."}
        finally:
            await client.__aexit__()


@contextmanager
def frozen(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Stop a process while the context lasts: its sockets stay open, and it does not answer."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


async def test_a_frozen_redis_is_named_as_the_reason_and_sessions_end_by_their_deadline(
    redis: str, tmp_path: Path
) -> None:
    async with serve(SCRIPT) as emulator:
        service = DashScope("key", endpoint=emulator.dashscope_url)
        limits = Limits(shared=f"unix://{tmp_path / 'redis.sock'}", wait=1)
        with redis_process(tmp_path) as process:
            async with Client(service, limits=limits) as client:
                await client.transcribe([SECOND], Paraformer())
                with frozen(process):
                    tasks = [asyncio.create_task(client.transcribe([SECOND], Paraformer())) for _ in range(3)]
                    async with asyncio.timeout(DEADLINE_S):
                        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
                assert (await client.transcribe([SECOND], Paraformer())).text == "Good morning."
    for outcome in outcomes:
        assert isinstance(outcome, ConnectionLostError)
        assert "(Limits.shared): it has not answered for 1 s; " in str(outcome)
        assert str(outcome).endswith(" s; no permit within 1 s (Limits.wait)")
        assert outcome.retryable


async def test_a_frozen_redis_holds_neither_a_cancelled_session_nor_a_client_that_is_closed(
    redis: str, tmp_path: Path
) -> None:
    async with serve(SCRIPT) as emulator:
        service = DashScope("key", endpoint=emulator.dashscope_url)
        limits = Limits(shared=f"unix://{tmp_path / 'redis.sock'}", wait=10 * DEADLINE_S)
        with redis_process(tmp_path) as process, frozen(process):
            client = await Client(service, limits=limits).__aenter__()
            for delay_s in (0, 0.001, 0.05):
                start = asyncio.create_task(client.transcribe([SECOND], Paraformer()))
                await asyncio.wait([start], timeout=delay_s)
                start.cancel()
                done, _ = await asyncio.wait([start], timeout=DEADLINE_S)
                assert done
                assert start.cancelled()
            async with asyncio.timeout(redis_module.REPLY_TIMEOUT_S):  # it waits for `CLOSE_TIMEOUT_S`, not for a reply
                await client.__aexit__()


async def test_a_cancelled_request_ends_also_if_its_message_is_sent_at_that_instant(redis: str) -> None:
    """`asyncio.wait_for`, which redis-py uses where it has a timeout, loses such a cancellation in Python 3.11."""
    async with open_store(f"{redis}?socket_timeout=60") as store:
        for steps in range(30):
            request = asyncio.create_task(store.rate_limiter(KEY).wait_for_permit("start", 1))
            for _ in range(steps):
                await asyncio.sleep(0)
            request.cancel()
            done, _ = await asyncio.wait([request], timeout=DEADLINE_S)
            assert done, steps


async def test_a_session_does_not_wait_in_a_redis_that_never_had_data_and_waits_in_one_that_was_flushed(
    redis: str,
) -> None:
    settle_s = redis_module.SETTLE_S
    async with open_store(redis, settle_s=settle_s) as store, Redis.from_url(redis) as client:
        async with asyncio.timeout(DEADLINE_S):  # it may have started just now
            while (await client.info("server"))["uptime_in_seconds"] < settle_s + 1:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.1)
        assert await store.request_session(KEY, "first", 5) == 0
        await client.flushall()
        assert await store.request_session(KEY, "second", 5) > 0
        assert str(store.failure) == (
            "cannot start a session without Redis at redis (Limits.shared): it has just started or lost its data, and "
            "sessions that are open are counted first"
        )
        # as a provider that refuses INFO: nothing is known
        await client.flushall()
        await client.execute_command("ACL", "SETUSER", "default", "-info")  # type: ignore[no-untyped-call]
        try:
            assert await store.request_session(KEY, "third", 5) > 0
            async with asyncio.timeout(DEADLINE_S):
                await store.rate_limiter(KEY).acquire_session(5)
        finally:
            await client.execute_command("ACL", "SETUSER", "default", "+info")  # type: ignore[no-untyped-call]


# --- sessions --------------------------------------------------------------------------------------------------------


async def test_a_refusal_of_one_client_slows_all_clients_down(redis: str) -> None:
    async with serve(SCRIPT, faults=[Throttle(connection=1)]) as emulator:
        service = DashScope("key", endpoint=emulator.dashscope_url)
        limits = Limits(shared=redis)
        async with (
            Client(service, limits=limits) as client,
            Client(service, limits=limits) as other,
            Redis.from_url(redis) as spy,
        ):
            started_at = time.monotonic()
            with pytest.raises(ASRError):
                await client.transcribe([SECOND], Paraformer())
            await wait_for_keys(spy, "*:rest", exist=True)
            async with asyncio.timeout(DEADLINE_S), other.session(Paraformer()):
                assert time.monotonic() - started_at > 0.99


async def test_an_unreachable_redis_is_an_error_of_one_line_without_the_password() -> None:
    async with serve(SCRIPT) as emulator:
        service = DashScope("key", endpoint=emulator.dashscope_url)
        limits = Limits(shared="redis://user:hunter2@127.0.0.1:1/0", wait=0.5)
        async with Client(service, limits=limits) as client:
            with pytest.raises(ConnectionLostError) as refusal:
                await client.transcribe([SECOND], Paraformer())
            assert str(refusal.value).startswith(
                "cannot start a session without Redis at redis://127.0.0.1:1/0 (Limits.shared)"
            )
            assert str(refusal.value).endswith("; no permit within 0.5 s (Limits.wait)")
            assert "hunter2" not in str(refusal.value)
            assert "\n" not in str(refusal.value)
            assert refusal.value.retryable
            assert refusal.value.__cause__ is None


async def test_a_password_that_redis_refuses_is_named_and_not_retried(redis: str) -> None:
    async with open_store(redis.replace("unix://", "unix://user:hunter2@")) as store:
        with pytest.raises(ConnectionLostError) as refusal:
            await store.rate_limiter(KEY).wait_for_permit("start", 20)
    assert str(refusal.value) == (
        "cannot start a session without Redis at redis (Limits.shared): invalid username-password pair or user is "
        "disabled"
    )
    assert not refusal.value.retryable


@pytest.mark.parametrize("query", ["nonsense=1", "socket_timeout=hunter2"])
async def test_an_unknown_option_in_the_url_is_refused_when_the_client_is_opened(query: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        async with Client(DashScope("key"), limits=Limits(shared=f"redis://127.0.0.1/0?{query}")):
            pass
    assert str(refusal.value) == (
        "Limits(shared=...): redis://127.0.0.1/0: an option after '?' is unknown or has a wrong value"
    )


async def test_sessions_continue_when_redis_is_lost_and_no_new_ones_start() -> None:
    async with serve(SCRIPT) as emulator:
        service = DashScope("key", endpoint=emulator.dashscope_url)
        with redis_server() as url:
            client = await Client(service, limits=Limits(max_sessions=5, shared=url, wait=2.5)).__aenter__()
            session = await client.session(Paraformer()).__aenter__()
        try:
            with pytest.raises(ConnectionLostError, match="cannot start a session without Redis"):
                await client.transcribe([SECOND], Paraformer())
            texts = [result.text async for result in session.stream([SECOND], pace=None) if result.is_final]
            assert texts == ["Good morning."]
        finally:
            await session.__aexit__()
            await client.__aexit__()


async def test_a_reconnect_under_shared_limits_needs_no_second_session(redis: str) -> None:
    async with serve(SCRIPT, faults=[Cut(after_audio_ms=300, connection=1)]) as emulator:
        service = DashScope("key", endpoint=emulator.dashscope_url)
        limits = Limits(max_sessions=1, starts_per_second=5, wait=DEADLINE_S, shared=redis)
        async with Client(service, limits=limits, retry=Retry(max_delay_s=0.1)) as client:
            transcript = await client.transcribe([SECOND], Paraformer())
            assert transcript.text == "Good morning."
            assert transcript.stats.reconnects == 1
            assert (await client.transcribe([SECOND], Paraformer())).text == "Good morning."
