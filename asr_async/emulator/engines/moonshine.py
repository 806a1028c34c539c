"""The engine `moonshine`: English speech by Moonshine tiny, in worker processes.

The weights come from the wheel `moonshine-voice`, which is searched for but never imported: only its files are used.
sherpa-onnx runs them, Silero detects speech (`_moonshine_worker`). Measured on recordings of people: 4 % of the words
are wrong, 5 to 9 % at telephone quality. The text has punctuation and capitals.

Moonshine reports no word times and no confidences: the times of words are estimates, in proportion to their characters.
Hot words have no effect. A language hint other than English is refused, since the model turns other languages into
English words without a sign.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ...errors import ConfigurationError
from .languages import refuse_other_languages_than_english, refuse_translation
from .moonshine_weights import find_weights
from .workers import WorkerPool, WorkerProgram

if TYPE_CHECKING:
    from .engine import Emit, Recognition, Request

__all__ = ["Moonshine"]

PROGRAM = WorkerProgram(module="asr_async.emulator.engines._moonshine_worker", engine="Moonshine")


class Moonshine:
    """Offline recognition of English speech at any sample rate; needs `pip install 'asr-async[local]'`.

    Args:
        workers: the most processes; None means one per usable core.
        sessions_per_worker: the most sessions of one worker; more are refused. As measured, a core serves five live
            sessions with an interim every 0.7 s; with more of them, interims become rare.

    Raises:
        ValueError: the numbers leave no room for a session.
    """

    def __init__(self, workers: int | None = None, sessions_per_worker: int = 5) -> None:
        self._pool = WorkerPool(PROGRAM, workers, sessions_per_worker)

    def __repr__(self) -> str:
        return repr(self._pool)

    @staticmethod
    def missing() -> str | None:
        """Return what the engine lacks on this machine and how to install it; None if it can be started."""
        try:
            find_weights()
        except ConfigurationError as error:
            return str(error)
        return None

    async def __aenter__(self) -> Self:
        """Start the first worker.

        Raises:
            ConfigurationError: the model or a library is not installed.
        """
        find_weights()
        self._pool.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._pool.close()

    async def open(self, request: Request, emit: Emit) -> Recognition:
        """Start a recognition.

        Raises:
            EngineRefusedError: `unsupported` for a language other than English, or a translation; `capacity` if all
                workers are full; `broken` if a worker cannot be started or dies.
            RuntimeError: the engine was not entered with `async with`.
        """
        refuse_other_languages_than_english(request, "moonshine")
        refuse_translation(request, "moonshine")
        return await self._pool.open(request, emit)
