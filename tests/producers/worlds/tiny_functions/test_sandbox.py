"""Goal: no code of a model can hang, kill or change anything.

Method: hostile code, really executed.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelake.producers.worlds.tiny_functions.sandbox import Sandbox, TestRun

HARMLESS = "def f(x):\n    return x"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        running.run_tests(HARMLESS, "f", [((1,), 1)])
        yield running


def run_body(sandbox: Sandbox, body: str) -> TestRun:
    return sandbox.run_tests(f"def f(x):\n    {body}", "f", [((1,), 1)])


def test_results_come_per_test_in_order(sandbox: Sandbox) -> None:
    run = sandbox.run_tests("def f(x):\n    return 6 // x", "f", [((6,), 1), ((3,), 1), ((0,), 1)])
    assert run.error is None
    assert [(result.passed, result.returned, result.raised) for result in run.results] == [
        (True, "1", None),
        (False, "2", None),
        (False, None, "ZeroDivisionError"),
    ]
    assert run.passed_count == 1


def test_true_is_not_one(sandbox: Sandbox) -> None:
    assert run_body(sandbox, "return x == 1").passed_count == 0


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("while True:\n        pass", "timeout"),
        ("return sum(1 for a in range(10**6) for b in range(10**6))", "timeout"),
        ("return [0] * 10**9", "memory"),
        ("return 'a' * 10**10", "memory"),
        ("return f(x)", "recursion"),
        ("return (x", "syntax_error"),
        ("return " + "(" * 500 + "x" + ")" * 500, "syntax_error"),
        ("return " + "-" * 3000 + "x", "syntax_error"),
        ("return 'é", "syntax_error"),
        ("import os", "forbidden_code"),
        ("return x.__class__", "forbidden_code"),
        ("return x.real", "forbidden_code"),
        ("return __builtins__", "forbidden_code"),
        ("return eval('x')", "forbidden_code"),
        ("return open('x')", "forbidden_code"),
        ("return (lambda: x)()", "forbidden_code"),
        ("return f'{x}'", "forbidden_code"),
        ("global y", "forbidden_code"),
        ("try:\n        return x\n    except E:\n        pass", "forbidden_code"),
        ("return '" + "x" * 5000 + "'", "source_too_long"),
    ],
)
def test_bad_code_is_a_typed_error_and_the_worker_survives(sandbox: Sandbox, body: str, error: str) -> None:
    run = run_body(sandbox, body)
    assert (run.error, run.results) == (error, ())
    assert sandbox.run_tests(HARMLESS, "f", [((1,), 1)]).passed_count == 1
    assert sandbox.start_count == 1


def test_an_uninterruptible_call_ends_the_worker_and_nothing_else() -> None:
    with Sandbox() as sandbox:
        assert run_body(sandbox, "return sum(range(10**13))").error == "killed"
        assert sandbox.run_tests(HARMLESS, "f", [((1,), 1)]).passed_count == 1
        assert sandbox.start_count == 2


def test_a_killed_worker_is_replaced() -> None:
    with Sandbox() as sandbox:
        sandbox.run_tests(HARMLESS, "f", [((1,), 1)])
        assert sandbox._worker is not None
        sandbox._worker.kill()
        sandbox._worker.wait()
        assert sandbox.run_tests(HARMLESS, "f", [((1,), 1)]).error == "killed"
        assert sandbox.run_tests(HARMLESS, "f", [((1,), 1)]).passed_count == 1


def test_a_missing_function_and_a_failing_import_are_reported(sandbox: Sandbox) -> None:
    assert sandbox.run_tests("def g(x):\n    return x", "f", [((1,), 1)]).error == "function_missing"
    assert sandbox.run_tests("y = 1 // 0\ndef f(x):\n    return x", "f", []).error == "import_failed"


def test_returned_values_are_truncated_and_have_no_addresses(sandbox: Sandbox) -> None:
    long = run_body(sandbox, "return 'x' * 5000").results[0].returned
    assert long is not None
    assert len(long) == 60
    assert run_body(sandbox, "return [f]").results[0].returned == "[<function f>]"
    assert run_body(sandbox, "return 7 ** 10**5").results[0].returned == "<int: ValueError>"


def test_requests_do_not_affect_each_other(sandbox: Sandbox) -> None:
    sandbox.run_tests("y = 5\ndef f(x):\n    return x\ndef len(x):\n    return 0", "f", [((1,), 1)])
    assert run_body(sandbox, "return y").results[0].raised == "NameError"
    assert run_body(sandbox, "return len([x])").passed_count == 1


def test_arguments_are_fresh_for_every_test(sandbox: Sandbox) -> None:
    source = "def f(xs):\n    xs += [9]\n    return xs"
    cases = [(([1],), [1, 9]), (([1],), [1, 9])]
    assert sandbox.run_tests(source, "f", cases).passed_count == 2


@given(text=st.text(max_size=80))
def test_any_source_text_gets_a_result(sandbox: Sandbox, text: str) -> None:
    run = sandbox.run_tests(text, "f", [((1,), 1)])
    assert run.error is not None or len(run.results) == 1
