"""The reader for refusals that the WebSocket library does not accept, by values."""

from __future__ import annotations

import pytest

from asr_async._net.refusal import Refusal, parse_refusal


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (b"HTTP/1.0 503 Busy\r\nA: b\r\n\r\nbody", Refusal(503, {"A": "b"}, b"body")),
        (b"HTTP/1.1 403\r\n\r\n", Refusal(403, {}, b"")),
        (b"HTTP/1.1 403 \r\nno colon\r\nA :  b c \r\n\r\n\r\n", Refusal(403, {"no colon": "", "A": "b c"}, b"\r\n")),
        (b"HTTP/1.1 403 N\xf6\nA: b\n\nbody", Refusal(403, {"A": "b"}, b"body")),
        (
            b"HTTP/1.1 401 No\r\ntransfer-encoding: CHUNKED\r\n\r\n4;x=y\r\none \r\n3\r\ntwo\r\n0\r\n\r\n",
            Refusal(401, {"transfer-encoding": "CHUNKED"}, b"one two"),
        ),
        (
            b"HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\nrest",
            Refusal(401, {"Transfer-Encoding": "chunked"}, b"rest"),
        ),
        (
            b"HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\nzz",
            Refusal(401, {"Transfer-Encoding": "chunked"}, b""),
        ),
        (b"", None),
        (b"HTTP/1.1 403 No\r\nA: b\r\n", None),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", None),
        (b"HTTP/2 403 No\r\n\r\n", None),
        (b"220 mail.example ESMTP\r\n\r\n", None),
    ],
)
def test_a_malformed_refusal_is_read_as_far_as_it_goes(data: bytes, refusal: Refusal | None) -> None:
    assert parse_refusal(data) == refusal
