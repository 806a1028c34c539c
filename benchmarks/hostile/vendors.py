"""The scripted servers of one session: DashScope's tasks, its realtime protocol, OpenAI's, RASR, and FunASR's own.

One `World` is the environment of a session: its script, the habits of its vendor, and each of its connections with the
audio it received and the messages it sent. A connection ends by itself at a place that is drawn (`Break`): the
transport is aborted, the WebSocket is closed, or the vendor reports an error that passes.

Written from the vendors' documents with plain JSON. Does not know the library.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from .audio import AudioReader, Undecodable, reader_for
from .recogniser import Habits, Sentence, Step, StepKind, plan_of
from .script import Script, Word, translated

__all__ = [
    "FUNASR_PATH",
    "Break",
    "Connection",
    "DashScopeTask",
    "FunASRSession",
    "HuaweiTask",
    "OpenAISession",
    "RealtimeSession",
    "TwoPassTask",
    "World",
    "connection_for",
]

LANGUAGE = "en"
"""The language that Gummy is asked to translate into."""

FUNASR_PATH = "/funasr"
"""FunASR's own servers have no paths; here it tells them from the others."""

_TRANSCRIPTION = "conversation.item.input_audio_transcription"

PAUSE_S = 0.05
"""The pause of a client's messages after which OpenAI's server sends the texts that are due."""

FAR_MS = 3_000
"""The length of a final beyond the source, if its end is far beyond the audio."""

STALE = "stale"
"""The text of a result of another task; no word of a script has it."""


@dataclass(slots=True, kw_only=True)
class World:
    """The vendors of one session."""

    seed: int
    script: Script
    habits: Habits
    breaks: int
    """The connections that may still be ended."""
    break_reach_ms: int = 7_000
    """The longest audio after which a connection is ended."""
    dead: dict[str, int] = field(default_factory=dict)
    """Vendor → the number of connections that it still refuses."""
    dies: float = 0.0
    """The probability that a vendor refuses the next connections after it has ended one."""
    connections: list[Connection] = field(default_factory=list)
    used_before: int = 0
    """The connections before the session: its first one opens, since a session does not try that again."""


class Break(Exception):  # noqa: N818 - not an error of this program
    """The end of a connection that was drawn for it."""


class Connection:
    """One connection and the vendor's task on it. Subclasses know the messages."""

    vendor: ClassVar[str]

    def __init__(self, world: World, ws: ServerConnection) -> None:
        self.world = world
        self.number = len(world.connections)
        world.connections.append(self)
        self.rng = random.Random(f"{world.seed} {self.number}")
        self.reader = AudioReader()
        self.sent: list[tuple[int, str]] = []
        """Each message, with the place up to which the connection had received the source."""
        self.finals: list[Sentence] = []
        self.unanswered: list[Sentence] = []
        self.end = "open"
        self._ws = ws
        self._habits = world.habits
        self._plan: list[Step] | None = None
        self._next_step = 0
        self._is_finishing = False
        self._noise_ends = self.rng.random() < 0.3
        self._break_kind = ""
        self._break_ms = self._break_steps = 1 << 40
        self._break_at_finish = -1
        self._draw_break()

    # --- where it ends -----------------------------------------------------------------------------------------------

    def _draw_break(self) -> None:
        rng, world = self.rng, self.world
        if world.breaks <= 0:
            return
        self._break_kind = rng.choices(("abort", "close", "error"), (6, 2, 2))[0]
        match rng.choices(
            ("place", "steps", "finish", "start"), (10, 7, 4, 1 if self.number > world.used_before else 0)
        )[0]:
            case "place":
                self._break_ms = rng.randrange(100, world.break_reach_ms)
            case "steps":
                self._break_steps = rng.randrange(1, 25)
            case "finish":
                self._break_at_finish = rng.randrange(6)
            case "start":
                self._break_steps = 0

    def check_start(self) -> None:
        """End the connection before its task has begun, if that was drawn."""
        if self._break_steps == 0:
            self._break()

    def _break(self) -> None:
        self.world.breaks -= 1
        self.end = self._break_kind
        raise Break

    async def run(self, first: str | bytes | None = None) -> None:
        """Serve the connection until one side ends it."""
        try:
            await self.serve(first)
        except Break:
            self._draw_outage()
            if self._break_kind == "error":
                await self.send_error()
            if self._break_kind == "close":
                await self._ws.close(self.rng.choice((1000, 1001, 1011, 1012)))
            elif self._break_kind == "error" and self.rng.random() < 0.5:
                await self._ws.close(1011)
            elif self._break_kind == "abort":
                self._ws.transport.abort()
        except Undecodable as error:
            self.end = f"undecodable: {error}"
            await self.send_undecodable(str(error))
        except ConnectionClosed:
            self.end = "closed by the client" if self.end == "open" else self.end

    def _draw_outage(self) -> None:
        if self.rng.random() < self.world.dies:
            self.world.dead[self.vendor] = self.rng.randrange(2, 9)

    # --- audio in, messages out --------------------------------------------------------------------------------------

    @property
    def begin_ms(self) -> int:
        """The place of the source where the audio of this connection begins."""
        return self.reader.begin_ms or 0

    async def send(self, message: dict[str, Any]) -> None:
        """Send a message and note it."""
        text = json.dumps(message, ensure_ascii=self.number % 2 == 0)
        self.sent.append((self.reader.end_ms, text))
        await self._ws.send(text)

    async def receive_audio(self, data: bytes) -> None:
        """Receive audio, and send the steps that are due."""
        self.reader.read(data)
        if self.reader.begin_ms is None:
            return
        if self._plan is None:
            self._plan = self.draw_plan()
        if self.reader.end_ms >= self.begin_ms + self._break_ms:
            self._break()
        await self._send_due()

    def draw_plan(self) -> list[Step]:
        """Return the steps of this connection, after its first audio has arrived."""
        steps = plan_of(self.world.script, self._habits, self.rng, self.begin_ms)
        for sentence in {id(step.sentence): step.sentence for step in steps}.values():
            self._rewrite(sentence)
        return [*self._resent(), *steps]

    def _rewrite(self, sentence: Sentence) -> None:
        """Choose another form for some words."""
        forms = self.world.script.forms
        for index, word in enumerate(sentence.words):
            if word.text in forms and self.rng.random() < self._habits.rewrites:
                sentence.words[index] = replace(word, form=self.rng.choice(forms[word.text]))

    def _resent(self) -> list[Step]:
        """Return the last final of the audio before that of this connection, in other words, as its first step."""
        if not self._habits.resends or self.rng.random() >= self._habits.resends:
            return []
        before = self.world.connections[self.world.used_before : self.number]
        finals = [final for each in before for final in each.finals if final.end_ms <= self.begin_ms]
        if not finals:
            return []
        last = max(finals, key=lambda final: final.end_ms)
        again = Sentence(number=-1, words=[*last.words], shift_ms=last.shift_ms)
        self._rewrite(again)
        return [Step(at_ms=self.begin_ms, kind=StepKind.FINAL, sentence=again, count=len(again.words))]

    async def _send_due(self) -> None:
        plan = self._plan or []
        while self._next_step < len(plan) and plan[self._next_step].at_ms <= self.reader.end_ms:
            step = plan[self._next_step]
            self._next_step += 1
            await self.send_step(step)
            self._count_step()

    def _count_step(self) -> None:
        self._break_steps -= 1
        if self._break_steps == 0:
            self._break()

    def schedule(self, steps: list[Step]) -> None:
        """Add steps to those that are still to come."""
        plan = self._plan or []
        self._plan = plan[: self._next_step] + sorted([*plan[self._next_step :], *steps], key=lambda step: step.at_ms)

    async def finish(self) -> None:
        """Send the steps that are left, without the words of which the middle was not received: the audio is over."""
        self._is_finishing = True
        rest = (self._plan or [])[self._next_step :]
        for step in rest:
            sentence = step.sentence
            sentence.words = self._recognised(sentence.words)
            step.count = min(step.count, len(sentence.words))
        rest = [step for step in rest if step.sentence.words]
        finals = [step.sentence for step in rest if step.kind is StepKind.FINAL and step.sentence.kind == "speech"]
        last = max(finals, key=lambda sentence: sentence.number, default=None)
        draw = self.rng.random()
        is_never_final = draw < self._habits.never_final
        is_unanswered = not is_never_final and draw < self._habits.never_final + self._habits.unanswered
        for number, step in enumerate(rest):
            if number == self._break_at_finish:
                self._break()
            sentence = step.sentence
            if (is_never_final or is_unanswered) and last is not None and sentence.number > last.number:
                continue  # nothing behind what is left open
            if is_never_final and sentence is last:
                await self._send_never_final(step)
            elif is_unanswered and sentence is last and not sentence.shown_counts:
                await self._send_unanswered(step)
            elif step.kind is not StepKind.INTERIM or self.rng.random() < 0.3:
                await self.send_step(step)
            self._count_step()
        if self._break_at_finish >= 0:
            self._break()

    def _recognised(self, words: list[Word]) -> list[Word]:
        """Return the words of which the middle was received; a word ends where the audio ends."""
        end_ms = self.reader.end_ms
        return [replace(word, end_ms=min(word.end_ms, end_ms)) for word in words if word.middle_ms < end_ms]

    async def _send_never_final(self, step: Step) -> None:
        """Send all the words of the last sentence as an interim, and never its final."""
        sentence = step.sentence
        if step.kind in {StepKind.START, StepKind.STOP}:
            await self.send_step(step)
        if len(sentence.words) not in sentence.shown_counts and step.kind is not StepKind.START:
            count = len(sentence.words)
            await self.send_step(Step(at_ms=step.at_ms, kind=StepKind.INTERIM, sentence=sentence, count=count))

    async def _send_unanswered(self, step: Step) -> None:
        if step.kind in {StepKind.START, StepKind.STOP}:
            await self.send_step(step)
        if step.sentence not in self.unanswered:
            self.unanswered.append(step.sentence)

    # --- for the vendors ---------------------------------------------------------------------------------------------

    async def serve(self, first: str | bytes | None = None) -> None:
        """Serve one task, and then the next one on the same connection; `first` is its first message."""
        raise NotImplementedError

    async def messages(self, first: str | bytes | None) -> AsyncIterator[str | bytes]:
        """Yield the messages of the client."""
        if first is not None:
            yield first
        async for message in self._ws:
            yield message

    async def next_task(self, message: str) -> None:
        """Serve the next task on the same connection."""
        successor = type(self)(self.world, self._ws)
        if self._habits.stale:
            await self.send_stale()
        await successor.run(message)

    async def send_stale(self) -> None:
        """Send the last messages of the task that is over again."""
        raise NotImplementedError

    async def send_step(self, step: Step) -> None:
        """Send the message of a step, if the protocol has one for its kind."""
        sentence = step.sentence
        match step.kind:
            case StepKind.INTERIM:
                sentence.shown_counts.add(step.count)
                await self._result(sentence, sentence.words[: step.count], is_final=False)
            case StepKind.FINAL | StepKind.REPEAT if sentence.kind == "speech" and step.count:
                if step.kind is StepKind.FINAL:
                    self.make_final(sentence)
                await self._result(sentence, sentence.words, is_final=True)

    async def _result(self, sentence: Sentence, words: list[Word], *, is_final: bool) -> None:
        raise NotImplementedError

    async def send_error(self) -> None:
        raise NotImplementedError

    async def send_undecodable(self, reason: str) -> None:
        raise NotImplementedError

    def shift_ms(self, sentence: Sentence) -> int:
        """Return by how much the times of the next message are off."""
        habits = self._habits
        if habits.jitters_each_message and not (sentence.is_final and habits.repeats_exactly):
            return self.rng.randint(-habits.jitter_ms, habits.jitter_ms)
        return sentence.shift_ms

    def make_final(self, sentence: Sentence) -> None:
        """Note the final of a sentence; its repeats have the same times."""
        sentence.shift_ms = self.shift_ms(sentence)
        if self._habits.final_shift_ms:
            sentence.shift_ms += self.rng.randint(-self._habits.final_shift_ms, self._habits.final_shift_ms)
        sentence.has_far_end = self.rng.random() < self._habits.far_ends
        self._rewrite(sentence)
        sentence.is_final = True
        self.finals.append(sentence)

    def end_of(self, sentence: Sentence, own_ms: int, *, missing: int | None) -> int | None:
        """Return the end of a final as this vendor reports it, if at all."""
        if sentence.has_far_end:
            return self.own_ms(self.world.script.length_ms + FAR_MS, 0)
        return missing if self.rng.random() < self._habits.missing_ends else own_ms

    def own_ms(self, place_ms: int, shift_ms: int) -> int:
        """Return a place of the source in the time of this connection; -1 is a time that is not known."""
        own_ms = place_ms - self.begin_ms + shift_ms
        return 0 if own_ms == -1 else own_ms


class DashScopeTask(Connection):
    """A connection with DashScope's task protocol: Paraformer, or Gummy if translations are wanted."""

    vendor = "dashscope"

    def __init__(self, world: World, ws: ServerConnection) -> None:
        super().__init__(world, ws)
        self._task_id = ""
        self._ids: dict[int, int | None] = {}
        self._last_final: dict[str, Any] | None = None
        self._is_old = not world.habits.translates and world.habits.missing_ends == 0 and self.rng.random() < 0.2

    async def serve(self, first: str | bytes | None = None) -> None:
        async for message in self.messages(first):
            if isinstance(message, bytes):
                await self.receive_audio(message)
                continue
            control = json.loads(message)
            match control["header"]["action"]:
                case "run-task" if self._task_id:
                    await self.next_task(message)
                    return
                case "run-task":
                    self._task_id = control["header"]["task_id"]
                    self.reader = reader_for(control["payload"]["parameters"]["format"])
                    self.check_start()
                    await self._event("task-started", {})
                case "finish-task":
                    await self.finish()
                    await self._end_task()

    async def _end_task(self) -> None:
        self.end = "finished"
        if not self.finals and not self.sent[1:] and self.reader.begin_ms is not None and self.rng.random() < 0.3:
            await self._fail("NO_VALID_AUDIO_ERROR", "no valid audio")
        else:
            await self._event("task-finished", {"output": {}, "usage": None})

    async def _event(self, name: str, payload: dict[str, Any], **header: str) -> None:
        await self.send({"header": {"task_id": self._task_id, "event": name, **header}, "payload": payload})

    async def _fail(self, code: str, text: str) -> None:
        await self._event("task-failed", {}, error_code=code, error_message=text)

    async def send_stale(self) -> None:
        sentence = {"begin_time": 100, "end_time": 500, "text": STALE, "sentence_end": True, "sentence_id": 9}
        output = {"transcription": {**sentence, "words": []}} if self._habits.translates else {"sentence": sentence}
        await self._event("result-generated", {"output": output, "usage": None})
        await self._event("task-finished", {"output": {}, "usage": None})

    async def send_error(self) -> None:
        codes = ("InternalError", "SystemError", "InternalError.Algo", "ModelUnavailable", "ResponseTimeout")
        await self._fail(self.rng.choice(codes), "please try again later")

    async def send_undecodable(self, reason: str) -> None:
        await self._fail("DECODE_ERROR", reason)

    async def send_step(self, step: Step) -> None:
        sentence = step.sentence
        match step.kind:
            case StepKind.TRANSLATION if not self._is_finishing:
                await self._translation(sentence, sentence.words[: step.count], is_final=False)
            case StepKind.TRANSLATION_FINAL:
                await self._translation(sentence, sentence.words, is_final=True)
            case _:
                await super().send_step(step)

    def _id_of(self, sentence: Sentence) -> int | None:
        if sentence.number not in self._ids:
            count = len(self._ids)
            known = [number for number in self._ids.values() if number is not None]
            match self._habits.ids:
                case "missing":
                    number = None
                case "same":
                    number = 1
                case "zero":
                    number = count
                case "sticky" if known and self.rng.random() < 0.5:
                    number = known[-1]
                case "restart":
                    number = count % 3
                case _:
                    number = count + 1
            self._ids[sentence.number] = number
        return self._ids[sentence.number]

    async def _result(self, sentence: Sentence, words: list[Word], *, is_final: bool) -> None:
        habits = self._habits
        members = self._sentence(sentence, words, is_final=is_final)
        if is_final:
            members["end_time"] = self.end_of(sentence, members["end_time"], missing=None)
        if habits.translates:
            output: dict[str, Any] = {"transcription": members}
            self._last_final = members if is_final else None
        else:
            output = {"sentence": members}
            if self._is_old:
                del members["sentence_end"]
        usage = {"duration": -(-(self.reader.end_ms - self.begin_ms) // 1000)} if is_final else None
        await self._event("result-generated", {"output": output, "usage": usage})

    async def _translation(self, sentence: Sentence, words: list[Word], *, is_final: bool) -> None:
        members = self._sentence(sentence, words, is_final=is_final)
        members |= {"lang": LANGUAGE, "text": " ".join(translated(word.text) for word in words), "words": []}
        output: dict[str, Any] = {"translations": [members]}
        if is_final and self._last_final is not None and self.rng.random() < 0.3:
            output["transcription"] = self._last_final  # a repeat
        await self._event("result-generated", {"output": output, "usage": None})

    def _sentence(self, sentence: Sentence, words: list[Word], *, is_final: bool) -> dict[str, Any]:
        habits, shift_ms = self._habits, self.shift_ms(sentence)
        members: dict[str, Any] = {
            "begin_time": self.own_ms(words[0].start_ms, shift_ms),
            "end_time": self.own_ms(words[-1].end_ms, shift_ms) if is_final else None,
            "text": sentence.text(words, punctuates=is_final and habits.punctuates),
            "sentence_end": is_final,
        }
        has_place = bool(habits.word_times == "always" or (habits.is_sequential and is_final))
        if has_place and self.rng.random() < habits.missing_starts:
            members["begin_time"] = None
        sentence_id = self._id_of(sentence)
        if sentence_id is not None:
            members["sentence_id"] = sentence_id
        if habits.word_times == "always" or (habits.word_times == "finals" and is_final):
            members["words"] = [self._word(word, shift_ms) for word in words]
        elif habits.translates:
            members["words"] = []
        return members

    def _word(self, word: Word, shift_ms: int) -> dict[str, Any]:
        begin, end = self.own_ms(word.start_ms, shift_ms), self.own_ms(word.end_ms, shift_ms)
        return {"begin_time": begin, "end_time": end, "text": word.shown, "punctuation": ""}


class RealtimeSession(Connection):
    """A connection with the Qwen realtime protocol, with the server's or the caller's cuts."""

    vendor = "qwen"

    def __init__(self, world: World, ws: ServerConnection) -> None:
        super().__init__(world, ws)
        self._is_manual = False
        self._committed_ms = 0
        self._words: list[Word] = []
        self._items = 0
        self._events = 0
        self._last_item: str | None = None

    async def serve(self, first: str | bytes | None = None) -> None:  # noqa: ARG002 - one session on a connection
        await self._event("session.created", session={"id": f"sess_{self.number}", "object": "realtime.session"})
        async for message in self._ws:
            request = json.loads(message)
            match request["type"]:
                case "session.update":
                    self.reader = reader_for(request["session"]["input_audio_format"])
                    self._is_manual = request["session"].get("turn_detection", 0) is None
                    self.check_start()
                    await self._event("session.updated", session={"id": f"sess_{self.number}"})
                case "input_audio_buffer.append":
                    await self.receive_audio(base64.b64decode(request["audio"]))
                case "input_audio_buffer.commit":
                    await self._commit(request["event_id"])
                case "session.finish":
                    await self.finish()
                    self.end = "finished"
                    await self._event("session.finished")
                    await self._ws.close()

    def draw_plan(self) -> list[Step]:
        self._committed_ms = self.begin_ms
        steps = super().draw_plan()
        finals = [step.sentence for step in steps if step.kind is StepKind.FINAL]
        self._words = [word for sentence in sorted(finals, key=lambda each: each.number) for word in sentence.words]
        return [] if self._is_manual else steps

    async def _event(self, name: str, **members: Any) -> None:
        self._events += 1
        await self.send({"event_id": f"event_{self.number}_{self._events}", "type": name, **members})

    async def send_error(self) -> None:
        error = {"type": "server_error", "code": "InternalError", "message": "please try again later"}
        await self._event("error", error=error)

    async def send_undecodable(self, reason: str) -> None:
        await self._event("error", error={"type": "invalid_request_error", "code": "DECODE_ERROR", "message": reason})

    async def _commit(self, event_id: str) -> None:
        begin_ms, end_ms = self._committed_ms, self.reader.end_ms
        if end_ms == begin_ms:
            error = {"type": "invalid_request_error", "code": "invalid_value", "message": "buffer is empty"}
            await self._event("error", error={**error, "event_id": event_id})
            return
        self._committed_ms = end_ms
        words = [word for word in self._words if begin_ms <= word.middle_ms < end_ms]
        kind = "speech" if words else "cough"
        self._items += 1
        place = Word("", begin_ms, end_ms)
        sentence = Sentence(number=self._items, words=words or [place], kind=kind)
        await self._commit_item(sentence)
        late_ms = self.rng.randrange(self._habits.late_ms) if self.rng.random() < self._habits.late else 0
        counts = range(1, len(words) + 1)
        steps = [
            Step(at_ms=end_ms + self.rng.randrange(50), kind=StepKind.INTERIM, sentence=sentence, count=count)
            for count in counts
            if self.rng.random() < 0.4
        ]
        final = Step(at_ms=end_ms + 50 + late_ms, kind=StepKind.FINAL, sentence=sentence, count=len(words))
        self.schedule([*steps, final])

    async def send_step(self, step: Step) -> None:
        sentence = step.sentence
        match step.kind:
            case StepKind.START:
                start_ms = self.own_ms(sentence.start_ms, self.shift_ms(sentence))
                item = self._item(sentence)
                await self._event("input_audio_buffer.speech_started", item_id=item, audio_start_ms=max(0, start_ms))
            case StepKind.STOP:
                end_ms = self.own_ms(sentence.end_ms, self.shift_ms(sentence))
                item = self._item(sentence)
                await self._event("input_audio_buffer.speech_stopped", item_id=item, audio_end_ms=max(0, end_ms))
                await self._commit_item(sentence)
            case StepKind.INTERIM if sentence.kind == "speech":
                sentence.shown_counts.add(step.count)
                text = sentence.text(sentence.words[: step.count])
                fixed = self.rng.randrange(len(text))
                await self._text("text", sentence, text=text[:fixed], stash=text[fixed:])
            case StepKind.INTERIM if sentence.kind == "noise":
                await self._text("text", sentence, text="", stash=sentence.words[0].shown)
            case StepKind.FINAL if sentence.kind == "speech":
                self.make_final(sentence)
                text = sentence.text(sentence.words, punctuates=self._habits.punctuates)
                await self._text("completed", sentence, transcript=text)
            case StepKind.FINAL if self._noise_ends:  # of noise or a cough
                await self._text("completed", sentence, transcript="")
            case StepKind.REPEAT:
                text = sentence.text(sentence.words, punctuates=self._habits.punctuates)
                await self._text("completed", sentence, transcript=text)

    def _item(self, sentence: Sentence) -> str:
        return f"item_{self.number}_{sentence.number}"

    async def _commit_item(self, sentence: Sentence) -> None:
        item, previous = self._item(sentence), self._last_item
        self._last_item = item
        await self._event("input_audio_buffer.committed", item_id=item, previous_item_id=previous)
        if sentence.kind == "speech" or self.rng.random() < 0.5:
            details = {"id": item, "object": "realtime.item", "type": "message", "role": "user"}
            await self._event("conversation.item.created", previous_item_id=previous, item=details)

    async def _text(self, name: str, sentence: Sentence, **members: str) -> None:
        name = f"conversation.item.input_audio_transcription.{name}"
        await self._event(name, item_id=self._item(sentence), content_index=0, language="en", **members)


class OpenAISession(RealtimeSession):
    """A connection with OpenAI's realtime transcription, with the server's or the caller's cuts.

    No message ends the audio: where the server cuts, the only commit of the client is its last one; where the client
    cuts, a pause of its messages brings the texts that are due.
    """

    vendor = "openai"

    def __init__(self, world: World, ws: ServerConnection) -> None:
        super().__init__(world, ws)
        self._noise_ends = True  # each item that is committed is completed
        self._shown: dict[str, int] = {}
        self._speaking: set[str] = set()
        self._owed: list[str] = []
        self._awaits_commit = False

    async def serve(self, first: str | bytes | None = None) -> None:  # noqa: ARG002 - one session on a connection
        await self._event("session.created", session={"id": f"sess_{self.number}"})
        while True:
            try:
                async with asyncio.timeout(PAUSE_S if self._is_manual else None):
                    request = json.loads(await self._ws.recv())
            except TimeoutError:
                await self._flush()
                continue
            match request["type"]:
                case "session.update":
                    self.reader = reader_for("pcm24k")
                    self._is_manual = request["session"]["audio"]["input"]["turn_detection"] is None
                    self.check_start()
                    await self._event("session.updated", session={"id": f"sess_{self.number}"})
                case "input_audio_buffer.append":
                    data = base64.b64decode(request["audio"])
                    if any(data):  # else it fills a commit up to 100 ms
                        await self.receive_audio(data)
                case "input_audio_buffer.commit" if self._is_manual:
                    await self._commit(request["event_id"])
                case "input_audio_buffer.commit":
                    await self._commit_rest(request["event_id"])

    async def _flush(self) -> None:
        """Send the texts that are due, since the client may have committed the last audio."""
        plan = self._plan or []
        if self._next_step < len(plan) and self._break_at_finish >= 0:
            self._break()
        while self._next_step < len(plan):
            step = plan[self._next_step]
            self._next_step += 1
            await self.send_step(step)
            self._count_step()

    async def _commit_rest(self, event_id: str) -> None:
        """Answer the commit of the rest of the audio: with the item of the open utterance, or one of silence."""
        self._awaits_commit = bool(self._speaking)
        is_answered = not self._awaits_commit and self.rng.random() < 0.5
        if is_answered:
            await self._answer_silence(event_id)
        await self.finish()
        if not is_answered and (self._awaits_commit or not self._speaking):
            await self._answer_silence(event_id)
        for item in [*self._owed]:
            await self._complete(item, "")

    async def _answer_silence(self, event_id: str) -> None:
        if self.rng.random() < 0.5:
            text = "Error committing input audio buffer: buffer too small."
            error = {"type": "invalid_request_error", "code": "input_audio_buffer_commit_empty", "message": text}
            await self._event("error", error={**error, "event_id": event_id if self.rng.random() < 0.8 else None})
            return
        item = f"item_{self.number}_rest"
        self._owed.append(item)
        await self._event("input_audio_buffer.committed", item_id=item, previous_item_id=self._last_item)
        await self._complete(item, "")

    async def send_step(self, step: Step) -> None:
        sentence = step.sentence
        item = self._item(sentence)
        match step.kind:
            case StepKind.START:
                self._speaking.add(item)
                await super().send_step(step)
            case StepKind.STOP if self._awaits_commit and self._speaking == {item}:
                self._awaits_commit = False
                await self._commit_item(sentence)
            case StepKind.INTERIM:
                await self._delta(sentence, step.count)
            case _:
                await super().send_step(step)

    async def _commit_item(self, sentence: Sentence) -> None:
        item, previous = self._item(sentence), self._last_item
        self._speaking.discard(item)
        self._owed.append(item)
        self._last_item = item
        await self._event("input_audio_buffer.committed", item_id=item, previous_item_id=previous)
        details = {"id": item, "object": "realtime.item", "type": "message", "role": "user"}
        await self._event("conversation.item.added", previous_item_id=previous, item=details)

    async def _delta(self, sentence: Sentence, count: int) -> None:
        """Show the words up to this one that are not shown yet."""
        item = self._item(sentence)
        shown = self._shown.get(item, 0)
        if count <= shown or sentence.kind == "cough":
            return
        self._shown[item] = count
        sentence.shown_counts.add(count)
        text = (" " if shown else "") + sentence.text(sentence.words[shown:count])
        await self._event(f"{_TRANSCRIPTION}.delta", item_id=item, content_index=0, delta=text)

    async def _text(self, name: str, sentence: Sentence, **members: str) -> None:  # noqa: ARG002 - only finals
        await self._complete(self._item(sentence), members["transcript"])

    async def _complete(self, item: str, text: str) -> None:
        if item in self._owed:
            self._owed.remove(item)
        await self._event(f"{_TRANSCRIPTION}.completed", item_id=item, content_index=0, transcript=text)


class HuaweiTask(Connection):
    """A connection with Huawei's RASR, in the continuous mode."""

    vendor = "huawei"

    def __init__(self, world: World, ws: ServerConnection) -> None:
        super().__init__(world, ws)
        self._trace_id = f"trace-{world.seed}-{self.number}"
        self._wants_words = False
        self._is_started = False
        self._held: list[dict[str, Any]] = []

    async def serve(self, first: str | bytes | None = None) -> None:
        async for message in self.messages(first):
            if isinstance(message, bytes):
                await self.receive_audio(message)
                continue
            request = json.loads(message)
            match request["command"]:
                case "START" if self._is_started:
                    await self.next_task(message)
                    return
                case "START":
                    self._is_started = True
                    self.reader = reader_for(request["config"]["audio_format"])
                    self._wants_words = request["config"].get("need_word_info") == "yes"
                    self.check_start()
                    await self._message("START")
                case "END":
                    await self.finish()
                    if self._held:
                        await self._message("RESULT", segments=self._held)
                    self.end = "finished"
                    await self._message("END", reason="NORMAL")

    async def _message(self, name: str, **members: Any) -> None:
        await self.send({"resp_type": name, "trace_id": self._trace_id, **members})

    async def send_stale(self) -> None:
        result = {"text": STALE, "score": 0.9}
        segment = {"start_time": 100, "end_time": 500, "is_final": True, "result": result}
        await self._message("RESULT", segments=[segment])
        await self._message("END", reason="NORMAL")

    async def send_error(self) -> None:
        code = self.rng.choice(("SIS.0033", "SIS.0100", "SIS.0302", "SIS.0303", "SIS.0305"))
        if self.rng.random() < 0.5:
            await self._message("FATAL_ERROR", error_code=code, error_msg="an error of the engine")
            return
        await self._message("ERROR", error_code=code, error_msg="an error of the engine")
        await self._message("END", reason="ERROR")

    async def send_undecodable(self, reason: str) -> None:
        await self._message("FATAL_ERROR", error_code="SIS.30006", error_msg=reason)

    async def _result(self, sentence: Sentence, words: list[Word], *, is_final: bool) -> None:
        shift_ms = self.shift_ms(sentence)
        result: dict[str, Any] = {
            "text": sentence.text(words, punctuates=is_final and self._habits.punctuates),
            "score": round(self.rng.uniform(0.5, 1.0), 3) if is_final else 0.0,
        }
        if self._wants_words:
            result["word_info"] = [
                {
                    "start_time": self.own_ms(word.start_ms, shift_ms),
                    "end_time": self.own_ms(word.end_ms, shift_ms),
                    "word": word.shown,
                }
                for word in words
            ]
        segment: dict[str, Any] = {
            "start_time": self.own_ms(words[0].start_ms, shift_ms),
            "end_time": self.own_ms(words[-1].end_ms, shift_ms),
            "is_final": is_final,
            "result": result,
        }
        if is_final:
            missing = -1 if self.rng.random() < 0.5 else None
            segment["end_time"] = self.end_of(sentence, segment["end_time"], missing=missing)
        if self._wants_words and self.rng.random() < self._habits.missing_starts:
            del segment["start_time"]
        self._held.append(segment)
        if self.rng.random() < 0.9:
            segments, self._held = self._held, []
            await self._message("RESULT", segments=segments)


class FunASRSession(Connection):
    """A connection with FunASR's real-time server, which repeats all sentences in each result."""

    vendor = "funasr"

    def __init__(self, world: World, ws: ServerConnection) -> None:
        super().__init__(world, ws)
        self._sentences: list[dict[str, Any]] = []
        self._sent_count = 0

    async def serve(self, first: str | bytes | None = None) -> None:
        async for message in self.messages(first):
            if isinstance(message, bytes):
                await self.receive_audio(message)
                continue
            match message:
                case "COMMIT":
                    await self.send({"event": "error", "error": "COMMIT requires --endpoint-mode client"})
                case "START":
                    self.reader = reader_for("pcm")
                    self.check_start()
                    await self.send({"event": "started"})
                case "STOP":
                    await self.finish()
                    await self._send_sentences("", 0, is_final=True)
                    self.end = "finished"
                    await self.send({"event": "stopped"})

    async def send_error(self) -> None:
        await self.send({"event": "error", "error": "internal error: the engine has failed"})

    async def _result(self, sentence: Sentence, words: list[Word], *, is_final: bool) -> None:
        shift_ms = self.shift_ms(sentence)
        if not is_final:
            words = words[-self._habits.window_words :]
            await self._send_sentences(sentence.text(words), self.own_ms(words[0].start_ms, shift_ms))
            return
        place = {"start": self.own_ms(words[0].start_ms, shift_ms), "end": self.own_ms(words[-1].end_ms, shift_ms)}
        text = sentence.text(words, punctuates=self._habits.punctuates)
        if not self._sentences or self._sentences[-1]["text"] != text or self._sentences[-1]["start"] != place["start"]:
            self._sentences.append({"text": text, **place})
        await self._send_sentences("", self.reader.end_ms - self.begin_ms)

    async def _send_never_final(self, step: Step) -> None:
        await super()._send_never_final(step)
        # the words before the window of the last partial may have been in none
        unshown = step.sentence.words[: -self._habits.window_words] if self._habits.window_words else []
        if unshown:
            self.unanswered.append(replace(step.sentence, words=unshown))

    async def _send_sentences(self, partial: str, start_ms: int, *, is_final: bool = False) -> None:
        await self.send(
            {
                "sentences": self._divided(),
                "partial": partial,
                "partial_start_ms": start_ms,
                "duration_ms": self.reader.end_ms - self.begin_ms,
                "is_final": is_final,
            }
        )

    def _divided(self) -> list[dict[str, Any]]:
        """Return the sentences, of those that were sent before one in two parts now and then: of two speakers."""
        sentences, sent = self._sentences, self._sent_count
        self._sent_count = len(sentences)
        if not sent or self.rng.random() >= self._habits.redivides:
            return sentences
        at = self.rng.randrange(sent)
        text, start_ms, end_ms = (sentences[at][name] for name in ("text", "start", "end"))
        cut = self.rng.randrange(len(text))
        cut_ms = start_ms + (end_ms - start_ms) * cut // len(text)
        parts = [
            {"text": text[:cut].strip(), "start": start_ms, "end": cut_ms, "spk": 0},
            {"text": text[cut:].strip(), "start": cut_ms, "end": end_ms, "spk": 1},
        ]
        return [*sentences[:at], *(part for part in parts if part["text"]), *sentences[at + 1 :]]


class TwoPassTask(Connection):
    """A connection with one of FunASR's older servers: the C++ one, or the Python one, which gives no times."""

    vendor = "funasr"

    def __init__(self, world: World, ws: ServerConnection) -> None:
        super().__init__(world, ws)
        self._is_runtime = world.habits.word_times != "never"
        self._answers_end = not self._is_runtime and self.rng.random() < 0.5
        self._name = ""
        self._shown = ""

    async def serve(self, first: str | bytes | None = None) -> None:
        async for message in self.messages(first):
            if isinstance(message, bytes):
                await self.receive_audio(message)
                continue
            request = json.loads(message)
            if request["is_speaking"]:
                self._name = request["wav_name"]
                self.reader = reader_for(request["wav_format"])
                self.check_start()
                continue
            await self.finish()
            self.end = "finished"
            if self._is_runtime:
                await self._message(text="", is_final=True)
                continue
            await self._message(mode="2pass-offline", text="", is_final=False)
            if self._answers_end:
                await self._message(mode="2pass", is_final=True, is_end=True)

    async def _message(self, **members: Any) -> None:
        await self.send({**members, "wav_name": self._name})

    async def send_error(self) -> None:
        await self._ws.close(1011, "internal error")

    async def _result(self, sentence: Sentence, words: list[Word], *, is_final: bool) -> None:
        still_speaking = not self._is_runtime
        text = sentence.text(words, punctuates=is_final and self._habits.punctuates)
        if not is_final:
            if text.startswith(self._shown) and text != self._shown:
                more, self._shown = text[len(self._shown) :], text
                await self._message(mode="2pass-online", text=more, is_final=still_speaking)
            return
        self._shown = ""
        await self._message(mode="2pass-offline", text=text, is_final=still_speaking, **self._times(sentence, words))

    def _times(self, sentence: Sentence, words: list[Word]) -> dict[str, Any]:
        if not self._is_runtime:
            return {}
        shift_ms = self.shift_ms(sentence)
        places = [[self.own_ms(word.start_ms, shift_ms), self.own_ms(word.end_ms, shift_ms)] for word in words]
        place = {"start": places[0][0], "end": places[-1][1], "ts_list": places}
        text = " ".join(word.shown.replace(" ", "") for word in words)
        return {"timestamp": json.dumps(places), "stamp_sents": [{"text_seg": text, "punc": "", **place}]}


def connection_for(world: World, ws: ServerConnection, path: str) -> Connection:
    """Return the connection of the protocol that a path belongs to."""
    if "/rasr/" in path:
        return HuaweiTask(world, ws)
    if path == FUNASR_PATH:
        return TwoPassTask(world, ws) if ws.subprotocol else FunASRSession(world, ws)
    if path.startswith("/v1/realtime"):
        return OpenAISession(world, ws)
    if "/realtime" in path:
        return RealtimeSession(world, ws)
    return DashScopeTask(world, ws)
