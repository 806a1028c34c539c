"""The service of Huawei Cloud's SIS: its hosts and its credentials.

Source of the hosts: the endpoint page of the SIS API reference and the official SDKs
(`sis-ext.{region}.myhuaweicloud.com`); of IAM's hosts: page "authentication" of the same (2021-10). A new region is not
refused: the host is made from its name.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import msgspec

from ..._net.user_agent import USER_AGENT
from ..._text.secret import SecretHeaders, SecretText, secret_url, shown_url, tolerant_repr
from ...errors import AuthenticationError, ConfigurationError
from ..codec import TaskDescription
from ..credentials import with_fresh_credentials
from ..http import request, utc_now
from ..options import Options
from ..service import Endpoint, ServiceBase, check_endpoint, check_headers, fingerprint
from .codec import RasrCodec, describe_task
from .credentials import PICKLE_ADVICE, AccessKeys, Credentials, GivenToken, IamUser, from_arguments, from_environment
from .errors import error_from_response, is_stale_token
from .models import Rasr
from .signing import sign
from .tokens import iam_tokens
from .vocabularies import HuaweiVocabularies

if TYPE_CHECKING:
    import ssl

__all__ = ["ENDPOINT_VARIABLE", "PROJECT_VARIABLE", "REGION_VARIABLE", "Huawei"]

PROJECT_VARIABLE = "HUAWEICLOUD_SIS_PROJECT_ID"
REGION_VARIABLE = "HUAWEICLOUD_SIS_REGION"
ENDPOINT_VARIABLE = "HUAWEICLOUD_SIS_ENDPOINT"

REUSE_S = 15.0
"""The server closes a connection on which it receives nothing for 20 s (RASR pages, 2021-10). The documents do not say
that it does so before the first START too; this is assumed."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class _Authorization(msgspec.Struct, frozen=True):
    """The headers of one request, credentials included."""

    headers: dict[str, str]
    signed_at: datetime | None = None
    """The time of the signature; None with a token."""
    refresh: Callable[[AuthenticationError], bool] = lambda _error: False
    """See `Endpoint.refresh_credentials`."""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "headers", SecretHeaders(self.headers))


class Huawei(ServiceBase):
    """Huawei Cloud's Speech Interaction Service (SIS): real-time recognition (`Rasr`) over WebSocket.

    Pass `ak` and `sk`, or `token`, or `username`, `password` and `domain`. Without any of them, the access key and its
    secret are read from the environment variables `HUAWEICLOUD_SIS_AK` and `HUAWEICLOUD_SIS_SK`. The environment is
    read each time a session connects, never at import.

    Args:
        project_id: the project's id in the region. Default: the environment variable `HUAWEICLOUD_SIS_PROJECT_ID`.
        region: the region's name, such as cn-north-4 or cn-east-3. Default: `HUAWEICLOUD_SIS_REGION`.
        ak: the access key.
        sk: the secret of the access key.
        security_token: the token that belongs to temporary access keys.
        token: a project's token that the caller has requested from IAM, and renews.
        username: an IAM user, whose tokens this service requests, caches and renews.
        password: the user's password.
        domain: the account that the user belongs to.
        endpoint: scheme and host, `wss://host`, in place of the region's own. Default: `HUAWEICLOUD_SIS_ENDPOINT`, if
            it is set.
        iam_endpoint: scheme and host of IAM, `https://host`, in place of the region's own.
        headers: further headers of connections and HTTP requests to SIS, such as Enterprise-Project-Id or X-Language;
            signed like the others.
        ssl_context: the TLS context of connections and HTTP requests, used as it is. Default: the system's trust store,
            or SSL_CERT_FILE and SSL_CERT_DIR.
        proxy: the URL of their proxy, `http://user:password@host:port` (`https`, for connections `socks5` too); False
            connects directly. Default: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY. This machine is never reached
            through a proxy.
        insecure: allow endpoints that are not encrypted and not on this machine, and an `ssl_context` that does not
            verify the server.

    Raises:
        ConfigurationError: there are two kinds of credentials or a part of one, or the project, the region, a
            header or an endpoint is malformed.
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
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | Literal[False] | None = None,
        insecure: bool = False,
    ) -> None:
        given = {
            "ak": ak,
            "sk": sk,
            "security_token": security_token,
            "token": token,
            "username": username,
            "password": password,
            "domain": domain,
        }
        # first, so that no local variable in a traceback shows a secret
        given = {name: value and SecretText(value, PICKLE_ADVICE) for name, value in given.items()}
        ak = sk = security_token = token = username = password = None
        proxy = secret_url(proxy) if isinstance(proxy, str) else proxy
        endpoint, iam_endpoint = endpoint and secret_url(endpoint), iam_endpoint and secret_url(iam_endpoint)
        headers = headers and SecretHeaders(headers)
        self._given_headers = check_headers(headers)
        self._region = self._endpoint = None
        self._credentials = from_arguments(given)
        self._insecure = insecure
        super().__init__(ssl_context=ssl_context, proxy=proxy, insecure=insecure)
        self._project_id = None if project_id is None else _check_name("project_id", project_id)
        self._region = None if region is None else _check_name("region", region)
        self._endpoint = endpoint = None if endpoint is None else self._check_host("endpoint", endpoint)
        self._iam_endpoint = None
        if iam_endpoint is not None:
            self._iam_endpoint = self._check_host("iam_endpoint", iam_endpoint, schemes=("https", "http"))

    @tolerant_repr
    def __repr__(self) -> str:
        return f"<Huawei {self._endpoint or self._region or 'of the environment'}>"

    def describe(self, options: Options) -> TaskDescription:
        """Return the facts about one task.

        Raises:
            ConfigurationError: the options are another vendor's.
        """
        return describe_task(_checked_options(options))

    def codec(self, options: Options, *, task_id: str) -> RasrCodec:  # noqa: ARG002 - this vendor's server makes the id
        """Make the codec of one task.

        Raises:
            ConfigurationError: the options are another vendor's.
        """
        return RasrCodec(_checked_options(options))

    @property
    def vocabularies(self) -> HuaweiVocabularies:
        """The hot-word tables of this project and region."""
        return HuaweiVocabularies(self._call_vocabularies)

    async def resolve(self, options: Options) -> Endpoint:
        """Return the endpoint for these options, with a signature or a token.

        Raises:
            ASRError: IAM returned no token.
            AuthenticationError: there are no credentials, or only a part of them.
            ConfigurationError: there is no project or region, or the environment's endpoint is malformed.
        """
        url = f"{self._base_url()}/{_checked_options(options).model_row.path}"
        authorization = await self._authorize("GET", url, self._given_headers, b"")
        return Endpoint(
            url=url,
            # User-Agent is not signed: a client library may change it
            headers={**authorization.headers, "User-Agent": USER_AGENT},
            handshake_error=functools.partial(error_from_response, signed_at=authorization.signed_at, clock=utc_now),
            reuse_s=REUSE_S,
            refresh_credentials=authorization.refresh,
            account=fingerprint(self._find_project()),
            network=self.network,
        )

    # --- addresses ---------------------------------------------------------------------------------------------------

    def _base_url(self) -> str:
        """Return the URL up to the project."""
        return f"{self._host_url()}/v1/{self._find_project()}"

    def _find_project(self) -> str:
        return self._project_id or _from_environment("project_id", PROJECT_VARIABLE)

    def _host_url(self) -> str:
        endpoint = self._endpoint
        if endpoint is None and (endpoint := secret_url(os.environ.get(ENDPOINT_VARIABLE, "").strip())):
            endpoint = self._check_host(ENDPOINT_VARIABLE, endpoint)
        return endpoint or f"wss://sis-ext.{self._find_region()}.myhuaweicloud.com"

    def _iam_url(self) -> str:
        return self._iam_endpoint or f"https://iam.{self._find_region()}.myhuaweicloud.com"

    def _find_region(self) -> str:
        return self._region or _from_environment("region", REGION_VARIABLE)

    def _check_host(self, name: str, url: str, *, schemes: tuple[str, str] = ("wss", "ws")) -> str:
        form = f"scheme and host, {schemes[0]}://host"
        url = secret_url(url)
        check_endpoint(url, insecure=self._insecure, name=name, schemes=schemes, form=form)
        if (bare := _scheme_and_host(url)) is None:
            raise ConfigurationError(
                f"{name}={shown_url(url)!r}: must be {form}, without a path, which the options add"
            )
        return bare

    # --- credentials -------------------------------------------------------------------------------------------------

    async def _authorize(self, method: str, url: str, headers: dict[str, str], body: bytes) -> _Authorization:
        credentials: Credentials = self._credentials or from_environment()
        match credentials:
            case AccessKeys():
                return _sign(credentials, method, url, headers, body)
            case GivenToken():
                return _Authorization({**headers, "X-Auth-Token": credentials.token})
            case IamUser():
                return await self._authorize_with_token(credentials, headers)

    async def _authorize_with_token(self, user: IamUser, headers: dict[str, str]) -> _Authorization:
        source = iam_tokens(user, iam_endpoint=self._iam_url(), project=self._find_region(), network=self.network)
        token = await source.get()

        def refresh(error: AuthenticationError) -> bool:
            return is_stale_token(error) and source.discard(token)

        return _Authorization({**headers, "X-Auth-Token": token.value}, refresh=refresh)

    # --- hot-word tables ---------------------------------------------------------------------------------------------

    async def _call_vocabularies(self, method: str, path: str, body: bytes) -> bytes:
        url = f"{self._base_url()}/asr/vocabularies{path}".replace("ws", "http", 1)
        # sent and signed if there is a body, as in the official SDK
        headers = {**self._given_headers, **({"Content-Type": "application/json"} if body else {})}
        authorize = functools.partial(self._authorize, method, url, headers, body)
        return await with_fresh_credentials(
            await authorize(),
            lambda authorization: self._send(method, url, authorization, body),
            discard=lambda authorization, error: authorization.refresh(error),
            obtain=authorize,
        )

    async def _send(self, method: str, url: str, authorization: _Authorization, body: bytes) -> bytes:
        headers = {**authorization.headers, "User-Agent": USER_AGENT}
        response = await request(method, url, headers=headers, body=body, network=self.network)
        if not 200 <= response.status < 300:
            raise error_from_response(
                response.status,
                response.headers,
                response.body,
                signed_at=authorization.signed_at,
                clock=utc_now,
            )
        return response.body


def _sign(keys: AccessKeys, method: str, url: str, headers: dict[str, str], body: bytes) -> _Authorization:
    if keys.security_token is not None:
        headers = {**headers, "X-Security-Token": keys.security_token}
    now = utc_now()
    return _Authorization(sign(method, url, headers, body, ak=keys.ak, sk=keys.sk, at=now), signed_at=now)


def _checked_options(options: Options) -> Rasr:
    if not isinstance(options, Rasr):
        raise ConfigurationError(
            f"{type(options).__name__} does not belong to Huawei: change the options or the service"
        )
    return options


def _from_environment(name: str, variable: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigurationError(f"no Huawei {name}: set {variable} or pass Huawei({name}=...)")
    return _check_name(variable, value)


def _check_name(name: str, value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ConfigurationError(f"{name}={value!r}: must be 1 to 64 letters, digits, '_' and '-'")
    return value


def _scheme_and_host(url: str) -> str | None:
    """Return the URL of a host; None if it has more than that."""
    parts = urlsplit(url)
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        return None
    return f"{parts.scheme}://{parts.netloc}"
