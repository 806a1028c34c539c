"""Keys that change: temporary ones, and functions that return the key of the moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from asr_async import (
    AuthenticationError,
    Client,
    ConfigurationError,
    DashScope,
    DeadlineError,
    Huawei,
    Paraformer,
    TemporaryKey,
    Timeouts,
    connect,
)
from asr_async.emulator import Emulator, Scripted, serve
from asr_async.vendors.dashscope.rest_wire import Token

from ...support.virtual_time import run_virtual

KEY = "sk-0123456789abcdef"
HELLO = [("Hello.", 0, 900)]


async def recognise(service: DashScope) -> list[str]:
    async with connect(Paraformer(), service) as session:
        return [result.text async for result in session.stream([bytes(32_000)], pace=None) if result.is_final]


def calling(emulator: Emulator, api_key: Any = KEY) -> DashScope:
    return DashScope(api_key, endpoint=emulator.dashscope_url)


# --- temporary keys --------------------------------------------------------------------------------------------------


async def test_a_temporary_key_is_used_exactly_like_a_key() -> None:
    async with serve(Scripted(HELLO), api_keys={KEY}) as emulator:
        temporary = await calling(emulator).temporary_key(expires_in=120)
        assert temporary.value.startswith("st-")
        service = calling(emulator, temporary.value)
        assert await recognise(service) == ["Hello."]
        assert await service.vocabularies.list() == []


def test_an_expired_temporary_key_is_refused_with_a_remedy_and_an_open_session_continues() -> None:
    async def scenario() -> None:
        async with serve(Scripted(HELLO), api_keys={KEY}) as emulator:
            temporary = await calling(emulator).temporary_key(expires_in=20)
            service = calling(emulator, temporary.value)
            async with connect(Paraformer(), service) as session:
                await asyncio.sleep(19)
                assert await service.vocabularies.list() == []
                await asyncio.sleep(2)
                for use in (recognise(service), service.vocabularies.list()):
                    with pytest.raises(AuthenticationError) as caught:
                        await use
                    assert str(caught.value).startswith(
                        "HTTP 401: Invalid API-key provided: this temporary key has expired, or belongs to another "
                        "region: make another with temporary_key(), or pass a function that does so as api_key= (code "
                        "InvalidApiKey"
                    )
                    assert temporary.value not in str(caught.value)
                stream = session.stream([bytes(32_000)], pace=None)
                assert [result.text async for result in stream if result.is_final] == ["Hello."]

    run_virtual(scenario)


def test_a_temporary_key_is_valid_for_a_minute_by_default() -> None:
    async def scenario() -> None:
        async with serve(Scripted([]), api_keys={KEY}) as emulator:
            service = calling(emulator, (await calling(emulator).temporary_key()).value)
            await asyncio.sleep(59)
            await service.vocabularies.list()
            await asyncio.sleep(2)
            with pytest.raises(AuthenticationError):
                await service.vocabularies.list()

    run_virtual(scenario)


@pytest.mark.parametrize("expires_in", [0, 1_801])
async def test_a_life_out_of_range_is_refused(expires_in: int) -> None:
    with pytest.raises(ConfigurationError, match=f"expires_in={expires_in}: must be between 1 and 1800 s"):
        await DashScope(KEY).temporary_key(expires_in=expires_in)


def test_a_temporary_key_shows_in_no_repr() -> None:
    key = TemporaryKey(value="st-secret", expires_at=1_744_080_369)
    assert f"{key} {key!r}" == "<TemporaryKey expires_at=1744080369> <TemporaryKey expires_at=1744080369>"
    assert repr(Token(token="st-secret", expires_at=1_744_080_369)) == "<Token expires_at=1744080369>"


# --- key functions ---------------------------------------------------------------------------------------------------


async def _later() -> str:
    await asyncio.sleep(0)
    return KEY


@pytest.mark.parametrize("give", [lambda: KEY, _later])
async def test_a_key_function_is_called_for_each_connection_and_each_request(give: Callable[[], Any]) -> None:
    asked = []

    def counted() -> Any:
        asked.append(1)
        return give()

    async with serve(Scripted(HELLO), api_keys={KEY}) as emulator:
        service = calling(emulator, counted)
        assert await recognise(service) == ["Hello."]
        assert await recognise(service) == ["Hello."]
        await service.vocabularies.get(await service.vocabularies.create(["a"], name="n", model="fun-asr-realtime"))
    assert len(asked) == 4


async def test_errors_of_the_key_function_reach_the_caller_unchanged() -> None:
    def broken() -> str:
        raise ZeroDivisionError("the vault is closed")

    service = DashScope(broken, endpoint="ws://127.0.0.1:9/")
    for use in (recognise(service), service.vocabularies.list(), service.temporary_key()):
        with pytest.raises(ZeroDivisionError, match="the vault is closed"):
            await use


async def test_a_timeout_error_of_the_key_function_is_raised_unchanged() -> None:
    async def impatient() -> str:
        raise TimeoutError("the vault took too long")

    with pytest.raises(TimeoutError, match="the vault took too long"):
        await DashScope(impatient, endpoint="ws://127.0.0.1:9/").vocabularies.list()


@pytest.mark.parametrize("nothing", ["", " \n", None])
async def test_a_key_function_that_returns_no_key_is_an_authentication_error(nothing: Any) -> None:
    with pytest.raises(AuthenticationError, match="the function given as api_key= returned no key"):
        await DashScope(lambda: nothing).resolve(Paraformer())


async def test_a_malformed_key_is_not_shown() -> None:
    with pytest.raises(AuthenticationError, match="contains characters that no key has") as caught:
        await DashScope(lambda: "sk-a\r\nX-Evil: 1").resolve(Paraformer())
    assert "Evil" not in str(caught.value)


def test_a_function_that_hangs_ends_at_the_deadline() -> None:
    async def hang() -> str:
        await asyncio.Event().wait()
        raise AssertionError

    async def scenario() -> None:
        service = DashScope(hang, endpoint="ws://127.0.0.1:9/")
        with pytest.raises(DeadlineError, match=r"no credentials within 3 s \(Timeouts.connect\)"):
            async with connect(Paraformer(), service, timeouts=Timeouts(connect=3)):
                raise AssertionError
        with pytest.raises(DeadlineError, match="no key from the function given as api_key= within 30 s"):
            await service.vocabularies.list()

    run_virtual(scenario)


# --- a refused key ---------------------------------------------------------------------------------------------------


async def test_a_request_is_made_again_with_the_functions_next_key() -> None:
    keys = iter(["sk-old", KEY])
    async with serve(Scripted([]), api_keys={KEY}) as emulator:
        assert await calling(emulator, lambda: next(keys)).vocabularies.create(
            ["a"], name="n", model="fun-asr-realtime"
        )


async def test_a_request_is_made_again_once_only() -> None:
    asked: list[int] = []

    def wrong() -> str:
        asked.append(1)
        return f"sk-wrong{len(asked)}"

    async with serve(Scripted([]), api_keys={KEY}) as emulator:
        with pytest.raises(AuthenticationError):
            await calling(emulator, wrong).vocabularies.list()
    assert len(asked) == 2


async def test_a_refused_key_is_refreshed_once_and_only_if_a_function_returns_it() -> None:
    refused = AuthenticationError("no", code="InvalidApiKey")
    given = await DashScope(KEY).resolve(Paraformer())
    assert not given.refresh_credentials(refused)
    service = DashScope(lambda: KEY)
    target = await service.resolve(Paraformer())
    assert not target.refresh_credentials(AuthenticationError("no right to the model", code="Model.AccessDenied"))
    assert target.refresh_credentials(refused)
    assert not target.refresh_credentials(refused)
    assert not (await service.resolve(Paraformer())).refresh_credentials(refused)  # the function gave the same again


async def test_a_client_makes_temporary_keys_where_its_vendor_has_them() -> None:
    async with serve(Scripted(HELLO), api_keys={KEY}) as emulator:
        async with Client(calling(emulator)) as client:
            temporary = await client.temporary_key(expires_in=120)
        assert await recognise(calling(emulator, temporary.value)) == ["Hello."]
    async with Client(Huawei()) as client:
        with pytest.raises(ConfigurationError, match=r"<Huawei .*> makes no temporary keys; DashScope and OpenAI do"):
            await client.temporary_key()
    async with Client(DashScope(KEY)) as client:
        with pytest.raises(ConfigurationError, match="expires_in=1801: must be between 1 and 1800 s"):
            await client.temporary_key(expires_in=1_801)
