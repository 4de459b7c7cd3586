"""Goal: no secret is left in any string of an event, and other text is not touched.

Method: fake secrets of 34 types in eight wrappings, known values in ten forms, 400 lines that only look like
secrets, and the real traces.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.event_strategies import EVENTS
from tests.secret_corpus import (
    MAKERS,
    WRAPPINGS,
    Canary,
    benign_lines,
    canaries,
    encodings,
    result,
    secret_part,
    turn,
)
from tracelake.lake.secrets.known_secrets import is_trivial, secrets_of
from tracelake.lake.secrets.redaction import DROPPED_VECTOR, NOT_CONVERGED, Redactor
from tracelake.lake.secrets.secret_check import strings_in
from tracelake.lake.secrets.secret_search import TOKEN
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import BadInputError
from tracelake.schemas.events.event import Event, canonical_event
from tracelake.schemas.events.rollout_events import ToolReturned, TurnCompleted

KEY = b"a lake's own key"
REDACTOR = Redactor(KEY)
CANARIES = list(canaries(seed=7))
KNOWN = {
    "plain": "Tr0ub4dor&3-horse/staple+9",
    "with quotes": 'p"a\\ss\nw0rd-Zürich-4711',
    "letters": "correctHorse42battery",
}
PIECE = 12


def leaves(event: Event) -> str:
    """All strings of an event, decoded, with the pieces of a split text joined."""
    return "".join(text for value in event.__dict__.values() for text in strings_in(value))


def is_gone(secret: str, event: Event) -> bool:
    """Whether no stretch of the secret is left, even split or escaped."""
    body = max(secret.splitlines(), key=len)
    everything = leaves(event)
    pieces = [body[start : start + PIECE] for start in range(0, max(1, len(body) - PIECE + 1))]
    return not any(
        piece in everything for piece in pieces if not piece.startswith(("-----", "sk-", "gh", "npm"))
    )


@pytest.mark.parametrize("canary", CANARIES, ids=[f"{each.type} in {each.wrapping}" for each in CANARIES])
def test_no_canary_survives(canary: Canary) -> None:
    redacted = REDACTOR.redact(canary.event)
    assert redacted.found
    assert is_gone(canary.secret, redacted.event)
    assert TOKEN.search(leaves(redacted.event))


def test_the_corpus_is_large_enough() -> None:
    assert len(MAKERS) >= 20
    assert len(CANARIES) >= 60
    assert not any(is_gone(each.secret, each.event) for each in CANARIES if each.wrapping == "plain")


@pytest.mark.parametrize("value", KNOWN.values(), ids=KNOWN)
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_known_value_is_found_in_every_form(value: str, wrapping: str) -> None:
    redactor = Redactor(KEY, [value])
    for form, text in encodings(value).items():
        event = WRAPPINGS[wrapping](text)
        assert redactor.suspects(canonical_event(type(event), event.__dict__).text), form
        redacted = redactor.redact(event)
        assert sum(redacted.found.values()) == 1, form
        longest = max(text.replace("\\", '"').split('"'), key=len)
        assert longest not in leaves(redacted.event), form
        assert REDACTOR.redact(event).event is event or "url" in str(redacted.found), form


def test_not_one_of_400_benign_lines_is_altered() -> None:
    lines = benign_lines(seed=3)
    assert len(lines) == 400
    assert [line for line in lines if REDACTOR.redact_text(line).text != line] == []
    whole = result("\n".join(lines))
    assert REDACTOR.redact(whole).event is whole
    nested = turn([{"role": "tool", "content": json.dumps(lines)}], {"lines": lines})
    assert REDACTOR.redact(nested).event is nested


def test_a_clean_event_comes_back_as_the_same_object() -> None:
    event = result("nothing to see")
    redacted = REDACTOR.redact(event)
    assert redacted.event is event
    assert redacted.found == {}


@given(EVENTS)
def test_events_without_secrets_are_never_touched(event: Event) -> None:
    assert REDACTOR.redact(event).event is event


TEXTS = st.lists(
    st.one_of(
        st.sampled_from(sorted(MAKERS)).map(lambda type_: MAKERS[type_](Random(type_))),
        st.text(max_size=8),
        st.sampled_from(
            [
                "\\n",
                '\\"',
                '"',
                "\n",
                "⟦",
                "⟧",
                "⟦secret:x:0123abcd0123abcd0123abcd0123abcd⟧",
                "%3D",
                "=",
                " ",
                "sk-",
                "://",
                "password=",
            ]
        ),
    ),
    max_size=6,
).map("".join)
JSON_VALUES = st.recursive(
    TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)


def hidden(texts: list[str], depth: int) -> list[str]:
    return texts if depth == 0 else hidden([json.dumps([text])[1:-1] for text in texts], depth - 1)


@given(TEXTS, TEXTS)
def test_redacting_twice_is_redacting_once(text: str, other: str) -> None:
    once = REDACTOR.redact(result(text)).event
    again = REDACTOR.redact(once)
    assert again.event is once
    parts = [{"type": "text", "text": text}, {"type": "text", "text": other}]
    once = REDACTOR.redact(turn([{"role": "user", "content": parts}], {text: other})).event
    assert REDACTOR.redact(once).event is once


@given(JSON_VALUES)
def test_redaction_is_deterministic_and_leaves_canonical_json(value: Any) -> None:
    event = turn([value], {"value": value})
    first, second = REDACTOR.redact(event), Redactor(KEY).redact(event)
    assert first == second
    assert isinstance(first.event, TurnCompleted)
    for text in (first.event.new_messages_json, first.event.action_json):
        assert canonical_text(json.loads(text)) == text


@given(TEXTS, st.integers(0, 3))
def test_the_automaton_suspects_every_text_that_would_be_redacted(text: str, depth: int) -> None:
    wrapped = hidden([text], depth)[0]
    if REDACTOR.redact_text(wrapped).found:
        for event in (result(wrapped), turn([{"role": "user", "content": wrapped}], {})):
            payload = canonical_event(type(event), event.__dict__).text
            assert REDACTOR.suspects(payload)
            assert REDACTOR.suspects_of([b"{}", payload, b"{}"]) == [1]


@given(st.sampled_from(sorted(MAKERS)), st.text(max_size=6), st.integers(0, 2**32))
def test_a_secret_is_found_behind_any_text_and_a_line_break(type_: str, before: str, seed: int) -> None:
    text = MAKERS[type_](Random(seed))
    assert secret_part(type_, text) not in REDACTOR.redact_text(f"{before}\n{text}\n").text


@given(
    st.sampled_from(sorted(MAKERS)),
    st.integers(0, 2**32),
    st.lists(st.integers(0, 400), min_size=1, max_size=6),
)
def test_a_secret_is_found_wherever_it_is_cut(type_: str, seed: int, cuts: list[int]) -> None:
    text = MAKERS[type_](Random(seed))
    places = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    pieces = [text[start:end] for start, end in pairwise(places)]
    messages: list[object] = [
        {"role": "user", "content": [{"text": piece, "type": "text"} for piece in pieces]}
    ]
    redacted = REDACTOR.redact(turn(messages, {}))
    assert redacted.found
    assert is_gone(secret_part(type_, text), redacted.event)


def test_the_same_secret_has_the_same_token_in_its_lake_only() -> None:
    secret = MAKERS["github"](Random(1))
    one, two = (REDACTOR.redact_text(text).text for text in (f"a {secret}", f"{secret} b"))
    assert one.split(" ")[1] == two.split(" ")[0]
    assert Redactor(b"the key of another lake").redact_text(secret).text not in (one, two)
    assert Redactor(KEY, [secret]).redact_text(secret).text == REDACTOR.redact_text(secret).text


def test_a_short_key_is_refused() -> None:
    with pytest.raises(BadInputError, match="too short"):
        Redactor(b"short")


def test_token_ids_of_a_redacted_event_are_dropped() -> None:
    event = turn([], {"content": MAKERS["aws id"](Random(2))}).model_copy(
        update={"completion_ids": [1, 2], "sampling_logprobs": [-0.5, -0.25], "prompt_prefix_hash": "0" * 64}
    )
    redacted = REDACTOR.redact(event)
    assert redacted.found == {"aws": 1, DROPPED_VECTOR: 2}
    assert isinstance(redacted.event, TurnCompleted)
    assert redacted.event.completion_ids is redacted.event.sampling_logprobs is None
    # A digest would confirm a guess of the ids.
    assert redacted.event.prompt_prefix_hash is None


def test_integers_beyond_64_bits_keep_their_digits() -> None:
    event = turn([], {"id": 2**70, "content": MAKERS["npm"](Random(3))})
    redacted = REDACTOR.redact(event).event
    assert isinstance(redacted, TurnCompleted)
    assert json.loads(redacted.action_json)["id"] == 2**70


def test_malformed_json_is_redacted_as_text() -> None:
    secret = MAKERS["gitlab"](Random(4))
    event = turn([], {}).model_copy(update={"action_json": f'{{"cut off": "{secret}'})
    redacted = REDACTOR.redact(event)
    assert redacted.found == {"gitlab": 1}
    assert secret not in leaves(redacted.event)


def test_malformed_utf8_does_not_hide_a_secret() -> None:
    secret = MAKERS["gitlab"](Random(5))
    redacted = REDACTOR.redact(result(f"\ud800 {secret}"))
    assert isinstance(redacted.event, ToolReturned)
    assert secret not in (redacted.event.visible_output or "")


def test_trivial_values_of_the_environment_are_no_secrets() -> None:
    value = "Zx81-spectrum-48k"
    environment = {
        "OPENROUTER_API_KEY": value,
        "POSTGRES_PASSWORD": "password",
        "MY_TOKEN": "disabled",
        "SSH_AUTH_SOCK": "/tmp/ssh-agent.4711",
        "KEY_FILE": "secrets-4711.json-of-mine",
        "DATABASE_URL": "postgres://app:Qwe-98765-rty@db/x",
        "PATH": "/usr/bin:/bin-4711-abcdef",
    }
    assert secrets_of(environment) == ["Qwe-98765-rty", value]
    assert is_trivial("aaaaaaaaaaaaaa1")
    redactor = Redactor.from_environment(KEY, environment)
    assert redactor.redact_text(f"x{value}y password disabled").found == {"environment": 1}
    assert value not in repr(redactor)


def test_a_text_that_matches_again_and_again_is_replaced_as_a_whole() -> None:
    # A digit before the number: each one is found only when the one before it is gone.
    telegram = MAKERS["telegram"](Random(6))[:-1] + "1"
    redacted = REDACTOR.redact_text(telegram * 100)
    assert redacted.found[NOT_CONVERGED] == 1
    assert TOKEN.fullmatch(redacted.text)


@pytest.mark.realdata
def test_the_real_traces_contain_no_secret(real_traces: Callable[[str], Path]) -> None:
    found: Counter[str] = Counter()
    for path in sorted(real_traces("mini-swe-agent-pr816").rglob("*.traj.json")):
        event = turn(json.loads(path.read_bytes())["messages"], {})
        redacted = REDACTOR.redact(event)
        found.update(redacted.found)
        assert redacted.found or redacted.event is event
    assert found == {}


def test_hashes_and_ids_are_no_secrets() -> None:
    random = Random(8)
    lines: list[str] = []
    for _ in range(10_000):
        commit, request = f"{random.getrandbits(160):040x}", uuid.UUID(int=random.getrandbits(128))
        lines += [
            f"commit {commit}",
            f'"request_id": "{request}"',
            f"token {commit[:12]} in session {request}",
        ]
    assert REDACTOR.redact_text("\n".join(lines)).found == {}


@pytest.mark.parametrize(
    "piece",
    [
        "api_key" + "=" * 200,
        "token: ",
        "session=",
        "session=A1b2c3D4e5F6g7",
        "mysql -p ",
        "\x1b[0m",
        "%41",
        "A1b/",
    ],
)
def test_a_megabyte_of_a_hostile_text_takes_seconds_at_most(piece: str) -> None:
    started = time.process_time()
    REDACTOR.redact_text(piece * (1_000_000 // len(piece)))
    assert time.process_time() - started < 8
