"""Tests of the limits of a client in virtual time: sessions at once, starts per second, refusals of the vendor."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection

from asr_async import (
    ASRError,
    Client,
    ConfigurationError,
    DashScope,
    DeadlineError,
    Fallback,
    FunASR,
    Gummy,
    Huawei,
    Limits,
    Local,
    Paraformer,
    Pool,
    QwenAudio,
    QwenRealtime,
    Rasr,
    RateLimitedError,
    Retry,
    connect,
    transcribe,
)
from asr_async._connection.member import SoleMember, choose_member
from asr_async._limits.limiter import Limiter, rate_limiter_key
from asr_async._limits.window import WINDOW_S
from asr_async.emulator import Scripted, serve
from asr_async.emulator.faults import Cut, Fail, Refuse, Throttle
from asr_async.vendors.options import Options
from asr_async.vendors.service import Endpoint

from ..support.scripted_server import read_until_finish, scripted_server, send_event, send_final, start_task
from ..support.virtual_time import run_virtual

SCRIPT = Scripted([("Good morning.", 100, 900)])
SECOND = bytes(32_000)


# --- permits ---------------------------------------------------------------------------------------------------------


def choice_at(url: str) -> SoleMember:
    endpoint = Endpoint(url=url, headers={}, handshake_error=lambda *_: ASRError("no"), account="a")
    return SoleMember(DashScope(), Paraformer(), endpoint)


CLOUD = choice_at("wss://dashscope.aliyuncs.com/")


def test_a_permit_counts_its_session_once_until_it_is_released() -> None:
    async def scenario() -> None:
        limiter = Limiter(Limits(max_sessions=1, wait=1))
        permit, other = (limiter.session_permit() for _ in range(2))
        assert repr(permit) == "<SessionPermit not acquired>"
        for _ in range(2):
            await permit.acquire_session(CLOUD)
        assert repr(permit) == "<SessionPermit dashscope:a:paraformer-realtime-v2>"
        with pytest.raises(DeadlineError):
            await other.acquire_session(CLOUD)
        for _ in range(2):
            permit.release()
        await other.acquire_session(CLOUD)

    run_virtual(scenario)


def test_two_connections_of_a_session_that_acquire_it_together_count_once() -> None:
    async def scenario() -> None:
        limiter = Limiter(Limits(max_sessions=2, wait=5))
        holders = [limiter.session_permit() for _ in range(2)]
        for holder in holders:
            await holder.acquire_session(CLOUD)
        permit, other = (limiter.session_permit() for _ in range(2))
        both = [asyncio.create_task(permit.acquire_session(CLOUD)) for _ in range(2)]
        await asyncio.sleep(1)
        for holder in holders:
            holder.release()
        await asyncio.gather(*both)
        await other.acquire_session(CLOUD)
        assert asyncio.get_running_loop().time() == 1.0

    run_virtual(scenario)


# --- sessions --------------------------------------------------------------------------------------------------------


class StartRecorder:
    """A server script that records when connections and tasks start, and how many tasks run at once."""

    def __init__(self) -> None:
        self.connected_at: list[float] = []
        self.started_at: list[float] = []
        self.running = 0
        self.most_running = 0

    async def run(self, connection: ServerConnection) -> None:
        self.connected_at.append(asyncio.get_running_loop().time())
        task_id = await start_task(connection)
        self.started_at.append(asyncio.get_running_loop().time())
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await read_until_finish(connection)
        await send_final(connection, task_id, "there")
        self.running -= 1
        await send_event(connection, "task-finished", task_id, {"output": {}})
        await connection.wait_closed()

    def most_in_any_second(self) -> int:
        return max(sum(at <= other < at + 1.0 for other in self.started_at) for at in self.started_at)


@asynccontextmanager
async def recorded_client(**limits: object) -> AsyncIterator[tuple[Client, StartRecorder]]:
    """Yield a client with limits, and what its server records."""
    recorder = StartRecorder()
    async with (
        scripted_server(recorder.run) as service,
        Client(service, limits=Limits(**limits), retry=Retry(attempts=0)) as client,  # type: ignore[arg-type]
    ):
        yield client, recorder


def test_fifty_sessions_at_ten_per_second_start_in_order_and_take_four_seconds() -> None:
    async def scenario() -> None:
        async with recorded_client(starts_per_second=10) as (client, recorder):
            order = list[int]()

            async def stream(number: int) -> None:
                async with client.session(Paraformer()) as session:
                    order.append(number)
                    async for _ in session.stream([SECOND], pace=None):
                        pass

            async with asyncio.TaskGroup() as group:
                for number in range(50):
                    group.create_task(stream(number))
        assert sorted(order) == list(range(50))
        assert [sorted(order[i : i + 10]) for i in range(0, 50, 10)] == [
            list(range(i, i + 10)) for i in range(0, 50, 10)
        ]
        assert recorder.most_in_any_second() == 10
        assert 4.0 < recorder.started_at[-1] - recorder.started_at[0] < 4.5
        # sessions that wait have no connection yet
        assert len([at for at in recorder.connected_at if at < 1.0]) == 10

    run_virtual(scenario)


def test_sessions_beyond_the_limit_wait_until_one_has_ended() -> None:
    async def scenario() -> None:
        async with recorded_client(max_sessions=3) as (client, recorder):
            await asyncio.gather(*(client.transcribe([SECOND], Paraformer()) for _ in range(12)))
        assert len(recorder.started_at) == 12
        assert recorder.most_running == 3

    run_virtual(scenario)


def test_a_session_no_longer_counts_when_the_vendor_has_confirmed_its_end() -> None:
    async def scenario() -> None:
        async with recorded_client(max_sessions=1, wait=1) as (client, _), client.session(Paraformer()) as session:
            async for _ in session.stream([SECOND], pace=None):
                pass
            await asyncio.sleep(1)
            # the first session is still inside its `async with`
            assert (await client.transcribe([SECOND], Paraformer())).text == "there"

    run_virtual(scenario)


def test_a_session_no_longer_counts_when_it_failed_was_cancelled_or_was_left() -> None:
    async def scenario() -> None:
        async with serve(SCRIPT, faults=[Fail(code="InvalidParameter", at="start", connection=1)]) as emulator:
            service = DashScope("key", endpoint=emulator.dashscope_url)
            async with Client(service, limits=Limits(max_sessions=1, wait=1)) as client:
                with pytest.raises(ASRError):
                    await client.transcribe([SECOND], Paraformer())
                async with client.session(Paraformer()):
                    pass
                waiting = asyncio.create_task(client.transcribe(endless(), Paraformer()))
                await asyncio.sleep(3)
                waiting.cancel()
                await asyncio.wait([waiting])
                assert (await client.transcribe([SECOND], Paraformer())).text == "Good morning."

    run_virtual(scenario)


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield SECOND
        await asyncio.sleep(1)


def test_sessions_that_are_cancelled_while_they_wait_leave_nothing_behind() -> None:
    async def scenario() -> None:
        async with recorded_client(max_sessions=1, starts_per_second=1, wait=5) as (client, recorder):
            async with client.session(Paraformer()):
                waiting = [asyncio.create_task(client.transcribe([SECOND], Paraformer())) for _ in range(5)]
                await asyncio.sleep(0.5)
                for task in waiting:
                    task.cancel()
                await asyncio.wait(waiting)
                assert all(task.cancelled() for task in waiting)
            assert (await client.transcribe([SECOND], Paraformer())).text == "there"
            assert len(recorder.started_at) == 2

    run_virtual(scenario)


def test_the_error_of_a_session_that_waited_too_long_names_the_limit_and_how_many_wait() -> None:
    async def scenario() -> None:
        async with recorded_client(max_sessions=1, wait=3) as (client, _), client.session(Paraformer()):
            first = asyncio.create_task(client.transcribe([SECOND], Paraformer()))
            await asyncio.sleep(2)
            second = asyncio.create_task(client.transcribe([SECOND], Paraformer()))
            await asyncio.wait([first, second])
            assert str(first.exception()) == (
                "paraformer-realtime-v2: no permit within 3 s (Limits.wait): max_sessions=1; others waiting: 1"
            )
            error = second.exception()
            assert isinstance(error, DeadlineError)
            assert error.retryable
            assert asyncio.get_running_loop().time() == pytest.approx(5, abs=0.1)

    run_virtual(scenario)


def test_the_error_of_a_start_that_waited_too_long_names_the_limit() -> None:
    async def scenario() -> None:
        async with recorded_client(starts_per_second=2, wait=2) as (client, recorder):
            tasks = [asyncio.create_task(client.transcribe([SECOND], Paraformer())) for _ in range(10)]
            await asyncio.wait(tasks)
            errors = [str(error) for task in tasks if (error := task.exception()) is not None]
            assert len(recorder.started_at) == 4
            assert len(errors) == 6
            for message in errors:
                assert message.startswith(
                    "paraformer-realtime-v2: no permit within 2 s (Limits.wait): starts_per_second=2; others waiting: "
                )

    run_virtual(scenario)


def test_the_deadlines_of_a_connection_do_not_run_while_it_waits_for_a_permit() -> None:
    async def scenario() -> None:
        async with recorded_client(starts_per_second=1) as (client, recorder):
            await asyncio.gather(*(client.transcribe([SECOND], Paraformer()) for _ in range(20)))
            assert len(recorder.started_at) == 20

    run_virtual(scenario)


def test_all_clients_of_an_event_loop_share_the_limits() -> None:
    async def scenario() -> None:
        recorder = StartRecorder()
        async with scripted_server(recorder.run) as service, AsyncExitStack() as stack:
            limits = Limits(starts_per_second=4)
            clients = [await stack.enter_async_context(Client(service, limits=limits)) for _ in range(3)]
            jobs = [client.transcribe([SECOND], Paraformer()) for client in clients for _ in range(4)]
            jobs += [transcribe([SECOND], Paraformer(), service, limits=limits) for _ in range(2)]
            await asyncio.gather(*jobs)
            async with connect(Paraformer(), service, limits=limits):
                pass
        assert len(recorder.started_at) == 15
        assert recorder.most_in_any_second() == 4

    run_virtual(scenario)


def test_models_and_accounts_are_counted_separately() -> None:
    def key(service: DashScope | Huawei, options: Options) -> str:
        return rate_limiter_key(asyncio.run(choose_member(service, options)))

    ours = key(DashScope("sk-ours"), Paraformer())
    assert ours == key(DashScope("sk-ours", workspace="ws1"), Paraformer())
    assert ours != key(DashScope("sk-theirs"), Paraformer())
    assert ours != key(DashScope("sk-ours"), FunASR())
    assert key(DashScope("st-first"), FunASR()) == key(DashScope("st-second"), FunASR())
    assert "sk-ours" not in ours
    huawei = Huawei(ak="a", sk="s", project_id="p1", region="r")
    assert key(huawei, Rasr()) == key(Huawei(token="t", project_id="p1", region="r"), Rasr())
    assert key(huawei, Rasr()) != key(Huawei(ak="a", sk="s", project_id="p2", region="r"), Rasr())


def test_the_members_of_a_fallback_are_counted_separately() -> None:
    async def scenario() -> None:
        first, second = StartRecorder(), StartRecorder()
        async with scripted_server(first.run) as one, scripted_server(second.run) as other:
            fallback = Fallback([(one, Paraformer()), (other, FunASR())])
            async with Client(fallback, limits=Limits(max_sessions=2, wait=1)) as client:
                sessions = [client.session(fallback.options) for _ in range(4)]
                async with AsyncExitStack() as stack:
                    for session in sessions:
                        await stack.enter_async_context(session)
                    assert [session.stats.member for session in sessions[2:]] == [f"{other!r} fun-asr-realtime"] * 2
                    with pytest.raises(DeadlineError, match="max_sessions=2"):
                        await client.session(fallback.options).__aenter__()
                async with client.session(fallback.options):
                    pass

    run_virtual(scenario)


def test_a_reconnect_counts_as_a_start_but_not_as_a_second_session() -> None:
    async def scenario() -> None:
        faults = [Cut(after_audio_ms=300, connection=1), Cut(after_audio_ms=300, connection=2)]
        async with serve(SCRIPT, faults=faults) as emulator:
            service = DashScope("key", endpoint=emulator.dashscope_url)
            limits = Limits(max_sessions=1, starts_per_second=1, wait=5)
            async with Client(service, limits=limits) as client:
                transcript = await client.transcribe([SECOND], Paraformer())
                assert transcript.text == "Good morning."
                assert transcript.stats.reconnects == 2
                assert asyncio.get_running_loop().time() >= 2 * WINDOW_S

    run_virtual(scenario)


def test_a_task_on_a_reused_connection_counts_as_a_start() -> None:
    async def scenario() -> None:
        async with serve(SCRIPT) as emulator:
            service = DashScope("key", endpoint=emulator.dashscope_url)
            async with Client(service, limits=Limits(starts_per_second=1)) as client:
                for _ in range(4):
                    await client.transcribe([SECOND], Paraformer())
                assert asyncio.get_running_loop().time() >= 3 * WINDOW_S

    run_virtual(scenario)


@pytest.mark.parametrize(("warm", "spread_s"), [(2, 0), (5, 2 * WINDOW_S)])
def test_warm_connections_keep_to_the_limit_of_starts_per_second(warm: int, spread_s: float) -> None:
    async def scenario() -> None:
        recorder = StartRecorder()
        async with scripted_server(recorder.run) as service:
            limits = Limits(starts_per_second=2)
            async with Client(service, limits=limits, pool=Pool(warm=warm)) as client:
                await client.warm(Paraformer())
                await asyncio.sleep(10)
        assert len(recorder.connected_at) == warm
        assert recorder.connected_at[-1] - recorder.connected_at[0] == pytest.approx(spread_s, abs=0.1)

    run_virtual(scenario)


# --- refusals of the vendor ------------------------------------------------------------------------------------------


async def open_session(client: Client) -> float:
    """Open and close a session, and return the instant at which it was open."""
    async with client.session(Paraformer()):
        return asyncio.get_running_loop().time()


def test_no_session_starts_before_the_delay_that_the_vendor_requests_is_over() -> None:
    async def scenario() -> None:
        faults = [Refuse(status=429, retry_after_s=7, connection=1)]
        async with serve(SCRIPT, faults=faults) as emulator:
            service = DashScope("key", endpoint=emulator.dashscope_url)
            async with Client(service) as client, Client(service) as other:
                with pytest.raises(RateLimitedError):
                    await open_session(client)
                times = await asyncio.gather(open_session(client), open_session(other), open_session(client))
                assert min(times) == pytest.approx(7, abs=0.1)
                async with Client(service) as third, third.session(FunASR()):
                    pass  # another model is counted separately

    run_virtual(scenario)


def test_without_a_requested_delay_all_back_off_for_a_second_and_twice_as_long_after_each_refusal() -> None:
    async def scenario() -> None:
        async with serve(SCRIPT, faults=[Throttle(times=3)]) as emulator:
            service = DashScope("key", endpoint=emulator.dashscope_url)
            async with Client(service) as client:
                refused_at = list[float]()
                for _ in range(3):
                    with pytest.raises(RateLimitedError):
                        await open_session(client)
                    refused_at.append(asyncio.get_running_loop().time())
                assert [round(at) for at in refused_at] == [0, 1, 3]
                assert await open_session(client) == pytest.approx(7, abs=0.2)
                assert await open_session(client) == pytest.approx(7, abs=0.2)

    run_virtual(scenario)


def test_starts_that_are_refused_together_cause_one_backoff() -> None:
    async def scenario() -> None:
        async with serve(SCRIPT, faults=[Throttle(times=5)]) as emulator:
            service = DashScope("key", endpoint=emulator.dashscope_url)
            async with Client(service) as client:
                refusals = await asyncio.gather(*(open_session(client) for _ in range(5)), return_exceptions=True)
                assert all(isinstance(error, RateLimitedError) for error in refusals)
                assert await open_session(client) == pytest.approx(1, abs=0.2)

    run_virtual(scenario)


def test_a_task_that_is_throttled_in_mid_stream_slows_the_others_down() -> None:
    async def scenario() -> None:
        faults = [Fail(code="Throttling.AllocationQuota", after_audio_ms=300, connection=1)]
        async with serve(SCRIPT, faults=faults) as emulator:
            service = DashScope("key", endpoint=emulator.dashscope_url)
            async with Client(service, retry=Retry(attempts=0)) as client:
                with pytest.raises(RateLimitedError):
                    await client.transcribe([SECOND], Paraformer())
                assert await open_session(client) == pytest.approx(1, abs=0.2)

    run_virtual(scenario)


def test_the_error_of_a_start_that_waited_too_long_names_a_backoff_that_lasts_longer() -> None:
    async def scenario() -> None:
        async with serve(SCRIPT, faults=[Refuse(status=429, retry_after_s=600, connection=1)]) as emulator:
            service = DashScope("key", endpoint=emulator.dashscope_url)
            async with Client(service) as client:
                with pytest.raises(RateLimitedError):
                    await open_session(client)
                with pytest.raises(DeadlineError) as refusal:
                    await open_session(client)
                assert str(refusal.value) == (
                    "paraformer-realtime-v2: no permit within 30 s (Limits.wait): the vendor reports too many sessions "
                    "or starts, and the backoff lasts 570 s more; others waiting: 0"
                )
                assert asyncio.get_running_loop().time() == pytest.approx(30, abs=0.1)

    run_virtual(scenario)


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "per_second"),
    [
        (Paraformer(), 20),
        (FunASR(), 20),
        (Gummy(), 10),
        (QwenAudio(model="qwen-audio-3.1-asr-flash-message"), 20),
        (QwenRealtime(), None),
        (Rasr(), None),
        (Paraformer(model="paraformer-unknown", strict=False), None),
    ],
    ids=lambda value: str(getattr(value, "model", value)),
)
def test_options_have_the_published_rate_of_their_model(options: Options, per_second: int | None) -> None:
    assert options.starts_per_second == per_second


@pytest.mark.parametrize(
    ("url", "limits", "seconds"),
    [
        ("wss://dashscope.aliyuncs.com/", Limits(), WINDOW_S),
        ("wss://dashscope.aliyuncs.com/", Limits(starts_per_second=None), 0),
        ("wss://dashscope.aliyuncs.com/", Limits(starts_per_second=10), 2 * WINDOW_S),
        ("ws://127.0.0.1:8080/", Limits(), 0),
        ("ws://127.0.0.1:8080/", Limits(starts_per_second=20), WINDOW_S),
    ],
)
def test_the_published_rate_is_the_default_except_on_this_machine(url: str, limits: Limits, seconds: float) -> None:
    async def scenario() -> None:
        limiter, choice = Limiter(limits), choice_at(url)
        await asyncio.gather(*(limiter.session_permit().wait_to_start(choice) for _ in range(21)))
        assert asyncio.get_running_loop().time() == pytest.approx(seconds, abs=0.01)

    run_virtual(scenario)


async def test_the_embedded_recogniser_has_no_limits_by_default() -> None:
    async with Client(Local(SCRIPT)) as client:
        for _ in range(25):
            async with client.session(Paraformer()):
                pass


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_sessions": 0}, "Limits(max_sessions=0): must be a positive whole number or None"),
        ({"max_sessions": 2.5}, "Limits(max_sessions=2.5): must be a positive whole number or None"),
        ({"max_sessions": True}, "Limits(max_sessions=True): must be a positive whole number or None"),
        (
            {"starts_per_second": -1},
            "Limits(starts_per_second=-1): must be a positive whole number, 'published' or None",
        ),
        (
            {"starts_per_second": "many"},
            "Limits(starts_per_second='many'): must be a positive whole number, 'published' or None",
        ),
        ({"wait": 0}, "Limits(wait=0): must be a positive number of seconds"),
    ],
)
def test_a_wrong_limit_is_refused(limits: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        Limits(**limits)  # type: ignore[arg-type]
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    "url",
    ["localhost:6379", "http://u:hunter2@host", "redis://:hunter2@", "redis://u:hunter2@host:port", "unix://", 6379],
)
def test_a_url_that_is_not_one_of_redis_is_refused_and_not_shown(url: object) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        Limits(shared=url)  # type: ignore[arg-type]
    assert str(refusal.value) == (
        "Limits(shared=...): must be redis://host:port/0, rediss://host:port/0 or unix:///path"
    )


def test_repr_does_not_show_the_password_of_redis() -> None:
    limits = Limits(max_sessions=5, shared="redis://user:hunter2@example.org:6379/0?password=hunter2")
    assert repr(limits) == (
        "Limits(max_sessions=5, starts_per_second='published', wait=30.0, shared='redis://example.org:6379/0')"
    )
    assert "hunter2" not in repr(Limiter(limits))


async def test_a_missing_extra_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.delitem(sys.modules, "asr_async._limits.redis", raising=False)
    for name in [name for name in sys.modules if name.startswith("redis.")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigurationError) as refusal:
        async with Client(DashScope("key"), limits=Limits(shared="redis://localhost")):
            pass
    assert str(refusal.value) == "Limits(shared=...) needs redis: pip install 'asr-async[redis]'"
