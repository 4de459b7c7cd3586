"""Commands run in this process, on a lake, with what they printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tracelake.cli.main import main


class Answer(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Answer]


def commands_on(uri: str, capfd: pytest.CaptureFixture[str], *always: str) -> Run:
    """`always` are arguments of each of them."""

    def run(*arguments: str) -> Answer:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([*arguments, *always, "--lake", uri])
        return Answer(int(stop.value.code or 0), *capfd.readouterr())

    return run
