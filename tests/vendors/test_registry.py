"""Vendors of third parties: entry points that cannot be used, and vendors without endpoints in the emulator."""

from __future__ import annotations

import importlib.metadata
import logging
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from asr_async import Client, ConfigurationError, Local, Paraformer, connect, models
from asr_async.emulator import Scripted, serve
from asr_async.vendors import ModelInfo, Vendor, registry, service_for, vendors
from asr_async.vendors.registry import ENTRY_POINT_GROUP

from ..support.plain_vendor import PlainOptions, PlainService

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from aiohttp import web

PLAIN = Vendor(
    name="plain",
    options=(PlainOptions,),
    catalogue=(
        ModelInfo(
            model="plain-1",
            vendor="plain",
            options="PlainOptions",
            segmentation=("silence",),
            sample_rates=(16_000,),
            formats=("pcm",),
            source="this test",
        ),
    ),
    default_model="plain-1",
    service=lambda: PlainService("ws://127.0.0.1:9/"),
    key_variables=(),
)
SCRIPT = Scripted([("good morning", 200, 1_100)])


def failing_routes(_application: web.Application, _engine: object, **_options: Any) -> Sequence[Any]:
    raise KeyError("no route")


class FakeEntryPoint:
    """An entry point of a package that is not installed."""

    def __init__(self, name: str, load: Callable[[], object]) -> None:
        self.name = name
        self.value = f"{name}_vendor:VENDOR"
        self.load = load


def fail(error: BaseException) -> Callable[[], object]:
    def load() -> object:
        raise error

    return load


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakeEntryPoint]]:
    """The entry points of vendors."""
    found: list[FakeEntryPoint] = []

    def entry_points(*, group: str) -> list[FakeEntryPoint]:
        assert group == ENTRY_POINT_GROUP
        return found

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    monkeypatch.setattr(registry, "_failures", {})
    vendors.cache_clear()
    yield found
    vendors.cache_clear()


def changed(**members: Any) -> Callable[[], object]:
    return lambda: msgspec.structs.replace(PLAIN, **members)


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (fail(ImportError("no module\nnamed plainlib")), "ImportError: no module named plainlib"),
        (fail(AttributeError("VENDOR")), "AttributeError: VENDOR"),
        (lambda: {"name": "plain"}, "TypeError: it gives a value of type dict, not an asr_async.vendors.Vendor"),
        (changed(name="other"), "TypeError: the vendor's name is 'other': the entry point must have the same"),
        (changed(options=("a",)), "TypeError: Vendor.options must be a tuple of subclasses of Options"),
        (changed(catalogue=("a",)), "TypeError: Vendor.catalogue must be a tuple of ModelInfo"),
        (
            changed(options=()),
            "TypeError: Vendor.catalogue has a row of 'PlainOptions', which is not in Vendor.options",
        ),
    ],
)
def test_an_entry_point_that_cannot_be_used_is_named_once_and_the_others_work(
    installed: list[FakeEntryPoint], caplog: pytest.LogCaptureFixture, load: Callable[[], object], reason: str
) -> None:
    installed += [FakeEntryPoint("plain", load), FakeEntryPoint("other", lambda: OTHER)]
    with caplog.at_level(logging.WARNING, "asr_async"):
        assert {"dashscope", "huawei", "other"} <= vendors().keys()
        assert "plain" not in vendors()
        assert [row.model for row in models() if row.vendor == "plain"] == []
    assert caplog.messages == [f"vendor 'plain' is left out: plain_vendor:VENDOR failed: {reason}"]
    with pytest.raises(ConfigurationError) as caught:
        service_for(PlainOptions())
    expected = f"PlainOptions: no vendor 'plain' is registered; plain_vendor:VENDOR failed: {reason}"
    assert caught.value.message == expected


OTHER = msgspec.structs.replace(PLAIN, name="other", catalogue=(), options=())


def test_an_entry_point_with_the_name_of_a_built_in_vendor_is_left_out(
    installed: list[FakeEntryPoint], caplog: pytest.LogCaptureFixture
) -> None:
    installed.append(FakeEntryPoint("dashscope", changed(name="dashscope")))
    with caplog.at_level(logging.WARNING, "asr_async"):
        assert vendors()["dashscope"].options != PLAIN.options
    assert caplog.messages == ["vendor 'dashscope' of dashscope_vendor:VENDOR is left out: there is one of this name"]


async def test_local_refuses_a_vendor_without_endpoints_in_the_emulator(installed: list[FakeEntryPoint]) -> None:
    installed.append(FakeEntryPoint("plain", lambda: PLAIN))
    with pytest.raises(ConfigurationError) as caught:
        async with connect(PlainOptions(), Local(SCRIPT)):
            pass
    text = "the emulator cannot stand in for vendor 'plain': it names no endpoints for the emulator"
    assert caught.value.message == text


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("no_such_module:add_routes", "ModuleNotFoundError: No module named 'no_such_module'"),
        (f"{__name__}:no_such_function", f"AttributeError: module '{__name__}' has no attribute 'no_such_function'"),
        (f"{__name__}:failing_routes", "KeyError: 'no route'"),
    ],
)
async def test_endpoints_that_cannot_be_added_are_named_and_the_others_work(
    installed: list[FakeEntryPoint], caplog: pytest.LogCaptureFixture, function: str, reason: str
) -> None:
    local = {"emulator": function, "local_service": lambda _address: PlainService("ws://127.0.0.1:9/")}
    installed.append(FakeEntryPoint("plain", changed(**local)))
    with caplog.at_level(logging.WARNING, "asr_async"):
        local_service = Local(SCRIPT)
        async with Client(local_service) as client:
            assert (await client.transcribe([bytes(32_000)] * 2, Paraformer())).text == "good morning"
            with pytest.raises(ConfigurationError) as caught:
                await local_service.resolve(PlainOptions())
    named = f"vendor 'plain': {function} failed: {reason}"
    assert caplog.messages == [f"emulator: no endpoints for {named}"]
    assert caught.value.message == f"the emulator cannot stand in for {named}"


async def test_the_emulator_has_the_environment_of_the_vendors_with_endpoints(
    installed: list[FakeEntryPoint],
) -> None:
    members = {
        "emulator": f"{__name__}:no_routes",
        "local_service": lambda address: PlainService(f"ws://{address}/plain"),
        "local_environment": lambda address: {"PLAIN_URL": f"ws://{address}/plain"},
    }
    installed.append(FakeEntryPoint("plain", changed(**members)))
    async with serve(SCRIPT) as emulator:
        assert emulator.environment("plain") == {"PLAIN_URL": f"ws://{emulator.address}/plain"}
        assert {"PLAIN_URL", "DASHSCOPE_API_KEY", "HUAWEICLOUD_SIS_ENDPOINT"} <= emulator.environment().keys()


def no_routes(_application: web.Application, _engine: object, **_options: Any) -> Sequence[Any]:
    return ()
