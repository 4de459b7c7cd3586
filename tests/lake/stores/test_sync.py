"""Goal: parts are written one after the other, however many there are and wherever a system call stops.

Method: a real file; a child whose files may not grow beyond a limit, so that a write is cut short.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tracelake.lake.stores.sync import PARTS_MAX, write_parts

LIMITED = """
import os, resource, signal, sys
from tracelake.lake.stores.sync import write_parts
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
descriptor = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
try:
    write_parts(descriptor, [bytes([number]) * 300 for number in range(5)], 0)
except OSError as error:
    print(error.strerror)
"""


def test_more_parts_than_one_call_takes_overwrite_a_file_in_order(tmp_path: Path) -> None:
    parts = [bytes([number % 251]) * (number % 7) for number in range(2 * PARTS_MAX + 3)]
    path = tmp_path / "file"
    path.write_bytes(b"x" * 20_000)
    descriptor = os.open(path, os.O_WRONLY)
    end = write_parts(descriptor, parts, 11)
    os.close(descriptor)
    data = b"".join(parts)
    assert end == 11 + len(data)
    assert path.read_bytes() == b"x" * 11 + data + b"x" * (20_000 - end)


def test_a_short_write_continues_where_it_stopped_and_raises_the_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    printed = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    ).stdout
    assert printed.strip() == "File too large"
    assert path.read_bytes() == b"".join(bytes([number]) * 300 for number in range(5))[:1000]
