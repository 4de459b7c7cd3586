"""Lance tables: opening, committing and scanning them.

**A commit of rows and cursor is one compare-and-swap.** A `Merge` over the fragments of the version that was
read is refused if anything else was committed since. The cursor is in the schema metadata, so it commits with
the rows or not at all.
**A reset connection during a commit counts as a lost race**: the table is reopened, which shows whether the
commit succeeded.
**Nothing else appends to these tables.** A plain append would not be refused; it would only cause retries.
**A `Location` carries the store's options**; plain text is a local path.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Literal, cast

import lance
import polars as pl
import pyarrow as pa
from lance import LanceDataset, LanceOperation, Transaction
from lance.schema import LanceSchema

from tracelake.lake.stores.location import Location
from tracelake.lake.stores.request_errors import raise_if_unavailable
from tracelake.lake.tables.fsync import now, sync_commit, sync_data, sync_recent
from tracelake.lake.tables.lance_errors import (
    RACES_MAX,
    contended,
    is_gone,
    manifest_gone,
    panics_as_errors,
    retry_on_conflict,
    should_retry,
)
from tracelake.lake.tables.torn_manifests import (
    quarantine_torn_manifests,
    quarantine_torn_once,
    raise_if_torn,
)
from tracelake.schemas.errors import CommitContendedError, CorruptFileError, TableMissingError

STORAGE_VERSION = "2.2"
CURSOR = "tracelake.cursor"
DERIVATION = "tracelake.derivation"


def open_table(location: str, version: int | None = None) -> LanceDataset | None:
    """None if there is no table. Raises TableMissingError if the table exists without this version."""
    if version is None:
        quarantine_torn_once(location)
        return retry_on_conflict(f"opening {location}", lambda: _open_newest(location))
    try:
        return _open(location, version)
    except (ValueError, OSError, CorruptFileError) as error:
        raise_if_unavailable(location, error)
        if open_table(location) is not None:
            raise TableMissingError(
                f"table {location.rsplit('/', 1)[-1]} has no version {version}",
                got=str(error).splitlines()[0],
                expected="a version that cleanup has not removed",
                cure="Run `tracelake pins` for the versions that are pinned.",
            ) from error
        if is_gone(error):
            return None
        raise


def reopen_newest(dataset: LanceDataset) -> LanceDataset:
    return retry_on_conflict(
        f"opening {dataset.uri}", lambda: dataset.checkout_version(dataset.latest_version)
    )


def lost_to_cleanup(dataset: LanceDataset, error: Exception) -> bool:
    """True if the version that this process has open was replaced, and cleanup removed one of its files."""
    return is_gone(error) and reopen_newest(dataset).version != dataset.version


def create_table(location: str, schema: pa.Schema) -> LanceDataset:
    """An empty table, or the one that another process has just created. Raises CommitContendedError."""
    for _ in range(RACES_MAX):
        began = now()
        try:
            created = _write_dataset(location, schema.empty_table(), "create")
        except OSError as error:
            retry = should_retry(location, error)
            dataset = open_table(location)
            if dataset is not None:
                return dataset
            if not retry:
                raise
            continue
        sync_recent(location, began)
        raise_if_torn(location)
        return created
    raise contended(f"creating {location.rsplit('/', 1)[-1]}")


def replace_rows(location: str, rows: pa.Table, *, exists: bool) -> LanceDataset:
    """A new version that contains exactly these rows; older versions stay until cleanup.

    Of several racing calls the last one wins. Raises CommitContendedError.
    """
    for _ in range(RACES_MAX):
        began = now()
        try:
            # Overwriting a table that does not exist makes Lance warn on stderr.
            written = _write_dataset(location, rows, "overwrite" if exists else "create")
        except OSError as error:
            retry = should_retry(location, error)
            was_created = not exists and open_table(location) is not None
            if not was_created and not retry:
                raise
            exists = exists or was_created
            continue
        sync_recent(location, began)
        raise_if_torn(location)
        return written
    raise contended(f"writing {location.rsplit('/', 1)[-1]}")


def add_missing_columns(dataset: LanceDataset, schema: pa.Schema) -> LanceDataset:
    """Add the nullable columns of the schema that the table lacks because an older version created it.
    Raises CommitContendedError."""
    for _ in range(RACES_MAX):
        # Lance builds its schema anew at each access.
        names = set(dataset.schema.names)
        missing = [field for field in schema if field.name not in names]
        if not missing:
            return dataset
        began = now()
        try:
            dataset.add_columns(pa.schema(missing))
            sync_recent(dataset.uri, began)
        except OSError as error:
            if not should_retry(dataset.uri, error):
                raise
        dataset = reopen_newest(dataset)
    raise contended(f"adding columns to {dataset.uri.rsplit('/', 1)[-1]}")


def append_with_cursor(dataset: LanceDataset, rows: pa.Table, cursor: dict[str, int]) -> LanceDataset | None:
    """Commit rows and cursor onto exactly the version that was read; None if another commit came first."""
    try:
        fragments = lance.fragment.write_fragments(rows, dataset) if rows.num_rows else []
    except OSError as error:
        raise_if_unavailable(dataset.uri, error)
        raise
    sync_data(dataset.uri, fragments)
    text = json.dumps(cursor, sort_keys=True)
    # pylance has no setter for the metadata of `dataset.lance_schema`. Columns are only ever appended, so the
    # schema rebuilt from Arrow has the same field ids; Lance refuses the commit if an id differs.
    arrow_schema = dataset.schema
    schema = LanceSchema.from_pyarrow(
        arrow_schema.with_metadata({**(arrow_schema.metadata or {}), CURSOR: text})
    )
    merge = LanceOperation.Merge(
        [fragment.metadata for fragment in dataset.get_fragments()] + list(fragments), schema
    )
    transaction = Transaction(dataset.version, merge, transaction_properties={CURSOR: text})
    try:
        committed = LanceDataset.commit(dataset, transaction, max_retries=0)
    except OSError as error:
        if not should_retry(dataset.uri, error):
            raise
        return None
    sync_commit(committed, transaction.uuid)
    raise_if_torn(dataset.uri)
    return committed


def commit_empty_version(dataset: LanceDataset) -> LanceDataset:
    """A new version without new rows, to be leased for long: its manifest names every fragment once, where
    the manifest of an append names it three times. Raises OSError if another commit conflicts, or the disk
    is full."""
    transaction = Transaction(dataset.version, LanceOperation.UpdateConfig())
    committed = LanceDataset.commit(dataset, transaction)
    sync_commit(committed, transaction.uuid)
    raise_if_torn(dataset.uri)
    return committed


def overwrite_rows(
    dataset: LanceDataset, schema: pa.Schema, batches: Iterable[pa.Table], notes: dict[str, Any]
) -> LanceDataset:
    """One commit that replaces all rows and all metadata notes. Raises CommitContendedError if another commit
    came first; nothing has changed then."""
    fragments: list[Any] = []
    for rows in batches:
        written = lance.fragment.write_fragments(rows.cast(schema), dataset, mode="overwrite")
        fragments.extend(written)
        sync_data(dataset.uri, written)
    metadata = {**(schema.metadata or {}), **{key: json.dumps(note) for key, note in notes.items()}}
    operation = LanceOperation.Overwrite(schema.with_metadata(metadata), fragments)
    transaction = Transaction(dataset.version, operation)
    try:
        committed = LanceDataset.commit(dataset, transaction, max_retries=0)
    except OSError as error:
        raise CommitContendedError(
            f"another process wrote to table {dataset.uri}",
            got=str(error).partition("\n")[0],
            expected="no other projector",
            cure="Stop the projectors, then try again.",
        ) from error
    sync_commit(committed, transaction.uuid)
    return committed


def schema_note(dataset: LanceDataset, key: str) -> dict[str, Any] | None:
    """A JSON note in the table's schema metadata; None if there is none."""
    text = (dataset.schema.metadata or {}).get(key.encode())
    return None if text is None else cast("dict[str, Any]", json.loads(text))


def scan_table(dataset: LanceDataset, version: int | None) -> pl.LazyFrame:
    """Rows of a version, or of the newest one at the time of `collect`. Row order is not defined: sort.

    `pl.scan_lance` is unstable API; this is its only call. Given an address, it would load all of LanceDB.
    """
    return pl.scan_lance(dataset, version=version)


def _open_newest(location: str) -> LanceDataset | None:
    try:
        return _open(location, None)
    except (ValueError, OSError, CorruptFileError) as error:
        raise_if_unavailable(location, error)
        if quarantine_torn_manifests(location):
            return _open_newest(location)
        if is_gone(error) and not manifest_gone(error):
            return None
        raise


def _open(location: str, version: int | None) -> LanceDataset:
    with panics_as_errors(location):
        return lance.dataset(location, version=version, storage_options=_options(location))


def _write_dataset(location: str, rows: pa.Table, mode: Literal["create", "overwrite"]) -> LanceDataset:
    return lance.write_dataset(
        rows,
        location,
        mode=mode,
        enable_stable_row_ids=True,
        data_storage_version=STORAGE_VERSION,
        storage_options=_options(location),
    )


def _options(location: str) -> dict[str, str] | None:
    options = location.options if isinstance(location, Location) else None
    return dict(options) if options else None
