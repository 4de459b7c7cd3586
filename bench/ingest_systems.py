"""One process that writes rows into one store and prints its measurements: tokens, acknowledgements, bytes.

Usage: python bench/ingest_systems.py SYSTEM FOLDER [--rows N] [--tokens N] [--batch N] [--seed N]
       [--wait] [--acknowledge] [--conflict] [--count]

Runs in the environment of the system; the peers' has no tracelake. Rows are generated before the clock
starts, as plain Python lists, like those of an agent's recorder; creating a system's own records is measured.
`--wait` waits for a line of input once the rows are generated; `--acknowledge` prints each batch's number
once the store has accepted it, so that the loss after a kill can be counted; `--conflict` writes one row,
then another payload under its key, and prints the result; `--count` prints how many rows a reader finds.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import resource
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

VOCABULARY = 151_936
CALL = {"role": "assistant", "content": "done"}


class Row(NamedTuple):
    """One model call."""

    rollout: str
    turn: int
    prompt_ids: list[int]
    completion_ids: list[int]
    logprobs: list[float]


WARM_UP = Row("warm", os.getpid(), [1], [2], [-0.5])
Write = Callable[[list[Row]], object]
"""Writes rows; returns once they are durable by the system's own promise."""


def rows_of(count: int, tokens: int, seed: int) -> list[Row]:
    import numpy

    draw = numpy.random.default_rng(seed)
    found: list[Row] = []
    for index in range(count):
        prompt, completion = draw.integers(0, VOCABULARY, (2, tokens)).tolist()
        logprobs = (-draw.exponential(size=tokens)).astype("float32").tolist()
        found.append(Row(f"{seed}-{index // 8}", index % 8, prompt, completion, logprobs))
    return found


@contextmanager
def tracelake(folder: Path) -> Iterator[Write]:
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from tracelake.lake import Lake
    from tracelake.schemas.errors import LakeExistsError
    from tracelake.schemas.events.rollout_events import TurnCompleted

    try:
        lake = Lake.create(str(folder))
    except LakeExistsError:
        lake = Lake.open(str(folder))
    with lake.writer(f"bench-{os.getpid()}") as writer:

        def write(rows: list[Row]) -> object:
            return writer.append(
                TurnCompleted(
                    rollout_id=row.rollout,
                    turn_index=row.turn,
                    state_key=row.rollout,
                    context_length=1,
                    new_messages_json="[]",
                    action_json='{"content":"done","role":"assistant"}',
                    # Each row is a first turn, which stores its whole prompt: all systems write the same ids.
                    new_prompt_ids=row.prompt_ids,
                    prompt_retokenised=False,
                    completion_ids=row.completion_ids,
                    sampling_logprobs=row.logprobs,
                    logprob_source="sampler",
                )
                for row in rows
            )

        # Libraries that are loaded with the first landed file are not measured.
        write([WARM_UP])
        writer.flush()
        yield write


@contextmanager
def tinker_capture(folder: Path) -> Iterator[Write]:
    """tinker-cookbook's capture store, its database class called directly."""
    from tinker_cookbook.capture.store.db import CaptureDB  # pyright: ignore[reportMissingImports]

    folder.mkdir(parents=True, exist_ok=True)
    database = CaptureDB(folder / "capture.db")

    def write(rows: list[Row]) -> object:
        return database.ingest_wire(
            [
                {
                    "run_id": "bench",
                    "sampling_session_id": row.rollout,
                    "seq_id": row.turn,
                    "sample_idx": 0,
                    "policy_version": "0",
                    "created_at": 0.0,
                    "prompt_tokens": row.prompt_ids,
                    "sampled_tokens": row.completion_ids,
                    "logprobs": row.logprobs,
                    "metadata": CALL,
                }
                for row in rows
            ]
        )

    yield write
    database.close()


@contextmanager
def sqlite_wal(folder: Path) -> Iterator[Write]:
    """A table with a primary key and packed vectors, one transaction per batch, synced at commit."""
    from array import array

    folder.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(folder / "rows.db", timeout=60)
    for _ in range(100):
        try:
            database.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError:
            # The change of mode does not wait for another process that changes it too.
            time.sleep(0.05)
    database.execute("PRAGMA synchronous=FULL")
    database.execute(
        "CREATE TABLE IF NOT EXISTS calls (rollout TEXT, turn INTEGER, prompt BLOB, completion BLOB, "
        "logprobs BLOB, action TEXT, PRIMARY KEY (rollout, turn))"
    )

    def write(rows: list[Row]) -> object:
        with database:
            return database.executemany(
                "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (
                        row.rollout,
                        row.turn,
                        array("i", row.prompt_ids).tobytes(),
                        array("i", row.completion_ids).tobytes(),
                        array("f", row.logprobs).tobytes(),
                        json.dumps(CALL),
                    )
                    for row in rows
                ],
            ).rowcount

    yield write
    database.close()


@contextmanager
def jsonl_fsync(folder: Path) -> Iterator[Write]:
    """One JSON line per row, flushed and synced per batch."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{os.getpid()}.jsonl").open("w", encoding="utf-8") as file:

        def write(rows: list[Row]) -> object:
            file.writelines(json.dumps({**row._asdict(), "action": CALL}) + "\n" for row in rows)
            file.flush()
            os.fsync(file.fileno())
            return len(rows)

        yield write


@contextmanager
def delta_rs(folder: Path) -> Iterator[Write]:
    """delta-rs appends; it neither syncs nor checks for an existing key."""
    import pyarrow as pa
    from deltalake import write_deltalake  # pyright: ignore[reportMissingImports]

    schema = pa.schema(
        [
            ("rollout", pa.string()),
            ("turn", pa.int64()),
            ("prompt_ids", pa.list_(pa.int32())),
            ("completion_ids", pa.list_(pa.int32())),
            ("logprobs", pa.list_(pa.float32())),
        ]
    )

    def write(rows: list[Row]) -> object:
        columns = dict(zip(Row._fields, (list(column) for column in zip(*rows, strict=True)), strict=True))
        write_deltalake(str(folder), pa.table(columns, schema=schema), mode="append")
        return len(rows)

    yield write


def count_rows(system: str, folder: Path) -> int:
    """Rows that a reader finds after the recovery that opening implies; without the warm-up row."""
    if system == "tracelake":
        sys.path.insert(0, str(Path(__file__).parent.parent))
        from tracelake.lake import Lake

        lake = Lake.open(str(folder))
        lake.project()
        table = lake.scan("turn_completed").select("rollout_id").collect()
        return int((table["rollout_id"] != "warm").sum())
    if system == "delta_rs":
        from deltalake import DeltaTable  # pyright: ignore[reportMissingImports]

        return (
            DeltaTable(str(folder)).to_pyarrow_table(columns=["rollout"])["rollout"].to_pylist().__len__() - 1
        )
    if system == "jsonl_fsync":
        lines = [line for path in folder.glob("*.jsonl") for line in path.read_bytes().split(b"\n")]
        return sum(line.endswith(b"}") for line in lines) - 1
    name, table_name = ("capture.db", "wire_rows") if system == "tinker_capture" else ("rows.db", "calls")
    with sqlite3.connect(folder / name) as database:
        return int(database.execute(f"SELECT COUNT(*) FROM {table_name}").fetchone()[0]) - 1


SYSTEMS = {
    system.__name__: system for system in (tracelake, tinker_capture, sqlite_wal, jsonl_fsync, delta_rs)
}


def measure(system: str, folder: Path, rows: list[Row], batch: int, *, acknowledge: bool) -> dict[str, Any]:
    waits_ms: list[float] = []
    peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with SYSTEMS[system](folder) as write:
        if system != "tracelake":
            write([WARM_UP])
        began = time.perf_counter()
        for start in range(0, len(rows), batch):
            called = time.perf_counter()
            write(rows[start : start + batch])
            waits_ms.append((time.perf_counter() - called) * 1e3)
            if acknowledge:
                print(start // batch, flush=True)
    seconds = time.perf_counter() - began
    waits_ms.sort()
    return {
        "seconds": seconds,
        "tokens": sum(len(row.prompt_ids) + len(row.completion_ids) for row in rows),
        "ack_p50_ms": waits_ms[len(waits_ms) // 2],
        "ack_p99_ms": waits_ms[min(int(len(waits_ms) * 0.99), len(waits_ms) - 1)],
        "memory_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_before) / 1024,
    }


def conflict(system: str, folder: Path) -> str:
    """The result of a second payload under one key."""
    [row] = rows_of(1, 4, seed=0)
    with SYSTEMS[system](folder) as write:
        write([row])
        try:
            return repr(write([row._replace(completion_ids=[1, 2, 3, 4])]))
        except Exception as error:  # noqa: BLE001 - whatever a peer raises is its answer
            return f"{type(error).__name__}: {error}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("system", choices=SYSTEMS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--acknowledge", action="store_true")
    parser.add_argument("--conflict", action="store_true")
    parser.add_argument("--count", action="store_true")
    parser.add_argument("--wait", action="store_true")
    given = parser.parse_args()
    if given.conflict:
        print(json.dumps({"conflict": conflict(given.system, given.folder)}))
        return
    if given.count:
        print(json.dumps({"rows": count_rows(given.system, given.folder)}))
        return
    rows = rows_of(given.rows, given.tokens, given.seed)
    # A recorder has few rows at a time: garbage collections must not walk through all of these.
    gc.freeze()
    if given.wait:
        print("ready", flush=True)
        sys.stdin.readline()
    found = measure(given.system, given.folder, rows, given.batch, acknowledge=given.acknowledge)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
