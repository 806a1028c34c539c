"""The outputs of a transcript: standard output, one file, and parts of a shared output."""

from __future__ import annotations

import asyncio
import errno

import pytest

from asr_async.cli.outputs import OutputError, OutputPart, StandardOutput


class BrokenOutput(StandardOutput):
    """An output that writes a number of texts and then raises."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count
        self.written: list[str] = []

    def write(self, text: str) -> None:
        if len(self.written) == self._count:
            raise OutputError("standard output", OSError(errno.ENOSPC, "No space left on device"))
        self.written.append(text)


class TestOutputParts:
    def test_a_part_buffers_until_all_parts_before_it_are_closed(self) -> None:
        output = BrokenOutput(99)
        third = OutputPart(output, None, is_first=False)
        second = OutputPart(output, third, is_first=False)
        first = OutputPart(output, second, is_first=True)
        with third:
            third.write("5")
            with first:
                with second:
                    second.write("3")
                    assert "2 texts buffered" not in repr(second)
                    second.write("4")
                    assert "2 texts buffered" in repr(second)
                first.write("1")
                first.write("2")
            assert "direct" in repr(third)
            third.write("6")
        assert output.written == ["", "1", "2", "34", "5", "6"]

    async def test_a_part_that_cannot_write_still_starts_the_next_part(self) -> None:
        output = BrokenOutput(1)
        third = OutputPart(output, None, is_first=False)
        second = OutputPart(output, third, is_first=False)
        first = OutputPart(output, second, is_first=True)
        with second:
            second.write("buffered")
        with pytest.raises(OutputError, match="standard output: No space left"), first:
            pass
        async with asyncio.timeout(1):
            await third.wait_until_direct()
