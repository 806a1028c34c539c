"""One codec on one connection: opened, fed, finished, read to its end. A session may have several, one after another.

It does not know the source, the pace or the caller; what comes out are the codec's events, with the connection's own
times and segments.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from ..errors import ASRError, ConfigurationError, DeadlineError
from ..vendors.codec import ENDINGS, CancellingCodec, CommittingCodec, ContextCodec, Failed, Started
from .silence import Silence

if TYPE_CHECKING:
    from .._limits.limiter import SessionPermit
    from .._net.websocket import WebSocket
    from ..audio import AudioBytes
    from ..config import Timeouts
    from ..vendors.codec import Codec, CodecEvent, Ending, Message, TaskDescription
    from ..vendors.options import ContextMessage
    from ..vendors.service import Endpoint, MemberChoice
    from .pool import ConnectionPool

__all__ = ["RecognitionTask"]

logger = logging.getLogger("asr_async")


class RecognitionTask:
    """An open task on an open connection."""

    __slots__ = (
        "_choice",
        "_is_kept",
        "_is_proved",
        "_permit",
        "_target",
        "_timeouts",
        "_transport",
        "codec",
        "description",
        "is_finishing",
        "opening",
        "silence",
    )

    def __init__(
        self,
        codec: Codec,
        transport: WebSocket,
        target: Endpoint,
        *,
        description: TaskDescription,
        timeouts: Timeouts,
        permit: SessionPermit,
    ) -> None:
        self.codec = codec
        self.description = description
        self._permit = permit
        self._transport = transport
        self._target = target
        self._choice = target.choice
        self._timeouts = timeouts
        # what the vendor said until it was ready
        self.opening: list[CodecEvent] = []
        # what it is sent beside the source
        self.silence = Silence(description.audio_format)
        self.is_finishing = False
        self._is_kept = False
        self._is_proved = False

    def __repr__(self) -> str:
        return f"<RecognitionTask {self.codec!r} {self._transport!r}>"

    async def start(self) -> None:
        """Open the task and wait until the vendor is ready; the connection is closed if that fails.

        Raises:
            ASRError: the vendor refused, or not in time.
        """
        try:
            async with asyncio.timeout(self._timeouts.start) as limit:
                await self._start()
        except TimeoutError:
            await self.close()
            if not limit.expired():
                raise
            text = f"{self._target.host} did not open the task within {self._timeouts.start:g} s (Timeouts.start)"
            raise DeadlineError(text, retryable=True, request_id=self.codec.request_id) from None
        except BaseException:
            await self.close()
            raise

    async def _start(self) -> None:
        await self.send(self.codec.start())
        while not any(isinstance(event, Started) for event in self.opening):
            for event in await self.receive():
                if isinstance(event, Failed):
                    raise event.error
                self.opening.append(event)

    @property
    def member(self) -> str | None:
        """Which of the service's members this goes to, if it has several."""
        return None if self._choice is None else self._choice.name

    @property
    def is_substitute(self) -> bool:
        """Whether this stands in for a better member."""
        return self._choice is not None and self._choice.rank > 0

    def yields_to(self, other: MemberChoice) -> bool:
        """Whether that is a better member."""
        return self._choice is not None and other.rank < self._choice.rank

    @property
    def rotation_s(self) -> float | None:
        """How old this may get, where its member has an age limit of its own."""
        return None if self._choice is None else self._choice.rotation_s

    def better_in_s(self) -> float | None:
        """How long to wait before asking for a better member; None where there is none."""
        return None if self._choice is None else self._choice.better_in_s()

    def lost(self, error: ASRError) -> bool:
        """It is lost; whether another member should have its audio at once."""
        self._permit.record_refusal(self._target, error)
        return self._choice is not None and self._choice.lost(error)

    def made_progress(self) -> None:
        """It gave a final result."""
        if self._choice is not None and not self._is_proved:
            self._is_proved = True
            self._choice.proved()

    def send_audio(self, frame: AudioBytes) -> bool:
        """Send one piece of audio; an empty one is the end of an utterance.

        Returns:
            Whether the connection keeps up with what is sent. Who sends much waits for room where it does not.

        Raises:
            ConnectionLostError: the connection is gone.
        """
        if frame:
            return self._transport.send(self.codec.audio(frame))
        assert isinstance(self.codec, CommittingCodec)  # noqa: S101 - the session refuses commits elsewhere
        for message in self.codec.commit():
            self._transport.send(message)
        return self.has_room

    @property
    def has_room(self) -> bool:
        """Whether the connection keeps up with what is sent."""
        return self._transport.is_writable

    def when_room(self, go_on: Callable[[], None], give_up: Callable[[DeadlineError], None]) -> None:
        """Call `go_on` when the connection has caught up, or is gone; `give_up` if not within `Timeouts.idle`."""
        patience = asyncio.get_running_loop().call_later(self._timeouts.idle, lambda: give_up(self._stuck()))

        def caught_up() -> None:
            patience.cancel()
            go_on()

        self._transport.call_when_writable(caught_up)

    async def wait_for_room(self) -> None:
        """Return when the connection has caught up, or is gone.

        Raises:
            DeadlineError: it took nothing for `Timeouts.idle`.
        """
        try:
            async with asyncio.timeout(self._timeouts.idle):
                await self._transport.drain()
        except TimeoutError:
            raise self._stuck() from None

    def _stuck(self) -> DeadlineError:
        text = f"the connection took no audio for {self._timeouts.idle:g} s (Timeouts.idle)"
        return DeadlineError(text, retryable=True)

    def context_messages(self, context: Sequence[ContextMessage]) -> Sequence[Message]:
        """Return the messages that give the task a new context.

        Raises:
            ConfigurationError: the model takes none, or not as much.
        """
        if isinstance(self.codec, ContextCodec):
            return self.codec.update_context(context)
        raise ConfigurationError(self.description.context_refusal or "this model takes no context")

    async def update_context(self, context: Sequence[ContextMessage]) -> None:
        """Give the task a new context.

        Raises:
            ASRError: as `context_messages` and `send`.
        """
        await self.send(self.context_messages(context))

    def finish(self) -> None:
        """Say that no more audio comes. Idempotent.

        Raises:
            ConnectionLostError: the connection is gone.
        """
        if not self.is_finishing:
            self.is_finishing = True
            for message in self.codec.finish():
                self._transport.send(message)

    async def cancel(self) -> None:
        """Have the vendor drop what is not recognised yet."""
        if isinstance(self.codec, CancellingCodec):
            await self.send(self.codec.cancel())

    async def send(self, frames: Sequence[Message]) -> None:
        """Send messages; returns when the connection has room for more.

        Raises:
            ConnectionLostError: the connection is gone.
            DeadlineError: it took nothing for `Timeouts.idle`.
        """
        for frame in frames:
            self._transport.send(frame)
        if not self.has_room:
            await self.wait_for_room()

    async def receive(self) -> list[CodecEvent]:
        """Wait for the next message; what it means.

        Raises:
            ConnectionLostError: the connection is gone.
            RemoteProtocolError: the message cannot be read.
        """
        return self.codec.receive(await self._transport.receive())

    async def listen(self, take: Callable[[CodecEvent], None]) -> Ending:
        """Call with each event as it comes in, up to the one that ends the task, which is returned too.

        Raises:
            ASRError: as `receive`.
        """
        ending: Ending | None = None

        def take_all(message: str | bytes) -> bool:
            nonlocal ending
            for event in self.codec.receive(message):
                take(event)
                if type(event) in ENDINGS:
                    ending = cast("Ending", event)
                    return True
            return False

        await self._transport.listen(take_all)
        assert ending is not None  # noqa: S101 - `take_all` has said so
        return ending

    async def release(self, connections: ConnectionPool) -> None:
        """The vendor has confirmed the end of the task: the connection may carry another."""
        self._is_kept = connections.keep(self._target, self._transport)
        await self.close()

    async def close(self) -> None:
        """Say goodbye in time, or leave without; not to a connection that waits for its next task."""
        if self._is_kept:
            return
        try:
            async with asyncio.timeout(self._timeouts.close):
                await self._transport.close()
        except TimeoutError:
            logger.debug("%r: the closing handshake took too long", self)
        finally:
            self._transport.abort()

    def abort(self) -> None:
        """Leave at once."""
        if not self._is_kept:
            self._transport.abort()
