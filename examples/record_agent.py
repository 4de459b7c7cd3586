"""An agent of twenty lines that repairs tiny functions, recorded into a lake.

Run: `python examples/record_agent.py my-lake`. It asks the server that `OPENAI_BASE_URL` names; without one
it starts the local teachers, which need no key.
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from typing import Any

from openai import OpenAI

from tracelake import Lake, record
from tracelake.producers.local_teachers.server import TeacherServer
from tracelake.producers.worlds.tiny_functions.world import tiny_functions

MODEL = os.environ.get("MODEL", "tiny-teacher-80")
TURNS_MAX = 8


def repair(client: OpenAI, environment: Any, task: Any, rollout: record.Rollout) -> None:
    messages: list[Any] = environment.reset(task)
    done = False
    while not done:
        if rollout.turn_count == TURNS_MAX:
            break
        reply = client.chat.completions.create(
            model=MODEL, messages=messages, tools=list(environment.tools), temperature=0.0
        )
        message = reply.choices[0].message
        messages.append(message)
        done = not message.tool_calls
        for call in message.tool_calls or []:
            result = environment.call(call.function.name, call.function.arguments)
            rollout.tool(call.id, result.raw_output, visible_output=result.visible_output, error=result.error)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result.visible_output})
            done = done or result.done
    for name, score in environment.rewards().items():
        rollout.reward(score, grader="tests", name=name)
    rollout.end("completed" if done else "max_turns", submission=environment.source)


def main(lake_uri: str, task_count: int = 5) -> None:
    lake = Lake.open_or_create(lake_uri)
    world = tiny_functions()
    environment = world.new_environment()
    given = os.environ.get("OPENAI_BASE_URL")
    with nullcontext() if given else TeacherServer() as server:
        client = OpenAI() if server is None else OpenAI(base_url=server.base_url, api_key="none")
        client = record.wrap(client)
        for task in world.heldout_tasks(0, task_count):
            with record.rollout(lake, task=task.task_id, environment=world.name, agent="repair") as rollout:
                repair(client, environment, task, rollout)
    print(lake.scan("rollout_ended", fresh=True).select("rollout_id", "stop_reason", "turn_count").collect())


if __name__ == "__main__":
    main(sys.argv[1])
