"""Numbers of a turn, one per token, as the bytes that are hashed, spooled and stored.

**Packed once, where the fact is made**: what the caller does to its list afterwards does not reach the fact,
and a turn that waits in a queue takes 4 bytes for a token.
**In the machine's order, which is little-endian**: 32 bits for an id or a log-probability, 8 for a truth
value.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from struct import Struct
from struct import error as StructError
from typing import Any, Literal, cast, final, overload

SIZE_BYTES = {"i": 4, "f": 4, "b": 1}
PACKERS_KEPT = 4096
_BUFFER_FORMATS = {"i": tuple("bBhHiIlLqQ"), "f": tuple("fd"), "b": tuple("?bB")}


@final
class Vector(Sequence[Any]):
    """Equal to any sequence of the same values."""

    __slots__ = ("data", "typecode")

    def __init__(self, typecode: str, data: bytes) -> None:
        self.typecode = typecode
        self.data = data

    def to_list(self) -> list[Any]:
        values = memoryview(self.data).cast(cast("Literal['i', 'f', 'b']", self.typecode)).tolist()
        return [value != 0 for value in values] if self.typecode == "b" else values

    def __len__(self) -> int:
        return len(self.data) // SIZE_BYTES[self.typecode]

    @overload
    def __getitem__(self, place: int) -> Any: ...

    @overload
    def __getitem__(self, place: slice) -> list[Any]: ...

    def __getitem__(self, place: int | slice) -> Any:
        return self.to_list()[place]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.to_list())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Vector):
            return (self.typecode, self.data) == (other.typecode, other.data)
        return isinstance(other, (list, tuple)) and self.to_list() == list(other)

    def __hash__(self) -> int:
        return hash((self.typecode, self.data))

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.to_list()[:8]))
        return f"Vector([{shown}{', …' if len(self) > 8 else ''}], {self.typecode!r})"


def packed(typecode: str, values: Any) -> bytes:
    """Bytes of a sequence of numbers, or of a one-dimensional buffer of them such as a NumPy array. Raises
    struct.error, TypeError, OverflowError, ValueError for values that the type code cannot say."""
    # By type: asking an abstract class about each list would cost more than the answer saves.
    if type(values) is Vector:
        if values.typecode != typecode:
            raise TypeError(f"a vector of {values.typecode!r} where {typecode!r} is expected")
        return values.data
    if not isinstance(values, (list, tuple)):
        values = _of_buffer(typecode, values)
        if isinstance(values, bytes):
            return values
    try:
        # Faster than making an array of them.
        return _packer(typecode, len(values)).pack(*values)
    except OverflowError:
        # A number beyond float32 is infinite there.
        return array(typecode, values).tobytes()


@lru_cache(maxsize=PACKERS_KEPT)
def _packer(typecode: str, count: int) -> Struct:
    # The module's own `pack` copies the values once more, behind their format.
    return Struct(f"{count}{typecode}")


def pack_or_list(typecode: str, value: Any) -> Sequence[Any]:
    """What a fact holds of a sequence or buffer: a packed copy. Of a list with a value that cannot be packed
    a plain one, which is refused with the reason when the fact is named. Raises ValueError for what is no
    list."""
    try:
        return Vector(typecode, packed(typecode, value))
    except (StructError, TypeError, ValueError, OverflowError) as error:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"a list of numbers is expected, not {type(value).__name__}") from error
        return list(cast("Sequence[Any]", value))


def values_of(vector: Sequence[Any]) -> list[Any]:
    return list(vector)


def _of_buffer(typecode: str, values: Any) -> bytes | list[Any]:
    if isinstance(values, (bytes, bytearray)):
        raise TypeError("text, and no numbers")
    view = memoryview(values)
    if view.ndim != 1 or view.format not in _BUFFER_FORMATS[typecode]:
        raise TypeError(f"a buffer of {view.ndim} dimensions with format {view.format!r}")
    return view.tobytes() if view.format == typecode else view.tolist()
