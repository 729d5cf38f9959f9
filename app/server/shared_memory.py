"""Named numbers in memory that several processes share."""

import mmap
import os
import struct
import tempfile
from collections.abc import Iterator

REGION_BYTES = 64 * 1024 * 1024
"""Address space of one process; the kernel allocates only the pages that are written."""

_END = struct.Struct("=q")
_ENTRY = struct.Struct("=dq")  # the value, and the length of the name that follows
_VALUE = struct.Struct("=d")


class SharedFile:
    """A file without a name, divided into regions with one writer and any number of readers.

    No program that cleans folders can remove it, and it vanishes with its last process, even if
    that is killed. Forked processes inherit it.
    """

    def __init__(self) -> None:
        self._file = os.memfd_create("shared") if hasattr(os, "memfd_create") else _removed_file()

    def extend(self, regions: int) -> None:
        """Extend the file to at least `regions` regions."""
        if os.fstat(self._file).st_size < regions * REGION_BYTES:
            os.ftruncate(self._file, regions * REGION_BYTES)

    def region(self, number: int) -> "Region":
        """Return a region for writing."""
        return Region(mmap.mmap(self._file, REGION_BYTES, offset=number * REGION_BYTES))

    def read(self) -> Iterator[tuple[str, float]]:
        """Yield each name and value of all regions; each region may contain the same name."""
        for begin in range(0, os.fstat(self._file).st_size, REGION_BYTES):
            (end,) = _END.unpack(os.pread(self._file, _END.size, begin))
            for name, place in _places(data := os.pread(self._file, end, begin)):
                yield name, _VALUE.unpack_from(data, place)[0]


class Region:
    """The numbers of one process.

    A region begins with the offset of its end, which is written last. A process that is killed
    while it adds a name therefore leaves a valid region.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._end = _END.unpack_from(memory)[0] or _END.size
        self._placed = dict(_places(memory[: self._end]))

    def add(self, name: str) -> int | None:
        """Return the offset of `name`, added with value 0 if new; None if the region is full."""
        if name not in self._placed:
            text = name.encode()
            text += b" " * (-len(text) % 8)
            begin, end = self._end, self._end + _ENTRY.size + len(text)
            if end > REGION_BYTES:
                return None
            self._memory[begin:end] = _ENTRY.pack(0.0, len(text)) + text
            self._memory[: _END.size] = _END.pack(end)
            self._end, self._placed[name] = end, begin
        return self._placed[name]

    def get(self, name: str) -> float:
        """Return the value of `name`."""
        place = self.add(name)
        return 0.0 if place is None else float(_VALUE.unpack_from(self._memory, place)[0])

    def set(self, name: str, value: float) -> None:
        """Set the value of `name`; ignored if the region is full."""
        place = self.add(name)
        if place is not None:
            # A single assignment, so that readers in other processes never see half a value.
            self._memory[place : place + _VALUE.size] = _VALUE.pack(value)

    def names(self) -> list[str]:
        """Return all names."""
        return list(self._placed)


def _places(data: bytes) -> Iterator[tuple[str, int]]:
    """Yield each name in the bytes of a region, with the offset of its value."""
    place = _END.size
    while place < len(data):
        _, length = _ENTRY.unpack_from(data, place)
        begin = place + _ENTRY.size
        yield data[begin : begin + length].decode().rstrip(" "), place
        place = begin + length


def _removed_file() -> int:
    """Return a file without a name, on systems without memfd_create."""
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
