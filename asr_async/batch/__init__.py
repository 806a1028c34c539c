"""Many files: a batch that can be killed at any instant and continued, in one process or on many machines.

    async with Batch("run.sqlite", "calls/", Paraformer(), output="texts/") as batch:
        async for outcome in batch:
            print(outcome.source, outcome.error or outcome.output)

A *manifest* has a row for each source and outlives the processes: a sqlite file, or tables in Postgres. *Workers* claim
its rows, transcribe the sources, and write one output for each. An *engine* runs the workers: `InProcess`, the default,
`Ray`, or any other with the interface `Engine`, chosen by `batch.on(engine)`. All that workers share is the manifest
and the folder of the outputs.

    batch       `Batch`: finds the sources, begins the manifest, has an engine do the work, reports
    engine      the interface of engines, and the engine of this process
    ray_engine  the engine of a Ray cluster
    ray_worker  the actor that works there
    worker      one client and some sessions, which claim sources until there are no more
    work        the description of the work that a worker gets
    failures    the decision what follows from the failure of one source
    manifest    the rows and their transitions
    databases   sqlite and Postgres
    outputs     files that are complete or not there
    sources     files, folders, patterns and URLs
    export      the table of a run, as JSON, CSV or Parquet
    processes   the names of workers, which say whether their process is alive
    records     the values of all these

For sources that need no manifest, since they are few or not files, there is `Client.transcribe_many`.
"""

from __future__ import annotations

from ..sources import TranscriptionBatch
from .batch import Batch
from .databases import StorageError
from .engine import Engine, InProcess
from .manifest import Manifest
from .ray_engine import Ray
from .records import BatchOutcome, BatchProgress, Budget, Row
from .work import Work
from .worker import Worker

__all__ = [
    "Batch",
    "BatchOutcome",
    "BatchProgress",
    "Budget",
    "Engine",
    "InProcess",
    "Manifest",
    "Ray",
    "Row",
    "StorageError",
    "TranscriptionBatch",
    "Work",
    "Worker",
]
