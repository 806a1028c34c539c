"""The AK/SK signature, compared with the official signers and the published example of the signing guide."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import Signer
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

from asr_async import ConfigurationError
from asr_async.vendors.huawei.signing import canonical_request, host_header, sign, signature

from ...support import paths

VECTORS = json.loads((paths.VECTORS / "huawei_signing_vectors.json").read_text())
OFFICIAL = VECTORS["vectors"]
PUBLISHED = VECTORS["published"]

URL = "wss://sis-ext.cn-north-4.myhuaweicloud.com/v1/pid/rasr/continue-stream"
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRET = "FakeSecretKey0123456789"


def instant(vector: Any) -> datetime:
    return datetime.strptime(vector["date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def signed(vector: Any) -> dict[str, str]:
    return sign(
        vector["method"],
        vector["url"],
        vector["extra_headers"],
        vector["body"].encode(),
        ak=vector["ak"],
        sk=vector["sk"],
        at=instant(vector),
    )


def sign_handshake(url: str = URL, at: datetime = AT, **headers: str) -> dict[str, str]:
    return sign("GET", url, headers, b"", ak="AK", sk=SECRET, at=at)


def test_the_vectors_are_all_there() -> None:
    assert (len(OFFICIAL), len(PUBLISHED)) == (19, 1)
    assert all(vector["agrees_with_huaweicloudsdkcore"] for vector in OFFICIAL)


@pytest.mark.parametrize("vector", OFFICIAL, ids=lambda vector: vector["name"])
def test_headers_equal_those_of_the_official_sdk(vector: Any) -> None:
    theirs = dict(vector["final_headers"])
    assert theirs["Authorization"] == vector["authorization"]
    # the client sends its own Host; content-length is left out, as the documents require
    assert theirs.pop("host") == host_header(vector["url"])
    del theirs["content-length"]
    assert signed(vector) == theirs


@pytest.mark.parametrize("vector", [*OFFICIAL, *PUBLISHED], ids=lambda vector: vector["name"])
def test_the_canonical_request_and_its_signature_equal_the_official_ones_to_the_byte(vector: Any) -> None:
    headers = {**vector["extra_headers"], "X-Sdk-Date": vector["date"], "Host": host_header(vector["url"])}
    canonical = canonical_request(vector["method"], vector["url"], headers, vector["body"].encode())
    assert canonical == vector["canonical_request"]
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    if "string_to_sign" in vector:
        assert f"SDK-HMAC-SHA256\n{vector['date']}\n{hashed}" == vector["string_to_sign"]
    else:
        assert hashed == vector["canonical_request_sha256"]
    assert signature(vector["sk"], vector["date"], canonical) == vector["signature"]


@pytest.mark.parametrize("vector", PUBLISHED, ids=lambda vector: vector["name"])
def test_the_published_example_is_signed_as_published(vector: Any) -> None:
    authorization = signed(vector)["Authorization"]
    assert authorization == (
        f"SDK-HMAC-SHA256 Access={vector['ak']}, SignedHeaders=content-type;host;x-sdk-date, "
        f"Signature={vector['signature']}"
    )


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("wss://example.com/v1", "example.com"),
        ("wss://example.com:443/v1", "example.com"),
        ("wss://example.com:80/v1", "example.com:80"),
        ("ws://example.com:80/v1", "example.com"),
        ("ws://example.com:443/v1", "example.com:443"),
        ("ws://127.0.0.1:8765/v1", "127.0.0.1:8765"),
        ("ws://[::1]:8765/v1", "[::1]:8765"),
        ("wss://[::1]/v1", "[::1]"),
        ("wss://Example.COM/v1", "example.com"),
        ("wss://bücher.example/v1", "xn--bcher-kva.example"),
        ("wss://user:pass@example.com/v1", "example.com"),
    ],
)
def test_the_host_that_is_signed_is_the_host_that_the_websocket_client_sends(url: str, host: str) -> None:
    assert host_header(url) == host
    assert ClientProtocol(parse_uri(url)).connect().headers["Host"] == host


def test_rest_urls_lose_their_own_port_too() -> None:
    assert host_header("https://example.com:443/v1") == "example.com"
    assert host_header("http://example.com:80/v1") == "example.com"
    assert host_header("https://example.com:8443/v1") == "example.com:8443"


def test_an_explicit_default_port_and_the_scheme_make_no_difference() -> None:
    with_port = URL.replace(".com/", ".com:443/")
    assert sign_handshake(with_port) == sign_handshake() == sign_handshake(URL.replace("wss:", "https:"))


def test_host_is_not_among_the_returned_headers_because_two_of_them_are_refused() -> None:
    assert "host" not in {name.lower() for name in sign_handshake()}
    assert sign_handshake(Host="elsewhere.example") == sign_handshake()


def test_headers_of_an_earlier_signature_are_replaced() -> None:
    old = sign_handshake(at=AT - timedelta(hours=1))
    assert sign("GET", URL, old, b"", ak="AK", sk=SECRET, at=AT) == sign_handshake()


def test_temporary_keys_send_and_sign_their_token() -> None:
    headers = sign("GET", URL, {"X-Security-Token": " token== "}, b"", ak="AK", sk=SECRET, at=AT)
    assert headers["X-Security-Token"] == "token=="
    assert "SignedHeaders=host;x-sdk-date;x-security-token," in headers["Authorization"]


def test_a_content_hash_header_replaces_the_hash_of_the_body() -> None:
    headers = {"X-Sdk-Content-Sha256": "UNSIGNED-PAYLOAD", "Host": "h", "X-Sdk-Date": "d"}
    assert canonical_request("POST", "https://h/", headers, b"body").endswith("\nUNSIGNED-PAYLOAD")


def test_a_query_with_empty_parts_is_signed_without_them() -> None:
    canonical = canonical_request("GET", "https://h/p?&b=2&&=x&a=1&", {"Host": "h"}, b"")
    assert canonical.split("\n")[:3] == ["GET", "/p/", "a=1&b=2"]


def test_an_instant_of_another_time_zone_is_written_in_utc() -> None:
    at = AT.astimezone(timezone(timedelta(hours=8)))
    assert sign_handshake(at=at)["X-Sdk-Date"] == "20260102T030405Z"
    assert sign_handshake(at=at) == sign_handshake()


@pytest.mark.parametrize(
    ("url", "at", "text"),
    [
        (URL, AT.replace(tzinfo=None), "must have a time zone"),
        ("/v1/pid", AT, "the URL has no host"),
        ("wss://example.com:port/", AT, "the URL's port is not a number from 0 to 65535"),
    ],
)
def test_a_request_that_cannot_be_signed_is_refused_without_the_secret(url: str, at: datetime, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text) as caught:
        sign_handshake(url, at)
    assert SECRET not in str(caught.value)


def test_the_secret_is_not_sent() -> None:
    assert SECRET not in repr(sign_handshake())


# --- random requests -------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)
HEADER_NAMES = st.from_regex(r"X-[A-Z][a-z0-9]{1,8}", fullmatch=True).filter(lambda name: name != "X-Sdk-Date")
HEADER_VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)


@settings(max_examples=300, deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    host=st.from_regex(r"[a-z][a-z0-9-]{0,10}\.example(:[1-9][0-9]{3})?", fullmatch=True),
    path=st.lists(TEXT, min_size=1, max_size=5),
    query=st.lists(st.tuples(TEXT.filter(bool), TEXT), max_size=4),
    headers=st.dictionaries(HEADER_NAMES, HEADER_VALUES, max_size=3),
    body=st.binary(max_size=40),
    ak=st.from_regex(r"[A-Z0-9]{20}", fullmatch=True),
    sk=st.from_regex(r"[A-Za-z0-9]{40}", fullmatch=True),
    at=st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)),
)
def test_the_official_signer_makes_the_same_authorization_for_random_requests(
    *,
    method: str,
    host: str,
    path: list[str],
    query: list[tuple[str, str]],
    headers: dict[str, str],
    body: bytes,
    ak: str,
    sk: str,
    at: datetime,
) -> None:
    resource = "/" + "/".join(quote(part, safe="") for part in path)
    theirs = SdkRequest(
        method=method,
        schema="https",
        host=host,
        resource_path=resource,
        query_params=list(query),
        header_params={**headers, "X-Sdk-Date": f"{at:%Y%m%dT%H%M%SZ}"},
        body=body,
    )
    Signer(BasicCredentials(ak, sk)).sign(theirs)

    url = f"https://{host}{resource}" + "".join(
        f"{'&' if number else '?'}{quote(key, safe='')}={quote(value, safe='')}"
        for number, (key, value) in enumerate(query)
    )
    ours = sign(method, url, headers, body, ak=ak, sk=sk, at=at)
    assert ours["Authorization"] == theirs.header_params["Authorization"]
