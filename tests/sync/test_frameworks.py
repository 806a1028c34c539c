"""The blocking face in a Flask application, served by threads, and in a notebook's kernel with a running loop."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask, Response, request, stream_with_context
from jupyter_client.manager import start_new_kernel
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from werkzeug.serving import make_server

from asr_async import Limits, Paraformer, sync
from asr_async.emulator import Scripted, serve
from asr_async.telemetry.otel import OpenTelemetryObserver

from ..support.child_processes import import_path
from ..support.numbered_audio import NumberedServer
from ..support.scripted_server import scripted_server
from ..support.threaded_server import in_a_thread, numbered_chunks

# --- Flask -----------------------------------------------------------------------------------------------------------


def application(client: sync.Client) -> Flask:
    """Return an application with a view for whole recordings, and one that streams captions while they come."""
    app = Flask(__name__)
    tracer = app.config["tracers"] = TracerProvider()

    def uploaded() -> Iterator[bytes]:
        while chunk := request.stream.read(3_200):  # a context variable of the request, in the thread of the source
            yield chunk

    @app.post("/transcripts")
    def transcripts() -> dict[str, str]:
        with tracer.get_tracer("app").start_as_current_span("POST /transcripts"):
            return {"text": client.transcribe(uploaded(), Paraformer()).text}

    @app.post("/captions")
    def captions() -> Response:
        def lines() -> Iterator[str]:
            with client.session(Paraformer()) as session:
                for result in session.stream(uploaded(), pace=None):
                    if result.is_final:
                        yield f"{result.text}\n"

        return Response(stream_with_context(lines()), mimetype="text/plain")

    return app


@contextlib.contextmanager
def serving(app: Flask) -> Iterator[int]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def post(port: int, path: str, body: bytes) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", path, body)
        response = connection.getresponse()
        text = response.read().decode()
        assert response.status == 200, text
        return text


def test_flask_serves_eight_requests_at_once_from_one_client() -> None:
    spans = InMemorySpanExporter()
    with in_a_thread(scripted_server(NumberedServer())) as service:
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(spans))
        observer = OpenTelemetryObserver(tracer_provider=tracers, meter_provider=MeterProvider())
        client = sync.Client(service, limits=Limits(starts_per_second=None), observers=[observer])
        app = application(client)
        app.config["tracers"].add_span_processor(SimpleSpanProcessor(spans))
        with client, serving(app) as port, ThreadPoolExecutor(8) as executor:
            bodies = [b"".join(numbered_chunks(1 + number)) for number in range(8)]
            paths = ["/transcripts", "/captions"] * 4
            texts = list(executor.map(post, [port] * 8, paths, bodies))
    for number, text in enumerate(texts):
        expected = [f"to {1_000 * second}" for second in range(1, 2 + number)]
        if paths[number] == "/transcripts":
            assert json.loads(text) == {"text": " ".join(expected)}
        else:
            assert text.splitlines() == expected
    assert observer.flush(10)
    finished = spans.get_finished_spans()
    requests = {span.context.span_id for span in finished if span.name.startswith("POST") and span.context}
    parents = [span.parent.span_id for span in finished if span.name.startswith("speech") and span.parent]
    assert len(parents) == 4
    assert set(parents) == requests


# --- Jupyter ---------------------------------------------------------------------------------------------------------

CELL = """
import asyncio
import sys

sys.path[:0] = {path!r}.split({separator!r})
asyncio.get_running_loop()  # a cell runs inside the kernel's loop

from asr_async import DashScope, Paraformer
from asr_async.sync import connect

with connect(Paraformer(), DashScope("sk-test", endpoint={endpoint!r})) as session:
    for result in session.stream([bytes(3200)] * 20, pace=None):
        if result.is_final:
            print(result.text)
"""


@pytest.mark.filterwarnings("default")  # those of the client's and the kernel's own libraries
def test_a_cell_of_a_notebook_transcribes_inside_the_running_loop_of_its_kernel() -> None:
    printed: list[str] = []
    errors: list[str] = []

    def on_output(message: dict[str, dict[str, object]]) -> None:
        content = message["content"]
        if "text" in content:
            printed.append(str(content["text"]))
        if "evalue" in content:
            errors.append(str(content))

    with in_a_thread(serve(Scripted([("good morning", 0, 700), ("how are you", 900, 1_800)]))) as emulator:
        manager, client = start_new_kernel(startup_timeout=60)
        try:
            cell = CELL.format(path=import_path(), separator=os.pathsep, endpoint=emulator.dashscope_url)
            for _ in range(2):  # a second cell uses the same loop
                reply = client.execute_interactive(cell, timeout=60, output_hook=on_output)
                assert reply["content"]["status"] == "ok", errors
        finally:
            client.stop_channels()
            manager.shutdown_kernel()
    assert "".join(printed).splitlines() == ["good morning", "how are you"] * 2
