"""Importing real mini-swe-agent traces, durable and conflict-checked, compared with `json.loads` over them.

Usage: python bench/import_traces.py [FOLDER] [--small] [--json]

Without a folder it reads the real traces next to the project; with `--small`, or if there are none, 24
generated files. The bar: at most 3 times the time of `json.loads`, and at most 1 GB of memory.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.report import Figure, report, side_by_side
from tracelake.lake import Lake
from tracelake.producers.importers.import_sources import import_sources

ARCHIVE = (
    Path(os.environ.get("TRACELAKE_SHARED_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
    / "mini-swe-agent-pr816.tar.xz"
)
REPEATS = 9


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = _traces(Path(scratch))
        # Otherwise our first syncs would write out the files that were just unpacked.
        os.sync()
        files = sorted(folder.rglob("*.json"))
        size = sum(path.stat().st_size for path in files) / 1e6

        def ours() -> None:
            # A new lake each time: deleting the last one takes time on a disk with `discard`.
            lake = tempfile.mkdtemp(prefix="lake", dir=scratch)
            import_sources(Lake.create(lake), [str(folder)])

        def loads() -> None:
            for path in files:
                json.loads(path.read_bytes())

        ours()
        seconds, limit = side_by_side(ours, loads, REPEATS)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    case = f"{len(files)} files, {size:.0f} MB"
    report(
        [
            Figure("import_traces", case, "s", seconds, {"json.loads": limit}, None, False),
            Figure("import_traces", f"{case}, peak memory", "GB", peak, {}, 1.0, False),
        ]
    )


def _traces(scratch: Path) -> Path:
    given = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    if given:
        return Path(given[0])
    if "--small" in sys.argv or not ARCHIVE.is_file():
        return _generate(scratch / "generated")
    with tarfile.open(ARCHIVE) as tar:
        tar.extractall(scratch, filter="data")
    return scratch / ARCHIVE.name.partition(".")[0]


def _generate(folder: Path) -> Path:
    """Files in the shape of real ones: 80 turns each, outputs of a few kilobytes."""
    for index in range(24):
        messages: list[dict[str, object]] = [
            {"role": "system", "content": "s"},
            {"role": "user", "content": f"task {index}"},
        ]
        for turn in range(80):
            output = f"{index} {turn} " + "line of output\n" * 50
            call = {
                "id": f"c{turn}",
                "type": "function",
                "function": {"name": "bash", "arguments": '{"command":"ls"}'},
            }
            answer = {"role": "assistant", "content": "thinking " * 20, "tool_calls": [call]}
            response = {
                "id": f"r{index}-{turn}",
                "model": "m",
                "choices": [{"finish_reason": "tool_calls", "message": answer}],
            }
            messages.append(
                {**answer, "extra": {"response": response, "cost": 0.001, "timestamp": 1.0 + turn}}
            )
            messages.append(
                {
                    "role": "tool",
                    "tool_call_id": f"c{turn}",
                    "content": output,
                    "extra": {"raw_output": output, "returncode": 0},
                }
            )
        document = {
            "info": {"exit_status": "Submitted"},
            "messages": messages,
            "trajectory_format": "mini-swe-agent-1.1",
            "instance_id": f"generated-{index}",
        }
        path = folder / str(index) / f"{index}.traj.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(document, indent=1))
    return folder


if __name__ == "__main__":
    main()
