"""Opus and Speex in Ogg: the packets on its pages, and new pages for the packets behind a cut.

A packet belongs to the page on which it ends. Places are counted in samples of packets, as a decoder outputs them;
granule positions only show how much of the last packet is cut off. Behind a cut, the header pages come again, and the
packets are put on new pages whose granule positions and numbers count from the cut. So a decoder that counts samples
and one that reads granule positions agree. The pre-skip of the header stays: it is left out again, so the place of time
0 is the same number of samples behind the first packet as at the start of the source.

Streams that follow one another (chained) are one source. Streams at the same time (multiplexed) are an error.
"""

from __future__ import annotations

from collections.abc import Sequence

from .ogg_codecs import OggCodec, read_codec
from .ogg_pages import MAX_PAGE_BYTES, NO_GRANULE, Page, page_size, parse_page, write_page
from .packet import Block, Cut, NotCuttableError, Packet, Parser, Track

__all__ = ["OggPacket", "OggParser", "OggTrack", "OggWriter"]

MAX_PACKET_BYTES = 256 * 1024
"""The longest packet that is kept: comment headers may contain pictures, audio is much shorter."""

MAX_HEADER_BYTES = 8 * 1024
"""The longest comment header that is sent again; a longer one is replaced by an empty one."""

MULTIPLEXED = "the Ogg file has several streams at the same time (multiplexed); send one that holds the audio alone"

MAX_SEGMENTS = 255
_SEGMENT_BYTES = 255


class _Stream:
    """One logical stream."""

    __slots__ = ("base", "codec", "first_granule", "has_ended", "headers", "lag", "samples", "serial")

    def __init__(self, serial: int, codec: OggCodec, header: bytes, base: int) -> None:
        self.serial = serial
        self.codec = codec
        self.headers = [header]
        # the place of the stream's first sample in the source
        self.base = base
        # the granule position before the first packet, which is not 0 if the recording began earlier
        self.first_granule: int | None = None
        # the samples by which granule positions stay behind, as those of some encoders do from the first page on
        self.lag = 0
        self.samples = 0
        self.has_ended = False

    @property
    def is_at_audio(self) -> bool:
        return len(self.headers) >= self.codec.header_packets


class OggPacket(Packet, frozen=True, gc=False):
    """A packet of one of the streams."""

    stream: _Stream
    is_last: bool = False


class OggTrack(Track):
    """The rules of one Ogg source."""

    def __init__(self, codec: OggCodec) -> None:
        super().__init__(codec.rate)
        self.warm_up_ms = codec.warm_up_ms

    def end_ms(self, packet: Packet) -> float:
        """Return the place in the source at which a packet ends for a decoder of the whole source."""
        pre_skip = packet.stream.codec.pre_skip if isinstance(packet, OggPacket) else 0
        return max(0, packet.start + packet.samples - pre_skip) * 1000 / self.rate

    def cut(self, packets: Sequence[Packet], index: int) -> Cut:
        """Return the stream that begins with `packets[index]`, and those before it that the decoder needs."""
        resume = self.warm_up_start(packets, index)
        first, target = packets[resume], packets[index]
        assert isinstance(first, OggPacket)  # noqa: S101 - this track's parser makes no others
        assert isinstance(target, OggPacket)  # noqa: S101
        if first.stream is not target.stream:  # a decoder begins each stream of a chain anew
            first, resume = target, index
        writer = OggWriter()
        return Cut(writer.begin(first), resume, self.begin_ms(first), writer)


class OggWriter:
    """The writer of the pages behind a cut."""

    def __init__(self) -> None:
        self._stream: _Stream | None = None
        self._begin = 0
        self._sequence = 0

    def begin(self, packet: OggPacket) -> bytes:
        """Return the header pages of the stream of this packet, which begins anew with it."""
        stream = self._stream = packet.stream
        self._begin, self._sequence = packet.start, 0
        pages = [self._page(Page(serial=stream.serial, granule=0, parts=(stream.headers[0],), is_first=True))]
        for header in stream.headers[1:]:
            is_long = len(header) > MAX_HEADER_BYTES
            pages.append(self._pages_of((stream.codec.short_tags() if is_long else header,), 0, is_last=False))
        return b"".join(pages)

    def write(self, packets: Sequence[Packet]) -> bytes:
        """Return the pages of the next packets."""
        written: list[bytes] = []
        group: list[OggPacket] = []
        segments = 0
        for packet in packets:
            assert isinstance(packet, OggPacket)  # noqa: S101 - this track's parser makes no others
            needed = len(packet.data) // _SEGMENT_BYTES + 1
            if group and (segments + needed > MAX_SEGMENTS or packet.stream is not group[-1].stream):
                written.append(self._write_group(group))
                group, segments = [], 0
            group.append(packet)
            segments += needed
        if group:
            written.append(self._write_group(group))
        return b"".join(written)

    def _write_group(self, group: Sequence[OggPacket]) -> bytes:
        last = group[-1]
        header = b"" if last.stream is self._stream else self.begin(group[0])
        granule = max(0, last.start + last.samples - self._begin - last.stream.lag)
        return header + self._pages_of(tuple(packet.data for packet in group), granule, is_last=last.is_last)

    def _pages_of(self, parts: tuple[bytes, ...], granule: int, *, is_last: bool) -> bytes:
        """Return the pages of packets that fit on one, or of one packet of any length."""
        assert self._stream is not None  # noqa: S101 - `begin` comes first
        serial, full_bytes = self._stream.serial, MAX_SEGMENTS * _SEGMENT_BYTES
        written, is_continued = [], False
        while len(parts) == 1 and len(parts[0]) >= full_bytes:
            page = Page(
                serial=serial,
                granule=NO_GRANULE,
                parts=(parts[0][:full_bytes],),
                is_continued=is_continued,
                ends_in_packet=True,
            )
            written.append(self._page(page))
            parts, is_continued = (parts[0][full_bytes:],), True
        page = Page(serial=serial, granule=granule, parts=parts, is_continued=is_continued, is_last=is_last)
        return b"".join([*written, self._page(page)])

    def _page(self, page: Page) -> bytes:
        self._sequence += 1
        return write_page(page, self._sequence - 1)


class OggParser(Parser):
    """The parser of one Ogg source."""

    def __init__(self) -> None:
        super().__init__()
        self._track: OggTrack | None = None
        self._stream: _Stream | None = None
        # the part of a packet that continues on the next page
        self._partial: bytearray | None = None

    def __repr__(self) -> str:
        return f"<OggParser {self._track!r}>"

    @property
    def track(self) -> Track:
        """The rules of the source."""
        assert self._track is not None  # noqa: S101 - there is a packet, so there was a header
        return self._track

    def finish(self) -> list[Block]:
        """Return the rest of the source at its end: half a page is a block without packets."""
        blocks = self._parse(at_end=True)
        if self._data and self.error is None:
            if self._track is None:
                self.refusal = "the Ogg file has no page"
            else:
                blocks.append(Block(self.rest(), ()))
        return blocks

    def _parse(self, *, at_end: bool) -> list[Block]:
        blocks: list[Block] = []
        while self._data and self.error is None:
            try:
                block = self._next_block(at_end=at_end)
            except NotCuttableError as refusal:
                self.refusal = str(refusal)
                break
            if block is None:
                break
            blocks.append(block)
        return blocks

    def _next_block(self, *, at_end: bool) -> Block | None:
        """Return the next page, or the bytes before it; None if it is not complete."""
        data = self._data
        while True:
            at = data.find(b"OggS", self._noise_bytes)
            if at < 0:  # the last bytes may be the start of a page
                at = max(self._noise_bytes, len(data) - 3)
            self._noise_bytes = at
            if at >= MAX_PAGE_BYTES:
                self._noise_bytes -= MAX_PAGE_BYTES
                return Block(self._cut_off(MAX_PAGE_BYTES), ())
            size = page_size(data[at : at + MAX_PAGE_BYTES])
            if size is None or len(data) - at < size:
                if not (at_end and data.find(b"OggS", at + 1) >= 0):
                    return None
                self._noise_bytes += 1
                continue
            page = parse_page(bytes(data[at : at + size]))
            if page is None:
                self._noise_bytes += 1
                continue
            self._noise_bytes = 0
            if at:
                return Block(self._cut_off(at), ())
            packets = self._packets_of(page)
            return None if self.error is not None else Block(self._cut_off(size), packets)

    def _packets_of(self, page: Page) -> tuple[OggPacket, ...]:
        if page.is_first:
            self._begin_stream(page)
            return ()
        stream = self._stream
        if stream is None:
            raise NotCuttableError("the Ogg stream has no first page")
        if page.serial != stream.serial:
            self.error = MULTIPLEXED
            return ()
        complete = self._complete_packets(page)
        while complete and not stream.is_at_audio:
            stream.headers.append(complete.pop(0))
        packets = self._placed(complete, stream, page)
        if page.is_last:
            stream.has_ended = True
        return packets

    def _begin_stream(self, page: Page) -> None:
        """Begin the first stream, or the next one of a chain."""
        previous, header = self._stream, page.parts[0] if page.parts else b""
        base = 0
        if previous is None:
            codec = read_codec(header)
            self._track = OggTrack(codec)
        else:
            if not previous.is_at_audio:
                self.error = MULTIPLEXED
                return
            try:
                codec = read_codec(header)
            except NotCuttableError:
                self.error = f"the audio changes its format from {previous.codec.name} to another one"
                return
            if (codec.name, codec.rate) != (previous.codec.name, previous.codec.rate):
                old, new = (f"{one.name} at {one.rate} Hz" for one in (previous.codec, codec))
                self.error = f"the audio changes its format from {old} to {new}"
                return
            base = previous.base + max(0, previous.samples - previous.codec.pre_skip)
        self._partial = None
        self._stream = _Stream(page.serial, codec, header, base)

    def _complete_packets(self, page: Page) -> list[bytes]:
        """Return the packets that end on the page."""
        parts = list(page.parts)
        if page.is_continued and parts:
            part = parts[0]
            if self._partial is None:  # its start is missing: a decoder drops it too
                del parts[0]
                if not parts and page.ends_in_packet:
                    return []
            else:
                self._partial += part[: MAX_PACKET_BYTES - len(self._partial)]
                if len(parts) == 1 and page.ends_in_packet:
                    return []
                parts[0] = bytes(self._partial)
        self._partial = bytearray(parts.pop()) if page.ends_in_packet and parts else None
        return parts

    def _placed(self, complete: list[bytes], stream: _Stream, page: Page) -> tuple[OggPacket, ...]:
        lengths = [stream.codec.samples(data) for data in complete]
        total = sum(lengths)
        if complete and page.granule != NO_GRANULE:
            if stream.first_granule is None:
                stream.first_granule = max(0, page.granule - total)
                stream.lag = 0 if stream.codec.is_trimmed else max(0, total - page.granule)
            end = page.granule - stream.first_granule
            if page.is_last and stream.codec.is_trimmed:  # the last packet may be longer than the audio
                lengths[-1] = max(0, lengths[-1] - max(0, stream.samples + total - end))
        packets: list[OggPacket] = []
        for index, (data, samples) in enumerate(zip(complete, lengths, strict=True)):
            is_last = page.is_last and index == len(complete) - 1
            packets.append(OggPacket(data, stream.base + stream.samples, samples, stream, is_last))
            stream.samples += samples
        return tuple(packets)
