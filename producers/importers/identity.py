"""The identity of a rollout: which recording is the same rollout as another.

**A rollout is its source's own id** where the source has one. Else it is its task, configuration and first
response, which has an id or a time. Else it is its content; equal contents in one file are numbered.
**The path is provenance, and no identity**: a copy of a file elsewhere is the same rollout, and two runs with
the same layout are different ones. Only where nothing was sampled, such as trials that died before their
first call, the end of the path joins the identity, and the report says that it is weak.
**A user can decide**: `--run NAME` makes the run's name a part of every identity, `--distinct` the path.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import Any, NamedTuple

from tracelake.lake.secrets.public_text import redact_text
from tracelake.producers.importers.importer import ImportOptions
from tracelake.producers.importers.source import Source
from tracelake.schemas.canonical import canonical_json

LABEL_LENGTH = 60
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9._-]+")


class RolloutIdentity(NamedTuple):
    """The id of a rollout, and whether another rollout could have it."""

    rollout_id: str
    weak: bool = False
    """Nothing in it is unique: only the position in the file, or the file's name, tells it from others."""


class Identities:
    """Names the rollouts of one source, in the order of its records."""

    def __init__(self, prefix: str, source: Source, options: ImportOptions, *, stable_parts: int = 2) -> None:
        """`prefix` begins each id; `stable_parts` counts the parts at the end of the path that the recorder
        itself names."""
        self._prefix = prefix
        self._source = source
        self._stable_parts = stable_parts
        self._chosen: list[Any] = []
        if options.run is not None:
            self._chosen.append({"run": options.run})
        if options.distinct:
            self._chosen.append({"path": source.uri})
        self._seen: Counter[str] = Counter()

    def own(self, label: object, *ids: object) -> RolloutIdentity:
        """By the id that the source gave the rollout, with whatever makes it unique."""
        return self._named(label, ["id", *ids])

    def first_call(self, label: object, *stable: object) -> RolloutIdentity:
        """By task, configuration, and the id or the time of the first response."""
        return self._named(label, ["call", *stable])

    def content(self, label: object, *stable: object, is_unique: bool = True) -> RolloutIdentity:
        """By what the record says; `stable` must not change when the recording grows or is scored again.

        `is_unique` is false if equal records of different files are different rollouts, as they are where no
        model said anything: then the end of the path joins the identity."""
        parts = ["content", hashlib.sha256(canonical_json(list(stable))).hexdigest()]
        if not is_unique:
            parts.append(self._source.stable_name(self._stable_parts))
        number = self._seen[str(parts)]
        self._seen[str(parts)] += 1
        return self._named(label, [*parts, number], weak=number > 0 or not is_unique)

    def _named(self, label: object, identity: list[Any], *, weak: bool = False) -> RolloutIdentity:
        # Redacted before it is cut: a piece of a secret would no longer be recognised.
        readable = _NOT_IN_ID.sub("-", redact_text(str(label or ""))).strip("-.")[:LABEL_LENGTH]
        digest = hashlib.sha256(canonical_json([self._prefix, *identity, *self._chosen])).hexdigest()[:16]
        return RolloutIdentity("-".join(part for part in (self._prefix, readable, digest) if part), weak)
