"""Target `atif`: one ATIF trajectory per rollout in `trajectories/`, and `rewards.jsonl`, because ATIF has no
field for rewards.

Flow: `atif_document` turns a rollout into a document → it is written under a name made from its rollout.

**A file's name is the rollout's id in plain letters with a hash**: ids are foreign text.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from tracelake.consumers.exports.atif_document import SCHEMA_VERSION, atif_document
from tracelake.consumers.exports.pinned_rollouts import ROLLOUT_TABLES, Rollout, rollouts
from tracelake.consumers.exports.target import Part, Target, Written
from tracelake.consumers.exports.teacher_terms import Terms
from tracelake.consumers.exports.turn_rows import parsed
from tracelake.lake.pins.pins import OpenPin
from tracelake.schemas.canonical import canonical_json, hash_of

FOLDER = "trajectories"
REWARDS = "rewards.jsonl"
NAME_LENGTH_MAX = 80
WITHOUT_TURNS = "rollouts without a turn: an ATIF trajectory needs one; their rewards are in rewards.jsonl"
USAGE = f"""Each file in `{FOLDER}` is one {SCHEMA_VERSION} trajectory, and `trajectory_id` is the rollout's
id in the lake. `{REWARDS}` has one line per reward: `rollout_id`, `trajectory` (the file, or null),
`turn_index` (null: the whole rollout), `name`, `score`, `weight`, `grader`, `grader_version`, `details`, and
`is_training_reward`, which is true for the reward that the lake's table `trajectories` names. Values that
ATIF has no field for are in `extra.tracelake` of the trajectory, of its steps and of their results."""


def write(pin: OpenPin, terms: Terms, folder: Path) -> Written:
    (folder / FOLDER).mkdir()
    left_out: Counter[str] = Counter()
    ids: set[str] = set()
    reward_count = 0
    with (folder / REWARDS).open("wb") as rewards:
        for rollout in rollouts(pin):
            name = None
            if rollout.turns:
                name = f"{FOLDER}/{file_name(rollout.rollout_id)}"
                (folder / name).write_bytes(canonical_json(atif_document(rollout)) + b"\n")
                ids.add(rollout.rollout_id)
            else:
                left_out[WITHOUT_TURNS] += 1
            for reward in rollout.rewards:
                rewards.write(canonical_json(_reward_line(rollout, reward, name)) + b"\n")
            reward_count += len(rollout.rewards)
    parts = (
        Part("trajectories", f"{FOLDER}/*.json", len(ids), f"one {SCHEMA_VERSION} document per rollout"),
        Part("rewards", REWARDS, reward_count, "one line per reward"),
    )
    return Written(parts, left_out, USAGE, is_dataset=False, rollout_ids=frozenset(ids))


def file_name(rollout_id: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", rollout_id).strip("._")[:NAME_LENGTH_MAX]
    return f"{plain or 'rollout'}-{hash_of(rollout_id)[:16]}.json"


def _reward_line(rollout: Rollout, reward: dict[str, Any], name: str | None) -> dict[str, Any]:
    is_main = (
        reward["turn_index"] is None
        and reward["name"] == "reward"
        and reward["grader"] == rollout.summary["grader"]
        and reward["score"] == rollout.summary["reward"]
    )
    return {
        "rollout_id": rollout.rollout_id,
        "trajectory": name,
        "details": parsed(reward["details_json"]),
        "is_training_reward": is_main,
        **{key: reward[key] for key in ("turn_index", "name", "score", "weight", "grader", "grader_version")},
    }


TARGET = Target("atif", ROLLOUT_TABLES, write, has_teacher_answers=False)
