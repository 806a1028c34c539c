"""The engine of a Ray cluster: an actor per worker, each with a client of its own.

Ray starts the workers, and restarts those that die. What they work on is in the manifest: no source and no audio goes
through Ray, only the description of the work in one direction and outcomes in the other, and a key in neither. Does not
know sessions.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import msgspec

from .._net.user_agent import __version__
from ..errors import ASRError, ConfigurationError, ConnectionLostError
from .engine import SESSIONS
from .ray_worker import Outcomes, RayWorker
from .records import BatchOutcome
from .work import Work

if TYPE_CHECKING:
    from types import ModuleType

    from ..vendors.service import Service

__all__ = ["Ray"]

logger: logging.Logger = logging.getLogger("asr_async")

CONNECT_S = 5.0
"""The longest wait for the port of a cluster. Ray itself tries for a minute, and then ends the process."""

STOP_S = 15.0
"""The longest wait for a worker that is to stop: it closes its sessions and returns its sources."""

MAX_DEATHS = 20
"""The deaths of one worker without an outcome in between, behind which the run ends: it can do no work there."""

RESTART_PAUSE_S = 0.5

NOT_MADE = "creation task"
"""The part of Ray's text for an actor whose class cannot be imported on its machine; its constructor raises nothing."""


class Ray:
    """The engine of a Ray cluster: `batch.on(Ray(workers=8, sessions_per_worker=50))` (extra `ray`).

    The workers divide the sources among themselves by the manifest. So a worker, a machine or this program may be
    killed: Ray starts a worker anew, and the manifest gives it the sources that are not finished. Ray itself repeats
    nothing. Each worker is one process with one event loop, so it uses one core at most.

    Keys are in the environment of the cluster's machines, as `ray start` had it, and never in a message. A service with
    a key of its own cannot be sent there; give a function that makes it. On more than one machine, the manifest must be
    a database, and the sources and the folder of the outputs must have the same paths on all of them.

    Args:
        workers: the number of actors.
        sessions_per_worker: the most sessions that each has at once.
        address: the cluster: "auto" for the one of this machine, or "host:6379". None, the default, is the one that the
            program is connected to (`ray.init`), else a new one on this machine, for this run.
        service: a function of a module without arguments, which each worker calls to make its service. None, the
            default, is the service of the batch.

    Raises:
        ConfigurationError: an argument is wrong; when the run begins, Ray is not installed, the work holds a key, the
            manifest is a file and the cluster has several machines, or the versions of Ray, Python or this package
            differ.
        ConnectionLostError: when the run begins, the cluster cannot be reached.
    """

    def __init__(
        self,
        workers: int = 2,
        sessions_per_worker: int = SESSIONS,
        *,
        address: str | None = None,
        service: Callable[[], Service] | None = None,
    ) -> None:
        for name, value in (("workers", workers), ("sessions_per_worker", sessions_per_worker)):
            if not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{name}={value!r}: must be a whole number, 1 or more")
        if service is not None and not callable(service):
            raise ConfigurationError(f"service={service!r}: must be a function that returns a service")
        self._workers = workers
        self._sessions = sessions_per_worker
        self._address = address
        self._service = service

    def __repr__(self) -> str:
        where = "" if self._address is None else f", address={self._address!r}"
        return f"Ray(workers={self._workers}, sessions_per_worker={self._sessions}{where})"

    @contextlib.asynccontextmanager
    async def run(self, work: Work) -> AsyncIterator[AsyncIterator[BatchOutcome]]:
        """See `Engine.run`."""
        ray = _ray()
        job = _job(work, self._service)
        async with _cluster(ray, self._address):
            await anyio.to_thread.run_sync(_check_machines, ray, work)
            actor = ray.remote(RayWorker).options(
                # A worker waits for networks most of the time, so it reserves no core: more workers than cores may run.
                num_cpus=0,
                max_restarts=-1,
                max_task_retries=0,  # the manifest repeats, not Ray
                scheduling_strategy="SPREAD",
            )
            actors = [actor.remote(__version__, job, self._sessions) for _ in range(self._workers)]
            outcomes: asyncio.Queue[BatchOutcome | _Ended] = asyncio.Queue(maxsize=self._workers)
            tasks = [asyncio.create_task(_collect(ray, one, outcomes)) for one in actors]
            try:
                yield _outcomes(outcomes, self._workers)
            finally:
                with anyio.CancelScope(shield=True):
                    await _stop(ray, tasks, actors)


class _Ended(msgspec.Struct, frozen=True):
    """The end of the outcomes of one worker."""

    error: Exception | None


def _ray() -> ModuleType:
    try:
        import ray  # noqa: PLC0415 - an optional dependency
        import ray.exceptions  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError('Ray is not installed: pip install "asr-async[ray]"') from None
    module: ModuleType = ray
    return module


def _job(work: Work, service: Callable[[], Service] | None) -> bytes:
    """Return the work and the function for its service, pickled here: Ray would also accept what holds a key.

    Raises:
        ConfigurationError: one of them cannot be sent.
    """
    if service is not None:
        work = msgspec.structs.replace(work, service=None)
    if "://" not in work.manifest:  # the workers have another current folder
        work = msgspec.structs.replace(work, manifest=os.path.abspath(work.manifest))  # noqa: PTH100 - no links
    try:
        job = pickle.dumps((work, service))
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        advice = "leave keys out, and the workers have them from their environment, or pass Ray(service=FUNCTION)"
        raise ConfigurationError(f"the work cannot be sent to the workers of Ray: {error}: {advice}") from None
    if service is not None and getattr(service, "__module__", "") == "__main__":
        raise ConfigurationError(f"service={service!r}: workers cannot import it from the main program: use a module")
    return job


@contextlib.asynccontextmanager
async def _cluster(ray: ModuleType, address: str | None) -> AsyncIterator[None]:
    """Connect to a cluster while the context lasts, or begin one; one that the program is connected to stays open."""
    if address is None and ray.is_initialized():
        yield
        return
    await anyio.to_thread.run_sync(_connect, ray, address)
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(ray.shutdown)


def _connect(ray: ModuleType, address: str | None) -> None:
    _check_port(address)
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=False if address is None else None,
        )
    except ConnectionError as error:
        raise _unreachable(address or "this machine", error) from None
    except (RuntimeError, ValueError) as error:  # versions of Ray or Python that differ, or no address
        raise ConfigurationError(f"no connection to the Ray cluster: {error}") from None


def _check_port(address: str | None) -> None:
    """Refuse a cluster whose port is closed."""
    import socket  # noqa: PLC0415 - together with Ray

    host, separator, port = (address or "").rpartition(":")
    if not separator or not port.isdecimal():
        return
    try:
        with socket.create_connection((host, int(port)), CONNECT_S):
            pass
    except OSError as error:
        raise _unreachable(address or "", error) from None


def _unreachable(address: str, error: OSError) -> ConnectionLostError:
    reason = error.strerror or str(error)
    advice = "start one with 'ray start --head', or leave the address out for one on this machine"
    return ConnectionLostError(f"no Ray cluster at {address} ({reason}): {advice}", retryable=True)


def _check_machines(ray: ModuleType, work: Work) -> None:
    """Refuse a manifest that other machines cannot open."""
    machines = {node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    if len(machines) > 1 and "://" not in work.manifest:
        raise ConfigurationError(
            f"the manifest is a file of this machine, and the cluster has {len(machines)} machines: name a database, "
            "postgresql://host/database#name"
        )


async def _collect(ray: ModuleType, actor: Any, outcomes: asyncio.Queue[BatchOutcome | _Ended]) -> None:
    """Put the outcomes of a worker into the queue, and its end behind them."""
    deaths = 0
    while True:
        try:
            some: Outcomes = await actor.outcomes.remote()
        except ray.exceptions.RayActorError as error:
            deaths += 1
            final = _final_error(error, deaths)
            if final is not None:
                await outcomes.put(_Ended(final))
                return
            logger.warning("a worker of Ray has died, and is started anew; what it had begun is done again")
            await asyncio.sleep(RESTART_PAUSE_S)
            continue
        except Exception as error:  # noqa: BLE001 - raised behind the outcomes of the other workers
            await outcomes.put(_Ended(error))
            return
        for outcome in some.outcomes:
            deaths = 0
            await outcomes.put(outcome)
        if some.has_ended:
            await outcomes.put(_Ended(some.error))
            return


def _final_error(error: Exception, deaths: int) -> ASRError | None:
    """Return the error of a worker that cannot work; None for one that is started anew."""
    text = str(error)
    if NOT_MADE in text:
        cause = text.strip().splitlines()[-1].strip()[:200]
        return ConfigurationError(
            f"a machine of the cluster lacks asr-async {__version__}, or has another version ({cause}): install the "
            "same one on all machines, with the same extras"
        )
    if deaths < MAX_DEATHS:
        return None
    return ASRError(f"a worker of Ray died {deaths} times, and finished nothing in between: {text.strip()[:300]}")


async def _outcomes(queue: asyncio.Queue[BatchOutcome | _Ended], workers: int) -> AsyncIterator[BatchOutcome]:
    """Yield the outcomes of all workers; raise the first error behind them."""
    error: Exception | None = None
    while workers:
        match await queue.get():
            case _Ended() as ended:
                workers -= 1
                error = error or ended.error
            case outcome:
                yield outcome
    if error is not None:
        raise error


async def _stop(ray: ModuleType, tasks: list[asyncio.Task[None]], actors: list[Any]) -> None:
    """Stop the workers: their sources are to do again."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_S):
            await asyncio.gather(*(one.stop.remote() for one in actors), return_exceptions=True)
    for one in actors:
        await anyio.to_thread.run_sync(ray.kill, one)
