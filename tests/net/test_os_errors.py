"""Errors of the system and of OpenSSL as errors of this library: the text, and the advice where there is any."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from asr_async._net.os_errors import connect_error

FILE_OR_CONTEXT = "; name the file of its certificate authority in SSL_CERT_FILE or ssl_context="
INSPECTION = "; a proxy that inspects TLS has an authority of its own"


def untrusted(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, message
    return error


def broken(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, "broken")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "text", "retryable"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "cannot reach asr.example: Connection refused", True),
        (OSError("no number"), "cannot reach asr.example: no number", True),
        (OSError(), "cannot reach asr.example: OSError", True),
        (
            socket.gaierror(socket.EAI_NONAME, "x"),
            "cannot find the host asr.example: check the endpoint and the network",
            True,
        ),
        (broken("WRONG_VERSION_NUMBER"), "no TLS connection to asr.example: wrong version number", True),
        (
            untrusted(10, "certificate has expired"),
            "the certificate of asr.example is not trusted: certificate has expired",
            False,
        ),
    ],
)
def test_an_error_of_the_system_is_reported_with_its_reason(error: OSError, text: str, retryable: bool) -> None:
    made = connect_error("asr.example", error)
    assert str(made) == text
    assert made.retryable is retryable


@pytest.mark.parametrize("code", [18, 19, 20, 21])
@pytest.mark.parametrize(
    ("platform", "advice"),
    [
        ("linux", f"{FILE_OR_CONTEXT}{INSPECTION}"),
        ("darwin", f"{FILE_OR_CONTEXT}, or run Python's 'Install Certificates.command'{INSPECTION}"),
    ],
)
def test_an_unknown_authority_comes_with_advice_for_the_platform(
    monkeypatch: pytest.MonkeyPatch, platform: str, advice: str, code: int
) -> None:
    monkeypatch.setattr("sys.platform", platform)
    made = connect_error("asr.example", untrusted(code, "unknown issuer"))
    assert str(made) == f"the certificate of asr.example is not trusted: unknown issuer{advice}"
