"""The model in a folder for sherpa-onnx: its family and its files, recognised by their names and metadata.

The names are those of the models that sherpa-onnx publishes: `tokens.txt` beside `encoder`, `decoder` and `joiner`, or
beside one model file, with `.int8` in the name of a quantised one. Whether the runtime can run the model is tried
elsewhere, in a process that may end.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from ...errors import ConfigurationError
from .onnx_metadata import DamagedModelError, read_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["Family", "Model", "find_model"]


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of model that sherpa-onnx runs."""

    name: str
    factory: str
    """The class method of `OnlineRecognizer` or `OfflineRecognizer` that loads it."""
    parts: Mapping[str, str]
    """The role of a file → the argument of the factory."""
    is_streaming: bool = False
    """True if the model recognises audio as it arrives, and ends utterances by itself."""
    takes_hot_words: bool = False
    options: Mapping[str, str | bool] = {}  # msgspec copies an empty default for each instance
    """Further arguments of the factory."""


_PAIR = {"encoder": "encoder", "decoder": "decoder"}

STREAMING_TRANSDUCER = Family(
    name="streaming transducer",
    factory="from_transducer",
    parts={**_PAIR, "joiner": "joiner"},
    is_streaming=True,
    takes_hot_words=True,
)
STREAMING_PARAFORMER = Family(name="streaming Paraformer", factory="from_paraformer", parts=_PAIR, is_streaming=True)
STREAMING_CTC = Family(name="streaming CTC", factory="from_zipformer2_ctc", parts={"model": "model"}, is_streaming=True)
SENSE_VOICE = Family(
    name="SenseVoice",
    factory="from_sense_voice",
    parts={"model": "model"},
    options={"use_itn": True},  # with punctuation and figures
)
PARAFORMER = Family(name="Paraformer", factory="from_paraformer", parts={"model": "paraformer"})
WHISPER = Family(
    name="Whisper",
    factory="from_whisper",
    parts=_PAIR,
    options={"language": ""},  # the model detects the language; the runtime's default is English
)
MOONSHINE = Family(
    name="Moonshine",
    factory="from_moonshine",
    parts={
        "preprocess": "preprocessor",
        "encoder": "encoder",
        "uncached_decode": "uncached_decoder",
        "cached_decode": "cached_decoder",
    },
)
MOONSHINE_V2 = Family(name="Moonshine", factory="from_moonshine_v2", parts=_PAIR)

_SUPPORTED = (
    "streaming transducers (zipformer, conformer, LSTM), streaming Paraformer, streaming zipformer CTC, SenseVoice, "
    "Paraformer, Whisper, Moonshine"
)

_ROLES = (
    ("preprocess", "preprocess"),
    ("uncached_decode", "uncached_decode"),
    ("cached_decode", "cached_decode"),
    ("joiner", "joiner"),
    ("encoder", "encode"),
    ("decoder", "decode"),
    ("model", ""),
)
"""The role of a file → the part of its name that shows it; the first one that fits counts."""

_LAYOUTS = (
    ({"joiner"}, STREAMING_TRANSDUCER.parts),
    ({"preprocess", "uncached_decode", "cached_decode"}, MOONSHINE.parts),
    ({"encoder", "decoder"}, _PAIR),
    ({"model"}, STREAMING_CTC.parts),
)
"""Roles of which one shows the layout → all roles of the layout; the first one that fits counts."""

_MODEL_SUFFIXES = {".onnx", ".ort"}
_ORT_IDENTIFIER = b"ORTM"
"""Bytes 4 to 8 of a file in onnxruntime's own format."""

_FIRST_CJK = "\u2e80"
"""The characters behind it are those of Chinese, Japanese and Korean."""

_STREAMING_TYPES = {"conformer", "ebranchformer", "lstm", "zipformer", "zipformer2"}
"""The values of `model_type` that a streaming transducer may have (online-transducer-model.cc of sherpa-onnx 2.0.1)."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model that was found in a folder."""

    family: Family
    files: Mapping[str, str]
    """The argument of the family's factory → the path; `tokens` among them."""
    tokens: frozenset[str]
    """The model's tokens, as their file writes them."""
    languages: tuple[str, ...] = ()
    """The languages of the model, as far as its metadata names them; empty if it does not."""
    bpe_vocabulary: str = ""
    """The path of `bpe.vocab`, which the runtime needs to split words into tokens; empty if there is none."""

    @property
    def modeling_unit(self) -> str:
        """The unit of the tokens, by which the runtime splits hot words."""
        if not self.bpe_vocabulary:
            return "cjkchar"
        has_characters = any(len(token) == 1 and token > _FIRST_CJK for token in self.tokens)
        return "cjkchar+bpe" if has_characters else "bpe"

    def takes_hot_word(self, word: str) -> bool:
        """Return True if the model can look for a hot word: its family can, and it can spell the word."""
        # The runtime separates hot words by slashes, and reads a part that begins with another of these as a score.
        if not self.family.takes_hot_words or "/" in word or any(part[0] in ":#@" for part in word.split()):
            return False
        return bool(self.bpe_vocabulary) or all(character in self.tokens for character in "".join(word.split()))


def find_model(folder: Path) -> Model:
    """Return the model in a folder.

    Raises:
        ConfigurationError: there is no folder, or no whole model of a supported family in it.
    """
    try:
        return _find_model(folder)
    except _Unusable as error:
        raise ConfigurationError(f"Sherpa({str(folder)!r}): {error}") from None
    except OSError as error:
        raise ConfigurationError(f"Sherpa({str(folder)!r}): cannot be read: {error.strerror}") from None


class _Unusable(Exception):  # noqa: N818 - never leaves this module
    """The reason why a folder holds no usable model."""


def _find_model(folder: Path) -> Model:
    if not folder.is_dir():
        raise _Unusable("is no folder: give the folder of a sherpa-onnx model")
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    files = {role: folder / name for role, name in _select_files(names).items()}
    metadata = {role: _read_file(path) for role, path in files.items()}
    family = _family_of(files, metadata)
    tokens = [name for name in names if name.endswith("tokens.txt")]
    if len(tokens) != 1:
        raise _Unusable(_wrong_number("tokens.txt", tokens, f"{family.name} model"))
    vocabulary = folder / "bpe.vocab"
    return Model(
        family=family,
        files={
            "tokens": str(folder / tokens[0]),
            **{argument: str(files[role]) for role, argument in family.parts.items()},
        },
        tokens=_read_tokens(folder / tokens[0]),
        languages=_languages_of(family, metadata),
        bpe_vocabulary=str(vocabulary) if vocabulary.is_file() else "",
    )


def _select_files(names: Iterable[str]) -> dict[str, str]:
    """Return the file of each role of the layout that the names show."""
    candidates: dict[str, list[str]] = {}
    for name in names:
        if name.endswith(tuple(_MODEL_SUFFIXES)):
            candidates.setdefault(_role_of(name), []).append(name)
    for shown_by, roles in _LAYOUTS:
        if shown_by & candidates.keys():
            return {role: _select(role, candidates.get(role, []), roles) for role in roles}
    raise _Unusable("holds no model: it has no .onnx or .ort file")


def _role_of(name: str) -> str:
    return next(role for role, part in _ROLES if part in name)


def _select(role: str, names: list[str], roles: Iterable[str]) -> str:
    """Return the quantised file of a role, else the plain one."""
    for variants in (
        [name for name in names if ".int8." in name],
        [name for name in names if ".fp16." not in name],
        names,
    ):
        if len(variants) == 1:
            return variants[0]
        if variants:
            break
    raise _Unusable(_wrong_number(f"{role} file", names, f"model with {', '.join(roles)} and tokens.txt"))


def _wrong_number(what: str, names: list[str], family: str) -> str:
    if names:
        return f"has more than one {what}, {', '.join(names)}: leave one"
    return f"has no {what}: it looks like half of a {family}; copy the rest"


def _read_file(path: Path) -> dict[str, str]:
    """Return the metadata of a model file; one in onnxruntime's own format has none that can be read."""
    if path.suffix == ".onnx":
        try:
            return read_metadata(path)
        except DamagedModelError as error:
            raise _Unusable(f"{path.name} {error}; copy it again") from None
    with path.open("rb") as file:
        if file.read(8)[4:] != _ORT_IDENTIFIER:
            raise _Unusable(f"{path.name} is no model in onnxruntime's format; copy it again")
    return {}


def _family_of(files: Mapping[str, Path], metadata: Mapping[str, Mapping[str, str]]) -> Family:
    if "cached_decode" in files:
        return MOONSHINE
    if files.keys() == _PAIR.keys() and files["encoder"].suffix == ".ort":
        return MOONSHINE_V2
    first = metadata["model" if "model" in files else "encoder"]
    family = _single_family(first) if "model" in files else _family_of_encoder(first, has_joiner="joiner" in files)
    if family is None:
        kind = f"model_type {first['model_type']!r}" if first.get("model_type") else "no model_type in its metadata"
        parts = ", ".join(path.name for path in files.values())
        raise _Unusable(f"holds a model that is not supported ({parts}; {kind}): supported are {_SUPPORTED}")
    return family


def _family_of_encoder(metadata: Mapping[str, str], *, has_joiner: bool) -> Family | None:
    if has_joiner:
        is_streaming = metadata.get("model_type") in _STREAMING_TYPES and "decode_chunk_len" in metadata
        return STREAMING_TRANSDUCER if is_streaming else None
    if metadata.get("model_type", "").startswith("whisper"):
        return WHISPER
    if metadata.get("model_type") in _STREAMING_TYPES:
        raise _Unusable(_wrong_number("joiner file", [], "streaming transducer"))
    return STREAMING_PARAFORMER if "decoder_kernel_size" in metadata else None


def _single_family(metadata: Mapping[str, str]) -> Family | None:
    model_type = metadata.get("model_type", "")
    if model_type.startswith("sense_voice"):
        return SENSE_VOICE
    if model_type == "paraformer":
        return PARAFORMER
    return STREAMING_CTC if {"decode_chunk_len", "query_head_dims"} <= metadata.keys() else None


def _read_tokens(path: Path) -> frozenset[str]:
    """Return the tokens of a file with a token and its number on each line."""
    lines = path.read_text("utf-8", errors="replace").splitlines()
    # a number is missing at the end of a file that is cut off, and everywhere in a file of another kind
    if not lines or not re.search(r"\s\d+\s*$", lines[-1]):
        raise _Unusable(f"{path.name} is no list of tokens and their numbers, or is cut off; copy it again")
    return frozenset(line.rsplit(maxsplit=1)[0] for line in lines if line.strip())


def _languages_of(family: Family, metadata: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    if family is SENSE_VOICE:
        keys = (key.removeprefix("lang_") for key in metadata["model"] if key.startswith("lang_"))
        return tuple(sorted(set(keys) - {"auto"}))
    if family is WHISPER:
        if metadata["encoder"].get("is_multilingual") == "0":
            return ("en",)
        return tuple(filter(None, metadata["encoder"].get("all_language_codes", "").split(",")))
    return ()
