"""The checks of `asr-async doctor`: what is installed, which keys are set, and whether the services can be reached.

A check returns findings and raises nothing that is expected. No finding holds a key. Does not know terminals.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import importlib.metadata
import os
import platform
import re
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from .. import ASRError, AudioFormat, ConfigurationError, Local, __version__, microphone, preflight
from .._net.proxy import environment_proxy
from .._net.tls import default_context
from .._net.websocket import WebSocket
from .._text.lines import one_line
from .._text.redaction import Redactor, secrets_of
from ..config import Limits, Timeouts
from ..sources.source import close_iterator
from .display import decibels

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from .. import Microphone
    from ..vendors import Vendor
    from ..vendors.options import Options
    from ..vendors.service import Endpoint

__all__ = [
    "Finding",
    "check_endpoint",
    "check_engine",
    "check_extras",
    "check_file",
    "check_keys",
    "check_microphone",
    "check_recognisers",
    "check_redis",
    "check_versions",
    "resolve",
]

State = Literal["good", "note", "warning", "failed"]

CHECK_SECONDS = 10.0
"""The deadline of each step over the network."""

MAX_CLOCK_SKEW_S = 60.0
"""Signatures and certificates depend on the time; the vendors accept some minutes."""

RECORD_MS = 1_000
"""The length of the recording that measures the microphone."""

_STATES: dict[str, State] = {"error": "failed", "warning": "warning", "note": "note"}

DISTRIBUTION = "asr-async"
LIBRARIES = ("aiohttp", "anyio", "msgspec", "websockets")

_REQUIREMENT = re.compile(r"""([\w.-]+).*\bextra\s*==\s*["']([\w-]+)["']""")


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    state: State
    subject: str
    text: str


# --- what is installed ------------------------------------------------------------------------------------------------


def check_versions() -> Iterator[Finding]:
    """Yield the versions of this package, of Python and of the libraries it needs."""
    yield Finding("good", DISTRIBUTION, __version__)
    yield Finding("good", "Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    versions = [f"{name} {_version(name) or 'is missing'}" for name in LIBRARIES]
    yield Finding("good", "libraries", ", ".join(versions))


def check_extras() -> Iterator[Finding]:
    """Yield the extras of this package, with the versions of their libraries, or the command that installs them."""
    try:
        requirements = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding("note", "extras", f"not known: {DISTRIBUTION} runs from its source and is not installed")
        return
    libraries: dict[str, dict[str, str | None]] = {}
    for match in filter(None, map(_REQUIREMENT.match, requirements)):
        name, extra = match.groups()
        libraries.setdefault(extra, {})[name] = _version(name)
    for extra, versions in libraries.items():
        missing = [name for name, version in versions.items() if version is None]
        if missing and extra != "all":
            yield Finding("note", extra, f"not installed: pip install '{DISTRIBUTION}[{extra}]'")
        elif extra != "all":
            yield Finding("good", extra, ", ".join(f"{name} {version}" for name, version in versions.items()))


def check_recognisers() -> Iterator[Finding]:
    """Yield the recognisers of this machine, the best one first, and the one that `--service local` uses."""
    from ..emulator import Moonshine, PocketSphinx, Sherpa  # noqa: PLC0415 - most commands need no emulator

    for name, reason, text in (
        ("moonshine", Moonshine.missing(), "installed"),
        ("pocketsphinx", PocketSphinx.missing(), "installed"),
        ("sherpa:FOLDER", Sherpa.missing(), "installed; the folder is that of a model of yours (--engine)"),
    ):
        yield Finding("good", name, text) if reason is None else Finding("note", name, reason)
    try:
        yield Finding("good", "--service local", Local().recogniser)
    except ConfigurationError as error:
        yield Finding("note", "--service local", str(error))


async def check_engine(name: str) -> Finding:
    """Start a recogniser of this machine, which loads a model from a folder."""
    from ..emulator.engines.installed import choose_engine  # noqa: PLC0415 - as above

    began_at = time.perf_counter()
    try:
        choice = choose_engine(name)
        async with choice.engine:
            return Finding("good", "--engine", f"{choice.description} starts {_since(began_at)}")
    except ConfigurationError as error:
        return Finding("failed", "--engine", one_line(str(error)))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


# --- keys -------------------------------------------------------------------------------------------------------------


def check_keys(vendor: Vendor) -> Iterator[Finding]:
    """Yield a finding for each variable of a vendor's credentials and address, or for the file in place of them.

    Values are masked; those of a file are not shown at all.
    """
    for name in vendor.key_variables:
        value = os.environ.get(name, "")
        if not value.strip():
            yield _key_of_file(vendor, name)
        elif value != value.strip() or value[0] in "\"'":
            yield Finding("warning", name, "has blanks or quotes around it, which are not part of a key")
        else:
            yield Finding("good", name, _masked(value))
    if vendor.address_variable:
        is_set = bool(os.environ.get(vendor.address_variable, "").strip())
        yield Finding("good" if is_set else "note", vendor.address_variable, "set" if is_set else "not set")


def _key_of_file(vendor: Vendor, variable: str) -> Finding:
    try:
        source = vendor.other_key_source()
    except ConfigurationError as error:
        return Finding("failed", variable, f"not set; {one_line(str(error))}")
    return Finding("good", variable, f"not set; key of {source}") if source else Finding("note", variable, "not set")


def _masked(value: str) -> str:
    """Return the kind of a key and its length; the rest of it stays secret."""
    prefix = re.match(r"(sk|st)-", value)
    return f"{prefix[0] if prefix else ''}*** ({len(value)} characters)"


# --- the network ------------------------------------------------------------------------------------------------------


async def check_endpoint(endpoint: Endpoint) -> AsyncIterator[Finding]:
    """Yield the time of each step to an open WebSocket, and the difference of the clocks.

    The steps are tried one after the other on connections of their own; the last one is what a session does, so its
    error is the session's.
    """
    parts = urlsplit(endpoint.url)
    host, is_secure = parts.hostname or "", parts.scheme == "wss"
    port = parts.port or (443 if is_secure else 80)
    proxy = environment_proxy(parts.scheme, host, port)
    if proxy is None:
        async for finding in _check_steps(host, port, is_secure=is_secure):
            yield finding
    else:
        yield Finding("good", "proxy", f"{endpoint.host} is reached through {proxy.address}")
    yield await _check_handshake(endpoint)


async def _check_steps(host: str, port: int, *, is_secure: bool) -> AsyncIterator[Finding]:
    """Yield DNS, TCP, TLS and the clock; end at the first step that fails."""
    with _failure() as failure:
        async with asyncio.timeout(CHECK_SECONDS):
            began_at = time.perf_counter()
            addresses = await asyncio.get_running_loop().getaddrinfo(host, port, type=1)  # SOCK_STREAM
            found = list(dict.fromkeys(address[4][0] for address in addresses))
            yield Finding("good", "DNS", f"{host} is {', '.join(map(str, found[:3]))} {_since(began_at)}")
            began_at = time.perf_counter()
            reader, writer = await asyncio.open_connection(str(found[0]), port)
            yield Finding("good", "TCP", f"port {port} {_since(began_at)}")
            with contextlib.closing(writer):
                if is_secure:
                    began_at = time.perf_counter()
                    await writer.start_tls(default_context(), server_hostname=host)
                    tls = writer.get_extra_info("ssl_object")
                    yield Finding("good", "TLS", f"{tls.version()}, {_expiry(tls)} {_since(began_at)}")
                yield await _check_clock(reader, writer, host)
    if failure:
        yield Finding("failed", "connection", failure[0])


@contextlib.contextmanager
def _failure() -> Iterator[list[str]]:
    """Yield a list, which gets the text of an expected error."""
    failure: list[str] = []
    try:
        yield failure
    except TimeoutError:
        failure.append(f"nothing came within {CHECK_SECONDS:g} s: is there a firewall, or a proxy to be used?")
    except ssl.SSLCertVerificationError as error:
        failure.append(f"the certificate is not trusted ({error.verify_message}): set SSL_CERT_FILE to the right ones")
    except (OSError, EOFError) as error:
        failure.append(one_line(str(error)))


async def _check_clock(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> Finding:
    """Compare this machine's clock with that of the server, in the date of an HTTP response."""
    writer.write(f"HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    head = await reader.read(16_384)
    date = re.search(rb"\r\ndate:\s*([^\r\n]+)", head, re.IGNORECASE)
    try:
        skew_s = time.time() - email.utils.parsedate_to_datetime(date[1].decode()).timestamp() if date else None
    except ValueError:
        skew_s = None
    if skew_s is None:
        return Finding("note", "clock", "the server does not say what time it is")
    if abs(skew_s) > MAX_CLOCK_SKEW_S:
        text = f"this machine's clock is {abs(skew_s):.0f} s {'ahead' if skew_s > 0 else 'behind'}: set it"
        return Finding("warning", "clock", text)
    return Finding("good", "clock", f"differs from the server's by less than {int(abs(skew_s)) + 1} s")


async def _check_handshake(endpoint: Endpoint) -> Finding:
    began_at = time.perf_counter()
    timeouts = Timeouts()
    try:
        connection = await WebSocket.connect(endpoint, connect_s=CHECK_SECONDS, idle_s=CHECK_SECONDS, close_s=1)
    except ASRError as error:
        return Finding("failed", "handshake", one_line(str(error)))
    elapsed = _since(began_at)
    async with asyncio.timeout(timeouts.close + 1):
        await connection.close()
    return Finding("good", "handshake", f"{endpoint.host} accepts the connection {elapsed}")


def _expiry(tls: ssl.SSLObject) -> str:
    certificate = tls.getpeercert() or {}
    expires = str(certificate.get("notAfter", ""))
    return f"certificate until {expires}" if expires else "no certificate"


def _since(began_at: float) -> str:
    return f"({(time.perf_counter() - began_at) * 1000:.0f} ms)"


async def check_redis(url: str) -> Finding:
    """Return whether the limits of several processes can be shared at a Redis server."""
    try:
        import redis.asyncio  # noqa: PLC0415 - an optional dependency
    except ImportError:
        return Finding("failed", "Redis", f"not installed: pip install '{DISTRIBUTION}[redis]'")
    try:
        Limits(shared=url)
    except ConfigurationError as error:
        return Finding("failed", "Redis", str(error))
    began_at = time.perf_counter()
    host = urlsplit(url).hostname
    try:
        async with asyncio.timeout(CHECK_SECONDS), redis.asyncio.from_url(url) as server:
            version = (await server.info("server"))["redis_version"]
    except (redis.exceptions.RedisError, OSError, ValueError) as error:
        reason = Redactor({url, *secrets_of(url, {})}).text(str(error))
        return Finding("failed", "Redis", one_line(f"{host}: {type(error).__name__}: {reason}"))
    return Finding("good", "Redis", f"{host} has version {version} {_since(began_at)}")


# --- sound ------------------------------------------------------------------------------------------------------------


async def check_microphone() -> Finding:
    """Record for a moment, and return how loud it was; a machine needs no microphone."""
    source = microphone()
    peak = 0.0
    try:
        await source.preflight(AudioFormat())
        async with contextlib.aclosing(_recording(source)) as levels:
            async for level in levels:
                peak = max(peak, level)
    except (ASRError, OSError) as error:
        return Finding("note", "microphone", one_line(str(error)))
    if not peak:
        return Finding("warning", "microphone", "records silence: is it muted, or may this program not use it?")
    return Finding("good", "microphone", f"peak at {decibels(peak):.0f} dB in {RECORD_MS / 1000:g} s")


async def _recording(source: Microphone) -> AsyncGenerator[float, None]:
    """Yield the level of each block of a short recording."""
    recorded_bytes, iterator = 0, aiter(source)
    try:
        while recorded_bytes < AudioFormat().to_bytes(RECORD_MS):
            recorded_bytes += len(await anext(iterator))
            yield source.level
    finally:
        await close_iterator(iterator)


async def check_file(path: str, options: Options) -> AsyncIterator[Finding]:
    """Yield what a file is, and what is wrong with it for a model."""
    report = await preflight(path, options)
    if report.summary:
        yield Finding("good", "format", report.summary)
    for found in report.findings:
        yield Finding(_STATES[found.level], found.kind.replace("_", " "), f"{found.text}: {found.fix}")


async def resolve(vendor: Vendor, options: Options, endpoint: str | None) -> Endpoint | Finding:
    """Return the endpoint of a vendor's service, or the reason why there is none."""
    try:
        service = vendor.service() if endpoint is None else vendor.service(endpoint=endpoint)
        async with asyncio.timeout(CHECK_SECONDS):
            found: Endpoint = await service.resolve(options)
    except (ASRError, OSError) as error:
        return Finding("failed", "credentials", one_line(str(error)))
    return found
