"""The sessions of one conversation, and the client that is opened by its first use."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from asr_async import (
    Client,
    ConfigurationError,
    ContextMessage,
    DashScope,
    Event,
    FunASR,
    Gummy,
    GummyChat,
    Paraformer,
    QwenRealtime,
    Rasr,
    Result,
)
from asr_async.integrations._conversation import ContextHistory, Conversation, SharedClient, with_language

from ..support.streaming import emulator_service
from ..support.virtual_time import run_virtual
from .agent_audio import SENTENCES, emulator, frames, words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asr_async.vendors.options import Options


async def finals_of(
    conversation: Conversation, *, replace_at_ms: Mapping[int, Options] | None = None
) -> list[tuple[str, float]]:
    """Return the finals of a conversation, and their ends; its options are replaced at some positions of the audio."""
    finals: list[tuple[str, float]] = []

    async def on_event(event: Event) -> None:
        if isinstance(event, Result) and event.is_final:
            finals.append((event.text, conversation.seconds(event.end_ms)))

    running = asyncio.create_task(conversation.run(on_event, lambda: None))
    at_ms = 0
    async for samples in frames():
        await conversation.send(samples)
        at_ms += len(samples) // 32
        if replace_at_ms is not None and at_ms in replace_at_ms:
            conversation.replace_options(replace_at_ms[at_ms])
    conversation.finish()
    await running
    return finals


def test_a_recognition_that_the_vendor_ends_goes_on_in_another_session() -> None:
    async def scenario() -> list[tuple[str, float]]:
        async with emulator() as server:
            client = SharedClient(Client(emulator_service(server, GummyChat())))
            conversation = Conversation(client, GummyChat(), when_full="wait", max_s=2.0)
            finals = await finals_of(conversation)
            await client.aclose()
            return finals

    finals = run_virtual(scenario)
    assert words(text for text, _ in finals)[:3] == words(SENTENCES[:1])
    assert words(text for text, _ in finals)[-1] == "last"
    assert finals[-1][1] == pytest.approx(5.2, abs=0.2)


def test_options_that_change_several_times_begin_with_the_newest() -> None:
    async def scenario() -> tuple[list[tuple[str, float]], str]:
        async with emulator() as server:
            client = SharedClient(Client(emulator_service(server, Paraformer())))
            conversation = Conversation(client, Paraformer(), when_full="wait", max_s=2.0)
            changes = {2_900: Paraformer(language_hints=["en"]), 3_000: FunASR(), 3_900: FunASR(), 4_000: Paraformer()}
            finals = await finals_of(conversation, replace_at_ms=changes)
            await client.aclose()
            return finals, repr(conversation)

    finals, shown = run_virtual(scenario)
    assert words(text for text, _ in finals) == words(SENTENCES)
    assert shown == "<Conversation None at 6500 ms>"


async def test_a_client_opens_again_after_a_failure_and_after_its_end() -> None:
    async with emulator() as server:
        client = SharedClient(Client(emulator_service(server, Paraformer())))
        first, second = await asyncio.gather(client.open(), client.open())
        assert first is second
        await client.aclose()
        await client.aclose()
        assert await client.open() is first
        assert repr(client).endswith("open>>")
        await client.aclose()


async def test_a_client_that_cannot_be_opened_says_so_to_each_of_its_users() -> None:
    client = SharedClient(Client(DashScope("key"), tape="/nonexistent/folder/tape.jsonl"))
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="tape"):
            await client.open()
    await client.aclose()


def test_a_history_keeps_what_models_read() -> None:
    history = ContextHistory([ContextMessage("assistant", "hello")])
    for number in range(7):
        history.add(ContextMessage("user", f"{'x' * 500}{number}"))
    roles = [message.role for message in history.messages]
    assert roles == ["assistant", *["user"] * 5]
    assert history.messages[-1].text == "x" * 399 + "6"
    assert repr(history) == "<ContextHistory 6 messages>"
    FunASR(context=history.messages)  # it is accepted


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Paraformer(), Paraformer(language_hints=["zh"])),
        (QwenRealtime(), QwenRealtime(language="zh")),
        (Gummy(), Gummy(source_language="zh")),
    ],
    ids=["hints", "language", "source"],
)
def test_a_language_has_its_place_in_the_options(options: Options, expected: Options) -> None:
    assert with_language(options, "zh-CN") == expected


def test_a_language_without_a_place_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="language='fr': the options of huawei/continue have no field for it"):
        with_language(Rasr(), "fr")
