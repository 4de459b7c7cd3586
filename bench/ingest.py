"""Benchmark: durable, conflict-checked writes of rows with token ids and logprobs, against other systems and
the disk.

Usage: python bench/ingest.py [--small] [--json] [--peers PYTHON]

Rows of 128+128 and of 1,024+1,024 tokens, one and two writing processes, batches of 16 rows. Each system runs
in a separate process. The systems alternate, so that a drift of the machine affects all; medians are shown.
The clock runs from plain Python lists to a closed store. Our rows have landed by then: compressed,
checksummed and named. The limits: a synced sequential write of the rows' own bytes, and zstd at our level on
one core.

Also shown: the result of a second payload under a known key, and the rows found after a kill.
`--peers` is the interpreter of the environment in bench/peers.txt; without it only systems that need no
library run.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.ingest_systems import rows_of
from bench.report import Figure, report
from tracelake.lake.landed.writing import ZSTD_LEVEL

HERE = Path(__file__).parent
OURS = "tracelake"
WITHOUT_LIBRARY = ("sqlite_wal", "jsonl_fsync")
PEERS = ("tinker_capture", *WITHOUT_LIBRARY, "delta_rs")
BATCH = 16
KILLED_AFTER_BATCHES = 20


class Case(NamedTuple):
    """One workload."""

    tokens: int
    writers: int
    row_count: int

    def __str__(self) -> str:
        writers = "1 writer" if self.writers == 1 else f"{self.writers} writers"
        return f"{self.tokens}+{self.tokens} tokens, {writers}"


class Ran(NamedTuple):
    """One run of one system."""

    tokens_per_s: float
    bytes_per_token: float
    ack_p50_ms: float
    ack_p99_ms: float
    memory_mb: float


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peers", default="")
    given = parser.parse_args()
    peers = {name: given.peers or sys.executable for name in PEERS if given.peers or name in WITHOUT_LIBRARY}
    systems = {OURS: sys.executable, **peers}
    size, repeats = (20, 1) if given.small else (1, 3)
    cases = [Case(1024, 1, 24000), Case(1024, 2, 24000), Case(128, 1, 48000), Case(128, 2, 48000)]
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as scratch:
        for case in cases:
            _compare(case._replace(row_count=case.row_count // size), systems, repeats, Path(scratch))
        if not given.json:
            for system, python in systems.items():
                print(_behaviour(system, python, Path(scratch)))


def _compare(case: Case, systems: dict[str, str], repeats: int, scratch: Path) -> None:
    runs: dict[str, list[Ran]] = {name: [] for name in systems}
    for _ in range(repeats):
        for name, python in systems.items():
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                # A far slower system writes fewer rows, at the same rate.
                fewer = case if name in (OURS, "sqlite_wal") else case._replace(row_count=case.row_count // 8)
                ran = _run(name, python, fewer, Path(folder) / "store")
                runs[name] += [] if ran is None else [ran]
    medians = {
        name: Ran(*(statistics.median(values) for values in zip(*found, strict=True)))
        for name, found in runs.items()
        if found
    }
    ours = medians.pop(OURS)
    limits = _limits(case, scratch)

    def figure(unit: str, name: str, limit: float | None, higher: bool, scale: float = 1.0) -> Figure:
        peers = {peer: getattr(ran, name) * scale for peer, ran in medians.items()}
        return Figure("ingest", str(case), unit, getattr(ours, name) * scale, peers, limit, higher)

    report(
        [
            figure("Mtokens/s", "tokens_per_s", limits["write"] / 1e6, True, 1e-6),
            figure("bytes/token", "bytes_per_token", limits["bytes"], False),
            figure("ms ack p50", "ack_p50_ms", None, False),
            figure("ms ack p99", "ack_p99_ms", 20.0, False),
            figure("MB memory", "memory_mb", None, False),
        ]
    )
    if "--json" not in sys.argv:
        print(f"  zstd level {ZSTD_LEVEL} on one core: {limits['zstd'] / 1e6:.1f} Mtokens/s")


def _run(system: str, python: str, case: Case, folder: Path) -> Ran | None:
    """Null for a peer that failed."""
    each = case.row_count // case.writers
    sizes = ["--rows", str(each), "--tokens", str(case.tokens), "--batch", str(BATCH), "--wait"]
    script = [python, str(HERE / "ingest_systems.py"), system, str(folder), *sizes, "--seed"]
    processes = [
        subprocess.Popen([*script, str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for seed in range(case.writers)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    # All processes have generated their rows, and start writing together.
    outputs = _start_together(processes)
    if any(process.returncode for process in processes):
        if system == OURS:
            raise SystemExit(f"{system} failed: {outputs}")
        # A peer may allow only one writer: two openings of one database lock each other out.
        print(f"{system}, {case}: a writer failed", file=sys.stderr)
        return None
    found = [json.loads(text) for text in outputs]
    tokens = sum(item["tokens"] for item in found)
    stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    seconds = max(item["seconds"] for item in found)
    worst = {name: max(item[name] for item in found) for name in ("ack_p50_ms", "ack_p99_ms")}
    return Ran(tokens / seconds, stored / tokens, **worst, memory_mb=sum(item["memory_mb"] for item in found))


def _start_together(processes: list[subprocess.Popen[str]]) -> list[str]:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate()[0] for process in processes]


def _limits(case: Case, scratch: Path) -> dict[str, float]:
    """Tokens per second of a synced write, and of compression, of the rows' own bytes."""
    import numpy
    import pyarrow as pa

    rows = rows_of(min(case.row_count, 1000), case.tokens, seed=0)
    data = b"".join(
        numpy.asarray(values, kind).tobytes()
        for row in rows
        for values, kind in ((row[2], "int32"), (row[3], "int32"), (row[4], "float32"))
    )
    tokens = 2 * case.tokens * len(rows)
    began = time.perf_counter()
    with (scratch / "limit").open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    written = time.perf_counter() - began
    began = time.perf_counter()
    pa.Codec("zstd", compression_level=ZSTD_LEVEL).compress(data)
    compressed = time.perf_counter() - began
    return {"write": tokens / written, "zstd": tokens / compressed, "bytes": len(data) / tokens}


def _behaviour(system: str, python: str, scratch: Path) -> str:
    """The results of a conflicting payload and of a kill."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        script = [python, str(HERE / "ingest_systems.py"), system]
        answer = _json([*script, f"{folder}/conflict", "--conflict"])["conflict"]
        worker = subprocess.Popen(
            [*script, f"{folder}/killed", "--rows", "20000", "--tokens", "64", "--acknowledge"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert worker.stdout is not None
        lines = [worker.stdout.readline() for _ in range(KILLED_AFTER_BATCHES)]
        worker.send_signal(signal.SIGKILL)
        lines += worker.stdout.readlines()
        worker.wait()
        acknowledged = BATCH * sum(line.endswith("\n") for line in lines)
        try:
            found = _json([*script, f"{folder}/killed", "--count"])["rows"]
        except subprocess.CalledProcessError:
            if system == OURS:
                raise
            return f"{system}: a second payload under a key gives {answer}; killed: it is unreadable"
    lost = max(acknowledged - found, 0)
    return (
        f"{system}: a second payload under a key gives {answer}; "
        f"killed: {acknowledged} rows acknowledged, {found} found, {lost} lost"
    )


def _json(command: list[str]) -> dict[str, Any]:
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
