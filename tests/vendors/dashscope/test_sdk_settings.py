"""The settings of the official SDK: which variable or file counts, and what is said about a bad one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from asr_async import ConfigurationError, DashScope, FunASR, Paraformer, QwenRealtime
from asr_async.cli.checks import Finding, check_keys
from asr_async.vendors import vendors
from asr_async.vendors.dashscope import sdk_settings

VARIABLES = (
    sdk_settings.KEY_VARIABLE,
    sdk_settings.KEY_FILE_VARIABLE,
    sdk_settings.CONFIG_VARIABLE,
    *sdk_settings.REGION_VARIABLES,
    *sdk_settings.WORKSPACE_VARIABLES,
    sdk_settings.INSPECTION_VARIABLE,
    "DASHSCOPE_WEBSOCKET_BASE_URL",
    "DASHSCOPE_HTTP_BASE_URL",
)
SHARED = "wss://dashscope.aliyuncs.com/api-ws/v1/inference"

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty home directory, and remove all variables."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    return tmp_path


@pytest.fixture
def write(home: Path) -> Write:
    """Return a function that writes a file into the home directory."""

    def write_file(name: str, content: str | bytes) -> Path:
        path = home / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


async def key_of(service: DashScope) -> str:
    return (await service.resolve(Paraformer())).headers["Authorization"].removeprefix("Bearer ")


# --- precedence -------------------------------------------------------------------------------------------------------


async def test_the_key_of_the_argument_precedes_the_environment_and_that_the_files(
    home: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = DashScope()
    write(".dashscope/api_key", "sk-default-file\n")
    assert await key_of(service) == "sk-default-file"
    write(".dashscope/config.toml", 'api_key = "sk-config"')
    assert await key_of(service) == "sk-config"
    monkeypatch.setenv("DASHSCOPE_API_KEY_FILE_PATH", str(write("key.txt", "  sk-named-file\n")))
    assert await key_of(service) == "sk-named-file"
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-variable")
    assert await key_of(service) == "sk-variable"
    assert await key_of(DashScope("sk-argument")) == "sk-argument"


async def test_another_configuration_file_and_a_home_directory_can_be_named(
    home: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("elsewhere.toml", 'api_key = "sk-elsewhere"\nregion = "cn-hongkong"\nworkspace = "ws-1"\ntimeout = 3')
    monkeypatch.setenv("DASHSCOPE_CONFIG", "~/elsewhere.toml")
    endpoint = await DashScope().resolve(FunASR(strict=False))
    assert endpoint.headers["Authorization"] == "Bearer sk-elsewhere"
    assert endpoint.url == "wss://ws-1.cn-hongkong.maas.aliyuncs.com/api-ws/v1/inference"
    assert endpoint.headers["X-DashScope-WorkSpace"] == "ws-1"


@pytest.mark.parametrize("region", sdk_settings.REGION_VARIABLES)
@pytest.mark.parametrize("workspace", sdk_settings.WORKSPACE_VARIABLES)
async def test_region_and_workspace_of_the_environment_select_the_host(
    home: Path, write: Write, monkeypatch: pytest.MonkeyPatch, region: str, workspace: str
) -> None:
    service = DashScope("sk-1")
    write(".dashscope/config.toml", 'region = "cn-hongkong"\nworkspace = "ws-config"')
    monkeypatch.setenv(region, "ap-southeast-1")
    monkeypatch.setenv(workspace, "ws-variable")
    endpoint = await service.resolve(FunASR())
    assert endpoint.url == "wss://ws-variable.ap-southeast-1.maas.aliyuncs.com/api-ws/v1/inference"
    assert endpoint.headers["X-DashScope-WorkSpace"] == "ws-variable"
    given = await DashScope("sk-1", region="cn-beijing", workspace="ws-given").resolve(FunASR())
    assert given.url == "wss://ws-given.cn-beijing.maas.aliyuncs.com/api-ws/v1/inference"


async def test_without_settings_the_shared_host_of_beijing_is_used(home: Path) -> None:
    endpoint = await DashScope("sk-1").resolve(Paraformer())
    assert endpoint.url == SHARED
    assert not {"X-DashScope-WorkSpace", "X-DashScope-DataInspection"} & set(endpoint.headers)


async def test_with_an_endpoint_region_and_workspace_of_the_environment_do_not_count(
    home: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(".dashscope/config.toml", "not toml")
    monkeypatch.setenv("DASHSCOPE_WORKSPACE", "ws-variable")
    endpoint = await DashScope("sk-1", endpoint="wss://gateway.example/path").resolve(Paraformer())
    assert endpoint.url == "wss://gateway.example/path"
    assert "X-DashScope-WorkSpace" not in endpoint.headers


async def test_the_workspace_takes_its_place_in_an_endpoint(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_WEBSOCKET_BASE_URL", "wss://{workspace_id}.gateway.example/api-ws/v1/inference")
    with pytest.raises(ConfigurationError) as caught:
        await DashScope("sk-1").resolve(Paraformer())
    assert str(caught.value) == (
        "the endpoint has {workspace_id}, and no workspace is known: pass workspace=, or set DASHSCOPE_WORKSPACE"
    )
    monkeypatch.setenv("DASHSCOPE_WORKSPACE_ID", "ws-2")
    endpoint = await DashScope("sk-1").resolve(QwenRealtime())
    assert endpoint.url.startswith("wss://ws-2.gateway.example/api-ws/v1/realtime?")
    given = DashScope("sk-1", endpoint="wss://{workspace_id}.other.example/x", workspace="ws-3")
    assert (await given.resolve(Paraformer())).url == "wss://ws-3.other.example/x"


@pytest.mark.parametrize(
    ("value", "argument", "is_sent"),
    [("false", None, True), ("False", None, True), ("true", None, False), ("false", False, False), ("", True, True)],
)
async def test_the_content_check_is_requested_by_the_word_false(
    home: Path, monkeypatch: pytest.MonkeyPatch, value: str, argument: bool | None, is_sent: bool
) -> None:
    monkeypatch.setenv("DASHSCOPE_DISABLE_DATA_INSPECTION", value)
    endpoint = await DashScope("sk-1", inspect_data=argument).resolve(Paraformer())
    assert ("X-DashScope-DataInspection" in endpoint.headers) is is_sent


# --- bad settings -----------------------------------------------------------------------------------------------------


async def refusal(service: DashScope | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        await (service or DashScope()).resolve(Paraformer())
    assert "sk-" not in str(caught.value)
    return str(caught.value)


KEY_REMEDY = "write the key into it, and nothing else; or set DASHSCOPE_API_KEY"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"\x89PNG\xff\xfe sk-binary", "not a text file"),
        (b"x" * 70_000, "longer than 65536 bytes"),
    ],
)
async def test_a_bad_key_file_is_named_with_a_remedy(write: Write, content: bytes, text: str) -> None:
    path = write(".dashscope/api_key", content)
    assert await refusal() == f"{path}: {text}: {KEY_REMEDY}"


async def test_a_key_file_that_is_missing_or_no_file_is_named_with_its_variable(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY_FILE_PATH", str(home / "missing"))
    assert await refusal() == f"DASHSCOPE_API_KEY_FILE_PATH={home}/missing: there is no such file: {KEY_REMEDY}"
    os.mkfifo(home / "pipe")
    for name in ("", "pipe"):
        monkeypatch.setenv("DASHSCOPE_API_KEY_FILE_PATH", f"{home}/{name}")
        assert await refusal() == f"DASHSCOPE_API_KEY_FILE_PATH={home}/{name}: not a file: {KEY_REMEDY}"


async def test_a_key_file_that_cannot_be_read_is_named_with_the_reason(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(".dashscope/api_key", "sk-secret")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # the tests may run as root, which may read every file
    assert await refusal() == f"{path}: cannot be read, Permission denied: {KEY_REMEDY}"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('api_key = "sk-1', "not TOML, "),
        ("api_key = 42", "api_key must be text, not int: "),
        ('api_key = "sk-1"\nregion = ["cn-beijing"]', "region must be text, not list: "),
    ],
)
async def test_a_bad_configuration_file_is_named_with_a_remedy(write: Write, content: str, text: str) -> None:
    path = write(".dashscope/config.toml", content)
    message = await refusal()
    assert message.startswith(f"{path}: {text}")
    assert message.endswith(": correct the file, or remove it")


async def test_a_named_configuration_file_that_is_missing_is_named_with_its_variable(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASHSCOPE_CONFIG", str(home / "none.toml"))
    assert await refusal() == (
        f"DASHSCOPE_CONFIG={home}/none.toml: there is no such file: correct the file, or unset DASHSCOPE_CONFIG"
    )


@pytest.mark.parametrize(
    ("variable", "value", "text"),
    [
        ("DASHSCOPE_REGION", "cn-bejing", "DASHSCOPE_REGION: 'cn-bejing': did you mean 'cn-beijing'?"),
        ("DASHSCOPE_WORKSPACE", "a.b/", "DASHSCOPE_WORKSPACE: 'a.b/': must be 1 to 64 letters, digits, '_' and '-'"),
        (
            "DASHSCOPE_API_REGION",
            "us-east-1",
            "region='us-east-1' has hosts of workspaces only: pass workspace=, or set DASHSCOPE_WORKSPACE",
        ),
    ],
)
async def test_a_bad_region_or_workspace_is_named_with_its_source(
    home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, text: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert await refusal(DashScope("sk-1")) == text


async def test_a_region_of_workspaces_needs_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = DashScope("sk-1", region="us-east-1")
    assert "pass workspace=, or set DASHSCOPE_WORKSPACE" in await refusal(service)
    monkeypatch.setenv("DASHSCOPE_WORKSPACE", "ws-1")
    endpoint = await service.resolve(FunASR(strict=False))
    assert endpoint.url == "wss://ws-1.us-east-1.maas.aliyuncs.com/api-ws/v1/inference"


# --- the doctor -------------------------------------------------------------------------------------------------------


def findings() -> list[Finding]:
    return list(check_keys(vendors()["dashscope"]))


def test_the_doctor_names_the_source_of_the_key_and_never_the_key(
    home: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert findings() == [Finding("note", "DASHSCOPE_API_KEY", "not set")]
    path = write(".dashscope/api_key", "sk-secret-1")
    assert findings() == [Finding("good", "DASHSCOPE_API_KEY", f"not set; key of {path}")]
    assert vendors()["dashscope"].missing_variables() == []
    config = write(".dashscope/config.toml", 'api_key = "sk-secret-2"')
    assert findings() == [Finding("good", "DASHSCOPE_API_KEY", f"not set; key of api_key in {config}")]
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-secret-3")
    assert findings() == [Finding("good", "DASHSCOPE_API_KEY", "sk-*** (11 characters)")]


def test_the_doctor_reports_a_bad_file(write: Write) -> None:
    path = write(".dashscope/api_key", "")
    (finding,) = findings()
    assert finding.state == "failed"
    assert re.fullmatch(rf"not set; {re.escape(str(path))}: the file is empty: .*", finding.text)
