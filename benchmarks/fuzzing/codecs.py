"""Mutated conversations through the codecs, which are pure: no socket, no event loop."""

from __future__ import annotations

import gc
import itertools
import random
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from types import FunctionType, ModuleType
from typing import Any

import msgspec

from asr_async import ASRError
from asr_async.vendors.codec import EndingCodec

from .conversations import Act, Protocol
from .mutations import Step, encode, mutate, shift
from .rules import BrokenRuleError, TaskRules

__all__ = ["MAX_STATE_BYTES", "conversation", "long_conversation", "run"]

MAX_CALL_S = 0.5
"""The most CPU time of one call. A message of the greatest size that is read leniently takes a tenth of it."""

MAX_STATE_BYTES = 4 * 2**20
"""The most memory that a codec keeps: some dozens of segments, each with the text of its message."""

RATES = (0.0, 0.2, 0.5, 0.8)
"""Shares of changed messages, one of which is drawn for each conversation."""

_AUDIO = bytes(3_200)


def conversation(
    protocol: Protocol, seed: int, foreign: list[dict[str, Any]], *, rates: Sequence[float] = RATES
) -> list[Step]:
    """Return a mutated conversation; the same for the same seed."""
    rng = random.Random(seed)
    return mutate(protocol.draft(rng), rng, foreign, rng.choice(rates))


def long_conversation(protocol: Protocol, seed: int, foreign: list[dict[str, Any]]) -> Iterator[Step]:
    """Yield the steps of one task of hours, which never ends; few of its messages are changed."""
    rng = random.Random(seed)
    for part in itertools.count():
        drafts = protocol.draft(rng)
        first = next(index for index, draft in enumerate(drafts) if isinstance(draft, Act))
        if part == 0:
            yield from (encode(draft) for draft in drafts[:first])
        middle = drafts[first : drafts.index(Act.FINISH)]
        shift(middle, ids=part * 8, ms=part % 90_000 * 10_000)
        yield from mutate(middle, rng, foreign, 0.05)


def run(protocol: Protocol, steps: Sequence[Step] | Iterator[Step], *, goes_on: bool = False) -> int:
    """Send a conversation through a new codec; return the number of messages.

    Args:
        protocol: the protocol.
        steps: the conversation.
        goes_on: True continues behind a message that the codec refuses, as no session does.

    Raises:
        BrokenRuleError: a rule is broken.
    """
    codec, rules, count, is_refused, has_finished = protocol.codec(), TaskRules(protocol), 0, False, False
    codec.start()
    for step in steps:
        if isinstance(step, Act):
            _act(codec, step)
            has_finished = has_finished or step is Act.FINISH
            continue
        count += 1
        began_at = time.thread_time()
        try:
            events = codec.receive(step)
        except ASRError:
            if goes_on and not rules.is_ended:
                continue
            is_refused = True
            break
        except Exception as error:
            raise _wrong_error(error) from error
        if time.thread_time() - began_at > MAX_CALL_S:
            raise BrokenRuleError("a call is fast", f"{time.thread_time() - began_at:.1f} s for {step!r:.200}")
        rules.check_message(step)
        rules.check(events)
    if goes_on and (size := _size_of(codec)) > MAX_STATE_BYTES:
        raise BrokenRuleError("a codec's memory is bounded", f"{size} bytes behind {count} messages")
    if has_finished and not is_refused and not rules.is_ended and isinstance(codec, EndingCodec):
        rules.check(codec.end())
    for segment_id in rules.pending:
        rules.check(codec.release_pending(segment_id), is_released=True)
    rules.check_end()
    return count


def _act(codec: Any, act: Act) -> None:
    try:
        match act:
            case Act.AUDIO:
                codec.audio(_AUDIO)
            case Act.COMMIT:
                codec.commit()
            case Act.FINISH:
                codec.finish()
    except ASRError:
        pass  # out of order: a session checks the state first


def _wrong_error(error: BaseException) -> BrokenRuleError:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return BrokenRuleError(
        f"only ASRErrors are raised ({type(error).__name__} in {place.name})", f"{error!r:.200}, line {place.lineno}"
    )


def _size_of(root: object) -> int:
    """Return the memory that is reachable from an object, without modules, types and functions."""
    seen: set[int] = set()
    pending, size = [root], 0
    while pending:
        item = pending.pop()
        if id(item) in seen or isinstance(item, type | FunctionType | ModuleType):
            continue
        seen.add(id(item))
        size += sys.getsizeof(item)
        if isinstance(item, msgspec.Struct):  # most of them are not tracked by the garbage collector
            pending += [getattr(item, name) for name in item.__struct_fields__]
        else:
            pending += gc.get_referents(item)
    return size
