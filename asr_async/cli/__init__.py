"""The command line `asr-async`.

Importing this package loads only the library. `main()` loads click and rich, the extra `cli`, and prints how to
install them if they are missing. The modules:

- `entry_point`: `main()`, the console script
- `app`: the group of commands
- `transcribe`, `batch`, `mic`, `models`, `serve`, `doctor`, `completion`: one command each
- `checks`: what `doctor` checks
- `inputs`: files, folders, patterns, pipes and standard input
- `session_options`: the options that choose the model and the service
- `output_options`: the options that choose the output and its format
- `model_options`: values of `--option KEY=VALUE`
- `transcript_formats`: the transcript as text, JSON or subtitles
- `outputs`: standard output and files
- `display`: the screen: standard error, and the rows that a terminal shows
- `transcription`: the transcription of one source, its notes and its summary
- `batch_run`: `transcribe --resume`, a run that can be continued
- `interruption`: Ctrl-C in two steps
- `exit_status`: the exit status, and closed pipes
"""

from .entry_point import main

__all__ = ["main"]
