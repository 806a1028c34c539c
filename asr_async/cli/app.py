"""The group of commands."""

from __future__ import annotations

import click

from .. import __version__
from .batch import batch
from .completion import completion
from .doctor import doctor
from .mic import mic
from .models import models
from .serve import serve
from .transcribe import transcribe
from .wyoming import wyoming

__all__ = ["app"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def app() -> None:
    """Streaming speech recognition with the models of a vendor or with the embedded recogniser.

    Exit status: 0 success, 1 recognition failed, or audio is missing from a transcript (all results are
    written, and a note on standard error says what is missing), 2 wrong use, 130 Ctrl-C.
    """


app.add_command(transcribe)
app.add_command(batch)
app.add_command(mic)
app.add_command(models)
app.add_command(serve)
app.add_command(wyoming)
app.add_command(doctor)
app.add_command(completion)
