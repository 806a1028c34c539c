"""Serve the metrics of recognition sessions to Prometheus, and show the page that it reads.

python examples/prometheus_metrics.py examples/audio/demo.wav
"""

from __future__ import annotations

import asyncio
import os
import sys

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import generate_latest, start_http_server

from asr_async import Client, Local, Paraformer
from asr_async.telemetry.otel import OpenTelemetryObserver


async def main(path: str) -> None:
    """Transcribe a recording; print its text, and the metrics on standard error."""
    observer = OpenTelemetryObserver(meter_provider=MeterProvider([PrometheusMetricReader()]))
    start_http_server(int(os.environ.get("METRICS_PORT", "9464")))
    async with Client(Local(), observers=[observer]) as client:
        transcript = await client.transcribe(path, Paraformer())
    print(transcript.text)
    observer.flush()
    print(generate_latest().decode(), file=sys.stderr)


asyncio.run(main(sys.argv[1]))
