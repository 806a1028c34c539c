"""The emulated Huawei REST API, tested with a plain HTTP client and with the vendor's own REST SDK."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import pytest
import websockets
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import Signer
from huaweicloudsdksis.v1 import (
    CreateVocabularyRequest,
    DeleteVocabularyRequest,
    PostCreateVocabReq,
    PutUpdateVocabReq,
    ShowVocabulariesRequest,
    ShowVocabularyRequest,
    SisClient,
    UpdateVocabularyRequest,
)

from asr_async.emulator import Emulator, Scripted, serve
from asr_async.emulator.huawei import auth as huawei_auth
from asr_async.emulator.huawei import rest as huawei_rest

from ...support.threads import run_in_thread
from ...support.virtual_time import run_virtual

SILENT = Scripted([])
TOKEN = {"X-Auth-Token": "any"}
TABLE = {"name": "places", "language": "chinese_mandarin", "contents": ["华为云", "HUAWEI"]}

pytestmark = pytest.mark.usefixtures("no_proxy_for_loopback")


# --- tokens -----------------------------------------------------------------------------------------------------------


def token_request(user: str = "AK", password: str = "secret", scope: Any = ...) -> dict[str, Any]:
    auth: dict[str, Any] = {
        "identity": {
            "methods": ["password"],
            "password": {"user": {"name": user, "password": password, "domain": {"name": "account"}}},
        },
        "scope": {"project": {"name": "cn-north-4"}} if scope is ... else scope,
    }
    return {"auth": {name: value for name, value in auth.items() if value is not None}}


async def request_token(emulator: Emulator, request: Any) -> tuple[int, Any, Any]:
    """Request a token from IAM; return status, headers and body."""
    body = request if isinstance(request, (str, bytes)) else json.dumps(request)
    async with aiohttp.ClientSession() as http, http.post(f"{emulator.url}/v3/auth/tokens", data=body) as response:
        return response.status, response.headers, await response.json()


async def token(emulator: Emulator, **request: Any) -> dict[str, str]:
    status, headers, _ = await request_token(emulator, token_request(**request))
    assert status == 201
    return {"X-Auth-Token": headers["X-Subject-Token"]}


async def handshake(emulator: Emulator, headers: dict[str, str]) -> tuple[int, str, str]:
    """Attempt a handshake; return its status, with code and text if it is rejected."""
    url = f"{emulator.huawei_url}/v1/p1/rasr/short-stream"
    try:
        async with websockets.connect(url, additional_headers=headers, proxy=None):
            return 101, "", ""
    except websockets.InvalidStatus as error:
        body = json.loads(error.response.body or b"")
        return error.response.status_code, body["error_code"], body["error_msg"]


@pytest.mark.parametrize("api_keys", [None, {"AK"}, {"AK": "secret"}])
@pytest.mark.parametrize("scope", [{"project": {"name": "cn-north-4"}}, {"project": {"id": "p1"}}])
async def test_a_token_for_a_project_is_accepted(api_keys: Any, scope: Any) -> None:
    async with serve(SILENT, api_keys=api_keys) as emulator:
        assert await handshake(emulator, await token(emulator, scope=scope)) == (101, "", "")


async def test_the_response_contains_the_expiry_of_the_token() -> None:
    async with serve(SILENT) as emulator:
        status, headers, body = await request_token(emulator, token_request())
    assert status == 201
    assert headers["X-Subject-Token"]
    assert headers["X-Request-Id"]
    issued_at, expires_at = (datetime.fromisoformat(body["token"].pop(name)) for name in ("issued_at", "expires_at"))
    assert expires_at - issued_at == timedelta(hours=24)
    assert body == {
        "token": {
            "methods": ["password"],
            "project": {"name": "cn-north-4"},
            "user": {"name": "AK", "domain": {"name": "account"}},
        }
    }
    assert headers["X-Subject-Token"] not in json.dumps(body)


@pytest.mark.parametrize(
    ("api_keys", "user", "password", "status"),
    [
        ({"AK": "secret"}, "AK", "wrong", 401),
        ({"AK": "secret"}, "BK", "secret", 401),
        ({"AK"}, "BK", "secret", 401),
        ({"AK"}, "AK", "whatever", 201),
        (None, "some-user", "whatever", 201),
    ],
)
async def test_only_a_known_user_with_the_right_password_receives_a_token(
    api_keys: Any, user: str, password: str, status: int
) -> None:
    async with serve(SILENT, api_keys=api_keys) as emulator:
        got, headers, body = await request_token(emulator, token_request(user, password))
    assert got == status
    if status == 401:
        assert "X-Subject-Token" not in headers
        assert body == {
            "error": {"code": 401, "message": "The username or password is wrong.", "title": "Unauthorized"}
        }


@pytest.mark.parametrize(
    "request_body",
    [
        "not json",
        b'"\xff"',
        "[" * 100_000,
        [],
        {},
        {"auth": {}},
        {"auth": {"identity": {"methods": ["token"], "token": {}}}},
        {"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "AK"}}}}},
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_malformed_request_for_a_token_is_a_bad_request(request_body: Any) -> None:
    async with serve(SILENT) as emulator:
        status, _, body = await request_token(emulator, request_body)
    assert status == 400
    assert (body["error"]["code"], body["error"]["title"]) == (400, "Bad Request")
    assert body["error"]["message"].startswith("The request body is invalid: ")


@pytest.mark.parametrize("scope", [None, {}, {"domain": {"name": "account"}}])
@pytest.mark.parametrize("api_keys", [None, {"AK": "secret"}])
async def test_a_token_without_a_project_is_issued_and_rejected_later(api_keys: Any, scope: Any) -> None:
    async with serve(SILENT, api_keys=api_keys) as emulator:
        status, code, _ = await handshake(emulator, await token(emulator, scope=scope))
    assert (status, code) == (401, "SIS.0101")


@pytest.mark.parametrize("api_keys", [{"AK"}, {"AK": "secret"}])
@pytest.mark.parametrize("unknown_token", ["unknown", "AK"])
async def test_a_token_that_was_not_issued_is_rejected_if_keys_are_configured(
    api_keys: Any, unknown_token: str
) -> None:
    async with serve(SILENT, api_keys=api_keys) as emulator:
        status, code, message = await handshake(emulator, {"X-Auth-Token": unknown_token})
    assert (status, code) == (401, "APIGW.0301")
    assert message == "Incorrect IAM authentication information: decrypt token fail"


@pytest.mark.parametrize("api_keys", [None, {"AK": "secret"}])
def test_a_token_expires_after_24_hours(api_keys: Any) -> None:
    async def scenario() -> None:
        async with serve(SILENT, api_keys=api_keys) as emulator:
            credentials = await token(emulator)
            await asyncio.sleep(24 * 3600 - 10)
            assert (await handshake(emulator, credentials))[0] == 101
            await asyncio.sleep(20)
            expired = "Incorrect IAM authentication information: token expired"
            assert await handshake(emulator, credentials) == (401, "APIGW.0301", expired)

    run_virtual(scenario)


async def test_the_number_of_stored_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huawei_auth, "MAX_TOKENS", 2)
    async with serve(SILENT, api_keys={"AK": "secret"}) as emulator:
        tokens = [await token(emulator) for _ in range(3)]
        assert [(await handshake(emulator, each))[0] for each in tokens] == [401, 101, 101]


# --- hot-word tables --------------------------------------------------------------------------------------------------


class Rest:
    """A plain HTTP client for the tables of one project."""

    def __init__(self, http: aiohttp.ClientSession, emulator: Emulator, project_id: str = "p1") -> None:
        self._http = http
        self._url = f"{emulator.url}/v1/{project_id}/asr/vocabularies"

    async def send(self, method: str, vocabulary_id: str = "", body: Any = None) -> tuple[int, Any]:
        """Send a request; return status and body."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"{self._url}/{vocabulary_id}" if vocabulary_id else self._url
        # as a file: aiohttp warns about a large body in bytes
        async with self._http.request(method, url, data=body and io.BytesIO(data), headers=TOKEN) as response:
            assert response.headers["X-Request-Id"]
            text = await response.text()
            return response.status, json.loads(text) if text else None

    async def create(self, **table: Any) -> str:
        status, body = await self.send("POST", body={**TABLE, **table})
        assert (status, set(body)) == (200, {"vocabulary_id"})
        return str(body["vocabulary_id"])

    async def refusal(self, method: str = "POST", vocabulary_id: str = "", **table: Any) -> tuple[str, str]:
        """Send a request that is refused; return code and text of the error."""
        given = {name: value for name, value in {**TABLE, **table}.items() if value is not ...}
        status, body = await self.send(method, vocabulary_id, given)
        assert (status, set(body)) == (400, {"error_code", "error_msg"})
        return body["error_code"], body["error_msg"]


@contextlib.asynccontextmanager
async def tables() -> AsyncIterator[Rest]:
    async with serve(SILENT) as emulator, aiohttp.ClientSession() as http:
        yield Rest(http, emulator)


async def test_a_table_from_its_creation_to_its_deletion() -> None:
    async with tables() as rest:
        assert await rest.send("GET") == (200, {"count": 0, "result": []})
        vocabulary_id = await rest.create(description="where")
        summary = {
            "vocabulary_id": vocabulary_id,
            "name": "places",
            "language": "chinese_mandarin",
            "description": "where",
        }
        assert await rest.send("GET") == (200, {"count": 1, "result": [summary]})
        assert await rest.send("GET", vocabulary_id) == (200, {**summary, "contents": TABLE["contents"]})
        other = {"name": "people", "language": "english", "contents": ["ANNA"]}
        assert await rest.send("PUT", vocabulary_id, other) == (200, {"vocabulary_id": vocabulary_id})
        replaced = {"vocabulary_id": vocabulary_id, "description": "", **other}
        assert await rest.send("GET", vocabulary_id) == (200, replaced)
        assert await rest.send("DELETE", vocabulary_id) == (204, None)
        assert await rest.send("GET") == (200, {"count": 0, "result": []})


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_an_unknown_table_is_named_in_the_error(method: str) -> None:
    async with tables() as rest:
        await rest.create()
        assert await rest.refusal(method, "gone") == ("SIS.0201", "vocabulary gone not found")


async def test_tables_belong_to_their_project() -> None:
    async with serve(SILENT) as emulator, aiohttp.ClientSession() as http:
        mine, yours = Rest(http, emulator, "p1"), Rest(http, emulator, "p2")
        vocabulary_id = await mine.create()
        assert await yours.send("GET") == (200, {"count": 0, "result": []})
        assert (await yours.refusal("GET", vocabulary_id))[0] == "SIS.0201"
        await yours.create()  # a name is unique in its own project only


@pytest.mark.parametrize(
    ("table", "code", "named"),
    [
        ({"name": ...}, "SIS.0012", "'name' is missing"),
        ({"language": ...}, "SIS.0012", "'language' is missing"),
        ({"contents": ...}, "SIS.0012", "'contents' is missing"),
        ({"name": 5}, "SIS.0032", "$.name"),
        ({"contents": "A"}, "SIS.0032", "$.contents"),
        ({"contents": [1]}, "SIS.0032", "$.contents"),
        ({"name": ""}, "SIS.0204", "'name' is invalid"),
        ({"name": "a" * 33}, "SIS.0204", "'name' is invalid"),
        ({"name": "two words"}, "SIS.0204", "'name' is invalid"),
        ({"name": "名"}, "SIS.0204", "'name' is invalid"),
        ({"language": "klingon"}, "SIS.0205", "chinese_mandarin or english"),
        ({"description": "x" * 256}, "SIS.0032", "'description' is invalid"),
        ({"contents": []}, "SIS.0203", "1 to 10000 words"),
        ({"contents": ["A"] * 10_001}, "SIS.0203", "1 to 10000 words"),
        ({"contents": ["GOOD", "bad"]}, "SIS.0203", "'bad' must consist of capital letters or Han characters"),
        ({"contents": ["TWO WORDS"]}, "SIS.0203", "'TWO WORDS'"),
        ({"contents": ["MATE50"]}, "SIS.0203", "'MATE50'"),
        ({"contents": [""]}, "SIS.0203", "''"),
        ({"contents": ["A" * 65]}, "SIS.0203", "more than 64 characters"),
        ({"contents": ["华" * 33]}, "SIS.0203", "more than 32 characters"),
        ({"contents": ["华为/0"]}, "SIS.0203", "'华为/0'"),
        ({"contents": ["华为/11"]}, "SIS.0203", "'华为/11'"),
        ({"contents": ["华为=" + "x" * 33]}, "SIS.0203", "'华为="),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_table_is_checked(method: str, table: dict[str, Any], code: str, named: str) -> None:
    async with tables() as rest:
        vocabulary_id = await rest.create(name="first") if method == "PUT" else ""
        got = await rest.refusal(method, vocabulary_id, **table)
        assert got[0] == code
        assert named in got[1]


@pytest.mark.parametrize("body", [b"not json", b'{"name": "\xff"}', b"[]"])
async def test_a_body_that_cannot_be_read_is_an_error(body: bytes) -> None:
    async with tables() as rest:
        status, answer = await rest.send("POST", body=body)
        assert (status, answer["error_code"]) == (400, "SIS.0032")


async def test_the_largest_table_is_accepted() -> None:
    async with tables() as rest:
        await rest.create(
            name="Ab_-#" + "x" * 27,
            description="说" * 255,
            contents=["A" * 64, "华" * 32, "华为/1", "华为/10", "三十=30 %!", *["字" * 32] * 9_995],
        )


async def test_a_name_is_unique_and_an_update_may_keep_it() -> None:
    async with tables() as rest:
        first, second = await rest.create(name="one"), await rest.create(name="two")
        taken = ("SIS.0204", "'name' is invalid: there is a vocabulary one already")
        assert await rest.refusal(name="one") == taken
        assert await rest.refusal("PUT", second, name="one") == taken
        assert (await rest.send("PUT", first, {**TABLE, "name": "one"}))[0] == 200


async def test_a_project_has_at_most_100_tables() -> None:
    async with tables() as rest:
        ids = [await rest.create(name=f"n{number}") for number in range(100)]
        assert await rest.refusal(name="more") == ("SIS.0208", "a project can have at most 100 vocabularies")
        await rest.send("DELETE", ids[0])
        await rest.create(name="more")


async def test_the_number_of_stored_projects_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huawei_rest, "MAX_PROJECTS", 1)
    async with serve(SILENT) as emulator, aiohttp.ClientSession() as http:
        first, second = Rest(http, emulator, "p1"), Rest(http, emulator, "p2")
        vocabulary_id = await first.create()
        await first.create(name="another")
        assert (await second.refusal())[0] == "SIS.0206"
        assert [table["name"] for table in (await first.send("GET"))[1]["result"]] == ["places", "another"]
        await first.send("DELETE", vocabulary_id)
        assert (await second.refusal())[0] == "SIS.0206"


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_requests_about_tables_need_credentials(method: str) -> None:
    async with (
        serve(SILENT) as emulator,
        aiohttp.request(method, f"{emulator.url}/v1/p1/asr/vocabularies", json=TABLE) as response,
    ):
        assert response.status == 401
        assert (await response.json())["error_code"] == "APIGW.0301"


async def test_a_start_may_name_a_table_of_its_project() -> None:
    async with serve(SILENT) as emulator, aiohttp.ClientSession() as http:
        vocabulary_id = await Rest(http, emulator, "p1").create()
        config = {
            "audio_format": "pcm16k16bit",
            "property": "chinese_16k_general",
            "vocabulary_id": vocabulary_id,
        }
        kinds = []
        for project_id in ("p1", "p2"):
            url = f"{emulator.huawei_url}/v1/{project_id}/rasr/short-stream"
            async with websockets.connect(url, additional_headers=TOKEN, proxy=None) as ws:
                await ws.send(json.dumps({"command": "START", "config": config}))
                kinds.append(json.loads(await ws.recv())["resp_type"])
        assert kinds == ["START", "ERROR"]


# --- the vendor's REST SDK, unmodified --------------------------------------------------------------------------------


def official(emulator: Emulator, *, ak: str = "AK", sk: str = "secret") -> Any:
    credentials = BasicCredentials(ak, sk, "p1")
    return SisClient.new_builder().with_credentials(credentials).with_endpoint(emulator.url).build()


async def test_the_official_sdk_manages_a_table() -> None:
    async with serve(SILENT, api_keys={"AK": "secret"}) as emulator:
        sdk = official(emulator)
        create = CreateVocabularyRequest(body=PostCreateVocabReq(**TABLE, description="where"))
        vocabulary_id = (await run_in_thread(sdk.create_vocabulary, create)).vocabulary_id
        listed = await run_in_thread(sdk.show_vocabularies, ShowVocabulariesRequest(offset=0, limit=10))
        assert [(table.vocabulary_id, table.name) for table in listed.result] == [(vocabulary_id, "places")]
        assert listed.count == 1
        update = PutUpdateVocabReq(name="people", language="english", contents=["ANNA"])
        await run_in_thread(sdk.update_vocabulary, UpdateVocabularyRequest(vocabulary_id=vocabulary_id, body=update))
        shown = await run_in_thread(sdk.show_vocabulary, ShowVocabularyRequest(vocabulary_id=vocabulary_id))
        assert (shown.name, shown.language, shown.contents) == ("people", "english", ["ANNA"])
        await run_in_thread(sdk.delete_vocabulary, DeleteVocabularyRequest(vocabulary_id=vocabulary_id))
        with pytest.raises(ClientRequestException) as caught:
            await run_in_thread(sdk.show_vocabulary, ShowVocabularyRequest(vocabulary_id=vocabulary_id))
        assert caught.value.error_code == "SIS.0201"
        assert caught.value.request_id


@pytest.mark.parametrize(
    ("credentials", "reason"),
    [({"sk": "wrong"}, "verify aksk signature fail"), ({"ak": "BK"}, "verify ak fail, no such access key")],
)
async def test_the_official_sdk_with_wrong_keys_is_rejected(credentials: dict[str, str], reason: str) -> None:
    async with serve(SILENT, api_keys={"AK": "secret"}) as emulator:
        sdk = official(emulator, **credentials)
        with pytest.raises(ClientRequestException) as caught:
            await run_in_thread(sdk.show_vocabularies, ShowVocabulariesRequest())
    assert (caught.value.status_code, caught.value.error_code) == (401, "APIGW.0301")
    assert caught.value.error_msg == f"Incorrect IAM authentication information: {reason}"


async def test_the_signature_covers_the_body() -> None:
    path, body = "/v1/p1/asr/vocabularies", json.dumps(TABLE)
    async with serve(SILENT, api_keys={"AK": "secret"}) as emulator, aiohttp.ClientSession() as http:
        request = SdkRequest(
            method="POST",
            schema="http",
            host=emulator.address,
            resource_path=path,
            query_params=[],
            header_params={"Content-Type": "application/json"},
            body=body,
        )
        headers = Signer(BasicCredentials("AK", "secret", "p1")).sign(request).header_params
        for sent, status in ((body + " ", 401), (body, 200)):
            async with http.post(emulator.url + path, data=sent, headers=headers) as response:
                assert response.status == status
