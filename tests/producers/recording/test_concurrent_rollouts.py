"""Goal: concurrent rollouts of one process, in tasks and in threads, record each their own.

Method: many rollouts at once against a real server, each of which says its own name in every call.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import pytest
from openai import AsyncOpenAI, OpenAI

from tests.producers.recording.openai_server import MODEL, OpenAiServer
from tests.producers.recording.recorded import options, rows, turns, user
from tracelake import Lake, record
from tracelake.schemas.errors import RecordingError

ROLLOUTS = 12
TURNS = 4


def said_by_task(lake: Lake) -> dict[str, list[str]]:
    tasks = {row["rollout_id"]: row["task_key"] for row in rows(lake, "rollout_started")}
    found: defaultdict[str, list[str]] = defaultdict(list)
    for turn in turns(lake):
        found[tasks[turn["rollout_id"]]].append(json.loads(turn["action_json"])["content"])
    return dict(found)


def expected() -> dict[str, list[str]]:
    return {f"t{task}": [f"echo: t{task} {turn}" for turn in range(TURNS)] for task in range(ROLLOUTS)}


def test_tasks_record_into_their_own_rollouts(fresh_lake: Lake, server: OpenAiServer) -> None:
    async def play(client: AsyncOpenAI, task: str) -> None:
        async with record.rollout(fresh_lake, task=task, environment="tests") as opened:
            for turn in range(TURNS):
                await client.chat.completions.create(model=MODEL, messages=[user(f"{task} {turn}")])
            opened.reward(1.0, grader="tests")

    async def play_all() -> None:
        client = record.wrap(AsyncOpenAI(**options(server)))
        await asyncio.gather(*(play(client, f"t{task}") for task in range(ROLLOUTS)))

    asyncio.run(play_all())
    assert said_by_task(fresh_lake) == expected()
    assert len(rows(fresh_lake, "rollout_ended")) == len(rows(fresh_lake, "reward_assigned")) == ROLLOUTS


def test_threads_record_into_their_own_rollouts(fresh_lake: Lake, server: OpenAiServer) -> None:
    client = record.wrap(OpenAI(**options(server)))

    def play(task: str) -> None:
        with record.rollout(fresh_lake, task=task, environment="tests"):
            for turn in range(TURNS):
                client.chat.completions.create(model=MODEL, messages=[user(f"{task} {turn}")])

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(play, [f"t{task}" for task in range(ROLLOUTS)]))
    assert said_by_task(fresh_lake) == expected()


def test_calls_of_one_rollout_at_once_are_turns_of_it(fresh_lake: Lake, server: OpenAiServer) -> None:
    async def play() -> None:
        client = record.wrap(AsyncOpenAI(**options(server)))
        async with record.rollout(fresh_lake, task="t", environment="tests"):
            asked = (
                client.chat.completions.create(model=MODEL, messages=[user(str(number))])
                for number in range(8)
            )
            await asyncio.gather(*asked)

    asyncio.run(play())
    found = turns(fresh_lake)
    assert [turn["turn_index"] for turn in found] == list(range(8))
    assert {json.loads(turn["action_json"])["content"] for turn in found} == {f"echo: {n}" for n in range(8)}
    assert {turn["parent_turn_index"] for turn in found} == {None}


def test_a_thread_without_the_context_says_so_or_gets_the_rollout(
    fresh_lake: Lake, server: OpenAiServer
) -> None:
    client = record.wrap(OpenAI(**options(server)))
    raised: list[str] = []

    def ask(asked: OpenAI) -> None:
        try:
            asked.chat.completions.create(model=MODEL, messages=[user("hello")])
        except RecordingError as error:
            raised.append(str(error))

    with record.rollout(fresh_lake, task="t", environment="tests") as opened:
        inherited = contextvars.copy_context()
        for target, arguments in [
            (ask, (client,)),
            (ask, (record.wrap(client, rollout=opened),)),
            (inherited.run, (ask, client)),
        ]:
            thread = threading.Thread(target=target, args=arguments)
            thread.start()
            thread.join()
    assert len(raised) == 1
    assert "record.wrap(client, rollout=rollout)" in raised[0]
    assert len(turns(fresh_lake)) == 2


def test_a_rollout_inside_another_records_its_own_calls(fresh_lake: Lake, server: OpenAiServer) -> None:
    client = record.wrap(OpenAI(**options(server)))
    with record.rollout(fresh_lake, task="t0", environment="tests"):
        client.chat.completions.create(model=MODEL, messages=[user("outer")])
        with record.rollout(fresh_lake, task="t1", environment="tests"):
            client.chat.completions.create(model=MODEL, messages=[user("inner")])
        client.chat.completions.create(model=MODEL, messages=[user("outer again")])
    assert said_by_task(fresh_lake) == {"t0": ["echo: outer", "echo: outer again"], "t1": ["echo: inner"]}


def test_a_task_that_outlives_its_rollout_says_so(fresh_lake: Lake, server: OpenAiServer) -> None:
    async def play() -> None:
        client = record.wrap(AsyncOpenAI(**options(server)))
        async with record.rollout(fresh_lake, task="t", environment="tests"):
            late = asyncio.create_task(ask_later(client))
        with pytest.raises(RecordingError, match="which has ended"):
            await late

    async def ask_later(client: AsyncOpenAI) -> None:
        await asyncio.sleep(0.2)
        await client.chat.completions.create(model=MODEL, messages=[user("hello")])

    asyncio.run(play())
    assert rows(fresh_lake, "rollout_ended")[0]["turn_count"] == 0
