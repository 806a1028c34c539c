"""`python -m asr_async`: the same as the console script `asr-async`."""

from .cli import main

if __name__ == "__main__":
    main()
