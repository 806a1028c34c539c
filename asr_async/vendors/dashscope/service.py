"""Whom to call for DashScope, and as whom.

Endpoints: the platform's WebSocket overview page (2026) and the official SDK 2.0.2 (`common/env.py`). Keys belong to a
region: one from Beijing fails in Singapore.
"""

from __future__ import annotations

import os
import re
from typing import Self

from ..._version import __version__
from ...errors import AuthenticationError, ConfigurationError
from ..options import Options, did_you_mean
from ..service import Target, check_endpoint
from .codec import TaskCodec
from .errors import VENDOR, error_from_handshake
from .models import TaskOptions

__all__ = ["DashScope"]

INFERENCE_PATH = "/api-ws/v1/inference"

SHARED_HOSTS = {
    "cn-beijing": "dashscope.aliyuncs.com",
    "ap-southeast-1": "dashscope-intl.aliyuncs.com",
    "cn-hongkong": "cn-hongkong.dashscope.aliyuncs.com",
}
"""Regions with a host for everybody; the others are reached through a workspace's own host only."""

WORKSPACE_REGIONS = (*SHARED_HOSTS, "us-east-1", "eu-central-1", "ap-northeast-1")

_WORKSPACE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class DashScope:
    """Alibaba Cloud Model Studio (DashScope), real-time recognition over WebSocket.

    Args:
        api_key: a key or a temporary token (`st-...`). Default: `DASHSCOPE_API_KEY`, read when a session connects.
        region: where the key is from.
        workspace: a workspace id; the connection then goes to the workspace's own host, as the vendor advises since
            2026, and names the workspace in a header.
        endpoint: the whole WebSocket URL, in place of region and workspace host. Default:
            `DASHSCOPE_WEBSOCKET_BASE_URL`, the variable that the official SDK reads, where it is set.
        insecure: allow an `endpoint` with `ws://` that is not on this machine.

    Raises:
        ConfigurationError: an unknown region, a malformed workspace id or endpoint.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        region: str = "cn-beijing",
        workspace: str | None = None,
        endpoint: str | None = None,
        insecure: bool = False,
    ) -> None:
        if region not in WORKSPACE_REGIONS:
            raise ConfigurationError(f"region={region!r}: {did_you_mean(region, WORKSPACE_REGIONS)}")
        if workspace is None and region not in SHARED_HOSTS:
            raise ConfigurationError(f"region={region!r} is reached through a workspace only: pass workspace=")
        if workspace is not None and not _WORKSPACE_ID.fullmatch(workspace):
            raise ConfigurationError(f"workspace={workspace!r}: letters, digits, '_' and '-' only, 64 at most")
        if endpoint is not None:
            check_endpoint(endpoint, insecure=insecure)
        self._api_key = api_key
        self._region = region
        self._workspace = workspace
        self._endpoint = endpoint
        self._insecure = insecure

    def __repr__(self) -> str:
        return f"<DashScope {self._endpoint or self._region}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    def codec(self, options: Options, *, task_id: str) -> TaskCodec:
        """Make the codec of one task.

        Raises:
            ConfigurationError: the options are another vendor's.
        """
        if not isinstance(options, TaskOptions):
            raise ConfigurationError(
                f"{type(options).__name__} is not of DashScope: leave out the service, or change it"
            )
        return TaskCodec(options, task_id=task_id)

    async def target(self, options: Options) -> Target:
        """Say where to connect.

        Raises:
            AuthenticationError: there is no key.
            ConfigurationError: the region does not have the model, or the environment's endpoint is malformed.
        """
        headers = {
            "Authorization": f"Bearer {self._find_key()}",
            "User-Agent": f"asr-async/{__version__}",
        }
        if self._workspace is not None:
            headers["X-DashScope-WorkSpace"] = self._workspace
        return Target(url=self._url(options), headers=headers, refused=error_from_handshake)

    def _find_key(self) -> str:
        key = self._api_key or os.environ.get("DASHSCOPE_API_KEY", "")
        if not key.strip():
            raise AuthenticationError(
                "no DashScope key: set DASHSCOPE_API_KEY or pass DashScope(api_key=...); service=Local() needs none",
                vendor=VENDOR,
            )
        if not key.strip().isascii() or any(character.isspace() for character in key.strip()):
            raise AuthenticationError("the DashScope key holds characters that no key has: check it", vendor=VENDOR)
        return key.strip()

    def _url(self, options: Options) -> str:
        endpoint = self._endpoint
        if endpoint is None and (endpoint := os.environ.get("DASHSCOPE_WEBSOCKET_BASE_URL")):
            check_endpoint(endpoint, insecure=self._insecure)
        if endpoint:
            return endpoint
        if isinstance(options, TaskOptions) and self._region not in options.capability.regions:
            regions = " and ".join(options.capability.regions)
            raise ConfigurationError(f"region={self._region!r} does not have {options.model}: {regions} does")
        if self._workspace is not None:
            return f"wss://{self._workspace}.{self._region}.maas.aliyuncs.com{INFERENCE_PATH}"
        return f"wss://{SHARED_HOSTS[self._region]}{INFERENCE_PATH}"
