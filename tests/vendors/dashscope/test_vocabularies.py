"""DashScope's hot words: refusals before a request, the requests themselves, and both generations of tables."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiohttp import web

from asr_async import (
    AuthenticationError,
    ConfigurationError,
    ConnectionLostError,
    DashScope,
    DeadlineError,
    RemoteProtocolError,
    VendorError,
)
from asr_async.emulator import Scripted, serve
from asr_async.hotwords import HotWord, Vocabulary
from asr_async.vendors.dashscope import rest_wire
from asr_async.vendors.dashscope.hotwords import hot_word_model, phrase_list, vocabulary_entries
from asr_async.vendors.dashscope.models import MODEL_ROWS, ModelRow
from asr_async.vendors.dashscope.rest_wire import VocabularyEntry

from ...support import paths
from ...support.virtual_time import run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asr_async.vendors.dashscope.vocabularies import DashScopeVocabularies

VECTORS = paths.VECTORS / "dashscope_rest.jsonl"
V2 = "paraformer-realtime-v2"
V1 = "paraformer-realtime-v1"


@pytest.fixture
def gummy(monkeypatch: pytest.MonkeyPatch) -> str:
    """A model that translates."""
    options = frozenset({"vocabulary_id", "translation_target_languages"})
    row = ModelRow(model="translates", sample_rates=None, languages=(), options=options, source="this test")
    monkeypatch.setitem(MODEL_ROWS, row.model, row)
    return row.model


# --- words of a vocabulary -------------------------------------------------------------------------------------------


def test_a_word_gets_the_usual_weight_and_the_language_of_the_table_where_it_has_none() -> None:
    words: list[HotWord | str] = ["Paraformer", HotWord("语音实验室", weight=5), HotWord("Seediq Bale", language="en")]
    assert vocabulary_entries(words, model=V2, language="zh") == (
        VocabularyEntry(text="Paraformer", weight=4, lang="zh"),
        VocabularyEntry(text="语音实验室", weight=5, lang="zh"),
        VocabularyEntry(text="Seediq Bale", weight=4, lang="en"),
    )


def test_members_without_a_value_are_not_sent() -> None:
    assert msgspec.to_builtins(vocabulary_entries(["a"], model=V2)) == ({"text": "a", "weight": 4},)


@pytest.mark.parametrize(
    "text", ["一二三四五六七八九十一二三四五", "one two three four five six seven", "Фенибут Белфарм"]
)
def test_texts_at_the_limit_pass(text: str) -> None:
    assert vocabulary_entries([text], model=V2)[0].text == text


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("一二三四五六七八九十一二三四五六", "16 characters, at most 15 where any is not ASCII"),
        ("thirteen letters é", "18 characters, at most 15 where any is not ASCII"),
        ("one two three four five six seven eight", "8 words, at most 7"),
        (HotWord("a", weight=0), "weight 0, must be between 1 and 5"),
        (HotWord("a", weight=6), "weight 6, must be between 1 and 5"),
        (HotWord("a", heard_as="b"), "DashScope has no heard_as"),
        (HotWord("a", translation="b"), f"{V2} does not translate: leave out translation and target_language"),
    ],
)
def test_a_word_that_a_vocabulary_cannot_hold_is_refused_by_its_text(word: HotWord | str, fault: str) -> None:
    text = word if isinstance(word, str) else word.text
    with pytest.raises(ConfigurationError) as caught:
        vocabulary_entries([word], model=V2)
    assert str(caught.value) == f"hot word {text!r}: {fault}"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "words: none, a table holds at least one"),
        ([" "], "words: one is empty"),
        ("Paraformer", "words='Paraformer': must be a list of words, ['Paraformer']"),
        ([str(number) for number in range(501)], "words: more than 500, the most that a table holds"),
        ([5], "words: 5 is neither text nor a HotWord"),
        ([HotWord("a", weight="4")], "is neither text nor a HotWord: Expected `int | null`, got `str` - at `$.weight`"),  # type: ignore[arg-type]
    ],
)
def test_words_that_no_table_can_hold_are_refused(words: Any, text: str) -> None:
    for make in (lambda: vocabulary_entries(words, model=V2), lambda: phrase_list(words)):
        with pytest.raises(ConfigurationError) as caught:
            make()
        assert text in str(caught.value)


def test_five_hundred_words_pass() -> None:
    assert len(vocabulary_entries(map(str, range(500)), model=V2)) == 500
    assert len(phrase_list(map(str, range(500)))) == 500


def test_a_translation_is_sent_complete_and_without_a_default_weight(gummy: str) -> None:
    word = HotWord("赛德克巴莱", translation="Seediq Bale", target_language="en")
    entries = vocabulary_entries([word], model=gummy, language="zh")
    assert msgspec.to_builtins(entries) == (
        {"text": "赛德克巴莱", "lang": "zh", "target_lang": "en", "translation": "Seediq Bale"},
    )


@pytest.mark.parametrize(
    "word",
    [
        HotWord("a", translation="b", language="zh"),
        HotWord("a", target_language="en", language="zh"),
        HotWord("a", translation="b", target_language="en"),
    ],
)
def test_half_a_translation_is_refused(gummy: str, word: HotWord) -> None:
    with pytest.raises(ConfigurationError) as caught:
        vocabulary_entries([word], model=gummy)
    assert str(caught.value) == (
        "hot word 'a': a translation needs translation, target_language and language, all three"
    )


# --- words of a phrase list ------------------------------------------------------------------------------------------


def test_phrases_have_weights_down_to_minus_six() -> None:
    words: list[HotWord | str] = [
        "一二三四五六七八九十",
        HotWord("one two three four five", weight=-6),
        HotWord("c", weight=5),
    ]
    assert phrase_list(words) == {"一二三四五六七八九十": 4, "one two three four five": -6, "c": 5}


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("一二三四五六七八九十一", "11 characters, at most 10"),
        ("one two three four five six", "6 words, at most 5"),
        ("你好 b c d e f", "6 words, at most 5"),
        (HotWord("a", weight=0), "weight 0, must be between 1 and 5, or between -6 and -1"),
        (HotWord("a", weight=-7), "weight -7, must be between 1 and 5, or between -6 and -1"),
        (HotWord("a", language="zh"), "the v1 models have no language"),
        (HotWord("a", translation="b"), "the v1 models have no translation"),
        (HotWord("a", heard_as="b"), "DashScope has no heard_as"),
    ],
)
def test_a_word_that_a_phrase_list_cannot_hold_is_refused_by_its_text(word: HotWord | str, fault: str) -> None:
    text = word if isinstance(word, str) else word.text
    with pytest.raises(ConfigurationError) as caught:
        phrase_list([word])
    assert str(caught.value) == f"hot word {text!r}: {fault}"


def test_a_repeated_phrase_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="hot word 'a': is repeated"):
        phrase_list(["a", HotWord("a", weight=2)])


# --- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"name": "Names"}, "name='Names': must be 1 to 10 of a-z and 0-9"),
        ({"name": "elevenchars"}, "name='elevenchars': must be 1 to 10 of a-z and 0-9"),
        ({"name": ""}, "name='': must be 1 to 10 of a-z and 0-9"),
        ({"description": "d"}, "description: DashScope's tables have none; leave it out"),
        ({"model": None}, "model=None: a DashScope table is for one model: paraformer-realtime-v2, "),
        ({"model": "paraformer-v9"}, "unknown model 'paraformer-v9': did you mean 'paraformer-realtime-v2'?"),
        ({"model": V1, "language": "zh"}, f"language='zh': {V1} has no language; leave it out"),
    ],
)
async def test_a_table_that_cannot_be_made_is_refused_before_anything_is_sent(
    arguments: dict[str, Any], text: str
) -> None:
    unreachable = DashScope("sk-test", http_endpoint="http://127.0.0.1:9/api/v1")
    with pytest.raises(ConfigurationError) as caught:
        await unreachable.vocabularies.create(["a"], **{"name": "names", "model": V2, **arguments})
    assert str(caught.value).startswith(text)


def test_a_model_without_hot_words_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    row = ModelRow(model="deaf", sample_rates=None, languages=(), options=frozenset(), source="this test")
    monkeypatch.setitem(MODEL_ROWS, row.model, row)
    with pytest.raises(ConfigurationError, match=r"model='deaf' has no hot words: paraformer-realtime-v2, .* do"):
        hot_word_model("deaf")


@pytest.mark.parametrize("act", ["get", "delete"])
async def test_an_empty_id_is_refused(act: str) -> None:
    vocabularies = DashScope("sk-test", http_endpoint="http://127.0.0.1:9/api/v1").vocabularies
    with pytest.raises(ConfigurationError, match="vocabulary_id='': must not be empty"):
        await getattr(vocabularies, act)("")


# --- with the emulator -----------------------------------------------------------------------------------------------


def recorded(scenario: str) -> list[Any]:
    frames = map(json.loads, VECTORS.read_text(encoding="utf-8").splitlines())
    return [frame for frame in frames if frame["scenario"] == scenario and frame["body"] is not None]


@pytest.mark.parametrize(
    ("scenario", "shape", "path"),
    [
        ("vocabulary_service", rest_wire.Customization, rest_wire.VOCABULARY_PATH),
        ("asr_phrase_manager", rest_wire.CompilePhrases, rest_wire.FINE_TUNES_PATH),
    ],
)
def test_requests_are_spelled_as_the_official_sdk_spells_them(scenario: str, shape: type[Any], path: str) -> None:
    frames = recorded(scenario)
    assert len(frames) == (12 if shape is rest_wire.Customization else 4)
    for frame in frames:
        assert frame["path"] == f"/api/v1{path}"
        assert json.loads(msgspec.json.encode(msgspec.convert(frame["body"], shape))) == frame["body"]


@asynccontextmanager
async def account() -> AsyncIterator[DashScopeVocabularies]:
    async with serve(Scripted([])) as emulator:
        yield DashScope("sk-test", endpoint=emulator.dashscope_url).vocabularies


async def test_a_vocabulary_is_made_read_changed_and_removed() -> None:
    async with account() as vocabularies:
        made = await vocabularies.create(["Paraformer"], name="terms", model=V2, language="en")
        assert made.startswith("vocab-terms-")
        assert await vocabularies.get(made) == Vocabulary(
            vocabulary_id=made,
            name="terms",
            model=V2,
            status="OK",
            words=(HotWord("Paraformer", weight=4, language="en"),),
        )
        await vocabularies.update(made, [HotWord("Gummy", weight=2)])
        assert (await vocabularies.get(made)).words == (HotWord("Gummy", weight=2),)
        await vocabularies.delete(made)
        assert await vocabularies.list() == []


async def test_a_phrase_list_is_made_read_changed_and_removed_under_the_same_face() -> None:
    async with account() as vocabularies:
        made = await vocabularies.create(["通义千问"], name="terms", model=V1)
        assert made.startswith(f"{V1}-ft-")
        assert await vocabularies.get(made) == Vocabulary(vocabulary_id=made, model=V1)
        await vocabularies.update(made, ["下一首"])
        assert await vocabularies.list() == [Vocabulary(vocabulary_id=made, model=V1)]
        await vocabularies.delete(made)
        assert await vocabularies.list() == []


async def test_a_listing_has_all_pages_of_both_generations_without_words() -> None:
    async with account() as vocabularies:
        ids = [await vocabularies.create(["a"], name=f"n{number}", model=V2) for number in range(10)]
        ids += [await vocabularies.create(["a"], name="n", model=V1) for _ in range(2)]
        listed = await vocabularies.list()
    assert [table.vocabulary_id for table in listed] == ids
    assert {table.words for table in listed} == {None}
    assert listed[3].name == "n3"


async def test_an_update_is_held_to_the_tables_own_model() -> None:
    async with account() as vocabularies:
        made = await vocabularies.create(["a"], name="n", model=V2)
        with pytest.raises(ConfigurationError, match="paraformer-realtime-v2 does not translate"):
            await vocabularies.update(made, [HotWord("a", translation="b", target_language="en", language="zh")])


@pytest.mark.parametrize("vocabulary_id", ["vocab-n-1", "paraformer-realtime-v1-ft-1", "../tokens"])
async def test_an_unknown_table_is_not_found_with_the_vendors_code(vocabulary_id: str) -> None:
    async with account() as vocabularies:
        for act in (vocabularies.get, vocabularies.delete):
            with pytest.raises(VendorError, match="not found: check the hot-word list's id") as caught:
                await act(vocabulary_id)
            assert caught.value.code == "NotFound"
            assert caught.value.request_id


async def test_a_refused_key_is_an_authentication_error_that_does_not_show_it() -> None:
    async with serve(Scripted([]), api_keys={"sk-right"}) as emulator:
        service = DashScope("sk-wrong", endpoint=emulator.dashscope_url)
        with pytest.raises(AuthenticationError, match="Invalid API-key provided: check the key") as caught:
            await service.vocabularies.list()
    assert "sk-wrong" not in str(caught.value)


# --- unexpected responses --------------------------------------------------------------------------------------------


Handler = Callable[[web.Request], Awaitable[web.Response]]


@asynccontextmanager
async def answering(handler: Handler) -> AsyncIterator[DashScope]:
    """Return the service of a server that sends this response to every request."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield DashScope("sk-test", http_endpoint=f"http://127.0.0.1:{port}/api/v1/", workspace="ws-1")
    finally:
        await runner.cleanup()


async def test_a_request_names_key_workspace_and_content() -> None:
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        return web.json_response({"output": {"vocabulary_id": "vocab-n-1"}, "request_id": "r"})

    async with answering(handler) as service:
        assert await service.vocabularies.create(["a"], name="n", model=V2) == "vocab-n-1"
    (request,) = seen
    assert request.path == "/api/v1/services/audio/asr/customization"
    assert request.headers["Authorization"] == "Bearer sk-test"
    assert request.headers["X-DashScope-WorkSpace"] == "ws-1"
    assert request.headers["Content-Type"] == "application/json"


async def test_a_key_without_the_right_to_fine_tuning_still_lists_its_vocabularies() -> None:
    async def handler(request: web.Request) -> web.Response:
        if "fine-tunes" in request.path:
            return web.json_response({"code": "AccessDenied", "message": "no"}, status=403)
        return web.json_response(
            {"output": {"vocabulary_list": [{"vocabulary_id": "vocab-n-1", "status": "UNDEPLOYED"}]}}
        )

    async with answering(handler) as service:
        listed = await service.vocabularies.list()
    assert listed == [Vocabulary(vocabulary_id="vocab-n-1", name="n", status="UNDEPLOYED")]


async def test_a_key_that_expires_between_two_pages_cuts_no_listing_short() -> None:
    async def handler(request: web.Request) -> web.Response:
        if "fine-tunes" in request.path:
            return web.json_response({"code": "InvalidApiKey", "message": "no"}, status=401)
        return web.json_response({"output": {"vocabulary_list": [{"vocabulary_id": "vocab-n-1"}]}})

    async with answering(handler) as service:
        with pytest.raises(AuthenticationError, match="no: check the key"):
            await service.vocabularies.list()


async def test_regions_without_v1_models_are_not_asked_for_phrase_lists() -> None:
    async def handler(request: web.Request) -> web.Response:
        assert "fine-tunes" not in request.path
        return web.json_response({"output": {"vocabulary_list": []}})

    async with answering(handler) as beijing:
        singapore = DashScope("sk-test", region="ap-southeast-1", http_endpoint=beijing._http_endpoint)
        assert await singapore.vocabularies.list() == []


async def test_other_outputs_of_fine_tuning_are_not_listed() -> None:
    async def handler(request: web.Request) -> web.Response:
        made = [{"finetuned_output": "a-chat-model", "output_type": "model"}] if "fine-tunes" in request.path else []
        return web.json_response({"output": {"vocabulary_list": [], "finetuned_outputs": made}})

    async with answering(handler) as service:
        assert await service.vocabularies.list() == []


async def test_a_listing_that_does_not_end_is_ended() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"output": {"vocabulary_list": [{"vocabulary_id": "vocab-n-1"}] * 10}})

    async with answering(handler) as service:
        with pytest.raises(RemoteProtocolError, match="lists more than 100 pages of vocabularies"):
            await service.vocabularies.list()


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b'{"output": {"vocabulary_id": 5}}', b'{"a": "\xff"}'])
async def test_an_answer_that_cannot_be_read_is_a_remote_protocol_error(answer: bytes) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=answer)

    async with answering(handler) as service:
        with pytest.raises(RemoteProtocolError, match=r"response to POST http://.*/customization cannot be decoded"):
            await service.vocabularies.create(["a"], name="n", model=V2)


async def test_phrase_lists_that_do_not_end_are_ended() -> None:
    made = [{"finetuned_output": "p", "output_type": "custom_resource"}] * 100

    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"output": {"vocabulary_list": [], "finetuned_outputs": made}})

    async with answering(handler) as service:
        with pytest.raises(RemoteProtocolError, match="lists more than 100 pages of phrase lists"):
            await service.vocabularies.list()


async def test_a_phrase_list_without_a_model_is_not_replaced() -> None:
    async def handler(request: web.Request) -> web.Response:
        assert request.method == "GET"
        return web.json_response({"output": {"finetuned_output": "p"}})

    async with answering(handler) as service:
        with pytest.raises(RemoteProtocolError, match="does not name the model of p"):
            await service.vocabularies.update("p", ["a"])


async def test_an_unreachable_host_is_a_retryable_lost_connection() -> None:
    service = DashScope("sk-test", http_endpoint="http://127.0.0.1:9/api/v1")
    with pytest.raises(ConnectionLostError, match=r"cannot reach 127\.0\.0\.1:9") as caught:
        await service.vocabularies.list()
    assert caught.value.retryable


def test_a_request_that_is_not_answered_ends_at_its_deadline() -> None:
    async def handler(request: web.Request) -> web.Response:
        await asyncio.sleep(100)
        raise AssertionError

    async def scenario() -> None:
        async with answering(handler) as service:
            with pytest.raises(DeadlineError, match=r"no response from 127.0.0.1:\d+ within 30 s"):
                await service.vocabularies.list()

    run_virtual(scenario)


async def test_a_refusal_without_words_names_its_status() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=503)

    async with answering(handler) as service:
        with pytest.raises(VendorError, match="the request was refused with HTTP 503") as caught:
            await service.vocabularies.list()
    assert caught.value.retryable
