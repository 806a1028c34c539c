"""The service of DashScope: its endpoints and its credentials.

Source of the endpoints: the platform's WebSocket overview page (2026), its page on temporary keys, and the official SDK
2.0.2 (`common/env.py`). A key belongs to a region: one from Beijing is refused in Singapore.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from ..._net.user_agent import USER_AGENT
from ..._text.secret import SecretHeaders, secret_url, shown_url, tolerant_repr
from ...errors import ConfigurationError
from ..api_key import KeyFunction
from ..codec import Codec, TaskDescription
from ..http import utc_now
from ..options import Options, check_range, did_you_mean
from ..rest import RestClient
from ..service import Endpoint, ServiceBase, TemporaryKey, check_endpoint, check_headers
from .codec import TaskCodec, describe_task
from .credentials import DashScopeKey
from .errors import error_from_response
from .hotwords import uses_phrase_list
from .models import MODEL_ROWS, TaskOptions
from .realtime import QwenRealtimeCodec, describe_session
from .realtime_models import QwenRealtime
from .rest_wire import TOKENS_PATH, Token
from .sdk_settings import WORKSPACE_VARIABLES, find_region, find_workspace, inspects_data
from .vocabularies import DashScopeVocabularies

if TYPE_CHECKING:
    import ssl


__all__ = ["DashScope"]

INFERENCE_PATH = "/api-ws/v1/inference"
HTTP_PATH = "/api/v1"
REALTIME_PATH = "/api-ws/v1/realtime"


REUSE_S = 55.0
"""The server closes a connection without a task after 60 s (Fun-ASR WebSocket API page, 2025-10). The page means the
time between two tasks; for the time before the first one nothing is known, so the same limit is used."""


class _Protocol(msgspec.Struct, frozen=True):
    """One of the two protocols: its path, and the functions that implement it."""

    path: str
    describe: Callable[..., TaskDescription]
    codec: Callable[..., Codec]
    names_model_in_url: bool
    reuse_s: float | None
    """See `Endpoint.reuse_s`."""


_PROTOCOLS: dict[type[TaskOptions | QwenRealtime], _Protocol] = {
    TaskOptions: _Protocol(INFERENCE_PATH, describe_task, TaskCodec, names_model_in_url=False, reuse_s=REUSE_S),
    QwenRealtime: _Protocol(REALTIME_PATH, describe_session, QwenRealtimeCodec, names_model_in_url=True, reuse_s=None),
}
"""Class of options → protocol, for its subclasses too."""

SHARED_HOSTS = {
    "cn-beijing": "dashscope.aliyuncs.com",
    "ap-southeast-1": "dashscope-intl.aliyuncs.com",
    "cn-hongkong": "cn-hongkong.dashscope.aliyuncs.com",
}
"""Regions with a host that all accounts share; in the others only a workspace has a host."""

WORKSPACE_REGIONS = (*SHARED_HOSTS, "us-east-1", "eu-central-1", "ap-northeast-1")

DEFAULT_REGION = "cn-beijing"

WORKSPACE_PLACEHOLDER = "{workspace_id}"
"""The part of an endpoint that the official SDK replaces by the workspace."""

_WORKSPACE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class DashScope(ServiceBase):
    """Alibaba Cloud Model Studio (DashScope): real-time recognition over WebSocket.

    Sessions use the two WebSocket protocols; AOQ, the vendor's protocol over QUIC (page of 2026-09), is not spoken.

    The service of `Paraformer`, `FunASR`, `QwenAudio`, `Gummy`, `GummyChat` and `QwenRealtime`. What the arguments
    leave open is read each time a session connects, never at import: from the environment variables of the official
    SDK, then from its files, `~/.dashscope/config.toml` (or `DASHSCOPE_CONFIG`) and `~/.dashscope/api_key`.

    Args:
        api_key: a key, a temporary key (`st-...`), or a plain or async function that returns one. The function is
            called in the event loop for each connection and each HTTP request, within their deadlines; its exceptions
            reach the caller. Default: `DASHSCOPE_API_KEY`; else the file that `DASHSCOPE_API_KEY_FILE_PATH` names; else
            `api_key` in `config.toml`; else the file `~/.dashscope/api_key`.
        region: the region of the key: cn-beijing, ap-southeast-1 or cn-hongkong; with a workspace also us-east-1,
            eu-central-1 or ap-northeast-1. Default: `DASHSCOPE_REGION` or `DASHSCOPE_API_REGION`; else `region` in
            `config.toml`; else cn-beijing.
        workspace: the id of a workspace. Connections then go to the workspace's own host, as the vendor advises since
            2026, and name the workspace in a header. Default: `DASHSCOPE_WORKSPACE` or `DASHSCOPE_WORKSPACE_ID`; else
            `workspace` in `config.toml`. With an endpoint, only the argument counts, and `{workspace_id}` in the
            endpoint.
        endpoint: a WebSocket URL, in place of the region's or the workspace's, which may hold `{workspace_id}`.
            Default: `DASHSCOPE_WEBSOCKET_BASE_URL`, if it is set. If its path is that of the other of the two protocols
            (`/api-ws/v1/inference`, `/api-ws/v1/realtime`), it is replaced by the path of the model's protocol; any
            other path is used unchanged.
        http_endpoint: the HTTP base, `https://host/api/v1`, for hot-word tables and temporary keys. Default: the host
            and encryption of `endpoint` with the path `/api/v1`; else `DASHSCOPE_HTTP_BASE_URL`, which the official SDK
            reads too; else that of `DASHSCOPE_WEBSOCKET_BASE_URL`; else the region's or the workspace's.
        headers: further headers of connections and HTTP requests, for those of the vendor that this library does not
            know.
        inspect_data: True requests the vendor's content check of the audio, which may refuse a session
            (`DataInspectionFailed`). By default no check is requested, as the vendor advises since 2025-11, unless
            `DASHSCOPE_DISABLE_DATA_INSPECTION` is "false".
        ssl_context: the TLS context of connections and HTTP requests, used as it is. Default: the system's trust store,
            or SSL_CERT_FILE and SSL_CERT_DIR.
        proxy: the URL of their proxy, `http://user:password@host:port` (`https`, for connections `socks5` too); False
            connects directly. Default: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY. This machine is never reached
            through a proxy.
        insecure: allow endpoints without encryption that are not on this machine, and an `ssl_context` that does not
            verify the server.

    Raises:
        ConfigurationError: the region is unknown, or the workspace id, a header or an endpoint is malformed.
    """

    def __init__(
        self,
        api_key: str | KeyFunction | None = None,
        *,
        # address
        region: str | None = None,
        workspace: str | None = None,
        endpoint: str | None = None,
        http_endpoint: str | None = None,
        # connection
        headers: Mapping[str, str] | None = None,
        inspect_data: bool | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | Literal[False] | None = None,
        insecure: bool = False,
    ) -> None:
        # first, so that no local variable in a traceback shows a secret, and a `repr` is possible
        self._key, api_key = DashScopeKey(api_key), None
        headers = headers and SecretHeaders(headers)
        self._region = region
        self._endpoint = endpoint = endpoint and secret_url(endpoint)
        self._http_endpoint = http_endpoint = http_endpoint and secret_url(http_endpoint)
        proxy = secret_url(proxy) if isinstance(proxy, str) else proxy
        self._given_headers = check_headers(headers)
        if region is not None:
            _check_region(region, f"region={region!r}")
        if workspace is not None:
            _check_workspace(workspace, f"workspace={workspace!r}")
        if endpoint is not None:
            check_endpoint(endpoint.replace(WORKSPACE_PLACEHOLDER, "id"), insecure=insecure)
        if http_endpoint is not None:
            _check_http_endpoint(http_endpoint, "http_endpoint", insecure=insecure)
        self._workspace = workspace
        self._inspect_data = inspect_data
        self._insecure = insecure
        super().__init__(ssl_context=ssl_context, proxy=proxy, insecure=insecure)

    @tolerant_repr
    def __repr__(self) -> str:
        return f"<DashScope {shown_url(self._endpoint) if self._endpoint else self._shown_region}>"

    def describe(self, options: Options) -> TaskDescription:
        """Return the facts about one task.

        Raises:
            ConfigurationError: the options are another vendor's.
        """
        options, protocol = _find_protocol(options)
        return protocol.describe(options)

    def codec(self, options: Options, *, task_id: str) -> Codec:
        """Make the codec of one task.

        Raises:
            ConfigurationError: the options are another vendor's.
        """
        options, protocol = _find_protocol(options)
        return protocol.codec(options, task_id=task_id)

    @property
    def _rest(self) -> RestClient:
        return RestClient(
            self._http_base, self._key, headers=self._headers, error=error_from_response, network=self.network
        )

    @property
    def vocabularies(self) -> DashScopeVocabularies:
        """The hot-word tables of this account."""
        v1_regions = {
            region for row in MODEL_ROWS.values() if uses_phrase_list(row.model) for region in row.regions or ()
        }
        return DashScopeVocabularies(self._rest, lists_phrases=self._address.region in v1_regions)

    async def temporary_key(self, *, expires_in: int = 60) -> TemporaryKey:
        """Make a key for a program that must not have this one: in a browser, on a device.

        Args:
            expires_in: the lifetime in seconds, 1 to 1800.

        Raises:
            ASRError: as with `Vocabularies`.
        """
        check_range("expires_in", expires_in, 1, 1_800, "s")
        token = await self._rest.call("POST", f"{TOKENS_PATH}?expire_in_seconds={expires_in}", Token)
        return TemporaryKey(value=token.token, expires_at=token.expires_at)

    async def resolve(self, options: Options) -> Endpoint:
        """Return the endpoint for these options, with the key of the moment.

        Raises:
            AuthenticationError: there is no key.
            ConfigurationError: the options are another vendor's, the region does not have the model, or the endpoint,
                the region, the workspace or the key of the environment or of a file is malformed.
        """
        key = await self._key.find()
        headers = self._headers(key)
        if inspects_data() if self._inspect_data is None else self._inspect_data:
            headers["X-DashScope-DataInspection"] = "enable"
        return Endpoint(
            url=self._url(options),
            headers=headers,
            handshake_error=functools.partial(
                error_from_response,
                temporary_key=self._key.is_temporary(key),
                clock=utc_now,
            ),
            reuse_s=_find_protocol(options)[1].reuse_s,
            refresh_credentials=functools.partial(self._key.refresh, key),
            account=self._key.account_of(key),
            network=self.network,
        )

    def _headers(self, key: str) -> dict[str, str]:
        headers = SecretHeaders({**self._given_headers, "Authorization": f"Bearer {key}", "User-Agent": USER_AGENT})
        workspace = self._workspace
        if workspace is None and self._given_endpoint() is None:
            workspace = self._address.workspace
        if workspace is not None:
            headers["X-DashScope-WorkSpace"] = workspace
        return headers

    def _url(self, options: Options) -> str:
        options, protocol = _find_protocol(options)
        if endpoint := self._given_endpoint():
            url = _replace_protocol_path(endpoint, protocol.path)
        else:
            address = self._address
            regions = options.model_row.regions if options.strict else None
            if regions is not None and address.region not in regions:
                names = " and ".join(regions)
                raise ConfigurationError(
                    f"region={address.region!r} does not have {options.model}: {names} does (strict=False accepts any)"
                )
            url = f"wss://{address.host}{protocol.path}"
        return _add_model_to_query(url, options.model) if protocol.names_model_in_url else url

    def _http_base(self) -> str:
        if self._http_endpoint is not None:
            return self._http_endpoint.rstrip("/")
        if self._endpoint is None and (base := secret_url(os.environ.get("DASHSCOPE_HTTP_BASE_URL", ""))):
            return _check_http_endpoint(base, "DASHSCOPE_HTTP_BASE_URL", insecure=self._insecure).rstrip("/")
        if endpoint := self._given_endpoint():
            parts = urlsplit(endpoint)
            return f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}{HTTP_PATH}"
        return f"https://{self._address.host}{HTTP_PATH}"

    def _given_endpoint(self) -> str | None:
        """Return the WebSocket URL that replaces those of the region and the workspace."""
        endpoint = self._endpoint
        if endpoint is None:
            endpoint = secret_url(os.environ.get("DASHSCOPE_WEBSOCKET_BASE_URL", ""))
        if not endpoint:
            return None
        if WORKSPACE_PLACEHOLDER in endpoint:
            workspace = self._find_workspace()
            if workspace is None:
                raise ConfigurationError(
                    f"the endpoint has {WORKSPACE_PLACEHOLDER}, and no workspace is known: pass workspace=, or set "
                    f"{WORKSPACE_VARIABLES[0]}"
                )
            endpoint = secret_url(endpoint.replace(WORKSPACE_PLACEHOLDER, workspace))
        return endpoint if self._endpoint is not None else check_endpoint(endpoint, insecure=self._insecure)

    @property
    def _address(self) -> _Address:
        """The region and the workspace of the moment."""
        region, workspace = self._find_region(), self._find_workspace()
        if workspace is None and region not in SHARED_HOSTS:
            raise ConfigurationError(
                f"region={region!r} has hosts of workspaces only: pass workspace=, or set {WORKSPACE_VARIABLES[0]}"
            )
        return _Address(region, workspace)

    def _find_region(self) -> str:
        if self._region is not None:
            return self._region
        found = find_region()
        return _check_region(found.value, f"{found.source}: {found.value!r}") if found else DEFAULT_REGION

    @property
    def _shown_region(self) -> str:
        try:
            return self._find_region()
        except ConfigurationError:  # raised where it matters: when a session connects
            return "unknown region"

    def _find_workspace(self) -> str | None:
        if self._workspace is not None:
            return self._workspace
        found = find_workspace()
        return _check_workspace(found.value, f"{found.source}: {found.value!r}") if found else None


class _Address(NamedTuple):
    region: str
    workspace: str | None

    @property
    def host(self) -> str:
        if self.workspace is not None:
            return f"{self.workspace}.{self.region}.maas.aliyuncs.com"
        return SHARED_HOSTS[self.region]


def _check_region(region: str, name: str) -> str:
    if region not in WORKSPACE_REGIONS:
        raise ConfigurationError(f"{name}: {did_you_mean(region, WORKSPACE_REGIONS)}")
    return region


def _check_workspace(workspace: str, name: str) -> str:
    if not _WORKSPACE_ID.fullmatch(workspace):
        raise ConfigurationError(f"{name}: must be 1 to 64 letters, digits, '_' and '-'")
    return workspace


def _find_protocol(options: Options) -> tuple[TaskOptions | QwenRealtime, _Protocol]:
    for options_class, protocol in _PROTOCOLS.items():
        if isinstance(options, options_class):
            return options, protocol
    raise ConfigurationError(
        f"{type(options).__name__} does not belong to DashScope: change the options or the service"
    )


def _replace_protocol_path(url: str, path: str) -> str:
    """Return the URL with this path in place of the other protocol's, if it has that."""
    parts = urlsplit(url)
    bare_path = parts.path.rstrip("/")
    for protocol in _PROTOCOLS.values():
        if protocol.path != path and bare_path.endswith(protocol.path):
            return urlunsplit(parts._replace(path=bare_path.removesuffix(protocol.path) + path))
    return url


def _add_model_to_query(url: str, model: str) -> str:
    parts = urlsplit(url)
    query = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name != "model"]
    return urlunsplit(parts._replace(query=urlencode([*query, ("model", model)])))


def _check_http_endpoint(endpoint: str, name: str, *, insecure: bool) -> str:
    return check_endpoint(
        endpoint, insecure=insecure, name=name, schemes=("https", "http"), form="an HTTP base, https://host/api/v1"
    )
