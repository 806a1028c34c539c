"""Transcribe a folder overnight, in a run that can be killed and continued by the same command, within a budget.

python examples/batch_overnight.py examples/audio texts/
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from asr_async import ASRError, Local, Paraformer
from asr_async.batch import Batch, Budget, InProcess


async def main(folder: Path, texts: Path) -> None:
    """Work through what is not finished yet, and print how the run stands."""
    batch = Batch(
        "overnight.sqlite",  # what became of each file; delete it to begin anew
        folder,
        Paraformer(),
        None if "DASHSCOPE_API_KEY" in os.environ else Local(),
        output=texts,
        format="text",
        budget=Budget(billed_s=10 * 3600),  # of all runs of this manifest together
    )
    async with batch.on(InProcess(sessions=2)):
        try:
            async for outcome in batch:
                print(f"{Path(outcome.source).name}: {outcome.error or outcome.state}")
        except ASRError as error:  # wrong credentials, an unpaid bill, a full disk: what is done stays done
            print(f"stopped: {error}")
        progress = await batch.progress()
    print(
        f"{progress.done} of {progress.total} files, {progress.failed + progress.poison} failed, "
        f"{progress.audio_s:.1f} s of audio, {progress.billed_s:.1f} s billed, {progress.stopped}"
    )


asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
