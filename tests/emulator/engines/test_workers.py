"""Worker processes of engines: their sessions, refusals, and the state after failures."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import pytest

from asr_async.emulator.engines import workers
from asr_async.emulator.engines.engine import EngineRefusedError, Hypothesis, Request
from asr_async.emulator.engines.workers import WorkerPool, WorkerProgram

from ...support.child_processes import child_environment
from ...support.counting_worker import CRASH, EXIT, HANG, PRINT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from asr_async.emulator.engines.engine import Emit, Recognition

PROGRAM = WorkerProgram(module="tests.support.counting_worker", engine="Counting", noun="the counting recogniser")
REQUEST = Request(sample_rate=16_000)
PIECE = bytes(3_200)


async def drop(hypothesis: Hypothesis) -> None:
    """Discard a hypothesis."""


@asynccontextmanager
async def started(workers: int = 1, sessions_per_worker: int = 10) -> AsyncIterator[WorkerPool]:
    pool = WorkerPool(PROGRAM, workers, sessions_per_worker)
    pool.start()
    try:
        yield pool
    finally:
        await pool.close()


@asynccontextmanager
async def opened(pool: WorkerPool, emit: Emit = drop) -> AsyncIterator[Recognition]:
    recognition = await pool.open(REQUEST, emit)
    try:
        yield recognition
    finally:
        await recognition.aclose()


async def recognise(pool: WorkerPool, samples: bytes) -> list[str]:
    """Return the texts of all hypotheses for these samples."""
    texts: list[str] = []

    async def collect(hypothesis: Hypothesis) -> None:
        texts.append(hypothesis.text)

    async with opened(pool, collect) as recognition:
        await recognition.feed(samples)
        await recognition.finish()
    return texts


def pids(pool: WorkerPool) -> list[int]:
    return [worker._process.pid for worker in pool._workers if worker._process is not None]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class TestSessions:
    async def test_a_call_returns_when_its_hypotheses_are_emitted(self) -> None:
        async with started() as pool:
            assert await recognise(pool, PIECE * 3) == ["1600", "3200", "4800", "4800"]

    async def test_concurrent_sessions_do_not_mix(self) -> None:
        async with started() as pool:
            one, two = await asyncio.gather(recognise(pool, PIECE * 3), recognise(pool, PIECE + bytes(20)))
        assert (one[-1], two[-1]) == ("4800", "1610")

    async def test_a_client_that_reads_slowly_gets_the_newest_interim_and_every_final(self) -> None:
        gate = asyncio.Event()
        texts: list[str] = []

        async def wait_and_collect(hypothesis: Hypothesis) -> None:
            await gate.wait()
            texts.append(hypothesis.text)

        outbox = workers._Outbox(wait_and_collect)
        for number, is_final in enumerate([False, False, False, True, True, False, False]):
            outbox.push(Hypothesis(text=str(number), is_final=is_final, start_ms=0, end_ms=0))
            await asyncio.sleep(0)
        gate.set()
        await outbox.flush()
        # 0 was on its way; 1 and 2 are replaced by their final, 5 by 6
        assert texts == ["0", "3", "4", "6"]

    async def test_a_slow_client_does_not_delay_another_session(self) -> None:
        async def never_return(hypothesis: Hypothesis) -> None:
            await asyncio.Event().wait()

        async with started() as pool, opened(pool, never_return) as slow:
            feed = asyncio.create_task(slow.feed(PIECE))
            assert len(await recognise(pool, PIECE * 3)) == 4
            assert not feed.done()
            await slow.aclose()
            await feed

    async def test_printed_text_does_not_mix_with_the_answers(self) -> None:
        async with started() as pool:
            assert (await recognise(pool, PRINT + PIECE))[-1] == "1601"


class TestRefusals:
    async def test_more_sessions_than_the_capacity_are_refused(self) -> None:
        async with started(sessions_per_worker=2) as pool:
            async with opened(pool), opened(pool) as second:
                with pytest.raises(EngineRefusedError) as caught:
                    await pool.open(REQUEST, drop)
                assert caught.value.kind == "capacity"
                assert "all 2 sessions of the counting recogniser are in use (1 workers x 2)" in caught.value.reason
                await second.aclose()
                await second.aclose()
                async with opened(pool):
                    with pytest.raises(EngineRefusedError):
                        await pool.open(REQUEST, drop)
            assert repr(pool) == "<Counting: open, 1 workers, 0 of 2 sessions>"

    def test_a_capacity_of_zero_is_refused(self) -> None:
        with pytest.raises(ValueError, match="sessions_per_worker=0"):
            WorkerPool(PROGRAM, 2, 0)

    async def test_a_pool_that_was_not_started_is_refused(self) -> None:
        with pytest.raises(RuntimeError, match="async with Counting"):
            await WorkerPool(PROGRAM, 1, 1).open(REQUEST, drop)


class TestFailures:
    async def test_a_killed_worker_fails_its_sessions_and_the_next_one_works(self) -> None:
        async with started() as pool:
            async with opened(pool) as feeding, opened(pool) as idle:
                feed = asyncio.create_task(feeding.feed(PIECE * 1_000))
                await idle.feed(PIECE)
                os.kill(pids(pool)[0], signal.SIGKILL)
                for call in (feed, idle.feed(PIECE), idle.finish()):
                    with pytest.raises(EngineRefusedError) as caught:
                        await call
                    assert caught.value.kind == "broken"
            assert len(await recognise(pool, PIECE)) == 2

    async def test_the_error_has_the_last_line_of_a_traceback(self) -> None:
        async with started() as pool, opened(pool) as recognition:
            with pytest.raises(EngineRefusedError) as caught:
                await recognition.feed(CRASH)
        assert caught.value.reason == (
            "the counting recogniser failed: its process ended with status 1: OSError: the model is gone"
        )

    async def test_the_error_has_the_last_lines_of_native_code(self) -> None:
        async with started() as pool, opened(pool) as recognition:
            with pytest.raises(EngineRefusedError, match="status 255: two / three / four without an end"):
                await recognition.feed(EXIT)

    async def test_a_library_that_cannot_be_imported_is_to_be_installed_again(self) -> None:
        pool = WorkerPool(msgspec.structs.replace(PROGRAM, arguments=("damaged",)), 1, 1)
        pool.start()
        try:
            with pytest.raises(EngineRefusedError) as caught:
                await pool.wait_until_ready()
        finally:
            await pool.close()
        assert caught.value.reason == (
            "the counting recogniser failed: its process ended with status 1: ImportError: libruntime.so: cannot open "
            "shared object file / the library is damaged: install it again"
        )

    async def test_a_worker_that_cannot_load_fails_the_wait_and_every_session(self) -> None:
        pool = WorkerPool(msgspec.structs.replace(PROGRAM, arguments=("broken",)), 1, 1)
        pool.start()
        try:
            with pytest.raises(EngineRefusedError, match="ended with status 1: the folder has no model"):
                await pool.wait_until_ready()
            with pytest.raises(EngineRefusedError, match="ended with status 1: the folder has no model"):
                await pool.open(REQUEST, drop)
        finally:
            await pool.close()

    async def test_a_worker_that_cannot_start_fails_its_session(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        async with started() as pool:
            with pytest.raises(EngineRefusedError, match="cannot be started") as caught:
                await pool.open(REQUEST, drop)
        assert caught.value.kind == "broken"

    async def test_a_worker_that_does_not_answer_is_killed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with started() as pool:
            await pool.wait_until_ready()
            async with opened(pool) as recognition:
                monkeypatch.setattr(workers, "ANSWER_TIMEOUT_S", 0.1)
                with pytest.raises(EngineRefusedError, match="no answer in") as caught:
                    await recognition.feed(HANG)
            monkeypatch.undo()
            assert caught.value.kind == "broken"
            assert await recognise(pool, PIECE)

    @pytest.mark.parametrize("step", ["open", "feed", "finish"])
    async def test_a_cancelled_call_leaves_the_pool_usable(self, step: str) -> None:
        async with started(sessions_per_worker=1) as pool:
            await pool.wait_until_ready()
            if step == "open":
                await start_and_cancel(pool.open(REQUEST, drop))
            else:
                async with opened(pool) as recognition:
                    await recognition.feed(PIECE)
                    await start_and_cancel(recognition.finish() if step == "finish" else recognition.feed(PIECE * 100))
                    with pytest.raises(EngineRefusedError, match="over"):
                        await recognition.feed(PIECE)
            assert (await recognise(pool, PIECE))[-1] == "1600"
            assert not pool._workers[0]._waiting
            assert not pool._workers[0].outboxes

    async def test_feed_after_the_end_is_refused(self) -> None:
        async with started() as pool, opened(pool) as recognition:
            await recognition.finish()
            with pytest.raises(EngineRefusedError, match="it was finished"):
                await recognition.feed(PIECE)
            assert repr(recognition).endswith("over (it was finished), silent for 0 ms>")

    async def test_an_error_in_emit_reaches_the_caller_and_frees_the_session(self) -> None:
        async def refuse(hypothesis: Hypothesis) -> None:
            raise ConnectionError(hypothesis.text)

        async with started(sessions_per_worker=1) as pool:
            recognition = await pool.open(REQUEST, refuse)
            with pytest.raises(ConnectionError):
                await recognition.feed(PIECE)
            await recognition.aclose()
            async with opened(pool):
                pass


async def start_and_cancel(call: Coroutine[object, object, object]) -> None:
    """Start a call, and cancel it once it waits for its answer."""
    task = asyncio.ensure_future(call)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class TestClosing:
    async def test_no_process_remains(self) -> None:
        async with started(workers=2) as pool, opened(pool), opened(pool):
            processes = pids(pool)
            assert len(processes) == 2
            assert all(is_running(pid) for pid in processes)
            assert repr(pool._workers[0]).endswith(f"runs as process {processes[0]}, 1 sessions, 0 calls>")
        assert not any(is_running(pid) for pid in processes)

    async def test_open_recognitions_and_calls_end_with_the_pool(self) -> None:
        async with started() as pool:
            recognition = await pool.open(REQUEST, drop)
            feed = asyncio.create_task(recognition.feed(PIECE * 10_000))
            await asyncio.sleep(0)
        with pytest.raises(EngineRefusedError):
            await feed

    async def test_closing_before_the_worker_has_started(self) -> None:
        async with started() as pool:
            opening = asyncio.create_task(pool.open(REQUEST, drop))
            await asyncio.sleep(0)
        with pytest.raises(EngineRefusedError, match="was not started"):
            await opening

    async def test_a_worker_that_does_not_exit_is_killed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workers, "CLOSE_TIMEOUT_S", 0.1)
        async with started() as pool:
            async with opened(pool):
                (process,) = pids(pool)
            os.kill(process, signal.SIGSTOP)
        assert not is_running(process)

    async def test_the_worker_ignores_ctrl_c(self) -> None:
        async with started() as pool, opened(pool) as recognition:
            os.kill(pids(pool)[0], signal.SIGINT)
            await recognition.feed(PIECE)

    def test_printed_text_does_not_reach_the_pipe(self) -> None:
        program = (
            "import os, sys\n"
            "from asr_async.emulator.engines.worker_process import _claim_stdout\n"
            "answers = _claim_stdout()\n"
            "os.write(1, b'chatter')\n"
            "print('chatter', flush=True)\n"
            "answers.write(b'answer')\n"
        )
        process = subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, env=child_environment()
        )
        assert process.stdout == b"answer"
        assert b"chatter" in process.stderr
