"""The body of a refusal in every form: JSON of any vendor, HTML, plain text, nothing, other encodings, nonsense."""

from __future__ import annotations

import pytest

from asr_async.vendors.error_body import find_header, read_error_body

GRANT = "requested grant not found in SaaS storage: service not activated"
NGINX = (
    b"<html>\r\n<head><title>403 Forbidden</title><style>h1 {color: red}</style></head>\r\n<body>\r\n"
    b"<center><h1>403 Forbidden</h1></center>\r\n<hr><center>nginx &amp; co</center>\r\n</body>\r\n</html>\r\n"
    b"<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n"
)


@pytest.mark.parametrize(
    ("body", "code", "text", "request_id"),
    [
        (b'{"code":"InvalidApiKey","message":"No.","request_id":"r-1"}', "InvalidApiKey", "No.", "r-1"),
        (b'{"error_code":"APIGW.0301","error_msg":"No.","request_id":"r-1"}', "APIGW.0301", "No.", "r-1"),
        (b'{"error":{"code":"invalid_api_key","message":"No."},"request_id":"r-1"}', "invalid_api_key", "No.", "r-1"),
        (b'{"error":{"code":null,"message":"No.","type":"insufficient_quota"}}', "insufficient_quota", "No.", None),
        (b'{"error":{"code":401,"message":"No.","title":"Unauthorized"}}', "401", "No.", None),
        (b'{"header":{"error_code":"X","error_message":"No.","task_id":"t"}}', "X", "No.", None),
        (b'{"Code":"X","Message":"No.","RequestId":"r-1"}', "X", "No.", "r-1"),
        (b'{"errors":[{"status":401,"detail":"No."}]}', "", "No.", None),
        (b'{"error":"No."}', "", "No.", None),
        (b'{"title":"No."}', "", "No.", None),
        (b'{"success":false,"hint":"No."}', "", '{"success":false,"hint":"No."}', None),
        (b'"No."', "", "No.", None),
        (b'["No."]', "", '["No."]', None),
        (b'{"code":"X","message":7,"request_id":{}}', "X", "7", None),
        (b'{"code":"X","request_id":"r-1"}', "X", "", "r-1"),
        (b"\xef\xbb\xbf" + b'{"message":"No."}', "", "No.", None),
        (GRANT.encode(), "", GRANT, None),
        ("服务未开通".encode("gbk"), "", "服务未开通", None),
        (b"caf\xe9 closed: \xff no service here\xff", "", "caf\ufffd closed: \ufffd no service here\ufffd", None),
        (NGINX, "", "403 Forbidden nginx & co", None),
        (b"<script>if (a) {}</script>Out of order", "", "Out of order", None),
        (b"<Error><Code>AccessDenied</Code><Message>No.</Message></Error>", "", "AccessDenied No.", None),
        (b"a < b > c", "", "a < b > c", None),
    ],
)
def test_the_code_the_text_and_the_id_are_found(body: bytes, code: str, text: str, request_id: str | None) -> None:
    details = read_error_body(body)
    assert (details.code, details.text, details.request_id) == (code, text, request_id)
    assert details.raw


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"404",
        b" \r\n",
        b'{"error_code": null}',
        b'{"message": "\xff"}',
        b"\x1f\x8b\x08\x00" + bytes(range(128, 256)) * 4,
        b"<" * 100_000,
        b"<script>" * 10_000,
        b"[" * 100_000,
    ],
)
def test_a_body_without_a_word_has_no_text(body: bytes) -> None:
    details = read_error_body(body)
    assert (details.code, details.text) == ("", "")
    assert details.raw is not None


def test_an_empty_body_has_nothing() -> None:
    details = read_error_body(b"")
    assert (details.code, details.text, details.request_id, details.raw) == ("", "", None, None)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' * 5_000,
        b'{"code":' + b"1" * 400 + b"}",
        b'{"message":"' + b"x" * 100_000 + b'"}',
        b"x y " * 100_000,
        b'{"code":"' + b"C" * 5_000 + b'","message":"m"}',
        b'{"a":{"b":{"message":"deep"}}' + b',"c":[]' * 1_000 + b"}",
    ],
)
def test_sizes_are_bounded(body: bytes) -> None:
    details = read_error_body(body)
    assert len(details.text) <= 200
    assert len(details.code) <= 100


def test_the_text_is_one_printable_line() -> None:
    details = read_error_body(b"\x1b[31mfirst\r\n\tsecond\x00\x07 \xc2\x9b \xe2\x80\xae third")
    assert details.text == "[31mfirst second third"
    assert details.raw is not None
    assert details.raw.startswith("\x1b[31m")


def test_a_header_is_found_in_any_case() -> None:
    assert find_header({"retry-AFTER": "3"}, "Retry-After") == "3"
    assert find_header({}, "Retry-After") == ""
