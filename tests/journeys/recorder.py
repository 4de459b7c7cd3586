"""Records which files of the product a run enters, in which order, and which file calls which.

**Only calls count**: comprehensions, lambdas, class bodies and resumed coroutines enter no file.
**Opening is not part of a journey**: a lake, a writer or a client that is built or collected enters no
file.
**`schemas` is left out**: it is the vocabulary of every stage.
**`Lake` is passed through**: each of its methods forwards a call, which counts as its caller's.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

PACKAGE = Path(__file__).parents[2] / "package" / "tracelake"
FIRST_INSTRUCTIONS = 8
LEFT_OUT = ("schemas/", "__init__.py")
FACADE = "lake/lake.py"
# An object of an earlier test may be collected at any moment.
OPENING = {"__init__", "__enter__", "open", "create", "__del__"}
NAMELESS = {"<lambda>", "<genexpr>", "<listcomp>", "<setcomp>", "<dictcomp>", "<module>"}


class Edge(NamedTuple):
    """A call from one file into another."""

    caller: str
    callee: str


class Recording:
    """Files in the order of their first call, and every edge between two of them with one example."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.edges: dict[Edge, str] = {}
        self._prefix = f"{PACKAGE}/"

    def file_of(self, frame: FrameType | None) -> str | None:
        """Path below the package; None for a frame of other code or of the vocabulary."""
        if frame is None or not frame.f_code.co_filename.startswith(self._prefix):
            return None
        path = frame.f_code.co_filename.removeprefix(self._prefix)
        is_left_out = path.startswith(LEFT_OUT[0]) or path.endswith(LEFT_OUT[1]) or path == FACADE
        return None if is_left_out else path

    def is_opening(self, frame: FrameType | None) -> bool:
        """Whether the call, or one that led to it, only opens or builds something."""
        while frame is not None:
            if frame.f_code.co_name in OPENING and frame.f_code.co_filename.startswith(self._prefix):
                return True
            frame = frame.f_back
        return False

    def on_event(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        # A class body is not optimised code; a coroutine that is resumed is past its first instructions.
        is_new_call = event == "call" and code.co_flags & CO_OPTIMIZED and frame.f_lasti <= FIRST_INSTRUCTIONS
        if not is_new_call or code.co_name in NAMELESS:
            return
        callee = self.file_of(frame)
        if callee is None or self.is_opening(frame):
            return
        if callee not in self.files:
            self.files.append(callee)
        # A lambda belongs to the file that wrote it.
        outer = frame.f_back
        while outer is not None and outer.f_code.co_filename == f"{self._prefix}{FACADE}":
            outer = outer.f_back
        caller = self.file_of(outer)
        if outer is not None and caller is not None and caller != callee:
            self.edges.setdefault(Edge(caller, callee), f"{outer.f_code.co_name} → {frame.f_code.co_name}")


@contextmanager
def recorded() -> Iterator[Recording]:
    """Record this thread and those that it starts."""
    recording = Recording()
    threading.setprofile(recording.on_event)
    sys.setprofile(recording.on_event)
    try:
        yield recording
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
