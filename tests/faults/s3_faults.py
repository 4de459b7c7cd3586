"""An S3 server that fails: a proxy in front of moto refuses, drops, delays, truncates and changes answers.

Flow: a writer and a projector, each in a process, work through the proxy and retry after errors → both end →
compare the lake, read without the proxy, with the record of the work.

| fault | effect on the client |
|---|---|
| 503, 500, 409 | refused, not done |
| reset | not done; the connection is closed or reset |
| lost | done; the connection is closed or reset |
| late-500 | done, answered with 500 |
| late | done, answered after a delay |
| hang | no answer for a while, then the connection is dropped |
| cut | an answer shorter than its declared length |
| flip | one bit of an answer changed; only in landed files and pins, because Lance's files have no checksum |
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
    Emit,
    Result,
    complete_lines,
    emitter,
    fork_child,
    in_child,
    kill_and_read,
    result_of,
    start_child,
)
from tests.faults.scenario import Context, Counts, FaultFoundError, join_counts
from tests.faults.workload import WorkRecord, append_each, append_many, check_lake, derive_sums, pin_all
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


class S3Counts(NamedTuple):
    """Counts of one lake."""

    faults: dict[str, int]
    raised: int
    check_count: int


def run(context: Context) -> Counts:
    faults: Counter[str] = Counter()
    raised = checked = lakes = 0
    with moto() as upstream:
        in_child(make_bucket, upstream, BUCKET)
        target = FAULTS_FULL if context.full else FAULTS_SMALL
        while sum(faults.values()) < target and (context.trial is None or lakes == 0):
            trial = context.trial or f"lake.{lakes}"
            counts = _run_lake(context, upstream, trial)
            faults.update(counts.faults)
            raised += counts.raised
            checked += counts.check_count
            lakes += 1
    detail = f"{join_counts(dict(sorted(faults.items())))}; {raised:,} reached the caller as typed errors"
    return Counts(sum(faults.values()), "S3 faults", checked, f"{detail}; lost 0, doubled 0, pins changed 0")


def _run_lake(context: Context, upstream: str, trial: str) -> S3Counts:
    uri = f"s3://{BUCKET}/{trial}-{context.seed}"
    in_child(_with_endpoint, upstream, lambda: Lake.create(uri) and None)
    proxy = fork_child(lambda pipe: _serve(upstream, context.random(trial), emitter(pipe)))
    endpoint = _first_line(proxy)
    workers = [start_child(_with_endpoint, endpoint, lambda job=job: job(uri)) for job in (_write, _project)]
    lines = [line for worker in workers for line in result_of(worker, 590)]
    faults = Counter(line.split()[1] for line in complete_lines(kill_and_read(proxy)))
    record = WorkRecord().plus(lines)
    found = in_child(_with_endpoint, upstream, lambda: check_lake(uri, record), wait_seconds=300)
    problems = [line for line in lines if line.startswith(("untyped", "slow", "gave up"))]
    if problems or found.problems:
        raise FaultFoundError(trial, [*problems, *found.problems])
    return S3Counts(dict(faults), sum(line.startswith("raised") for line in lines), found.event_count)


def _with_endpoint(endpoint: str, work: Callable[[], Result]) -> Result:
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


def _serve(upstream: str, draws: Random, emit: Emit) -> None:
    with in_front_of(upstream, FaultyBehaviour(draws, emit)) as endpoint:
        emit(endpoint)
        while True:
            time.sleep(60)


class FaultyBehaviour:
    """Injects a drawn fault into a drawn share of the requests, and emits each fault."""

    def __init__(self, draws: Random, emit: Emit) -> None:
        self._draws = draws
        self._say = emit
        self._lock = Lock()

    def __call__(self, request: Request, pass_on: Pass) -> Answer | None:
        with self._lock:
            fault = None
            position = self._draws.random()
            if self._draws.random() < FAULT_SHARE:
                fault = self._draws.choice([fault for fault in FAULTS if _is_applicable(fault, request)])
                self._say(f"fault {fault}")
        return pass_on(request) if fault is None else _apply_fault(fault, position, request, pass_on)


def _is_applicable(fault: str, request: Request) -> bool:
    names = {name.lower() for name in request.headers}
    if fault == "409":
        return request.method == "PUT" and "if-none-match" in names
    if fault == "cut":
        return request.method == "GET"
    if fault == "flip":
        return request.method == "GET" and ("/events/" in request.path or "/pins/" in request.path)
    return True


def _apply_fault(fault: str, position: float, request: Request, pass_on: Pass) -> Answer | None:
    if fault in ("503", "500"):
        return Answer(int(fault))
    if fault == "409":
        return Answer(409, body=b"<Error><Code>ConditionalRequestConflict</Code></Error>")
    dropped = RESET if position < 0.5 else None
    if fault == "reset":
        return dropped
    if fault == "hang":
        time.sleep(HANG_SECONDS)
        return None
    done = pass_on(request)
    if fault == "lost":
        return dropped
    if fault == "late-500":
        return Answer(500)
    if fault == "late":
        time.sleep(LATE_SECONDS)
    if fault == "cut" and done.body:
        return done._replace(body=done.body[: int(position * len(done.body))])
    if fault == "flip" and done.body and done.status < 300:
        return done._replace(body=flip_bit(done.body, int(position * 8 * len(done.body))))
    return done


def flip_bit(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _write(uri: str) -> list[str]:
    lines: list[str] = []
    for number in range(ROUNDS):
        first = 10 * number
        _retry(
            lines,
            lambda first=first: append_each(Lake.open(uri), "s3", range(first, first + 2), lines.append),
        )
        _retry(lines, lambda first=first: append_many(Lake.open(uri), "s3", first + 2, 3, lines.append))
    return lines


def _project(uri: str) -> list[str]:
    lines: list[str] = []
    for _ in range(ROUNDS // 2):
        _retry(lines, lambda: Lake.open(uri).project())
        tables: list[str] = []
        _retry(lines, lambda tables=tables: tables.extend(Lake.open(uri).tables()))
        if "reward_assigned" in tables:
            _retry(lines, lambda: derive_sums(Lake.open(uri)))
            _retry(lines, lambda: pin_all(Lake.open(uri), lines.append))
    return lines


def _retry(lines: list[str], operation: Callable[[], object]) -> bool:
    """Repeat an operation from the start until it succeeds, as a client does after an error."""
    for _ in range(TRIES_MAX):
        start = time.monotonic()
        try:
            operation()
        except (TracelakeError, OSError) as error:
            lines.append(f"raised {type(error).__name__}")
        except BaseException as error:  # noqa: BLE001 - a panic of Rust is not an Exception
            lines.append(f"untyped {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        else:
            return True
        finally:
            if time.monotonic() - start > OPERATION_SECONDS_MAX:
                lines.append(f"slow: an operation took {time.monotonic() - start:.0f} s")
    lines.append("gave up")
    return False
