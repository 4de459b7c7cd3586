"""Goal: a launch that differs from its lock is refused, and the refusal names every difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tracelake.schemas.errors import LockMismatchError
from tracelake.schemas.experiments.lock import Lock, compare_locks, lock_text, read_lock

FIELDS: dict[str, Any] = {
    "lock_version": 2,
    "experiment_id": "004",
    "spec_hash": "a",
    "pin": "small@1",
    "pin_digest": "b",
    "table_digests": {"pairs": "c"},
    "trainer_config": {"grpo": {"epsilon": 0.2, "min_p": None}, "auxiliary_losses": {"A": {"dpo_beta": 0.1}}},
    "tracelake_version": "0.1.0",
}
CHANGES: dict[str, Any] = {name: 3 if isinstance(value, int) else "changed" for name, value in FIELDS.items()}
CHANGES["table_digests"] = {"pairs": "d"}
CHANGES["trainer_config"] = {
    "grpo": {"epsilon": 0.3, "min_p": None},
    "auxiliary_losses": {"A": {"dpo_beta": 0.1}},
}
NAMES = {name: name for name in FIELDS} | {
    "table_digests": "table_digests.pairs",
    "trainer_config": "trainer_config.grpo.epsilon",
}
"""The key that a refusal names for each change."""


def value_at(fields: dict[str, Any], dotted: str) -> Any:
    value: Any = fields
    for name in dotted.split("."):
        value = value[name]
    return value


def test_the_fields_of_the_test_are_the_fields_of_the_lock() -> None:
    assert set(Lock.model_fields) == set(FIELDS)


def test_a_lock_survives_a_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.write_text(lock_text(Lock(**FIELDS)))
    assert read_lock(path) == Lock(**FIELDS)
    assert path.read_text().endswith("}\n")
    compare_locks(read_lock(path), Lock(**FIELDS), name="a.lock")


@pytest.mark.parametrize("name", FIELDS)
def test_each_difference_is_refused_by_name_with_both_values(name: str) -> None:
    with pytest.raises(LockMismatchError) as caught:
        compare_locks(Lock(**FIELDS), Lock(**{**FIELDS, name: CHANGES[name]}), name="a.lock")
    before, now = value_at(FIELDS, NAMES[name]), value_at(CHANGES, NAMES[name])
    assert f"in {NAMES[name]};" in str(caught.value)
    assert f"{NAMES[name]}: {before} → {now}" in str(caught.value)
    assert "a.lock" in str(caught.value)


def test_all_differences_are_named_at_once() -> None:
    with pytest.raises(LockMismatchError) as caught:
        compare_locks(Lock(**FIELDS), Lock(**CHANGES), name="a.lock")
    assert f"in {', '.join(NAMES.values())};" in str(caught.value)


def test_a_key_that_only_one_side_has_is_a_difference() -> None:
    more = FIELDS | {"trainer_config": {**FIELDS["trainer_config"], "added": {"key": 1}}}
    with pytest.raises(LockMismatchError, match=r"trainer_config\.added\.key: absent → 1"):
        compare_locks(Lock(**FIELDS), Lock(**more), name="a.lock")
    with pytest.raises(LockMismatchError, match=r"trainer_config\.added\.key: 1 → absent"):
        compare_locks(Lock(**more), Lock(**FIELDS), name="a.lock")


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"pin": 1}', b"[]"], ids=repr)
def test_a_file_that_is_not_a_lock_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.lock"
    path.write_bytes(data)
    with pytest.raises(LockMismatchError, match=r"a\.lock"):
        read_lock(path)
