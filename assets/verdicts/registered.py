"""Experiments as they were registered."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import orjson
import polars as pl

from tracelake.lake import Lake
from tracelake.schemas.errors import TableMissingError
from tracelake.schemas.experiments.experiment import AnyExperiment, parse_experiment_fields


class Registered(NamedTuple):
    """One registration."""

    experiment: AnyExperiment
    spec_hash: str
    recorded_at: datetime


def last_registered(lake: Lake, experiment_id: str) -> Registered | None:
    """The latest registration under this id; null if there is none. Tables as they stand."""
    try:
        rows = lake.scan("experiment_registered").filter(pl.col("experiment_id") == experiment_id)
        known = rows.select("spec_json", "spec_hash", "recorded_at").collect()
    except TableMissingError:
        return None
    if not known.height:
        return None
    text, spec_hash, recorded_at = known.sort("recorded_at", "spec_hash").row(-1)
    experiment = parse_experiment_fields(orjson.loads(text), name=experiment_id)
    return Registered(experiment, spec_hash, recorded_at)
