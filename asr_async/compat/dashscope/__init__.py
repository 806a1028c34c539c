"""The classes of the official DashScope SDK for real-time recognition, on this library.

A program changes the prefix of its imports, and nothing else:

    from asr_async.compat import dashscope
    from asr_async.compat.dashscope.audio.asr import *

    dashscope.api_key = "sk-..."
    recognition = Recognition(model="paraformer-realtime-v2", format="pcm", sample_rate=16000, callback=Callback())

Signatures, results, the order of callbacks and exceptions are those of `dashscope` 2.0.2. The tables in
`asr_async.compat.dashscope.audio.asr` and `.audio.qwen_omni` list what differs.

The settings of the SDK are attributes of this module and are read at each start, so that a program can set them after
the import. They begin with the values of the environment: `DASHSCOPE_API_KEY`, `DASHSCOPE_API_KEY_FILE_PATH`,
`DASHSCOPE_WEBSOCKET_BASE_URL`, `DASHSCOPE_HTTP_BASE_URL`, `DASHSCOPE_API_REGION` and `DASHSCOPE_WORKSPACE_ID`.
Without a key, the file `~/.dashscope/api_key` is read, as by the SDK.
"""

from __future__ import annotations

import os
from pathlib import Path

from ._settings import MAAS_REGIONS, http_url_of, region_hosts, validate_workspace_id, websocket_url_of

__all__ = [
    "api_key",
    "api_key_file_path",
    "base_http_api_url",
    "base_websocket_api_url",
    "save_api_key",
    "set_region",
]

api_key: str | None = os.environ.get("DASHSCOPE_API_KEY")
"""The key."""

api_key_file_path: str | None = os.environ.get("DASHSCOPE_API_KEY_FILE_PATH")
"""A file that holds the key, in place of `api_key`."""

base_websocket_api_url: str = websocket_url_of(os.environ)
"""The URL of sessions; it may hold `{workspace_id}`."""

base_http_api_url: str = http_url_of(os.environ)
"""The URL of hot-word tables; it may hold `{workspace_id}`."""


def set_region(region: str, workspace_id: str | None = None) -> None:
    """Use the hosts of a workspace in a region.

    Raises:
        ValueError: the region is unknown, or the workspace id is missing or malformed.
    """
    global base_http_api_url, base_websocket_api_url
    regions = {*MAAS_REGIONS, "cn-beijing"}
    if region not in regions:
        raise ValueError(f"Unsupported region '{region}'. Supported regions: {sorted(regions)}")
    if not workspace_id:
        raise ValueError("workspace_id is required")
    base_websocket_api_url, base_http_api_url = region_hosts(region, validate_workspace_id(workspace_id))


def save_api_key(api_key: str, api_key_file_path: str | None = None) -> None:
    """Write a key to a file that only its owner can read: `~/.dashscope/api_key`, or the file at the path."""
    path = Path.home() / ".dashscope" / "api_key" if api_key_file_path is None else Path(api_key_file_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(api_key, encoding="utf-8")


from . import audio as audio  # noqa: E402 - behind the settings, which its modules read
