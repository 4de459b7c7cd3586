"""Lance tables: opening, committing and scanning them. Beside lake/tables/care.py the only user of pylance.

**A commit of rows and cursor is one compare-and-swap.** `Merge` with the fragments of the version that was
read is refused if anything else was committed since; the cursor travels in the schema's metadata, so it
lands with the rows or not at all.
**A commit under which the connection was reset is a race that may be lost**: the table is looked at again.
**Nothing else appends to these tables.** A plain append would not be refused, only make us try again.
**A `Location` says how its store is reached**; plain text is a local path.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import lance
import polars as pl
import pyarrow as pa
from lance import LanceDataset, LanceOperation, Transaction

from tracelake.lake.stores.location import Location, raise_if_unavailable, was_reset
from tracelake.lake.tables.torn_manifests import quarantine_torn_manifests, quarantine_torn_once, raise_if_torn, panics_as_errors
from tracelake.lake.tables.fsync import now, sync_commit, sync_data, sync_recent
from tracelake.lake.tables.lance_errors import RACES_MAX, contended, is_gone, lost_race, manifest_gone, retry_on_conflict
from tracelake.schemas.errors import CorruptFileError, TableMissingError

STORAGE_VERSION = "2.2"
CURSOR = "tracelake.cursor"
DERIVATION = "tracelake.derivation"


def open_table(location: str, version: int | None = None) -> LanceDataset | None:
    """Null if there is no table at the location. Raises TableMissingError if there is one, but not of this
    version."""
    if version is None:
        quarantine_torn_once(location)
        return retry_on_conflict(f"opening {location}", lambda: _head(location))
    try:
        return _opened(location, version)
    except (ValueError, OSError, CorruptFileError) as error:
        raise_if_unavailable(location, error)
        if open_table(location) is not None:
            raise TableMissingError(
                f"table {location.rsplit('/', 1)[-1]} has no version {version}",
                got=str(error).splitlines()[0],
                expected="a version that cleanup has kept",
                cure="Run `tracelake pins` for the versions that are pinned.",
            ) from error
        if is_gone(error):
            return None
        raise


def create_table(location: str, schema: pa.Schema) -> LanceDataset:
    """An empty table, or the one that another process has just created. Raises CommitContendedError."""
    for _ in range(RACES_MAX):
        began = now()
        try:
            made = lance.write_dataset(
                schema.empty_table(),
                location,
                mode="create",
                enable_stable_row_ids=True,
                data_storage_version=STORAGE_VERSION,
                storage_options=_options(location),
            )
        except OSError as error:
            is_lost = _lost(location, error)
            dataset = open_table(location)
            if dataset is not None:
                return dataset
            if not is_lost:
                raise
            continue
        sync_recent(location, began)
        raise_if_torn(location)
        return made
    raise contended(f"making {location.rsplit('/', 1)[-1]}")


def add_missing_columns(dataset: LanceDataset, schema: pa.Schema) -> LanceDataset:
    """The dataset with the nullable columns of the schema that it lacks: an older version made it.
    Raises CommitContendedError."""
    for _ in range(RACES_MAX):
        missing = _missing(dataset, schema)
        if not missing:
            return dataset
        began = now()
        try:
            dataset.add_columns(pa.schema(missing))
            sync_recent(dataset.uri, began)
        except OSError as error:
            if not _lost(dataset.uri, error):
                raise
        dataset = newest(dataset)
    raise contended(f"widening {dataset.uri.rsplit('/', 1)[-1]}")


def newest(dataset: LanceDataset) -> LanceDataset:
    """The dataset as it is now."""
    return retry_on_conflict(f"opening {dataset.uri}", lambda: dataset.checkout_version(dataset.latest_version))


def lost_to_cleanup(dataset: LanceDataset, error: Exception) -> bool:
    """A file of a version that is not the newest any more was cleaned away: whoever holds it was held up."""
    return is_gone(error) and newest(dataset).version != dataset.version


def append_with_cursor(dataset: LanceDataset, rows: pa.Table, cursor: dict[str, int]) -> LanceDataset | None:
    """Commit rows and cursor onto exactly the version that was read; null if another commit came first."""
    with _refusals_told(dataset.uri):
        fragments = lance.fragment.write_fragments(rows, dataset) if rows.num_rows else []
    sync_data(dataset.uri, fragments)
    text = json.dumps(cursor, sort_keys=True)
    schema = _with_metadata(dataset.lance_schema, CURSOR, text)
    merge = LanceOperation.Merge(
        [fragment.metadata for fragment in dataset.get_fragments()] + list(fragments), schema
    )
    transaction = Transaction(dataset.version, merge, transaction_properties={CURSOR: text})
    try:
        committed = LanceDataset.commit(dataset, transaction, max_retries=0)
    except OSError as error:
        if not _lost(dataset.uri, error):
            raise
        return None
    sync_commit(committed, transaction.uuid)
    raise_if_torn(dataset.uri)
    return committed


def replace_rows(location: str, rows: pa.Table, *, exists: bool) -> LanceDataset:
    """A new version that holds exactly these rows; older versions stay until cleanup.

    Of several that race the last stands. Raises CommitContendedError.
    """
    for _ in range(RACES_MAX):
        began = now()
        try:
            made = lance.write_dataset(
                rows,
                location,
                # Lance warns on stderr of overwriting what is not there yet.
                mode="overwrite" if exists else "create",
                enable_stable_row_ids=True,
                data_storage_version=STORAGE_VERSION,
                storage_options=_options(location),
            )
        except OSError as error:
            is_lost = _lost(location, error)
            created_meanwhile = not exists and open_table(location) is not None
            if not created_meanwhile and not is_lost:
                raise
            exists = exists or created_meanwhile
            continue
        sync_recent(location, began)
        raise_if_torn(location)
        return made
    raise contended(f"writing {location.rsplit('/', 1)[-1]}")


def schema_note(dataset: LanceDataset, key: str) -> dict[str, Any] | None:
    """A JSON note in the table's schema metadata; null if there is none."""
    text = (dataset.schema.metadata or {}).get(key.encode())
    return None if text is None else cast("dict[str, Any]", json.loads(text))


def scan_table(dataset: LanceDataset, version: int | None) -> pl.LazyFrame:
    """Of a version, or of the one that is the newest when rows are asked for. Row order is not defined: sort.

    `pl.scan_lance` is unstable API; this is its only call. Of an address it would load all of LanceDB first.
    """
    return pl.scan_lance(dataset, version=version)


def _head(location: str) -> LanceDataset | None:
    try:
        return _opened(location, None)
    except (ValueError, OSError, CorruptFileError) as error:
        raise_if_unavailable(location, error)
        if quarantine_torn_manifests(location):
            return _head(location)
        if is_gone(error) and not manifest_gone(error):
            return None
        raise


def _opened(location: str, version: int | None) -> LanceDataset:
    with panics_as_errors(location):
        return lance.dataset(location, version=version, storage_options=_options(location))


def _missing(dataset: LanceDataset, schema: pa.Schema) -> list[pa.Field]:
    # Lance makes its schema anew each time that it is asked.
    names = set(dataset.schema.names)
    return [field for field in schema if field.name not in names]


def _options(location: str) -> dict[str, str] | None:
    options = location.options if isinstance(location, Location) else None
    return dict(options) if options else None


def _lost(location: str, error: OSError) -> bool:
    """Whether to look at the table and begin anew: another commit came first, or nobody knows what became of
    this one. Raises StoreUnavailableError."""
    if was_reset(error):
        return True
    raise_if_unavailable(location, error)
    return lost_race(error)


@contextmanager
def _refusals_told(location: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise_if_unavailable(location, error)
        raise


def _with_metadata(lance_schema: Any, key: str, value: str) -> Any:
    """pylance 14 has no setter for a LanceSchema's metadata, and a pyarrow schema in `Merge` may remap
    field ids.

    Its pickle form holds the metadata as the JSON text of {key: [bytes]}; that is edited here.
    """
    rebuild, arguments = lance_schema.__reduce__()[:2]
    metadata = json.loads(arguments[0])
    metadata[key] = list(value.encode())
    return rebuild(json.dumps(metadata), *arguments[1:])
