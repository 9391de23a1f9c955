"""The bytes of a file or a stream, unpacked where they are gzip's; none of it needs to be seekable."""

from __future__ import annotations

import gzip
import zlib
from typing import BinaryIO, Protocol, cast

from uadtools.errors import UadError
from uadtools.volume.header import Bytes

CHUNK = 1 << 24
_EMPTY, _DENSEST = 1 << 30, 200
"""So many bytes may be packed into nothing, and of more no scan becomes a smaller part than this."""


class Source(Protocol):
    """What bytes are read from; read returns up to count of them, and none only at the end."""

    def read(self, count: int, /) -> Bytes: ...


def most_unpacked(packed: int) -> int:
    """Return how many bytes what was packed into so many can be, if it is images and not made to fill the memory."""
    return max(_EMPTY, _DENSEST * packed)


class _Rejoined:
    """The bytes that were read to see what a file is, and then the rest of it. given: how many were asked for."""

    def __init__(self, start: Bytes, rest: Source) -> None:
        self._start, self._rest, self.given = start, rest, 0

    def read(self, count: int, /) -> Bytes:
        if self._start:
            taken, self._start = self._start[:count], self._start[count:]
        else:
            taken = self._rest.read(count)
        self.given += len(taken)
        return taken


class _Unpacked:
    """What gzip packed. Raises UadError where that is more than scans can be packed into."""

    def __init__(self, packed: _Rejoined, name: str) -> None:
        self._packed, self._name, self._given = packed, name, 0
        self._file = gzip.GzipFile(fileobj=cast(BinaryIO, packed))

    def read(self, count: int, /) -> Bytes:
        taken = self._file.read(count)
        self._given += len(taken)
        if self._given > most_unpacked(self._packed.given):
            raise UadError(f"{self._name}: unpacks to {_DENSEST} times its size and more, which no scan does (refused)")
        return taken


def unpacked(file: Source, name: str) -> Source:
    """Unpack gzip when the first two bytes say so; file need not be seekable, and stays open."""
    start = up_to(file, 2, name)
    rejoined = _Rejoined(start, file)
    return _Unpacked(rejoined, name) if start == b"\x1f\x8b" else rejoined


def up_to(source: Source, count: int, name: str) -> bytearray:
    """Read count bytes, or what there is."""
    data = bytearray()
    try:
        while len(data) < count and (chunk := source.read(min(count - len(data), CHUNK))):
            data += chunk
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UadError(f"{name}: its gzip data are cut short or damaged ({error}; get the file again)") from None
    except OSError as error:
        raise UadError(f"{name}: {error.strerror or error}") from None
    return data


def exactly(source: Source, count: int, name: str, what: str, *, before: int = 0) -> bytearray:
    """Read count bytes. before: how many of `what` were read already, for the message."""
    data = up_to(source, count, name)
    if len(data) < count:
        raise UadError(f"{name}: cut short after {before + len(data):,} bytes of its {what} (get the file again)")
    return data
