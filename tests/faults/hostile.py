"""Hostile traces: drawn damage to a small trace of every format, and what attackers write by hand.

Only typed refusals come out, in bounded time and memory; what is taken is a fact that a lake can hold.
"""

from __future__ import annotations

import copy
import json
import resource
import signal
from collections import Counter
from collections.abc import Callable
from random import Random
from types import FrameType
from typing import Any

from tests.faults.children import side_by_side
from tests.faults.s3_faults import flipped
from tests.faults.scenario import Context, Counts, FaultFoundError, by_part
from tests.producers.importers.samples import SAMPLES, mini_text
from tracelake.producers.importers.format_registry import IMPORTERS, importer_of
from tracelake.producers.importers.source import Imported, NoSiblings, Refused, opened, source_file
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.events.event import event_identity

INPUTS_FULL, INPUTS_SMALL = 20_000, 1_500
SECONDS_MAX = 10
MEMORY_GROWTH_MAX_KB = 300_000
DOCUMENTS: dict[str, Any] = {**SAMPLES, "mini-swe-agent-text": mini_text()}
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    2**63,
    2**70,
    10**4000,
    -(2**64),
    1e308,
    -0.0,
    5e-324,
    "",
    "\x00",
    "../../etc/passwd",
    "a" * 100_000,
    "\ufeff",
    "\u202e",
    [],
    {},
    [[]],
    {"": {}},
    [None] * 1000,
    {"role": "assistant"},
    {"__proto__": 1},
)
SPLICES: tuple[bytes, ...] = (
    b"NaN",
    b"Infinity",
    b"-1e999",
    b'"\\ud800"',
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"9" * 100_000,
    b"\x00",
    b"\n",
    b"}{",
    b"\\",
)


class HungError(Exception):
    """An input took too long."""


def run(context: Context) -> Counts:
    total = INPUTS_FULL if context.full else INPUTS_SMALL
    counts: Counter[str] = Counter()
    for part in side_by_side(_part, [(context, part, total // 2) for part in range(2)]):
        counts.update(part)
    looked = counts.pop("events")
    inputs = sum(count for name, count in counts.items() if name in ("taken", "refused"))
    detail = f"{by_part(dict(sorted(counts.items())))}; untyped errors 0, hangs 0"
    return Counts(inputs, "hostile inputs", looked, detail)


def _part(context: Context, part: int, inputs: int) -> dict[str, int]:
    counts: Counter[str] = Counter()
    signal.signal(signal.SIGALRM, _hung)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(part, 2 * inputs, 2):
        if not context.wanted(str(number)):
            continue
        draws = context.random("hostile", number)
        format = draws.choice(list(DOCUMENTS))
        damage = draws.choice(list(DAMAGES))
        data = DAMAGES[damage](draws, copy.deepcopy(DOCUMENTS[format]))
        signal.alarm(SECONDS_MAX)
        try:
            events = _read(data)
        except BaseException as error:
            raise FaultFoundError(
                str(number), [f"{damage} of {format}: {type(error).__name__}: {error}"]
            ) from error
        finally:
            signal.alarm(0)
        counts[damage] += 1
        counts["taken" if events else "refused"] += 1
        counts["events"] += events
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        if grown > MEMORY_GROWTH_MAX_KB:
            raise FaultFoundError(str(number), [f"{damage} of {format}: memory grew by {grown:,} KiB"])
    return dict(counts)


def _hung(_: int, frame: FrameType | None) -> None:
    raise HungError(f"more than {SECONDS_MAX} s, in {frame.f_code.co_name if frame else '?'}")


def _read(data: bytes) -> int:
    """Events that were taken; raises whatever is no typed refusal."""
    try:
        found = opened(source_file("a/b/c/trace.json", data))
        importer = importer_of(found, IMPORTERS)
    except SourceFormatError:
        return 0
    events = 0
    for piece in importer.read(found, NoSiblings()):
        if isinstance(piece, Refused):
            piece.reason.encode()
            continue
        assert isinstance(piece, Imported)
        keys = {event_identity(event).key_hash for event in piece.events}
        assert len(keys) == len(piece.events), "two events of a rollout share a key"
        events += len(piece.events)
    return events


def _bytes(document: Any) -> bytes:
    return json.dumps(document).encode("utf-8", "surrogatepass")


def _cut(draws: Random, document: Any) -> bytes:
    whole = _bytes(document)
    return whole[: draws.randrange(len(whole))]


def _flip(draws: Random, document: Any) -> bytes:
    whole = _bytes(document)
    for _ in range(draws.randrange(1, 5)):
        whole = flipped(whole, draws.randrange(8 * len(whole)))
    return whole


def _splice(draws: Random, document: Any) -> bytes:
    """At a value, so that some of them stay JSON."""
    whole = _bytes(document)
    places = [index + 1 for index, byte in enumerate(whole) if byte in b":,["]
    at = draws.choice(places)
    end = at + draws.randrange(12)
    return whole[:at] + draws.choice(SPLICES) + whole[end:]


def _value(draws: Random, document: Any) -> bytes:
    for _ in range(draws.randrange(1, 4)):
        holder, key = draws.choice(_places(document))
        holder[key] = copy.deepcopy(draws.choice(VALUES))
    return _bytes(document).replace(b'"\\ufeff"', b'"\\ud800"')


def _swap(draws: Random, document: Any) -> bytes:
    """Values that are right somewhere else."""
    (one, key), (other, place) = draws.choice(_places(document)), draws.choice(_places(document))
    text = json.dumps(other[place])
    one[key] = json.loads(text)
    return _bytes(document)


def _drop(draws: Random, document: Any) -> bytes:
    for _ in range(draws.randrange(1, 4)):
        places = _places(document)
        if not places:
            break
        holder, key = draws.choice(places)
        del holder[key]
    return _bytes(document)


def _nest(draws: Random, document: Any) -> bytes:
    holder, key = draws.choice(_places(document))
    depth = draws.choice([10, 200, 900, 1_100, 50_000])
    holder[key] = "NEST"
    opening, closing = draws.choice([(b"[", b"]"), (b'{"a":', b"}")])
    return _bytes(document).replace(b'"NEST"', opening * depth + b"1" + closing * depth)


def _duplicate_keys(draws: Random, document: Any) -> bytes:
    whole = _bytes(document)
    places = [index for index, byte in enumerate(whole) if byte == ord("{")]
    at = draws.choice(places) + 1
    name = draws.choice([b"role", b"content", b"trajectory", b"messages", b"info", b"reward", b"traj"])
    return whole[:at] + b'"' + name + b'":1,"' + name + b'":{},' + whole[at:]


def _lines(draws: Random, document: Any) -> bytes:
    """JSON lines, some of them broken."""
    good = _bytes(document)
    lines = [good, _cut(draws, document), _splice(draws, document), b"", b"null", b"[]", good]
    draws.shuffle(lines)
    return b"\n".join(lines)


def _noise(draws: Random, _: Any) -> bytes:
    return draws.randbytes(draws.randrange(2_000))


DAMAGES: dict[str, Callable[[Random, Any], bytes]] = {
    "cut": _cut,
    "flip": _flip,
    "splice": _splice,
    "value": _value,
    "swap": _swap,
    "drop": _drop,
    "nest": _nest,
    "duplicate keys": _duplicate_keys,
    "lines": _lines,
    "noise": _noise,
}


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Every holder and key in a JSON value."""
    found: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        value = waiting.pop()
        keys: list[Any] = list(value) if isinstance(value, dict) else []
        if isinstance(value, list):
            keys = list(range(len(value)))
        found += [(value, key) for key in keys]
        waiting += [value[key] for key in keys]
    return found
