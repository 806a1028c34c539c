"""`asr-async transcribe`: formats, several files, outputs, wrong use, failures and services."""

from __future__ import annotations

import errno
import json
import re
import shutil
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asr_async import Local
from asr_async.cli import session_options
from asr_async.cli import transcribe as transcribe_module
from asr_async.cli.display import FileDisplay
from asr_async.cli.model_options import language_values
from asr_async.cli.outputs import FileOutput, OutputError
from asr_async.cli.transcript_formats import Text
from asr_async.cli.transcription import Transcription, summary_line
from asr_async.emulator import Scripted
from asr_async.results import Gap, Result, SessionStats, SpeechEnded
from asr_async.vendors import options_for_model

from ..support.paths import RECORDINGS
from ..support.sherpa_models import tones, write_model
from ..support.wav_files import write_wav
from .command_line import (
    FINALS,
    PACED,
    SCRIPT,
    SUMMARY,
    finished,
    invoke,
    transcribe,
)
from .engines import BAD, BadAudioEngine, CountingEngine, FailingOnceEngine, LongestFirstEngine, emulator_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from asr_async.emulator.engines.engine import Emit, Request


DEMO = RECORDINGS / "demo.wav"


def words(text: str) -> list[str]:
    """Return the words in lower case without punctuation, as the recogniser writes them."""
    return re.findall(r"[a-z']+", text.lower())


# --- transcripts ------------------------------------------------------------------------------------------------------


class TestFormats:
    def test_text_has_one_line_per_final(self, clip: Path, url: str) -> None:
        outcome = transcribe(clip, url=url)
        assert (outcome.exit_code, outcome.stdout) == (0, FINALS)

    def test_times_are_printed_before_the_text(self, clip: Path, url: str) -> None:
        lines = transcribe(clip, "--times", url=url).stdout.splitlines()
        assert lines[0] == "[00:00.2 → 00:01.4] go forward ten meters"

    def test_only_the_summary_is_on_standard_error_if_that_is_no_terminal(self, clip: Path, url: str) -> None:
        (summary,) = transcribe(clip, "--pace", PACED, url=url).stderr.splitlines()
        assert SUMMARY.fullmatch(summary)

    def test_a_quiet_call_writes_no_summary(self, clip: Path, url: str) -> None:
        outcome = transcribe(clip, "-q", url=url)
        assert (outcome.stdout, outcome.stderr) == (FINALS, "")

    def test_a_verbose_call_says_what_is_done_with_the_file_and_names_the_service(self, clip: Path, url: str) -> None:
        treatment, service, *_ = transcribe(clip, "-v", url=url).stderr.splitlines()
        assert treatment == f"asr-async: info: {clip}: 16-bit WAV, 16000 Hz, mono: sent as it is"
        assert service == "asr-async: paraformer-realtime-v2 of <DashScope cn-beijing>"

    def test_jsonl_includes_interims(self, clip: Path, url: str) -> None:
        outcome = transcribe(clip, "--format", "jsonl", "--pace", PACED, url=url)
        records = [json.loads(line) for line in outcome.stdout.splitlines()]
        assert [record["text"] for record in records if record["is_final"]] == FINALS.splitlines()
        assert any(not record["is_final"] for record in records)
        assert {record["file"] for record in records} == {str(clip)}

    def test_json_is_one_object(self, clip: Path, url: str) -> None:
        record = json.loads(transcribe(clip, "-f", "json", url=url).stdout)
        assert [result["text"] for result in record["results"]] == FINALS.splitlines()

    def test_srt_has_numbered_cues(self, clip: Path, url: str) -> None:
        outcome = transcribe(clip, "--format", "srt", url=url)
        assert outcome.stdout.startswith("1\n00:00:00,200 --> 00:00:01,400\ngo forward ten meters\n\n2\n")

    def test_vtt_has_a_header_and_cues(self, clip: Path, url: str) -> None:
        outcome = transcribe(clip, "--format", "vtt", url=url)
        assert outcome.stdout.startswith("WEBVTT\n\n1\n00:00:00.200 --> 00:00:01.400\ngo forward ten meters\n\n")


class TestSeveralFiles:
    def test_transcripts_keep_the_order_of_the_files(self, clip: Path, tmp_path: Path, url: str) -> None:
        short = [write_wav(tmp_path / f"{number}.wav", 1.5) for number in range(12)]
        outcome = transcribe(*short[:3], clip, *short[3:], "--pace", "20", url=url)
        *lines, total = outcome.stderr.splitlines()
        summaries = [line.partition(": ") for line in lines]
        assert outcome.exit_code == 0
        assert re.fullmatch(r"13 files · 58 words · 21\.0 s of audio in \d+\.\d s", total)
        assert outcome.stdout == 3 * "go forward ten meters\n" + FINALS + 9 * "go forward ten meters\n"
        assert {name for name, _, _ in summaries} == {str(clip), *map(str, short)}
        assert all(" words · " in line for _, _, line in summaries)

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


class TestNotes:
    """Audio that is missing, and results whose words are uncertain."""

    MODEL = ("--model", "gummy-chat-v1")

    def test_missing_audio_is_noted_and_is_not_a_success(self, clip: Path, url: str) -> None:
        outcome = transcribe(clip, *self.MODEL, url=url)
        assert (outcome.exit_code, outcome.stdout) == (1, "go forward ten meters\n")
        note, summary = outcome.stderr.splitlines()
        assert note == (
            f"asr-async: {clip}: 1.6 s of audio missing from 00:01.4 on: "
            "gummy-chat-v1 recognises one sentence, and nothing behind it"
        )
        assert "4 words" in summary

    def test_a_gap_is_the_last_line_in_jsonl(self, clip: Path, url: str) -> None:
        outcome = transcribe(clip, *self.MODEL, "--format", "jsonl", url=url)
        *results, last = [json.loads(line) for line in outcome.stdout.splitlines()]
        assert outcome.exit_code == 1
        assert [record["text"] for record in results if record["is_final"]] == ["go forward ten meters"]
        assert last == {"file": str(clip), "gap": {"start_ms": 1_400, "end_ms": 3_000, "reason": last["gap"]["reason"]}}

    def test_a_whole_file_beside_one_with_missing_audio_is_written(self, clip: Path, tmp_path: Path, url: str) -> None:
        short = write_wav(tmp_path / "short.wav", 1.5)
        outcome = transcribe(short, clip, *self.MODEL, url=url)
        assert (outcome.exit_code, outcome.stdout) == (1, 2 * "go forward ten meters\n")
        assert outcome.stderr.count("missing") == 1

    def test_uncertain_results_are_counted(self) -> None:
        transcription, shown = Transcription(Text(times=False)), Shown()
        for number, marks in enumerate([{}, {"may_repeat": True}, {"may_repeat": True, "is_confirmed": False}]):
            transcription.show(result(number, f"text {number}", **marks), shown)
        assert list(transcription.notes()) == [
            "results that the vendor showed and did not confirm as final: 1",
            "results that may repeat words of the result before them: 2",
        ]
        assert transcription.words == 6

    def test_many_gaps_are_summed_up(self) -> None:
        transcription, shown = Transcription(Text(times=False)), Shown()
        transcription.show(Gap(start_ms=500, end_ms=500, reason="one\ntwo"), shown)
        for number in range(8):
            transcription.show(Gap(start_ms=1_000 * number, end_ms=1_000 * number + 500, reason="lost"), shown)
        first, *_, last = notes = list(transcription.notes())
        assert first == "audio missing from 00:00.5 on: one two"
        assert last == "2.0 s missing in 4 further gaps"
        assert len(notes) == 6
        assert shown.texts == []

    def test_an_interim_that_is_withdrawn_is_no_longer_shown(self) -> None:
        transcription, shown = Transcription(Text(times=False)), Shown()
        for event in (
            result(0, "uh", is_final=False),
            SpeechEnded(segment_id=1, end_ms=1, is_withdrawn=True),
            SpeechEnded(segment_id=0, end_ms=1, is_withdrawn=True, withdrawn_text="uh"),
        ):
            transcription.show(event, shown)
        assert shown.interims == ["uh", ""]


class Shown(FileDisplay):
    """A display that records what it shows."""

    def __init__(self) -> None:
        # without a screen
        self.texts: list[str] = []
        self.interims: list[str] = []

    def show(self, text: str, interim: str) -> None:
        self.texts += [text] if text else []
        self.interims.append(interim)


def result(segment_id: int, text: str, *, is_final: bool = True, **marks: Any) -> Result:
    return Result(text=text, is_final=is_final, segment_id=segment_id, start_ms=0, end_ms=1, **marks)


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

    @pytest.mark.parametrize("name", ["talk.srt", "talk.vtt", "talk.jsonl", "talk.json", "talk.txt", "talk"])
    def test_the_format_follows_the_name(self, name: str, clip: Path, tmp_path: Path, url: str) -> None:
        assert transcribe(clip, "-o", tmp_path / name, url=url).exit_code == 0
        written = (tmp_path / name).read_text(encoding="utf-8")
        begins = {"talk.srt": "1\n00:", "talk.vtt": "WEBVTT\n", "talk.jsonl": '{"file":', "talk.json": '{"file":'}
        assert written.startswith(begins.get(name, "go forward"))
        assert (len(written.splitlines()) == 1) == (name == "talk.json")

    def test_a_format_that_is_named_counts_more_than_the_name(self, clip: Path, tmp_path: Path, url: str) -> None:
        transcribe(clip, "-o", tmp_path / "talk.srt", "-f", "text", url=url)
        assert (tmp_path / "talk.srt").read_text(encoding="utf-8") == FINALS

    @pytest.mark.parametrize("name", ["text", "jsonl", "json", "srt", "vtt"])
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
            raise OutputError("out.txt", PermissionError(errno.EACCES, "Permission denied"))

        monkeypatch.setattr(FileOutput, "__enter__", refused)
        outcome = transcribe(clip, "--output", tmp_path / "out.txt", url=url)
        assert outcome.exit_code == 1
        assert outcome.stderr == "asr-async: out.txt: Permission denied\n"


# --- wrong use, refused before connecting -----------------------------------------------------------------------------

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
        ["--model", "paraformer-realtime-v1", "--option", "language_hints=ja"],
        "paraformer-realtime-v1 does not have this option",
    ),
    "pace zero": (["--pace", "0"], "'0' is neither a positive number nor max"),
    "pace word": (["--pace", "fast"], "'fast' is neither a positive number nor max"),
    "pace not a number": (["--pace", "nan"], "'nan' is neither a positive number nor max"),
    "concurrency": (["--concurrency", "0"], "0 is not in the range x>=1"),
    "pace infinite": (["--pace", "inf"], "'inf' is neither a positive number nor max"),
    "format": (["--format", "docx"], "'docx' is not one of 'text', 'jsonl', 'json', 'srt', 'vtt'"),
    "service": (["--service", "acme"], "'acme' is not one of 'auto', 'local', 'dashscope'"),
    "times": (["--times", "--format", "srt"], "--times and --no-times are for text; srt always has times"),
    "channel": (["--channel", "-1"], "'-1' is neither mix, left, right nor a number from 0 on"),
    "quiet and verbose": (["-q", "-v"], "--quiet and --verbose contradict each other"),
    "two files in srt": (
        ["other.wav", "--format", "srt"],
        "a file in srt holds one transcript; for several files name a directory: --output transcripts/",
    ),
    "two files in one vtt": (
        ["other.wav", "--format", "vtt", "--output", "out.vtt"],
        "a file in vtt holds one transcript; for several files name a directory: --output transcripts/",
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
    assert "Missing argument 'INPUT...'" in outcome.stderr


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


def test_a_server_of_ones_own_needs_an_address_and_no_key(clip: Path) -> None:
    outcome = transcribe(clip, "--service", "funasr")
    assert outcome.exit_code == 2
    assert "--service funasr needs an address: set FUNASR_SERVER, or pass --endpoint" in outcome.stderr
    outcome = transcribe(clip, "--model", "funasr/nano", "--endpoint", "ws://127.0.0.1:1")
    assert "FUNASR_SERVER" not in outcome.stderr
    assert "127.0.0.1:1" in outcome.stderr


@pytest.mark.parametrize("model", ["continue", "huawei/continue"])
def test_the_modes_of_huawei_are_model_names(clip: Path, model: str) -> None:
    outcome = transcribe(clip, "--service", "local", "--model", model, "--option", "vad_tail=9000")
    assert outcome.exit_code == 2
    assert "vad_tail=9000: must be between 0 and 3000 ms" in outcome.stderr


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (
            "property=chinese_48k_general",
            "property='chinese_48k_general' is for 48 kHz, audio_format='pcm16k16bit' has",
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


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda _path: None, "No such file or directory"),
    "folder without audio": (Path.mkdir, "the folder holds no audio files"),
    "empty": (Path.touch, "is empty"),
    "not audio": (lambda path: path.write_text("hello", encoding="utf-8"), "is text, not audio"),
    "no samples": (lambda path: write_wav(path, 0), "has no samples"),
    "cut off": (lambda path: path.write_bytes(b"RIFF"), "is cut off: its header is not complete"),
}


@pytest.mark.parametrize(("make", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_of_a_wrong_format_is_refused_before_connecting(
    *, make: Callable[[Path], object], message: str, clip: Path, tmp_path: Path, engine: CountingEngine, url: str
) -> None:
    bad = tmp_path / "bad.wav"
    make(bad)
    outcome = transcribe(bad, "--output", f"{tmp_path}/out/", url=url)
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert outcome.stderr.startswith(f"asr-async: {bad}: {message}")
    assert outcome.stderr.count("\n") == 1
    assert engine.opened == 0
    assert not (tmp_path / "out").exists()


def test_good_files_are_done_when_others_are_wrong(clip: Path, tmp_path: Path, url: str) -> None:
    broken = tmp_path / "broken.mp3"
    broken.write_text("hello", encoding="utf-8")
    second = write_wav(tmp_path / "second.wav")
    outcome = transcribe(clip, broken, tmp_path / "missing.wav", second, url=url)
    assert (outcome.exit_code, outcome.stdout) == (1, 2 * FINALS)
    errors = [line for line in outcome.stderr.splitlines() if line.startswith("asr-async: ")]
    assert errors[0] == f"asr-async: {tmp_path}/missing.wav: No such file or directory"
    assert errors[1].startswith(f"asr-async: {broken}: is text, not audio")
    assert len(errors) == 2
    assert "2 of 4 files done · 20 words" in outcome.stderr


def test_every_wrong_file_is_named(tmp_path: Path, url: str) -> None:
    outcome = transcribe(tmp_path / "a.wav", tmp_path / "b.wav", url=url)
    assert outcome.exit_code == 2
    assert [Path(line.split(": ")[1]).name for line in outcome.stderr.splitlines()] == ["a.wav", "b.wav"]


class TestEndpoint:
    def test_another_address_of_the_service_can_be_named(self, clip: Path, url: str) -> None:
        outcome = transcribe(clip, "--endpoint", url, url="ws://127.0.0.1:9/")
        assert (outcome.exit_code, outcome.stdout) == (0, FINALS)

    def test_it_needs_a_key(self, clip: Path) -> None:
        outcome = transcribe(clip, "--endpoint", "ws://127.0.0.1:9/")
        assert outcome.exit_code == 2
        assert "--endpoint needs a key: set DASHSCOPE_API_KEY" in outcome.stderr

    def test_it_is_refused_for_the_local_service(self, clip: Path) -> None:
        outcome = transcribe(clip, "--service", "local", "--endpoint", "ws://127.0.0.1:9/")
        assert outcome.exit_code == 2
        assert "--endpoint is the address of a vendor's service; --service local runs on this machine" in outcome.stderr


class TestLanguage:
    @pytest.mark.parametrize(
        ("model", "languages", "values"),
        [
            ("paraformer-realtime-v2", "zh, en", {"language_hints": ["zh", "en"]}),
            ("qwen3-asr-flash-realtime", "de", {"language": "de"}),
            ("gummy-realtime-v1", "ja", {"source_language": "ja"}),
            ("huawei/continue", None, {}),
        ],
    )
    def test_it_sets_the_option_of_the_model(self, model: str, languages: str | None, values: dict[str, Any]) -> None:
        assert language_values(options_for_model(model), languages) == values

    @pytest.mark.parametrize(
        ("model", "languages", "message"),
        [
            ("huawei/continue", "en", "Rasr has no option for the language: its model decides, see --model"),
            ("gummy-realtime-v1", "zh,en", "--language zh,en: Gummy takes one language"),
            ("paraformer-realtime-v2", "xx", "paraformer-realtime-v2 accepts zh, en"),
        ],
    )
    def test_a_wrong_language_is_refused(self, model: str, languages: str, message: str, clip: Path, url: str) -> None:
        outcome = transcribe(clip, "--model", model, "--language", languages, url=url)
        assert outcome.exit_code == 2
        assert message in outcome.stderr


# --- failures ---------------------------------------------------------------------------------------------------------


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


def test_a_refused_key_ends_the_run_and_is_reported_once(clip: Path) -> None:
    with emulator_thread(Scripted(SCRIPT), api_keys={"another"}) as url:
        outcome = transcribe(clip, clip, clip, url=url)
    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert outcome.stderr.endswith("; stopped, with 0 of 3 files done\n")
    assert outcome.stderr.count("\n") == 1


def test_a_malformed_endpoint_is_wrong_use(clip: Path) -> None:
    outcome = transcribe(clip, url="nonsense")
    assert outcome.exit_code == 2
    assert "endpoint='nonsense': must be a whole WebSocket URL" in outcome.stderr


def test_an_unexpected_exception_is_raised(clip: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(transcribe_module, "Transcription", broken)
    assert isinstance(transcribe(clip, url=url).exception, ZeroDivisionError)


# --- the service ------------------------------------------------------------------------------------------------------


@pytest.fixture
def local_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_options, "Local", lambda _engine: Local(Scripted(SCRIPT)))


@pytest.mark.usefixtures("local_script")
class TestLocal:
    def test_auto_without_a_key_uses_the_local_service_and_reports_it(self, clip: Path) -> None:
        outcome = transcribe(clip)
        assert outcome.exit_code == 0
        assert outcome.stderr.startswith(
            "asr-async: DASHSCOPE_API_KEY is not set: using the embedded recogniser (--service local)\n"
        )

    def test_service_local_reports_the_recogniser(self, clip: Path) -> None:
        outcome = transcribe(clip, "--service", "local")
        assert outcome.exit_code == 0
        assert outcome.stderr.startswith("asr-async: recogniser: <Scripted")

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
    for module in ("moonshine_voice", "pocketsphinx"):
        monkeypatch.setitem(sys.modules, module, None)
    outcome = transcribe(clip, "--service", "local")
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert outcome.stderr.startswith(
        "asr-async: no recogniser is installed: moonshine-voice is not installed: pip install 'asr-async[local]' or, "
    )
    assert outcome.stderr.endswith("'asr-async[local-small]'\n")


def test_the_embedded_recogniser_transcribes_the_demo() -> None:
    status, out, err = finished("transcribe", DEMO, "--service", "local", "--pace", "max")
    assert status == 0
    assert words(out) == words(DEMO.with_suffix(".txt").read_text(encoding="utf-8"))
    assert err.startswith("asr-async: recogniser: moonshine (English)\n")
    assert " words · first result after " in err


class TestEngine:
    def test_a_model_in_a_folder_recognises(self, tmp_path: Path) -> None:
        folder = write_model(tmp_path / "model", "streaming CTC")
        path = write_wav(tmp_path / "tones.wav", samples=tones("low", "high"))
        outcome = transcribe(path, "--engine", f"sherpa:{folder}")
        assert (outcome.exit_code, outcome.stdout) == (0, "low high\n")
        assert outcome.stderr.startswith(f"asr-async: recogniser: sherpa (streaming CTC model in {folder})\n")

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            ("emptied", "holds no model: it has no .onnx or .ort file"),
            ("half copied", "has no joiner file: it looks like half of a streaming transducer; copy the rest"),
            ("cut off", "is cut off: "),
            ("of another kind", "failed: its process ended with status "),
            ("removed", "is no folder: give the folder of a sherpa-onnx model"),
        ],
    )
    def test_a_folder_without_a_usable_model_is_one_line(
        self, damage: str, message: str, clip: Path, tmp_path: Path
    ) -> None:
        folder = write_model(tmp_path / "model", "streaming transducer")
        (joiner,) = folder.glob("joiner*")
        match damage:
            case "emptied":
                shutil.rmtree(folder)
                folder.mkdir()
            case "half copied":
                joiner.unlink()
            case "cut off":
                joiner.write_bytes(joiner.read_bytes()[:-20])
            case "of another kind":
                (other,) = write_model(tmp_path / "other", "streaming CTC").glob("*.onnx")
                shutil.copy(other, joiner)
            case _:
                shutil.rmtree(folder)
        outcome = transcribe(clip, "--engine", f"sherpa:{folder}")
        assert (outcome.exit_code, outcome.stdout) == (2, "")
        line = outcome.stderr.splitlines()[-1]
        assert line.startswith(f"asr-async: Sherpa('{folder}'): ")
        assert message in line
        assert "Traceback" not in outcome.stderr

    def test_a_vendor_has_no_engine(self, clip: Path) -> None:
        outcome = transcribe(clip, "--engine", "moonshine", "--service", "dashscope")
        assert outcome.exit_code == 2
        assert "--engine is a recogniser on this machine, not of --service dashscope: leave one" in outcome.stderr


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


def session_stats(*, first_result_ms: float | None, audio_sent_ms: int | None) -> SessionStats:
    return SessionStats(
        request_id="",
        first_result_ms=first_result_ms,
        last_result_ms=None,
        audio_sent_ms=audio_sent_ms,
        usage_seconds=None,
        pacer_lateness_max_ms=0,
        interims_conflated=0,
        results_received=0,
        finals_received=0,
        reconnects=0,
        lost_ms=0,
    )


def test_the_summary_has_words_latency_and_durations() -> None:
    stats = session_stats(first_result_ms=429.6, audio_sent_ms=5_200)
    assert summary_line(1, stats, 5.64) == "1 word · first result after 430 ms · 5.2 s of audio in 5.6 s"


def test_the_summary_of_compressed_audio_has_no_audio_length() -> None:
    stats = session_stats(first_result_ms=None, audio_sent_ms=None)
    assert summary_line(0, stats, 5.64) == "0 words · 5.6 s"


def test_words_are_counted_in_the_text_if_the_vendor_sends_none() -> None:
    transcription = Transcription(Text(times=False))
    transcription.show(result(0, "go forward"), Shown())
    assert transcription.words == 2
