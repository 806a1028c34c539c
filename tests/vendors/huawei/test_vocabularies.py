"""Huawei's hot-word tables: refusals before a request, and round trips with the emulator."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from asr_async import Client, ConfigurationError, HotWord, Huawei, Local, RemoteProtocolError, VendorError, Vocabulary
from asr_async.emulator import Scripted, serve
from asr_async.vendors.huawei.vocabularies import HuaweiVocabularies

LONG = "汉" * 33


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Yield the tables of an account of an emulator that verifies signatures."""
    async with serve(Scripted([("hello", 0, 500)]), api_keys={"AK": "SK"}) as emulator:
        huawei = Huawei(ak="AK", sk="SK", project_id="p", region="cn-north-4", endpoint=emulator.huawei_url)
        async with Client(huawei) as client:
            yield client


class NothingIsSent:
    """Fail: no request may be sent."""

    async def __call__(self, method: str, path: str, body: bytes) -> bytes:
        raise AssertionError(f"{method} {path} {body!r} was sent")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"name": ""}, "name='': 1 to 32 letters, digits, '_', '-' and '#'"),
        ({"name": "名"}, "name='名': 1 to 32 letters, digits, '_', '-' and '#'"),
        ({"name": "n" * 33}, "1 to 32 letters, digits, '_', '-' and '#'"),
        ({"model": "m"}, "model='m': Huawei's tables do not belong to a model; leave it out"),
        ({"language": "englich"}, "language='englich': did you mean 'english'?"),
        ({"description": "d" * 256}, "description: 256 characters, at most 255 are allowed"),
        ({"words": []}, "0 hot words: a table has 1 to 10000"),
        ({"words": ["词"] * 10_001}, "10001 hot words: a table has 1 to 10000"),
        ({"words": ["two words"]}, "hot word 'two words': Han characters and capital letters only, no spaces, digits"),
        ({"words": ["SIS2"]}, "hot word 'SIS2': Han characters and capital letters only"),
        ({"words": ["sis"]}, "hot word 'sis': Han characters and capital letters only"),
        ({"words": [""]}, "hot word '': Han characters and capital letters only"),
        ({"words": [LONG]}, f"hot word '{LONG}': 33 characters, at most 32 in chinese_mandarin"),
        ({"words": ["A" * 65], "language": "english"}, "65 characters, at most 64 in english"),
        ({"words": [HotWord("词", weight=11)]}, "hot word '词': weight=11: must be between 1 and 10"),
        ({"words": [HotWord("词", weight=0)]}, "hot word '词': weight=0: must be between 1 and 10"),
        ({"words": [HotWord("词", language="zh")]}, "hot word '词': Huawei's hot words have no language"),
        ({"words": [HotWord("词", translation="word")]}, "hot word '词': Huawei's hot words have no translation"),
        ({"words": [HotWord("V2", heard_as="微二", weight=3)]}, "hot word 'V2': with heard_as it has no weight"),
        ({"words": [HotWord("v" * 33, heard_as="微")]}, "a replacement has 1 to 32 characters"),
        ({"words": [HotWord("V2", heard_as="v 2")]}, "hot word 'v 2': Han characters and capital letters only"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_words_beyond_the_limits_are_refused_before_they_are_sent(arguments: dict[str, Any], text: str) -> None:
    given = {"words": ["词"], "name": "table", **arguments}
    with pytest.raises(ConfigurationError, match=re.escape(text)):
        await HuaweiVocabularies(NothingIsSent()).create(given.pop("words"), **given)


@pytest.mark.parametrize("act", ["get", "delete"])
async def test_an_empty_id_does_not_reach_the_listing(act: str) -> None:
    with pytest.raises(ConfigurationError, match="vocabulary_id='': must not be empty"):
        await getattr(HuaweiVocabularies(NothingIsSent()), act)("")


async def test_a_response_of_another_shape_is_a_protocol_error() -> None:
    async def answer(_method: str, _path: str, _body: bytes) -> bytes:
        return b"<html>"

    with pytest.raises(RemoteProtocolError, match="unreadable response about hot-word tables"):
        await HuaweiVocabularies(answer).list()


async def test_a_table_lives_from_create_to_delete(client: Client) -> None:
    words: list[HotWord | str] = ["华为", HotWord("SIS", weight=5), HotWord("V2.0", heard_as="微二点零")]
    tables = client.vocabularies
    made = await tables.create(words, name="table-1", description="terms")
    table = Vocabulary(vocabulary_id=made, name="table-1", language="chinese_mandarin", description="terms")
    assert await tables.list() == [table]
    got = await tables.get(made)
    assert got.words == (HotWord("华为"), HotWord("SIS", weight=5), HotWord("V2.0", heard_as="微二点零"))

    await tables.update(made, ["新词"])
    got = await tables.get(made)
    assert (got.words, got.name, got.description) == ((HotWord("新词"),), "table-1", "terms")

    await tables.delete(made)
    assert await tables.list() == []


@pytest.mark.parametrize("act", ["get", "delete"])
async def test_a_missing_table_is_a_vendor_error_with_its_code(client: Client, act: str) -> None:
    with pytest.raises(VendorError, match="a table belongs to one region and project") as caught:
        await getattr(client.vocabularies, act)("none")
    assert caught.value.code == "SIS.0201"


async def test_a_name_that_exists_already_is_refused_by_the_vendor(client: Client) -> None:
    await client.vocabularies.create(["词"], name="table")
    with pytest.raises(VendorError, match="check the hot-word table") as caught:
        await client.vocabularies.create(["词"], name="table")
    assert caught.value.code == "SIS.0204"


async def test_the_embedded_recogniser_has_no_tables() -> None:
    async with Client(Local(Scripted([("hello", 0, 500)]))) as client:
        with pytest.raises(
            ConfigurationError, match=r"Local\(\) stores no hot-word tables: use the service of a vendor"
        ):
            _ = client.vocabularies
