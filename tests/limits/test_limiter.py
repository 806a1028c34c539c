"""How many sessions at once and how many starts in a second: the rules by values, sessions in virtual time."""

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
from asr_async._limits.limiter import Limiter
from asr_async._limits.window import WINDOW_S
from asr_async.emulator import Scripted, serve
from asr_async.emulator.faults import Cut, Fail, Refuse, Throttle
from asr_async.vendors.options import Options
from asr_async.vendors.service import Endpoint

from ..support.scripted_server import read_until_finish, scripted_server, send_event, send_final, start_task
from ..support.virtual_time import run_virtual

SCRIPT = Scripted([("Good morning.", 100, 900)])
SECOND = bytes(32_000)


# --- sessions --------------------------------------------------------------------------------------------------------


class Starts:
    """A server that notes when connections and tasks come, and how many tasks run at once."""

    def __init__(self) -> None:
        self.connected_at: list[float] = []
        self.at: list[float] = []
        self.running = 0
        self.most = 0

    async def behave(self, connection: ServerConnection) -> None:
        self.connected_at.append(asyncio.get_running_loop().time())
        task_id = await start_task(connection)
        self.at.append(asyncio.get_running_loop().time())
        self.running += 1
        self.most = max(self.most, self.running)
        await read_until_finish(connection)
        await send_final(connection, task_id, "there")
        self.running -= 1
        await send_event(connection, "task-finished", task_id, {"output": {}})
        await connection.wait_closed()

    def most_in_any_second(self) -> int:
        return max(sum(at <= other < at + 1.0 for other in self.at) for at in self.at)


@asynccontextmanager
async def counted(**limits: object) -> AsyncIterator[tuple[Client, Starts]]:
    starts = Starts()
    async with (
        scripted_server(starts.behave) as service,
        Client(service, limits=Limits(**limits), retry=Retry(attempts=0)) as client,  # type: ignore[arg-type]
    ):
        yield client, starts


def test_fifty_sessions_at_ten_per_second_start_in_order_and_in_four_seconds() -> None:
    async def scenario() -> None:
        async with counted(starts_per_second=10) as (client, starts):
            order = list[int]()

            async def one(number: int) -> None:
                async with client.session(Paraformer()) as session:
                    order.append(number)
                    async for _ in session.stream([SECOND], pace=None):
                        pass

            async with asyncio.TaskGroup() as group:
                for number in range(50):
                    group.create_task(one(number))
        assert sorted(order) == list(range(50))
        assert [sorted(order[i : i + 10]) for i in range(0, 50, 10)] == [
            list(range(i, i + 10)) for i in range(0, 50, 10)
        ]
        assert starts.most_in_any_second() == 10
        assert 4.0 < starts.at[-1] - starts.at[0] < 4.5
        # who waits for a turn has no connection yet
        assert len([at for at in starts.connected_at if at < 1.0]) == 10

    run_virtual(scenario)


def test_sessions_beyond_the_limit_wait_until_one_has_ended() -> None:
    async def scenario() -> None:
        async with counted(max_sessions=3) as (client, starts):
            await asyncio.gather(*(client.transcribe([SECOND], Paraformer()) for _ in range(12)))
        assert len(starts.at) == 12
        assert starts.most == 3

    run_virtual(scenario)


def test_a_place_is_free_as_soon_as_the_vendor_has_confirmed_the_end() -> None:
    async def scenario() -> None:
        async with counted(max_sessions=1, wait=1) as (client, _), client.session(Paraformer()) as session:
            async for _ in session.stream([SECOND], pace=None):
                pass
            await asyncio.sleep(1)
            # the first session is still inside its `async with`
            assert (await client.transcribe([SECOND], Paraformer())).text == "there"

    run_virtual(scenario)


def test_a_place_is_given_back_by_a_session_that_fails_is_cancelled_or_is_left() -> None:
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


def test_who_is_cancelled_while_it_waits_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        async with counted(max_sessions=1, starts_per_second=1, wait=5) as (client, starts):
            async with client.session(Paraformer()):
                waiting = [asyncio.create_task(client.transcribe([SECOND], Paraformer())) for _ in range(5)]
                await asyncio.sleep(0.5)
                for task in waiting:
                    task.cancel()
                await asyncio.wait(waiting)
                assert all(task.cancelled() for task in waiting)
            assert (await client.transcribe([SECOND], Paraformer())).text == "there"
            assert len(starts.at) == 2

    run_virtual(scenario)


def test_waiting_for_a_place_has_a_deadline_that_says_which_limit_and_how_many_wait() -> None:
    async def scenario() -> None:
        async with counted(max_sessions=1, wait=3) as (client, _), client.session(Paraformer()):
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


def test_waiting_for_a_start_has_a_deadline_too() -> None:
    async def scenario() -> None:
        async with counted(starts_per_second=2, wait=2) as (client, starts):
            tasks = [asyncio.create_task(client.transcribe([SECOND], Paraformer())) for _ in range(10)]
            await asyncio.wait(tasks)
            errors = [str(error) for task in tasks if (error := task.exception()) is not None]
            assert len(starts.at) == 4
            assert len(errors) == 6
            for message in errors:
                assert message.startswith(
                    "paraformer-realtime-v2: no permit within 2 s (Limits.wait): starts_per_second=2; others waiting: "
                )

    run_virtual(scenario)


def test_waiting_does_not_use_up_the_deadlines_of_the_connection() -> None:
    async def scenario() -> None:
        async with counted(starts_per_second=1) as (client, starts):
            await asyncio.gather(*(client.transcribe([SECOND], Paraformer()) for _ in range(20)))
            assert len(starts.at) == 20

    run_virtual(scenario)


def test_all_clients_of_an_event_loop_count_together() -> None:
    async def scenario() -> None:
        starts = Starts()
        async with scripted_server(starts.behave) as service, AsyncExitStack() as stack:
            limits = Limits(starts_per_second=4)
            clients = [await stack.enter_async_context(Client(service, limits=limits)) for _ in range(3)]
            jobs = [client.transcribe([SECOND], Paraformer()) for client in clients for _ in range(4)]
            jobs += [transcribe([SECOND], Paraformer(), service, limits=limits) for _ in range(2)]
            await asyncio.gather(*jobs)
            async with connect(Paraformer(), service, limits=limits):
                pass
        assert len(starts.at) == 15
        assert starts.most_in_any_second() == 4

    run_virtual(scenario)


def test_models_and_accounts_are_counted_apart() -> None:
    limits = Limits()

    def key(service: DashScope | Huawei, options: Options) -> str:
        endpoint = asyncio.run(service.resolve(options))
        return Limiter(limits).session_permit(options)._key_and_options(endpoint)[0]

    ours = key(DashScope("sk-ours"), Paraformer())
    assert ours == key(DashScope("sk-ours", workspace="ws1"), Paraformer())
    assert ours != key(DashScope("sk-theirs"), Paraformer())
    assert ours != key(DashScope("sk-ours"), FunASR())
    assert key(DashScope("st-first"), FunASR()) == key(DashScope("st-second"), FunASR())
    assert "sk-ours" not in ours
    huawei = Huawei(ak="a", sk="s", project_id="p1", region="r")
    assert key(huawei, Rasr()) == key(Huawei(token="t", project_id="p1", region="r"), Rasr())
    assert key(huawei, Rasr()) != key(Huawei(ak="a", sk="s", project_id="p2", region="r"), Rasr())


def test_the_members_of_a_fallback_are_counted_apart() -> None:
    async def scenario() -> None:
        first, second = Starts(), Starts()
        async with scripted_server(first.behave) as one, scripted_server(second.behave) as other:
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


def test_a_reconnect_takes_a_start_and_no_second_place() -> None:
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


def test_a_connection_that_is_used_again_takes_a_start() -> None:
    async def scenario() -> None:
        async with serve(SCRIPT) as emulator:
            service = DashScope("key", endpoint=emulator.dashscope_url)
            async with Client(service, limits=Limits(starts_per_second=1)) as client:
                for _ in range(4):
                    await client.transcribe([SECOND], Paraformer())
                assert asyncio.get_running_loop().time() >= 3 * WINDOW_S

    run_virtual(scenario)


@pytest.mark.parametrize(("warm", "apart_s"), [(2, 0), (5, 2 * WINDOW_S)])
def test_connections_that_are_opened_ahead_are_held_to_the_starts_of_a_second(warm: int, apart_s: float) -> None:
    async def scenario() -> None:
        starts = Starts()
        async with scripted_server(starts.behave) as service:
            limits = Limits(starts_per_second=2)
            async with Client(service, limits=limits, pool=Pool(warm=warm)) as client:
                await client.warm(Paraformer())
                await asyncio.sleep(10)
        assert len(starts.connected_at) == warm
        assert starts.connected_at[-1] - starts.connected_at[0] == pytest.approx(apart_s, abs=0.1)

    run_virtual(scenario)


# --- when the vendor says that it is too much ------------------------------------------------------------------------


async def open_at(client: Client) -> float:
    async with client.session(Paraformer()):
        return asyncio.get_running_loop().time()


def test_nobody_starts_before_the_time_that_the_vendor_asked_for() -> None:
    async def scenario() -> None:
        faults = [Refuse(status=429, retry_after_s=7, connection=1)]
        async with serve(SCRIPT, faults=faults) as emulator:
            service = DashScope("key", endpoint=emulator.dashscope_url)
            async with Client(service) as client, Client(service) as neighbour:
                with pytest.raises(RateLimitedError):
                    await open_at(client)
                times = await asyncio.gather(open_at(client), open_at(neighbour), open_at(client))
                assert min(times) == pytest.approx(7, abs=0.1)
                async with Client(service) as third, third.session(FunASR()):
                    pass  # another model

    run_virtual(scenario)


def test_without_a_time_all_rest_for_a_second_and_twice_as_long_when_refused_again() -> None:
    async def scenario() -> None:
        async with serve(SCRIPT, faults=[Throttle(times=3)]) as emulator:
            service = DashScope("key", endpoint=emulator.dashscope_url)
            async with Client(service) as client:
                heard_at = list[float]()
                for _ in range(3):
                    with pytest.raises(RateLimitedError):
                        await open_at(client)
                    heard_at.append(asyncio.get_running_loop().time())
                assert [round(at) for at in heard_at] == [0, 1, 3]
                assert await open_at(client) == pytest.approx(7, abs=0.2)
                assert await open_at(client) == pytest.approx(7, abs=0.2)

    run_virtual(scenario)


def test_starts_that_are_refused_together_are_one_reason_to_rest() -> None:
    async def scenario() -> None:
        async with serve(SCRIPT, faults=[Throttle(times=5)]) as emulator:
            service = DashScope("key", endpoint=emulator.dashscope_url)
            async with Client(service) as client:
                refusals = await asyncio.gather(*(open_at(client) for _ in range(5)), return_exceptions=True)
                assert all(isinstance(error, RateLimitedError) for error in refusals)
                assert await open_at(client) == pytest.approx(1, abs=0.2)

    run_virtual(scenario)


def test_a_task_that_is_throttled_in_the_middle_slows_the_others_down() -> None:
    async def scenario() -> None:
        faults = [Fail(code="Throttling.AllocationQuota", after_audio_ms=300, connection=1)]
        async with serve(SCRIPT, faults=faults) as emulator:
            service = DashScope("key", endpoint=emulator.dashscope_url)
            async with Client(service, retry=Retry(attempts=0)) as client:
                with pytest.raises(RateLimitedError):
                    await client.transcribe([SECOND], Paraformer())
                assert await open_at(client) == pytest.approx(1, abs=0.2)

    run_virtual(scenario)


def test_a_rest_that_is_longer_than_anybody_waits_is_told_at_the_deadline() -> None:
    async def scenario() -> None:
        async with serve(SCRIPT, faults=[Refuse(status=429, retry_after_s=600, connection=1)]) as emulator:
            service = DashScope("key", endpoint=emulator.dashscope_url)
            async with Client(service) as client:
                with pytest.raises(RateLimitedError):
                    await open_at(client)
                with pytest.raises(DeadlineError) as refusal:
                    await open_at(client)
                assert str(refusal.value) == (
                    "paraformer-realtime-v2: no permit within 30 s (Limits.wait): the vendor reports too many sessions "
                    "or starts, and the backoff lasts 570 s more; others waiting: 0"
                )
                assert asyncio.get_running_loop().time() == pytest.approx(30, abs=0.1)

    run_virtual(scenario)


# --- what the numbers are --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "per_second"),
    [
        (Paraformer(), 20),
        (FunASR(), 20),
        (Gummy(), 10),
        (QwenAudio(model="qwen-audio-3.1-asr-flash-message"), 20),
        (QwenRealtime(), None),
        (Rasr(), None),
        (Paraformer(model="paraformer-of-tomorrow", strict=False), None),
    ],
    ids=lambda value: str(getattr(value, "model", value)),
)
def test_options_know_the_published_figure_of_their_model(options: Options, per_second: int | None) -> None:
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
def test_the_published_figure_holds_unless_told_otherwise_and_not_on_this_machine(
    url: str, limits: Limits, seconds: float
) -> None:
    async def scenario() -> None:
        target = Endpoint(url=url, headers={}, refused=lambda *_: ASRError("no"), account="a")
        limiter = Limiter(limits)
        await asyncio.gather(*(limiter.session_permit(Paraformer()).wait_to_start(target) for _ in range(21)))
        assert asyncio.get_running_loop().time() == pytest.approx(seconds, abs=0.01)

    run_virtual(scenario)


async def test_the_embedded_recogniser_has_no_limits_unless_it_is_given_some() -> None:
    async with Client(Local(SCRIPT)) as client:
        for _ in range(25):
            async with client.session(Paraformer()):
                pass


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_sessions": 0}, "Limits(max_sessions=0): must be a whole number, 1 or more, None"),
        ({"max_sessions": 2.5}, "Limits(max_sessions=2.5): must be a whole number, 1 or more, None"),
        ({"max_sessions": True}, "Limits(max_sessions=True): must be a whole number, 1 or more, None"),
        (
            {"starts_per_second": -1},
            "Limits(starts_per_second=-1): must be a whole number, 1 or more, 'published' or None",
        ),
        (
            {"starts_per_second": "many"},
            "Limits(starts_per_second='many'): must be a whole number, 1 or more, 'published' or None",
        ),
        ({"wait": 0}, "Limits(wait=0): must be a positive number of seconds"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(limits: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        Limits(**limits)  # type: ignore[arg-type]
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    "url",
    ["localhost:6379", "http://u:hunter2@host", "redis://:hunter2@", "redis://u:hunter2@host:port", "unix://", 6379],
)
def test_what_is_no_url_of_redis_is_refused_without_being_repeated(url: object) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        Limits(shared=url)  # type: ignore[arg-type]
    assert str(refusal.value) == (
        "Limits(shared=...): must be redis://host:port/0, rediss://host:port/0 or unix:///path"
    )


def test_limits_show_themselves_without_the_password_of_their_redis() -> None:
    limits = Limits(max_sessions=5, shared="redis://user:hunter2@example.org:6379/0?password=hunter2")
    assert repr(limits) == (
        "Limits(max_sessions=5, starts_per_second='published', wait=30.0, shared='redis://example.org:6379/0')"
    )
    assert "hunter2" not in repr(Limiter(limits))


async def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.delitem(sys.modules, "asr_async._limits.redis", raising=False)
    for name in [name for name in sys.modules if name.startswith("redis.")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigurationError) as refusal:
        async with Client(DashScope("key"), limits=Limits(shared="redis://localhost")):
            pass
    assert str(refusal.value) == "Limits(shared=...) needs redis: pip install 'asr-async[redis]'"
