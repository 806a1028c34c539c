"""Whom to call for Huawei Cloud's SIS, and as whom.

Hosts: the endpoint page of the SIS API reference and the official SDKs (`sis-ext.{region}.myhuaweicloud.com`); IAM's:
page "authentication" of the same (2021-10). A region that is new is not refused: the host is made from its name.
"""

from __future__ import annotations

import copy
import functools
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import urlsplit

import msgspec

from ..._net.http import HttpResponse, request
from ..._net.network_options import NetworkOptions
from ..._net.user_agent import USER_AGENT
from ...errors import ASRError, AuthenticationError, ConfigurationError
from ..codec import TaskDescription
from ..options import Options
from ..service import Endpoint, check_endpoint, fingerprint
from .codec import RasrCodec, describe_task
from .credentials import Account, Credentials, GivenToken, Keys, from_arguments, from_environment
from .errors import STALE_TOKEN_CODES, error_from_response
from .models import Rasr
from .signing import sign
from .tokens import Tokens
from .vocabularies import HuaweiVocabularies

if TYPE_CHECKING:
    import ssl

__all__ = ["PROJECT_VARIABLE", "REGION_VARIABLE", "Huawei"]

PROJECT_VARIABLE = "HUAWEICLOUD_SIS_PROJECT_ID"
REGION_VARIABLE = "HUAWEICLOUD_SIS_REGION"
ENDPOINT_VARIABLE = "HUAWEICLOUD_SIS_ENDPOINT"

REUSE_S = 15.0
"""The server closes a connection on which nothing comes for 20 s (RASR pages, 2021-10). That it does so before the
first START too is not said, and assumed."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class _Entry(msgspec.Struct, frozen=True):
    """What to say at the door, and what an answer that refuses it means."""

    headers: dict[str, str]
    signed_at: datetime | None = None
    renew: Callable[[AuthenticationError], bool] = lambda _error: False


class Huawei:
    """Huawei Cloud's Speech Interaction Service (SIS), real-time recognition over WebSocket.

    Give `ak` and `sk`, or `token`, or `username`, `password` and `domain`; with none of them the keys of the
    environment are taken, `HUAWEICLOUD_SIS_AK` and `HUAWEICLOUD_SIS_SK`. The environment is read when a session
    connects.

    Args:
        project_id: the project's id in the region. Default: `HUAWEICLOUD_SIS_PROJECT_ID`.
        region: such as cn-north-4 or cn-east-3. Default: `HUAWEICLOUD_SIS_REGION`.
        ak: the access key.
        sk: its secret.
        security_token: what temporary keys come with.
        token: a project's token that the caller got from IAM, and renews.
        username: an IAM user, for whom tokens are got, kept and renewed.
        password: the user's password.
        domain: the account that the user belongs to.
        endpoint: scheme and host, in place of the region's own: `wss://host`. Default: `HUAWEICLOUD_SIS_ENDPOINT`,
            where it is set.
        iam_endpoint: scheme and host of IAM, in place of the region's own: `https://host`.
        ssl_context: the TLS context of connections and HTTP requests, used as it is. Default: the system's trust store,
            or SSL_CERT_FILE and SSL_CERT_DIR.
        proxy: the URL of their proxy, `http://user:password@host:port` (`https`, for connections `socks5` too); False
            connects directly. Default: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY. This machine is never reached
            through a proxy.
        insecure: allow endpoints that are not encrypted and not on this machine, and an `ssl_context` that does not
            verify the server.

    Raises:
        ConfigurationError: credentials of two kinds or half of one, a malformed project, region or endpoint.
    """

    def __init__(
        self,
        *,
        project_id: str | None = None,
        region: str | None = None,
        ak: str | None = None,
        sk: str | None = None,
        security_token: str | None = None,
        token: str | None = None,
        username: str | None = None,
        password: str | None = None,
        domain: str | None = None,
        endpoint: str | None = None,
        iam_endpoint: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | Literal[False] | None = None,
        insecure: bool = False,
    ) -> None:
        self._credentials = from_arguments(
            {
                "ak": ak,
                "sk": sk,
                "security_token": security_token,
                "token": token,
                "username": username,
                "password": password,
                "domain": domain,
            }
        )
        self._insecure = insecure
        self._network = NetworkOptions(ssl_context=ssl_context, proxy=proxy, allows_unverified=insecure)
        self._project_id = None if project_id is None else _check_name("project_id", project_id)
        self._region = None if region is None else _check_name("region", region)
        self._endpoint = None if endpoint is None else self._check_host("endpoint", endpoint)
        self._iam_endpoint = None
        if iam_endpoint is not None:
            self._iam_endpoint = self._check_host("iam_endpoint", iam_endpoint, schemes=("https", "http"))

    def __repr__(self) -> str:
        return f"<Huawei {self._endpoint or self._region or 'of the environment'}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    def describe(self, options: Options) -> TaskDescription:
        """Return the facts about one round.

        Raises:
            ConfigurationError: the options are another vendor's.
        """
        return describe_task(_checked_options(options))

    def codec(self, options: Options, *, task_id: str) -> RasrCodec:  # noqa: ARG002 - the server gives the id here
        """Make the codec of one round.

        Raises:
            ConfigurationError: the options are another vendor's.
        """
        return RasrCodec(_checked_options(options))

    def with_network(self, network: NetworkOptions) -> Huawei:
        """Return this service with other options of the network; its own count where those have no value."""
        service = copy.copy(self)
        service._network = network.over(self._network)  # noqa: SLF001 - of this class
        return service

    @property
    def vocabularies(self) -> HuaweiVocabularies:
        """The hot-word tables of this project and region."""
        return HuaweiVocabularies(self._call_vocabularies)

    async def resolve(self, options: Options) -> Endpoint:
        """Say where to connect, with a signature or a token.

        Raises:
            ASRError: IAM gave no token.
            AuthenticationError: there are no credentials, or half of them.
            ConfigurationError: there is no project or region, or the environment's endpoint is malformed.
        """
        url = f"{self._base_url()}/{_checked_options(options).capability.path}"
        entry = await self._entry("GET", url, {}, b"")
        return Endpoint(
            url=url,
            # not signed: a client library may write it in its own way
            headers={**entry.headers, "User-Agent": USER_AGENT},
            handshake_error=functools.partial(error_from_response, signed_at=entry.signed_at),
            reuse_s=REUSE_S,
            refresh_credentials=entry.renew,
            account=fingerprint(self._find_project()),
            network=self._network,
        )

    # --- where -------------------------------------------------------------------------------------------------------

    def _base_url(self) -> str:
        """Up to the project."""
        return f"{self._host_url()}/v1/{self._find_project()}"

    def _find_project(self) -> str:
        return self._project_id or _from_environment("project_id", PROJECT_VARIABLE)

    def _host_url(self) -> str:
        endpoint = self._endpoint
        if endpoint is None and (endpoint := os.environ.get(ENDPOINT_VARIABLE, "").strip()):
            endpoint = self._check_host(ENDPOINT_VARIABLE, endpoint)
        return endpoint or f"wss://sis-ext.{self._find_region()}.myhuaweicloud.com"

    def _iam_url(self) -> str:
        return self._iam_endpoint or f"https://iam.{self._find_region()}.myhuaweicloud.com"

    def _find_region(self) -> str:
        return self._region or _from_environment("region", REGION_VARIABLE)

    def _check_host(self, name: str, url: str, *, schemes: tuple[str, str] = ("wss", "ws")) -> str:
        form = f"scheme and host, {schemes[0]}://host"
        check_endpoint(url, insecure=self._insecure, name=name, schemes=schemes, form=form)
        parts = urlsplit(url)
        if parts.path.strip("/") or parts.query or parts.fragment or parts.username:
            raise ConfigurationError(f"{name}={url!r}: must be {form}, nothing behind: the path comes from the options")
        return f"{parts.scheme}://{parts.netloc}"

    # --- as whom -----------------------------------------------------------------------------------------------------

    async def _entry(self, method: str, url: str, headers: dict[str, str], body: bytes) -> _Entry:
        credentials: Credentials = self._credentials or from_environment()
        match credentials:
            case Keys():
                return _sign(credentials, method, url, headers, body)
            case GivenToken():
                return _Entry({**headers, "X-Auth-Token": credentials.token})
            case Account():
                return await self._enter_with_token(credentials, headers)

    async def _enter_with_token(self, account: Account, headers: dict[str, str]) -> _Entry:
        tokens = Tokens(account, iam_endpoint=self._iam_url(), project=self._find_region(), network=self._network)
        token = await tokens.get()

        def renew(error: AuthenticationError) -> bool:
            return error.code in STALE_TOKEN_CODES and tokens.let_go(token)

        return _Entry({**headers, "X-Auth-Token": token.value}, renew=renew)

    # --- hot-word tables ---------------------------------------------------------------------------------------------

    async def _call_vocabularies(self, method: str, path: str, body: bytes) -> bytes:
        url = f"{self._base_url()}/asr/vocabularies{path}".replace("ws", "http", 1)
        # sent and signed where there is a body, as the official SDK does it
        headers = {"Content-Type": "application/json"} if body else {}
        entry = await self._entry(method, url, headers, body)
        try:
            return await self._send(method, url, entry, body)
        except AuthenticationError as error:
            if not entry.renew(error):
                raise
        return await self._send(method, url, await self._entry(method, url, headers, body), body)

    async def _send(self, method: str, url: str, entry: _Entry, body: bytes) -> bytes:
        headers = {**entry.headers, "User-Agent": USER_AGENT}
        answer = await request(method, url, headers=headers, body=body, network=self._network)
        if not 200 <= answer.status < 300:
            raise _refusal(answer, entry)
        return answer.body


def _sign(keys: Keys, method: str, url: str, headers: dict[str, str], body: bytes) -> _Entry:
    if keys.security_token is not None:
        headers = {**headers, "X-Security-Token": keys.security_token}
    now = _utc_now()
    return _Entry(sign(method, url, headers, body, ak=keys.ak, sk=keys.sk, at=now), signed_at=now)


def _refusal(answer: HttpResponse, entry: _Entry) -> ASRError:
    return error_from_response(answer.status, answer.headers, answer.body, signed_at=entry.signed_at)


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _checked_options(options: Options) -> Rasr:
    if not isinstance(options, Rasr):
        raise ConfigurationError(f"{type(options).__name__} is not of Huawei: leave out the service, or change it")
    return options


def _from_environment(name: str, variable: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigurationError(f"no Huawei {name}: set {variable} or pass Huawei({name}=...)")
    return _check_name(variable, value)


def _check_name(name: str, value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ConfigurationError(f"{name}={value!r}: letters, digits, '_' and '-' only, 64 at most")
    return value
