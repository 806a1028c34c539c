"""The command line: in this process with click's runner, and as a process for terminals, signals and pipes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from click.testing import Result as Outcome

from asr_async import Local, __version__
from asr_async.cli import display as display_module
from asr_async.cli import main
from asr_async.cli import transcribe as transcribe_module
from asr_async.cli.app import app
from asr_async.cli.display import crop_start, display_for
from asr_async.cli.exit_status import ExitStatus, run
from asr_async.cli.model_options import option_values
from asr_async.cli.outputs import FileOutput, OutputPart, StandardOutput
from asr_async.cli.transcribe import summary_line
from asr_async.emulator import EngineRefusedError, Scripted, serve
from asr_async.results import Result, SessionStats
from asr_async.vendors import options_for_model

from ..support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asr_async.emulator import Emulator, Engine
    from asr_async.emulator.engines.engine import Emit, Recognition, Request

SCRIPT = [
    {"text": "go forward ten meters", "start_ms": 200, "end_ms": 1_400},
    {"text": "今天天气不错。", "start_ms": 1_700, "end_ms": 2_700},
]
CLIP = ROOT / "examples" / "audio" / "demo.wav"
FINALS = "go forward ten meters\n今天天气不错。\n"
SUMMARY = re.compile(r"10 words · first result after \d+ ms · 3\.0 s of audio in \d+\.\d s")
ESCAPE = "\x1b"
PACED = "20"
"""Slow enough to receive each interim; at full speed a final replaces them."""


# --- recordings and recognisers ------------------------------------------------------------------------------------


def write_wav(path: Path, seconds: float = 3.0, *, rate: int = 16_000, channels: int = 1, width: int = 2) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setframerate(rate)
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.writeframes(bytes(int(seconds * rate) * channels * width))
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "clip.wav")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.json"
    path.write_text(json.dumps(SCRIPT), encoding="utf-8")
    return path


class CountingEngine(Scripted):
    """An engine that counts the recognitions."""

    opened = 0

    async def open(self, request: Request, emit: Emit) -> Any:
        self.opened += 1
        return await super().open(request, emit)


class FailingOnceEngine(CountingEngine):
    """An engine that fails in its first recognition, after two seconds of audio."""

    async def open(self, request: Request, emit: Emit) -> Any:
        recognition = await super().open(request, emit)
        return _FailingRecognition(recognition) if self.opened == 1 else recognition


class _FailingRecognition:
    def __init__(self, recognition: Recognition) -> None:
        self._recognition = recognition
        self._received_bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._recognition, name)

    async def feed(self, samples: bytes) -> None:
        self._received_bytes += len(samples)
        if self._received_bytes > 2 * 32_000:
            raise EngineRefusedError("the engine stumbled", kind="unsupported")  # an error that is not retried
        await self._recognition.feed(samples)


BAD = b"\x07\x00"
"""A sample that `BadAudioEngine` refuses."""


class BadAudioEngine(Scripted):
    """An engine that fails after audio with a `BAD` sample."""

    async def open(self, request: Request, emit: Emit) -> Any:
        return _BadAudioRecognition(await super().open(request, emit))


class _BadAudioRecognition:
    def __init__(self, recognition: Recognition) -> None:
        self._recognition = recognition

    def __getattr__(self, name: str) -> Any:
        return getattr(self._recognition, name)

    async def feed(self, samples: bytes) -> None:
        await self._recognition.feed(samples)
        if BAD in samples:
            raise EngineRefusedError("the engine stumbled", kind="unsupported")


@contextlib.contextmanager
def emulator_thread(engine: Engine, **settings: Any) -> Iterator[str]:
    """Run an emulator in a thread and yield its URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    emulator: Emulator = serve(engine, **settings)
    try:
        asyncio.run_coroutine_threadsafe(emulator.__aenter__(), loop).result()
        yield emulator.dashscope_url
        asyncio.run_coroutine_threadsafe(emulator.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def engine() -> CountingEngine:
    return CountingEngine(SCRIPT)


@pytest.fixture
def url(engine: CountingEngine) -> Iterator[str]:
    with emulator_thread(engine) as url:
        yield url


def environment(url: str | None) -> dict[str, str]:
    """Return the environment of this process, with the URL of an emulator, or without a key."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DASHSCOPE_", "FORCE_"))}
    kept = {"PYTHONIOENCODING": "utf-8"} | kept | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}
    return kept if url is None else kept | vendor_at(url)


def vendor_at(url: str) -> dict[str, str]:
    return {"DASHSCOPE_API_KEY": "sk-of-this-test", "DASHSCOPE_WEBSOCKET_BASE_URL": url}


def invoke(*arguments: object, url: str | None = None) -> Outcome:
    env: dict[str, str | None] = {"DASHSCOPE_API_KEY": None, "DASHSCOPE_WEBSOCKET_BASE_URL": None}
    env |= vendor_at(url) if url else {}
    return CliRunner(env=env).invoke(app, [str(argument) for argument in arguments])


def transcribe(*arguments: object, url: str | None = None) -> Outcome:
    return invoke("transcribe", "--pace", "max", *arguments, url=url)


def words(text: str) -> list[str]:
    """Return the words in lower case without punctuation, as the recogniser writes them."""
    return re.findall(r"[a-z']+", text.lower())


# --- as a process ----------------------------------------------------------------------------------------------------

COMMAND = (sys.executable, "-m", "asr_async")

# A shell that runs the tests in the background makes its children ignore SIGINT, and Python does not change that.
INTERRUPTIBLE = (
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from asr_async.cli import main; main()",
)


WITHOUT_UVLOOP = (*INTERRUPTIBLE[:2], f"import sys; sys.modules['uvloop'] = None; {INTERRUPTIBLE[2]}")


def process(
    *arguments: object,
    url: str | None = None,
    command: tuple[str, ...] = COMMAND,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
) -> subprocess.Popen[bytes]:
    line = [*command, *map(str, arguments)]
    # Unbuffered, since `communicate` does not read what `readline` left in the buffer.
    return subprocess.Popen(
        line,
        env=environment(url),
        cwd=ROOT,
        bufsize=0,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
    )


def finished(*arguments: object, url: str | None = None) -> tuple[int, str, str]:
    with process(*arguments, url=url) as running:
        out, err = running.communicate(timeout=60)
    return running.returncode, out.decode(), err.decode()


def on_terminal(*arguments: object, url: str, share: bool = False) -> tuple[int, str, str]:
    """Run with standard error, or both, on a terminal; return the status, standard output and the terminal's text."""
    terminal, child_end = pty.openpty()
    with process(*arguments, url=url, stdout=child_end if share else subprocess.PIPE, stderr=child_end) as running:
        os.close(child_end)
        shown = read_terminal(terminal)
        out = b"" if share or running.stdout is None else running.stdout.read()
    return running.returncode, out.decode(), shown.decode()


def read_terminal(terminal: int) -> bytes:
    """Read until the other end is closed, which Linux reports as an error and other systems as an end of file."""
    shown = b""
    with contextlib.closing(os.fdopen(terminal, "rb", buffering=0)) as file:
        while True:
            chunk = b""
            with contextlib.suppress(OSError):
                chunk = file.read(65_536)
            if not chunk:
                return shown
            shown += chunk


# --- transcribe: transcripts -----------------------------------------------------------------------------------------


class TestFormats:
    def test_text_has_one_line_per_final(self, clip: Path, url: str) -> None:
        outcome = transcribe(clip, url=url)
        assert (outcome.exit_code, outcome.stdout) == (0, FINALS)

    def test_times_are_printed_before_the_text(self, clip: Path, url: str) -> None:
        lines = transcribe(clip, "--times", url=url).stdout.splitlines()
        assert lines[0] == "[00:00.2 → 00:01.4] go forward ten meters"

    def test_interims_and_the_summary_are_printed_on_standard_error(self, clip: Path, url: str) -> None:
        *interims, summary = transcribe(clip, "--pace", PACED, url=url).stderr.splitlines()
        assert interims
        assert all(line.startswith("… ") for line in interims)
        assert SUMMARY.fullmatch(summary)

    def test_jsonl_includes_interims(self, clip: Path, url: str) -> None:
        outcome = transcribe(clip, "--format", "jsonl", "--pace", PACED, url=url)
        records = [json.loads(line) for line in outcome.stdout.splitlines()]
        assert [record["text"] for record in records if record["is_final"]] == FINALS.splitlines()
        assert any(not record["is_final"] for record in records)
        assert {record["file"] for record in records} == {str(clip)}
        assert outcome.stderr == ""

    def test_srt_has_numbered_cues(self, clip: Path, url: str) -> None:
        outcome = transcribe(clip, "--format", "srt", url=url)
        assert outcome.stdout.startswith("1\n00:00:00,200 --> 00:00:01,400\ngo forward ten meters\n\n2\n")
        assert outcome.stderr == ""

    def test_vtt_has_a_header_and_cues(self, clip: Path, url: str) -> None:
        outcome = transcribe(clip, "--format", "vtt", url=url)
        assert outcome.stdout.startswith("WEBVTT\n\n00:00:00.200 --> 00:00:01.400\ngo forward ten meters\n\n")
        assert outcome.stderr == ""


class LongestFirstEngine(CountingEngine):
    """An engine that records how many recognitions had begun when the longest one received its last audio."""

    opened_before_the_longest_ended = 0

    async def open(self, request: Request, emit: Emit) -> Any:
        return _LongRecognition(self, await super().open(request, emit))


class _LongRecognition:
    def __init__(self, engine: LongestFirstEngine, recognition: Recognition) -> None:
        self._engine = engine
        self._recognition = recognition
        self._received_bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._recognition, name)

    async def feed(self, samples: bytes) -> None:
        self._received_bytes += len(samples)
        await self._recognition.feed(samples)

    async def finish(self) -> None:
        if self._received_bytes > 5 * 32_000:
            self._engine.opened_before_the_longest_ended = self._engine.opened
        await self._recognition.finish()


class TestSeveralFiles:
    def test_transcripts_keep_the_order_of_the_files(self, clip: Path, tmp_path: Path, url: str) -> None:
        short = [write_wav(tmp_path / f"{number}.wav", 1.5) for number in range(12)]
        outcome = transcribe(*short[:3], clip, *short[3:], "--pace", "20", url=url)
        summaries = [line.partition(": ") for line in outcome.stderr.splitlines()]
        assert outcome.exit_code == 0
        assert outcome.stdout == 3 * "go forward ten meters\n" + FINALS + 9 * "go forward ten meters\n"
        assert {name for name, _, _ in summaries} == {str(clip), *map(str, short)}
        assert all(" words · " in line for _, _, line in summaries)

    @pytest.mark.parametrize("concurrency", ["1", "2"])
    def test_interims_are_shown_only_if_files_are_sequential(
        self, concurrency: str, clip: Path, tmp_path: Path, url: str
    ) -> None:
        second = write_wav(tmp_path / "second.wav", 1.5)
        outcome = transcribe(clip, second, "-j", concurrency, "--pace", PACED, url=url)
        lines = outcome.stderr.splitlines()
        summarised = [line.partition(": ")[0] for line in lines if " words · " in line]
        assert outcome.stdout == FINALS + "go forward ten meters\n"
        assert sorted(summarised) == [str(clip), str(second)]
        assert any(line.startswith("… ") for line in lines) == (concurrency == "1")

    def test_files_are_not_started_too_far_ahead_of_an_unfinished_one(self, tmp_path: Path) -> None:
        engine = LongestFirstEngine(SCRIPT)
        long = write_wav(tmp_path / "long.wav", 6)
        short = [write_wav(tmp_path / f"{number}.wav", 0.5) for number in range(16)]
        with emulator_thread(engine) as url:
            outcome = transcribe(long, *short, "--pace", "4", "--concurrency", "2", url=url)
        assert outcome.stdout.startswith(FINALS)
        assert engine.opened_before_the_longest_ended == 1 + 2 * transcribe_module.AHEAD_FACTOR
        assert engine.opened == 17

    def test_the_file_that_fails_is_named(self, clip: Path, tmp_path: Path) -> None:
        others = [write_wav(tmp_path / f"{number}.wav") for number in range(4)]
        bad = tmp_path / "bad.wav"
        bad.write_bytes(clip.read_bytes()[:-2] + BAD)
        with emulator_thread(BadAudioEngine(SCRIPT)) as url:
            outcome = transcribe(*others[:2], bad, *others[2:], url=url)
        assert outcome.exit_code == 1
        assert outcome.stdout == 5 * FINALS
        assert f"asr-async: {bad}: the engine stumbled" in outcome.stderr
        assert outcome.stderr.count("asr-async: ") == 1

    def test_jsonl_names_the_file_of_each_result(self, clip: Path, tmp_path: Path, url: str) -> None:
        second = write_wav(tmp_path / "second.wav", 1.5)
        outcome = transcribe(clip, second, "--format", "jsonl", url=url)
        records = [json.loads(line) for line in outcome.stdout.splitlines()]
        files = [record["file"] for record in records]
        assert files == sorted(files)
        assert set(files) == {str(clip), str(second)}

    def test_jsonl_includes_the_interims_of_all_files(self, clip: Path, tmp_path: Path, url: str) -> None:
        second = write_wav(tmp_path / "second.wav", 1.5)
        outcome = transcribe(clip, second, "--format", "jsonl", "--pace", PACED, url=url)
        records = [json.loads(line) for line in outcome.stdout.splitlines()]
        assert {record["file"] for record in records if not record["is_final"]} == {str(clip), str(second)}

    def test_a_file_that_fails_does_not_stop_the_others(self, clip: Path, tmp_path: Path) -> None:
        second = write_wav(tmp_path / "second.wav")
        with emulator_thread(FailingOnceEngine(SCRIPT)) as url:
            outcome = transcribe(clip, second, "--concurrency", "1", url=url)
        assert outcome.exit_code == 1
        assert outcome.stdout == "go forward ten meters\n" + FINALS
        assert f"asr-async: {clip}: the engine stumbled" in outcome.stderr
        assert outcome.stderr.count("asr-async: ") == 1


class TestOutput:
    def test_a_file_receives_the_transcript(self, clip: Path, tmp_path: Path, url: str) -> None:
        outcome = transcribe(clip, "--output", tmp_path / "out.txt", url=url)
        assert (outcome.exit_code, outcome.stdout) == (0, "")
        assert (tmp_path / "out.txt").read_bytes() == FINALS.encode()

    def test_an_existing_file_is_overwritten(self, clip: Path, tmp_path: Path, url: str) -> None:
        (tmp_path / "out.txt").write_text("an older transcript\n", encoding="utf-8")
        transcribe(clip, "--output", tmp_path / "out.txt", url=url)
        assert (tmp_path / "out.txt").read_bytes() == FINALS.encode()

    def test_several_transcripts_share_one_file(self, clip: Path, tmp_path: Path, url: str) -> None:
        second = write_wav(tmp_path / "second.wav")
        transcribe(clip, second, "--output", tmp_path / "out.txt", url=url)
        assert (tmp_path / "out.txt").read_bytes() == 2 * FINALS.encode()

    @pytest.mark.parametrize("name", ["text", "jsonl", "srt", "vtt"])
    def test_a_directory_with_a_trailing_slash_is_created(
        self, name: str, clip: Path, tmp_path: Path, url: str
    ) -> None:
        second = write_wav(tmp_path / "second.part.wav")
        outcome = transcribe(clip, second, "--format", name, "--output", f"{tmp_path}/new/deep/", url=url)
        extension = "txt" if name == "text" else name
        assert outcome.exit_code == 0
        written = sorted(path.name for path in (tmp_path / "new" / "deep").iterdir())
        assert written == [f"clip.{extension}", f"second.part.{extension}"]

    def test_an_existing_directory_receives_one_file_per_input(self, clip: Path, tmp_path: Path, url: str) -> None:
        (tmp_path / "out").mkdir()
        transcribe(clip, "--output", tmp_path / "out", url=url)
        assert (tmp_path / "out" / "clip.txt").read_bytes() == FINALS.encode()

    def test_results_before_an_error_are_written(self, clip: Path, tmp_path: Path) -> None:
        with emulator_thread(FailingOnceEngine(SCRIPT)) as url:
            outcome = transcribe(clip, "--output", tmp_path / "out.txt", url=url)
        assert outcome.exit_code == 1
        assert (tmp_path / "out.txt").read_text(encoding="utf-8") == "go forward ten meters\n"

    def test_an_output_that_cannot_be_opened_is_reported(
        self, clip: Path, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refused(_output: FileOutput) -> None:
            raise PermissionError(errno.EACCES, "Permission denied", "out.txt")

        monkeypatch.setattr(FileOutput, "__enter__", refused)
        outcome = transcribe(clip, "--output", tmp_path / "out.txt", url=url)
        assert outcome.exit_code == 1
        assert outcome.stderr == f"asr-async: {clip}: out.txt: Permission denied\n"


class BrokenOutput(StandardOutput):
    """An output that writes a number of texts and then raises."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.written: list[str] = []

    def write(self, text: str) -> None:
        if len(self.written) == self._count:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.written.append(text)


class TestOutputParts:
    def test_a_part_buffers_until_all_parts_before_it_are_closed(self) -> None:
        output = BrokenOutput(99)
        third = OutputPart(output, None, is_first=False)
        second = OutputPart(output, third, is_first=False)
        first = OutputPart(output, second, is_first=True)
        with third:
            third.write("5")
            with first:
                with second:
                    second.write("3")
                    assert "2 texts buffered" not in repr(second)
                    second.write("4")
                    assert "2 texts buffered" in repr(second)
                first.write("1")
                first.write("2")
            assert "direct" in repr(third)
            third.write("6")
        assert output.written == ["", "1", "2", "34", "5", "6"]

    async def test_a_part_that_cannot_write_still_starts_the_next_part(self) -> None:
        output = BrokenOutput(1)
        third = OutputPart(output, None, is_first=False)
        second = OutputPart(output, third, is_first=False)
        first = OutputPart(output, second, is_first=True)
        with second:
            second.write("buffered")
        with pytest.raises(OSError, match="No space left"), first:
            pass
        async with asyncio.timeout(1):
            await third.wait_until_direct()


# --- transcribe: wrong use, refused before connecting --------------------------------------------------------------

USAGE_ERRORS = {
    "model": (["--model", "fun-asr-realtim"], "unknown model 'fun-asr-realtim': did you mean 'fun-asr-realtime'?"),
    "no value": (["--option", "heartbeat"], "--option must be KEY=VALUE, not 'heartbeat'"),
    "unknown option": (
        ["--option", "language_hint=zh"],
        (
            "Paraformer has no option 'language_hint'; did you mean language_hints? "
            "Its options: disfluency_removal_enabled,"
        ),
    ),
    "nothing like it": (["--option", "zzz=1"], "Paraformer has no option 'zzz'. Its options: "),
    "model as an option": (["--option", "model=fun-asr-realtime"], "use --model instead of --option model=…"),
    "integer": (["--option", "sample_rate=high"], "--option sample_rate=high: expected a whole number"),
    "boolean": (["--option", "heartbeat=maybe"], "--option heartbeat=maybe: expected true or false"),
    "number": (
        ["--model", "fun-asr-realtime", "--option", "speech_noise_threshold=x"],
        "--option speech_noise_threshold=x: expected a number",
    ),
    "list": (
        ["--model", "fun-asr-realtime", "--option", "context=hello"],
        "--option context=hello: expected a list, as JSON",
    ),
    "out of range": (["--option", "max_sentence_silence=1"], "max_sentence_silence=1: must be between 200 and 6000"),
    "not of this model": (
        ["--model", "paraformer-realtime-v1", "--option", "language_hints=zh"],
        "paraformer-realtime-v1 does not have it",
    ),
    "pace zero": (["--pace", "0"], "'0' is neither a positive number nor max"),
    "pace word": (["--pace", "fast"], "'fast' is neither a positive number nor max"),
    "pace not a number": (["--pace", "nan"], "'nan' is neither a positive number nor max"),
    "concurrency": (["--concurrency", "0"], "0 is not in the range x>=1"),
    "pace infinite": (["--pace", "inf"], "'inf' is neither a positive number nor max"),
    "format": (["--format", "docx"], "'docx' is not one of 'text', 'jsonl', 'srt', 'vtt'"),
    "service": (["--service", "acme"], "'acme' is not one of 'auto', 'local', 'dashscope'"),
    "times": (["--times", "--format", "srt"], "--times and --no-times are for text; srt always has times"),
    "two files in srt": (
        ["other.wav", "--format", "srt"],
        "a file in srt holds one transcript: for several files, use a directory, as --output subtitles/",
    ),
    "two files in one vtt": (
        ["other.wav", "--format", "vtt", "--output", "out.vtt"],
        "a file in vtt holds one transcript: for several files, use a directory, as --output subtitles/",
    ),
    "no such directory": (
        ["--output", "nowhere/out.txt"],
        "--output nowhere/out.txt: the directory nowhere does not exist",
    ),
    "a file as directory": (["--output", "clip.wav/"], "--output clip.wav: File exists"),
    "the recording itself": (["--output", "./clip.wav"], "--output clip.wav is one of the files to transcribe"),
    "two of one name": (
        ["copy/other.wav", "other.wav", "--output", "out/"],
        "--output out: 2 of the files would be written to the same other.txt",
    ),
}


@pytest.fixture
def three_clips(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "copy").mkdir()
    for name in ("other.wav", "copy/other.wav"):
        write_wav(tmp_path / name)
    assert clip.parent == tmp_path


@pytest.mark.usefixtures("three_clips")
@pytest.mark.parametrize(("arguments", "message"), USAGE_ERRORS.values(), ids=USAGE_ERRORS)
def test_wrong_use_is_refused_before_connecting(
    arguments: list[str], message: str, engine: CountingEngine, url: str
) -> None:
    outcome = invoke("transcribe", "clip.wav", *arguments, url=url)
    assert outcome.exit_code == 2
    assert message in outcome.stderr
    assert outcome.stdout == ""
    assert engine.opened == 0


def test_a_call_without_a_file_is_refused() -> None:
    outcome = invoke("transcribe")
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert "Missing argument 'FILE...'" in outcome.stderr


def test_an_unknown_command_is_refused() -> None:
    outcome = invoke("transcripe")
    assert outcome.exit_code == 2
    assert "No such command 'transcripe'" in outcome.stderr


def test_a_vendor_without_a_key_is_refused(clip: Path) -> None:
    outcome = transcribe(clip, "--service", "dashscope")
    assert outcome.exit_code == 2
    assert "--service dashscope needs a key: set DASHSCOPE_API_KEY" in outcome.stderr


def test_a_model_of_another_vendor_is_refused(clip: Path) -> None:
    outcome = transcribe(clip, "--service", "huawei", "--model", "paraformer-realtime-v2")
    assert outcome.exit_code == 2
    assert "--service huawei has no model paraformer-realtime-v2: it is a model of dashscope" in outcome.stderr


def test_each_vendor_has_a_default_model(clip: Path) -> None:
    outcome = transcribe(clip, "--service", "huawei")
    assert outcome.exit_code == 2
    assert "--service huawei needs a key: set HUAWEICLOUD_SIS_AK and HUAWEICLOUD_SIS_SK and" in outcome.stderr


@pytest.mark.parametrize("model", ["continue", "huawei/continue"])
def test_the_modes_of_huawei_are_model_names(clip: Path, model: str) -> None:
    outcome = transcribe(clip, "--service", "local", "--model", model, "--option", "vad_tail=9000")
    assert outcome.exit_code == 2
    assert "vad_tail=9000: must be between 0 and 3000 ms" in outcome.stderr


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (
            "property=chinese_8k_general",
            "property='chinese_8k_general' is for 8 kHz, audio_format='pcm16k16bit' has",
        ),
        ("audio_format=mp3", "audio_format='mp3': known are alaw16k8bit"),
        ("add_punc=maybe", "--option add_punc=maybe: expected true or false"),
    ],
)
def test_wrong_options_of_huawei_are_refused(clip: Path, assignment: str, message: str) -> None:
    outcome = transcribe(clip, "--service", "local", "--model", "short", "--option", assignment)
    assert outcome.exit_code == 2
    assert message in outcome.stderr


def test_a_recording_longer_than_the_mode_accepts_is_refused(tmp_path: Path) -> None:
    write_wav(tmp_path / "long.wav", 90)
    outcome = transcribe(tmp_path / "long.wav", "--service", "local", "--model", "huawei/short")
    assert outcome.exit_code == 2
    assert "is 90.0 s long: huawei/short accepts at most 60 s" in outcome.stderr


def _float_wav(path: Path) -> None:
    write_wav(path, 0.5, width=4)
    content = bytearray(path.read_bytes())
    content[20:22] = (3).to_bytes(2, "little")  # the format tag of floating-point samples
    path.write_bytes(content)


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda _path: None, "No such file or directory"),
    "directory": (Path.mkdir, "Is a directory"),
    "empty": (Path.touch, "is empty"),
    "not audio": (lambda path: path.write_text("hello", encoding="utf-8"), "is not a WAV file: convert it with"),
    "no samples": (lambda path: write_wav(path, 0), "has no samples"),
    "rate": (lambda path: write_wav(path, rate=8_000), "has 8000 Hz, but the options declare sample_rate=16000"),
    "stereo": (lambda path: write_wav(path, channels=2), "has 2 channels, but only mono is supported"),
    "24 bit": (lambda path: write_wav(path, width=3), "has 24-bit samples, but only 16-bit samples are supported"),
    "float": (_float_wav, "has floating-point samples, but only 16-bit samples are supported"),
}


@pytest.mark.parametrize(("make", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_of_a_wrong_format_is_refused_before_connecting(
    *, make: Callable[[Path], object], message: str, clip: Path, tmp_path: Path, engine: CountingEngine, url: str
) -> None:
    bad = tmp_path / "bad.wav"
    make(bad)
    outcome = transcribe(clip, bad, "--output", f"{tmp_path}/out/", url=url)
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert outcome.stderr.startswith(f"asr-async: {bad}: {message}")
    assert outcome.stderr.count("\n") == 1
    assert engine.opened == 0
    assert not (tmp_path / "out").exists()


def test_every_wrong_file_is_named(tmp_path: Path, url: str) -> None:
    outcome = transcribe(tmp_path / "a.wav", tmp_path / "b.wav", url=url)
    assert outcome.exit_code == 2
    assert [Path(line.split(": ")[1]).name for line in outcome.stderr.splitlines()] == ["a.wav", "b.wav"]


# --- transcribe: failures -------------------------------------------------------------------------------------------


def test_an_unreachable_service_is_reported_on_one_line(clip: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    outcome = transcribe(clip, url=f"ws://127.0.0.1:{port}/api-ws/v1/inference")
    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith(f"asr-async: {clip}: ")
    assert outcome.stderr.count("\n") == 1


def test_a_refused_key_is_reported_without_the_key(clip: Path) -> None:
    with emulator_thread(Scripted(SCRIPT), api_keys={"another"}) as url:
        outcome = transcribe(clip, url=url)
    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert "asr-async: " in outcome.stderr
    assert "sk-of-this-test" not in outcome.stderr


def test_a_malformed_endpoint_is_wrong_use(clip: Path) -> None:
    outcome = transcribe(clip, url="nonsense")
    assert outcome.exit_code == 2
    assert "endpoint='nonsense': must be a whole WebSocket URL" in outcome.stderr


def test_an_unexpected_exception_is_raised(clip: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(transcribe_module, "writer_for", broken)
    assert isinstance(transcribe(clip, url=url).exception, ZeroDivisionError)


# --- transcribe: the service -----------------------------------------------------------------------------------------


@pytest.fixture
def local_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcribe_module, "Local", lambda: Local(Scripted(SCRIPT)))


@pytest.mark.usefixtures("local_script")
class TestLocal:
    def test_auto_without_a_key_uses_the_local_service_and_reports_it(self, clip: Path) -> None:
        outcome = transcribe(clip, "--format", "srt")
        assert outcome.exit_code == 0
        assert outcome.stderr == (
            "asr-async: DASHSCOPE_API_KEY is not set: using the embedded recogniser (--service local)\n"
        )

    def test_service_local_reports_nothing(self, clip: Path) -> None:
        outcome = transcribe(clip, "--service", "local", "--format", "srt")
        assert (outcome.exit_code, outcome.stderr) == (0, "")

    def test_service_local_is_used_even_with_a_key(self, clip: Path, engine: CountingEngine, url: str) -> None:
        assert transcribe(clip, "--service", "local", url=url).stdout == FINALS
        assert engine.opened == 0

    def test_all_files_share_one_emulator(self, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        started = []
        start = Local.__aenter__

        async def counted(service: Local) -> Local:
            started.append(service)
            return await start(service)

        monkeypatch.setattr(Local, "__aenter__", counted)
        assert transcribe(clip, clip).stdout == 2 * FINALS
        assert len(started) == 1


def test_a_missing_embedded_recogniser_is_reported_with_its_extra(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    outcome = transcribe(clip, "--service", "local")
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert outcome.stderr == "asr-async: the embedded recogniser is not installed: pip install 'asr-async[local]'\n"


def test_the_embedded_recogniser_transcribes_the_demo() -> None:
    status, out, err = finished("transcribe", CLIP, "--service", "local", "--pace", "max")
    assert status == 0
    assert words(out) == words(CLIP.with_suffix(".txt").read_text(encoding="utf-8"))
    assert " words · first result after " in err


def test_options_reach_the_vendor(tmp_path: Path) -> None:
    requests: list[Request] = []

    class RecordingEngine(Scripted):
        async def open(self, request: Request, emit: Emit) -> Any:
            requests.append(request)
            return await super().open(request, emit)

    telephone = write_wav(tmp_path / "telephone.wav", rate=8_000)
    options = ["--option", "sample_rate=8000", "--option", "language_hints=zh,en"]
    with emulator_thread(RecordingEngine(SCRIPT)) as url:
        outcome = transcribe(telephone, *options, url=url)
    assert (outcome.exit_code, outcome.stdout) == (0, FINALS)
    assert (requests[0].sample_rate, requests[0].languages) == (8_000, ("zh", "en"))


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("heartbeat=true", True),
        ("heartbeat=YES", True),
        ("heartbeat=1", True),
        ("heartbeat=no", False),
        ("heartbeat=0", False),
        ("heartbeat=False", False),
        ("sample_rate=16000", 16_000),
        ("format=wav", "wav"),
        ("vocabulary_id=vocab-1=x", "vocab-1=x"),
        ("vocabulary_id=123", "123"),
        ("special_word_filter={}", "{}"),
        ("speech_noise_threshold=-0.5", -0.5),
        ("language_hints=zh", ("zh",)),
        ('language_hints=["zh"]', ("zh",)),
        ('extra_parameters={"a": [1]}', {"a": [1]}),
    ],
)
def test_option_values_have_the_type_of_the_option(assignment: str, value: object) -> None:
    key = assignment.partition("=")[0]
    options_class = options_for_model("fun-asr-realtime")
    options = options_class(**option_values(options_class, [assignment]))
    assert getattr(options, key) == value


# --- the live display ------------------------------------------------------------------------------------------------


class TestTerminal:
    def test_the_interim_is_rewritten_in_place(self, clip: Path, url: str) -> None:
        status, out, shown = on_terminal("transcribe", clip, "--pace", PACED, url=url)
        assert (status, out) == (0, FINALS)
        assert f"\r{ESCAPE}[2K" in shown
        assert "… " in shown
        assert "elapsed" not in shown
        assert SUMMARY.search(shown)

    def test_long_audio_has_a_progress_bar(self, tmp_path: Path, url: str) -> None:
        status, out, shown = on_terminal("transcribe", write_wav(tmp_path / "a.wav", 11), "--pace", "max", url=url)
        assert (status, out) == (0, FINALS)
        assert "/ 0:11 ·" in shown

    def test_finals_are_on_lines_of_their_own_on_a_shared_terminal(self, clip: Path, url: str) -> None:
        arguments = ("transcribe", clip, "--pace", PACED, "--no-times")
        status, _, shown = on_terminal(*arguments, url=url, share=True)
        assert status == 0
        for line in FINALS.splitlines():
            assert f"{ESCAPE}[2K{line}\r\n" in shown

    def test_times_are_printed_on_a_terminal_by_default(self, clip: Path, url: str) -> None:
        _, _, shown = on_terminal("transcribe", clip, "--pace", "max", url=url, share=True)
        assert "[00:00.2 → 00:01.4] go forward ten meters" in shown

    def test_characters_that_the_terminal_cannot_encode_are_replaced(
        self, clip: Path, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PYTHONIOENCODING", "ascii")
        status, _, shown = on_terminal("transcribe", clip, "--pace", "max", url=url, share=True)
        assert status == 0
        assert "[00:00.2 ? 00:01.4] go forward ten meters" in shown
        assert "???????" in shown

    @pytest.mark.parametrize("name", ["text", "jsonl", "srt", "vtt"])
    def test_a_pipe_receives_no_control_codes(self, name: str, tmp_path: Path, url: str) -> None:
        long = write_wav(tmp_path / "a.wav", 11)
        status, out, err = finished("transcribe", long, "--pace", "max", "--format", name, url=url)
        assert status == 0
        assert ESCAPE not in out + err
        assert "\r" not in out + err

    def test_an_interim_without_a_final_stays_visible(self, clip: Path) -> None:
        with emulator_thread(FailingOnceEngine(SCRIPT)) as url:
            status, out, shown = on_terminal("transcribe", clip, "--pace", "max", url=url)
        assert (status, out) == (1, "go forward ten meters\n")
        assert re.search(r"… 今.*\r\nasr-async: .*the engine stumbled", shown)


class Screen(io.StringIO):
    """A terminal in memory."""

    def isatty(self) -> bool:
        return True

    @property
    def plain(self) -> str:
        """The written text without colours, with `<` for the sequence that erases the line."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.getvalue()).replace(f"\r{ESCAPE}[2K", "<")


class ScreenOutput(StandardOutput):
    """An output on the same terminal as standard error."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def write(self, text: str) -> None:
        self._screen.write(text)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    return Screen()


def display_on(screen: Screen, progress: display_module.Progress | None = None) -> display_module.Display:
    return display_for(ScreenOutput(screen), progress, lines=True)


class TestDisplay:
    def test_a_final_replaces_the_interim(self, screen: Screen) -> None:
        with contextlib.redirect_stderr(screen), display_on(screen) as display:
            display.show("", "go")
            display.show("", "go forward")
            display.show("go forward\n", "")
        assert screen.plain == "… go<… go forward<go forward\n"

    def test_an_unconfirmed_interim_stays_visible(self, screen: Screen) -> None:
        with contextlib.redirect_stderr(screen), display_on(screen) as display:
            display.show("", "go")
        assert screen.plain == "… go<… go\n"

    async def test_the_progress_bar_is_updated_by_a_timer(
        self, screen: Screen, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(display_module, "_TICK_SECONDS", 0)
        positions = iter(range(0, 60_000, 1_000))
        moved = asyncio.Event()

        def position_ms() -> int:
            position = next(positions)
            if position == 3_000:
                moved.set()
            return position

        with contextlib.redirect_stderr(screen), display_on(screen, display_module.progress_for(60_000, position_ms)):
            await moved.wait()
        assert " 0:03 / 1:00 · 0:00 elapsed<" in screen.plain

    @pytest.mark.parametrize(("duration_ms", "has_bar"), [(None, False), (10_000, False), (10_001, True)])
    def test_only_long_audio_of_known_length_has_a_progress_bar(self, duration_ms: int | None, has_bar: bool) -> None:
        assert (display_module.progress_for(duration_ms, lambda: None) is not None) == has_bar

    def test_the_display_suits_standard_error(self, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
        output = StandardOutput()
        with contextlib.redirect_stderr(screen):
            assert type(display_for(output, None, lines=False)) is display_module.TerminalDisplay
            monkeypatch.setenv("TERM", "dumb")
            assert type(display_for(output, None, lines=False)) is display_module.SilentDisplay
        with contextlib.redirect_stderr(io.StringIO()):
            assert type(display_for(output, None, lines=True)) is display_module.LineDisplay


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("go forward", 10, "go forward"),
        ("go forward ten", 10, "… ward ten"),
        ("今天天气不错", 8, "… 气不错"),
        ("今天天气不错", 7, "… 不错"),
    ],
)
def test_a_long_line_keeps_its_end(text: str, width: int, shown: str) -> None:
    assert crop_start(text, width) == shown


def test_the_summary_has_words_latency_and_durations() -> None:
    stats = SessionStats(
        request_id="",
        first_result_ms=429.6,
        last_result_ms=None,
        audio_sent_ms=5_200,
        usage_seconds=None,
        pacer_lateness_max_ms=0,
        interims_conflated=0,
        results_received=0,
        finals_received=0,
        reconnects=0,
        lost_ms=0,
    )
    assert summary_line(1, stats, 5.64) == "1 word · first result after 430 ms · 5.2 s of audio in 5.6 s"


def test_the_summary_of_compressed_audio_has_no_audio_length() -> None:
    stats = SessionStats(
        request_id="",
        first_result_ms=None,
        last_result_ms=None,
        audio_sent_ms=None,
        usage_seconds=None,
        pacer_lateness_max_ms=0,
        interims_conflated=0,
        results_received=0,
        finals_received=0,
        reconnects=0,
        lost_ms=0,
    )
    assert summary_line(0, stats, 5.64) == "0 words · 5.6 s"


def test_words_are_counted_in_the_text_if_the_vendor_sends_none() -> None:
    result = Result(text="go forward", is_final=True, segment_id=0, start_ms=0, end_ms=1)
    assert transcribe_module._count_words(result) == 2


# --- the process --------------------------------------------------------------------------------------------------


class TestProcess:
    def test_the_transcript_and_the_summary_are_on_separate_streams(self, clip: Path, url: str) -> None:
        status, out, err = finished("transcribe", clip, "--pace", "max", url=url)
        assert (status, out) == (0, FINALS)
        assert SUMMARY.search(err)

    def test_a_failure_has_status_1_and_one_line(self, clip: Path) -> None:
        with emulator_thread(FailingOnceEngine(SCRIPT)) as url:
            status, out, err = finished("transcribe", clip, "--pace", "max", "--format", "srt", url=url)
        assert status == 1
        assert out == "1\n00:00:00,200 --> 00:00:01,400\ngo forward ten meters\n\n"
        assert err.startswith(f"asr-async: {clip}: ")
        assert err.count("\n") == 1

    def test_wrong_use_has_status_2_and_one_line(self, tmp_path: Path) -> None:
        missing = tmp_path / "missing.wav"
        expected = f"asr-async: {missing}: No such file or directory\n"
        assert finished("transcribe", missing) == (2, "", expected)

    def test_ctrl_c_ends_without_a_traceback(self, tmp_path: Path, url: str) -> None:
        long = write_wav(tmp_path / "long.wav", 60)
        with process("transcribe", long, "--pace", "4", url=url, command=INTERRUPTIBLE) as running:
            assert running.stdout is not None
            first = running.stdout.readline()
            running.send_signal(signal.SIGINT)
            rest, err = running.communicate(timeout=60)
        assert running.returncode == 130
        assert FINALS.startswith((first + rest).decode())
        assert all(line.startswith("… ") for line in err.decode().splitlines())

    def test_ctrl_c_ends_several_files(self, tmp_path: Path, url: str) -> None:
        files = [write_wav(tmp_path / f"{number}.wav", 60) for number in range(3)]
        with process("transcribe", *files, "--pace", "4", url=url, command=INTERRUPTIBLE) as running:
            assert running.stdout is not None
            first = running.stdout.readline()
            running.send_signal(signal.SIGINT)
            rest, err = running.communicate(timeout=60)
        assert (running.returncode, err) == (130, b"")
        assert set((first + rest).decode().splitlines()) <= set(FINALS.splitlines())

    @pytest.mark.parametrize("has_uvloop", [True, False])
    def test_ctrl_c_ends_a_pending_connect(self, clip: Path, has_uvloop: bool) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"ws://127.0.0.1:{silent.getsockname()[1]}/"
            command = INTERRUPTIBLE if has_uvloop else WITHOUT_UVLOOP
            with process("transcribe", clip, url=url, command=command) as running:
                connection, _ = silent.accept()
                connection.recv(1)  # wait until the client is connected: asyncio reports a signal that arrives before
                running.send_signal(signal.SIGINT)
                out, err = running.communicate(timeout=60)
                connection.close()
        assert (running.returncode, out, err) == (130, b"", b"")

    @pytest.mark.parametrize("name", ["text", "jsonl", "srt", "vtt"])
    def test_a_closed_pipe_ends_without_a_traceback(self, name: str, clip: Path, url: str) -> None:
        arguments = ("transcribe", clip, "--pace", "max", "--format", name)
        with process(*arguments, url=url) as running:
            assert running.stdout is not None
            running.stdout.close()
            assert running.stderr is not None
            err = running.stderr.read().decode()
        assert running.returncode == 141
        assert all(line.startswith("… ") for line in err.splitlines())

    @pytest.mark.skipif(sys.platform == "win32", reason="there is no uvloop for Windows")
    def test_the_loop_is_uvloop_if_it_is_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loops = []

        async def record_loop() -> ExitStatus:
            loops.append(type(asyncio.get_running_loop()).__module__)
            return ExitStatus.DONE

        assert run(record_loop()) is ExitStatus.DONE
        monkeypatch.setitem(sys.modules, "uvloop", None)
        assert run(record_loop()) is ExitStatus.DONE
        assert loops == ["uvloop", "asyncio.unix_events"]

    def test_text_is_utf8_in_every_locale(self, clip: Path, url: str) -> None:
        env = environment(url) | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
        arguments = [*COMMAND, "transcribe", str(clip), "--pace", "max", "--times"]
        done = subprocess.run(arguments, env=env, cwd=ROOT, capture_output=True, timeout=60, check=True)
        assert "今天天气不错。" in done.stdout.decode()

    @pytest.mark.parametrize("missing", ["click", "rich"])
    def test_a_missing_extra_is_reported(self, missing: str) -> None:
        code = f"import sys; sys.modules[{missing!r}] = None; from asr_async.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment(None), capture_output=True, timeout=60, check=False
        )
        message = b"asr-async: the command line needs an extra: pip install 'asr-async[cli]'\n"
        assert (done.returncode, done.stdout, done.stderr) == (2, b"", message)

    def test_the_import_loads_no_extra(self) -> None:
        code = "import sys, asr_async.cli; print({'click', 'rich'} & set(sys.modules))"
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment(None), capture_output=True, timeout=60, check=True
        )
        assert done.stdout == b"set()\n"

    def test_main_runs_the_command_line(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["asr-async", "--version"])
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 0
        assert capsys.readouterr().out == f"asr-async, version {__version__}\n"

    def test_help_lists_the_commands(self) -> None:
        status, out, err = finished("--help")
        assert (status, err) == (0, "")
        assert "transcribe" in out
        assert "serve" in out


# --- serve ----------------------------------------------------------------------------------------------------------


class TestServe:
    def test_the_emulator_runs_until_ctrl_c(self, script: Path, clip: Path) -> None:
        with process("serve", "--script", script, "--port", "0", command=INTERRUPTIBLE) as running:
            assert running.stdout is not None
            url = running.stdout.readline().decode().strip()
            transcript = transcribe(clip, "--service", "dashscope", url=url).stdout
            running.send_signal(signal.SIGINT)
            instructions, err = running.communicate(timeout=60)
        assert transcript == FINALS
        assert f"DASHSCOPE_WEBSOCKET_BASE_URL={url}" in instructions.decode()
        assert f'dashscope.base_websocket_api_url = "{url}"' in instructions.decode()
        endpoint = url.removesuffix("/api-ws/v1/inference")
        assert f"HUAWEICLOUD_SIS_ENDPOINT={endpoint} HUAWEICLOUD_SIS_AK=any " in instructions.decode()
        assert (running.returncode, err) == (130, b"")

    @pytest.mark.parametrize(("api_key", "sk"), [("sk-secret", "any"), ("sk-secret:sk-secret", "YOUR_SECRET")])
    def test_only_the_given_key_is_accepted(self, api_key: str, sk: str, script: Path, clip: Path) -> None:
        arguments = ("serve", "--script", script, "--port", "0", "--api-key", api_key)
        with process(*arguments, command=INTERRUPTIBLE) as running:
            assert running.stdout is not None
            url = running.stdout.readline().decode().strip()
            refused = transcribe(clip, url=url)
            running.send_signal(signal.SIGINT)
            instructions, _ = running.communicate(timeout=60)
        assert refused.exit_code == 1
        assert b"sk-secret" not in instructions
        assert f"HUAWEICLOUD_SIS_AK=YOUR_KEY HUAWEICLOUD_SIS_SK={sk} ".encode() in instructions

    def test_faults_are_injected(self, script: Path, clip: Path, tmp_path: Path) -> None:
        faults = tmp_path / "faults.json"
        faults.write_text('[{"kind": "refuse", "status": 403, "code": "AccessDenied", "message": "closed today"}]')
        arguments = ("serve", "--script", script, "--port", "0", "--faults", faults)
        with process(*arguments, command=INTERRUPTIBLE) as running:
            assert running.stdout is not None
            url = running.stdout.readline().decode().strip()
            refused = transcribe(clip, "--service", "dashscope", url=url)
            running.send_signal(signal.SIGINT)
            running.communicate(timeout=60)
        assert refused.exit_code == 1
        assert "closed today" in refused.stderr

    @pytest.mark.parametrize(
        ("content", "message"), [("nonsense", "not JSON"), ('[{"kind": "cut"}]', "fault 1: cut: needs one of at")]
    )
    def test_malformed_faults_are_refused(self, content: str, message: str, script: Path, tmp_path: Path) -> None:
        path = tmp_path / "bad.json"
        path.write_text(content, encoding="utf-8")
        outcome = invoke("serve", "--script", script, "--faults", path)
        assert (outcome.exit_code, outcome.stdout) == (2, "")
        assert f"faults {path}: {message}" in outcome.stderr

    def test_a_port_in_use_is_reported(self, script: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            outcome = invoke("serve", "--script", script, "--port", port)
        assert (outcome.exit_code, outcome.stdout) == (2, "")
        assert outcome.stderr.startswith(f"asr-async: cannot listen on 127.0.0.1 port {port}: ")
        assert outcome.stderr.endswith("--port 0 uses a free port\n")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--engine", "scripted"], "--engine scripted needs --script FILE, with its results"),
            (["--engine", "pocketsphinx", "--script", "x.json"], "--script is only for --engine scripted"),
            (["--script", "missing.json"], "script missing.json: No such file or directory"),
            (["--faults", "missing.json"], "faults missing.json: No such file or directory"),
            (["--engine", "whisper"], "'whisper' is not one of 'pocketsphinx', 'scripted'"),
            (["--port", "70000"], "70000 is not in the range 0<=x<=65535"),
            (["--api-key", ""], "--api-key must be KEY or KEY:SECRET, and neither may be empty"),
            (["--api-key", ":secret"], "--api-key must be KEY or KEY:SECRET, and neither may be empty"),
            (["--api-key", "key:"], "--api-key must be KEY or KEY:SECRET, and neither may be empty"),
        ],
    )
    def test_wrong_use_is_refused(self, arguments: list[str], message: str) -> None:
        outcome = invoke("serve", *arguments)
        assert (outcome.exit_code, outcome.stdout) == (2, "")
        assert message in outcome.stderr

    @pytest.mark.parametrize("content", ["nonsense", '{"segments": 1}', '[{"text": "a"}]'])
    def test_a_malformed_script_is_refused(self, content: str, tmp_path: Path) -> None:
        path = tmp_path / "bad.json"
        path.write_text(content, encoding="utf-8")
        outcome = invoke("serve", "--script", path)
        assert outcome.exit_code == 2
        assert f"script {path}: " in outcome.stderr

    def test_a_missing_recogniser_is_reported_with_its_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pocketsphinx", None)
        outcome = invoke("serve", "--port", "0")
        assert (outcome.exit_code, outcome.stdout) == (2, "")
        assert "pip install 'asr-async[local]'" in outcome.stderr
