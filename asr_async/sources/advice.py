"""Commands of ffmpeg for error texts and reports, quoted so that they can be pasted into a shell."""

from __future__ import annotations

import re
import shlex
from pathlib import PurePath

from .._text.lines import UNPRINTABLE

__all__ = ["ffmpeg_command", "shell_quoted"]


def ffmpeg_command(
    path: str, *, sample_rate: int | None = None, input_options: str = "", options: str = "", suffix: str = ""
) -> str:
    """Return the command that converts a file to a mono WAV file beside it.

    Args:
        path: the file, as the caller named it.
        sample_rate: the rate of the new file in Hz; None keeps that of the file.
        input_options: options of ffmpeg in front of the file.
        options: options in front of the new file.
        suffix: the end of the name of the new file.
    """
    source = PurePath(path)
    suffix = suffix or (".mono.wav" if sample_rate is None else f".{sample_rate // 1000}k.wav")
    target = str(source.with_name(f"{source.stem or 'audio'}{suffix}"))
    rate = "" if sample_rate is None else f"-ar {sample_rate}"
    parts = ["ffmpeg", input_options, "-i", _argument(path), options, rate, "-ac 1 -c:a pcm_s16le", _argument(target)]
    return " ".join(filter(None, parts))


def _argument(path: str) -> str:
    """Return a path for ffmpeg, which takes a dash for an option and a colon for a protocol."""
    if path.startswith("-"):
        path = f"./{path}"
    return shell_quoted(f"file:{path}" if ":" in path else path)


def shell_quoted(text: str) -> str:
    """Return a text as one word for a shell; with `$'...'`, as bash and zsh have it, if it has unprintable bytes."""
    if not UNPRINTABLE.search(text):
        return shlex.quote(text)
    escaped = text.replace("\\", r"\\").replace("'", r"\'")
    return f"$'{UNPRINTABLE.sub(_escape, escaped)}'"


def _escape(match: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in match[0].encode("utf-8", "surrogateescape"))
