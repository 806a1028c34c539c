"""The codec of FunASR's 2pass protocol, by values: what it sends, and the results and ends of both servers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asr_async import (
    ConfigurationError,
    FunASR2Pass,
    LocalProtocolError,
    RemoteProtocolError,
    Result,
    SpeechEnded,
    SpeechStarted,
    VendorError,
    Word,
)
from asr_async.vendors.codec import CodecEvent, Failed, Finished, MembersLeftOut, NoSpeech, Unrecognised
from asr_async.vendors.funasr.two_pass import TwoPassCodec

PLACES = [[430, 670], [670, 810], [810, 1_030], [1_030, 1_130]]
STAMPS = [{"text_seg": "正 是 因 为", "punc": ",", "start": 430, "end": 1_130, "ts_list": PLACES}]
"""The example of FunASR's document."""


def message(text: str = "", mode: str | None = "2pass-offline", **members: Any) -> str:
    values = {"mode": mode, "wav_name": "T", "text": text, **members}
    return json.dumps({name: value for name, value in values.items() if value is not None})


def online(text: str, **members: Any) -> str:
    return message(text, "2pass-online", **members)


def started(options: FunASR2Pass | None = None) -> TwoPassCodec:
    codec = TwoPassCodec(options or FunASR2Pass(), task_id="T")
    codec.start()
    return codec


def finishing() -> TwoPassCodec:
    codec = started()
    codec.finish()
    return codec


def results(events: list[CodecEvent]) -> list[tuple[str, bool]]:
    return [(each.text, each.is_final) for each in events if isinstance(each, Result)]


def finals(events: list[CodecEvent]) -> list[Result]:
    return [each for each in events if isinstance(each, Result) and each.is_final]


# --- what is sent ----------------------------------------------------------------------------------------------------


def test_the_first_message_has_the_options() -> None:
    (first,) = TwoPassCodec(FunASR2Pass(), task_id="T").start()
    assert json.loads(str(first)) == {
        "mode": "2pass",
        "wav_name": "T",
        "wav_format": "pcm",
        "is_speaking": True,
        "audio_fs": 16_000,
        "chunk_size": [5, 10, 5],
        "chunk_interval": 6,
        "encoder_chunk_look_back": 4,
        "decoder_chunk_look_back": 0,
    }


@pytest.mark.parametrize(
    ("hotwords", "sent"),
    [({"阿里巴巴": 20, "通义实验室": 30}, '{"阿里巴巴":20,"通义实验室":30}'), (["阿里巴巴", "Qwen"], "阿里巴巴 Qwen")],
)
def test_hot_words_are_a_text(hotwords: Any, sent: str) -> None:
    options = FunASR2Pass(
        mode="offline", hotwords=hotwords, itn=False, svs_lang="zh", svs_itn=False, extra_parameters={"vad_tail": 500}
    )
    (first,) = TwoPassCodec(options, task_id="T").start()
    members = json.loads(str(first))
    assert members["hotwords"] == members["hotword"] == sent
    assert {name: members[name] for name in ("mode", "itn", "svs_lang", "svs_itn", "vad_tail")} == {
        "mode": "offline",
        "itn": False,
        "svs_lang": "zh",
        "svs_itn": False,
        "vad_tail": 500,
    }


def test_audio_follows_at_once_and_the_end_asks_for_an_answer() -> None:
    codec = started()
    frame = bytes(3_200)
    assert codec.audio(frame) is frame
    assert [json.loads(str(each)) for each in codec.finish()] == [{"is_speaking": False, "is_end": True}]
    with pytest.raises(LocalProtocolError, match="cannot audio while the task is finishing"):
        codec.audio(frame)


# --- results ---------------------------------------------------------------------------------------------------------


def test_online_results_are_added_up_until_the_offline_one_replaces_them() -> None:
    codec = started()
    assert results(codec.receive(online("正是"))) == [("正是", False)]
    assert results(codec.receive(online("因为"))) == [("正是因为", False)]
    events = codec.receive(message("正是因为，", timestamp=json.dumps(PLACES)))
    assert results(events) == [("正是因为，", True)]
    assert results(codec.receive(online("我们"))) == [("我们", False)]


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (["good", "morning"], "good morning"),
        (["good ", "morning"], "good morning"),
        (["我们", "用", "vLLM"], "我们用vLLM"),
    ],
)
def test_the_next_words_are_joined_as_their_scripts_are(parts: list[str], text: str) -> None:
    codec = started()
    for part in parts:
        events = codec.receive(online(part))
    assert results(events) == [(text, False)]


def test_words_and_times_are_those_of_the_server() -> None:
    events = started().receive(message("正是因为，", timestamp=json.dumps(PLACES), stamp_sents=STAMPS))
    (final,) = finals(events)
    assert (final.start_ms, final.end_ms, final.request_id) == (430, 1_130, "T")
    assert final.words[0] == Word(text="正", start_ms=430, end_ms=670)
    assert final.words[-1] == Word(text="为", start_ms=1_030, end_ms=1_130, punctuation=",")
    assert [type(event) for event in events] == [SpeechStarted, Result, SpeechEnded]


@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"timestamp": PLACES}, (430, 1_130)),
        ({"timestamp": json.dumps(PLACES), "stamp_sents": ""}, (430, 1_130)),
        ({"timestamp": json.dumps(PLACES), "stamp_sents": [{**STAMPS[0], "text_seg": "正是"}]}, (430, 1_130)),
        ({"timestamp": "[[100,200],[", "stamp_sents": [5]}, (0, 400)),
        ({"stamp_sents": [{**STAMPS[0], "ts_list": [[2**63, 670], *PLACES[1:]]}]}, (0, 400)),
        ({"stamp_sents": [{**STAMPS[0], "ts_list": PLACES[::-1]}]}, (0, 400)),
        ({"timestamp": f"[[100,200],[200,{2**63}]]"}, (0, 400)),
        ({"timestamp": "[]"}, (0, 400)),
        ({"timestamp": [["a"]]}, (0, 400)),
        ({}, (0, 400)),
    ],
)
def test_times_are_those_that_can_be_read_else_estimated(members: dict[str, Any], place: tuple[int, int]) -> None:
    (final,) = finals(started().receive(message("正是因为", **members)))
    assert (final.start_ms, final.end_ms) == place
    assert final.words == ()


@pytest.mark.parametrize("start_ms", [-30, -1])
def test_a_word_may_begin_shortly_before_the_audio(start_ms: int) -> None:
    """The server moves all times by -1.5 frames of its model."""
    places = [[start_ms, 90], [90, 400], [400, 700], [700, 900]]
    (final,) = finals(started().receive(message("正是因为", stamp_sents=[{**STAMPS[0], "ts_list": places}])))
    assert (final.start_ms, final.end_ms) == (final.words[0].start_ms, 900) == (start_ms if start_ms != -1 else 0, 900)
    (final,) = finals(started().receive(message("正是因为", timestamp=json.dumps(places))))
    assert (final.start_ms, final.end_ms) == (start_ms if start_ms != -1 else 0, 900)


def test_without_times_each_sentence_begins_where_the_one_before_ends() -> None:
    codec = started()
    (first,) = finals(codec.receive(message("正是因为", is_final=True)))
    (second,) = finals(codec.receive(message("我们", is_final=True)))
    assert (first.end_ms, second.start_ms, second.end_ms) == (400, 400, 600)
    assert (first.may_repeat, second.may_repeat) == (False, False)


def test_what_is_recognised_again_is_marked_unless_it_has_times() -> None:
    codec = started()
    codec.expect_repeats()
    (untimed,) = finals(codec.receive(message("正是因为", is_final=True)))
    (timed,) = finals(codec.receive(message("正是因为", timestamp=[[2_000, 2_400]])))
    assert (untimed.may_repeat, timed.may_repeat) == (True, False)


def test_a_server_reports_times_if_all_its_finals_have_them() -> None:
    codec = started()
    answers = [codec.has_untimed_results]
    for members in ({"timestamp": [[0, 400]]}, {"is_final": True}, {"timestamp": [[2_000, 2_400]]}):
        codec.receive(message("正是因为", **members))
        answers.append(codec.has_untimed_results)
    assert answers == [True, False, True, True]


def test_an_empty_result_is_nothing() -> None:
    assert started().receive(message("", is_final=True)) == []


# --- ends ------------------------------------------------------------------------------------------------------------


def test_the_cpp_server_confirms_the_end_with_is_final() -> None:
    codec = started()
    codec.receive(online("good", is_final=False))
    codec.finish()
    assert codec.receive(message("good day", is_final=False))[-1] != Finished()
    events = codec.receive(message("fine", is_final=True))
    assert (results(events), events[-1]) == ([("fine", True)], Finished())


def test_a_last_message_without_a_mode_is_that_of_the_cpp_server() -> None:
    assert finishing().receive(message("", None, is_final=True)) == [Finished()]


def test_the_python_server_confirms_the_end_with_is_final_false() -> None:
    codec = started()
    codec.receive(online("good", is_final=True))
    codec.finish()
    assert codec.receive(online(" day", is_final=True))[-1] != Finished()
    assert codec.receive(message("good day", is_final=True))[-1] != Finished()
    events = codec.receive(message("fine", is_final=False))
    assert (results(events), events[-1]) == ([("fine", True)], Finished())
    (last,) = finals(events)
    assert last.start_ms == last.end_ms  # it reaches to the end of the audio


def test_a_newer_python_server_answers_the_end() -> None:
    codec = finishing()
    codec.receive(message("good", is_final=False))
    acknowledgement = json.dumps({"mode": "2pass", "wav_name": "T", "is_final": True, "is_end": True})
    assert codec.receive(acknowledgement) == [Finished()]


def test_an_end_that_the_server_could_not_reach_is_an_error() -> None:
    text = json.dumps({"mode": "2pass", "is_final": False, "is_end": True, "error": "model error: out of memory"})
    (failed,) = finishing().receive(text)
    assert isinstance(failed, Failed)
    assert failed.error.retryable
    assert failed.error.message == "model error: out of memory: an error of the vendor; try again"
    assert failed.error.request_id == "T"


def test_a_server_that_nothing_has_shown_yet_ends_by_being_quiet() -> None:
    """The final may be the last message of the Python server, or one of the C++ server before its last one."""
    codec = finishing()
    events = codec.receive(message("good", is_final=False))
    assert (results(events), type(events[-1])) == ([("good", True)], SpeechEnded)
    assert codec.end() == [Finished()]


def test_an_interim_at_a_quiet_end_is_a_final_that_is_not_confirmed() -> None:
    codec = started()
    codec.receive(online("good", is_final=True))
    codec.finish()
    final, _, finished = codec.end()
    assert isinstance(final, Result)
    assert (final.text, final.is_final, final.is_confirmed) == ("good", True, False)
    assert finished == Finished()


def test_a_server_that_sent_nothing_found_no_speech_or_speaks_another_protocol() -> None:
    (end,) = finishing().end()
    assert isinstance(end, NoSpeech)
    assert isinstance(end.error, VendorError)
    assert str(end.error).startswith(
        "the server sent no message: there was no speech, or this is no server of the 2pass protocol (the options of "
        "funasr-realtime-server are FunASRNano)"
    )


def test_a_sentence_without_times_that_equals_the_one_before_is_delivered_and_marked() -> None:
    codec = started(FunASR2Pass(mode="offline"))
    said = [codec.receive(message(text, is_final=True)) for text in ("no.", "No.", "no.", "yes.")]
    assert [[(each.text, each.segment_id, each.may_repeat) for each in finals(events)] for events in said] == [
        [("no.", 0, False)],
        [("No.", 1, True)],
        [("no.", 2, True)],
        [("yes.", 3, False)],
    ]
    starts = [each.start_ms for events in said for each in finals(events)]
    assert starts == sorted(starts)
    assert all(isinstance(events[0], SpeechStarted) and isinstance(events[-1], SpeechEnded) for events in said)


def test_a_sentence_with_the_same_times_and_words_is_a_repeat() -> None:
    codec = started()
    first = codec.receive(message("no.", timestamp="[[100, 300]]"))
    assert results(first) == [("no.", True)]
    assert codec.receive(message("no.", timestamp="[[100, 300]]")) == []


# --- messages that are not as they should be -------------------------------------------------------------------------


def test_members_of_another_type_are_left_out() -> None:
    events = started().receive(message("good", is_final="perhaps", error=[1]))
    assert events[0] == MembersLeftOut(("is_final", "error"))
    assert results(events) == [("good", True)]


def test_messages_that_are_not_known_are_reported() -> None:
    codec = started()
    assert codec.receive("{}") == [Unrecognised("message without a text", "{}")]
    assert codec.receive(b"\x00") == [Unrecognised("binary message", "1 bytes")]
    with pytest.raises(RemoteProtocolError, match="unreadable message from FunASR"):
        codec.receive("no JSON")


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"mode": "2-pass"}, "mode='2-pass': did you mean '2pass'?"),
        ({"model": "funasr/onlin"}, "unknown model 'funasr/onlin': did you mean 'funasr/online'?"),
        ({"mode": "online", "model": "2pass"}, "mode='online' contradicts model='2pass': pass only one of them"),
        ({"sample_rate": 44_100}, "sample_rate=44100: must be 8000 or 16000"),
        (
            {"chunk_size": [5, 0, 5]},
            "chunk_size=(5, 0, 5): must be three numbers, the second above 0, such as (5, 10, 5)",
        ),
        ({"chunk_interval": 0}, "chunk_interval=0: must be at least 1"),
        ({"hotwords": ["a b"]}, "hotwords: 'a b' must not be empty nor, in a list, contain a blank"),
        ({"hotwords": {"a\n": 1}}, "hotwords: 'a\\n' must be one line of text"),
    ],
)
def test_an_option_that_the_servers_do_not_have_is_refused(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        FunASR2Pass(**values)
    assert str(caught.value) == text


def test_mode_and_model_are_one() -> None:
    assert FunASR2Pass(model="funasr/offline") == FunASR2Pass(mode="offline")
    assert FunASR2Pass().model == "funasr/2pass"
    assert (FunASR2Pass(svs_lang="yue").spoken_language, FunASR2Pass(svs_lang="auto").spoken_language) == ("yue", "")
    assert FunASR2Pass(chunk_interval=0, strict=False).chunk_interval == 0
