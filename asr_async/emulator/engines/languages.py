"""Refusals of languages and translations that an engine's model does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .engine import EngineRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .engine import Request

__all__ = ["refuse_other_languages", "refuse_other_languages_than_english", "refuse_translation"]


def refuse_other_languages_than_english(request: Request, name: str) -> None:
    """Refuse a request whose language hints do not include English.

    Raises:
        EngineRefusedError: `unsupported`.
    """
    if not _shares_a_language(request.languages, ("en",)):
        raise EngineRefusedError(
            f"{name} supports English only: the language hints must contain 'en', and are "
            f"{', '.join(request.languages)}; for other languages use Local(Sherpa(folder)) with a model of your own, "
            "or a vendor's service",
            kind="unsupported",
        )


def refuse_other_languages(request: Request, name: str, languages: Sequence[str]) -> None:
    """Refuse a request whose language hints include none of the languages.

    Raises:
        EngineRefusedError: `unsupported`.
    """
    if not _shares_a_language(request.languages, languages):
        raise EngineRefusedError(
            f"{name} recognises {', '.join(languages)} only: the language hints are {', '.join(request.languages)}; "
            "use a model of that language, or a vendor's service",
            kind="unsupported",
        )


def refuse_translation(request: Request, name: str) -> None:
    """Refuse a request for translations.

    Raises:
        EngineRefusedError: `unsupported`.
    """
    if request.translate_to:
        raise EngineRefusedError(
            f"{name} cannot translate (into {', '.join(request.translate_to)}): request recognition only, or use a "
            "vendor's service",
            kind="unsupported",
        )


def _shares_a_language(hints: Sequence[str], languages: Sequence[str]) -> bool:
    """Return True if the hints allow one of the languages; no hints allow any."""
    return not hints or not {_primary(hint) for hint in hints}.isdisjoint(map(_primary, languages))


def _primary(language: str) -> str:
    """Return the language of a tag such as "en-US" or "zh_CN"."""
    return language.lower().replace("_", "-").split("-")[0]
