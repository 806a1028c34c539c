"""Packets of compressed audio, the base of their parsers, and tracks, which cut a stream of packets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import msgspec

__all__ = ["Block", "Cut", "NotCuttableError", "Packet", "Parser", "Track", "Writer"]


class NotCuttableError(Exception):
    """The bytes are not in a container that can be cut; the text gives the reason."""


class Packet(msgspec.Struct, frozen=True, gc=False):
    """The smallest part of a stream that a decoder can begin with.

    Attributes:
        data: its bytes; in containers with pages (Ogg) without those of the page.
        start: the samples of the source before it.
        samples: its length; 0 for headers, tags and bytes that belong to no packet.
    """

    data: bytes
    start: int
    samples: int


class Block(msgspec.Struct, frozen=True, gc=False):
    """A part of the source as it came: one packet, or a page with those that it completes.

    The source is all its blocks, in order.
    """

    data: bytes
    packets: tuple[Packet, ...]


class Writer(Protocol):
    """A writer of the packets behind a cut, for containers in which bytes depend on those before them."""

    def write(self, packets: Sequence[Packet]) -> bytes:
        """Return the bytes of the next packets."""
        ...


class Cut(msgspec.Struct, frozen=True):
    """A place at which a stream begins anew.

    Attributes:
        head: the bytes that are sent first, before any packet.
        resume: the index of the packet from which on all packets are sent behind the head.
        begin_ms: the place in the source that is time 0 for a decoder of the new stream.
        writer: the writer of the packets; None if they are sent as they came.
    """

    head: bytes
    resume: int
    begin_ms: float
    writer: Writer | None = None


class Track:
    """The rules of a stream of packets that need nothing but the packets shortly before them."""

    warm_up_ms: float = 40.0
    """The audio that a decoder is given before the place of a cut, since it predicts from the past."""

    def __init__(self, rate: int, *, header: bytes = b"", skip: int = 0) -> None:
        """Count `rate` samples a second; every stream begins with `header`.

        Args:
            rate: the unit of `Packet.start` and `Packet.samples`.
            header: the bytes that every stream begins with.
            skip: the first samples of a stream, which a decoder leaves out if `header` says so (the encoder's delay).
                It does so behind a cut too. So the place of time 0 of a stream is the number of samples before its
                first packet, for decoders that leave them out and for those that do not.
        """
        self.rate = rate
        self.header = header
        self.skip = skip

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.rate} Hz>"

    def end_ms(self, packet: Packet) -> float:
        """Return the place in the source at which a packet ends for a decoder of the whole source."""
        return max(0, packet.start + packet.samples - self.skip) * 1000 / self.rate

    def begin_ms(self, packet: Packet) -> float:
        """Return the place in the source that is time 0 for a decoder that begins at this packet."""
        return packet.start * 1000 / self.rate

    def first_decodable(self, packets: Sequence[Packet]) -> int:  # noqa: ARG002 - the rule of most streams
        """Return the index of the first packet that can be decoded without those before all of these."""
        return 0

    def cut(self, packets: Sequence[Packet], index: int) -> Cut:
        """Return the stream that begins with `packets[index]`, and as few packets before it as decoding it needs."""
        first = self.warm_up_start(packets, index)
        return Cut(self.header, first, self.begin_ms(packets[first]))

    def warm_up_start(self, packets: Sequence[Packet], index: int) -> int:
        """Return the index of the packet with which a decoder begins so that it is ready at `index`."""
        missing = self.warm_up_ms * self.rate / 1000
        while index > 0 and missing > 0:
            index -= 1
            missing -= packets[index].samples
        return index


class Parser(ABC):
    """A parser of one stream. Any chunking of the same bytes yields the same blocks."""

    def __init__(self) -> None:
        self.refusal: str | None = None
        """The reason why the stream cannot be cut: it is in another container. `rest` has the bytes in no block."""
        self.error: str | None = None
        """The reason why the bytes behind the last block cannot be placed in time."""
        # the bytes that are in no block yet
        self._data = bytearray()
        # the bytes at the start of `_data` that are known to begin no packet
        self._noise_bytes = 0

    @property
    @abstractmethod
    def track(self) -> Track:
        """The rules of the stream; known behind the first packet that has a length."""

    def feed(self, data: bytes) -> list[Block]:
        """Add bytes and return the blocks that are complete."""
        self._data += data
        return self._parse(at_end=False)

    def rest(self) -> bytes:
        """Return the bytes that are in no block yet, and forget them."""
        rest, self._data = bytes(self._data), bytearray()
        return rest

    @abstractmethod
    def finish(self) -> list[Block]:
        """Return the rest of the stream at its end."""

    @abstractmethod
    def _parse(self, *, at_end: bool) -> list[Block]:
        """Return the blocks that are complete; at the end of the stream, no more bytes are waited for."""

    def _cut_off(self, size: int) -> bytes:
        """Remove the first bytes and return them."""
        data = bytes(self._data[:size])
        del self._data[:size]
        return data
