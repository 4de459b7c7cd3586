"""`README.md` of an export: what the files are, where they come from, and what may be done with them.

**Everything in it is from the pin** or was counted while writing; nothing depends on the time or the machine,
so that equal exports have equal bytes.
**Names of teachers and models are foreign text**: they are quoted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from tracelake.consumers.exports.target import Written
from tracelake.consumers.exports.teacher_terms import TeacherTerms, Terms
from tracelake.schemas.pin import Pin
from tracelake.schemas.version import TRACELAKE_VERSION

CARD = "README.md"
_LISTED_MAX = 20


class CardFacts(NamedTuple):
    pin: Pin
    target: str
    written: Written
    terms: Terms
    has_teacher_answers: bool
    rollout_models: tuple[tuple[str, int], ...]
    """Models that acted in the pinned rollouts, each with its number of rollouts."""
    retracted: tuple[str, ...]
    """Exported rollouts that were retracted after the pin."""


def dataset_card(facts: CardFacts) -> str:
    sections = [
        _front_matter(facts),
        f"# Export of pin `{facts.pin.reference}` as `{facts.target}`",
        _contents(facts),
        f"## How to read it\n\n{facts.written.usage}",
        _source(facts.pin),
        _teachers(facts),
        _filters(facts.pin),
        _losses(facts),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(facts: CardFacts) -> str:
    """YAML, with each value as JSON, which YAML contains."""
    lines = ["---", "license: other", 'tags: ["agent-traces", "tracelake"]']
    if facts.written.is_dataset:
        lines.append("configs:")
        for index, part in enumerate(facts.written.parts):
            lines.append(f"- config_name: {_json(part.name)}")
            lines += ["  default: true"] if index == 0 else []
            lines += ["  data_files:", "  - split: train", f"    path: {_json(part.files)}"]
    tables = {name: table.digest for name, table in facts.pin.tables.items()}
    tracelake = {
        "target": facts.target,
        "pin": facts.pin.reference,
        "pin_digest": facts.pin.digest,
        "pinned_by": facts.pin.tracelake_version,
        "exported_by": TRACELAKE_VERSION,
        "tables": tables,
        "rows": {part.name: part.row_count for part in facts.written.parts},
    }
    return "\n".join([*lines, f"tracelake: {_json(tracelake)}", "---"])


def _contents(facts: CardFacts) -> str:
    rows = [[part.name, f"`{part.files}`", part.row_count, part.meaning] for part in facts.written.parts]
    return "## Contents\n\n" + _table(["part", "files", "rows", "meaning"], rows)


def _source(pin: Pin) -> str:
    rows = [
        [f"`{name}`", table.row_count, f"`{table.digest}`", table.code_version or "–"]
        for name, table in pin.tables.items()
    ]
    return (
        f"## Source\n\nPin `{pin.reference}`, digest `{pin.digest}`.\n\n"
        f"{_table(['table', 'rows', 'digest', 'fold version'], rows)}"
    )


def _teachers(facts: CardFacts) -> str:
    text = ["## Models and terms"]
    if facts.has_teacher_answers and facts.terms.teachers:
        rows = [_teacher_cells(each, facts.terms) for each in facts.terms.teachers]
        heads = ["teacher", "model", "answers", "licence", "distillable", "pairs", "exported"]
        text += [_table(heads, rows), _withheld(facts.terms)]
    if facts.rollout_models:
        rows = [[_quoted(model), count] for model, count in facts.rollout_models[:_LISTED_MAX]]
        text += [
            "Models that acted in the rollouts. The lake records no terms of recorded rollouts: whoever "
            "publishes or trains on them must know those of these models.",
            _table(["model", "rollouts"], rows),
        ]
        if len(facts.rollout_models) > _LISTED_MAX:
            text.append(f"And {len(facts.rollout_models) - _LISTED_MAX} more.")
    text.append(
        "The licence of the whole is `other`: it depends on the terms above and on those of the tasks, which "
        "the lake does not record."
    )
    return "\n\n".join(text)


def _teacher_cells(each: TeacherTerms, terms: Terms) -> list[Any]:
    is_allowed = terms.allow(each.teacher, each.distillable)
    exported = "withheld" if not is_allowed else "yes" if each.distillable else "yes, asked for by name"
    known = {True: "yes", False: "no", None: "unknown"}[each.distillable]
    license_name = _quoted(each.license) if each.license else "unknown"
    return [
        *(_quoted(each.teacher), _quoted(each.teacher_model or "unknown"), each.teacher_origin),
        *(license_name, known, each.pair_count, exported),
    ]


def _withheld(terms: Terms) -> str:
    count = sum(each.pair_count for each in terms.withheld())
    return (
        f"{count} pairs are withheld, because the terms of the teacher's answer do not allow training other "
        "models on it, or nobody stated them. Votes of all teachers decided which action is preferred, also "
        "those of withheld answers."
    )


def _filters(pin: Pin) -> str:
    settings = [
        [f"`{name}`", _quoted(_json(table.parameters))]
        for name, table in pin.tables.items()
        if table.parameters
    ]
    text = (
        "## Filters\n\nAll rows of the pinned tables, which are without events in conflict and without "
        "rollouts that were retracted before."
    )
    return f"{text}\n\n{_table(['table', 'parameters'], settings)}" if settings else text


def _losses(facts: CardFacts) -> str:
    pin = facts.pin
    quarantined = sum(len(table.quarantined) for table in pin.tables.values())
    lost = sum(line.lost for line in pin.run_counts)
    rejected = sum(counts.rejected for counts in pin.ledger.values())
    lines = [
        f"{rejected} pieces of sources were refused on import, each recorded as `event_rejected`.",
        f"{quarantined} events of the pinned tables are in conflict and left out.",
        f"{lost} events were dropped by a full queue while they were recorded.",
        *(f"{count} {reason}." for reason, count in sorted(facts.written.left_out.items())),
        "Secrets that were found on import are replaced by tokens.",
    ]
    if facts.retracted:
        listed = ", ".join(_quoted(name) for name in facts.retracted[:_LISTED_MAX])
        more = len(facts.retracted) - _LISTED_MAX
        lines.append(
            f"{len(facts.retracted)} exported rollouts were retracted after the pin was created: {listed}"
            + (f" and {more} more." if more > 0 else ".")
        )
    return "## Known losses\n\n" + "\n".join(f"- {line}" for line in lines)


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def _quoted(text: str) -> str:
    """Foreign text as code, on one line, without marks that would end the code or the cell."""
    plain = re.sub(r"\s+", " ", "".join(letter if letter.isprintable() else "?" for letter in text))
    return f"`{plain.replace('`', chr(39)).replace('|', '/').strip() or '?'}`"


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
