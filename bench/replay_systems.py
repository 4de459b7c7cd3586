"""One process that sends questions to an endpoint by one system, and prints seconds, CPU and answers.

Usage: python bench/replay_systems.py SYSTEM FOLDER --url URL --warm-url URL [--at-once N]

Runs in the environment of the system: that of the peers has no tracelake. FOLDER has two sets of questions,
`warm` and `asked`, each as a lake and as a JSON list of chats. The first set goes to its own endpoint
before the clock starts, so imports and the set-up of libraries at their first call are not counted. CPU is
user and system time of the process and of the children that it waited for.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).parent.parent
MODEL = "model-one"
MAX_TOKENS = 1024
ATTEMPT_MAX = 8
BUDGET_MICROUSD = 10**9
PRICE = {"input": 3, "output": 15}

Chat = list[dict[str, Any]]


class System(Protocol):
    """Created before the clock starts; answers are counted after it has stopped."""

    def __init__(self, folder: Path, at_once: int) -> None: ...

    def ask(self, url: str) -> None:
        """Returns when every answer is stored in the way of the system."""
        ...

    def answer_count(self) -> int:
        """Answers that a reader finds."""
        ...


class Tracelake:
    """All of `tracelake replay`: choosing, reserving, asking, settling, landing."""

    at_once: int | None

    def __init__(self, folder: Path, at_once: int) -> None:
        sys.path.insert(0, str(ROOT))
        from tracelake.lake import Lake

        self.lake, self.at_once = Lake.open(str(folder / "lake")), at_once
        self.limits: dict[str, int] = {}

    def ask(self, url: str) -> None:
        from tracelake.producers.teachers.asking.questions import select
        from tracelake.producers.teachers.run.prepared import ReplayOptions
        from tracelake.producers.teachers.run.replay import replay
        from tracelake.producers.teachers.spec.teacher_file import TeacherSpec

        fields = {"name": "one", "base_url": url, "model": MODEL, "price": PRICE}
        spec = TeacherSpec.model_validate(
            {**fields, "sampling": {"max_tokens": MAX_TOKENS}, "limits": self.limits}
        )
        replay(
            self.lake,
            select(self.lake, "all"),
            [spec],
            ReplayOptions("bench", BUDGET_MICROUSD, self.at_once),
        )

    def answer_count(self) -> int:
        self.lake.project()
        return self.lake.scan("teacher_answered").collect().height


class TracelakeAuto(Tracelake):
    """As many at a time as the endpoint bears, and never more than the peers."""

    def __init__(self, folder: Path, at_once: int) -> None:
        super().__init__(folder, at_once)
        self.at_once, self.limits = None, {"concurrency_max": at_once}


class InspectAi:
    """An evaluation whose only solver is one call, with the log that it writes."""

    def __init__(self, folder: Path, at_once: int) -> None:
        from inspect_ai.dataset import Sample
        from inspect_ai.model import messages_from_openai

        self.folder, self.at_once = folder, at_once
        self.samples = [
            Sample(input=asyncio.run(messages_from_openai(chat)), id=str(number))
            for number, chat in enumerate(_chats(folder))
        ]

    def ask(self, url: str) -> None:
        from inspect_ai import Task, eval
        from inspect_ai.dataset import MemoryDataset
        from inspect_ai.model import get_model
        from inspect_ai.solver import generate

        eval(
            Task(dataset=MemoryDataset(self.samples), solver=generate()),
            model=get_model(f"openai-api/bench/{MODEL}", base_url=url, api_key="none", memoize=False),
            max_connections=self.at_once,
            max_tokens=MAX_TOKENS,
            log_dir=str(self.folder / "logs"),
            display="none",
        )

    def answer_count(self) -> int:
        from inspect_ai.log import list_eval_logs, read_eval_log

        samples = [
            each
            for log in list_eval_logs(str(self.folder / "logs"))
            for each in read_eval_log(log).samples or []
        ]
        return sum(bool(each.output.completion) for each in samples)


class Gather:
    """What most people write: a task per question, a semaphore, tenacity. Its answers are only in memory.

    Waits are as long as the endpoint asks for, outside of the semaphore.
    """

    def __init__(self, folder: Path, at_once: int) -> None:
        self.chats, self.at_once = _chats(folder), at_once
        self.answers: list[Any] = []

    def ask(self, url: str) -> None:
        asyncio.run(self._ask_all(url))

    def answer_count(self) -> int:
        return sum(isinstance(answer, str) for answer in self.answers)

    async def _ask_all(self, url: str) -> None:
        import openai
        from tenacity import retry, retry_if_exception_type, stop_after_attempt

        slots = asyncio.Semaphore(self.at_once)
        again = retry_if_exception_type((openai.RateLimitError, openai.APIConnectionError))

        @retry(wait=_requested_wait_s, stop=stop_after_attempt(ATTEMPT_MAX), retry=again)
        async def asked(chat: Any) -> str | None:
            async with slots:
                completion = await client.chat.completions.create(
                    model=MODEL, messages=chat, max_tokens=MAX_TOKENS
                )
                return completion.choices[0].message.content

        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            self.answers = await asyncio.gather(*map(asked, self.chats), return_exceptions=True)


class GatherStreamed(Gather):
    """The same with streams, as ours asks, and with the retries of the SDK instead of tenacity's."""

    async def _ask_all(self, url: str) -> None:
        import openai

        slots = asyncio.Semaphore(self.at_once)

        async def asked(chat: Any) -> str:
            async with slots:
                chunks = await client.chat.completions.create(
                    model=MODEL,
                    messages=chat,
                    max_tokens=MAX_TOKENS,
                    stream=True,
                    stream_options={"include_usage": True},
                )
                return "".join(
                    [chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices]
                )

        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=ATTEMPT_MAX) as client:
            self.answers = await asyncio.gather(*map(asked, self.chats), return_exceptions=True)


SYSTEMS: dict[str, type[System]] = {
    "tracelake": Tracelake,
    "tracelake_auto": TracelakeAuto,
    "inspect_ai": InspectAi,
    "gather_tenacity": Gather,
    "gather_streamed": GatherStreamed,
}


def _chats(folder: Path) -> list[Chat]:
    return json.loads((folder / "chats.json").read_text(encoding="utf-8"))


def _requested_wait_s(state: Any) -> float:
    headers = getattr(getattr(state.outcome.exception(), "response", None), "headers", {})
    return float(headers.get("retry-after", 2**state.attempt_number))


def _cpu_s() -> float:
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, whose))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("system", choices=SYSTEMS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--url", required=True)
    parser.add_argument("--warm-url", required=True)
    parser.add_argument("--at-once", type=int, default=32)
    given = parser.parse_args()
    system = SYSTEMS[given.system]
    system(given.folder / "warm", given.at_once).ask(given.warm_url)
    asked = system(given.folder / "asked", given.at_once)
    gc.collect()
    began_s, began_cpu_s = time.perf_counter(), _cpu_s()
    asked.ask(given.url)
    used = {"wall_s": time.perf_counter() - began_s, "cpu_s": _cpu_s() - began_cpu_s}
    print(json.dumps({**used, "answers": asked.answer_count()}))


if __name__ == "__main__":
    main()
