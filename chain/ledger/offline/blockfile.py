"""Block files in Bitcoin's framing: for each block magic, little-endian length and raw block."""

from collections.abc import Iterator
from typing import BinaryIO, Final

from chain.consensus.params import Params
from chain.errors import ShownError

FRAME_BYTES_MAX: Final = 32 * 1024 * 1024  # Bitcoin: MAX_SIZE; the limits on blocks are stricter
_MAGIC_BYTES: Final = 4
_LENGTH_BYTES: Final = 4


class BlockFileError(ShownError):
    """A file is not a valid block file of this network; says at which offset."""


def read_frames(stream: BinaryIO, params: Params) -> Iterator[bytes]:
    """Yield the raw blocks of a stream one by one, without reading ahead.

    Zeros between frames are skipped: Bitcoin Core preallocates its files. Raises BlockFileError:
    wrong magic, a length over FRAME_BYTES_MAX, or truncated.
    """
    at = 0
    while True:
        start, magic = _next_magic(stream, at)
        if not magic:
            return
        if magic != params.magic:
            raise BlockFileError(
                f"byte {start}: {magic.hex()} is not the magic of network {params.name!r}"
            )
        length = int.from_bytes(_read(stream, _LENGTH_BYTES, start), "little")
        if length > FRAME_BYTES_MAX:
            raise BlockFileError(f"byte {start}: a block of {length} bytes is too long")
        yield _read(stream, length, start)
        at = start + _MAGIC_BYTES + _LENGTH_BYTES + length


def write_frame(stream: BinaryIO, raw: bytes, params: Params) -> int:
    """Write one raw block; return the number of bytes written."""
    frame = params.magic + len(raw).to_bytes(_LENGTH_BYTES, "little") + raw
    stream.write(frame)
    return len(frame)


def _next_magic(stream: BinaryIO, at: int) -> tuple[int, bytes]:
    """Return the offset after any zeros, and the 4 bytes there; no bytes at the end."""
    first = _read_some(stream, 1)
    while first == b"\0":
        at += 1
        first = _read_some(stream, 1)
    return at, first and first + _read(stream, _MAGIC_BYTES - 1, at)


def _read(stream: BinaryIO, count: int, start: int) -> bytes:
    data = _read_some(stream, count)
    if len(data) < count:
        missing = count - len(data)
        raise BlockFileError(f"byte {start}: the last block is truncated by {missing} bytes")
    return data


def _read_some(stream: BinaryIO, count: int) -> bytes:
    """Return `count` bytes, fewer only at the end; pipes may return short reads."""
    parts: list[bytes] = []
    while count:
        part = stream.read(count)
        if not part:
            break
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
