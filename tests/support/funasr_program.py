"""A program: FunASR's own real-time server, from its wheel, on a loopback port, with stubs in place of its models.

    python funasr_program.py '[["good", 200, 600], ["morning", 700, 1000]]' [options of funasr-realtime-server]

It prints its port. The code that serves a client is the vendor's (`funasr.bin.realtime_ws.handle_client`); torch, the
recogniser and the detector of speech are stubs. They read audio in which each sample is the number of its millisecond
(`hostile.audio`), so they know the place of it, and recognise the words of the script there. The package itself is not
imported: that would load all of its modules. With `--without-models`, the server finds no models.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import types
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection, serve

SPEECH_END_MS = 250
"""The silence that ends a sentence."""

RATE_PER_MS = 16


class Tensor:
    """An array with the members of `torch.Tensor` that the server uses."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def float(self) -> Tensor:
        return self

    def dim(self) -> int:
        return 1

    def __len__(self) -> int:
        return len(self.values)

    @property
    def places_ms(self) -> Any:
        """The number of the millisecond of each sample in the source; -1 for silence that the server adds."""
        return np.rint(self.values * 32_768).astype(int) - 1


def no_grad() -> Any:
    return lambda function: function


def stub_torch() -> types.ModuleType:
    torch = types.ModuleType("torch")
    members = {
        "Tensor": Tensor,
        "float32": None,
        "from_numpy": Tensor,
        "no_grad": no_grad,
        "zeros": lambda size, dtype=None: Tensor(np.zeros(size)),
    }
    for name, member in members.items():
        setattr(torch, name, member)
    return torch


class Recogniser:
    """In place of the model: the words of which the middle is in the audio, and hot words in their spelling."""

    def __init__(self, words: list[tuple[str, int, int]]) -> None:
        self.words = words
        self.tokenizer = types.SimpleNamespace(encode=list, decode=lambda tokens, **_: "".join(tokens))
        self._engine = self

    def generate(self, inputs: list[Tensor], hotwords: Any = None, language: Any = None, **_: Any) -> list[Any]:
        spellings = {word.casefold(): word for word in hotwords or ()}
        places = inputs[0].places_ms
        first_ms, last_ms = int(places[0]), int(places[-1])
        texts = [text for text, start_ms, end_ms in self.words if first_ms <= (start_ms + end_ms) // 2 < last_ms]
        texts = [spellings.get(text, text) for text in texts]
        return [{"text": " ".join([*([f"{language}:"] if language and texts else []), *texts])}]


class Detector:
    """In place of the detector of speech: words, and the pauses between them that are long enough."""

    def __init__(self, words: list[tuple[str, int, int]]) -> None:
        self.words = words

    def generate(self, input: list[Tensor], cache: dict[str, Any], **_: Any) -> list[Any]:  # noqa: A002 - the server's
        signals: list[list[int]] = []
        for place_ms in input[0].places_ms[::RATE_PER_MS]:
            now_ms = cache["now_ms"] = cache.get("now_ms", -1) + 1
            is_speech = any(start_ms <= place_ms < end_ms for _, start_ms, end_ms in self.words)
            if is_speech:
                cache["spoken_ms"] = now_ms
                if not cache.get("is_open"):
                    cache["is_open"] = True
                    signals.append([now_ms, -1])
            elif cache.get("is_open") and now_ms - cache["spoken_ms"] > SPEECH_END_MS:
                cache["is_open"] = False
                signals.append([-1, cache["spoken_ms"] + 1])
        return [{"value": signals}]


def load_server(words: list[tuple[str, int, int]]) -> Any:
    """Return the vendor's module, with its models replaced."""
    found = importlib.util.find_spec("funasr")
    assert found is not None
    package = types.ModuleType("funasr")
    package.__path__ = found.submodule_search_locations or []
    sys.modules.update(funasr=package, torch=stub_torch())
    server: Any = importlib.import_module("funasr.bin.realtime_ws")
    server._vllm_engine, server._asr_kwargs, server._vad_model = Recogniser(words), {}, Detector(words)
    return server


async def main(words: list[tuple[str, int, int]], options: list[str]) -> None:
    server = load_server(words)
    arguments, _ = server.build_arg_parser().parse_known_args(options)

    if "--without-models" in options:
        server._vllm_engine = None  # loaded with the first client, which fails: there are none

    async def handle(connection: ServerConnection) -> None:
        await server.handle_client(connection, arguments)

    async with serve(handle, "127.0.0.1", 0, **server.build_websocket_serve_kwargs(arguments)) as listening:
        sys.stdout.write(f"{next(iter(listening.sockets)).getsockname()[1]}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)  # until the test closes it


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1]), sys.argv[2:]))
