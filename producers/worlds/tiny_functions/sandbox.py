"""A persistent worker process that runs tests on a model's code.

Flow: run_tests(source, function, cases) → one line to the worker → one line back, or a kill at the deadline
and a new worker.

**The result is always a `TestRun`**: a worker that hangs or dies causes an error and a restart, nothing else.
**The worker inherits nothing**: empty environment, isolated interpreter, no file descriptors but its pipes.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, cast

WORKER_PATH = Path(__file__).with_name("sandbox_worker.py")
ANSWER_SIZE_BYTES_MAX = 64 * 1024
# A fallback: the CPU limits of the worker act first.
KILL_AFTER_S = 6.0
# The start of the interpreter does not count against the code.
START_ALLOWANCE_S = 20.0


class CaseResult(NamedTuple):
    """One test's outcome; exactly one of `returned` and `raised` is set."""

    passed: bool
    returned: str | None
    """`repr` of the returned value, truncated."""
    raised: str | None
    """Class of the exception."""


class TestRun(NamedTuple):
    """Results of all tests of one source, or the reason why none ran."""

    __test__ = False  # Otherwise pytest collects it as a test class.

    results: tuple[CaseResult, ...]
    error: str | None
    """`syntax_error`, `forbidden_code`, `source_too_long`, `function_missing`, `import_failed`, `timeout`,
    `memory`, `recursion`, `killed` or None."""
    detail: str

    @property
    def passed_count(self) -> int:
        return sum(result.passed for result in self.results)


class Sandbox:
    """One worker, started on first use; threads that share it wait for each other."""

    def __init__(self, *, kill_after_s: float = KILL_AFTER_S) -> None:
        self._kill_after_s = kill_after_s
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[bytes] | None = None
        self.start_count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Stop the worker; the next use starts another."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        worker.kill()
        worker.wait()
        for pipe in (worker.stdin, worker.stdout):
            if pipe is not None:
                pipe.close()

    def run_tests(self, source: str, function: str, cases: Sequence[tuple[Sequence[Any], Any]]) -> TestRun:
        """Run `cases`, pairs of arguments and expected value (JSON values), on one source. Never raises,
        whatever the source is.
        """
        plain = [[list(arguments), expected] for arguments, expected in cases]
        request = json.dumps({"source": source, "function": function, "cases": plain}) + "\n"
        with self._lock:
            fresh = self._worker is None
            worker = self._worker or self._start()
            allowance_s = self._kill_after_s + (START_ALLOWANCE_S if fresh else 0.0)
            line = _exchange(worker, request.encode(), allowance_s)
            if line is None:
                self.close()
                return TestRun((), "killed", "the process died or took too long")
        return _test_run(json.loads(line))

    def _start(self) -> subprocess.Popen[bytes]:
        self.start_count += 1
        self._worker = subprocess.Popen(
            [sys.executable, "-I", "-S", str(WORKER_PATH)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            bufsize=0,
        )
        return self._worker


def _exchange(worker: subprocess.Popen[bytes], request: bytes, duration_s_max: float) -> bytes | None:
    """Send one line and read one line; None if the worker died, wrote too much or was too slow."""
    stdin, stdout = cast("Any", worker.stdin), cast("Any", worker.stdout)
    deadline = time.monotonic() + duration_s_max
    try:
        stdin.write(request)
    except BrokenPipeError:
        return None
    received = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while not received.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return None
            chunk = os.read(stdout.fileno(), ANSWER_SIZE_BYTES_MAX)
            received += chunk
            if not chunk or len(received) > ANSWER_SIZE_BYTES_MAX:
                return None
    return received


def _test_run(answer: dict[str, Any]) -> TestRun:
    results = tuple(
        CaseResult(result["passed"], result.get("returned"), result.get("raised"))
        for result in answer.get("results", ())
    )
    return TestRun(results, answer.get("error"), answer.get("detail", ""))
