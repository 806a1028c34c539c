"""The rules of `Retry`: when to reconnect, when to rotate a connection, and which models accept silence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asr_async import (
    ASRError,
    AuthenticationError,
    Client,
    ConfigurationError,
    ConnectionLostError,
    DashScope,
    FunASR,
    Gummy,
    GummyChat,
    Huawei,
    Paraformer,
    Pool,
    QwenRealtime,
    Rasr,
    RateLimitedError,
    Retry,
    VendorError,
    connect,
)
from asr_async._session.policy import ReconnectPolicy, check_options, check_silence, rotation_s

if TYPE_CHECKING:
    from asr_async.vendors.options import Options

pytestmark = pytest.mark.both_loops


# --- attempts --------------------------------------------------------------------------------------------------------

LOST = ConnectionLostError("gone", retryable=True)


def test_delays_are_a_random_part_of_a_limit_that_doubles() -> None:
    policy = ReconnectPolicy(Retry(attempts=8, max_delay_s=4.0))
    assert [policy.next_delay_s(LOST, 1.0) for _ in range(7)] == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert policy.next_delay_s(LOST, 0.5) == 2.0
    assert policy.next_delay_s(LOST, 0.0) is None, "no attempt is left after eight"


def test_progress_resets_the_number_of_attempts() -> None:
    policy = ReconnectPolicy(Retry(attempts=1))
    assert policy.next_delay_s(LOST, 1.0) == 0.25
    assert policy.next_delay_s(LOST, 1.0) is None
    policy.record_progress()
    assert policy.next_delay_s(LOST, 1.0) == 0.25


def test_a_delay_that_the_vendor_requests_is_kept_up_to_a_minute() -> None:
    assert ReconnectPolicy(Retry()).next_delay_s(RateLimitedError("busy", retry_after=7.0), 1.0) == 7.0
    assert ReconnectPolicy(Retry()).next_delay_s(RateLimitedError("busy", retry_after=3_600.0), 1.0) is None


@pytest.mark.parametrize("error", [AuthenticationError("no"), VendorError("no"), ConnectionLostError("no")])
def test_no_attempt_follows_an_error_that_is_not_retryable(error: ASRError) -> None:
    assert ReconnectPolicy(Retry()).next_delay_s(error, 0.0) is None


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"attempts": -1}, r"Retry\(attempts=-1\): must be a whole number, 0 or more"),
        ({"attempts": 1.5}, r"Retry\(attempts=1.5\): must be a whole number"),
        ({"max_delay_s": 0}, r"Retry\(max_delay_s=0\): must be a positive number of seconds"),
        ({"buffer_s": "long"}, r"Retry\(buffer_s='long'\): must be a positive number of seconds"),
        ({"on_gap": "ignore"}, r"Retry\(on_gap='ignore'\): must be 'raise' or 'continue'"),
    ],
)
def test_retry_refuses_values_out_of_range(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        Retry(**values)


def test_a_fail_over_needs_no_delay_after_any_error_but_counts_as_an_attempt() -> None:
    policy = ReconnectPolicy(Retry(attempts=2))
    delays_s = [policy.next_delay_s(AuthenticationError("no"), 1.0, fail_over=True) for _ in range(3)]
    assert delays_s == [0.0, 0.0, None]


# --- rotation --------------------------------------------------------------------------------------------------------


def test_a_connection_is_rotated_before_a_limit_of_hours() -> None:
    assert rotation_s(Retry(), Rasr()) == 5 * 3_600 - 300
    assert rotation_s(Retry(), Rasr(mode="short")) is None
    assert rotation_s(Retry(), Paraformer()) is None
    assert rotation_s(Retry(rotate_after=50), Rasr(mode="short")) == 50
    assert rotation_s(Retry(rotate_after=50), Paraformer(format="mp3")) == 50


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (Rasr(), r"Retry\(rotate_after=20000\): huawei/continue accepts at most 18000 s"),
        (GummyChat(), r"Retry\(rotate_after=20000\): gummy-chat-v1 accepts at most 60 s"),
    ],
    ids=lambda value: "",
)
async def test_an_impossible_rotation_is_refused_before_connecting(options: Any, text: str) -> None:
    async with Client(
        DashScope("key") if isinstance(options, GummyChat) else Huawei(), retry=Retry(rotate_after=20_000)
    ) as client:
        with pytest.raises(ConfigurationError, match=text):
            client.session(options)


# --- silence ---------------------------------------------------------------------------------------------------------

FILL = Retry(silence="fill")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (Paraformer(format="mp3"), "silence cannot be put into mp3; send pcm"),
        (QwenRealtime(manual_commit=True), "with manual_commit=True silence would be part of the utterance"),
        (Rasr(mode="sentence"), "huawei/sentence accepts at most 60 s, and silence counts"),
        (GummyChat(), "gummy-chat-v1 accepts at most 60 s, and silence counts"),
        (Gummy(), "gummy-realtime-v1 ends after 60 s of silence even so; leave silence='resume'"),
        (
            Paraformer(model="paraformer-realtime-v1"),
            "paraformer-realtime-v1 ends after 60 s of silence even so; leave silence='resume'",
        ),
        (FunASR(), "fun-asr-realtime ends after 60 s of silence even so, without heartbeat=True"),
    ],
    ids=lambda value: value.model if not isinstance(value, str) else "",
)
async def test_silence_that_does_not_help_is_refused_before_connecting(options: Options, text: str) -> None:
    service = Huawei() if isinstance(options, Rasr) else DashScope("key", endpoint="ws://127.0.0.1:9/")
    with pytest.raises(ConfigurationError) as caught:
        async with connect(options, service, retry=FILL):
            pass
    assert str(caught.value) == f"Retry(silence='fill'): {text}"


@pytest.mark.parametrize("options", [Paraformer(heartbeat=True), Rasr(), QwenRealtime()], ids=lambda value: value.model)
def test_silence_that_keeps_a_task_open_is_accepted(options: Options) -> None:
    check_silence(FILL, options, takes_commits=False)


def test_retry_refuses_an_unknown_value_of_silence() -> None:
    with pytest.raises(ConfigurationError, match=r"Retry\(silence='pad'\): must be 'resume' or 'fill'"):
        Retry(silence="pad")  # type: ignore[arg-type]


# --- options ---------------------------------------------------------------------------------------------------------

REFUSED = pytest.mark.parametrize(
    ("options", "retry", "text"),
    [
        (Rasr(), Retry(), "Rasr"),
        (GummyChat(), Retry(rotate_after=61), "accepts at most 60 s"),
        (Gummy(), Retry(silence="fill"), "ends after 60 s of silence"),
    ],
    ids=["vendor", "rotation", "silence"],
)


@REFUSED
def test_options_that_a_session_would_refuse_are_refused_by_a_check_alone(
    options: Options, retry: Retry, text: str
) -> None:
    with pytest.raises(ConfigurationError, match=text):
        check_options(DashScope("key"), options, retry)


@REFUSED
async def test_options_that_a_session_would_refuse_are_refused_by_each_method_of_a_client(
    options: Options, retry: Retry, text: str
) -> None:
    async with Client(DashScope("key"), retry=retry, pool=Pool(warm=1)) as client:
        with pytest.raises(ConfigurationError, match=text) as by_session:
            client.session(options)
        with pytest.raises(ConfigurationError, match=text) as by_batch:
            client.transcribe_many([[bytes(3_200)]], options)
        with pytest.raises(ConfigurationError, match=text) as by_warm:
            await client.warm(options)
    assert str(by_session.value) == str(by_batch.value) == str(by_warm.value)


def test_options_that_fit_the_service_and_the_settings_are_accepted() -> None:
    check_options(DashScope("key"), Paraformer(heartbeat=True), Retry(silence="fill", rotate_after=60))
