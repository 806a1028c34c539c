"""A web service: an upload becomes a transcript, a WebSocket becomes live captions; one client for all of them.

python -m uvicorn --app-dir examples fastapi_service:app
curl -F file=@examples/audio/demo.wav http://127.0.0.1:8000/transcripts
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, UploadFile, WebSocket

from asr_async import ASRError, Client, ConfigurationError, Local, Paraformer, Transcript, read_audio
from asr_async.integrations.web import captions

SERVICE = None if "DASHSCOPE_API_KEY" in os.environ else Local()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with Client(SERVICE, options=Paraformer()) as app.state.client:
        app.state.places = asyncio.Semaphore(10)
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/transcripts")
async def transcribe(file: UploadFile) -> Transcript:
    try:
        transcript: Transcript = await app.state.client.transcribe(read_audio(file.file))
    except ConfigurationError as error:  # not a recording, or one that the model does not take
        raise HTTPException(422, str(error)) from None
    except ASRError as error:
        raise HTTPException(503 if error.retryable else 502, str(error)) from None
    return transcript


@app.websocket("/captions")
async def live(websocket: WebSocket) -> None:
    await captions(websocket, app.state.client, Paraformer(), places=app.state.places)
