"""Vectors of an event, one number per token, as the bytes that are hashed, spooled and stored.

**Packed once, when the event is created**: later changes of the caller's list do not reach the event, and a
turn that waits in a queue takes 4 bytes per token.
**Little-endian, the machine's own order**: 32 bits for an id or a log-probability, 8 for a boolean.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from struct import Struct
from struct import error as StructError
from typing import Any, Literal, cast, final, overload

SIZE_BYTES = {"i": 4, "f": 4, "b": 1}
PACKERS_MAX = 4096
_BUFFER_FORMATS = {"i": tuple("bBhHiIlLqQ"), "f": tuple("fd"), "b": tuple("?bB")}


@final
class Vector(Sequence[Any]):
    """A packed vector; equal to any list or tuple of the same values."""

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
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...

    def __getitem__(self, index: int | slice) -> Any:
        return self.to_list()[index]

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
    """Bytes of a sequence of numbers, or of a one-dimensional buffer of them such as a NumPy array.

    Raises struct.error, TypeError, OverflowError, ValueError for values that the type code cannot represent.
    """
    # Compares types: `isinstance` with an abstract class would cost more than this shortcut saves.
    if type(values) is Vector:
        if values.typecode != typecode:
            raise TypeError(f"a vector of {values.typecode!r} where {typecode!r} is expected")
        return values.data
    if not isinstance(values, (list, tuple)):
        values = _of_buffer(typecode, values)
        if isinstance(values, bytes):
            return values
    try:
        # Faster than `array(typecode, values)`.
        return _packer(typecode, len(values)).pack(*values)
    except OverflowError:
        # `array` turns a number beyond float32 into infinity.
        return array(typecode, values).tobytes()


@lru_cache(maxsize=PACKERS_MAX)
def _packer(typecode: str, count: int) -> Struct:
    # A cached `Struct`: the function `struct.pack` copies the values once more, behind their format.
    return Struct(f"{count}{typecode}")


def pack_or_list(typecode: str, value: Any) -> Sequence[Any]:
    """A packed copy of a sequence or buffer.

    A list with a value that cannot be packed comes back as a plain list; computing the event's identity then
    refuses it with the reason. Raises ValueError for anything that is not a list of numbers.
    """
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
        raise TypeError("text instead of numbers")
    view = memoryview(values)
    if view.ndim != 1 or view.format not in _BUFFER_FORMATS[typecode]:
        raise TypeError(f"a buffer of {view.ndim} dimensions with format {view.format!r}")
    return view.tobytes() if view.format == typecode else view.tolist()
