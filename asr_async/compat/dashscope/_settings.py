"""The endpoints and the service that the settings of the SDK describe.

Source: `common/env.py` and `common/api_key.py` of the SDK 2.0.2.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..._text.secret import SecretText
from ...errors import ConfigurationError
from ...vendors.dashscope import DashScope
from .common.error import InputRequired, InvalidParameter

__all__ = [
    "MAAS_REGIONS",
    "NO_KEY",
    "http_url_of",
    "key_of",
    "make_service",
    "region_hosts",
    "resolve_base_url",
    "validate_workspace_id",
    "websocket_url_of",
]

MAAS_REGIONS = ("ap-southeast-1", "us-east-1", "cn-hongkong", "eu-central-1", "ap-northeast-1")
"""The regions whose default is the host of a workspace; Beijing keeps the shared host."""

SHARED_HOST = "dashscope.aliyuncs.com"

NO_KEY = (
    "No api key provided. You can set by dashscope.api_key = your_api_key in code, "
    "or you can set it via environment variable DASHSCOPE_API_KEY= your_api_key. "
    "You can store your api key to a file, and use dashscope.api_key_file_path=api_key_file_path in code, "
    "or you can set api key file path via environment variable DASHSCOPE_API_KEY_FILE_PATH, "
    "You can call save_api_key to api_key_file_path or default path(~/.dashscope/api_key)."
)
"""The SDK's words for a missing key."""

_WORKSPACE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def websocket_url_of(environment: Mapping[str, str]) -> str:
    """Return the URL of sessions that the environment sets."""
    return environment.get("DASHSCOPE_WEBSOCKET_BASE_URL") or _region_urls(environment)[0]


def http_url_of(environment: Mapping[str, str]) -> str:
    """Return the URL of hot-word tables that the environment sets."""
    return environment.get("DASHSCOPE_HTTP_BASE_URL") or _region_urls(environment)[1]


def _region_urls(environment: Mapping[str, str]) -> tuple[str, str]:
    region = environment.get("DASHSCOPE_API_REGION", "")
    if region not in MAAS_REGIONS:
        return f"wss://{SHARED_HOST}/api-ws/v1/inference", f"https://{SHARED_HOST}/api/v1"
    workspace = environment.get("DASHSCOPE_WORKSPACE_ID")
    return region_hosts(region, validate_workspace_id(workspace) if workspace else "{workspace_id}")


def region_hosts(region: str, workspace_id: str) -> tuple[str, str]:
    """Return the URLs of sessions and of hot-word tables of a workspace."""
    host = f"{workspace_id}.{region}.maas.aliyuncs.com"
    return f"wss://{host}/api-ws/v1/inference", f"https://{host}/api/v1"


def validate_workspace_id(workspace_id: str) -> str:
    """Return the id, which becomes a part of a host's name.

    Raises:
        ValueError: it holds other characters than those of an id.
    """
    if not _WORKSPACE_ID.fullmatch(workspace_id):
        raise ValueError(f"Invalid workspace_id {workspace_id!r}: must match ^[A-Za-z0-9][A-Za-z0-9_-]{{0,63}}$")
    return workspace_id


def resolve_base_url(url: str, workspace_id: str | None) -> str:
    """Return a URL with the id of the workspace in its place.

    Raises:
        InputRequired: the URL needs an id, and there is none.
    """
    if "{workspace_id}" not in url:
        return url
    workspace_id = workspace_id or os.environ.get("DASHSCOPE_WORKSPACE_ID")
    if workspace_id:
        return url.replace("{workspace_id}", validate_workspace_id(workspace_id))
    raise InputRequired(
        "The base URL contains '{workspace_id}' but no workspace id is available: pass workspace to the API call, set "
        "the DASHSCOPE_WORKSPACE_ID environment variable, or call dashscope.set_region(region, workspace_id)."
    )


def key_of(api_key: str | None) -> str | Callable[[], str] | None:
    """Return the key of a call or of the settings, or a function that reads it from the file that they name.

    None is the key of the environment, or of its files.
    """
    from .. import dashscope as settings  # noqa: PLC0415 - this module is a part of it

    path, key = settings.api_key_file_path, api_key or settings.api_key
    if key or not path:
        return SecretText(key) if key else None
    return lambda: Path(path).read_text(encoding="utf-8").strip()


def make_service(
    *,
    api_key: str | None = None,
    workspace: str | None = None,
    url: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> DashScope:
    """Make the service that the settings and the arguments of a call describe.

    Raises:
        InputRequired: see `resolve_base_url`.
        InvalidParameter: an argument is malformed.
    """
    from .. import dashscope as settings  # noqa: PLC0415 - this module is a part of it

    # first, so that no local variable in a traceback shows a key
    api_key = None if api_key is None else SecretText(api_key)
    url = resolve_base_url(url or settings.base_websocket_api_url, workspace)
    given: dict[str, Any] = {"workspace": workspace, "endpoint": url, "headers": headers}
    try:
        return DashScope(
            key_of(api_key),
            **given,
            http_endpoint=resolve_base_url(settings.base_http_api_url, workspace),
            # as in the SDK, the program decides about the URL
            insecure=True,
        )
    except ConfigurationError as error:
        raise InvalidParameter(str(error)) from error
