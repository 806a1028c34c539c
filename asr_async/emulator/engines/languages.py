"""Refusals of languages and translations that an engine's model does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .engine import EngineRefusedError

if TYPE_CHECKING:
    from .engine import Request

__all__ = ["refuse_other_languages_than_english", "refuse_translation"]


def refuse_other_languages_than_english(request: Request, name: str) -> None:
    """Refuse a request whose language hints do not include English.

    Raises:
        EngineRefusedError: `unsupported`.
    """
    if request.languages and not any(_is_english(language) for language in request.languages):
        raise EngineRefusedError(
            f"{name} supports English only: the language hints must contain 'en', and are "
            f"{', '.join(request.languages)}; for other languages use Local(Sherpa(folder)) with a model of your own, "
            "or a vendor's service",
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


def _is_english(language: str) -> bool:
    return language.lower().replace("_", "-").split("-")[0] == "en"
