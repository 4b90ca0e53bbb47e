"""mempool.dat: the pool's transactions and when they came, as bytes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from chain.node.entry import PoolEntry
from chain.primitives.encoding import DecodeError, read_bytes, read_uint
from chain.primitives.hashes import sha256d
from chain.primitives.numbers import Hash32
from chain.primitives.transaction import Transaction, read_transaction

FILE_MAGIC: Final = b"groatmem"
FILE_VERSION: Final = 1
FILE_BYTES_MAX: Final = 400_000_000  # more than any pool of default size can fill
_CHECKSUM_BYTES: Final = 32
_TIME_BYTES: Final = 8


class WrongNetworkError(ValueError):
    """A pool file of another network."""


@dataclass(frozen=True, slots=True)
class SavedTransaction:
    """One transaction of a pool file."""

    transaction: Transaction
    time: int  # when it came, unix seconds


def encode_pool(entries: Iterable[PoolEntry], identity: Hash32) -> bytes:
    """Return a file of `entries`, in their order, for the network of this identity.

    Layout: magic, version (4 bytes), identity (32), count (4), for each entry its time (8) and wire
    bytes, SHA-256d of all that. Numbers are little-endian.
    """
    saved = list(entries)
    parts = [FILE_MAGIC, FILE_VERSION.to_bytes(4, "little"), identity]
    parts.append(len(saved).to_bytes(4, "little"))
    for entry in saved:
        parts += (entry.time.to_bytes(_TIME_BYTES, "little"), entry.transaction.raw)
    body = b"".join(parts)
    return body + sha256d(body)


def decode_pool(data: bytes, identity: Hash32) -> list[SavedTransaction]:
    """Return what a pool file holds, in its order.

    Raises DecodeError: no pool file, of a later version, damaged, too large; WrongNetworkError.
    """
    if len(data) > FILE_BYTES_MAX:
        raise DecodeError(f"a pool file has at most {FILE_BYTES_MAX} bytes")
    body, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if not body.startswith(FILE_MAGIC):
        raise DecodeError("no pool file")
    if sha256d(body) != checksum:
        raise DecodeError("the checksum does not match")
    version, at = read_uint(body, len(FILE_MAGIC), 4)
    if version != FILE_VERSION:
        raise DecodeError(f"version {version} is not {FILE_VERSION}")
    found, at = read_bytes(body, at, len(identity))
    if found != identity:
        raise WrongNetworkError("the pool file is of another network")
    count, at = read_uint(body, at, 4)
    saved = []
    for _ in range(count):  # bounded by the data: each turn takes 18 bytes or raises
        time, at = read_uint(body, at, _TIME_BYTES)
        transaction, at = read_transaction(body, at)
        saved.append(SavedTransaction(transaction, time))
    if at != len(body):
        raise DecodeError(f"{len(body) - at} bytes behind the last transaction")
    return saved
