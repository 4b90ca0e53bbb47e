"""The format of mempool.dat: transactions with arrival times, and the owner's fee deltas."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from chain.node.deltas import DELTAS_MAX
from chain.node.entry import PoolEntry
from chain.primitives.encoding import DecodeError, read_bytes, read_uint
from chain.primitives.hashes import sha256d
from chain.primitives.numbers import Hash32, counted
from chain.primitives.transaction import Transaction, read_transaction

FILE_MAGIC: Final = b"groatmem"
FILE_VERSION: Final = 1
FILE_VERSION_DELTAS: Final = 2  # only if there are deltas: earlier releases read only 1
FILE_BYTES_MAX: Final = 400_000_000  # more than any pool of default size can fill
_CHECKSUM_BYTES: Final = 32
_IDENTITY_BYTES: Final = 32
_TIME_BYTES: Final = 8
_DELTA_BYTES: Final = 8
_TXID_BYTES: Final = 32


class WrongPoolNetworkError(ValueError):
    """A pool file of another network."""


@dataclass(frozen=True, slots=True)
class SavedTransaction:
    """One transaction of a pool file."""

    transaction: Transaction
    time: int  # of arrival, unix seconds


@dataclass(frozen=True, slots=True)
class SavedPool:
    """What a pool file holds."""

    transactions: list[SavedTransaction]  # in order of arrival
    deltas: dict[Hash32, int]  # may include transactions that are not in the file


def encode_pool(
    entries: Iterable[PoolEntry], identity: Hash32, deltas: Mapping[Hash32, int]
) -> bytes:
    """Return a file of `entries`, in their order, for the network of this identity.

    Layout: magic, version (4 bytes), identity (32), count (4), for each entry its time (8) and wire
    bytes; in version 2 count (4), for each delta txid (32) and grains (8, signed); SHA-256d of
    everything before. Numbers are little-endian.
    """
    saved = list(entries)
    version = FILE_VERSION_DELTAS if deltas else FILE_VERSION
    parts = [FILE_MAGIC, version.to_bytes(4, "little"), identity]
    parts.append(len(saved).to_bytes(4, "little"))
    for entry in saved:
        parts += (entry.time.to_bytes(_TIME_BYTES, "little"), entry.transaction.raw)
    if deltas:
        parts.append(len(deltas).to_bytes(4, "little"))
    for txid, grains in deltas.items():
        parts += (txid, grains.to_bytes(_DELTA_BYTES, "little", signed=True))
    body = b"".join(parts)
    return body + sha256d(body)


def pool_checksum(data: bytes) -> bytes:
    """Return the checksum that a pool file ends with, unchecked."""
    return data[-_CHECKSUM_BYTES:]


def decode_pool(data: bytes, identities: Container[Hash32]) -> SavedPool:
    """Return what a pool file of a network with one of these identities holds.

    Raises DecodeError: not a pool file, of a later version, damaged, too large;
    WrongPoolNetworkError.
    """
    if len(data) > FILE_BYTES_MAX:
        raise DecodeError(f"a pool file has at most {FILE_BYTES_MAX} bytes")
    body, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if not body.startswith(FILE_MAGIC):
        raise DecodeError("not a pool file")
    if sha256d(body) != checksum:
        raise DecodeError("the checksum does not match")
    version, at = read_uint(body, len(FILE_MAGIC), 4)
    if version not in {FILE_VERSION, FILE_VERSION_DELTAS}:
        raise DecodeError(f"version {version} is not {FILE_VERSION} or {FILE_VERSION_DELTAS}")
    found, at = read_bytes(body, at, _IDENTITY_BYTES)
    if found not in identities:
        raise WrongPoolNetworkError("the pool file is of another network")
    count, at = read_uint(body, at, 4)
    saved = []
    for _ in range(count):  # bounded by the data: each turn takes 18 bytes or raises
        time, at = read_uint(body, at, _TIME_BYTES)
        transaction, at = read_transaction(body, at)
        saved.append(SavedTransaction(transaction, time))
    deltas, at = _read_deltas(body, at) if version == FILE_VERSION_DELTAS else ({}, at)
    if at != len(body):
        raise DecodeError(f"{counted(len(body) - at, 'byte')} after the end")
    return SavedPool(saved, deltas)


def _read_deltas(body: bytes, at: int) -> tuple[dict[Hash32, int], int]:
    """Return the deltas at an offset, and the offset after them."""
    count, at = read_uint(body, at, 4)
    if count > DELTAS_MAX:
        raise DecodeError(f"{count} fee deltas, over {DELTAS_MAX}")
    deltas: dict[Hash32, int] = {}
    for _ in range(count):
        txid, at = read_bytes(body, at, _TXID_BYTES)
        grains, at = read_bytes(body, at, _DELTA_BYTES)
        deltas[Hash32(txid)] = int.from_bytes(grains, "little", signed=True)
    return deltas, at
