"""The texts in which objects and exceptions are shown: by `repr`, by tools that show local variables, by pickles."""

from __future__ import annotations

import copy
import io
import pickle
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import rich
from rich.console import Console
from rich.traceback import Traceback

from .paths import PACKAGE

__all__ = ["error_texts", "object_texts"]


def _rich_text(*renderables: Any) -> str:
    file = io.StringIO()
    Console(file=file, width=500, force_terminal=False).print(*renderables)
    return file.getvalue()


def _inspected(value: Any) -> str:
    file = io.StringIO()
    console = Console(file=file, width=500, force_terminal=False)
    rich.inspect(value, console=console, private=True, dunder=False, docs=False)
    return file.getvalue()


def _pickled(value: Any, protocol: int) -> str:
    try:
        return pickle.dumps(value, protocol).decode("latin-1")
    except Exception as error:  # noqa: BLE001 - refusing is allowed, with a text that shows nothing either
        return str(error)


def object_texts(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the way and the text of each way to show an object."""
    yield "str", str(value)
    yield "repr", repr(value)
    yield "repr of a copy", repr(copy.copy(value))
    yield "rich.print", _rich_text(value)
    yield "rich.print of a list", _rich_text([value])
    yield "rich.inspect", _inspected(value)
    yield "attributes", repr(getattr(value, "__dict__", None))
    yield "fields", repr(msgspec.structs.asdict(value) if isinstance(value, msgspec.Struct) else None)
    yield "a group of exceptions", _grouped(value)
    for protocol in (0, 2, pickle.HIGHEST_PROTOCOL):
        yield f"pickle, protocol {protocol}", _pickled(value, protocol)


def _from_the_package(error: BaseException) -> BaseException:
    """Remove the frames of the tests at the top of the traceback: their local variables are the tests' own."""
    frames = error.__traceback__
    while frames is not None and not frames.tb_frame.f_code.co_filename.startswith(str(PACKAGE)):
        frames = frames.tb_next
    return error.with_traceback(frames)


def _rich_traceback(error: BaseException, **options: Any) -> str:
    shown = Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True, **options)
    return _rich_text(shown)


def _pytest_report(error: BaseException) -> str:
    info: pytest.ExceptionInfo[BaseException] = pytest.ExceptionInfo.from_exception(error)
    return str(info.getrepr(showlocals=True, style="long", truncate_locals=False))


ERROR_TEXTS: dict[str, Callable[[BaseException], str]] = {
    "traceback": lambda error: "".join(traceback.format_exception(error)),
    "traceback with locals": lambda error: "".join(
        traceback.TracebackException.from_exception(error, capture_locals=True).format()
    ),
    "rich traceback with locals": _rich_traceback,
    "rich traceback with whole locals": lambda error: _rich_traceback(
        error, locals_max_length=None, locals_max_string=None, locals_hide_dunder=False
    ),
    "pytest -l": _pytest_report,
}


def _grouped(value: Any) -> str:
    """Return the traceback of a group that holds an exception; empty for another value."""
    if not isinstance(value, Exception):
        return ""
    return "".join(traceback.format_exception(ExceptionGroup("several", [value])))


def error_texts(error: BaseException) -> Iterator[tuple[str, str]]:
    """Yield the way and the text of each way to show an exception."""
    _from_the_package(error)
    chain: BaseException | None = error
    while chain is not None:
        yield from object_texts(chain)
        yield "attributes", repr(vars(chain))
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
    if error.__traceback__ is not None:
        for way, render in ERROR_TEXTS.items():
            yield way, render(error)
