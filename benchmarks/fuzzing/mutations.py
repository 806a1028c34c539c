"""Mutations of a conversation: of its order and its ids, of the members of a message, and of a message's text.

Everything is drawn from one random generator, so that a seed gives the same messages in every run. Values that no JSON
writer produces (NaN, four hundred digits, half a surrogate pair) are inserted as raw text. Does not know protocols.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec

from .conversations import Act, Draft

__all__ = ["Step", "encode", "mutate", "shift"]

Step = str | bytes | Act
"""A message of the vendor, or a step of the client."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_Raw = msgspec.Raw

ID_NAMES = frozenset({"sentence_id", "item_id", "id", "task_id", "trace_id"})
TIME_NAMES = frozenset(
    {"begin_time", "end_time", "start_time", "current_time", "timestamp", "audio_start_ms", "audio_end_ms"}
    | {"start", "end", "partial_start_ms", "duration_ms"}
)

HEADER_NAMES = frozenset({"header", "type", "resp_type", "trace_id", "task_id", "event", "mode"})
"""Members that name the kind of a message."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, -40, 99, 2**31, 2**53 + 1, 2**63, 2**64 - 1, 10**9, 10**9 + 1, -(10**17)),
    *(0.0, 0.5, 1.5, -0.0, 100.5, 1e308, -1e308, 5e-324),
    *("", " ", "0", "3", "-1", "1e5", "nan", "Infinity", "true", "yes", "null", "9" * 400, "٣", "w0", "w1 w2", "好"),
    *("\ufeff", "\u202e\x1b[31m\r\n", "\u0000", "e\u0301" * 40, "x" * 500),
    *([], {}, [None], [{}], {"a": 1}, [[[]]], [1, "2", 3.0], {"text": "w0"}, {"": ""}, [[{"text": []}]]),
)
"""Values of every type, absurd ones first of all."""

RAW_VALUES: tuple[bytes, ...] = (
    *(b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e999999", b"-0", b"1E5", b"1e" + b"9" * 300),
    *(b"1" * 19, b"1" * 400, b"-" + b"9" * 400, b"0." + b"1" * 500, b"1" * 4000),
    *(b'"\\ud800"', b'"\\udc00 w0"', b'"\\ud800\\ud800"', b'"\\ud83d\\ude00"', b'"\\u0000"', b'"\x00\x1f"'),
    *(b"[" * 40 + b"]" * 40, b'{"a":' * 40 + b"1" + b"}" * 40, b"[" * 40 + b"{}" + b"]" * 40),
)
"""Values that lenient JSON readers accept and strict ones may not, as the text of a message has them."""

BROKEN_VALUES: tuple[bytes, ...] = (b"00", b"0x10", b"1_000", b"'x'", b'"\\x"', b"", b",", b"}", b'"', b"[", b"nul")
"""Values that make a message unreadable."""

HUGE_VALUES: tuple[bytes, ...] = (
    *(
        b"[" * 1_000 + b"]" * 1_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b"[" * 200_000,
        b'"' + b"w" * 300_000 + b'"',
    ),
    *(b"[" + b"{}," * 20_000 + b"{}]", b"[" + b"1," * 150_000 + b"1]", b'"' + b"\\ud800" * 20_000 + b'"'),
    *(
        b"1" * 100_000,
        b"[" + b'{"text":"w","begin_time":"x"},' * 3_000 + b"{}]",
        b'{"a":[{' + b'"b":"[{",' * 9_000 + b'"c":1}]}',
    ),
)
"""Values that cost time: the depth, the number of values, and the length that a server may choose."""

TEXTS: tuple[str, ...] = ("", " ", "null", "[]", "{}", '""', "0", "NaN", "[{}]", '{"header":', "\ufeff{}", "﷽" * 100)

HUGE_SHARE = 0.0005
"""The share of damaged members that become one of the huge values."""


def mutate(drafts: list[Draft], rng: random.Random, foreign: list[dict[str, Any]], rate: float) -> list[Step]:
    """Return the steps of a conversation after some mutations.

    Args:
        drafts: the conversation; its messages are changed in place.
        rng: decides everything.
        foreign: messages that do not belong into the conversation.
        rate: the share of the messages with changed members.
    """
    for _ in range(rng.choice((0, 0, 1, 1, 2, 4))):
        rng.choice(_ORDER_MUTATIONS)(drafts, rng, foreign)
    steps: list[Step] = []
    for draft in drafts:
        if isinstance(draft, Act):
            steps.append(draft)
            continue
        # a message may stand in the list twice, and is encoded before it is changed again
        while rng.random() < rate:
            _change_member(draft, rng)
        text = _encode(draft).decode()
        steps.append(_change_text(text, rng) if rng.random() < rate / 20 else text)
    return steps


def encode(draft: Draft) -> Step:
    """Return a message as its text."""
    return draft if isinstance(draft, Act) else _encode(draft).decode()


def shift(drafts: list[Draft], *, ids: int, ms: int) -> None:
    """Move a conversation to a later part of a task: other ids, later times."""
    for draft in drafts:
        if not isinstance(draft, Act):
            _change_named(draft, TIME_NAMES, lambda old: old + ms if type(old) is int else old)
            _change_named(draft, ID_NAMES - {"task_id", "trace_id"}, lambda old: _later_id(old, ids))


def _later_id(old: Any, by: int) -> Any:
    return old + by if type(old) is int else f"{old}_{by}"


# --- order and ids ---------------------------------------------------------------------------------------------------

Drafts = list[Draft]
Foreign = list[dict[str, Any]]


def _copied(draft: Any) -> Any:
    return draft if isinstance(draft, Act) else _decode(_encode(draft))


def _repeat(drafts: Drafts, rng: random.Random, _foreign: Foreign) -> None:
    index = rng.randrange(len(drafts))
    drafts.insert(index if rng.random() < 0.5 else rng.randrange(len(drafts) + 1), _copied(drafts[index]))


def _repeat_often(drafts: Drafts, rng: random.Random, _foreign: Foreign) -> None:
    index = rng.randrange(len(drafts))
    drafts[index:index] = [_copied(drafts[index]) for _ in range(rng.choice((2, 5, 100)))]


def _drop(drafts: Drafts, rng: random.Random, _foreign: Foreign) -> None:
    del drafts[rng.randrange(len(drafts))]
    if not drafts:
        drafts.append(Act.AUDIO)


def _move(drafts: Drafts, rng: random.Random, _foreign: Foreign) -> None:
    drafts.insert(rng.randrange(len(drafts)), drafts.pop(rng.randrange(len(drafts))))


def _move_to_end(drafts: Drafts, rng: random.Random, _foreign: Foreign) -> None:
    drafts.append(drafts.pop(rng.randrange(len(drafts))))


def _move_to_start(drafts: Drafts, rng: random.Random, _foreign: Foreign) -> None:
    drafts.insert(0, drafts.pop(rng.randrange(len(drafts))))


def _swap_neighbours(drafts: Drafts, rng: random.Random, _foreign: Foreign) -> None:
    index = rng.randrange(len(drafts))
    drafts[index - 1], drafts[index] = drafts[index], drafts[index - 1]


def _shuffle(drafts: Drafts, rng: random.Random, _foreign: Foreign) -> None:
    first = rng.randrange(len(drafts))
    part = drafts[first : first + 5]
    rng.shuffle(part)
    drafts[first : first + 5] = part


def _finish_early(drafts: Drafts, rng: random.Random, _foreign: Foreign) -> None:
    drafts.insert(rng.randrange(len(drafts)), Act.FINISH)


def _insert_foreign(drafts: Drafts, rng: random.Random, foreign: Foreign) -> None:
    drafts.insert(rng.randrange(len(drafts) + 1), _copied(rng.choice(foreign)))


def _play_again(drafts: Drafts, rng: random.Random, _foreign: Foreign) -> None:
    """Send a part once more, as after a restart of the vendor's own counting."""
    drafts += [_copied(draft) for draft in drafts[rng.randrange(len(drafts)) :]]


def _renumber(drafts: Drafts, rng: random.Random, _foreign: Foreign) -> None:
    change: Callable[[Any], Any] = rng.choice(
        (
            lambda _old: 0,
            lambda _old: 1,
            lambda _old: None,
            lambda _old: "",
            lambda old: old // 2 if type(old) is int else "item_0",
            lambda old: -old if type(old) is int else "item_1",
            str,
            lambda old: old + 2**31 if type(old) is int else str(old) * 50,
            lambda _old: rng.randrange(3),
            lambda _old: rng.randrange(10**9),
        )
    )
    share = rng.choice((0.5, 1.0))
    names = ID_NAMES if rng.random() < 0.1 else ID_NAMES - {"task_id", "trace_id"}
    for draft in drafts:
        if not isinstance(draft, Act) and rng.random() < share:
            _change_named(draft, names, change)


def _change_times(drafts: Drafts, rng: random.Random, _foreign: Foreign) -> None:
    offset_ms = rng.choice((-100_000, -1_000, -90, -30, 30, 90, 1_000, 100_000, 10**8, 10**12))
    change: Callable[[Any], Any] = rng.choice(
        (
            lambda old: old + offset_ms if type(old) is int else old,
            lambda old: old + rng.randint(-100, 100) if type(old) is int else old,
            lambda _old: None,
            lambda _old: -1,
            lambda _old: 0,
            lambda old: float(old) if type(old) is int else old,
            str,
            lambda old: old // 100 * 100 if type(old) is int else old,
        )
    )
    share = rng.choice((0.3, 1.0))
    for draft in drafts:
        if not isinstance(draft, Act) and rng.random() < share:
            _change_named(draft, TIME_NAMES, change)


def _change_named(node: Any, names: frozenset[str], change: Callable[[Any], Any]) -> None:
    if isinstance(node, dict):
        for name, value in node.items():
            if name in names:
                node[name] = change(value)
            elif isinstance(value, dict | list):
                _change_named(value, names, change)
    else:
        for item in node:
            if isinstance(item, dict | list):
                _change_named(item, names, change)


_ORDER_MUTATIONS = (
    *(_repeat, _repeat, _repeat_often, _drop, _move, _move_to_end, _move_to_start, _swap_neighbours, _shuffle),
    *(_finish_early, _insert_foreign, _insert_foreign, _play_again, _renumber, _renumber, _renumber, _change_times),
    *(_change_times, _change_times),
)


# --- members ---------------------------------------------------------------------------------------------------------


def _change_member(tree: dict[str, Any], rng: random.Random) -> None:
    """Change one member at a random place; deeper ones are as likely as those on the way to them."""
    random_ = rng.random
    node: Any = tree
    while True:
        if not node:
            return
        keys = list(node) if isinstance(node, dict) else range(len(node))
        key = keys[int(random_() * len(keys))]
        if key in HEADER_NAMES and random_() < 0.8:  # a damaged header ends most conversations
            key = keys[int(random_() * len(keys))]
        child = node[key]
        if not isinstance(child, dict | list) or not child or random_() < 0.15:
            break
        node = child
    draw = random_()
    if draw < 0.55:
        node[key] = _another_value(child, rng)
    elif draw < 0.7:
        del node[key]
    elif draw < 0.8:
        _add_member(node, key, rng)
    elif draw < 0.9:
        other = keys[int(random_() * len(keys))]
        node[key], node[other] = node[other], child
    else:
        node[key] = _wrapped(child, rng)


def _another_value(child: Any, rng: random.Random) -> Any:
    draw = rng.random()
    if draw < HUGE_SHARE:
        return _Raw(rng.choice(HUGE_VALUES))
    if draw < 0.01:
        return _Raw(rng.choice(BROKEN_VALUES))
    if draw < 0.2:
        return _Raw(rng.choice(RAW_VALUES))
    if draw < 0.4 and type(child) is int and abs(child) < 10**15:
        offset = int(rng.random() * 203) - 101
        return rng.choice((child + offset, child + offset, -child, child * 1_000, float(child), str(child)))
    if draw < 0.4 and type(child) is str:
        return rng.choice((child + " x", child.upper(), child[:-1], child + "。", " " + child, child[::-1]))
    return _value(rng)


def _value(rng: random.Random) -> Any:
    value = VALUES[int(rng.random() * len(VALUES))]
    return _copied(value) if isinstance(value, list | dict) else value  # it may be changed in turn


def _add_member(node: Any, key: Any, rng: random.Random) -> None:
    value = _value(rng)
    if isinstance(node, list):
        node.insert(key, value)
    else:
        names = ("heartbeat", "text", "stash", "sentence_end", "end_time", "words", "unknown", "", "a\x00b", "is_final")
        node[rng.choice(names)] = value


def _wrapped(child: Any, rng: random.Random) -> Any:
    draw = rng.random()
    if draw < 0.3:
        return [child]
    if draw < 0.5:
        return {"value": child}
    if draw < 0.7 and isinstance(child, list):
        return child[::-1] if rng.random() < 0.5 else child + child
    return [child, child] if draw < 0.8 else _encode(child).decode()


# --- the text --------------------------------------------------------------------------------------------------------


def _change_text(text: str, rng: random.Random) -> str | bytes:
    at = rng.randrange(len(text) + 1)
    inserted = rng.choice(("\x00", "\n", "\u2028", ",", '"', "}", "\\", "\ufffd", "NaN"))
    return rng.choice(
        (
            text[:at],
            text[:at] + text[at + rng.randint(1, 5) :],
            text[:at] + inserted + text[at:],
            text + rng.choice((" ", "\n\n", "x", text, "\x00")),
            _with_second_member(text, at, rng),
            rng.choice(TEXTS),
            text.encode(),
            text.replace('":', '" :\t').replace(",", " ,\r\n"),
        )
    )


def _with_second_member(text: str, at: int, rng: random.Random) -> str:
    name = rng.choice(("text", "sentence_id", "sentence_end", "header", "payload", "type", "item_id", "segments"))
    brace = text.find("{", at)
    return f'{text[: brace + 1]}"{name}":null,{text[brace + 1 :]}'
