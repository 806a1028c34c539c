"""The checks of a vendor: its entry, its codec with values, and sessions against its room in the emulator.

Does not know a vendor.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from .._text.lines import one_line
from ..audio import AudioFormat
from ..client import Client
from ..config import Limits, Retry, Timeouts
from ..emulator import Scripted, serve
from ..emulator.faults import Cut, HalfOpen, MuteFinish
from ..emulator.positions import position_audio, position_of
from ..errors import ASRError, AuthenticationError, DeadlineError
from ..results import Gap, Reconnected, Result
from .conversation import RecordingService
from .report import Finding, Report
from .values import VALUE_CHECKS, Broken, Subject, check_description

if TYPE_CHECKING:
    from ..emulator.faults import Fault
    from ..results import Event
    from ..vendors.catalogue import ModelInfo
    from ..vendors.options import Options
    from ..vendors.registry import Vendor
    from ..vendors.service import Service

__all__ = ["check_vendor", "run_checks"]

SESSION_S = 20.0
"""The longest time of one session of the kit: one that takes longer hangs."""

LENGTH_MS = 8_000
SCRIPT = [
    ("alpha bravo charlie", 300, 1_500),
    ("delta echo foxtrot", 2_300, 3_500),
    ("golf hotel india", 4_300, 5_500),
    ("juliet kilo lima", 6_300, 7_500),
]
"""Four sentences of three words in 8 s; no word occurs twice."""

TIMEOUTS = Timeouts(connect=5, start=5, idle=1, finish=5, close=1)
RETRY = Retry(max_delay_s=0.01)
PACE = 4.0
"""The speed of the sessions whose connection is lost: four times that of speech, so that the loss is met in between."""

SECRET = "conformance-secret-4f1d9a7e"  # noqa: S105 - of nothing


_OF_SECRETS = re.compile("KEY|SECRET|TOKEN|PASSWORD|SK$|AK$")


def check_vendor(vendor: Vendor, *, options: Sequence[Options] | None = None) -> Report:
    """Check whether a vendor keeps the contract of `asr_async.vendors.codec`; it takes some seconds for each options.

    The vendor's room must be served by `asr_async.emulator.serve`, with the emulator's faults, and the vendor's
    `local_service` must reach it. The function runs an event loop of its own.

    Args:
        vendor: the entry of the vendor in the registry.
        options: the options to check; by default those of each class of the vendor without arguments. Their audio must
            be pcm.
    """
    return asyncio.run(run_checks(vendor, options))


async def run_checks(vendor: Vendor, options: Sequence[Options] | None = None) -> Report:
    """Check a vendor in the running event loop, in which no other tasks should run; see `check_vendor`."""
    checks = _Checks(vendor)
    checks.run("the entry of the vendor", lambda: _check_entry(vendor))
    if vendor.local_service is None:  # the entry is refused: there is nothing to check
        options = []
    for each in checks.default_options() if options is None else options:
        await checks.check_options(each)
    return Report(vendor=vendor.name, findings=tuple(checks.findings))


class _Checks:
    """The checks of one vendor, and what they have found."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self._label = ""
        self.findings: list[Finding] = []

    def default_options(self) -> list[Options]:
        """Return the options of each class without arguments, as far as they can be made."""
        made: list[Options] = []
        for cls in self._vendor.options:
            make: Callable[[], Options] = cls
            self.run(f"{cls.__name__}()", lambda make=make: made.append(make()))  # type: ignore[misc]
        return made

    @contextlib.contextmanager
    def _finding(self, name: str) -> Iterator[None]:
        reason: str | None = None
        try:
            yield
        except Broken as broken:
            reason = str(broken)
        except Exception as error:  # noqa: BLE001 - whatever a vendor's code raises is a finding
            is_hanging = isinstance(error, TimeoutError) and not isinstance(error, ASRError)
            text = one_line(f"{type(error).__name__}: {error}", 500)
            reason = f"hangs: it takes longer than {SESSION_S:g} s" if is_hanging else text
        self.findings.append(Finding(check=name, options=self._label, reason=reason))

    def run(self, name: str, check: Callable[[], object]) -> None:
        """Make one check."""
        with self._finding(name):
            check()

    async def check_options(self, options: Options) -> None:
        """Make all checks with some options."""
        self._label = f"{type(options).__name__}({options.model!r})"
        service = _local_service(self._vendor, "127.0.0.1:9")
        with self._finding("the description of a task"):
            codec = service.codec(options, task_id="t")
            check_description(options, service.describe(options), codec, vendor=self._vendor.name)
        room = _Room(self._vendor, options)
        recording: list[RecordingService] = []
        with self._finding("a session, word for word"):
            events = await room.session(recording=recording, pace=None, retry=Retry(attempts=0))
            _check_words(events, room.script)
        self._check_values(options, service, recording)
        if all(finding.reason is None for finding in self.findings):  # else they fail for the reasons that are known
            await self._check_sessions(room)
        with self._finding("secrets"):
            await _check_secrets(self._vendor, options)
        self._label = ""

    def _check_values(self, options: Options, service: Service, recording: list[RecordingService]) -> None:
        conversations = recording[0].conversations if recording else []
        if not conversations or not conversations[0].calls:
            reason = "the session did not use the codec: see the check before"
            self.findings.append(Finding(check="a recorded conversation", options=self._label, reason=reason))
            return
        subject = Subject(
            options,
            service.describe(options),
            lambda task_id: service.codec(options, task_id=task_id),
            conversations[0],
            vendor=self._vendor.name,
        )
        for name, check in VALUE_CHECKS.items():
            self.run(name, lambda check=check: check(subject))  # type: ignore[misc]

    async def _check_sessions(self, room: _Room) -> None:
        faults: dict[str, Fault] = {
            "a cut in mid-speech": Cut(connection=1, after_audio_ms=room.length_ms * 0.45),
            "a connection that is half open": HalfOpen(connection=1, after_audio_ms=room.length_ms * 0.6),
        }
        if not room.is_single_sentence:  # else all of it is recognised by then
            faults["a cut while the session finishes"] = Cut(connection=1, at="finish")
        for name, fault in faults.items():
            with self._finding(name):
                events = await room.session(fault)
                _check_words(events, room.script)
                if not any(isinstance(event, Reconnected) for event in events):
                    raise Broken("the session did not reconnect: the room does not inject the emulator's faults")
        if room.has_confirmed_end:
            with self._finding("an end that is not confirmed"):
                await _check_unconfirmed_end(room)
        if self._vendor.key_variables:
            with self._finding("a refused key"):
                await _check_refused_key(room, self._vendor.name)
        with self._finding("cancellation"):
            await _check_cancellation(room)


# --- the entry -------------------------------------------------------------------------------------------------------


def _check_entry(vendor: Vendor) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", vendor.name):
        raise Broken(f"name={vendor.name!r}: must be lower-case letters, digits, '_' and '-'")
    if vendor.local_service is None or not vendor.emulator:
        raise Broken("emulator= and local_service= are needed: the sessions of the checks run against the emulator")
    classes = {cls.__name__: cls for cls in vendor.options}
    if len(classes) < len(vendor.options):
        raise Broken("two classes of options have one name")
    for cls in vendor.options:
        if cls.vendor != vendor.name:
            raise Broken(f"{cls.__name__}.vendor={cls.vendor!r}: must be {vendor.name!r}")
    names = [name for row in vendor.catalogue for name in (row.model, *row.other_names)]
    if len(names) != len(set(names)):
        raise Broken("a model is in the catalogue twice")
    for row in vendor.catalogue:
        _check_row(vendor, row, classes)
    if vendor.default_model not in names:
        raise Broken(f"default_model={vendor.default_model!r} is not in the catalogue")


def _check_row(vendor: Vendor, row: ModelInfo, classes: dict[str, Any]) -> None:
    if row.options not in classes:
        raise Broken(f"the model {row.model!r} names the options {row.options!r}, which the vendor does not have")
    if row.vendor != vendor.name:
        raise Broken(f"the model {row.model!r} names the vendor {row.vendor!r}")
    if not row.source.strip():
        raise Broken(f"the model {row.model!r} names no source")


def _local_service(vendor: Vendor, address: str) -> Service:
    """Return the vendor's service on the emulator at an address.

    Raises:
        Broken: it has none.
    """
    if vendor.local_service is None:
        raise Broken("the vendor has no local_service")
    return vendor.local_service(address)


# --- sessions --------------------------------------------------------------------------------------------------------


class _Room:
    """A vendor's room with a script, and sessions with some options against it."""

    def __init__(self, vendor: Vendor, options: Options) -> None:
        self._vendor = vendor
        self._options = options
        service = _local_service(vendor, "127.0.0.1:9")
        description = service.describe(options)
        self.has_confirmed_end = not description.ends_by_close and description.quiet_end_s is None
        is_single = _segmentation(vendor, options) == ("one sentence",) or options.sentence_end_ms is not None
        self.is_single_sentence = is_single
        self.script = SCRIPT[:1] if is_single else SCRIPT
        self.length_ms = 2_000 if is_single else LENGTH_MS

    @property
    def audio(self) -> bytes:
        """The audio of the script.

        Raises:
            Broken: the options do not declare pcm.
        """
        audio: AudioFormat = self._options.audio
        if audio.encoding != "pcm":
            raise Broken(f"the options declare {audio.encoding}: check options that declare pcm")
        return position_audio(0, self.length_ms, audio.sample_rate)

    @contextlib.asynccontextmanager
    async def client(
        self,
        *faults: Fault,
        api_keys: set[str] | None = None,
        recording: list[RecordingService] | None = None,
        **settings: Any,
    ) -> AsyncIterator[Client]:
        """Serve the room, and yield a client of it."""
        async with serve(Scripted(self.script, position=position_of), faults=faults, api_keys=api_keys) as emulator:
            service: Any = _local_service(self._vendor, emulator.address)
            if recording is not None:
                service = RecordingService(service)
                recording.append(service)
            settings = {"timeouts": TIMEOUTS, "retry": RETRY, "limits": Limits(starts_per_second=None), **settings}
            async with Client(service, options=self._options, **settings) as client:
                yield client

    async def session(
        self,
        *faults: Fault,
        recording: list[RecordingService] | None = None,
        pace: float | None = PACE,
        **settings: Any,
    ) -> list[Event]:
        """Return the events of a session with the audio of the script."""
        audio = self.audio
        async with (
            asyncio.timeout(SESSION_S),
            self.client(*faults, recording=recording, **settings) as client,
            client.session() as session,
        ):
            return [event async for event in session.events([audio], pace=pace)]


def _segmentation(vendor: Vendor, options: Options) -> tuple[str, ...]:
    rows = [row for row in vendor.catalogue if options.model in (row.model, *row.other_names)]
    return tuple(rows[0].segmentation) if rows else ()


def _check_words(events: Sequence[Event], script: Sequence[tuple[str, int, int]]) -> None:
    """Check that each word of the script is in one final, in its order."""
    finals = [event for event in events if isinstance(event, Result) and event.is_final]
    spoken = [word for text, _, _ in script for word in text.split()]
    delivered = re.findall(r"\w+", " ".join(final.text for final in finals).casefold())
    gaps = [event for event in events if isinstance(event, Gap)]
    if missing := [word for word in spoken if word not in delivered]:
        raise Broken(f"words are lost: {' '.join(missing)} (delivered: {' '.join(delivered) or 'none'}; gaps: {gaps})")
    if delivered != spoken:
        raise Broken(f"the words are not those that were spoken: {' '.join(delivered)}, not {' '.join(spoken)}")
    if gaps:
        raise Broken(f"audio is reported as lost: {gaps}")
    for final in finals:
        if not final.is_confirmed:
            raise Broken(f"the final {final.text!r} is not confirmed, though the vendor confirmed the end")


async def _check_unconfirmed_end(room: _Room) -> None:
    timeouts = msgspec.structs.replace(TIMEOUTS, finish=0.5)
    try:
        await room.session(MuteFinish(), timeouts=timeouts, retry=Retry(attempts=0))
    except DeadlineError:
        return
    raise Broken("the session ended as if it were whole, though the vendor did not confirm the end")


async def _check_refused_key(room: _Room, vendor: str) -> None:
    try:
        async with asyncio.timeout(SESSION_S), room.client(api_keys={"another-key"}) as client, client.session():
            pass
    except AuthenticationError as error:
        if error.vendor != vendor:
            raise Broken(f"the error names the vendor {error.vendor!r}") from None
        return
    except ASRError as error:
        raise Broken(f"a refused key must be an AuthenticationError, not {type(error).__name__}: {error}") from None
    raise Broken("a session was opened with a key that the room refuses")


async def _check_cancellation(room: _Room) -> None:
    before = asyncio.all_tasks()
    audio = room.audio

    async def stream() -> None:
        async with room.client() as client, client.session() as session:
            async for _ in session.stream([audio], pace=1.0):
                pass

    task = asyncio.create_task(stream())
    await asyncio.sleep(0.3)
    task.cancel()
    async with asyncio.timeout(SESSION_S):
        await asyncio.wait([task])
    if not task.cancelled():
        raise Broken(f"the cancellation was swallowed: the session ended with {task.exception()!r}")
    await asyncio.sleep(0)
    if left := asyncio.all_tasks() - before - {task}:
        raise Broken(f"tasks are left after the session: {', '.join(sorted(each.get_name() for each in left))}")


# --- secrets ---------------------------------------------------------------------------------------------------------


async def _check_secrets(vendor: Vendor, options: Options) -> None:
    """Check that no text about a service with a secret key shows the key."""
    variables = {name: SECRET if _OF_SECRETS.search(name) else "conformance" for name in vendor.key_variables}
    with _environment(variables):
        texts: dict[str, str] = {}
        try:
            service = vendor.service()
            texts["repr() of the service"] = repr(service)
            texts["repr() of the codec"] = repr(service.codec(options, task_id="t"))
            async with asyncio.timeout(5):
                endpoint = await service.resolve(options)
            texts["repr() of the endpoint"] = repr(endpoint)
            error = endpoint.handshake_error(503, {}, b"busy")
            texts["the error of a handshake"] = f"{error} {error!r}"
            if not isinstance(error, ASRError):
                raise Broken(f"handshake_error() returned {type(error).__name__}, not an ASRError")
        except (ASRError, TimeoutError) as error:
            texts["the error of a service without an address"] = f"{error} {error!r}"
    for subject, text in texts.items():
        if SECRET in text:
            raise Broken(f"{subject} shows the key")


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
