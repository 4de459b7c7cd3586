"""Goal: a fast writer's segments are sealed by another process, and no event depends on that process living.

Method: real processes, killed while segments wait for them; the same events sealed in both ways.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lake.facts import landed_ids, reward, turn
from tests.lake.writing.spool.test_spool import abandoned
from tracelake.lake import Lake
from tracelake.lake.landed.reading import read_landed
from tracelake.lake.layout import EVENTS
from tracelake.lake.writing.spool.recovery import recover
from tracelake.lake.writing.spool.sealing import seal_segment
from tracelake.lake.writing.spool.sealing_main import READY
from tracelake.lake.writing.spool.sealing_process import SealingProcess, command, environment
from tracelake.lake.writing.spool.segment import END, read_segment
from tracelake.lake.writing.spool.spool import SEGMENT_SUFFIX, SPARE_SUFFIX
from tracelake.schemas.errors import CorruptFileError, SpoolError
from tracelake.schemas.events.columns import arrow_schema
from tracelake.schemas.events.event import event_identity

TOKENS = list(range(20_000))
FAST_APPENDER = """
import sys
from tracelake.lake import Lake
from tests.lake.facts import turn
lake = Lake.open(sys.argv[1])
with lake.writer("fast") as writer:
    for index in range(10_000):
        writer.append([turn(index, new_prompt_ids=[index] * 20_000)])
        print(index, flush=True)
"""


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_writer_seals_by_itself_if_its_process_fails_to_start(
    fresh_lake: Lake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with fresh_lake.writer("alone") as writer:
        for index in range(250):
            writer.append([turn(index, new_prompt_ids=TOKENS)])
        assert writer._lander._process is not None
    assert len(landed_ids(fresh_lake.store)) == 250


def interpreter(folder: Path, first: str) -> str:
    """An interpreter that runs a line of shell first."""
    script = folder / "python"
    script.write_text(f'#!/bin/sh\n{first}\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return str(script)


def test_segments_wait_for_a_process_that_starts_slowly(
    fresh_lake: Lake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    may_start = tmp_path / "may_start"
    monkeypatch.setattr(
        sys, "executable", interpreter(tmp_path, f"while [ ! -e {may_start} ]; do sleep 0.01; done")
    )
    with fresh_lake.writer("waits") as writer:
        for index in range(250):
            writer.append([turn(index, new_prompt_ids=TOKENS)])
        assert landed_ids(fresh_lake.store) == []
        may_start.touch()
        wait_until(lambda: len(landed_ids(fresh_lake.store)) > 0)
    assert len(landed_ids(fresh_lake.store)) == 250


def test_a_flush_does_not_wait_for_a_process_that_starts_slowly(
    fresh_lake: Lake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", interpreter(tmp_path, "exec sleep 3600"))
    with fresh_lake.writer("flushes") as writer:
        for index in range(250):
            writer.append([turn(index, new_prompt_ids=TOKENS)])
        writer.flush()
        assert len(landed_ids(fresh_lake.store)) == 250
        writer.append([turn(250)])
    assert len(landed_ids(fresh_lake.store)) == 251


def test_the_sealing_process_loads_no_event_class_and_no_numpy(fresh_lake: Lake) -> None:
    interpreter, *arguments = command(fresh_lake.uri)
    # With its input closed it loads everything, reports that it is ready, and ends.
    ended = subprocess.run(
        [interpreter, "-X", "importtime", *arguments],
        input=b"",
        capture_output=True,
        check=True,
        env=environment(),
    )
    assert ended.stdout == READY
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.decode().splitlines()}
    assert {"pyarrow.parquet", "tracelake.lake.writing.spool.sealing"} <= imported
    not_needed = {"pydantic", "tracelake.schemas.events.event", "numpy._core", "pandas.core", "lance"}
    assert not_needed.isdisjoint(imported)


def test_the_process_and_a_recovery_land_the_same_file(tmp_path: Path) -> None:
    lakes = [Lake.create(str(tmp_path / name)) for name in ("thread", "process")]
    with abandoned(lakes[0], [turn(0, new_prompt_ids=[1, 2]), reward(1)]) as [segment]:
        data = segment.read_bytes()
    recover(lakes[0].store)
    copy = tmp_path / "process" / "spool" / "epoch" / segment.name
    copy.parent.mkdir(parents=True)
    copy.write_bytes(data)
    process = SealingProcess(lakes[1].uri)
    process.seal(copy, len(data) - len(END))
    process.stop()
    assert [path.name for path in copy.parent.iterdir()] == [f"{copy.stem}{SPARE_SUFFIX}"]
    first, second = (lake.store.list(EVENTS) for lake in lakes)
    assert first == second != []
    assert [lakes[1].store.read(path) for path in second] == [lakes[0].store.read(path) for path in first]


def test_a_long_writer_seals_in_a_process_that_ends_with_it(fresh_lake: Lake) -> None:
    with fresh_lake.writer("long") as writer:
        for index in range(60):
            writer.append([turn(index, new_prompt_ids=TOKENS)])
        process = writer._lander._process
        assert process is not None
        wait_until(process.is_ready)
        for index in range(60, 250):
            writer.append([turn(index, new_prompt_ids=TOKENS)])
    assert process._process.returncode == 0
    assert len(landed_ids(fresh_lake.store)) == 250
    sequence = [
        seq
        for path in fresh_lake.store.list(EVENTS, ".parquet")
        for seq in read_landed(fresh_lake.store, path, ["writer_seq"])["writer_seq"].to_pylist()
    ]
    assert sorted(sequence) == list(range(250))
    assert fresh_lake.verify().ok


def test_a_writer_reports_that_its_process_was_killed_and_its_events_are_recovered(fresh_lake: Lake) -> None:
    appended: list[int] = []

    def append_until_it_fails() -> None:
        with fresh_lake.writer("x") as writer:
            for index in range(2000):
                writer.append([turn(index, new_prompt_ids=TOKENS)])
                appended.append(index)
                if (process := writer._lander._process) is not None:
                    wait_until(process.is_ready)
                    process._process.kill()

    with pytest.raises(SpoolError, match="its process ended with status -9"):
        append_until_it_fails()
    assert appended
    fresh_lake.project()
    acknowledged = {event_identity(turn(index, new_prompt_ids=TOKENS)).event_id for index in appended}
    assert acknowledged <= set(landed_ids(fresh_lake.store))
    assert len(landed_ids(fresh_lake.store)) == len(set(landed_ids(fresh_lake.store)))
    assert fresh_lake.verify().ok


@pytest.mark.parametrize("after", [230, 420])
def test_acknowledged_events_of_a_killed_writer_are_found_while_its_process_may_still_seal(
    fresh_lake: Lake, after: int
) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", FAST_APPENDER, fresh_lake.uri],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[4],
    )
    assert worker.stdout is not None
    for _ in range(after):
        assert worker.stdout.readline()
    worker.send_signal(signal.SIGKILL)
    acknowledged = after + sum(line.endswith("\n") for line in worker.stdout.readlines())
    worker.wait()
    lake = Lake.open(fresh_lake.uri)
    lake.project()
    found = lake.scan("turn_completed").select("rollout_id").collect()["rollout_id"].to_list()
    assert len(found) == len(set(found))
    assert {turn(index).rollout_id for index in range(acknowledged)} <= set(found)
    assert lake.verify().ok
    assert list((Path(lake.uri) / "spool").glob(f"*/*{SEGMENT_SUFFIX}")) == []


def test_a_damaged_segment_is_refused_and_stays(fresh_lake: Lake) -> None:
    with abandoned(fresh_lake, [reward(0), reward(1)]) as [segment]:
        data = bytearray(segment.read_bytes())
    data[-3 - len(END)] ^= 1
    segment.write_bytes(data)
    process = SealingProcess(fresh_lake.uri)
    with pytest.raises(SpoolError, match="damaged before it landed"):
        process.seal(segment, len(data) - len(END))
    process.stop()
    assert segment.read_bytes() == data
    assert landed_ids(fresh_lake.store) == []


def test_a_segment_shorter_than_its_writer_closed_it_is_refused(fresh_lake: Lake) -> None:
    with abandoned(fresh_lake, [reward(0), reward(1)]) as [segment]:
        byte_count = segment.stat().st_size - len(END)
    # Cut between two frames: without its length it would look whole.
    whole = read_segment(segment.read_bytes()[: byte_count - 1]).whole_byte_count
    os.truncate(segment, whole)
    with pytest.raises(CorruptFileError, match="damaged before it landed"):
        seal_segment(fresh_lake.store, segment, byte_count, arrow_schema)
    assert segment.exists()


def test_a_disk_error_reaches_the_writer(fresh_lake: Lake) -> None:
    process = SealingProcess(fresh_lake.uri)
    with pytest.raises(FileNotFoundError) as caught:
        process.seal(Path(fresh_lake.uri) / "spool" / "none" / "000000.segment", 100)
    assert caught.value.errno is not None
    with pytest.raises(SpoolError, match="its process ended"):
        process.seal(Path(fresh_lake.uri) / "spool" / "none" / "000001.segment", 100)
    process.stop()
