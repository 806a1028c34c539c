"""The state machine of one emulated connection: a table of transitions and a timeout per state.

Knows no protocol: each protocol supplies its states, its steps and its table, and decides which error a client receives
for a step that the table does not allow.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Lifecycle"]

_State = TypeVar("_State", bound=enum.Enum)
_Step = TypeVar("_Step", bound=enum.Enum)


class Lifecycle(Generic[_State, _Step]):
    """The present state of a connection, and the steps that lead out of it."""

    __slots__ = ("_client_timeouts_s", "_transitions", "state")

    def __init__(
        self,
        initial: _State,
        transitions: Mapping[tuple[_State, _Step], _State],
        client_timeouts_s: Mapping[_State, float],
    ) -> None:
        self.state: _State = initial
        self._transitions = transitions
        self._client_timeouts_s = client_timeouts_s

    def __repr__(self) -> str:
        return f"<Lifecycle {self.state.value}>"

    @property
    def client_timeout_s(self) -> float | None:
        """The longest silence of the client in this state; None if the server does not wait for the client."""
        return self._client_timeouts_s.get(self.state)

    def allows(self, step: _Step) -> bool:
        """Return True if the table allows this step in the present state."""
        return (self.state, step) in self._transitions

    def advance(self, step: _Step) -> None:
        """Enter the state that this step leads to; the step must be allowed."""
        self.state = self._transitions[self.state, step]
