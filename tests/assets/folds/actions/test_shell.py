"""Command lines with the same effect have one canonical form; others have different ones."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelake.assets.folds.actions.shell import TEXT_BYTES_MAX, canonical_command

SAME = {
    "quoting": ["grep 'a b' f", 'grep "a b" f', r"grep a\ b f", "grep a' 'b f"],
    "white space and comments": ["ls   src", "  ls src # look", "ls \\\n  src", "ls src\n"],
    "trailing separator": ["ls src", "ls src;", "ls src ;\n"],
    "line end and semicolon": ["a; b", "a\nb", "a\n\n# then\nb;"],
    "short flags that commute": ["grep -rn x src", "grep -nr x src", "grep -r -n x src", "grep x src -rn"],
    "flag with value, attached or not": ["head -n 5 f", "head -n5 f", "head f -n 5"],
    "redundant ./": ["cat ./src/a.py", "cat src/a.py", "cat .//src/a.py"],
    "root of the repository": [
        "cd /testbed && ls",
        "ls",
        'cd "/testbed" && ls',
        "cd /workspace/django && ls",
    ],
    "place of a redirection": ["grep x f 2>/dev/null", "grep 2>/dev/null x f", "2>/dev/null grep x f"],
    "here-document": ["cat > f <<'EOF'\n  a\nEOF", 'cat <<"PY" > f\n  a\nPY', "cat <<END >f\n  a\nEND\n"],
    "expansion": ['echo "$x y"', 'echo "${x} y"', 'echo "$x"" y"'],
    "substitution": ["echo $(ls -la)", "echo `ls -al`"],
    "loops": ["for f in a b; do cat $f; done", "for f in a b\ndo\n  cat ${f}\ndone"],
    "pytest": ["python -m pytest -xvs tests", "python -m pytest -x -s -v ./tests"],
    "literal braces": ["find . -name '*.py' -exec cat {} +", "find . -name \\*.py -exec cat '{}' +"],
}
DIFFERENT = [
    ["ls *", "ls '*'"],
    ["echo $x", "echo '$x'", 'echo "$x"'],
    ["cd src && ls", "ls", "cd tests && ls", "cd /tmp && ls"],
    ["cat > f <<'EOF'\n$x\nEOF", "cat > f <<EOF\n$x\nEOF"],
    ["cat > f <<'EOF'\n  a\nEOF", "cat > f <<'EOF'\na\nEOF"],
    ["a && b", "a || b", "a; b", "a & b", "a | b"],
    ["./run.sh", "run.sh"],
    ["grep ./x f", "grep x f"],
    ["echo ./x", "echo x"],
    ["grep -e -n f", "grep -n -e f"],
    ["sort -n -h f", "sort -h -n f"],
    ["ls -l", "ls -la", "ls -a"],
    ["cmd 2>&1 >f", "cmd >f 2>&1"],
    ["rm -- -f", "rm -f"],
    ["x=1 cmd", "cmd x=1"],
    ["grep -r x a b", "grep -r x b a"],
    ["head -n 5 f", "head -n 6 f"],
    ["(a; b) | c", "a; b | c"],
    ["ls", "ls &"],
]
UNREADABLE = [
    "if then",
    "echo 'open",
    "a\0b",
    "ls " + "x" * TEXT_BYTES_MAX,
    "cat <<A <<B\na\nA\nb\nB",
    "a\\\nb",
    "printf ?\\\t\n",
]


@pytest.mark.parametrize("commands", SAME.values(), ids=SAME.keys())
def test_commands_with_the_same_effect_have_one_form(commands: list[str]) -> None:
    spellings = {canonical_command(command) for command in commands}
    assert None not in spellings
    assert len(spellings) == 1


@pytest.mark.parametrize("commands", DIFFERENT, ids=lambda commands: commands[0])
def test_different_commands_have_different_forms(commands: list[str]) -> None:
    spellings = [canonical_command(command) for command in commands]
    assert None not in spellings
    assert len(set(spellings)) == len(commands)


@pytest.mark.parametrize("text", UNREADABLE, ids=lambda text: repr(text[:12]))
def test_unreadable_text_has_no_canonical_form(text: str) -> None:
    assert canonical_command(text) is None


def test_a_long_chain_is_read_and_deep_nesting_is_not() -> None:
    assert canonical_command(" && ".join(["a"] * 2000)) is not None
    assert canonical_command("echo " + "$(" * 200 + "ls" + ")" * 200) is None


WORDS = st.lists(
    st.text(alphabet="ab-_./ '\"\\$*?~#;&|()<>{}!\t", min_size=0, max_size=6), min_size=1, max_size=4
)


@given(WORDS)
def test_quoting_styles_of_the_same_words_agree(words: list[str]) -> None:
    """Single quotes, backslashes and double quotes around literal words give the same arguments."""
    single = " ".join(["printf", "x", *map(shlex.quote, words)])
    slashed = " ".join(
        ["printf", "x", *("".join("\\" + letter for letter in word) or "''" for word in words)]
    )
    double = " ".join(["printf", "x", *('"' + _in_double_quotes(word) + '"' for word in words)])
    spellings = {canonical_command(command) for command in (single, slashed, double)}
    assert len(spellings - {None}) <= 1
    assert canonical_command(single) is not None


@given(WORDS, WORDS)
def test_different_words_are_never_merged(one: list[str], other: list[str]) -> None:
    spelled = [
        canonical_command(" ".join(["printf", "x", *map(shlex.quote, words)])) for words in (one, other)
    ]
    assert (spelled[0] == spelled[1]) == (one == other)


PIECES = [
    "a",
    "b",
    " ",
    "'",
    '"',
    "\\",
    "$x",
    "*",
    "~",
    "{a,b}",
    "=",
    "-",
    "./",
    "\n",
    ";",
    "#",
    "`echo q`",
    "|cat",
]


@pytest.mark.skipif(shutil.which("bash") is None, reason="asks bash itself")
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=5).map("".join), min_size=8, max_size=8))
def test_bash_agrees_that_merged_commands_do_the_same(tails: list[str]) -> None:
    merged: dict[str, list[str]] = {}
    for tail in {*tails, *(tail.replace("  ", " ") + " ;" for tail in tails)}:
        command = f"printf '<%s>' {tail}"
        spelling = canonical_command(command)
        if spelling is not None:
            merged.setdefault(spelling, []).append(command)
    for commands in merged.values():
        if len(commands) > 1:
            assert len({_printed(command) for command in commands}) == 1, commands


def _printed(command: str) -> tuple[bytes, int]:
    environment = {"HOME": "/home/someone", "PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    done = subprocess.run(
        ["bash", "-c", f"x='p  q'\n{command}"], capture_output=True, cwd="/", env=environment, check=False
    )
    return done.stdout, done.returncode


def _in_double_quotes(word: str) -> str:
    return "".join("\\" + letter if letter in '$`"\\' else letter for letter in word)
