"""The engine `pocketsphinx`: English speech at 16 kHz, in worker processes.

The fallback where the better engine's wheels do not fit: it transcribes clean read English well, ordinary recordings
with about 40 % word errors. `_pocketsphinx_worker` decodes; this module knows what pocketsphinx cannot do.

Hot words have no effect: pocketsphinx cannot raise the probability of a word that its language model contains, and for
a word that it lacks it rebuilds the search, which blocks every session of the worker for 0.2 to 0.5 s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ...errors import ConfigurationError
from .engine import EngineRefusedError
from .languages import refuse_other_languages_than_english, refuse_translation
from .libraries import missing_package
from .workers import WorkerPool, WorkerProgram

if TYPE_CHECKING:
    from .engine import Emit, Recognition, Request

__all__ = ["PocketSphinx"]

SAMPLE_RATE = 16_000

PROGRAM = WorkerProgram(
    module="asr_async.emulator.engines._pocketsphinx_worker", engine="PocketSphinx", has_costly_sessions=True
)


class PocketSphinx:
    """Offline recognition of English speech at 16 kHz; needs `pip install 'asr-async[local-small]'`.

    Args:
        workers: the most processes; None means one per usable core.
        sessions_per_worker: the most sessions of one worker; more are refused. As measured, a core decodes 9 to 15
            sessions in real time, depending on its speed; beyond that nothing is lost, but every session lags behind
            its speaker.

    Raises:
        ValueError: the numbers leave no room for a session.
    """

    def __init__(self, workers: int | None = None, sessions_per_worker: int = 10) -> None:
        self._pool = WorkerPool(PROGRAM, workers, sessions_per_worker)

    def __repr__(self) -> str:
        return repr(self._pool)

    @staticmethod
    def missing() -> str | None:
        """Return what the engine lacks on this machine and how to install it; None if it can be started."""
        # the package is not imported here: its decoder, some 100 MB, is loaded in the workers only
        if missing_package({"pocketsphinx": "pocketsphinx"}):
            return "pocketsphinx is not installed: pip install 'asr-async[local-small]'"
        return None

    async def __aenter__(self) -> Self:
        """Start the first worker.

        Raises:
            ConfigurationError: pocketsphinx is not installed.
        """
        if reason := self.missing():
            raise ConfigurationError(reason)
        self._pool.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._pool.close()

    async def open(self, request: Request, emit: Emit) -> Recognition:
        """Start a recognition.

        Raises:
            EngineRefusedError: `unsupported` for a sample rate other than 16 kHz, a language other than English, or a
                translation; `capacity` if all workers are full; `broken` if a worker cannot be started or dies.
            RuntimeError: the engine was not entered with `async with`.
        """
        if request.sample_rate != SAMPLE_RATE:
            raise EngineRefusedError(
                f"pocketsphinx supports {SAMPLE_RATE} Hz only, not {request.sample_rate} Hz (with 8000 Hz audio 66 to "
                f"90 % of its words were wrong): record and send {SAMPLE_RATE} Hz, or use the engine moonshine "
                "(pip install 'asr-async[local]')",
                kind="unsupported",
            )
        refuse_other_languages_than_english(request, "pocketsphinx")
        refuse_translation(request, "pocketsphinx")
        return await self._pool.open(request, emit)
