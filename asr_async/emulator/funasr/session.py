"""The part that the emulated protocols of FunASR's servers share: the recognition of a task, and its failure.

Knows no engine, and none of the messages. These servers have no keys, no timeouts, and no message for most failures, so
a failure closes the connection.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from aiohttp import WSCloseCode

from ..audio_decoder import PcmDecoder
from ..handler import FaultInjectingHandler
from ..lifecycle import Lifecycle
from ..session import EndConnection, VendorSession, engine_refusals

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from ..connection import ClientConnection
    from ..engines.engine import Engine, Recognition
    from ..faults import ConnectionFaults, FaultInjector

__all__ = ["FailedError", "FunASRHandler", "FunASRSession"]

_State = TypeVar("_State", bound=enum.Enum)
_Step = TypeVar("_Step", bound=enum.Enum)


class FailedError(EndConnection):
    """The failure of a recognition, which closes the connection."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}", close_code=WSCloseCode.INTERNAL_ERROR)


class FunASRSession(VendorSession[_State, _Step], Generic[_State, _Step]):
    """The session of one client, which runs one task after another."""

    engine_codes: ClassVar[Mapping[str, str]] = {
        "unsupported": "not supported",
        "capacity": "too many sessions",
        "broken": "internal error",
    }
    idle: ClassVar[enum.Enum]
    """The state without a task, in which nothing can fail."""

    def __init__(
        self,
        connection: ClientConnection,
        faults: ConnectionFaults,
        lifecycle: Lifecycle[_State, _Step],
        engine: Engine,
    ) -> None:
        super().__init__(connection, faults, lifecycle)
        self._engine = faults.engine_of(engine)
        self._recognition: Recognition | None = None
        self._decoder = PcmDecoder()

    def _out_of_order(self, step: _Step) -> Exception:
        return FailedError("internal error", f"{step.value} while {self._lifecycle.state.value}")

    def _timed_out(self) -> EndConnection:
        return EndConnection("timeout", close_code=WSCloseCode.GOING_AWAY)

    def _failure(self, code: str, message: str) -> Exception | None:
        return None if self._lifecycle.state is self.idle else FailedError(code, message)

    def _engine_refusals(self) -> AbstractContextManager[None]:
        """Convert the refusals of the engine into failures."""
        return engine_refusals(self.engine_codes, FailedError)

    async def _close_recognition(self) -> None:
        recognition, self._recognition = self._recognition, None
        if recognition is not None:
            await recognition.aclose()


class FunASRHandler(FaultInjectingHandler):
    """The handler of one protocol."""

    def __init__(self, engine: Engine, faults: FaultInjector) -> None:
        super().__init__(faults)
        self._engine = engine

    def _error_body(self, code: str, message: str) -> Any:
        return {"code": code, "message": message}
