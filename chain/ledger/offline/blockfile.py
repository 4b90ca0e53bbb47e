"""Block files in Bitcoin's framing: for each block magic, little-endian length and raw block."""

from collections.abc import Iterator
from io import BufferedReader
from typing import BinaryIO, Final

from chain.consensus.params import Params
from chain.errors import ShownError
from chain.primitives.numbers import counted

FRAME_BYTES_MAX: Final = 32 * 1024 * 1024  # Bitcoin: MAX_SIZE; the limits on blocks are stricter
_MAGIC_BYTES: Final = 4
_LENGTH_BYTES: Final = 4
_HEAD_BYTES: Final = _MAGIC_BYTES + _LENGTH_BYTES


class BlockFileError(ShownError):
    """A file is not a valid block file of this network; says at which offset."""


def read_frames(stream: BinaryIO, params: Params) -> Iterator[bytes]:
    """Yield the raw blocks of a stream one by one, without reading ahead.

    Zeros between frames are skipped: Bitcoin Core preallocates its files. Raises BlockFileError:
    wrong magic, a length over FRAME_BYTES_MAX, or truncated.
    """
    at = 0
    while True:
        start, head = _next_head(stream, at)
        if not head:
            return
        magic = head[:_MAGIC_BYTES]
        _check_complete(magic, _MAGIC_BYTES, start)
        _check_magic(magic, start, params)
        _check_complete(head[_MAGIC_BYTES:], _LENGTH_BYTES, start)
        length = int.from_bytes(head[_MAGIC_BYTES:], "little")
        if length > FRAME_BYTES_MAX:
            raise BlockFileError(f"byte {start}: a block of {length} bytes is too long")
        raw = _read_some(stream, length)
        _check_complete(raw, length, start)
        yield raw
        at = start + len(head) + length


def check_first_frame(stream: BinaryIO, params: Params) -> None:
    """Check the first block's frame, and leave the stream at its start. Raises BlockFileError.

    Of a pipe, which cannot be rewound, only the magic is looked at.
    """
    if stream.seekable():
        start = stream.tell()
        next(read_frames(stream, params), None)
        stream.seek(start)
    elif isinstance(stream, BufferedReader):
        magic = stream.peek(_MAGIC_BYTES)[:_MAGIC_BYTES]
        if len(magic) == _MAGIC_BYTES and not magic.startswith(b"\0"):
            _check_magic(magic, 0, params)


def write_frame(stream: BinaryIO, raw: bytes, params: Params) -> int:
    """Write one raw block; return the number of bytes written."""
    frame = params.magic + len(raw).to_bytes(_LENGTH_BYTES, "little") + raw
    stream.write(frame)
    return len(frame)


def _next_head(stream: BinaryIO, at: int) -> tuple[int, bytes]:
    """Return the offset after any zeros, and the magic and length there; fewer at the end."""
    head = _read_some(stream, _HEAD_BYTES)
    while head.startswith(b"\0"):
        rest = head.lstrip(b"\0")
        zeros = len(head) - len(rest)
        at += zeros
        head = rest + _read_some(stream, zeros)
    return at, head


def _check_magic(magic: bytes, start: int, params: Params) -> None:
    if magic != params.magic:
        raise BlockFileError(
            f"byte {start}: {magic.hex()} is not the magic of network {params.name!r}"
        )


def _check_complete(data: bytes, count: int, start: int) -> None:
    if len(data) < count:
        missing = counted(count - len(data), "byte")
        raise BlockFileError(f"byte {start}: the last block is truncated by {missing}")


def _read_some(stream: BinaryIO, count: int) -> bytes:
    """Return `count` bytes, fewer only at the end; pipes may return short reads."""
    first = stream.read(count)
    if len(first) == count:
        return first
    parts: list[bytes] = [first]
    count -= len(first)
    while count:
        part = stream.read(count)
        if not part:
            break
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
