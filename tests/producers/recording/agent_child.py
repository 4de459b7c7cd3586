"""An agent in a process of its own, for tests that kill it: it says which turns were acknowledged."""

from __future__ import annotations

import sys
import threading
from typing import Any

from openai import OpenAI

from tracelake import Lake, record


def main(lake_uri: str, base_url: str) -> None:
    client = record.wrap(OpenAI(base_url=base_url, api_key="none"))
    with record.rollout(Lake.open(lake_uri), task="endless", environment="tests") as rollout:
        messages: list[Any] = []
        while True:
            messages.append({"role": "user", "content": "call add"})
            message = client.chat.completions.create(model="echo-1", messages=messages).choices[0].message
            messages.append(message)
            for call in message.tool_calls or []:
                rollout.tool(call.id, "4", return_code=0)
                messages.append({"role": "tool", "tool_call_id": call.id, "content": "4"})
            rollout.flush()
            print(rollout.turn_count, flush=True)
            if rollout.turn_count == 200:
                threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
