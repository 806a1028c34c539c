"""The removal of secrets from texts of others, in each form in which they may come back."""

from __future__ import annotations

import base64
import html
import json
import re
from urllib.parse import quote

import pytest

from asr_async._text.redaction import Redactor

SECRETS = ["sk-0123456789abcdef", 'pass"word<&>/\\+%41', "p\u00e4ss w\u00f6rter", "hunter&abc", "x" * 200]


def forms_of(secret: str) -> list[str]:
    once = json.dumps(secret)[1:-1]
    return [
        secret,
        once,
        json.dumps(once)[1:-1],
        json.dumps(secret).replace("/", "\\/")[1:-1],
        quote(secret, safe=""),
        html.escape(secret),
        "".join(f"&#{ord(character)};" for character in secret),
        "".join(f"&#x{ord(character):x};" for character in secret),
        "".join(f"\\u{ord(character):04X}" for character in secret),
        base64.b64encode(secret.encode()).decode(),
        base64.urlsafe_b64encode(f"user:{secret}".encode()).decode(),
    ]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_masked_in_every_form_and_the_text_around_it_stays(secret: str) -> None:
    redactor = Redactor({secret})
    for form in forms_of(secret):
        for before, behind in (("", ""), ('the key "', '" is wrong'), ("50\u202f% \\n &lt;", " <br> \\u00e9")):
            text = f"{before}{form}{behind}"
            assert redactor.finds(text), text
            masked = redactor.text(text)
            assert masked.startswith(before)
            assert masked.endswith(behind)
            assert "***" in masked
            assert len(masked) <= len(before) + len(behind) + len("***") + 8, masked  # the base64 of "user:"


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_that_the_end_of_the_text_cuts_off_is_masked(secret: str) -> None:
    text = f"refused: {secret[:9]}"
    assert Redactor({secret}).text(f'{text}"\u2026').startswith("refused: ***")
    assert Redactor({secret}).text(f"{text} is wrong") == f"{text} is wrong"  # not at the end, it may be another text


@pytest.mark.parametrize(
    "text", ["", "nothing", "50 % of \\u0041 &amp; &unknown; %zz %C3%28", "sk-01234 and sk-0123456789abcde_"]
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    redactor = Redactor({"sk-0123456789abcdef"})
    assert not redactor.finds(text)
    assert redactor.text(text) == text


def test_several_secrets_are_masked_also_where_one_contains_another() -> None:
    redactor = Redactor({"Bearer abcdefgh", "abcdefgh", "short"})
    assert redactor.text("a Bearer abcdefgh, abcdefgh; short") == "a ***, ***; short"


def test_bytes_of_any_encoding_are_kept() -> None:
    assert Redactor({"abcdefgh"}).bytes(b"\xff\xfe abcdefgh \x80") == b"\xff\xfe *** \x80"


def test_a_redactor_compiles_no_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each connection of Huawei has another signature, and is lost in the event loop."""
    monkeypatch.setattr(re, "compile", None)
    assert Redactor({"abcdefgh"}).text("abcdefgh") == "***"
