"""The environment of a repair task: one source, three tools, tests that are really executed.

Flow: reset(task) → edit_line / run_tests / submit → rewards().

**No call of a policy raises**: an invalid call is an outcome with an error.
**Visible output is short** (the first failure and the counts); raw output has every test.
**Rewards come from running the tests on the current source**, submitted or not.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from tracelake.producers.worlds.tiny_functions.sandbox import CaseResult, Sandbox, TestRun
from tracelake.producers.worlds.tiny_functions.tasks import Edit, Task, TaskTest, edited
from tracelake.schemas.clock import now_s, since_ms
from tracelake.schemas.environment import ToolDefinition, ToolOutcome
from tracelake.schemas.errors import BadInputError
from tracelake.schemas.message import Message

EDIT_CHARACTERS_MAX = 200
NAME_CHARACTERS_MAX = 30


class Reply(NamedTuple):
    """Output of a tool, without its duration."""

    visible: str
    raw: str
    error: str | None = None


class CallRefusedError(Exception):
    """An invalid call; only raised in this module. Arguments: error class, detail."""


def _definition(name: str, description: str, **parameters: str) -> ToolDefinition:
    properties = {name: {"type": kind} for name, kind in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": list(parameters)}
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": schema},
    }


TOOLS: tuple[ToolDefinition, ...] = (
    _definition("run_tests", "Run the tests."),
    _definition("edit_line", "Replace one line.", line="integer", text="string"),
    _definition("submit", "Hand in the function; ends the task."),
)


def opening_messages(task: Task) -> list[Message]:
    """The initial context of a task."""
    return [{"role": "user", "content": task.prompt}]


class RepairEnvironment:
    """The `Environment` of this world's tasks."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._task: Task | None = None
        self._source = ""
        self._done = False
        self._tools: dict[str, Callable[[dict[str, Any]], Reply]] = {
            "run_tests": self._run_tests,
            "edit_line": self._edit_line,
            "submit": self._submit,
        }

    @property
    def tools(self) -> tuple[ToolDefinition, ...]:
        return TOOLS

    @property
    def source(self) -> str:
        """The current source."""
        return self._source

    def reset(self, task: Task) -> list[Message]:
        self._task, self._source, self._done = task, task.source, False
        return opening_messages(task)

    def call(self, name: str, arguments_json: str) -> ToolOutcome:
        started = now_s()
        try:
            reply = self._reply(name, arguments_json)
        except CallRefusedError as refusal:
            text = f"ERROR {refusal.args[0]}: {refusal.args[1]}"
            reply = Reply(text, text, refusal.args[0])
        duration_ms = since_ms(started)
        return ToolOutcome(reply.visible, reply.raw, reply.error, self._done, duration_ms)

    def rewards(self) -> dict[str, float]:
        """`reward` is 1.0 if every test passes, else 0.0; `fraction_passed` is the share of passed tests."""
        task = self._current_task()
        fraction = self._test_run().passed_count / len(task.tests)
        return {"reward": float(fraction == 1.0), "fraction_passed": fraction}

    def _reply(self, name: str, arguments_json: str) -> Reply:
        if self._done:
            raise CallRefusedError("already_done", "the task has ended")
        tool = self._tools.get(name)
        if tool is None:
            raise CallRefusedError("unknown_tool", ascii(name[:NAME_CHARACTERS_MAX]))
        return tool(_parsed(arguments_json))

    def _run_tests(self, arguments: dict[str, Any]) -> Reply:
        _expect_keys(arguments)
        task, run = self._current_task(), self._test_run()
        if run.error is not None:
            text = f"ERROR {run.error}: {run.detail}" if run.detail else f"ERROR {run.error}"
            return Reply(text, text, run.error)
        lines = [
            _test_line(index, task.function_name, test, result)
            for index, (test, result) in enumerate(zip(task.tests, run.results, strict=True), start=1)
        ]
        failures = [line for line, result in zip(lines, run.results, strict=True) if not result.passed]
        summary = _summary(len(failures), run.passed_count)
        return Reply("\n".join([*failures[:1], summary]), "\n".join([*lines, summary]))

    def _edit_line(self, arguments: dict[str, Any]) -> Reply:
        _expect_keys(arguments, "line", "text")
        line, text = arguments["line"], arguments["text"]
        lines = self._source.split("\n")
        if type(line) is not int or type(text) is not str:
            raise CallRefusedError("bad_arguments", "line is an integer, text a string")
        if not 1 <= line <= len(lines):
            raise CallRefusedError("no_such_line", f"1 to {len(lines)}")
        if len(text) > EDIT_CHARACTERS_MAX or not (text.isascii() and text.isprintable()):
            raise CallRefusedError("bad_arguments", "text is one short printable line")
        self._source = edited(self._source, Edit(line, text))
        return Reply("ok", f"line {line}\n- {lines[line - 1]}\n+ {text}")

    def _submit(self, arguments: dict[str, Any]) -> Reply:
        _expect_keys(arguments)
        self._done = True
        return Reply("ok", "ok")

    def _test_run(self) -> TestRun:
        task = self._current_task()
        return self._sandbox.run_tests(self._source, task.function_name, task.tests)

    def _current_task(self) -> Task:
        if self._task is None:
            raise BadInputError("the environment has no task", expected="a call of reset(task) first")
        return self._task


def _parsed(arguments_json: str) -> dict[str, Any]:
    try:
        arguments = json.loads(arguments_json)
    except (ValueError, RecursionError) as error:
        raise CallRefusedError("bad_arguments", "not JSON") from error
    if not isinstance(arguments, dict):
        raise CallRefusedError("bad_arguments", "not an object")
    return arguments


def _expect_keys(arguments: dict[str, Any], *names: str) -> None:
    if set(arguments) != set(names):
        raise CallRefusedError("bad_arguments", f"expected {', '.join(names) or 'none'}")


def _test_line(index: int, function_name: str, test: TaskTest, result: CaseResult) -> str:
    call = f"{function_name}({', '.join(map(repr, test.arguments))})"
    if result.passed:
        return f"PASSED test_{index}: {call} returned {result.returned}"
    if result.raised is not None:
        return f"FAILED test_{index}: {call} raised {result.raised}"
    return f"FAILED test_{index}: {call} returned {result.returned}, expected {test.expected!r}"


def _summary(failed_count: int, passed_count: int) -> str:
    if failed_count == 0:
        return f"{passed_count} passed"
    return f"{failed_count} failed, {passed_count} passed"
