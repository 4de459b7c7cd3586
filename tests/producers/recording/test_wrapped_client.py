"""Goal: everything that passes a wrapped client is recorded, and the caller sees no difference.

Method: the real client against a server that speaks the real protocol, and the same call unwrapped.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.producers.recording.openai_server import MODEL, SERVED, OpenAiServer, tokens_of
from tests.producers.recording.recorded import contexts, extra, options, prompts, rows, turns, user
from tracelake import Lake, record
from tracelake.schemas.errors import RecordingError

TOOLS: list[Any] = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]


@pytest.fixture
def client(server: OpenAiServer) -> OpenAI:
    return record.wrap(OpenAI(**options(server)))


def rollout(lake: Lake, **given: Any) -> record.Rollout:
    return record.rollout(lake, task="sums", environment="tests", **given)


def test_a_call_is_a_turn_with_everything_that_the_response_says(fresh_lake: Lake, client: OpenAI) -> None:
    with rollout(fresh_lake) as opened:
        client.chat.completions.create(
            model=MODEL, messages=[user("call add")], tools=TOOLS, temperature=0.5, extra_body={"top_k": 4}
        )
    [started], [turn], [ended] = (
        rows(fresh_lake, kind) for kind in ("rollout_started", "turn_completed", "rollout_ended")
    )
    assert (started["task_key"], started["environment"], started["model_requested"]) == (
        "sums",
        "tests",
        MODEL,
    )
    assert json.loads(started["tools_json"]) == TOOLS
    assert json.loads(started["sampling_json"]) == {"temperature": 0.5, "top_k": 4}
    assert (turn["model_requested"], turn["model_served"]) == (MODEL, SERVED)
    assert turn["response_id"].startswith("chatcmpl-")
    assert turn["system_fingerprint"] == "fp_echo"
    assert (turn["finish_reason"], turn["truncated"], turn["tool_call_count"]) == ("tool_calls", False, 1)
    prompt = len(json.dumps([user("call add")])) // 4
    assert (turn["prompt_token_count"], turn["cached_token_count"]) == (prompt, prompt // 2)
    assert turn["completion_token_count"] > 0
    assert 0 < turn["latency_ms"] < 5000
    assert turn["extra_json"] is None
    assert (ended["stop_reason"], ended["turn_count"], ended["recording_length"]) == ("completed", 1, None)
    assert opened.turn_count == 1


def test_the_caller_gets_what_an_unwrapped_client_gets(server: OpenAiServer, fresh_lake: Lake) -> None:
    bare = OpenAI(**options(server))
    client = record.wrap(bare)
    assert isinstance(client, OpenAI)
    call: dict[str, Any] = {"model": MODEL, "messages": [user("hello")]}
    with rollout(fresh_lake):
        answers = [each.chat.completions.create(**call) for each in (bare, client)]
        streams = [list(each.chat.completions.create(**call, stream=True)) for each in (bare, client)]
        raws = [each.chat.completions.with_raw_response.create(**call) for each in (bare, client)]
    assert answers[0].model_dump(exclude={"id", "created"}) == answers[1].model_dump(
        exclude={"id", "created"}
    )
    assert [each.choices for each in streams[0]] == [each.choices for each in streams[1]]
    assert raws[0].parse().choices == raws[1].parse().choices
    # The bare client's calls are not recorded.
    assert len(turns(fresh_lake)) == 3


@pytest.mark.parametrize("said", ["hello world", "call add", "think"])
def test_a_stream_is_recorded_as_the_whole_answer_is(fresh_lake: Lake, client: OpenAI, said: str) -> None:
    call: dict[str, Any] = {"model": MODEL, "messages": [user(said)], "logprobs": True}
    call["extra_body"] = {"return_token_ids": True}
    with rollout(fresh_lake):
        client.chat.completions.create(**call)
        list(client.chat.completions.create(**call, stream=True, stream_options={"include_usage": True}))
    whole, streamed = turns(fresh_lake)
    same = ("state_key", "new_messages_json", "finish_reason", "prompt_token_count", "reasoning_token_count")
    assert {name: whole[name] for name in same} == {name: streamed[name] for name in same}
    actions = [json.loads(turn["action_json"]) for turn in (whole, streamed)]
    for action in actions:
        for tool_call in action.get("tool_calls", []):
            tool_call["id"] = tool_call["function"]["arguments"] = ""
    assert actions[0] == actions[1]
    assert len(streamed["completion_ids"]) == len(streamed["sampling_logprobs"])
    assert prompts(fresh_lake)[1] == tokens_of([user(said)])


def test_token_ids_are_stored_as_what_each_turn_adds(fresh_lake: Lake, client: OpenAI) -> None:
    messages: list[Any] = []
    sent: list[list[Any]] = []
    with rollout(fresh_lake):
        for text in ("one", "two", "three"):
            messages.append(user(text))
            sent.append(list(messages))
            reply = client.chat.completions.create(
                model=MODEL, messages=messages, logprobs=True, extra_body={"return_token_ids": True}
            )
            messages.append({"role": "assistant", "content": reply.choices[0].message.content})
    found = turns(fresh_lake)
    assert [turn["prompt_retokenised"] for turn in found] == [False, False, False]
    assert [len(turn["new_prompt_ids"]) for turn in found][1] < len(tokens_of(sent[1])) / 2
    assert prompts(fresh_lake) == [tokens_of(each) for each in sent]
    assert {turn["logprob_source"] for turn in found} == {"sampler"}


def test_replies_sent_back_in_any_shape_continue_their_turn(fresh_lake: Lake, client: OpenAI) -> None:
    messages: list[Any] = [user("think")]
    with rollout(fresh_lake):
        for text, shape in (
            ("think", "object"),
            ("call add", "dump"),
            ("think", "by hand"),
            ("bye", "object"),
        ):
            messages[-1:] = [user(text)]
            message = client.chat.completions.create(model=MODEL, messages=messages).choices[0].message
            shapes = {
                "object": message,
                "dump": message.model_dump(),
                "by hand": {"role": "assistant", "content": message.content},
            }
            messages += [shapes[shape], user("")]
    found = turns(fresh_lake)
    assert [turn["parent_turn_index"] for turn in found] == [None, 0, 1, 2]
    assert [len(json.loads(turn["new_messages_json"])) for turn in found] == [1, 1, 1, 1]
    assert [turn["context_length"] for turn in found] == [len(each) for each in contexts(fresh_lake)]
    assert json.loads(found[0]["action_json"])["reasoning_content"] == "what was it again"
    assert found[0]["reasoning_token_count"] == 4


def test_several_choices_are_turns_of_one_parent(fresh_lake: Lake, client: OpenAI) -> None:
    with rollout(fresh_lake):
        reply = client.chat.completions.create(model=MODEL, messages=[user("hello")], n=3)
        chosen = {"role": "assistant", "content": reply.choices[1].message.content}
        client.chat.completions.create(model=MODEL, messages=[user("hello"), chosen, user("more")])
    found = turns(fresh_lake)
    assert [turn["parent_turn_index"] for turn in found] == [None, None, None, 1]
    assert [turn["prompt_token_count"] is None for turn in found] == [False, True, True, False]
    assert len({turn["state_key"] for turn in found[:3]}) == 1


def test_parsed_answers_and_the_helper_for_streams_are_recorded(fresh_lake: Lake, client: OpenAI) -> None:
    class Echo(BaseModel):
        text: str

    with rollout(fresh_lake):
        with pytest.raises(ValueError):
            client.chat.completions.parse(model=MODEL, messages=[user("no json")], response_format=Echo)
        with client.chat.completions.stream(model=MODEL, messages=[user("hello")]) as stream:
            stream.until_done()
    assert [json.loads(turn["action_json"])["content"] for turn in turns(fresh_lake)][-1] == "echo: hello"


def test_responses_are_turns_too(fresh_lake: Lake, client: OpenAI) -> None:
    tools: list[Any] = [{"type": "function", "name": "add", "parameters": {}, "strict": False}]
    with rollout(fresh_lake):
        given: list[Any] = [user("call add")]
        answer = client.responses.create(model=MODEL, input=given, instructions="Be brief.", tools=tools)
        given += [item.model_dump() for item in answer.output]
        call_id = answer.output[0].call_id
        given.append({"type": "function_call_output", "call_id": call_id, "output": "4"})
        client.responses.create(model=MODEL, input=given, instructions="Be brief.", tools=tools)
        last = client.responses.create(model=MODEL, input="think", tools=tools)
        with client.responses.create(
            model=MODEL, input="more", tools=tools, previous_response_id=last.id, stream=True
        ) as stream:
            assert [event.type for event in stream][-1] == "response.completed"
    [started] = rows(fresh_lake, "rollout_started")
    function = json.loads(started["tools_json"])[0]["function"]
    assert function == {"name": "add", "parameters": {}, "strict": False}
    found = turns(fresh_lake)
    assert [turn["parent_turn_index"] for turn in found] == [None, 0, None, 2]
    assert [message["role"] for message in contexts(fresh_lake)[1]] == ["system", "user", "assistant", "tool"]
    assert [message["content"] for message in contexts(fresh_lake)[3]] == ["think", "echo: think", "more"]
    assert (found[3]["prompt_token_count"], found[3]["cached_token_count"]) == (11, 3)
    assert found[3]["reasoning_token_count"] == 2
    [result] = rows(fresh_lake, "tool_returned")
    assert (result["tool_call_id"], result["tool_name"], result["visible_output"]) == (call_id, "add", "4")


def test_asynchronous_calls_are_recorded_alike(fresh_lake: Lake, server: OpenAiServer) -> None:
    async def play() -> None:
        client = record.wrap(AsyncOpenAI(**options(server)))
        async with rollout(fresh_lake):
            await client.chat.completions.create(model=MODEL, messages=[user("hello")])
            stream = await client.chat.completions.create(model=MODEL, messages=[user("bye")], stream=True)
            assert [chunk async for chunk in stream]
            await client.responses.create(model=MODEL, input="and more")
            with pytest.raises(openai.InternalServerError):
                await client.chat.completions.create(model=MODEL, messages=[user("fail 500")])

    asyncio.run(play())
    said = [json.loads(turn["action_json"])["content"] for turn in turns(fresh_lake)]
    assert said == ["echo: hello", "echo: bye", "echo: and more"]


def test_an_error_of_the_provider_passes_and_ends_the_rollout(fresh_lake: Lake, client: OpenAI) -> None:
    def play() -> None:
        with rollout(fresh_lake):
            client.chat.completions.create(model=MODEL, messages=[user("hello")])
            client.chat.completions.create(model=MODEL, messages=[user("fail 429")])

    with pytest.raises(openai.RateLimitError, match="the server says 429"):
        play()
    [ended] = rows(fresh_lake, "rollout_ended")
    assert (ended["stop_reason"], ended["turn_count"]) == ("error", 1)
    assert ended["exit_status"] == "RateLimitError"
    assert "the server says 429" in ended["error"]
    [failed] = extra(ended)["failed_calls"]
    assert (failed["after_turn"], failed["error"]) == (0, ended["error"])


def test_an_error_that_the_agent_overcomes_is_listed(fresh_lake: Lake, client: OpenAI) -> None:
    with rollout(fresh_lake):
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model=MODEL, messages=[user("fail 400")])
        client.chat.completions.create(model=MODEL, messages=[user("hello")])
    [ended] = rows(fresh_lake, "rollout_ended")
    assert (ended["stop_reason"], ended["error"]) == ("completed", None)
    assert len(extra(ended)["failed_calls"]) == 1


def test_an_error_that_the_agent_gives_up_after_ends_the_rollout(fresh_lake: Lake, client: OpenAI) -> None:
    with rollout(fresh_lake), pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=MODEL, messages=[user("fail 400")])
    [ended] = rows(fresh_lake, "rollout_ended")
    assert (ended["stop_reason"], ended["turn_count"]) == ("error", 0)
    assert "the server says 400" in ended["error"]


def test_a_stream_that_breaks_is_a_failed_call(fresh_lake: Lake, client: OpenAI) -> None:
    with pytest.raises(openai.APIConnectionError), rollout(fresh_lake):
        list(client.chat.completions.create(model=MODEL, messages=[user("cut")], stream=True))
    [ended] = rows(fresh_lake, "rollout_ended")
    assert (ended["stop_reason"], ended["turn_count"]) == ("error", 0)


def test_a_stream_that_its_reader_leaves_is_recorded_as_far_as_it_was_read(
    fresh_lake: Lake, client: OpenAI
) -> None:
    with rollout(fresh_lake):
        stream = client.chat.completions.create(model=MODEL, messages=[user("a long answer")], stream=True)
        for count, _ in enumerate(stream):
            if count == 2:
                break
        unread = client.chat.completions.create(model=MODEL, messages=[user("another")], stream=True)
    unread.close()
    [turn], [ended] = turns(fresh_lake), rows(fresh_lake, "rollout_ended")
    assert json.loads(turn["action_json"])["content"] == "echo: a lo"
    assert (turn["truncated"], turn["truncated_by"], turn["finish_reason"]) == (True, "reader", None)
    assert [each["error"] for each in extra(ended)["failed_calls"]] == ["the stream was not read"]


def test_an_answer_that_is_handed_out_unread_passes_and_is_listed(fresh_lake: Lake, client: OpenAI) -> None:
    with (
        rollout(fresh_lake),
        client.chat.completions.with_streaming_response.create(model=MODEL, messages=[user("hello")]) as raw,
    ):
        assert "echo: hello" in raw.read().decode()
    [ended] = rows(fresh_lake, "rollout_ended")
    assert ended["turn_count"] == 0
    assert extra(ended)["calls_not_recorded"] == ["an answer of /chat/completions was handed out unread"]


def test_copies_of_a_wrapped_client_record_and_wrapping_twice_records_once(
    fresh_lake: Lake, client: OpenAI
) -> None:
    with rollout(fresh_lake):
        client.with_options(timeout=20).chat.completions.create(model=MODEL, messages=[user("one")])
        record.wrap(client).chat.completions.create(model=MODEL, messages=[user("two")])
    assert len(turns(fresh_lake)) == 2


def test_a_call_outside_a_rollout_fails_before_it_is_sent_or_passes(
    fresh_lake: Lake, server: OpenAiServer, client: OpenAI
) -> None:
    sent = len(server.requests)
    with pytest.raises(RecordingError, match="no active rollout"):
        client.chat.completions.create(model=MODEL, messages=[user("hello")])
    with rollout(fresh_lake) as ended:
        pass
    bound = record.wrap(client, rollout=ended)
    with pytest.raises(RecordingError, match="which has ended"):
        bound.chat.completions.create(model=MODEL, messages=[user("hello")])
    assert len(server.requests) == sent
    passing = record.wrap(client, outside="pass")
    assert passing.chat.completions.create(model=MODEL, messages=[user("hello")]).choices
    assert turns(fresh_lake) == []


def test_other_clients_are_refused() -> None:
    with pytest.raises(RecordingError, match=r"Rollout\.turn"):
        record.wrap(object())  # type: ignore[type-var]


def test_changed_tools_and_settings_are_recorded_with_their_turn(fresh_lake: Lake, client: OpenAI) -> None:
    with rollout(fresh_lake):
        client.chat.completions.create(model=MODEL, messages=[user("a")], tools=TOOLS, temperature=0)
        client.chat.completions.create(model=MODEL, messages=[user("b")], temperature=1)
    first, second = turns(fresh_lake)
    assert first["extra_json"] is None
    assert extra(second) == {"tools": [], "settings": {"temperature": 1}}


def test_secrets_are_recorded_nowhere(fresh_lake: Lake, server: OpenAiServer) -> None:
    key = "sk-proj-" + "Ab3dEf6hIj9lMn2pQr5t" * 3
    client = record.wrap(OpenAI(base_url=server.base_url, api_key=key))
    with rollout(fresh_lake, config={"api_key": key, "turns": 3}):
        client.chat.completions.create(
            model=MODEL, messages=[user(f"my key is {key}")], extra_headers={"X-Key": key}
        )
    record.close(fresh_lake)
    kinds = ("rollout_started", "turn_completed", "rollout_ended")
    assert key not in str([rows(fresh_lake, kind) for kind in kinds])
