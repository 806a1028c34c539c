"""The arguments of `Client`, `connect` and `transcribe`: the same everywhere, with the service found by the options."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

from asr_async import (
    Client,
    ConfigurationError,
    DashScope,
    Huawei,
    Local,
    Paraformer,
    Rasr,
    Timeouts,
    connect,
    transcribe,
)
from asr_async.client import ClientSettings
from asr_async.emulator import Scripted

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "sk-a-key-that-must-not-be-shown"
AUDIO = bytes(32_000)


def scripted() -> Local:
    return Local(Scripted([("good morning", 100, 900)]))


# --- the same arguments everywhere ------------------------------------------------------------------------------------


def test_connect_and_transcribe_take_the_settings_of_a_client() -> None:
    parameters = inspect.signature(Client).parameters
    keyword_only = [name for name, each in parameters.items() if each.kind is inspect.Parameter.KEYWORD_ONLY]
    assert keyword_only == ["options", *ClientSettings.__annotations__]


async def test_settings_reach_the_client(tmp_path: Path) -> None:
    tape = tmp_path / "tape.jsonl"
    settings = ClientSettings(timeouts=Timeouts(connect=5), tape=tape, proxy=False)
    transcript = await transcribe([AUDIO], Paraformer(), scripted(), **settings)
    assert transcript.text == "good morning"
    assert tape.stat().st_size > 0
    async with connect(Paraformer(), scripted(), **settings) as session:
        assert [result.text async for result in session.stream([AUDIO]) if result.is_final] == ["good morning"]


@pytest.mark.parametrize("make", [Client, connect])
def test_an_unknown_setting_is_an_error(make: Any) -> None:
    with pytest.raises(TypeError, match="timeout"):
        make(options=Paraformer(), timeout=5)


# --- the service and the options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "service"), [(Paraformer(), DashScope), (Rasr(), Huawei)])
def test_a_client_finds_the_service_by_its_options(options: Any, service: type) -> None:
    assert isinstance(Client(options=options)._service, service)


async def test_the_options_of_a_client_are_those_of_its_calls() -> None:
    async with Client(scripted(), options=Paraformer()) as client:
        assert "paraformer-realtime-v2" in repr(client.session())
        assert (await client.transcribe([AUDIO])).text == "good morning"
        async with client.transcribe_many([[AUDIO]]) as batch:
            assert [item.transcript and item.transcript.text async for item in batch] == ["good morning"]
        assert "8k-v2" in repr(client.session(Paraformer(model="paraformer-realtime-8k-v2", sample_rate=8_000)))


async def test_a_call_without_options_names_both_ways_out() -> None:
    async with Client(scripted()) as client:
        with pytest.raises(ConfigurationError, match=r"^no options: pass the model's, .* or Client\(options="):
            client.session()


def test_options_of_another_vendor_are_refused_when_the_client_is_made() -> None:
    with pytest.raises(ConfigurationError, match="Rasr does not belong to DashScope"):
        Client(DashScope(), options=Rasr())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, r"^no service: pass one, such as Client\(DashScope\(\)\), or Client\(options=Paraformer\(\)\)$"),
        ({"service": SECRET}, r"^str is not a service, .* a key belongs to its service: DashScope\(api_key\)$"),
        ({"service": DashScope}, r"^DashScope is a class: make a service of it, DashScope\(\)$"),
        ({"service": Paraformer()}, r"^Paraformer\(...\) is no service: pass it by name, Client\(options=Paraformer"),
        ({"service": 7}, "^int is not a service"),
        ({"options": Paraformer}, r"^Paraformer is a class: make options of it, Paraformer\(\)$"),
        ({"options": SECRET}, r"^str is not the options of a model, such as Paraformer\(\)$"),
        ({"options": DashScope()}, "^DashScope is not the options of a model"),
    ],
)
def test_what_is_not_a_service_or_options_is_refused_at_once_without_showing_it(
    arguments: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigurationError, match=text) as caught:
        Client(**arguments)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("options", [Paraformer, SECRET, DashScope()])
def test_connect_refuses_what_is_not_options(options: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"is a class|is not the options"):
        connect(options)
