"""Well-formed conversations of every protocol: the messages of a vendor task, and the client's steps between them.

Each protocol also has an independent reading of its messages: `finals` returns the finals in a message with all
needed members exactly as documented, whatever the others are. Such a final has to arrive.

Does not know codecs, events or the order in which a mutated conversation is sent.
"""

from __future__ import annotations

import copy
import enum
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from asr_async import (
    DashScope,
    FunASR,
    FunASR2Pass,
    FunASRNano,
    FunASRServer,
    Gummy,
    GummyChat,
    Huawei,
    OpenAI,
    OpenAIRealtime,
    Paraformer,
    QwenAudio,
    QwenRealtime,
    Rasr,
)

__all__ = [
    "CONNECTION_ENDS",
    "PROTOCOLS",
    "TASK_ID",
    "Act",
    "Draft",
    "ExpectedFinal",
    "Protocol",
    "TaskReader",
    "foreign_messages",
    "name_in_handshake",
    "read",
]

TASK_ID = "0123456789abcdef" * 2
"""The id of the task in all messages; a session's server replaces it by the id that the client has sent."""

VECTORS = Path(__file__).resolve().parents[2] / "tests" / "vectors"

MAX_MS = 1_000_000_000
MAX_OBLIGING_CHARS = 200_000
"""A longer message may be refused as a whole."""


class Act(enum.Enum):
    """A step between two messages of the vendor: the client's, or the end of a session's connection."""

    AUDIO = "<audio"
    COMMIT = "<commit"
    FINISH = "<finish"
    WAIT = "<wait"
    CUT = "<cut"
    CLOSE = "<close"


CONNECTION_ENDS = (Act.WAIT, Act.CUT, Act.CLOSE)
"""The ends of a connection behind the last message: the server waits for the client, aborts, or closes."""


Draft = dict[str, Any] | Act


class ExpectedFinal(NamedTuple):
    """A final that a message holds."""

    text: str
    key: object
    """The id that separates it from others with the same text; None if the place does, or nothing."""
    start_ms: int | None
    end_ms: int | None


class Protocol(NamedTuple):
    """One model of one vendor, in one mode."""

    name: str
    service: Callable[[str, str], Any]
    """Makes the service for an endpoint, and for a name that is in each of its handshakes; see `name_in_handshake`."""
    options: Any
    draft: Callable[[random.Random], list[Draft]]
    """Makes a conversation, from the confirmation of the start to that of the end."""
    finals: Callable[[Any, str], list[ExpectedFinal]]
    """Returns the finals in a decoded message, if it belongs to the task with this request id."""
    last_message: str = "finish"
    """A part of the client's last message."""
    answers_start: bool = True
    """False if the server sends nothing when a task begins; the request id is then the task's."""
    finish_s: float = 1
    """The timeout of the end: a quiet end needs more than the time that it takes."""

    def codec(self) -> Any:
        """Return the codec of a new task."""
        return self.service("ws://127.0.0.1:9", "fuzz").codec(self.options, task_id=TASK_ID)


class _Sentence(NamedTuple):
    number: int
    start_ms: int
    end_ms: int
    words: list[tuple[str, int, int]]
    interims: int
    """The number of interims in front of the final."""
    is_dropped: bool
    """True if it gets no final: noise, or a cough."""

    def text(self, count: int) -> str:
        return " ".join(word for word, _, _ in self.words[:count])

    def counts(self, rng: random.Random) -> list[int]:
        """Return the number of words in each interim."""
        return sorted(rng.randint(1, len(self.words)) for _ in range(self.interims))


def _sentences(rng: random.Random, most: int = 5) -> list[_Sentence]:
    """Return sentences one after the other; each word occurs once in the conversation."""
    sentences, at_ms, word_number = [], rng.choice((0, 40, 170)), 0
    for number in range(rng.randint(1, most)):
        start_ms, words = at_ms, []
        for _ in range(rng.randint(1, 4)):
            length_ms = rng.randint(60, 400)
            words.append((f"w{word_number}", at_ms, at_ms + length_ms))
            word_number += 1
            at_ms += length_ms
        sentences.append(_Sentence(number, start_ms, at_ms, words, rng.randint(0, 3), rng.random() < 0.1))
        at_ms += rng.choice((0, 10, 300, 900))
    return sentences


# --- Paraformer, Fun-ASR, Qwen-Audio ---------------------------------------------------------------------------------


def _task_message(event: str, payload: dict[str, Any] | None = None, **header: Any) -> dict[str, Any]:
    return {"header": {"task_id": TASK_ID, "event": event, "attributes": {}, **header}, "payload": payload or {}}


def _task_words(sentence: _Sentence, count: int) -> list[dict[str, Any]]:
    return [
        {"begin_time": start_ms, "end_time": end_ms, "text": text, "punctuation": ""}
        for text, start_ms, end_ms in sentence.words[:count]
    ]


def _draft_plain_task(rng: random.Random) -> list[Draft]:
    steps: list[Draft] = [_task_message("task-started")]
    for sentence in _sentences(rng):
        steps.append(Act.AUDIO)
        steps += [_plain_result(sentence, count, is_final=False) for count in sentence.counts(rng)]
        if rng.random() < 0.1:
            steps.append(_task_message("result-generated", {"output": {"sentence": {"heartbeat": True}}}))
        if not sentence.is_dropped:
            steps.append(_plain_result(sentence, len(sentence.words), is_final=True))
    if rng.random() < 0.1:
        message = rng.choice(("NO_VALID_AUDIO_ERROR", "CLIENT_ERROR", "Throttling.RateQuota", "InternalError"))
        return [*steps, Act.FINISH, _task_message("task-failed", error_code=message, error_message="failed")]
    return [*steps, Act.FINISH, _task_message("task-finished", {"output": {}, "usage": {"duration": 3}})]


def _plain_result(sentence: _Sentence, count: int, *, is_final: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        "sentence_id": sentence.number + 1,
        "begin_time": sentence.start_ms,
        "end_time": sentence.end_ms if is_final else None,
        "text": sentence.text(count),
        "heartbeat": False,
        "sentence_begin": count == 1,
        "sentence_end": is_final,
        "words": _task_words(sentence, count),
    }
    if is_final:
        body |= {"emo_tag": "neutral", "emo_confidence": 0.9}
    usage = {"duration": sentence.end_ms // 1000 + 1} if is_final else None
    return _task_message("result-generated", {"output": {"sentence": body}, "usage": usage})


def _task_output(tree: Any) -> dict[str, Any]:
    """Return the output of a result of our task; empty if it is none."""
    match tree:
        case {"header": {"event": "result-generated", **header}, "payload": {"output": dict() as output}}:
            return output if header.get("task_id", TASK_ID) == TASK_ID else {}
    return {}


def _finals_of_plain_task(tree: Any, _request_id: str) -> list[ExpectedFinal]:
    match _task_output(tree):
        case {"sentence": {"text": str(text), "sentence_end": True} as sentence}:
            if sentence.get("heartbeat") in (None, False):
                return [_expected(text, None, sentence.get("begin_time"), sentence.get("end_time"))]
    return []


# --- Gummy -----------------------------------------------------------------------------------------------------------


def _draft_gummy(rng: random.Random, *, is_transcribed: bool, language: str | None) -> list[Draft]:
    steps: list[Draft] = [_task_message("task-started")]
    late: list[Draft] = []
    for sentence in _sentences(rng):
        steps += [Act.AUDIO, *late]
        late = []
        for count in [*sentence.counts(rng), *([] if sentence.is_dropped else [len(sentence.words)])]:
            is_final = count == len(sentence.words) and not sentence.is_dropped
            output: dict[str, Any] = {}
            if is_transcribed:
                output["transcription"] = _gummy_sentence(sentence, count, is_final=is_final)
            if language is not None:
                translation = _gummy_sentence(sentence, count, is_final=is_final, language=language)
                if rng.random() < 0.3:
                    late.append(_task_message("result-generated", {"output": {"translations": [translation]}}))
                else:
                    output["translations"] = [translation]
            if output and rng.random() < 0.1:
                first = output.get("transcription") or output["translations"][0]
                first["stash"] = {"sentence_id": sentence.number + 1, "begin_time": sentence.end_ms, "text": "stash"}
            usage = {"duration": sentence.end_ms // 1000 + 1}
            steps.append(_task_message("result-generated", {"output": output, "usage": usage}))
    return [*steps, Act.FINISH, *late, _task_message("task-finished", {"output": {}, "usage": None})]


def _gummy_sentence(sentence: _Sentence, count: int, *, is_final: bool, language: str | None = None) -> dict[str, Any]:
    text = sentence.text(count)
    body = {
        "sentence_id": sentence.number,
        "begin_time": sentence.start_ms,
        "text": text if language is None else f"{language} {text}",
        "words": [
            {**word, "punctuation": word["text"], "fixed": True, "speaker_id": None}
            for word in _task_words(sentence, count)
        ],
        "sentence_end": is_final,
        "vad_pre_end": is_final,
        "pre_end_failed": False,
        "pre_end_start_time": -1,
        "pre_end_end_time": sentence.end_ms,
    }
    body["end_time" if is_final else "current_time"] = sentence.words[count - 1][2]
    return body if language is None else {**body, "lang": language}


def _finals_of_gummy(tree: Any, _request_id: str) -> list[ExpectedFinal]:
    match _task_output(tree):
        case {"transcription": {"text": str(text), "sentence_end": True} as sentence}:
            return [_expected(text, None, sentence.get("begin_time"), sentence.get("end_time"))]
    return []


def _no_finals(_tree: Any, _request_id: str) -> list[ExpectedFinal]:
    """Return nothing: results of translations have no text, and with FunASR only a comparison shows what is new."""
    return []


# --- Qwen realtime ---------------------------------------------------------------------------------------------------


def _draft_realtime(rng: random.Random, *, has_commits: bool) -> list[Draft]:
    session = {"id": "sess_1", "object": "realtime.session", "model": "qwen3-asr-flash-realtime"}
    steps: list[Draft] = [_qwen("session.created", session=session), _qwen("session.updated", session=session)]
    late: list[Draft] = []
    for sentence in _sentences(rng):
        item = f"item_{sentence.number}"
        steps.append(Act.AUDIO)
        if has_commits:
            steps.append(Act.COMMIT)
        else:
            steps.append(_qwen("input_audio_buffer.speech_started", item_id=item, audio_start_ms=sentence.start_ms))
            steps.append(_qwen("input_audio_buffer.speech_stopped", item_id=item, audio_end_ms=sentence.end_ms))
        steps.append(_qwen("input_audio_buffer.committed", item_id=item, previous_item_id=None))
        steps.append(_qwen("conversation.item.created", item={"id": item, "object": "realtime.item", "content": []}))
        if sentence.is_dropped:
            continue
        for count in sentence.counts(rng):
            steps.append(
                _transcription("text", item, text=sentence.text(count - 1), stash=sentence.words[count - 1][0])
            )
        final = _transcription("completed", item, transcript=sentence.text(len(sentence.words)))
        if rng.random() < 0.2:
            late.append(final)
        else:
            steps += [final, *late]
            late = []
    if rng.random() < 0.05:
        steps.append(_qwen("error", error={"type": "invalid_request_error", "code": "invalid_value", "message": "no"}))
    return [*steps, Act.FINISH, *late, _qwen("session.finished")]


def _qwen(kind: str, **members: Any) -> dict[str, Any]:
    return {"event_id": "event_1", "type": kind, **members}


def _transcription(kind: str, item: str, **members: Any) -> dict[str, Any]:
    name = f"conversation.item.input_audio_transcription.{kind}"
    return _qwen(name, item_id=item, content_index=0, language="en", emotion="neutral", **members)


def _finals_of_realtime(tree: Any, _request_id: str) -> list[ExpectedFinal]:
    match tree:
        case {"type": "conversation.item.input_audio_transcription.completed", "transcript": str(text), **members}:
            item_id = members.get("item_id")
            return [_expected(text, item_id if isinstance(item_id, str) and item_id else None, None, None)]
    return []


# --- OpenAI ----------------------------------------------------------------------------------------------------------


def _draft_openai(rng: random.Random, *, has_commits: bool) -> list[Draft]:
    session = {"id": "sess_1", "object": "realtime.transcription_session", "type": "transcription"}
    steps: list[Draft] = [_qwen("session.created", session=session), _qwen("session.updated", session=session)]
    late: list[Draft] = []
    for sentence in _sentences(rng):
        item = f"item_{sentence.number}"
        steps.append(Act.AUDIO)
        if has_commits:
            steps.append(Act.COMMIT)
        else:
            steps.append(_qwen("input_audio_buffer.speech_started", item_id=item, audio_start_ms=sentence.start_ms))
            steps.append(_qwen("input_audio_buffer.speech_stopped", item_id=item, audio_end_ms=sentence.end_ms))
        texts = [*_deltas(sentence, item), _openai_final(sentence, item)]
        steps += _openai_item(item)
        if rng.random() < 0.2:
            late += texts
        else:
            steps += [*texts, *late]
            late = []
    if rng.random() < 0.05:
        steps.append(_qwen("error", error={"type": "invalid_request_error", "code": "invalid_value", "message": "no"}))
    steps += [Act.FINISH, *late]
    if rng.random() < 0.5:
        code = "input_audio_buffer_commit_empty"
        error = {"type": "invalid_request_error", "code": code, "message": "buffer too small", "event_id": None}
        return [*steps, _qwen("error", error=error)]
    return [*steps, *_openai_item("item_rest"), _openai_text("completed", "item_rest", transcript="")]


def _openai_item(item: str) -> list[Draft]:
    """Return the messages of an item that is committed."""
    body = {"id": item, "object": "realtime.item", "content": []}
    return [
        _qwen("input_audio_buffer.committed", item_id=item, previous_item_id=None),
        _qwen("conversation.item.added", item=body, previous_item_id=None),
        _qwen("conversation.item.done", item=body, previous_item_id=None),
    ]


def _deltas(sentence: _Sentence, item: str) -> list[Draft]:
    return [_openai_text("delta", item, delta=f"{word} ") for word, _, _ in sentence.words]


def _openai_final(sentence: _Sentence, item: str) -> dict[str, Any]:
    text = "" if sentence.is_dropped else sentence.text(len(sentence.words))
    return _openai_text(
        "completed",
        item,
        transcript=text,
        usage={"type": "duration", "seconds": 1.5},
        languages=[{"code": "en"}],
        logprobs=[{"token": "w", "bytes": [119], "logprob": -0.1}],
    )


def _openai_text(kind: str, item: str, **members: Any) -> dict[str, Any]:
    name = f"conversation.item.input_audio_transcription.{kind}"
    return _qwen(name, item_id=item, content_index=0, **members)


# --- FunASR's servers ------------------------------------------------------------------------------------------------


def _draft_nano(rng: random.Random, *, has_commits: bool) -> list[Draft]:
    refusal = "Session is not active; send START first" if has_commits else "COMMIT requires --endpoint-mode client"
    steps: list[Draft] = [{"event": "error", "error": refusal}, {"event": "started"}]
    sentences: list[dict[str, Any]] = []
    end_ms = 0
    for sentence in _sentences(rng):
        steps.append(Act.AUDIO)
        for count in sentence.counts(rng):
            first = rng.choice((0, 0, count - 1))  # of long speech, the newest words only
            steps.append(_nano_partial(sentences, sentence, first, count))
        end_ms = sentence.end_ms
        if not sentence.is_dropped:
            text = sentence.text(len(sentence.words))
            sentences.append({"text": text, "start": sentence.start_ms, "end": end_ms, "spk": 0})
        if has_commits:
            steps += [Act.COMMIT, _nano_result(sentences, end_ms, is_final=True)]
            sentences = []
        else:
            steps.append(_nano_result(sentences, end_ms, is_final=False))
    if rng.random() < 0.1:
        return [*steps, Act.FINISH, {"event": "error", "error": "the model failed"}]
    return [*steps, Act.FINISH, _nano_result(sentences, end_ms, is_final=True), {"event": "stopped"}]


def _nano_partial(sentences: list[dict[str, Any]], sentence: _Sentence, first: int, count: int) -> dict[str, Any]:
    words = sentence.words[first:count]
    text = " ".join(word for word, _, _ in words)
    return _nano_result(sentences, words[-1][2], is_final=False) | {"partial": text, "partial_start_ms": words[0][1]}


def _nano_result(sentences: list[dict[str, Any]], heard_ms: int, *, is_final: bool) -> dict[str, Any]:
    copied = copy.deepcopy(sentences)  # a mutation changes one message
    return {"sentences": copied, "partial": "", "partial_start_ms": 0, "duration_ms": heard_ms, "is_final": is_final}


def _draft_two_pass(rng: random.Random) -> list[Draft]:
    """Make a conversation with one of the two servers: `is_final` of the Python server is true until its last one."""
    steps: list[Draft] = []
    is_runtime = rng.random() < 0.5
    for sentence in _sentences(rng):
        steps.append(Act.AUDIO)
        words = sentence.words[: rng.randint(0, len(sentence.words))]
        steps += [_two_pass("2pass-online", word, is_final=not is_runtime) for word, _, _ in words]
        if not sentence.is_dropped:
            final = _two_pass("2pass-offline", sentence.text(len(sentence.words)), is_final=not is_runtime)
            steps.append({**final, **(_two_pass_times(sentence) if is_runtime else {})})
    if rng.random() < 0.1:
        return [*steps, Act.FINISH, {"error": "the model failed", "wav_name": TASK_ID}]
    end = _two_pass("2pass-offline", "", is_final=is_runtime)
    return [*steps, Act.FINISH, end if rng.random() < 0.7 else {**end, "is_end": True}]


def _two_pass(mode: str, text: str, *, is_final: bool) -> dict[str, Any]:
    return {"mode": mode, "wav_name": TASK_ID, "text": text, "is_final": is_final}


def _two_pass_times(sentence: _Sentence) -> dict[str, Any]:
    places = [[start_ms, end_ms] for _, start_ms, end_ms in sentence.words]
    part = {"text_seg": sentence.text(len(sentence.words)), "punc": ".", "start": sentence.start_ms}
    return {"timestamp": json.dumps(places), "stamp_sents": [{**part, "end": sentence.end_ms, "ts_list": places}]}


def _finals_of_two_pass(tree: Any, _request_id: str) -> list[ExpectedFinal]:
    match tree:
        case {"mode": "2pass-offline", "text": str(text), **members} if not members.get("error"):
            return [_expected(text, None, None, None)]
    return []


# --- Huawei ----------------------------------------------------------------------------------------------------------


def _huawei(kind: str, **members: Any) -> dict[str, Any]:
    return {"resp_type": kind, "trace_id": TASK_ID, **members}


def _draft_huawei(rng: random.Random, *, mode: str) -> list[Draft]:
    steps: list[Draft] = [_huawei("START")]
    late: list[dict[str, Any]] = []
    for sentence in _sentences(rng, 5 if mode == "continue" else 1):
        steps.append(Act.AUDIO)
        if mode == "sentence":
            steps.append(_huawei("EVENT", event="VOICE_START", timestamp=sentence.start_ms))
        for count in sentence.counts(rng):
            jitter_ms = rng.choice((0, 0, 20, -20, 40)) if mode == "continue" else 0
            steps.append(_huawei("RESULT", segments=[_segment(sentence, count, jitter_ms, is_final=False)]))
        if not sentence.is_dropped:
            late.append(_segment(sentence, len(sentence.words), rng.choice((0, 0, 30)), is_final=True))
        if late and rng.random() < 0.8:
            rng.shuffle(late)
            steps.append(_huawei("RESULT", segments=late))
            late = []
        if mode == "sentence":
            event = rng.choice(("VOICE_END", "EXCEEDED_SILENCE", "EXCEEDED_AUDIO"))
            steps.append(_huawei("EVENT", event=event, timestamp=sentence.end_ms))
    if late:
        steps += [Act.FINISH, _huawei("RESULT", segments=late)]
    else:
        steps.append(Act.FINISH)
    if rng.random() < 0.1:
        steps.append(_huawei("ERROR", error_code=rng.choice(("SIS.0305", "SIS.0032", "SIS.0304")), error_msg="failed"))
        return [*steps, _huawei("END", reason="ERROR")]
    return [*steps, _huawei("END", reason="NORMAL")]


def _segment(sentence: _Sentence, count: int, jitter_ms: int, *, is_final: bool) -> dict[str, Any]:
    words = [
        {"start_time": start_ms, "end_time": end_ms, "word": text} for text, start_ms, end_ms in sentence.words[:count]
    ]
    return {
        "start_time": max(0, sentence.start_ms + jitter_ms),
        "end_time": sentence.words[count - 1][2],
        "is_final": is_final,
        "result": {"text": sentence.text(count), "score": 0.9 if is_final else 0.0, "word_info": words},
    }


def _finals_of_huawei(tree: Any, request_id: str) -> list[ExpectedFinal]:
    match tree:
        case {"resp_type": "RESULT", "segments": list(segments), **members}:
            if members.get("trace_id", request_id) == request_id:
                return list(_finals_of_segments(segments))
    return []


def _finals_of_segments(segments: list[Any]) -> Iterator[ExpectedFinal]:
    for segment in segments:
        match segment:
            case {"is_final": True, "result": {"text": str(text)}, **members}:
                yield _expected(text, None, members.get("start_time"), members.get("end_time"))


# --- all of them -----------------------------------------------------------------------------------------------------


def _expected(text: str, key: object, start_ms: Any, end_ms: Any) -> ExpectedFinal:
    """Return a final; its place is that of the message if both of its times are as documented."""
    if _is_time(start_ms) and _is_time(end_ms) and start_ms < end_ms:
        return ExpectedFinal(text, key, start_ms, end_ms)
    return ExpectedFinal(text, key, None, None)


def _is_time(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_MS


class TaskReader:
    """The finals that a whole task must cause: between the confirmation of the start and anything that may end it."""

    def __init__(self, protocol: Protocol, task_id: str) -> None:
        self.protocol = protocol
        self._request_id = task_id
        self._is_running = False
        self.finals: list[ExpectedFinal] = []

    def read(self, message: str | bytes) -> None:
        """Read the next message of the vendor."""
        tree = read(message)
        match tree:
            case {"header": {"event": "task-started"}} | {"type": "session.updated"}:
                self._is_running = True
            case {"resp_type": "START"}:
                self._is_running = True
                self._request_id = tree.get("trace_id") or ""
            case {"header": {"event": "task-finished" | "task-failed"}} | {"type": "session.finished" | "error"}:
                self._is_running = False
            case {"resp_type": "END" | "ERROR" | "FATAL_ERROR"}:
                self._is_running = False
            case _ if self._is_running:
                self.finals += self.protocol.finals(tree, self._request_id)


def read(message: str | bytes) -> Any:
    """Return the values of a message; None if it may be refused as a whole."""
    if isinstance(message, bytes) or len(message) > MAX_OBLIGING_CHARS:
        return None
    try:
        return json.loads(message, strict=False)
    except (ValueError, RecursionError):
        return None


def _dashscope(endpoint: str, name: str) -> DashScope:
    return DashScope(name, endpoint=endpoint)


def _huawei_service(endpoint: str, name: str) -> Huawei:
    return Huawei(ak="AK", sk="SK", project_id=name, region="cn-north-4", endpoint=endpoint)


def _openai(endpoint: str, name: str) -> OpenAI:
    return OpenAI(name, endpoint=endpoint)


def _funasr(endpoint: str, name: str) -> FunASRServer:
    return FunASRServer(endpoint, api_key=name)


def name_in_handshake(path: str, authorization: str) -> str:
    """Return the name with which the service of a client was made."""
    kind, _, key = authorization.partition(" ")
    return key if kind == "Bearer" else path.split("/")[2]


def _gummy_protocol(name: str, options: Any, *, is_transcribed: bool = True, language: str | None = None) -> Protocol:
    def draft(rng: random.Random) -> list[Draft]:
        return _draft_gummy(rng, is_transcribed=is_transcribed, language=language)

    return Protocol(name, _dashscope, options, draft, _finals_of_gummy if is_transcribed else _no_finals)


def _realtime_protocol(name: str, options: Any, *, has_commits: bool) -> Protocol:
    def draft(rng: random.Random) -> list[Draft]:
        return _draft_realtime(rng, has_commits=has_commits)

    return Protocol(name, _dashscope, options, draft, _finals_of_realtime)


def _huawei_protocol(mode: Any) -> Protocol:
    def draft(rng: random.Random) -> list[Draft]:
        return _draft_huawei(rng, mode=mode)

    options = Rasr(mode=mode, interim_results=True, need_word_info=True)
    return Protocol(f"huawei-{mode}", _huawei_service, options, draft, _finals_of_huawei, '"END"')


def _openai_protocol(name: str, options: Any, *, has_commits: bool) -> Protocol:
    def draft(rng: random.Random) -> list[Draft]:
        return _draft_openai(rng, has_commits=has_commits)

    return Protocol(name, _openai, options, draft, _finals_of_realtime, "input_audio_buffer.commit")


def _nano_protocol(name: str, options: Any, *, has_commits: bool) -> Protocol:
    def draft(rng: random.Random) -> list[Draft]:
        return _draft_nano(rng, has_commits=has_commits)

    return Protocol(name, _funasr, options, draft, _no_finals, "STOP")


PROTOCOLS: tuple[Protocol, ...] = (
    Protocol("paraformer", _dashscope, Paraformer(), _draft_plain_task, _finals_of_plain_task),
    Protocol("fun-asr", _dashscope, FunASR(), _draft_plain_task, _finals_of_plain_task),
    Protocol("qwen-audio", _dashscope, QwenAudio(), _draft_plain_task, _finals_of_plain_task),
    _gummy_protocol("gummy", Gummy()),
    _gummy_protocol("gummy-translated", Gummy(translation_target_languages=["en"]), language="en"),
    _gummy_protocol(
        "gummy-translation-only",
        Gummy(translation_target_languages=["en"], transcription_enabled=False),
        is_transcribed=False,
        language="en",
    ),
    _gummy_protocol("gummy-chat", GummyChat(translation_target_languages=["en"]), language="en"),
    _realtime_protocol("qwen-realtime", QwenRealtime(), has_commits=False),
    _realtime_protocol("qwen-realtime-commits", QwenRealtime(manual_commit=True), has_commits=True),
    _huawei_protocol("continue"),
    _huawei_protocol("sentence"),
    _huawei_protocol("short"),
    _openai_protocol("openai", OpenAIRealtime(), has_commits=False),
    _openai_protocol("openai-commits", OpenAIRealtime(manual_commit=True), has_commits=True),
    _nano_protocol("funasr-nano", FunASRNano(), has_commits=False),
    _nano_protocol("funasr-nano-commits", FunASRNano(manual_commit=True), has_commits=True),
    Protocol(
        "funasr-2pass",
        _funasr,
        FunASR2Pass(),
        _draft_two_pass,
        _finals_of_two_pass,
        '"is_speaking":false',
        answers_start=False,
        finish_s=4,
    ),
)


def foreign_messages() -> list[dict[str, Any]]:
    """Return messages that no server sends here: those of clients, recorded, and a result of each protocol."""
    lines = (VECTORS / "dashscope_frames.jsonl").read_text().splitlines()
    recorded = [entry["frame"] for entry in map(json.loads, lines) if entry["kind"] == "text"]
    rng = random.Random(0)
    drafts = [step for protocol in PROTOCOLS for step in protocol.draft(rng) if isinstance(step, dict)]
    return copy.deepcopy([*recorded, *drafts])
