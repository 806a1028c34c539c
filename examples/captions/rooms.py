"""Rooms of the captions application: their speakers, their watchers, and the captions so far.

Everything is bounded: rooms, watchers of a room, captions that are kept, messages that wait for a slow watcher.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from asr_async import Event, Gap, Result, SpeechEnded, TranslationArrived

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_CAPTIONS = 2_000
MAX_WATCHERS = 200
MAX_SPEAKERS = 20
MAX_WAITING = 500
"""The messages that wait for a watcher; one that is slower than that is disconnected, and comes back by itself."""

KEPT_INTERIM_S = 15.0
"""The time that the unfinished text of a lost speaker stays: its browser comes back and continues it."""


class RefusedError(Exception):
    """A room that cannot be entered; the text goes to the browser."""


class Caption(msgspec.Struct, kw_only=True, tag="caption", tag_field="type"):
    """The text of a segment; `start` and `end` are milliseconds since 1970."""

    id: str
    text: str
    is_final: bool
    start: int
    end: int
    translation: str = ""


class Notice(msgspec.Struct, kw_only=True, tag="notice", tag_field="type"):
    """A line for all pages of a room."""

    text: str


class Withdrawn(msgspec.Struct, kw_only=True, tag="withdrawn", tag_field="type"):
    """A caption that is no longer one."""

    id: str


Message = Caption | Notice | Withdrawn
Watcher = asyncio.Queue[str | None]
"""The messages for a watcher; None ends it."""


class Voice(NamedTuple):
    """A browser that speaks, over all its connections; its key is known to itself alone."""

    id: str
    begun_at: float


class Rooms:
    """All rooms of the application."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rooms: dict[str, Room] = {}

    def __getitem__(self, name: str) -> Room:
        """Return a room, a new one if there is none of this name.

        Raises:
            RefusedError: it has no proper name, or there are too many.
        """
        if not re.fullmatch(r"[\w-]{1,40}", name):
            raise RefusedError("the name of a room has letters, digits and hyphens, at most 40")
        if name not in self._rooms:
            unused = next((other for other, room in self._rooms.items() if not room.is_used), None)
            if len(self._rooms) >= self._most and unused is None:
                raise RefusedError("all rooms are taken: try again later, or enter another room")
            if len(self._rooms) >= self._most and unused is not None:
                del self._rooms[unused]
            self._rooms[name] = Room()
        return self._rooms[name]


class Room:
    """The speakers, watchers and captions of a room."""

    def __init__(self) -> None:
        self.speakers: dict[str, Speaker] = {}
        self._captions: dict[str, Caption] = {}
        self._watchers: set[Watcher] = set()
        self._voices: dict[str, Voice] = {}

    @property
    def is_used(self) -> bool:
        """True if there is a speaker or a watcher."""
        return bool(self.speakers or self._watchers)

    def watch(self) -> Watcher:
        """Return the queue of a new watcher, with the captions so far.

        Raises:
            RefusedError: there are too many.
        """
        if len(self._watchers) >= MAX_WATCHERS:
            raise RefusedError("the room is full: try again later")
        watcher: Watcher = asyncio.Queue()
        for caption in self._captions.values():
            watcher.put_nowait(_json(caption))
        self._watchers.add(watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Forget a watcher."""
        self._watchers.discard(watcher)

    async def speak(self, key: str, start_ms: int) -> Speaker:
        """Return a new speaker; one with the same key is the same browser, which has come back.

        Args:
            key: the browser's secret, with which it takes the place of its own connection before.
            start_ms: the place in the browser's audio at which it continues. Its captions behind that come again.

        Raises:
            RefusedError: there are too many.
        """
        before = self.speakers.pop(key, None)
        if before is not None:
            await before.end()
        if len(self.speakers) >= MAX_SPEAKERS:
            raise RefusedError("too many speak in this room: try again later")
        voice = self._voices.setdefault(key, Voice(secrets.token_hex(4), time.time() - start_ms / 1_000))
        while len(self._voices) > 10 * MAX_SPEAKERS:
            del self._voices[next(iter(self._voices))]
        start = _ms(voice.begun_at) + start_ms
        self.withdraw(
            caption.id
            for caption in self._captions.values()
            if caption.id.startswith(f"{voice.id}.") and not (caption.is_final and caption.end <= start)
        )
        speaker = self.speakers[key] = Speaker(self, key, voice)
        return speaker

    def put(self, caption: Caption) -> None:
        """Add a caption, or replace it."""
        self._captions[caption.id] = caption
        while len(self._captions) > MAX_CAPTIONS:
            del self._captions[next(iter(self._captions))]
        self.send(caption)

    def caption(self, caption_id: str) -> Caption | None:
        """Return a caption that is kept."""
        return self._captions.get(caption_id)

    def withdraw(self, ids: Iterable[str], *, only_interims: bool = False) -> None:
        """Remove captions."""
        for caption_id in list(ids):
            caption = self._captions.get(caption_id)
            if caption is not None and not (only_interims and caption.is_final):
                del self._captions[caption_id]
                self.send(Withdrawn(id=caption_id))

    def send(self, message: Message) -> None:
        """Send a message to all watchers."""
        text = _json(message)
        for watcher in list(self._watchers):
            watcher.put_nowait(text)
            if watcher.qsize() > MAX_WAITING + len(self._captions):
                self.leave(watcher)
                watcher.put_nowait(None)


class Speaker:
    """One connection of a browser that speaks."""

    def __init__(self, room: Room, key: str, voice: Voice) -> None:
        self._room = room
        self._key = key
        self._begun_at = voice.begun_at
        self._prefix = f"{voice.id}.{secrets.token_hex(4)}"
        self._interims: set[str] = set()
        self._task = asyncio.current_task()

    async def end(self) -> None:
        """End the connection: the browser has another one."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def leave(self) -> None:
        """Leave the room; text that is not final stays for a moment."""
        if self._room.speakers.get(self._key) is self:
            del self._room.speakers[self._key]
        loop = asyncio.get_running_loop()
        loop.call_later(KEPT_INTERIM_S, lambda: self._room.withdraw(self._interims, only_interims=True))

    def add(self, event: Event) -> None:
        """Show an event of the session to the room."""
        match event:
            case Result():
                self._show(event)
            case SpeechEnded(is_withdrawn=True):
                self._room.withdraw([f"{self._prefix}.{event.segment_id}"])
            case TranslationArrived():
                caption = self._room.caption(f"{self._prefix}.{event.segment_id}")
                if caption is not None:
                    self._room.put(msgspec.structs.replace(caption, translation=event.translation.text))
            case Gap():
                seconds = max(0.1, (event.end_ms - event.start_ms) / 1_000)
                self._room.send(Notice(text=f"{seconds:.1f} s of speech were lost"))

    def _show(self, result: Result) -> None:
        caption = Caption(
            id=f"{self._prefix}.{result.segment_id}",
            text=result.text,
            is_final=result.is_final,
            start=_ms(self._begun_at) + result.start_ms,
            end=_ms(self._begun_at) + result.end_ms,
            translation=next((translation.text for translation in result.translations.values()), ""),
        )
        (self._interims.discard if result.is_final else self._interims.add)(caption.id)
        self._room.put(caption)


def _ms(seconds: float) -> int:
    return round(1_000 * seconds)


def _json(message: Message) -> str:
    return msgspec.json.encode(message).decode()
