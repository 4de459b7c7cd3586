"""`tracelake.record`: record the rollouts of one's own agent while they happen.

Flow: `wrap` a client of OpenAI, open a `rollout` → its model calls become turns, `Rollout.tool` and
`Rollout.reward` add the rest → the events land one by one.

**The agent stays as it is**: a wrapped client answers as before, waits for nothing, and fails only as before.
**Rollouts may run concurrently**, in tasks and threads: a call belongs to the rollout whose block it is in.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from tracelake.lake.lake import Lake
from tracelake.producers.importers.conversion.fields import without_secrets
from tracelake.producers.recording.event_queue import close_queues, queue_of
from tracelake.producers.recording.live_rollout import Rollout, active_rollout
from tracelake.producers.recording.wrapped_client import wrap
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.events.rollout_events import RolloutStarted

__all__ = ["Rollout", "active_rollout", "close", "rollout", "wrap"]


def rollout(
    lake: Lake,
    *,
    task: str,
    environment: str,
    agent: str = "tracelake.record",
    agent_version: str | None = None,
    run: str | None = None,
    rollout_id: str | None = None,
    group: str | None = None,
    trial: int | None = None,
    policy_version: int | None = None,
    task_data: Any = None,
    config: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Rollout:
    """One rollout of a task; use it in `with` or `async with`.

    `task` names the task, equal for all rollouts of it; `task_data` is its question and answer. `run` names
    the run that rollouts belong to, by default this program's. `group` is shared by rollouts that are
    compared. `config` is the agent's own configuration; keys that name secrets are left out.
    """
    run = run or _run_of(os.getpid())
    started = RolloutStarted(
        rollout_id=rollout_id or f"live-{uuid.uuid4().hex}",
        task_key=task,
        environment=environment,
        substrate=agent,
        substrate_version=agent_version,
        source_run=run,
        group_id=group,
        trial_index=trial,
        policy_version=policy_version,
        task_json=None if task_data is None else canonical_text(task_data),
        config_json=canonical_text(without_secrets(dict(config))) if config else None,
        extra_json=canonical_text(without_secrets(dict(extra))) if extra else None,
    )
    return Rollout(lake, queue_of(lake, run), started)


def close(lake: Lake) -> None:
    """Land everything recorded into this lake so far, and write the ledger; the end of the program does it
    too. Raises LakeError."""
    close_queues(lake)


@cache
def _run_of(process_id: int) -> str:
    return f"record-{datetime.now(UTC):%Y%m%dT%H%M%S}-{process_id}-{uuid.uuid4().hex[:6]}"
