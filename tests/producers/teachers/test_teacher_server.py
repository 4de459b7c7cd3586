"""Goal: a foreign OpenAI client sees no difference between the teachers and a provider.

Method: the real SDK over real HTTP.
"""

from __future__ import annotations

import http.client
import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from scipy.stats import binomtest

from tracelake.producers.local_teachers.answers import LISTED_TEACHERS, answer, teacher_named
from tracelake.producers.local_teachers.server import TeacherServer
from tracelake.producers.worlds.tiny_functions.environment import TOOLS, RepairEnvironment, opening_messages
from tracelake.producers.worlds.tiny_functions.oracle import (
    RepairState,
    action_message,
    best_call,
    edit_call,
    repair_state,
    wrong_edits,
)
from tracelake.producers.worlds.tiny_functions.sandbox import Sandbox
from tracelake.producers.worlds.tiny_functions.tasks import Task, generate_tasks
from tracelake.schemas.message import Message, canonical_action

TASKS = generate_tasks(2, 400, "train")


@pytest.fixture(scope="module")
def server() -> Iterator[TeacherServer]:
    with TeacherServer() as running:
        yield running


@pytest.fixture(scope="module")
def client(server: TeacherServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0) as created:
        yield created


def ask(client: openai.OpenAI, model: str, messages: list[Message]) -> Any:
    untyped: Any = client.chat.completions
    return untyped.create(model=model, messages=messages, tools=list(TOOLS))


def post(server: TeacherServer, body: bytes, path: str = "/v1/chat/completions") -> tuple[int, Any]:
    host = server.base_url.removeprefix("http://").removesuffix("/v1")
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.request("POST", path, body)
    response = connection.getresponse()
    answered = response.status, json.loads(response.read())
    connection.close()
    return answered


def wrong_start(task: Task) -> list[Message]:
    """A context with one wrong edit: a second question about the task."""
    state = RepairState(task, task.source, "failed")
    edit = random.Random(task.task_id).choice(wrong_edits(state))
    return [
        *opening_messages(task),
        action_message(edit_call(edit), "a"),
        {"role": "tool", "tool_call_id": "a", "content": "ok"},
        action_message(best_call(RepairState(task, "", "edited")), "b"),
        {"role": "tool", "tool_call_id": "b", "content": "FAILED test_1: it\n1 failed, 2 passed"},
    ]


def is_right(context: list[Message], message: Message) -> bool:
    state = repair_state(context)
    assert state is not None
    return canonical_action(message) == canonical_action(action_message(best_call(state), "x"))


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == list(LISTED_TEACHERS)


def test_an_answer_has_all_that_a_client_reads(client: openai.OpenAI) -> None:
    completion = ask(client, "tiny-teacher-100", opening_messages(TASKS[0]))
    (choice,) = completion.choices
    (call,) = choice.message.tool_calls
    assert completion.id.startswith("chatcmpl-")
    assert completion.model == "tiny-teacher-100"
    assert (choice.finish_reason, choice.message.role, call.type) == ("tool_calls", "assistant", "function")
    assert call.function.name == "edit_line"
    assert json.loads(call.function.arguments) == {
        "line": TASKS[0].solution_line,
        "text": TASKS[0].solution_text,
    }
    usage = completion.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.completion_tokens > 0


def test_a_perfect_teacher_solves_every_task(client: openai.OpenAI) -> None:
    with Sandbox() as sandbox:
        environment = RepairEnvironment(sandbox)
        for task in TASKS[:25]:
            context = environment.reset(task)
            done = False
            while not done:
                message = ask(client, "tiny-teacher-100", context).choices[0].message
                (call,) = message.tool_calls
                outcome = environment.call(call.function.name, call.function.arguments)
                context.append(message.model_dump(exclude_none=True))
                context.append({"role": "tool", "tool_call_id": call.id, "content": outcome.visible_output})
                done = outcome.done
            assert environment.rewards()["reward"] == 1.0


@pytest.mark.parametrize("percent", [95, 80, 65, 30])
def test_accuracy_over_edit_states_is_that_of_the_name(percent: int) -> None:
    teacher = teacher_named(f"tiny-teacher-{percent}")
    assert teacher is not None
    contexts = [make(task) for task in TASKS for make in (opening_messages, wrong_start)]
    right_count = sum(is_right(context, answer(teacher, context)) for context in contexts)
    assert binomtest(right_count, len(contexts), percent / 100).pvalue > 0.01


def test_accuracy_over_http_is_that_of_the_name(client: openai.OpenAI) -> None:
    contexts = [opening_messages(task) for task in TASKS[:300]]
    with ThreadPoolExecutor(8) as threads:
        answers = list(
            threads.map(lambda context: ask(client, "tiny-teacher-80", context).choices[0], contexts)
        )
    right_count = sum(
        is_right(context, choice.message.model_dump(exclude_none=True))
        for context, choice in zip(contexts, answers, strict=True)
    )
    assert binomtest(right_count, len(contexts), 0.8).pvalue > 0.01


def test_wrong_answers_are_edits_and_other_states_are_answered_right() -> None:
    teacher = teacher_named("tiny-teacher-0")
    assert teacher is not None
    for task in TASKS[:100]:
        context = opening_messages(task)
        message = answer(teacher, context)
        assert message["tool_calls"][0]["function"]["name"] == "edit_line"
        assert not is_right(context, message)
        edited_context = [
            *context,
            message,
            {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "ok"},
        ]
        assert is_right(edited_context, answer(teacher, edited_context))


def test_the_same_question_has_the_same_answer_whatever_the_call_ids() -> None:
    teacher = teacher_named("tiny-teacher-50")
    assert teacher is not None
    for task in TASKS[:50]:
        context = wrong_start(task)
        renamed = json.loads(json.dumps(context).replace('"a"', '"call_1"').replace('"b"', '"call_2"'))
        assert answer(teacher, context) == answer(teacher, renamed) == answer(teacher, context)


def test_teachers_err_independently_of_each_other() -> None:
    teachers = [teacher_named(name) for name in ("tiny-teacher-65", "tiny-teacher-66")]
    right = [
        tuple(teacher is not None and is_right(context, answer(teacher, context)) for teacher in teachers)
        for context in map(opening_messages, TASKS)
    ]
    both = sum(first and second for first, second in right)
    assert binomtest(both, len(right), 0.65 * 0.66).pvalue > 0.01


def test_an_unknown_task_gets_a_plain_answer(client: openai.OpenAI) -> None:
    (choice,) = ask(client, "tiny-teacher-80", [{"role": "user", "content": "Who are you?"}]).choices
    assert (choice.finish_reason, choice.message.tool_calls) == ("stop", None)
    assert choice.message.content


@pytest.mark.parametrize("name", ["gpt-9", "tiny-teacher", "tiny-teacher-101", "tiny-teacher-8o"])
def test_an_unknown_model_is_404(client: openai.OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        ask(client, name, opening_messages(TASKS[0]))
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"model": "tiny-teacher-80"}',
        b'{"model": "tiny-teacher-80", "messages": []}',
        b'{"model": "tiny-teacher-80", "messages": ["hi"]}',
        b'{"model": "tiny-teacher-80", "messages": [{"content": "no role"}]}',
        b'{"model": "tiny-teacher-80", "messages": [{"role": "assistant", "tool_calls": [{}]}]}',
        b'{"model": "tiny-teacher-80", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "tiny-teacher-80", "messages": [{"role": "user", "content": "x"}], "stream": true}',
        b'{"model": "tiny-teacher-80", "messages": [{"role": "user", "content": "x"}], "n": 2}',
    ],
)
def test_a_bad_request_is_400_in_openais_shape(server: TeacherServer, body: bytes) -> None:
    status, answered = post(server, body)
    assert status == 400
    assert set(answered["error"]) == {"message", "type", "param", "code"}


def test_the_sdk_reads_a_bad_request(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        ask(client, "tiny-teacher-80", [])


def test_another_path_is_404(server: TeacherServer) -> None:
    assert post(server, b"{}", path="/v1/embeddings")[0] == 404


def test_many_questions_at_once_are_all_answered(server: TeacherServer) -> None:
    bodies = [
        json.dumps({"model": "tiny-teacher-80", "messages": opening_messages(task)}).encode()
        for task in TASKS[:64]
    ]
    with ThreadPoolExecutor(32) as threads:
        statuses = [status for status, _ in threads.map(lambda body: post(server, body), bodies)]
    assert statuses == [200] * 64
