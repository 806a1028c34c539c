"""Fixtures of pytest for programs that recognise speech: the emulator in place of the vendors, for each test its own.

Installed with the package; nothing is imported before a test uses a fixture. This is a whole test:

    import pytest
    from asr_async import Paraformer, transcribe

    @pytest.mark.asr_script(("turn on the light", 200, 1_200))
    async def test_the_command_is_recognised(asr_emulator):
        assert (await transcribe(asr_emulator.audio(), Paraformer())).text == "turn on the light"

The program that is tested needs no change: while the test runs, the environment variables of the vendors' keys and
addresses are those of the emulator. It may be synchronous, or belong to any plugin for asynchronous tests, since the
emulator runs in a thread of its own.

The marker `asr_script` has the segments that are recognised, as `Scripted` takes them; without it, they are
`DEFAULT_SCRIPT`. The marker `asr_faults` has the faults of the connections, as `asr_async.emulator.faults` describes
them: `@pytest.mark.asr_faults({"kind": "cut", "after_audio_ms": 1_500}, {"kind": "redraw"})`. With faults, send
`asr_emulator.audio()`: it holds its position, so that a connection that begins in its middle continues the script
there. Any other audio starts the script on each connection anew.

Both markers are read by fixtures of their name, which a test module may override, or parametrize.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from . import Emulator, Fault, Recognition, Request
    from .engines.engine import Emit
    from .engines.scripted import ScriptedSegment

__all__ = ["DEFAULT_SCRIPT", "AsrEmulator", "asr_emulator", "asr_faults", "asr_script", "pytest_configure"]

DEFAULT_SCRIPT = (("good morning", 200, 1_100), ("this is a test", 1_600, 2_800))
"""The segments of a test without the marker `asr_script`."""

TAIL_MS = 1_000
"""The silence behind the last segment in `AsrEmulator.audio`."""


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    config.addinivalue_line("markers", "asr_script(*segments): what the fixture asr_emulator recognises")
    config.addinivalue_line("markers", "asr_faults(*faults): the faults of the connections to asr_emulator")


@pytest.fixture
def asr_script(request: pytest.FixtureRequest) -> Sequence[ScriptedSegment | Mapping[str, Any] | Sequence[Any]]:
    """The segments that `asr_emulator` recognises: those of the marker `asr_script`, or `DEFAULT_SCRIPT`."""
    marker = request.node.get_closest_marker("asr_script")
    return DEFAULT_SCRIPT if marker is None else marker.args


@pytest.fixture
def asr_faults(request: pytest.FixtureRequest) -> Sequence[Fault | Mapping[str, Any]]:
    """The faults of the connections to `asr_emulator`: those of the marker `asr_faults`, or none."""
    marker = request.node.get_closest_marker("asr_faults")
    return () if marker is None else marker.args


@pytest.fixture
def asr_emulator(
    asr_script: Sequence[ScriptedSegment | Mapping[str, Any] | Sequence[Any]],
    asr_faults: Sequence[Fault | Mapping[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[AsrEmulator]:
    """A running emulator; the environment has its addresses and keys."""
    from anyio.from_thread import start_blocking_portal  # noqa: PLC0415 - only tests that use it pay for it

    from .server import serve  # noqa: PLC0415 - as above

    engine = _SourceScript(asr_script)
    emulator = serve(engine=engine, faults=asr_faults)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(emulator):
        handle = AsrEmulator(emulator, engine.end_ms)
        for name, value in handle.environment.items():
            monkeypatch.setenv(name, value)
        yield handle


class AsrEmulator:
    """The emulator of a test.

    Attributes:
        environment: the environment variables that lead programs to it, for child processes too.
    """

    def __init__(self, emulator: Emulator, end_ms: int) -> None:
        self._emulator = emulator
        self._end_ms = end_ms
        self.environment: dict[str, str] = emulator.environment()

    def __repr__(self) -> str:
        return f"<AsrEmulator {self._emulator!r}>"

    @property
    def dashscope_url(self) -> str:
        """The endpoint of DashScope's task protocol."""
        return self._emulator.dashscope_url

    @property
    def dashscope_realtime_url(self) -> str:
        """The endpoint of DashScope's realtime protocol."""
        return self._emulator.dashscope_realtime_url

    @property
    def huawei_url(self) -> str:
        """The endpoint of Huawei Cloud's RASR."""
        return self._emulator.huawei_url

    @property
    def faults_struck(self) -> dict[str, int]:
        """The number of connections that each kind of fault has struck so far."""
        return self._emulator.faults_struck

    def audio(self, start_ms: int = 0, end_ms: int | None = None, *, sample_rate: int = 16_000) -> list[bytes]:
        """Return audio in which the script is spoken, as a source: chunks of 100 ms of 16-bit mono samples.

        Args:
            start_ms: the begin, for a part of it.
            end_ms: the end; None, the default, is a second behind the last segment.
            sample_rate: the rate that the options declare.
        """
        from .positions import position_audio  # noqa: PLC0415 - only tests that use it pay for it

        end_ms = self._end_ms + TAIL_MS if end_ms is None else end_ms
        return [
            position_audio(begin_ms, min(begin_ms + 100, end_ms), sample_rate)
            for begin_ms in range(start_ms, end_ms, 100)
        ]


class _SourceScript:
    """An engine with a script that follows audio with positions, and the clock with other audio."""

    def __init__(self, segments: Sequence[ScriptedSegment | Mapping[str, Any] | Sequence[Any]]) -> None:
        from .engines.scripted import Scripted, ScriptedSegment  # noqa: PLC0415 - only tests that use it pay for it

        Scripted(segments)  # checks them
        self._segments = [ScriptedSegment.of(segment) for segment in segments]
        self.end_ms: int = max((segment.end_ms for segment in self._segments), default=0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass  # there are no resources to release

    async def open(self, request: Request, emit: Emit) -> Recognition:
        """Start a recognition."""
        from .engines.scripted import Scripted  # noqa: PLC0415 - as above

        return await Scripted(self._segments, position=_Position().locate).open(request, emit)


class _Position:
    """The place of audio in its source: the one that it holds, or the number of the samples before it."""

    def __init__(self) -> None:
        self._received = 0
        self._is_marked = False

    def locate(self, samples: bytes) -> int | None:
        """Return the sample of the source at which these begin; None for silence between samples with positions."""
        from .positions import position_of  # noqa: PLC0415 - as above

        position = position_of(samples)
        self._is_marked = self._is_marked or position is not None
        if not self._is_marked:
            position = self._received
        self._received += len(samples) // 2
        return position
