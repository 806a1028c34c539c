"""Shrinking: a conversation that breaks a rule, reduced to few steps with few members that still break it.

Does not know rules or codecs: `fails` returns True if a shorter conversation still breaks a rule.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from .conversations import Act
from .mutations import Step

__all__ = ["from_text", "shrink", "to_text"]

Fails = Callable[[list[Step]], bool]


def shrink(steps: list[Step], fails: Fails, *, max_tries: int = 2_000) -> list[Step]:
    """Return a conversation that cannot be reduced by one step or one member, or as far as the tries go."""
    budget = _Budget(fails, max_tries)
    steps = _without_steps(steps, budget)
    for index in range(len(steps)):
        if isinstance(steps[index], str):
            steps = _with_smaller_message(steps, index, budget)
    return _without_steps(steps, budget)


class _Budget:
    def __init__(self, fails: Fails, tries: int) -> None:
        self._fails = fails
        self._tries = tries

    def fails(self, steps: list[Step]) -> bool:
        self._tries -= 1
        return self._tries >= 0 and self._fails(steps)


def _without_steps(steps: list[Step], budget: _Budget) -> list[Step]:
    size = len(steps)
    while size:
        first = 0
        while first < len(steps):
            shorter = steps[:first] + steps[first + size :]
            if budget.fails(shorter):
                steps = shorter
            else:
                first += size
        size //= 2
    return steps


def _with_smaller_message(steps: list[Step], index: int, budget: _Budget) -> list[Step]:
    while True:
        for smaller in _smaller(steps[index]):
            candidate = [*steps[:index], smaller, *steps[index + 1 :]]
            if budget.fails(candidate):
                steps = candidate
                break
        else:
            return steps


def _smaller(message: Step) -> Iterator[str]:
    """Yield the message without each of its members and items; nothing if it is no JSON."""
    try:
        tree = json.loads(str(message))
    except (ValueError, RecursionError):
        return
    for path in _paths(tree, ()):
        copy = json.loads(str(message))
        node = copy
        for key in path[:-1]:
            node = node[key]
        del node[path[-1]]
        yield json.dumps(copy, ensure_ascii=False, separators=(",", ":"))


def _paths(node: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in list(keys)[:50]:
        yield (*path, key)
    for key in list(keys)[:50]:
        yield from _paths(node[key], (*path, key))


def to_text(steps: list[Step]) -> str:
    """Return a conversation as lines: one message or step of the client each."""
    return "\n".join(_line(step) for step in steps)


def _line(step: Step) -> str:
    if isinstance(step, Act):
        return step.value
    if isinstance(step, bytes):
        return f"<bytes {step.hex()}"
    return "<json " + json.dumps(step) if "\n" in step or step.startswith("<") or not step.isprintable() else step


def from_text(text: str) -> list[Step]:
    """Return the conversation of such lines."""
    steps: list[Step] = []
    for line in text.splitlines():
        if line.startswith("<bytes "):
            steps.append(bytes.fromhex(line.removeprefix("<bytes ")))
        elif line.startswith("<json "):
            steps.append(json.loads(line.removeprefix("<json ")))
        else:
            steps.append(Act(line) if line.startswith("<") else line)
    return steps
