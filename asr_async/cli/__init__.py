"""The command line `asr-async`.

Importing this needs nothing but the library; `main()` loads click and rich, the extra `cli`, and says so if
they are not there. Where what lives: `app` the group of commands, `transcribe` and `serve` one command each,
`options` reads `--option`, `outputs` and `formats` write the transcript, `live` shows it while it grows,
`status` ends the process.
"""

from .entry import main

__all__ = ["main"]
