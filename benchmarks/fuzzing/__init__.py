"""Parts of `fuzz.py`: well-formed conversations of all protocols, their mutation, the rules, and the shrinking.

`conversations` makes the messages of one vendor task, and reads from a message which final it must cause; it is written
from the vendors' documents and imports nothing of the codecs. `mutations` damages messages and their order. `rules`
checks the events of a codec or a session. `codecs` and `sessions` run conversations through the two, and `shrinking`
reduces one that breaks a rule.
"""
