"""Lance tables: opening, committing and scanning them. Beside lake/table_care.py the only user of pylance.

**A commit of rows and cursor is one compare-and-swap.** `Merge` with the fragments of the version that was
read is refused if anything else was committed since; the cursor travels in the schema's metadata, so it
lands with the rows or not at all.
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

from lake.stores.location import Location, told_by
from lake.table_care import heal, heal_once, refuse_torn, typed_panics
from lake.table_races import RACES_MAX, is_gone, lost_race, manifest_gone, outrun
from lake.table_sync import now, sync_commit, sync_data, sync_recent, sync_tag
from schemas.errors import CommitContendedError, CorruptFileError, StoreUnavailableError, TableMissingError

STORAGE_VERSION = "2.2"
CURSOR = "tracelake.cursor"
DERIVATION = "tracelake.derivation"


def open_table(location: str, version: int | None = None) -> LanceDataset | None:
    """Null if there is no table at the location. Raises TableMissingError if there is one, but not of this
    version."""
    if version is None:
        heal_once(location)
        return outrun(f"opening {location}", lambda: _head(location))
    try:
        return _opened(location, version)
    except (ValueError, OSError, CorruptFileError) as error:
        _refuse_unavailable(location, error)
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
    """An empty table, or the one that another process has just created."""
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
        _refuse_unavailable(location, error)
        dataset = open_table(location)
        if dataset is None:
            raise
        return dataset
    sync_recent(location, began)
    refuse_torn(location)
    return made


def widened(dataset: LanceDataset, schema: pa.Schema) -> LanceDataset:
    """The dataset with the nullable columns of the schema that it lacks: an older version made it."""
    while missing := _missing(dataset, schema):
        began = now()
        try:
            dataset.add_columns(pa.schema(missing))
            sync_recent(dataset.uri, began)
        except OSError as error:
            if not lost_race(error):
                raise
        dataset = newest(dataset)
    return dataset


def newest(dataset: LanceDataset) -> LanceDataset:
    """The dataset as it is now."""
    return outrun(f"opening {dataset.uri}", lambda: dataset.checkout_version(dataset.latest_version))


def outdated(dataset: LanceDataset, error: Exception) -> bool:
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
        _refuse_unavailable(dataset.uri, error)
        if not lost_race(error):
            raise
        return None
    sync_commit(committed, transaction.uuid)
    refuse_torn(dataset.uri)
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
            _refuse_unavailable(location, error)
            created_meanwhile = not exists and open_table(location) is not None
            if not created_meanwhile and not lost_race(error):
                raise
            exists = True
            continue
        sync_recent(location, began)
        refuse_torn(location)
        return made
    raise CommitContendedError(
        f"writing {location.rsplit('/', 1)[-1]} lost {RACES_MAX} races",
        cure="Let one process derive it.",
    )


def schema_note(dataset: LanceDataset, key: str) -> dict[str, Any] | None:
    """A JSON note in the table's schema metadata; null if there is none."""
    text = (dataset.schema.metadata or {}).get(key.encode())
    return None if text is None else cast("dict[str, Any]", json.loads(text))


def scan_table(dataset: LanceDataset, version: int | None) -> pl.LazyFrame:
    """Of a version, or of the one that is the newest when rows are asked for. Row order is not defined: sort.

    `pl.scan_lance` is unstable API; this is its only call. Of an address it would load all of LanceDB first.
    """
    return pl.scan_lance(dataset, version=version)


def tags_of(dataset: LanceDataset) -> dict[str, Any]:
    """Tags with their versions. Lance lists names, then reads each: one that is removed in between is looked
    for in vain, and all are listed again."""
    return outrun("listing the tags of a table", lambda: dict(dataset.tags.list()), is_gone)


def protect(dataset: LanceDataset, tag: str, version: int) -> bool:
    """Keep cleanup away from a version. False if the tag is taken for another version."""
    try:
        dataset.tags.create(tag, version)
    except (ValueError, OSError):
        return tags_of(dataset).get(tag, {}).get("version") == version
    sync_tag(dataset, tag)
    return True


def _head(location: str) -> LanceDataset | None:
    try:
        return _opened(location, None)
    except (ValueError, OSError, CorruptFileError) as error:
        _refuse_unavailable(location, error)
        if heal(location):
            return _head(location)
        if is_gone(error) and not manifest_gone(error):
            return None
        raise


def _opened(location: str, version: int | None) -> LanceDataset:
    with typed_panics(location):
        return lance.dataset(location, version=version, storage_options=_options(location))


def _missing(dataset: LanceDataset, schema: pa.Schema) -> list[pa.Field]:
    # Lance makes its schema anew each time that it is asked.
    names = set(dataset.schema.names)
    return [field for field in schema if field.name not in names]


def _options(location: str) -> dict[str, str] | None:
    options = location.options if isinstance(location, Location) else None
    return dict(options) if options else None


def _refuse_unavailable(location: str, error: Exception) -> None:
    """Raises StoreUnavailableError for a request that failed, as the library's text tells; a server may have
    quoted keys in it."""
    text = str(error)
    if "error performing" in text.lower() and "not found" not in text.lower():
        raise StoreUnavailableError(
            f"the store did not answer for {location}",
            got=told_by(error),
            expected="an answer",
            cure="Look at AWS_ENDPOINT_URL, AWS_REGION and the keys, then try again.",
        ) from None


@contextmanager
def _refusals_told(location: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        _refuse_unavailable(location, error)
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
