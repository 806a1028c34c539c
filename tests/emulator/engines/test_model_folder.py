"""Models in folders: the family is recognised by the files, and what is not a whole model is refused in one line."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import onnx
import pytest

from asr_async import ConfigurationError
from asr_async.emulator.engines.model_folder import find_model
from asr_async.emulator.engines.onnx_metadata import read_metadata

from ...support.sherpa_models import FAMILIES, write_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def refusal(folder: Path) -> str:
    """Return what is wrong with a folder; the error is one line that names it."""
    with pytest.raises(ConfigurationError) as caught:
        find_model(folder)
    text = str(caught.value)
    assert "\n" not in text
    prefix = f"Sherpa({str(folder)!r}): "
    assert text.startswith(prefix)
    return text.removeprefix(prefix)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_recognised_by_its_files(tmp_path: Path, family: str) -> None:
    model = find_model(write_model(tmp_path / "model", family))
    assert model.family.name == family
    assert all(str(tmp_path) in path for path in model.files.values())
    assert model.files["tokens"].endswith("tokens.txt")
    assert len(set(model.files.values())) == len(model.files)


def test_the_quantised_one_of_two_variants_is_used(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "streaming transducer")
    shutil.copy(folder / "encoder-epoch-99-avg-1.int8.onnx", folder / "encoder-epoch-99-avg-1.onnx")
    shutil.copy(folder / "decoder-epoch-99-avg-1.onnx", folder / "decoder-epoch-99-avg-1.fp16.onnx")
    files = find_model(folder).files
    assert files["encoder"].endswith("encoder-epoch-99-avg-1.int8.onnx")
    assert files["decoder"].endswith("decoder-epoch-99-avg-1.onnx")


def test_languages_are_those_of_the_metadata(tmp_path: Path) -> None:
    assert find_model(write_model(tmp_path / "a", "SenseVoice")).languages == ("en", "ja", "ko", "yue", "zh")
    assert find_model(write_model(tmp_path / "b", "Whisper")).languages == ("en",)
    assert find_model(write_model(tmp_path / "c", "streaming CTC")).languages == ()


def test_hot_words_are_taken_if_the_model_can_spell_them(tmp_path: Path) -> None:
    model = find_model(write_model(tmp_path / "model", "streaming transducer", ("低", "高")))
    assert model.modeling_unit == "cjkchar"
    assert model.takes_hot_word("高低")
    assert model.takes_hot_word("高 低")
    assert not any(model.takes_hot_word(word) for word in ("高山", "high", "高/低", "高 :2.0"))
    ctc = find_model(write_model(tmp_path / "ctc", "streaming CTC", ("低", "高")))
    assert not ctc.takes_hot_word("高低")


def test_a_vocabulary_of_word_pieces_spells_every_hot_word(tmp_path: Path) -> None:
    for name, words, unit in (("en", ("▁low", "▁high"), "bpe"), ("zh", ("低", "高"), "cjkchar+bpe")):
        folder = write_model(tmp_path / name, "streaming transducer", words)
        (folder / "bpe.vocab").write_text("▁lo -1\nw -2\n")
        model = find_model(folder)
        assert model.modeling_unit == unit
        assert model.takes_hot_word("slowly")


def test_the_metadata_is_what_onnx_reads(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "SenseVoice")
    path = folder / "model.int8.onnx"
    assert read_metadata(path) == {entry.key: entry.value for entry in onnx.load(path).metadata_props}


# --- what is not a whole model ---------------------------------------------------------------------------------------


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere") == "is no folder: give the folder of a sherpa-onnx model"


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "holds no model: it has no .onnx or .ort file"


@pytest.mark.parametrize(
    ("family", "missing", "text"),
    [
        ("streaming transducer", "decoder-epoch-99-avg-1.onnx", "has no decoder file: it looks like half of a model"),
        (
            "streaming transducer",
            "joiner-epoch-99-avg-1.int8.onnx",
            "has no joiner file: it looks like half of a streaming",
        ),
        ("streaming transducer", "tokens.txt", "has no tokens.txt: it looks like half of a streaming transducer model"),
        (
            "streaming Paraformer",
            "encoder.int8.onnx",
            "has no encoder file: it looks like half of a model",
        ),
        ("Moonshine", "cached_decode.int8.onnx", "has no cached_decode file: it looks like half of a model"),
        ("Whisper", "tiny.en-tokens.txt", "has no tokens.txt: it looks like half of a Whisper model; copy the rest"),
    ],
)
def test_a_folder_without_one_of_the_files_is_refused(tmp_path: Path, family: str, missing: str, text: str) -> None:
    folder = write_model(tmp_path / "model", family)
    (folder / missing).unlink()
    assert refusal(folder).startswith(text)


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def make_empty(path: Path) -> None:
    path.write_bytes(b"")


def make_pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 70000000\n")


def make_web_page(path: Path) -> None:
    path.write_text("<!doctype html><title>Not Found</title>")


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (cut_in_half, r"encoder\.int8\.onnx is cut off: \d+ bytes are missing; copy it again"),
        (make_empty, r"encoder\.int8\.onnx is empty; copy it again"),
        (make_pointer, r"encoder\.int8\.onnx is a pointer of Git LFS, not the model: run git lfs pull; copy it again"),
        (make_web_page, r"encoder\.int8\.onnx is no ONNX model; copy it again"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: Callable[[Path], None], text: str) -> None:
    folder = write_model(tmp_path / "model", "streaming Paraformer")
    damage(folder / "encoder.int8.onnx")
    assert re.fullmatch(text, refusal(folder))


def test_a_file_that_is_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "streaming CTC")
    (path,) = folder.glob("*.onnx")
    whole = path.read_bytes()
    for size in range(1, len(whole), 41):
        path.write_bytes(whole[:size])
        assert "cut off" in refusal(folder) or "is not supported" in refusal(folder), size


@pytest.mark.parametrize("content", ["", "<blank> 0\nlow", "<!doctype html>"])
def test_a_list_of_tokens_that_is_cut_off_or_something_else_is_refused(tmp_path: Path, content: str) -> None:
    folder = write_model(tmp_path / "model", "streaming CTC")
    (folder / "tokens.txt").write_text(content)
    text = "tokens.txt is no list of tokens and their numbers, or is cut off; copy it again"
    assert refusal(folder) == text


def test_several_models_in_one_folder_are_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "streaming transducer")
    shutil.copy(folder / "encoder-epoch-99-avg-1.int8.onnx", folder / "encoder-epoch-12-avg-4.int8.onnx")
    text = (
        "has more than one encoder file, encoder-epoch-12-avg-4.int8.onnx, encoder-epoch-99-avg-1.int8.onnx: leave one"
    )
    assert refusal(folder) == text


def test_two_lists_of_tokens_are_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "Whisper")
    (folder / "tokens.txt").write_text("a 0\n")
    assert refusal(folder) == "has more than one tokens.txt, tiny.en-tokens.txt, tokens.txt: leave one"


@pytest.mark.parametrize(
    ("family", "file", "model_type"),
    [("SenseVoice", "model.int8.onnx", "EncDecCTCModelBPE"), ("Whisper", "tiny.en-encoder.int8.onnx", "canary")],
)
def test_a_model_of_another_family_is_refused(tmp_path: Path, family: str, file: str, model_type: str) -> None:
    folder = write_model(tmp_path / "model", family)
    model = onnx.load(folder / file)
    del model.metadata_props[:]
    for metadata, found in (({}, "no model_type in its metadata"), ({"model_type": model_type}, repr(model_type))):
        onnx.helper.set_model_props(model, metadata)
        onnx.save(model, folder / file)
        text = refusal(folder)
        assert text.startswith("holds a model that is not supported (")
        assert found in text
        assert "supported are streaming transducers (" in text


def test_an_offline_transducer_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "streaming transducer")
    path = folder / "encoder-epoch-99-avg-1.int8.onnx"
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"model_type": "zipformer2"})
    onnx.save(model, path)
    assert "model_type 'zipformer2'): supported are streaming transducers" in refusal(folder)


def test_a_file_that_only_claims_to_be_onnxruntimes_is_refused(tmp_path: Path) -> None:
    for name in ("encoder_model.ort", "decoder_model_merged.ort"):
        (tmp_path / name).write_text("<html>")
    (tmp_path / "tokens.txt").write_text("a 0\n")
    assert refusal(tmp_path) == "encoder_model.ort is no model in onnxruntime's format; copy it again"
