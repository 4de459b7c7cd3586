"""An S3 server that fails: a proxy before moto that refuses, drops, delays, cuts and changes answers.

Flow: a writer and a projector in processes of their own work through the proxy and retry what raised → both
end → the lake is compared with what was told, past the proxy.

| fault | what the client meets |
|---|---|
| 503, 500, 409 | refused, nothing done |
| reset | nothing done, the connection closed or reset |
| lost | done, the connection closed or reset |
| late-500 | done, answered with 500 |
| late | done, answered after a while |
| hang | silence for a while, then the connection dropped |
| cut | an answer shorter than it says |
| flip | one bit of an answer changed; landed files and manifests only, Lance's carry no checksum |
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from random import Random
from threading import Lock
from typing import NamedTuple

from tests.faults.children import (
    Child,
    Result,
    Say,
    answer,
    ended,
    forked,
    in_child,
    speaker,
    started,
    whole_lines,
)
from tests.faults.history import Told, append_each, append_many, checked, derive_sums, pin_all
from tests.faults.scenario import Context, Counts, FaultFoundError, by_part
from tests.s3_servers import RESET, Answer, Pass, Request, environment, in_front_of, make_bucket, moto
from tracelake.lake import Lake
from tracelake.schemas.errors import TracelakeError

FAULTS_FULL, FAULTS_SMALL = 200, 30
FAULT_SHARE = 0.12
FAULTS = ("503", "500", "409", "reset", "lost", "late-500", "late", "hang", "cut", "flip")
LATE_SECONDS, HANG_SECONDS = 0.3, 1.5
ROUNDS = 8
TRIES_MAX = 12
OPERATION_SECONDS_MAX = 180.0
BUCKET = "faults"


class Tally(NamedTuple):
    """What one lake went through."""

    faults: dict[str, int]
    raised: int
    checked: int


def run(context: Context) -> Counts:
    faults: Counter[str] = Counter()
    raised = seen = lakes = 0
    with moto() as upstream:
        in_child(make_bucket, upstream, BUCKET)
        target = FAULTS_FULL if context.full else FAULTS_SMALL
        while sum(faults.values()) < target and (context.trial is None or lakes == 0):
            trial = context.trial or f"lake.{lakes}"
            tally = _lake_life(context, upstream, trial)
            faults.update(tally.faults)
            raised += tally.raised
            seen += tally.checked
            lakes += 1
    detail = f"{by_part(dict(sorted(faults.items())))}; {raised:,} reached the caller as typed errors"
    return Counts(sum(faults.values()), "S3 faults", seen, f"{detail}; lost 0, doubled 0, pins changed 0")


def _lake_life(context: Context, upstream: str, trial: str) -> Tally:
    uri = f"s3://{BUCKET}/{trial}-{context.seed}"
    in_child(_reaching, upstream, lambda: Lake.create(uri) and None)
    proxy = forked(lambda pipe: _serve(upstream, context.random(trial), speaker(pipe)))
    endpoint = _first_line(proxy)
    workers = [started(_reaching, endpoint, lambda job=job: job(uri)) for job in (_write, _project)]
    lines = [line for worker in workers for line in answer(worker, 590)]
    faults = Counter(line.split()[1] for line in whole_lines(ended(proxy)))
    told = Told().plus(lines)
    found = in_child(_reaching, upstream, lambda: checked(uri, told), wait_seconds=300)
    problems = [line for line in lines if line.startswith(("untyped", "slow", "gave up"))]
    if problems or found.problems:
        raise FaultFoundError(trial, [*problems, *found.problems])
    return Tally(dict(faults), sum(line.startswith("raised") for line in lines), found.event_count)


def _reaching(endpoint: str, work: Callable[[], Result]) -> Result:
    os.environ.update(environment(endpoint))
    return work()


def _first_line(child: Child) -> str:
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(child.pipe, 1)
        if not byte:
            raise FaultFoundError("proxy", ["it did not start, its error is above"])
        line += byte
    return line.decode().strip()


def _serve(upstream: str, draws: Random, say: Say) -> None:
    with in_front_of(upstream, Misbehaviour(draws, say)) as endpoint:
        say(endpoint)
        while True:
            time.sleep(60)


class Misbehaviour:
    """A drawn share of the requests meets a drawn fault; each is said."""

    def __init__(self, draws: Random, say: Say) -> None:
        self._draws = draws
        self._say = say
        self._lock = Lock()

    def __call__(self, request: Request, pass_on: Pass) -> Answer | None:
        with self._lock:
            fault = None
            place = self._draws.random()
            if self._draws.random() < FAULT_SHARE:
                fault = self._draws.choice([fault for fault in FAULTS if _fits(fault, request)])
                self._say(f"fault {fault}")
        return pass_on(request) if fault is None else _met(fault, place, request, pass_on)


def _fits(fault: str, request: Request) -> bool:
    names = {name.lower() for name in request.headers}
    if fault == "409":
        return request.method == "PUT" and "if-none-match" in names
    if fault == "cut":
        return request.method == "GET"
    if fault == "flip":
        return request.method == "GET" and ("/events/" in request.path or "/pins/" in request.path)
    return True


def _met(fault: str, place: float, request: Request, pass_on: Pass) -> Answer | None:
    if fault in ("503", "500"):
        return Answer(int(fault))
    if fault == "409":
        return Answer(409, body=b"<Error><Code>ConditionalRequestConflict</Code></Error>")
    gone = RESET if place < 0.5 else None
    if fault == "reset":
        return gone
    if fault == "hang":
        time.sleep(HANG_SECONDS)
        return None
    done = pass_on(request)
    if fault == "lost":
        return gone
    if fault == "late-500":
        return Answer(500)
    if fault == "late":
        time.sleep(LATE_SECONDS)
    if fault == "cut" and done.body:
        return done._replace(body=done.body[: int(place * len(done.body))])
    if fault == "flip" and done.body and done.status < 300:
        return done._replace(body=flipped(done.body, int(place * 8 * len(done.body))))
    return done


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _write(uri: str) -> list[str]:
    said: list[str] = []
    for number in range(ROUNDS):
        first = 10 * number
        _tried(
            said, lambda first=first: append_each(Lake.open(uri), "s3", range(first, first + 2), said.append)
        )
        _tried(said, lambda first=first: append_many(Lake.open(uri), "s3", first + 2, 3, said.append))
    return said


def _project(uri: str) -> list[str]:
    said: list[str] = []
    for _ in range(ROUNDS // 2):
        _tried(said, lambda: Lake.open(uri).project())
        tables: list[str] = []
        _tried(said, lambda tables=tables: tables.extend(Lake.open(uri).tables()))
        if "reward_assigned" in tables:
            _tried(said, lambda: derive_sums(Lake.open(uri)))
            _tried(said, lambda: pin_all(Lake.open(uri), said.append))
    return said


def _tried(said: list[str], operation: Callable[[], object]) -> bool:
    """As a client does that was not told: once more, with everything anew."""
    for _ in range(TRIES_MAX):
        began = time.monotonic()
        try:
            operation()
        except (TracelakeError, OSError) as error:
            said.append(f"raised {type(error).__name__}")
        except BaseException as error:  # noqa: BLE001 - a panic of Rust is no Exception
            said.append(f"untyped {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        else:
            return True
        finally:
            if time.monotonic() - began > OPERATION_SECONDS_MAX:
                said.append(f"slow: an operation took {time.monotonic() - began:.0f} s")
    said.append("gave up")
    return False
