"""Two actions are equal if their keys are: L0 by text, L1 by effect."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.assets.folds.answer_frames import action, action_class, shell_action
from tracelake.assets.folds.actions.keys import LEVELS, action_keys, normal_text

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
ARGUMENTS = st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=4)
COMMANDS = st.sampled_from(
    ["ls", "ls -la", "ls -al", "ls  -la", "cat 'a b'", 'cat "a b"', "cat a b", "x && y", "if"]
)
ACTIONS = st.builds(
    lambda content, calls: action(content, calls),
    st.sampled_from(["", "Done.", "done", " Done ", "Look\n here", "look here"]),
    st.lists(st.tuples(st.just("bash"), COMMANDS.map(lambda command: {"command": command})), max_size=2),
)


def same(one: str, other: str, level: str = "L1") -> bool:
    return action_class(one, level) == action_class(other, level)


class TestL0:
    def test_white_space_does_not_count(self) -> None:
        assert same(shell_action("ls  -la "), shell_action("ls -la"), "L0")

    def test_everything_else_counts(self) -> None:
        assert not same(shell_action("ls -la"), shell_action("ls -al"), "L0")
        assert not same(shell_action("ls", content="I look."), shell_action("ls"), "L0")


class TestCalls:
    def test_prose_next_to_a_call_is_ignored(self) -> None:
        assert same(shell_action("ls", content="Let me look."), shell_action("ls"))

    def test_shell_commands_are_compared_by_syntax(self) -> None:
        assert same(shell_action("cd /testbed && grep -rn 'x' ./src"), shell_action("grep -nr x src"))
        assert not same(shell_action("cat a"), shell_action("cat b"))

    def test_a_shell_tool_may_get_its_command_as_plain_text(self) -> None:
        assert same(action(calls=[("bash", "ls -la")]), action(calls=[("bash", "ls  -al")]))

    def test_a_command_inside_a_list_is_compared_by_syntax(self) -> None:
        one, other = (
            action(calls=[("shell", {"command": ["bash", "-lc", c]})]) for c in ("ls -la", "ls -al;")
        )
        assert same(one, other)
        assert not same(one, action(calls=[("shell", {"command": ["ls", "-la"]})]))

    def test_arguments_are_compared_by_value(self) -> None:
        one = action(calls=[("edit", {"path": "a.py", "line": 3, "text": "x  = 1"})])
        other = action(calls=[("edit", '{"text": "x = 1 ", "line": 3.0, "path": "a.py"}')])
        assert same(one, other)

    def test_indentation_is_part_of_a_text(self) -> None:
        nested, flat = "if a:\n    b\n    c", "if a:\n    b\nc"
        assert not same(action(calls=[("edit", {"text": nested})]), action(calls=[("edit", {"text": flat})]))

    def test_tool_order_and_truth_values_matter(self) -> None:
        a, b = ("read", {"path": "a"}), ("read", {"path": "b"})
        assert not same(action(calls=[a, b]), action(calls=[b, a]))
        assert not same(action(calls=[("f", {"x": True})]), action(calls=[("f", {"x": 1})]))
        assert not same(action(calls=[("f", {"x": "1"})]), action(calls=[("f", {"x": 1})]))
        assert not same(action(calls=[("f", {"x": 10**30})]), action(calls=[("f", {"x": 10**30 + 1})]))


class TestAnswers:
    """Actions without calls are compared as text."""

    def test_case_and_closing_punctuation_do_not_count(self) -> None:
        assert same(action("Done."), action("  done"))
        assert same(action("**Done!**"), action("done"))

    def test_signs_and_brackets_count(self) -> None:
        assert not same(action("-5"), action("5"))
        assert not same(action("(0, 1)"), action("[0, 1]"))
        assert not same(action("5!"), action("5"))
        assert not same(action("?"), action("!"))

    def test_an_empty_action_is_recognised(self) -> None:
        assert action_keys(action("  ")).is_empty
        assert not action_keys(action("x")).is_empty
        assert not action_keys(shell_action("")).is_empty


def test_tool_names_the_calls_in_order() -> None:
    assert action_keys(action(calls=[("read", {}), ("bash", {"command": "ls"})])).tool == "read+bash"
    assert action_keys(action("hello")).tool == ""


@given(ARGUMENTS, st.randoms(use_true_random=False))
def test_key_order_does_not_count(arguments: dict[str, object], random: object) -> None:
    names = list(arguments)
    random.shuffle(names)  # type: ignore[attr-defined]
    shuffled = {name: arguments[name] for name in names}
    one, other = (
        json.dumps({"content": "", "tool_calls": [{"name": "f", "arguments": a}]})
        for a in (arguments, shuffled)
    )
    assert same(one, other)


@given(ARGUMENTS)
def test_arguments_as_text_and_as_object_are_equal(arguments: dict[str, object]) -> None:
    assert same(action(calls=[("f", arguments)]), action(calls=[("f", json.dumps(arguments, indent=1))]))


@given(ACTIONS, ACTIONS)
def test_l1_is_coarser_than_l0(one: str, other: str) -> None:
    if same(one, other, "L0"):
        assert same(one, other, "L1")


@given(st.text())
def test_normalising_twice_is_normalising_once(text: str) -> None:
    assert normal_text(normal_text(text)) == normal_text(text)


HOSTILE = {
    "deep text": action(calls=[("f", "[" * 100_000)]),
    "deep object": '{"content":"","tool_calls":[{"name":"f","arguments":'
    + '{"a":' * 100_000
    + "1"
    + "}" * 100_001
    + "]}",
    "lone surrogates": '{"content":"\\ud800","tool_calls":[{"name":"bash","arguments":"\\udfff"}]}',
    "surrogate in the text": "\ud800",
    "a megabyte": shell_action("x" * 1_000_000),
    "a megabyte of quotes": shell_action("'\"" * 500_000),
    "unclosed strings": '[\\"' * 300_000,
    "no JSON": "ls -la",
    "empty": "",
    "a number": "3",
    "a list": "[1, 2]",
    "null calls": '{"content": null, "tool_calls": null}',
    "calls that are none": '{"content": "", "tool_calls": [3, {"name": null}]}',
    "huge number": '{"content":"","tool_calls":[{"name":"f","arguments":{"x":1e999999,"y":'
    + "9" * 5000
    + "}}]}",
    "not a number": '{"content":"","tool_calls":[{"name":"f","arguments":{"x":NaN}}]}',
    "zero byte": shell_action("ls \0"),
    "deep shell": shell_action("$(" * 5000 + ")" * 5000),
    "deep parentheses": shell_action("(" * 8000),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_every_text_has_a_key_that_does_not_change(text: str) -> None:
    for level in LEVELS:
        key = action_class(text, level)
        assert len(key) == 32
        assert key == action_class(text, level)


def test_numbers_beyond_floats_stay_apart() -> None:
    one, other = (
        f'{{"content":"","tool_calls":[{{"name":"f","arguments":{{"x":{n}}}}}]}}' for n in ("1e999", "2e999")
    )
    assert not same(one, other)
    assert same(one, one.replace("1e999", "1e999 "))
