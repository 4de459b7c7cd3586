"""Hostile traces: drawn damage to a small trace of every format, with values that an attacker would use.

Every input becomes valid events or a typed refusal, in bounded time and memory.
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
from tests.faults.s3_faults import flip_bit
from tests.faults.scenario import Context, Counts, FaultFoundError, join_counts
from tests.producers.importers.samples import SAMPLES, mini_text
from tracelake.producers.importers.importer import ImportedRollout, ImportOptions, Refusal
from tracelake.producers.importers.recognise import importer_for
from tracelake.producers.importers.source import source_of_bytes
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


class InputTimeoutError(Exception):
    """An input took too long."""


def run(context: Context) -> Counts:
    total = INPUTS_FULL if context.full else INPUTS_SMALL
    counts: Counter[str] = Counter()
    for part in side_by_side(_run_part, [(context, part, total // 2) for part in range(2)]):
        counts.update(part)
    event_count = counts.pop("events")
    inputs = sum(count for name, count in counts.items() if name in ("accepted", "refused"))
    detail = f"{join_counts(dict(sorted(counts.items())))}; untyped errors 0, hangs 0"
    return Counts(inputs, "hostile inputs", event_count, detail)


def _run_part(context: Context, part: int, inputs: int) -> dict[str, int]:
    counts: Counter[str] = Counter()
    signal.signal(signal.SIGALRM, _raise_timeout)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(part, 2 * inputs, 2):
        if not context.is_selected(str(number)):
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
        counts["accepted" if events else "refused"] += 1
        counts["events"] += events
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        if grown > MEMORY_GROWTH_MAX_KB:
            raise FaultFoundError(str(number), [f"{damage} of {format}: memory grew by {grown:,} KiB"])
    return dict(counts)


def _raise_timeout(_: int, frame: FrameType | None) -> None:
    raise InputTimeoutError(f"more than {SECONDS_MAX} s, in {frame.f_code.co_name if frame else '?'}")


def _read(data: bytes) -> int:
    """Number of accepted events. A typed refusal counts as 0; any other error is raised."""
    try:
        found = source_of_bytes("a/b/c/trace.json", data)
        importer = importer_for(found)
    except SourceFormatError:
        return 0
    events = 0
    for piece in importer.read(found, ImportOptions()):
        if isinstance(piece, Refusal):
            piece.reason.encode()
            continue
        assert isinstance(piece, ImportedRollout)
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
        whole = flip_bit(whole, draws.randrange(8 * len(whole)))
    return whole


def _splice(draws: Random, document: Any) -> bytes:
    """Insert text where a value begins, so that some results remain JSON."""
    whole = _bytes(document)
    positions = [index + 1 for index, byte in enumerate(whole) if byte in b":,["]
    start = draws.choice(positions)
    end = start + draws.randrange(12)
    return whole[:start] + draws.choice(SPLICES) + whole[end:]


def _value(draws: Random, document: Any) -> bytes:
    for _ in range(draws.randrange(1, 4)):
        container, key = draws.choice(_locations(document))
        container[key] = copy.deepcopy(draws.choice(VALUES))
    return _bytes(document).replace(b'"\\ufeff"', b'"\\ud800"')


def _swap(draws: Random, document: Any) -> bytes:
    """Replace a value by one from another location."""
    (one, key), (other, other_key) = draws.choice(_locations(document)), draws.choice(_locations(document))
    one[key] = json.loads(json.dumps(other[other_key]))
    return _bytes(document)


def _drop(draws: Random, document: Any) -> bytes:
    for _ in range(draws.randrange(1, 4)):
        locations = _locations(document)
        if not locations:
            break
        container, key = draws.choice(locations)
        del container[key]
    return _bytes(document)


def _nest(draws: Random, document: Any) -> bytes:
    container, key = draws.choice(_locations(document))
    depth = draws.choice([10, 200, 900, 1_100, 50_000])
    container[key] = "NEST"
    opening, closing = draws.choice([(b"[", b"]"), (b'{"a":', b"}")])
    return _bytes(document).replace(b'"NEST"', opening * depth + b"1" + closing * depth)


def _duplicate_keys(draws: Random, document: Any) -> bytes:
    whole = _bytes(document)
    positions = [index for index, byte in enumerate(whole) if byte == ord("{")]
    start = draws.choice(positions) + 1
    name = draws.choice([b"role", b"content", b"trajectory", b"messages", b"info", b"reward", b"traj"])
    return whole[:start] + b'"' + name + b'":1,"' + name + b'":{},' + whole[start:]


def _lines(draws: Random, document: Any) -> bytes:
    """JSON lines, some of them damaged."""
    valid = _bytes(document)
    lines = [valid, _cut(draws, document), _splice(draws, document), b"", b"null", b"[]", valid]
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


def _locations(document: Any) -> list[tuple[Any, Any]]:
    """Every container and key (or index) in a JSON value."""
    found: list[tuple[Any, Any]] = []
    pending = [document]
    while pending:
        value = pending.pop()
        keys: list[Any] = list(value) if isinstance(value, dict) else []
        if isinstance(value, list):
            keys = list(range(len(value)))
        found += [(value, key) for key in keys]
        pending += [value[key] for key in keys]
    return found
