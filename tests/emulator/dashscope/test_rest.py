"""The emulated DashScope REST API, tested with a plain client, and the effect of its tables on a recognition."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from asr_async import AuthenticationError, DashScope, Paraformer, QwenAudio, VendorError, connect
from asr_async.emulator import Emulator, Scripted, serve
from asr_async.hotwords import HotWord

KEY = {"Authorization": "Bearer key"}
CUSTOMIZATION = "/services/audio/asr/customization"
FILMS = Scripted([{"text": "Seediq Bale.", "start_ms": 0, "end_ms": 900, "variants": {"Seediq Bale": "seat a bail"}}])
V1 = "paraformer-realtime-v1"
V2 = "paraformer-realtime-v2"


async def send_request(
    emulator: Emulator, method: str, path: str, body: Any = None, headers: Any = None
) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            method, f"{emulator.dashscope_http_url}{path}", json=body, headers=KEY if headers is None else headers
        ) as response,
    ):
        return response.status, await response.json()


def customization(action: str, **members: Any) -> dict[str, Any]:
    return {"model": "speech-biasing", "input": {"action": action, **members}}


def creation(**members: Any) -> dict[str, Any]:
    words = [{"text": "a", "weight": 4}]
    return customization("create_vocabulary", **{"target_model": V2, "prefix": "n", "vocabulary": words, **members})


def compilation(**members: Any) -> dict[str, Any]:
    return {
        "model": V1,
        "training_type": "compile_asr_phrase",
        "hyper_parameters": {"phrase_list": {"a": 4}},
        **members,
    }


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "text"),
    [({}, "No API-key provided."), ({"Authorization": "Bearer other"}, "Invalid API-key provided.")],
)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", CUSTOMIZATION), ("POST", "/tokens"), ("GET", "/fine-tunes/outputs")]
)
async def test_a_client_without_a_key_is_rejected(method: str, path: str, headers: dict[str, str], text: str) -> None:
    async with serve(FILMS, api_keys={"key"}) as emulator:
        status, body = await send_request(emulator, method, path, headers=headers)
    assert (status, body["code"], body["message"]) == (401, "InvalidApiKey", text)
    assert body["request_id"]


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (customization("forget"), "InvalidParameter", "forget"),
        (customization("query_vocabulary"), "InvalidParameter", "vocabulary_id"),
        ({**creation(), "model": "other"}, "ModelNotFound", "Model not found: other"),
        (creation(target_model="other"), "ModelNotFound", "Model not found: other"),
        (creation(target_model=V1), "InvalidParameter", f"{V1} has no vocabulary_id"),
        (creation(prefix="Upper"), "InvalidParameter", "prefix 'Upper': 1 to 10 of a-z and 0-9"),
        (creation(vocabulary=[]), "InvalidParameter", "0 words, must be between 1 and 500"),
        (creation(vocabulary=[{"text": "a"}] * 501), "InvalidParameter", "501 words, must be between 1 and 500"),
        (creation(vocabulary=[{"text": "a", "weight": 6}]), "InvalidParameter", "'a': weight 6"),
        (customization("list_vocabulary", page_size=0), "InvalidParameter", "page_size 0: must be between 1 and 100"),
        (customization("delete_vocabulary", vocabulary_id="vocab-x"), "NotFound", "vocabulary vocab-x not found"),
    ],
)
async def test_an_invalid_vocabulary_request_is_refused_with_the_reason(body: Any, code: str, text: str) -> None:
    async with serve(FILMS) as emulator:
        status, refusal = await send_request(emulator, "POST", CUSTOMIZATION, body)
    assert (status, refusal["code"]) == (400 if code == "InvalidParameter" else 404, code)
    assert text in refusal["message"]


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (compilation(model="other"), "ModelNotFound", "Model not found: other"),
        (compilation(model=V2), "InvalidParameter", f"{V2} has no phrase_id"),
        (
            compilation(training_type="sft"),
            "InvalidParameter",
            "training_type: the emulator supports compile_asr_phrase",
        ),
        (compilation(hyper_parameters={"phrase_list": {}}), "InvalidParameter", "0 words"),
        (compilation(hyper_parameters={"phrase_list": {"a": 90}}), "InvalidParameter", "phrase 'a': weight 90"),
        (compilation(finetuned_output="gone"), "NotFound", "finetuned_output gone not found"),
    ],
)
async def test_an_invalid_phrase_request_is_refused_with_the_reason(body: Any, code: str, text: str) -> None:
    async with serve(FILMS) as emulator:
        _, refusal = await send_request(emulator, "POST", "/fine-tunes", body)
    assert refusal["code"] == code
    assert text in refusal["message"]


@pytest.mark.parametrize("number", ["0", "1801", "x", "-1", "9" * 5_000])
async def test_a_temporary_key_is_not_issued_for_a_lifetime_out_of_range(number: str) -> None:
    async with serve(FILMS) as emulator:
        status, refusal = await send_request(emulator, "POST", f"/tokens?expire_in_seconds={number}")
    assert (status, refusal["code"]) == (400, "InvalidParameter")
    assert refusal["message"] == f"expire_in_seconds {number}: must be between 1 and 1800"


async def test_the_number_of_tables_of_an_account_is_bounded() -> None:
    async with serve(FILMS) as emulator:
        answers = [await send_request(emulator, "POST", CUSTOMIZATION, creation()) for _ in range(11)]
        assert [status for status, _ in answers] == [200] * 10 + [400]
        assert answers[-1][1]["message"] == "there are 10 vocabularies already"
        answers = [await send_request(emulator, "POST", "/fine-tunes", compilation()) for _ in range(101)]
        assert [status for status, _ in answers] == [200] * 100 + [400]
        assert answers[-1][1]["message"] == "there are 100 phrase lists already"


# --- responses --------------------------------------------------------------------------------------------------------


async def test_responses_have_the_documented_members() -> None:
    async with serve(FILMS) as emulator:
        _, created = await send_request(emulator, "POST", CUSTOMIZATION, creation())
        assert set(created) == {"output", "usage", "request_id"}
        assert created["usage"] == {"count": 1}
        vocabulary_id = created["output"]["vocabulary_id"]
        _, listed = await send_request(emulator, "POST", CUSTOMIZATION, customization("list_vocabulary"))
        (table,) = listed["output"]["vocabulary_list"]
        assert set(table) == {"vocabulary_id", "gmt_create", "gmt_modified", "status"}
        query = customization("query_vocabulary", vocabulary_id=vocabulary_id)
        _, queried = await send_request(emulator, "POST", CUSTOMIZATION, query)
        assert set(queried["output"]) == {"gmt_create", "gmt_modified", "status", "target_model", "vocabulary"}
        deletion = customization("delete_vocabulary", vocabulary_id=vocabulary_id)
        _, deleted = await send_request(emulator, "POST", CUSTOMIZATION, deletion)
        assert deleted["output"] == {}
        _, compiled = await send_request(emulator, "POST", "/fine-tunes", compilation())
        assert set(compiled["output"]) == {"finetuned_output", "job_id", "status", "training_type", "create_time"}
        phrase_id = compiled["output"]["finetuned_output"]
        _, queried = await send_request(emulator, "GET", f"/fine-tunes/outputs/{phrase_id}")
        assert set(queried["output"]) == {"create_time", "finetuned_output", "job_id", "model", "output_type"}
        _, deleted = await send_request(emulator, "DELETE", f"/fine-tunes/outputs/{phrase_id}")
        assert deleted["output"] == {"finetuned_output": phrase_id}
        _, token = await send_request(emulator, "POST", "/tokens?expire_in_seconds=5")
        assert set(token) == {"token", "expires_at"}


async def test_a_listing_is_divided_into_pages() -> None:
    async with serve(FILMS) as emulator:
        for prefix in "abc":
            await send_request(emulator, "POST", CUSTOMIZATION, creation(prefix=prefix))
        pages = []
        for page in range(3):
            listing = customization("list_vocabulary", page_index=page, page_size=2)
            _, listed = await send_request(emulator, "POST", CUSTOMIZATION, listing)
            pages.append([table["vocabulary_id"][6] for table in listed["output"]["vocabulary_list"]])
    assert pages == [["a", "b"], ["c"], []]


# --- the effect of hot words ------------------------------------------------------------------------------------------


async def recognise(emulator: Emulator, options: Paraformer | QwenAudio) -> list[str]:
    async with connect(options, DashScope("key", endpoint=emulator.dashscope_url)) as session:
        return [result.text async for result in session.stream([bytes(32_000)], pace=None) if result.is_final]


@pytest.mark.parametrize(
    ("word", "hints", "text"),
    [
        (HotWord("Seediq Bale"), None, "Seediq Bale."),
        (HotWord("Seediq Bale"), ["en"], "Seediq Bale."),
        (HotWord("Seediq Bale", language="en"), ["en"], "Seediq Bale."),
        (HotWord("Seediq Bale", language="en"), ["zh"], "seat a bail."),
        (HotWord("Paraformer"), None, "seat a bail."),
    ],
)
async def test_a_vocabulary_applies_in_the_languages_of_the_task(
    word: HotWord, hints: list[str] | None, text: str
) -> None:
    async with serve(FILMS) as emulator:
        service = DashScope("key", endpoint=emulator.dashscope_url)
        hot_word_id = await service.vocabularies.create([word], name="films", model=V2)
        assert await recognise(emulator, Paraformer(vocabulary_id=hot_word_id, language_hints=hints)) == [text]


@pytest.mark.parametrize(("weight", "text"), [(4, "Seediq Bale."), (-6, "seat a bail.")])
async def test_a_phrase_list_applies_if_its_weight_is_positive(weight: int, text: str) -> None:
    async with serve(FILMS) as emulator:
        service = DashScope("key", endpoint=emulator.dashscope_url)
        hot_word_id = await service.vocabularies.create([HotWord("Seediq Bale", weight=weight)], name="films", model=V1)
        assert await recognise(emulator, Paraformer(model=V1, phrase_id=hot_word_id)) == [text]


@pytest.mark.parametrize(
    ("vocabulary", "text"), [({"Seediq Bale": 5}, "Seediq Bale."), ({"Paraformer": 5}, "seat a bail.")]
)
async def test_hot_words_in_the_parameters_apply(vocabulary: dict[str, int], text: str) -> None:
    async with serve(FILMS) as emulator:
        assert await recognise(emulator, QwenAudio(vocabulary=vocabulary)) == [text]


async def test_a_task_with_an_unknown_vocabulary_fails_with_the_documented_code() -> None:
    async with serve(FILMS) as emulator:
        with pytest.raises(
            VendorError, match="vocabulary vocab-gone not found: check the hot-word list's id"
        ) as caught:
            await recognise(emulator, Paraformer(vocabulary_id="vocab-gone"))
    assert caught.value.code == "NotFound"


async def test_a_vocabulary_applies_to_its_own_model_only() -> None:
    async with serve(FILMS) as emulator:
        service = DashScope("key", endpoint=emulator.dashscope_url)
        hot_word_id = await service.vocabularies.create(["a"], name="films", model="fun-asr-realtime")
        with pytest.raises(VendorError, match=f"{hot_word_id} is for fun-asr-realtime, not for {V2}"):
            await recognise(emulator, Paraformer(vocabulary_id=hot_word_id))


# --- keys -------------------------------------------------------------------------------------------------------------


async def test_a_key_issued_by_another_emulator_is_rejected() -> None:
    async with serve(FILMS) as one, serve(FILMS) as other:
        key = (await DashScope("key", endpoint=one.dashscope_url).temporary_key()).value
        with pytest.raises(AuthenticationError):
            await DashScope(key, endpoint=other.dashscope_url).vocabularies.list()
