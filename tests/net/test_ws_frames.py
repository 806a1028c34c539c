"""What is written and read in one step is what the library writes and reads in many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from asr_async._net.ws_frames import KEYS_AT_ONCE, binary_frame, text_of, wire_bytes


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
    masks = {binary_frame(b"the same")[2:6] for _ in range(2 * KEYS_AT_ONCE + 1)}
    assert len(masks) >= 2 * KEYS_AT_ONCE  # which leaves room for one that comes twice by chance


# --- what comes in ---------------------------------------------------------------------------------------------------


def sent(data: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True, mask: bool = False) -> bytes:
    """A frame as the library's server would send it."""
    return Frame(opcode, data, fin).serialize(mask=mask)


@given(st.text(max_size=40_000))
def test_a_text_in_one_frame_is_read(text: str) -> None:
    data = text.encode()
    assert text_of(memoryview(sent(data))) == (text if len(data) < 65_536 else None)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535])
def test_at_the_boundaries_of_the_length_field_a_text_is_read(size: int) -> None:
    assert text_of(memoryview(sent(b"x" * size))) == "x" * size


@given(st.text(max_size=300), st.data())
def test_a_text_of_which_something_is_missing_or_behind_which_something_stands_is_left_to_the_library(
    text: str, data: st.DataObject
) -> None:
    frame = sent(text.encode())
    cut = data.draw(st.integers(0, len(frame) - 1))
    assert text_of(memoryview(frame)[:cut]) is None
    assert text_of(memoryview(frame + data.draw(st.binary(min_size=1, max_size=9)))) is None


@pytest.mark.parametrize(
    "data",
    [
        sent(b"begun", fin=False),
        sent(b"goes on", Opcode.CONT),
        sent(b"bytes", Opcode.BINARY),
        sent(b"there?", Opcode.PING),
        sent(b"here", Opcode.PONG),
        sent(b"\x03\xe8", Opcode.CLOSE),
        sent(b"a secret", mask=True),
        sent(b"x" * 65_536),
        b"\xc1" + sent(b"compressed")[1:],
        sent(b"\xff\xfe"),
    ],
    ids=["first", "later", "binary", "ping", "pong", "close", "masked", "long", "extended", "not UTF-8"],
)
def test_what_is_no_text_of_is_left_to_the_library(data: bytes) -> None:
    assert text_of(memoryview(data)) is None


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_a_frame_takes_so_many_bytes(size: int) -> None:
    assert wire_bytes(size) == len(sent(bytes(size)))
