"""One export, top-down.

Flow: open the pin → check its tables and the teachers' terms → write into a hidden folder → write the card →
search all of it for secrets → give the folder its name.

**What leaves the lake has passed the secret gate**, and contains no teacher answer that its terms keep back
unless a person named the teacher.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict

from tracelake.consumers.exports import atif, hf, jsonl, trl_dpo, trl_prompts
from tracelake.consumers.exports.dataset_card import CARD, CardFacts, dataset_card
from tracelake.consumers.exports.output_folder import check_free, new_folder
from tracelake.consumers.exports.pinned_tables import check_tables, is_pinned
from tracelake.consumers.exports.secret_gate import search_files
from tracelake.consumers.exports.target import Target, Written
from tracelake.consumers.exports.teacher_terms import Terms, terms_of
from tracelake.lake import Lake
from tracelake.lake.pins.pins import OpenPin
from tracelake.schemas.errors import BadInputError

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (jsonl.TARGET, hf.TARGET, trl_dpo.TARGET, trl_prompts.TARGET, atif.TARGET)
}


class WithheldAnswers(BaseModel):
    """Pairs of one teacher that are not in an export."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    teacher: str
    license: str | None
    distillable: bool | None
    """False: the terms forbid it; null: nobody stated them."""
    pair_count: int


class ExportReport(BaseModel):
    """What an export wrote, and what it left out."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    target: str
    pin: str
    pin_digest: str
    folder: str
    rows: dict[str, int]
    """Rows by part of the export."""
    withheld: tuple[WithheldAnswers, ...]
    left_out: dict[str, int]
    """Other rows that are not in the files, by reason."""
    retracted: tuple[str, ...]
    """Exported rollouts that were retracted after the pin was created."""
    scanners: tuple[str, ...]
    """What searched the files for secrets."""
    allowed_count: int
    """Findings that the caller allowed."""


def export(
    lake: Lake,
    reference: str,
    target: str,
    folder: Path,
    *,
    include_withheld: Sequence[str] = (),
    allowed: Collection[str] = (),
) -> ExportReport:
    """Write a pin as files of a target into a new folder.

    `include_withheld` names teachers whose answers are exported whatever their terms; `allowed` lists
    findings that are no secrets, as SecretFoundError names them. Raises PinMissingError, PinChangedError,
    SecretFoundError, and BadInputError for an unknown target or teacher, a folder that is not empty, or a pin
    that gives no row.
    """
    chosen = _target(target)
    check_free(folder)
    pin = lake.open_pin(reference)
    check_tables(pin, chosen.name, chosen.tables)
    terms = terms_of(pin, include_withheld)
    with new_folder(folder) as partial:
        written = chosen.write(pin, terms, partial)
        _check_not_empty(pin, chosen, written, terms)
        facts = CardFacts(
            pin=pin.pin,
            target=chosen.name,
            written=written,
            terms=terms,
            has_teacher_answers=chosen.has_teacher_answers,
            rollout_models=_rollout_models(pin),
            retracted=tuple(sorted(written.rollout_ids.intersection(lake.retracted_in(pin.pin)))),
        )
        (partial / CARD).write_text(dataset_card(facts), encoding="utf-8")
        secrets = search_files(partial, allowed)
    withheld = terms.withheld() if chosen.has_teacher_answers else []
    return ExportReport(
        target=chosen.name,
        pin=pin.pin.reference,
        pin_digest=pin.pin.digest,
        folder=str(folder),
        rows={part.name: part.row_count for part in written.parts},
        withheld=tuple(
            WithheldAnswers(
                teacher=each.teacher,
                license=each.license,
                distillable=each.distillable,
                pair_count=each.pair_count,
            )
            for each in withheld
        ),
        left_out=dict(sorted(written.left_out.items())),
        retracted=facts.retracted,
        scanners=secrets.scanners,
        allowed_count=secrets.allowed_count,
    )


def _target(name: str) -> Target:
    if name not in TARGETS:
        raise BadInputError("no such target of an export", got=name, expected=", ".join(TARGETS))
    return TARGETS[name]


def _check_not_empty(pin: OpenPin, target: Target, written: Written, terms: Terms) -> None:
    if any(part.row_count for part in written.parts):
        return
    withheld = terms.withheld() if target.has_teacher_answers else []
    if withheld:
        names = sorted({each.teacher for each in withheld})
        raise BadInputError(
            f"an export of pin {pin.pin.reference} to {target.name} would be empty",
            got=f"{sum(each.pair_count for each in withheld)} pairs, all withheld",
            expected="a pair whose teacher's terms allow distillation",
            cure="State `distillable` in teachers.toml before asking, or include answers by name: "
            + " ".join(f"--include-withheld {name}" for name in names),
        )
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(written.left_out.items()))
    raise BadInputError(
        f"an export of pin {pin.pin.reference} to {target.name} would be empty",
        got=reasons or "pinned tables without rows",
        expected="at least one row",
    )


def _rollout_models(pin: OpenPin) -> tuple[tuple[str, int], ...]:
    """Models of the pinned rollouts, the most frequent first."""
    if not is_pinned(pin, "trajectories"):
        return ()
    counted = (
        pin.scan("trajectories")
        .group_by(pl.col("model").fill_null("unknown"))
        .agg(pl.len().alias("count"))
        .collect()
    )
    return tuple(counted.sort(["count", "model"], descending=[True, False]).iter_rows())
