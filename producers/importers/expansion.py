"""How much compressed data may expand: a bound that real traces do not reach and a bomb does at once.

Agent logs repeat whole contexts, so they compress well, up to about a hundredfold.
"""

from __future__ import annotations

from tracelake.schemas.errors import SourceFormatError

RATIO_MAX = 250
UNCHECKED_BYTES = 64 * 2**20
EXPANDED_BYTES_MAX = 64 * 2**30


class Expansion:
    """Adds up what comes out of one compressed file."""

    def __init__(self) -> None:
        self._expanded_bytes = 0

    def add(self, byte_count: int, compressed_bytes: int) -> None:
        """`compressed_bytes` were read so far, in all. Raises SourceFormatError beyond the bound."""
        self._expanded_bytes += byte_count
        bytes_max = min(EXPANDED_BYTES_MAX, max(UNCHECKED_BYTES, RATIO_MAX * compressed_bytes))
        if self._expanded_bytes > bytes_max:
            raise SourceFormatError(
                "compressed data that expand beyond measure",
                got=f"{self._expanded_bytes} bytes from {compressed_bytes}",
                expected=f"{RATIO_MAX} times the compressed size at most, and {EXPANDED_BYTES_MAX} bytes",
                cure="If they are real traces, decompress them first.",
            )
