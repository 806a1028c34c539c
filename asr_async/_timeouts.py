"""How long a session waits for the other side: each wait has a deadline."""

from __future__ import annotations

import msgspec

from .errors import ConfigurationError

__all__ = ["Timeouts"]


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Deadlines in seconds; every wait on the other side has one.

    Raises:
        ConfigurationError: one is not a positive number.
    """

    connect: float = 10.0
    """Credentials, name, TCP, TLS and handshake together."""
    start: float = 10.0
    """Opening the task → the vendor is ready; the vendors' own samples give up after 10 s."""
    idle: float = 20.0
    """No sign of life at all, not even an answer to a ping; also how long a blocked send may take."""
    first_result: float | None = None
    """The first audio of a connection → the first sign that the vendor hears something, until the session has had one.
    None, the default, waits as long as it takes: nobody has to speak, and only the caller knows whether somebody does.
    A connection that is mute for longer counts as lost, so `Retry` and `Fallback` try others before it is an error."""
    finish: float = 10.0
    """After `finish`: without any progress of the results in the audio. A long backlog that is being worked off
    takes as long as it takes; a vendor that never confirms the end does not."""
    translation: float = 5.0
    """How long a final result waits for the final translation into each language that was asked for. It is given out
    earlier when all of them are there, when a later segment's translation is final, or at the end of the session; see
    `Result.translations`."""
    close: float = 5.0
    """The closing handshake."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if name == "first_result" and value is None:
                continue
            if not isinstance(value, int | float) or not value > 0:
                raise ConfigurationError(f"Timeouts({name}={value!r}): must be a positive number of seconds")
