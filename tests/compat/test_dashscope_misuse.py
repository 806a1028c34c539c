"""Misuse: the exceptions and the words of the official package; and its signatures."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import FRAME, Package

KINDS = ["Recognition", "TranslationRecognizerRealtime", "TranslationRecognizerChat"]
MODELS = {"Recognition": "paraformer-realtime-v2", "TranslationRecognizerRealtime": "gummy-realtime-v1"}
AUDIO = {"format": "pcm", "sample_rate": 16_000}


def recogniser(package: Package, kind: str, callback: Any = None, **options: Any) -> Any:
    return getattr(package.asr, kind)(model=MODELS.get(kind, "gummy-chat-v1"), callback=callback, **AUDIO, **options)


def callback_of(package: Package, kind: str) -> Any:
    name = "RecognitionCallback" if kind == "Recognition" else "TranslationRecognizerCallback"
    return getattr(package.asr, name)()


def started(package: Package, kind: str) -> Any:
    made = recogniser(package, kind, callback_of(package, kind))
    made.start()
    return made


def start_twice(package: Package, kind: str) -> Any:
    made = started(package, kind)
    try:
        made.start()
    finally:
        made.send_audio_frame(FRAME)
        made.stop()


def send_before_start(package: Package, kind: str) -> Any:
    recogniser(package, kind, callback_of(package, kind)).send_audio_frame(FRAME)


def stop_before_start(package: Package, kind: str) -> Any:
    recogniser(package, kind, callback_of(package, kind)).stop()


def stop_twice(package: Package, kind: str) -> Any:
    made = started(package, kind)
    made.send_audio_frame(FRAME)
    made.stop()
    made.stop()


def send_after_stop(package: Package, kind: str) -> Any:
    made = started(package, kind)
    made.stop()
    made.send_audio_frame(FRAME)


def start_without_a_callback(package: Package, kind: str) -> Any:
    recogniser(package, kind).start()


def make_without_a_model(package: Package, kind: str) -> Any:
    getattr(package.asr, kind)(model=None, callback=None, **AUDIO)


def make_without_a_format(package: Package, kind: str) -> Any:
    getattr(package.asr, kind)(model="m", callback=None, format=None, sample_rate=16_000)


def make_without_a_rate(package: Package, kind: str) -> Any:
    getattr(package.asr, kind)(model="m", callback=None, format="pcm", sample_rate=None)


def call_a_missing_file(package: Package, kind: str) -> Any:
    recogniser(package, kind).call("missing.wav")


def call_a_folder(package: Package, kind: str) -> Any:
    recogniser(package, kind).call(".")


def call_an_empty_file(package: Package, kind: str) -> Any:
    Path("empty.wav").touch()
    recogniser(package, kind).call("empty.wav")


def call_while_running(package: Package, kind: str) -> Any:
    made = started(package, kind)
    try:
        made.call("missing.wav")
    finally:
        made.send_audio_frame(FRAME)
        made.stop()


def update_the_context_before_start(package: Package, _: str) -> Any:
    recogniser(package, "Recognition", callback_of(package, "Recognition")).update_context({})


def update_the_context_with_nothing(package: Package, _: str) -> Any:
    made = started(package, "Recognition")
    try:
        made.update_context(None)
    finally:
        made.send_audio_frame(FRAME)
        made.stop()


def call_without_a_key(package: Package, kind: str) -> Any:
    package.settings.api_key = package.settings.api_key_file_path = None
    Path("a.pcm").write_bytes(FRAME)
    recogniser(package, kind).call("a.pcm")


def conversation(package: Package, **options: Any) -> Any:
    arguments = {"model": "qwen3-asr-flash-realtime", "callback": package.omni.OmniRealtimeCallback(), **options}
    return package.omni.OmniRealtimeConversation(**arguments)


def converse_without_a_model(package: Package, _: str) -> Any:
    conversation(package, model=None)


def converse_without_a_callback(package: Package, _: str) -> Any:
    conversation(package, callback=None)


def append_before_connect(package: Package, _: str) -> Any:
    conversation(package).append_audio("AAAA")


def end_before_connect(package: Package, _: str) -> Any:
    conversation(package).end_session()


def create_no_phrases(package: Package, _: str) -> Any:
    package.asr.AsrPhraseManager.create_phrases("m", {})


def query_no_phrases(package: Package, _: str) -> Any:
    package.asr.AsrPhraseManager.query_phrases("")


def use_an_unknown_region(package: Package, _: str) -> Any:
    package.settings.set_region("moon", "ws")


def use_a_region_without_a_workspace(package: Package, _: str) -> Any:
    package.settings.set_region("cn-beijing")


def use_a_malformed_workspace(package: Package, _: str) -> Any:
    package.settings.set_region("cn-beijing", "a/b")


def start_without_the_workspace_of_the_url(package: Package, _: str) -> Any:
    package.settings.base_websocket_api_url = "wss://{workspace_id}.example.com/api-ws/v1/inference"
    Path("a.pcm").write_bytes(FRAME)
    recogniser(package, "Recognition").call("a.pcm")


OF_EVERY_KIND = [
    start_twice,
    send_before_start,
    stop_before_start,
    stop_twice,
    send_after_stop,
    start_without_a_callback,
    make_without_a_model,
    make_without_a_format,
    make_without_a_rate,
]
OF_FILES = [call_a_missing_file, call_a_folder, call_an_empty_file, call_while_running, call_without_a_key]
OF_ONE_KIND = [
    update_the_context_before_start,
    update_the_context_with_nothing,
    converse_without_a_model,
    converse_without_a_callback,
    append_before_connect,
    end_before_connect,
    create_no_phrases,
    query_no_phrases,
    use_an_unknown_region,
    use_a_region_without_a_workspace,
    use_a_malformed_workspace,
    start_without_the_workspace_of_the_url,
]
MISUSES = [
    *((misuse, kind) for misuse in OF_EVERY_KIND for kind in KINDS),
    *((misuse, kind) for misuse in OF_FILES for kind in KINDS[:2]),
    *((misuse, "") for misuse in OF_ONE_KIND),
]


@pytest.mark.parametrize(("misuse", "kind"), MISUSES, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the official package
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_misuse_is_refused_in_the_words_of_the_official_package(  # noqa: PLR0917 - fixtures
    misuse: Callable[[Package, str], Any],
    kind: str,
    face: Package,
    official: Package,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    raised: list[tuple[str, str]] = []
    for package in (face, official):
        monkeypatch.setattr(package.settings, "api_key_file_path", None)
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the classes are compared
            if misuse is call_without_a_key:
                monkeypatch.delenv("DASHSCOPE_API_KEY", raising=False)
            misuse(package, kind)
        raised.append((type(caught.value).__name__, str(caught.value)))
        del caught
    gc.collect()  # what the official package leaves open is no concern of the next test
    ours, theirs = raised
    assert ours == theirs


# --- signatures ------------------------------------------------------------------------------------------------------


def assert_accepts(ours: Any, theirs: Any, name: str) -> None:
    """Assert that everything that one callable accepts is accepted by the other."""
    own, original = inspect.signature(ours), inspect.signature(theirs)
    takes_keywords = any(each.kind is each.VAR_KEYWORD for each in own.parameters.values())
    for place, (key, parameter) in enumerate(original.parameters.items()):
        if parameter.kind is parameter.VAR_KEYWORD:
            assert takes_keywords, name
            continue
        assert key in own.parameters, f"{name}({key}=)"
        accepted = own.parameters[key]
        assert accepted.kind == parameter.kind, f"{name}({key}=)"
        assert list(own.parameters).index(key) == place, f"{name}({key}=)"
        if parameter.default is not parameter.empty:
            assert accepted.default is not accepted.empty, f"{name}({key}=)"
            assert str(accepted.default) == str(parameter.default), f"{name}({key}=)"
    for key, each in own.parameters.items():
        is_required = each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD
        assert not is_required or key in original.parameters, f"{name}({key}=)"


@pytest.mark.parametrize("module", ["asr", "omni"])
def test_every_public_callable_accepts_what_the_official_one_accepts(
    face: Package, official: Package, module: str
) -> None:
    theirs: Any = getattr(official, module)
    ours: Any = getattr(face, module)
    names = (
        {*theirs.__all__} if module == "asr" else {*official.settings.audio.qwen_omni.__all__, "TranscriptionParams"}
    )
    assert names <= {*ours.__all__}
    checked = 0
    for name, original in callables_of_names(theirs, names).items():
        head, _, method = name.partition(".")
        counterpart = getattr(ours, head)
        counterpart = getattr(counterpart, method) if method else counterpart
        if head != "Transcription" and not issubclass(getattr(ours, head), (str, int)):
            checked += 1
            assert_accepts(counterpart, original, name)
    assert checked > 25


def callables_of_names(module: Any, names: set[str]) -> dict[str, Any]:
    """Return the classes and their own public methods; the official base classes have others, for other interfaces."""
    found: dict[str, Any] = {}
    for name in sorted(names):
        member = getattr(module, name)
        if hasattr(member, "__members__"):  # an enum
            assert {*member.__members__}
            continue
        found[name] = member
        for method in vars(member):
            if not method.startswith("_") and callable(getattr(member, method)):
                found[f"{name}.{method}"] = getattr(member, method)
    return found


def test_the_settings_have_the_official_functions(face: Package, official: Package) -> None:
    for name in ("set_region", "save_api_key"):
        assert_accepts(getattr(face.settings, name), getattr(official.settings, name), name)
    official_errors = {name for name in vars(official.error) if inspect.isclass(getattr(official.error, name))}
    assert official_errors - {*vars(face.error)} == {"AssistantError", "MultiInputsWithBinaryNotSupported"}
