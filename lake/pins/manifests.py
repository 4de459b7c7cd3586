"""Pin manifests: create-only JSON files. Path, digest and seal are verified at every read."""

from __future__ import annotations

from pydantic import ValidationError

from tracelake.lake.layout import PINS, parse_pin_path, pin_path
from tracelake.lake.stores.store import ObjectStore
from tracelake.schemas.errors import BadInputError, PinChangedError, PinMissingError
from tracelake.schemas.pin import MANIFEST_FORMAT, Pin, pin_digest, pin_seal
from tracelake.schemas.pin_reference import parse_reference


def create_manifest(store: ObjectStore, pin: Pin) -> bool:
    """Seal and write the manifest; False if the number is taken."""
    pin = pin.model_copy(update={"seal": pin_seal(pin)})
    return store.put_new(pin_path(pin.name, pin.number), pin.model_dump_json(indent=1).encode())


def list_pins(store: ObjectStore, name: str | None = None) -> list[Pin]:
    """Sorted by name and number. Raises PinChangedError."""
    return [read_manifest(store, path) for path in manifest_paths(store, name)]


def manifest_paths(store: ObjectStore, name: str | None = None) -> list[str]:
    return store.list(PINS if name is None else pin_path(name, 0).rsplit("/", 1)[0], ".json")


def read_pin(store: ObjectStore, reference: str) -> Pin:
    """The manifest without its tables; `name` alone is the newest number. Raises PinMissingError,
    PinChangedError."""
    name, number = parse_reference(reference)
    if number is None:
        known = list_pins(store, name)
        number = known[-1].number if known else 0
    path = pin_path(name, number)
    if not store.exists(path):
        raise PinMissingError(
            "no such pin",
            got=reference,
            expected=", ".join(
                f"{name}@{number}" for name, number in map(parse_pin_path, manifest_paths(store))
            )
            or "a pin; this lake has none yet",
            cure="Run `tracelake pin NAME`.",
        )
    return read_manifest(store, path)


def read_manifest(store: ObjectStore, path: str) -> Pin:
    """Raises PinChangedError if it is not the manifest that was written under this path."""
    try:
        pin = Pin.model_validate_json(store.read(path))
        name, number = parse_pin_path(path)
    except (ValidationError, BadInputError) as error:
        raise PinChangedError(
            f"manifest {path} is damaged", got=str(error), expected="a pin manifest"
        ) from error
    if (pin.name, pin.number) != (name, number):
        raise PinChangedError(f"manifest {path} was changed", got=pin.reference, expected=f"{name}@{number}")
    found = pin_digest(pin.tables, pin.ledger, pin.tracelake_version, pin.schema_versions)
    if found != pin.digest:
        raise PinChangedError(
            f"manifest {path} was changed", got=f"digest {found}", expected=f"digest {pin.digest}"
        )
    if pin.manifest_format != MANIFEST_FORMAT:
        raise PinChangedError(
            f"manifest {path} has another format",
            got=pin.manifest_format,
            expected=str(MANIFEST_FORMAT),
            cure="Read it with the version of tracelake that wrote it.",
        )
    expected = pin_seal(pin)
    if pin.seal != expected:
        raise PinChangedError(
            f"manifest {path} was changed", got=f"seal {pin.seal}", expected=f"seal {expected}"
        )
    return pin
