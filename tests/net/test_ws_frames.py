"""The fast frames are the frames that the library writes and reads."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from asr_async._net.ws_frames import KEYS_AT_ONCE, _find_mask, _mask, binary_frame, text_of, wire_bytes


def read_back(data: bytes) -> list[tuple[Opcode, bool, bytes]]:
    """Return the frames that a server reads; it accepts only masked ones."""
    server = ServerProtocol(state=OPEN, max_size=None)
    server.receive_data(data)
    assert server.parser_exc is None
    frames = server.events_received()
    return [(frame.opcode, frame.fin, bytes(frame.data)) for frame in frames if isinstance(frame, Frame)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 1_000_000])
def test_at_the_boundaries_of_the_length_field_a_payload_is_read_back(size: int) -> None:
    payload = bytes(number % 251 for number in range(size))
    assert read_back(binary_frame(payload)) == [(Opcode.BINARY, True, payload)]


@given(st.binary(max_size=70_000))
def test_any_payload_is_read_back_as_one_binary_message(payload: bytes) -> None:
    assert read_back(binary_frame(payload)) == [(Opcode.BINARY, True, payload)]


@given(st.lists(st.binary(max_size=300), max_size=10))
def test_consecutive_frames_stay_apart(payloads: list[bytes]) -> None:
    frames = read_back(b"".join(map(binary_frame, payloads)))
    assert [payload for _, _, payload in frames] == payloads


def test_a_view_of_a_buffer_is_read_back_as_its_bytes() -> None:
    buffer = bytearray(range(200))
    assert read_back(binary_frame(memoryview(buffer)[50:80])) == [(Opcode.BINARY, True, bytes(range(50, 80)))]
    assert buffer == bytearray(range(200)), "masking is done on a copy"


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_without_the_compiled_masking_the_bytes_are_the_same(payload: bytes, key: bytes) -> None:
    assert (
        _mask(payload, key)
        == _mask(memoryview(payload), key)
        == bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    )


def test_the_compiled_masking_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websockets.speedups", None)
    assert _find_mask() is _mask


def test_each_frame_has_a_mask_of_its_own() -> None:
    masks = {binary_frame(b"the same")[2:6] for _ in range(2 * KEYS_AT_ONCE + 1)}
    assert len(masks) >= 2 * KEYS_AT_ONCE  # one may occur twice by chance


# --- reading ---------------------------------------------------------------------------------------------------------


def server_frame(data: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True, mask: bool = False) -> bytes:
    """Return a frame as the library's server sends it."""
    return Frame(opcode, data, fin).serialize(mask=mask)


@given(st.text(max_size=40_000))
def test_a_text_in_one_frame_is_read(text: str) -> None:
    data = text.encode()
    assert text_of(memoryview(server_frame(data))) == (text if len(data) < 65_536 else None)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535])
def test_at_the_boundaries_of_the_length_field_a_text_is_read(size: int) -> None:
    assert text_of(memoryview(server_frame(b"x" * size))) == "x" * size


@given(st.text(max_size=300), st.data())
def test_an_incomplete_text_or_one_with_bytes_behind_it_is_left_to_the_library(text: str, data: st.DataObject) -> None:
    frame = server_frame(text.encode())
    cut = data.draw(st.integers(0, len(frame) - 1))
    assert text_of(memoryview(frame)[:cut]) is None
    assert text_of(memoryview(frame + data.draw(st.binary(min_size=1, max_size=9)))) is None


@pytest.mark.parametrize(
    "data",
    [
        server_frame(b"begun", fin=False),
        server_frame(b"goes on", Opcode.CONT),
        server_frame(b"bytes", Opcode.BINARY),
        server_frame(b"there?", Opcode.PING),
        server_frame(b"here", Opcode.PONG),
        server_frame(b"\x03\xe8", Opcode.CLOSE),
        server_frame(b"a secret", mask=True),
        server_frame(b"x" * 65_536),
        b"\xc1" + server_frame(b"compressed")[1:],
        server_frame(b"\xff\xfe"),
    ],
    ids=["first", "later", "binary", "ping", "pong", "close", "masked", "long", "extended", "not UTF-8"],
)
def test_anything_but_a_whole_text_is_left_to_the_library(data: bytes) -> None:
    assert text_of(memoryview(data)) is None


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_the_size_of_a_frame_on_the_wire(size: int) -> None:
    assert wire_bytes(size) == len(server_frame(bytes(size)))
