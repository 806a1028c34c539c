"""The command line `asr-async`.

Importing this package loads only the library. `main()` loads click and rich, the extra `cli`, and prints how to
install them if they are missing. The modules:

- `entry_point`: `main()`, the console script
- `app`: the group of commands
- `transcribe`, `models`, `serve`: one command each
- `model_options`: values of `--option KEY=VALUE`
- `transcript_formats`: the transcript as text, JSON lines or subtitles
- `outputs`: standard output and files
- `display`: the live display on standard error
- `exit_status`: the exit status, Ctrl-C and closed pipes
"""

from .entry_point import main

__all__ = ["main"]
