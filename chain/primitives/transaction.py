"""Transactions: Bitcoin's bytes with BIP144 witness serialization, and their ids and sizes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from chain.primitives.encoding import (
    DecodeError,
    compact_size,
    read_bytes,
    read_compact_size,
    read_sized,
    read_uint,
    with_size,
)
from chain.primitives.hashes import sha256d
from chain.primitives.numbers import NULL_OUTPOINT, Amount, Hash32, OutPoint, id_text

SEQUENCE_FINAL: Final = 0xFFFFFFFF
WITNESS_SCALE: Final = 4  # BIP141: a byte outside the witness weighs four
_MARKER_AND_FLAG: Final = b"\x00\x01"  # BIP144


@dataclass(frozen=True, slots=True)
class TxIn:
    """One input: which coin it spends and what it shows to be allowed to."""

    outpoint: OutPoint
    script_sig: bytes = b""
    sequence: int = SEQUENCE_FINAL  # unsigned 32 bits
    witness: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class TxOut:
    """One output: grains (as decoded, possibly out of range) and the script that locks them."""

    value: Amount
    script: bytes

    def encode(self) -> bytes:
        """Return 8 bytes of signed little-endian value and the sized script."""
        return self.value.to_bytes(8, "little", signed=True) + with_size(self.script)


class Transaction:
    """One transaction; immutable, its ids are computed once and kept."""

    __slots__ = (
        "_base_size",
        "_raw",
        "_txid",
        "_wtxid",
        "inputs",
        "lock_time",
        "outputs",
        "version",
    )

    def __init__(
        self, version: int, inputs: Sequence[TxIn], outputs: Sequence[TxOut], lock_time: int = 0
    ) -> None:
        """Make a transaction; `version` and `lock_time` are unsigned 32-bit numbers."""
        self.version = version
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.lock_time = lock_time
        self._raw: bytes | None = None
        self._txid: Hash32 | None = None
        self._wtxid: Hash32 | None = None
        self._base_size = 0

    @property
    def has_witness(self) -> bool:
        """Whether any input carries witness items."""
        return any(txin.witness for txin in self.inputs)

    @property
    def is_coinbase(self) -> bool:
        """Whether this makes new coins: one input, and it spends the null outpoint."""
        return len(self.inputs) == 1 and self.inputs[0].outpoint == NULL_OUTPOINT

    @property
    def raw(self) -> bytes:
        """The wire bytes, with witness if there is one (BIP144)."""
        if self._raw is None:
            if self.has_witness:
                version, body, lock_time = self._base_parts()
                witness = b"".join(_encode_witness(txin.witness) for txin in self.inputs)
                self._raw = version + _MARKER_AND_FLAG + body + witness + lock_time
            else:
                self._raw = self.base_raw
        return self._raw

    @property
    def base_raw(self) -> bytes:
        """The bytes without witness: what `txid` is the hash of."""
        return b"".join(self._base_parts())

    @property
    def txid(self) -> Hash32:
        """The id that does not cover witnesses: what outpoints name."""
        if self._txid is None:
            base = self.base_raw
            self._base_size = len(base)
            self._txid = sha256d(base)
        return self._txid

    @property
    def wtxid(self) -> Hash32:
        """The id that covers witnesses too (BIP141)."""
        if self._wtxid is None:
            self._wtxid = sha256d(self.raw) if self.has_witness else self.txid
        return self._wtxid

    @property
    def base_size(self) -> int:
        """Bytes without witness."""
        if not self._base_size:
            self._base_size = len(self.base_raw)
        return self._base_size

    @property
    def weight(self) -> int:
        """Weight units: three times the base size plus the whole size (BIP141)."""
        return self.base_size * (WITNESS_SCALE - 1) + len(self.raw)

    @property
    def vsize(self) -> int:
        """Virtual bytes: weight / 4, rounded up."""
        return -(-self.weight // WITNESS_SCALE)

    @property
    def output_value(self) -> Amount:
        """The sum of all output values, unchecked."""
        return Amount(sum(out.value for out in self.outputs))

    def _base_parts(self) -> tuple[bytes, bytes, bytes]:
        """Return the version's bytes, inputs and outputs, and the lock time's bytes."""
        parts = [compact_size(len(self.inputs))]
        for txin in self.inputs:
            sequence = txin.sequence.to_bytes(4, "little")
            parts += (txin.outpoint, with_size(txin.script_sig), sequence)
        parts.append(compact_size(len(self.outputs)))
        parts += (out.encode() for out in self.outputs)
        return (
            self.version.to_bytes(4, "little"),
            b"".join(parts),
            self.lock_time.to_bytes(4, "little"),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Transaction) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.wtxid)

    def __repr__(self) -> str:
        return f"Transaction({id_text(self.txid)})"


def decode_transaction(data: bytes) -> Transaction:
    """Return the transaction that `data` is, all of it.

    Raises DecodeError: not a transaction, superfluous witness, unknown flags, trailing bytes.
    """
    transaction, end = read_transaction(data, 0)
    if end != len(data):
        raise DecodeError(f"{len(data) - end} bytes behind the transaction")
    return transaction


def read_transaction(data: bytes, start: int) -> tuple[Transaction, int]:
    """Return the transaction at offset `start`, and the offset behind it.

    Reads what Bitcoin's UnserializeTransaction reads, its odd forms too (no inputs and no outputs).
    Raises DecodeError.
    """
    version, at = read_uint(data, start, 4)
    body_start, flags = at, 0
    if data[at : at + 1] == b"\x00":
        flags, body_start = read_uint(data, at + 1, 1)
    inputs: list[TxIn] = []
    outputs: list[TxOut] = []
    if flags or data[at : at + 1] != b"\x00":
        inputs, at = _read_inputs(data, body_start)
        outputs, at = _read_outputs(data, at)
    else:
        at = body_start  # no inputs, and the byte taken for flags counts no outputs
    body = data[body_start:at]
    if flags:
        inputs, at = _read_witnesses(data, at, inputs, flags)
    lock_time, end = read_uint(data, at, 4)
    transaction = Transaction(version, inputs, outputs, lock_time)
    raw = data[start:end]
    transaction._raw = raw
    base = raw if not flags else raw[:4] + body + raw[-4:]
    transaction._base_size = len(base)
    transaction._txid = sha256d(base)
    return transaction, end


def _read_inputs(data: bytes, at: int) -> tuple[list[TxIn], int]:
    count, at = read_compact_size(data, at)
    inputs = []
    for _ in range(count):  # bounded by the data: each turn takes 41 bytes or raises
        point, at = read_bytes(data, at, 36)
        script_sig, at = read_sized(data, at)
        sequence, at = read_uint(data, at, 4)
        inputs.append(TxIn(OutPoint(point), script_sig, sequence))
    return inputs, at


def _read_outputs(data: bytes, at: int) -> tuple[list[TxOut], int]:
    count, at = read_compact_size(data, at)
    outputs = []
    for _ in range(count):
        value, at = read_bytes(data, at, 8)
        script, at = read_sized(data, at)
        outputs.append(TxOut(Amount(int.from_bytes(value, "little", signed=True)), script))
    return outputs, at


def _read_witnesses(data: bytes, at: int, inputs: list[TxIn], flags: int) -> tuple[list[TxIn], int]:
    if flags != 1:
        raise DecodeError("unknown transaction optional data")
    filled = []
    for txin in inputs:
        count, at = read_compact_size(data, at)
        items = []
        for _ in range(count):
            item, at = read_sized(data, at)
            items.append(item)
        filled.append(TxIn(txin.outpoint, txin.script_sig, txin.sequence, tuple(items)))
    if not any(txin.witness for txin in filled):
        raise DecodeError("superfluous witness record")
    return filled, at


def _encode_witness(items: tuple[bytes, ...]) -> bytes:
    return compact_size(len(items)) + b"".join(map(with_size, items))
