"""The endpoints and credentials of DashScope; the key is in no text."""

from __future__ import annotations

from typing import Any

import pytest

from asr_async import AuthenticationError, ConfigurationError, DashScope, FunASR, Huawei, Paraformer, QwenRealtime
from asr_async.vendors.dashscope.codec import TaskCodec
from asr_async.vendors.dashscope.realtime import QwenRealtimeCodec
from asr_async.vendors.options import Options

KEY = "sk-0123456789abcdef"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DASHSCOPE_API_KEY", "DASHSCOPE_WEBSOCKET_BASE_URL", "DASHSCOPE_HTTP_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("service", "options", "url"),
    [
        (DashScope(KEY), Paraformer(), "wss://dashscope.aliyuncs.com/api-ws/v1/inference"),
        (DashScope(KEY, region="ap-southeast-1"), FunASR(), "wss://dashscope-intl.aliyuncs.com/api-ws/v1/inference"),
        (
            DashScope(KEY, workspace="ws-1"),
            Paraformer(),
            "wss://ws-1.cn-beijing.maas.aliyuncs.com/api-ws/v1/inference",
        ),
        (DashScope(KEY, endpoint="ws://127.0.0.1:1/x"), Paraformer(), "ws://127.0.0.1:1/x"),
        (DashScope(KEY, endpoint="ws://10.0.0.1/x", insecure=True), Paraformer(), "ws://10.0.0.1/x"),
        (
            DashScope(KEY, region="ap-southeast-1"),
            QwenRealtime(),
            "wss://dashscope-intl.aliyuncs.com/api-ws/v1/realtime?model=qwen3-asr-flash-realtime",
        ),
        (
            DashScope(KEY, workspace="ws-1"),
            QwenRealtime(),
            "wss://ws-1.cn-beijing.maas.aliyuncs.com/api-ws/v1/realtime?model=qwen3-asr-flash-realtime",
        ),
    ],
)
async def test_where_it_connects(service: DashScope, options: Options, url: str) -> None:
    assert (await service.resolve(options)).url == url


@pytest.mark.parametrize(
    ("service", "base"),
    [
        (DashScope(KEY), "https://dashscope.aliyuncs.com/api/v1"),
        (DashScope(KEY, region="ap-southeast-1"), "https://dashscope-intl.aliyuncs.com/api/v1"),
        (DashScope(KEY, workspace="ws-1"), "https://ws-1.cn-beijing.maas.aliyuncs.com/api/v1"),
        (DashScope(KEY, endpoint="ws://127.0.0.1:1/api-ws/v1/inference"), "http://127.0.0.1:1/api/v1"),
        (DashScope(KEY, endpoint="wss://proxy.example/x"), "https://proxy.example/api/v1"),
        (DashScope(KEY, endpoint="wss://a/x", http_endpoint="https://b/base/"), "https://b/base"),
    ],
)
def test_where_its_rest_side_is(service: DashScope, base: str) -> None:
    assert service._http_base() == base


def test_the_rest_side_of_the_environment_is_behind_every_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_WEBSOCKET_BASE_URL", "wss://a.example/inference")
    assert DashScope(KEY)._http_base() == "https://a.example/api/v1"
    monkeypatch.setenv("DASHSCOPE_HTTP_BASE_URL", "https://b.example/api/v1/")
    assert DashScope(KEY)._http_base() == "https://b.example/api/v1"
    assert DashScope(KEY, endpoint="wss://c.example/x")._http_base() == "https://c.example/api/v1"
    monkeypatch.setenv("DASHSCOPE_HTTP_BASE_URL", "http://b.example/api/v1")
    with pytest.raises(ConfigurationError, match=r"DASHSCOPE_HTTP_BASE_URL=.*: http:// sends the key"):
        DashScope(KEY)._http_base()


@pytest.mark.parametrize(("inspect_data", "header"), [(None, None), (False, None), (True, "enable")])
async def test_a_content_check_is_requested_only_with_the_argument(
    inspect_data: bool | None, header: str | None
) -> None:
    endpoint = await DashScope(KEY, inspect_data=inspect_data).resolve(Paraformer())
    assert endpoint.headers.get("X-DashScope-DataInspection") == header


@pytest.mark.parametrize(
    ("endpoint", "realtime"),
    [
        ("/api-ws/v1/inference", "/api-ws/v1/realtime?model=qwen3-asr-flash-realtime"),
        ("/api-ws/v1/inference/", "/api-ws/v1/realtime?model=qwen3-asr-flash-realtime"),
        ("/proxy/api-ws/v1/inference?tag=a", "/proxy/api-ws/v1/realtime?tag=a&model=qwen3-asr-flash-realtime"),
        ("/api-ws/v1/realtime", "/api-ws/v1/realtime?model=qwen3-asr-flash-realtime"),
        ("/api-ws/v1/realtime?model=other", "/api-ws/v1/realtime?model=qwen3-asr-flash-realtime"),
        ("/elsewhere", "/elsewhere?model=qwen3-asr-flash-realtime"),
    ],
)
async def test_an_endpoint_is_turned_to_the_path_that_the_model_speaks(endpoint: str, realtime: str) -> None:
    service = DashScope(KEY, endpoint=f"wss://host{endpoint}")
    assert (await service.resolve(QwenRealtime())).url == f"wss://host{realtime}"


async def test_an_endpoint_with_the_realtime_path_gets_the_path_of_the_task_models() -> None:
    service = DashScope(KEY, endpoint="wss://host/api-ws/v1/realtime")
    assert (await service.resolve(Paraformer())).url == "wss://host/api-ws/v1/inference"


def test_each_model_gets_the_codec_of_its_protocol() -> None:
    assert isinstance(DashScope(KEY).codec(FunASR(), task_id="T"), TaskCodec)
    assert isinstance(DashScope(KEY).codec(QwenRealtime(), task_id="T"), QwenRealtimeCodec)


async def test_the_headers_of_the_handshake() -> None:
    headers = (await DashScope(f" {KEY}\n", workspace="ws-1").resolve(Paraformer())).headers
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["X-DashScope-WorkSpace"] == "ws-1"
    assert headers["User-Agent"].startswith("asr-async/")


async def test_key_and_endpoint_are_read_from_the_environment_when_a_session_connects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = DashScope()
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-env")
    monkeypatch.setenv("DASHSCOPE_WEBSOCKET_BASE_URL", "wss://proxy.example/inference")
    endpoint = await service.resolve(Paraformer())
    assert (endpoint.headers["Authorization"], endpoint.url) == ("Bearer sk-env", "wss://proxy.example/inference")


async def test_no_key_is_an_error_that_names_the_ways_to_give_one() -> None:
    with pytest.raises(AuthenticationError) as caught:
        await DashScope().resolve(Paraformer())
    assert str(caught.value) == (
        "no DashScope key: set DASHSCOPE_API_KEY or pass DashScope(api_key=...); service=Local() needs none"
    )


async def test_a_key_with_a_line_break_inside_is_refused_without_showing_it() -> None:
    with pytest.raises(AuthenticationError, match="contains characters that no key has") as caught:
        await DashScope("sk-a\r\nX-Evil: 1").resolve(Paraformer())
    assert "Evil" not in str(caught.value)


async def test_the_key_shows_in_no_repr() -> None:
    service = DashScope(KEY)
    endpoint = await service.resolve(Paraformer())
    assert KEY not in f"{service!r} {endpoint!r} {endpoint}"
    assert repr(endpoint) == "<Endpoint dashscope.aliyuncs.com>"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"region": "cn-bejing"}, "region='cn-bejing': did you mean 'cn-beijing'?"),
        ({"workspace": "a.evil.example/"}, "must be 1 to 64 letters, digits, '_' and '-'"),
        ({"endpoint": "https://host/path"}, "must be a whole WebSocket URL, wss://host/path"),
        (
            {"http_endpoint": "wss://host/path"},
            "http_endpoint='wss://host/path': must be an HTTP base, https://host/api/v1",
        ),
        (
            {"http_endpoint": "http://host/api/v1"},
            "http_endpoint='http://host/api/v1': http:// sends the key unencrypted",
        ),
        ({"endpoint": "ws://host/path"}, "ws:// sends the key unencrypted; use wss://, or pass insecure=True"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(arguments: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        DashScope(KEY, **arguments)  # type: ignore[arg-type]
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_region_without_the_model_is_refused_before_connecting() -> None:
    with pytest.raises(
        ConfigurationError, match="'ap-southeast-1' does not have paraformer-realtime-v2: cn-beijing does"
    ):
        await DashScope(KEY, region="ap-southeast-1").resolve(Paraformer())


async def test_without_strict_every_region_is_tried() -> None:
    endpoint = await DashScope(KEY, region="eu-central-1", workspace="ws-1").resolve(FunASR(strict=False))
    assert endpoint.url == "wss://ws-1.eu-central-1.maas.aliyuncs.com/api-ws/v1/inference"
    endpoint = await DashScope(KEY, region="cn-hongkong").resolve(QwenRealtime(strict=False))
    assert endpoint.url.startswith("wss://cn-hongkong.dashscope.aliyuncs.com/api-ws/v1/realtime?")


async def test_headers_of_the_caller_are_sent_beside_ours_and_shown_in_no_repr() -> None:
    service = DashScope(KEY, headers={"X-DashScope-Trace": "secret-1"})
    headers = (await service.resolve(Paraformer())).headers
    assert headers["X-DashScope-Trace"] == "secret-1"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert "secret-1" not in repr(vars(service)) + repr(headers)


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"X Trace": "a"}, "headers: 'X Trace' is no name of a header"),
        ({"": "a"}, "headers: '' is no name of a header"),
        ({"authorization": "Bearer a"}, "headers: authorization is sent by this library: leave it out"),
        ({"Sec-WebSocket-Key": "a"}, "headers: Sec-WebSocket-Key is sent by this library: leave it out"),
        ({"X-Trace": "secret-1\r\nHost: b"}, "headers: the value of X-Trace must be printable ASCII text"),
        ({"X-Trace": 1}, "headers: the value of X-Trace must be printable ASCII text"),
    ],
)
@pytest.mark.parametrize("service_class", [DashScope, Huawei])
def test_a_header_that_cannot_be_sent_is_refused_in_one_line(service_class: Any, headers: Any, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        service_class(headers=headers)
    assert str(caught.value) == text


async def test_an_endpoint_from_the_environment_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_WEBSOCKET_BASE_URL", "ws://far.example/inference")
    with pytest.raises(ConfigurationError, match="sends the key unencrypted"):
        await DashScope(KEY).resolve(Paraformer())


def test_options_of_another_vendor_are_refused() -> None:
    class Other(Options, frozen=True, kw_only=True):
        vendor = "other"

    with pytest.raises(ConfigurationError, match="Other does not belong to DashScope"):
        DashScope(KEY).codec(Other(model="m"), task_id="T")
