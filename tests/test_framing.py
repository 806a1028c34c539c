"""A binary frame is what the library's own server reads back as one message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from asr_async._framing import binary_frame


def read_back(data: bytes) -> list[tuple[Opcode, bool, bytes]]:
    """What a server gets from it, which takes only frames that are masked and whole."""
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
def test_frames_behind_each_other_stay_apart(payloads: list[bytes]) -> None:
    frames = read_back(b"".join(map(binary_frame, payloads)))
    assert [payload for _, _, payload in frames] == payloads


def test_a_view_of_a_buffer_is_read_back_as_what_it_shows() -> None:
    buffer = bytearray(range(200))
    assert read_back(binary_frame(memoryview(buffer)[50:80])) == [(Opcode.BINARY, True, bytes(range(50, 80)))]
    assert buffer == bytearray(range(200)), "masking is done on a copy"


def test_each_frame_has_a_mask_of_its_own() -> None:
    masks = {binary_frame(b"the same")[2:6] for _ in range(100)}
    assert len(masks) == 100
