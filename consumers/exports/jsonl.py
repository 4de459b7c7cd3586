"""Target `jsonl`: one line per turn, (state, action, reward), in `turns.jsonl`.

**Bytes are reproducible**: lines are canonical JSON, ordered by rollout and turn.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tracelake.consumers.exports.pinned_rollouts import ROLLOUT_TABLES, rollouts
from tracelake.consumers.exports.target import Part, Target, Written
from tracelake.consumers.exports.teacher_terms import Terms
from tracelake.consumers.exports.turn_rows import turn_row
from tracelake.lake.pins.pins import OpenPin
from tracelake.schemas.canonical import canonical_json

FILE = "turns.jsonl"
WITHOUT_TURNS = "rollouts without a turn, which have no line"
USAGE = """Each line of `turns.jsonl` is one turn:

```python
import json

for line in open("turns.jsonl", encoding="utf-8"):
    turn = json.loads(line)
    turn["state"], turn["action"], turn["reward"]
```

`state` is the whole list of messages that the model saw, `action` its assistant message, `tool_results` what
the tools returned. `reward` is that of the whole rollout and is repeated on each of its turns; `turn_rewards`
are rewards of this turn. `prompt_ids`, `completion_ids` and `sampling_logprobs` are null where the source has
none."""


def write(pin: OpenPin, terms: Terms, folder: Path) -> Written:
    line_count = 0
    left_out: Counter[str] = Counter()
    ids: set[str] = set()
    with (folder / FILE).open("wb") as file:
        for rollout in rollouts(pin):
            for turn in rollout.turns:
                file.write(canonical_json(turn_row(rollout, turn)) + b"\n")
            line_count += len(rollout.turns)
            if rollout.turns:
                ids.add(rollout.rollout_id)
            else:
                left_out[WITHOUT_TURNS] += 1
    part = Part("turns", FILE, line_count, "one line per turn: state, action, reward")
    return Written((part,), left_out, USAGE, is_dataset=False, rollout_ids=frozenset(ids))


TARGET = Target("jsonl", ROLLOUT_TABLES, write, has_teacher_answers=False)
