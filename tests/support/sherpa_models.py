"""Tiny models of the families that sherpa-onnx runs, with the metadata that it reads: they recognise two tones.

A low tone is one word and a high tone another, each behind silence; with both at once a
model hesitates, and chooses the low one. The graphs have no weights: they compare the log
energies of the lower and the upper mel bands with each other and, to detect silence, with a threshold. A token is
emitted where a tone begins, so that the texts and the times are exact.
"""

from __future__ import annotations

import base64
import math
from array import array
from typing import TYPE_CHECKING

import onnx.parser

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["FAMILIES", "tones", "write_model"]

SAMPLE_RATE = 16_000
FREQUENCIES = {"low": 300, "high": 3_200}
LOUDNESS = {"low": {"low": 9_000}, "high": {"high": 9_000}, "both": {"low": 9_000, "high": 500}}
"""The amplitude of each frequency of a tone."""

ENGLISH = ("▁low", "▁high")

TONE_MS = 200
GAP_MS = 300


def tones(*words: str, sample_rate: int = SAMPLE_RATE, silence_ms: int = 0) -> bytes:
    """Return 16-bit samples: for each word ("low", "high", "both") silence and its tone, then more silence."""
    samples = array("h")
    for word in words:
        samples.extend([0] * (sample_rate * GAP_MS // 1000))
        waves = [(size, 2 * math.pi * FREQUENCIES[tone] / sample_rate) for tone, size in LOUDNESS[word].items()]
        for number in range(sample_rate * TONE_MS // 1000):
            samples.append(round(sum(size * math.sin(step * number) for size, step in waves)))
    samples.extend([0] * (sample_rate * silence_ms // 1000))
    return samples.tobytes()


def write_model(folder: Path, family: str, words: Sequence[str] = ENGLISH) -> Path:
    """Write the files of a family's model into a new folder; the words are the tokens of the two tones."""
    folder.mkdir(parents=True)
    FAMILIES[family](folder, words)
    return folder


def onsets(before: str, after: str, threshold: str) -> str:
    """Return nodes that make `low`, `high` (positive where the tone begins) and `blank` (0) from log mel energies.

    Args:
        before: the name of a tensor [batch, frames, features]; its first 80 features are the mel bands.
        after: the name of a tensor of the same shape, some frames later.
        threshold: the log energy between silence and a tone.
    """
    return f"""
        first = Constant<value_ints=[0]>()
        low_end = Constant<value_ints=[30]>()
        high_begin = Constant<value_ints=[45]>()
        bands = Constant<value_ints=[80]>()
        features = Constant<value_ints=[2]>()
        threshold = Constant<value_float={threshold}>()
        strength = Constant<value_float=100.0>()
        lower = Slice({after}, first, low_end, features)
        upper = Slice({after}, high_begin, bands, features)
        past = Slice({before}, first, bands, features)
        lower_energy = ReduceMax<axes=[2]>(lower)
        upper_energy = ReduceMax<axes=[2]>(upper)
        past_energy = ReduceMax<axes=[2]>(past)
        past_excess = Sub(past_energy, threshold)
        past_loudness = Relu(past_excess)
        veto = Mul(past_loudness, strength)
        limit = Add(threshold, veto)
        low = Sub(lower_energy, limit)
        high = Sub(upper_energy, limit)
        blank = Sub(low, low)
    """


def save(path: Path, graph: str, metadata: Mapping[str, object] | None = None) -> None:
    """Write a model in ONNX's text form as a file."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 13]> {graph}')
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=str(value))
    path.write_bytes(model.SerializeToString())


def write_tokens(path: Path, *tokens: str) -> None:
    path.write_text("".join(f"{token} {number}\n" for number, token in enumerate(tokens)))


ZIPFORMER = {
    "model_type": "zipformer2",
    "encoder_dims": "4",
    "query_head_dims": "2",
    "value_head_dims": "2",
    "num_heads": "1",
    "num_encoder_layers": "1",
    "cnn_module_kernels": "3",
    "left_context_len": "2",
    "T": "45",
    "decode_chunk_len": "32",
}
"""One layer; the shapes of its states follow."""

STATES = {
    "key": "float[2,N,2]",
    "attention": "float[1,N,2,3]",
    "value1": "float[2,N,2]",
    "value2": "float[2,N,2]",
    "conv1": "float[N,4,1]",
    "conv2": "float[N,4,1]",
    "embed": "float[N,128,3,19]",
    "processed": "int64[N]",
}

STREAMING_FRAMES = """
    four = Constant<value_ints=[4]>()
    shift = Constant<value_ints=[32]>()
    behind = Constant<value_ints=[36]>()
    time = Constant<value_ints=[1]>()
    start = Constant<value_ints=[0]>()
    frames = Slice(x, start, shift, time, four)
    next_frames = Slice(x, four, behind, time, four)
"""


def zipformer(output: str, metadata: Mapping[str, object]) -> tuple[str, Mapping[str, object]]:
    """Return the graph of a streaming zipformer whose first output has a score per token and frame of 40 ms."""
    inputs = ", ".join(f"{shape} {name}" for name, shape in STATES.items())
    outputs = ", ".join(f"{shape} new_{name}" for name, shape in STATES.items())
    states = "\n".join(f"new_{name} = Identity({name})" for name in STATES)
    graph = f"""
        encoder (float[N,45,80] x, {inputs}) => (float[N,8,3] {output}, {outputs}) {{
            {STREAMING_FRAMES} {onsets("frames", "next_frames", "-6.0")}
            {output} = Concat<axis=2>(blank, low, high)
            {states}
        }}
    """
    return graph, metadata


def write_streaming_ctc(folder: Path, words: Sequence[str]) -> None:
    save(folder / "ctc-epoch-20-avg-1-chunk-16-left-128.onnx", *zipformer("log_probs", ZIPFORMER))
    write_tokens(folder / "tokens.txt", "<blk>", *words)


def write_streaming_transducer(folder: Path, words: Sequence[str]) -> None:
    save(folder / "encoder-epoch-99-avg-1.int8.onnx", *zipformer("encoder_out", ZIPFORMER))
    decoder = """
        decoder (int64[N,2] y) => (float[N,2] decoder_out) { decoder_out = Cast<to=1>(y) }
    """
    save(folder / "decoder-epoch-99-avg-1.onnx", decoder, {"vocab_size": 3, "context_size": 2})
    joiner = """
        joiner (float[N,3] encoder_out, float[N,2] decoder_out) => (float[N,3] logit) { logit = Identity(encoder_out) }
    """
    save(folder / "joiner-epoch-99-avg-1.int8.onnx", joiner, {"joiner_dim": 3})
    write_tokens(folder / "tokens.txt", "<blk>", *words)


def stacked_frames(scale: float = 1.0) -> dict[str, object]:
    """Return the metadata of models whose frames are seven frames of 10 ms, every 60 ms."""
    return {
        "lfr_window_size": 7,
        "lfr_window_shift": 6,
        "neg_mean": ",".join(["0"] * 560),
        "inv_stddev": ",".join([f"{scale:.6f}"] * 560),
    }


PAIRS_OF_FRAMES = """
    one = Constant<value_ints=[1]>()
    none = Constant<value_ints=[0]>()
    last = Constant<value_ints=[-1]>()
    end = Constant<value_ints=[1000000]>()
    frames = Slice(x, none, last, one)
    next_frames = Slice(x, one, end, one)
"""


def write_streaming_paraformer(folder: Path, words: Sequence[str]) -> None:
    encoder = f"""
        encoder (float[1,T,560] x, int32[1] length) => (float[1,T,3] enc, int32[1] enc_length, float[1,T] alphas) {{
            {PAIRS_OF_FRAMES} {onsets("frames", "next_frames", "10.0")}
            scores = Concat<axis=2>(blank, low, high)
            best = ReduceMax<axes=[2], keepdims=0>(scores)
            zero = Sub(best, best)
            begins = Greater(best, zero)
            weights = Cast<to=1>(begins)
            pads = Constant<value_ints=[0,0,0,1]>()
            alphas = Pad(weights, pads)
            pads3 = Constant<value_ints=[0,0,0,0,1,0]>()
            enc = Pad(scores, pads3)
            enc_length = Identity(length)
        }}
    """
    metadata = {
        "model_type": "paraformer",
        "vocab_size": 3,
        "encoder_output_size": 3,
        "decoder_num_blocks": 1,
        "decoder_kernel_size": 3,
        **stacked_frames(1 / math.sqrt(3)),
    }
    save(folder / "encoder.int8.onnx", encoder, metadata)
    decoder = """
        decoder (float[1,T,3] enc, int32[1] enc_length, float[1,n,3] embeds, int32[1] embeds_length,
                 float[1,3,2] in_cache_0)
             => (float[1,n,3] logits, int64[1,n] sample_ids, float[1,3,2] out_cache_0) {
            logits = Identity(embeds)
            sample_ids = ArgMax<axis=2, keepdims=0>(embeds)
            out_cache_0 = Identity(in_cache_0)
        }
    """
    save(folder / "decoder.int8.onnx", decoder)
    write_tokens(folder / "tokens.txt", "<blank>", *(word.removeprefix("▁") for word in words))


def write_sense_voice(folder: Path, words: Sequence[str]) -> None:
    graph = f"""
        sense_voice (float[1,T,560] x, int32[1] length, int32[1] language, int32[1] text_norm)
                 => (float[1,U,7] logits) {{
            {PAIRS_OF_FRAMES} {onsets("frames", "next_frames", "10.0")}
            never = Sub(blank, strength)
            spoken = Concat<axis=2>(blank, low, high, never, never, never, never)
            tag_ids = Constant<value_ints=[3,4,5,6]>()
            depth = Constant<value_int=7>()
            values = Constant<value_floats=[0.0, 1.0]>()
            tags = OneHot(tag_ids, depth, values)
            batch = Constant<value_ints=[0]>()
            prefix = Unsqueeze(tags, batch)
            one_behind = Constant<value_ints=[0,0,0,0,1,0]>()
            padded = Pad(spoken, one_behind)
            logits = Concat<axis=1>(prefix, padded)
        }}
    """
    languages = {f"lang_{name}": number for number, name in enumerate(("auto", "zh", "en", "ja", "ko", "yue"))}
    metadata = {
        "model_type": "sense_voice_ctc",
        "vocab_size": 7,
        "normalize_samples": 0,
        "with_itn": 14,
        "without_itn": 15,
        **languages,
        **stacked_frames(),
    }
    save(folder / "model.int8.onnx", graph, metadata)
    write_tokens(folder / "tokens.txt", "<blk>", *words, "<|en|>", "<|NEUTRAL|>", "<|Speech|>", "<|withitn|>")


def write_paraformer(folder: Path, words: Sequence[str]) -> None:
    graph = f"""
        paraformer (float[N,T,560] x, int32[N] length) => (float[N,n,4] logits, int32[N] token_num) {{
            {PAIRS_OF_FRAMES} {onsets("frames", "next_frames", "10.0")}
            scores = Concat<axis=2>(blank, low, high, blank)
            best = ReduceMax<axes=[2], keepdims=0>(scores)
            zero = Sub(best, best)
            begins = Greater(best, zero)
            begins_once = Squeeze(begins, none)
            logits = Compress<axis=1>(scores, begins_once)
            number = Cast<to=6>(begins)
            token_num = ReduceSum<keepdims=0>(number, one)
        }}
    """
    metadata = {"model_type": "paraformer", "vocab_size": 4, **stacked_frames()}
    save(folder / "model.onnx", graph, metadata)
    write_tokens(folder / "tokens.txt", "<blank>", *(word.removeprefix("▁") for word in words), "</s>")


def write_whisper(folder: Path, words: Sequence[str]) -> None:
    encoder = f"""
        encoder (float[1,80,T] mel) => (float[1,1,n,4] n_layer_cross_k, float[1,1,n,4] n_layer_cross_v) {{
            x = Transpose<perm=[0,2,1]>(mel)
            begin = Constant<value_ints=[0]>()
            before_end = Constant<value_ints=[-10]>()
            shift = Constant<value_ints=[10]>()
            all = Constant<value_ints=[1000000]>()
            time = Constant<value_ints=[1]>()
            step = Constant<value_ints=[10]>()
            loudest = ReduceMax<axes=[1,2]>(x)
            level = Sub(x, loudest)
            frames = Slice(level, begin, before_end, time, step)
            next_frames = Slice(level, shift, all, time, step)
            {onsets("frames", "next_frames", "-0.8")}
            scores = Concat<axis=2>(blank, low, high, blank)
            best = ReduceMax<axes=[2], keepdims=0>(scores)
            zero = Sub(best, best)
            begins = Greater(best, zero)
            begins_once = Squeeze(begins, begin)
            spoken = Compress<axis=1>(scores, begins_once)
            end_of_text = Constant<value = float[1,1,4] {{0.0, 0.0, 0.0, 1.0}}>()
            text = Concat<axis=1>(spoken, end_of_text)
            n_layer_cross_k = Unsqueeze(text, begin)
            n_layer_cross_v = Identity(n_layer_cross_k)
        }}
    """
    metadata = {
        "model_type": "whisper-tiny.en",
        "n_mels": 80,
        "n_text_layer": 1,
        "n_text_ctx": 100,
        "n_text_state": 4,
        "n_vocab": 4,
        "sot": 0,
        "eot": 3,
        "blank_id": 0,
        "translate": 0,
        "transcribe": 0,
        "is_multilingual": 0,
        "no_timestamps": 0,
        "no_speech": 0,
        "sot_sequence": "0",
    }
    save(folder / "tiny.en-encoder.int8.onnx", encoder, metadata)
    # The first call has the start token and "no timestamps" and offset 0; each further one has the last token.
    decoder = """
        decoder (int64[1,n] tokens, float[1,1,100,4] self_k, float[1,1,100,4] self_v,
                 float[1,1,m,4] cross_k, float[1,1,m,4] cross_v, int64[1] offset)
             => (float[1,n,4] logits, float[1,1,100,4] out_self_k, float[1,1,100,4] out_self_v) {
            one = Constant<value_ints=[1]>()
            zero = Constant<value_ints=[0]>()
            layers = Constant<value_ints=[0,1]>()
            index = Sub(offset, one)
            step = Max(index, zero)
            text = Squeeze(cross_k, layers)
            token = Gather<axis=0>(text, step)
            row = Unsqueeze(token, zero)
            token_shape = Shape(tokens)
            four = Constant<value_ints=[4]>()
            shape = Concat<axis=0>(token_shape, four)
            logits = Expand(row, shape)
            out_self_k = Identity(self_k)
            out_self_v = Identity(self_v)
        }
    """
    save(folder / "tiny.en-decoder.int8.onnx", decoder)
    tokens = ["<|startoftranscript|>", *(word.replace("▁", " ") for word in words), "<|endoftext|>"]
    write_tokens(folder / "tiny.en-tokens.txt", *(base64.b64encode(token.encode()).decode() for token in tokens))


def write_moonshine(folder: Path, words: Sequence[str]) -> None:
    preprocess = """
        preprocess (float[1,N] audio) => (float[1,T,2] features) {
            time = Constant<value_ints=[1]>()
            begin = Constant<value_ints=[0]>()
            second = Constant<value_ints=[1]>()
            last = Constant<value_ints=[-1]>()
            end = Constant<value_ints=[1000000000]>()
            now = Slice(audio, second, end, time)
            before = Slice(audio, begin, last, time)
            change = Sub(now, before)
            size = Abs(now)
            speed = Abs(change)
            both = Concat<axis=0>(size, speed)
            channels = Unsqueeze(both, begin)
            pooled = AveragePool<kernel_shape=[384], strides=[384]>(channels)
            features = Transpose<perm=[0,2,1]>(pooled)
        }
    """
    save(folder / "preprocess.onnx", preprocess)
    encode = f"""
        encode (float[1,T,2] x, int32[1] length) => (float[1,T,5] out) {{
            {PAIRS_OF_FRAMES}
            axis = Constant<value_ints=[2]>()
            quiet = Constant<value_float=0.005>()
            strength = Constant<value_float=100.0>()
            past = Slice(frames, none, one, axis)
            past_excess = Sub(past, quiet)
            past_loudness = Relu(past_excess)
            veto = Mul(past_loudness, strength)
            two = Constant<value_ints=[2]>()
            size = Slice(next_frames, none, one, axis)
            speed = Slice(next_frames, one, two, axis)
            limit = Add(quiet, veto)
            lowness = Sub(size, speed)
            highness = Sub(speed, size)
            low = Sub(lowness, limit)
            high = Sub(highness, limit)
            never = Sub(low, low)
            scores = Concat<axis=2>(never, never, never, low, high)
            best = ReduceMax<axes=[2], keepdims=0>(scores)
            zero = Sub(best, best)
            begins = Greater(best, zero)
            begins_once = Squeeze(begins, none)
            spoken = Compress<axis=1>(scores, begins_once)
            end_of_text = Constant<value = float[1,1,5] {{0.0, 0.0, 1.0, 0.0, 0.0}}>()
            x_shape = Shape(x)
            frames_shape = Slice(x_shape, one, two)
            five = Constant<value_ints=[5]>()
            rest_shape = Concat<axis=0>(one, frames_shape, five)
            rest = Expand(end_of_text, rest_shape)
            out = Concat<axis=1>(spoken, rest)
        }}
    """
    save(folder / "encode.int8.onnx", encode)
    for name, state, given in (("uncached", "", ""), ("cached", ", float[1] state", "state")):
        decode = f"""
            decode (int32[1,1] token, float[1,T,5] text, int32[1] length{state})
                => (float[1,1,5] logits, float[1] new_state) {{
                one = Constant<value_int=1>()
                wide = Cast<to=7>(length)
                step = Sub(wide, one)
                logits = Gather<axis=1>(text, step)
                new_state = {f"Identity({given})" if given else "Constant<value_floats=[0.0]>()"}
            }}
        """
        save(folder / f"{name}_decode.int8.onnx", decode)
    write_tokens(folder / "tokens.txt", "<unk>", "<s>", "</s>", *words)


FAMILIES: Mapping[str, Callable[[Path, Sequence[str]], None]] = {
    "streaming transducer": write_streaming_transducer,
    "streaming CTC": write_streaming_ctc,
    "streaming Paraformer": write_streaming_paraformer,
    "SenseVoice": write_sense_voice,
    "Paraformer": write_paraformer,
    "Whisper": write_whisper,
    "Moonshine": write_moonshine,
}
