"""Transactions: Bitcoin's bytes with BIP144 witness serialization, and their ids and sizes.

Final fields never change. mypy checks that: a frozen dataclass takes three times as long to create,
and an import creates millions.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from chain.primitives.encoding import (
    DecodeError,
    compact_size,
    read_compact_size,
    read_sized,
    with_size,
)
from chain.primitives.hashes import sha256d
from chain.primitives.numbers import NULL_OUTPOINT, Amount, Hash32, OutPoint, counted, id_text
from chain.primitives.script import count_sigops

LOCK_TIME_THRESHOLD: Final = 500_000_000  # below: a height; from here: unix seconds
SEQUENCE_FINAL: Final = 0xFFFFFFFF
SEQUENCE_LOCK_OFF: Final = 1 << 31  # BIP68
SEQUENCE_LOCK_IS_TIME: Final = 1 << 22
SEQUENCE_LOCK_MASK: Final = 0xFFFF
WITNESS_SCALE: Final = 4  # BIP141: a byte outside the witness weighs four
MARKER_AND_FLAG: Final = b"\x00\x01"  # BIP144
_WIDE: Final = 0xFD  # from this value, a size takes more than one byte
_SEGWIT_INPUTS_START: Final = 7  # after version, marker and flag, and a count of one byte
_SEGWIT_INPUT_BYTES: Final = 41  # with an empty script
_SCRIPT_SIZE_AT: Final = 8  # in an output, after the value

# Each raises struct.error if the bytes end too early.
_read_uint32: Final = struct.Struct("<I").unpack_from
_read_input: Final = struct.Struct("<36sBI").unpack_from  # with an empty script, as segwit has it
_read_output: Final = struct.Struct("<qB").unpack_from  # up to the script


@dataclass(slots=True, unsafe_hash=True)
class TxIn:
    """An input: the outpoint that it spends, and the script and witness that allow it."""

    outpoint: Final[OutPoint]
    script_sig: Final[bytes] = b""
    sequence: Final[int] = SEQUENCE_FINAL  # unsigned 32 bits
    witness: Final[tuple[bytes, ...]] = ()


@dataclass(slots=True, unsafe_hash=True)
class TxOut:
    """An output: grains (as decoded, possibly out of range) and the script."""

    value: Final[Amount]
    script: Final[bytes]

    def encode(self) -> bytes:
        """Return the value (8 bytes, signed, little-endian) and the script with its size."""
        return self.value.to_bytes(8, "little", signed=True) + with_size(self.script)


class Transaction:
    """A transaction; immutable, so its ids are computed once."""

    __slots__ = (
        "_base_size",
        "_outputs_end",
        "_outputs_start",
        "_raw",
        "_sigops",
        "_txid",
        "_wtxid",
        "bip143_hashes",
        "inputs",
        "lock_time",
        "outputs",
        "script_hashes",
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
        self._sigops = -1
        self._outputs_start = self._outputs_end = 0  # in _raw, if it was decoded
        # Known from decoding, or None: hashPrevouts, hashSequence and hashOutputs; SHA-256 of the
        # output scripts.
        self.bip143_hashes: tuple[Hash32, Hash32, Hash32] | None = None
        self.script_hashes: Sequence[Hash32] | None = None

    @property
    def has_witness(self) -> bool:
        """Whether any input carries witness items."""
        return any(txin.witness for txin in self.inputs)

    @property
    def is_coinbase(self) -> bool:
        """Whether this is a coinbase: its one input spends the null outpoint."""
        return len(self.inputs) == 1 and self.inputs[0].outpoint == NULL_OUTPOINT

    @property
    def raw(self) -> bytes:
        """The wire bytes, with witnesses if there are any (BIP144)."""
        if self._raw is None:
            if self.has_witness:
                version, body, lock_time = self._base_parts()
                witness = b"".join(encode_witness(txin.witness) for txin in self.inputs)
                self._raw = version + MARKER_AND_FLAG + body + witness + lock_time
            else:
                self._raw = self.base_raw
        return self._raw

    @property
    def base_raw(self) -> bytes:
        """The bytes without witnesses, which `txid` hashes."""
        return b"".join(self._base_parts())

    @property
    def outputs_raw(self) -> bytes:
        """The bytes of all outputs, without their count (the input of BIP143's hashOutputs)."""
        if self._raw is not None and self._outputs_end:
            return self._raw[self._outputs_start : self._outputs_end]
        return b"".join(out.encode() for out in self.outputs)

    @property
    def sigops(self) -> int:
        """The signature operations in its own scripts (Bitcoin: GetLegacySigOpCount)."""
        if self._sigops < 0:
            count = 0
            for txin in self.inputs:
                if txin.script_sig:
                    count += count_sigops(txin.script_sig)
            for out in self.outputs:
                count += count_sigops(out.script)
            self._sigops = count
        return self._sigops

    @property
    def txid(self) -> Hash32:
        """The id without witnesses, as in outpoints."""
        if self._txid is None:
            base = self.base_raw
            self._base_size = len(base)
            self._txid = sha256d(base)
        return self._txid

    @property
    def wtxid(self) -> Hash32:
        """The id that includes witnesses (BIP141)."""
        if self._wtxid is None:
            raw = self.raw
            self._wtxid = sha256d(raw) if len(raw) > self.base_size else self.txid
        return self._wtxid

    @property
    def base_size(self) -> int:
        """The size in bytes without witnesses."""
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
        return Amount(sum([out.value for out in self.outputs]))

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
    """Decode a transaction.

    Raises DecodeError: not a transaction, superfluous witness, unknown flags, trailing bytes.
    """
    transaction, end = read_transaction(data, 0)
    if end != len(data):
        raise DecodeError(f"{counted(len(data) - end, 'byte')} after the transaction")
    return transaction


def decode_base_transaction(data: bytes) -> Transaction:
    """Decode a transaction in the format without witnesses.

    A zero after the version is the number of inputs, not the marker of witnesses: a transaction
    that has no inputs yet is decoded so (Bitcoin: TX_NO_WITNESS). Raises DecodeError.
    """
    try:
        (version,) = _read_uint32(data, 0)
        inputs, at = _read_inputs(data, 4)
        outputs, _, at = _read_outputs(data, at)
        (lock_time,) = _read_uint32(data, at)
    except (IndexError, struct.error):
        raise DecodeError("truncated inside a transaction") from None
    if at + 4 != len(data):
        raise DecodeError(f"{counted(len(data) - at - 4, 'byte')} after the transaction")
    return Transaction(version, [TxIn(*txin) for txin in inputs], outputs, lock_time)


def witness_base(raw: bytes) -> bytes | None:
    """Return the bytes whose hash is the txid of a transaction that spends by witnesses alone.

    That is nearly every transaction. For another one, or other bytes, they are any bytes or None:
    the caller compares their hash with a txid, and if it differs, decodes the transaction.
    """
    if raw[4:6] != MARKER_AND_FLAG:
        return None
    try:
        at = _SEGWIT_INPUTS_START + _SEGWIT_INPUT_BYTES * raw[_SEGWIT_INPUTS_START - 1]
        count = raw[at]
        at += 1
        for _ in range(count):
            at += _SCRIPT_SIZE_AT + 1 + raw[at + _SCRIPT_SIZE_AT]
    except IndexError:
        return None
    return raw[:4] + raw[6:at] + raw[-4:]


def read_transaction(data: bytes, start: int) -> tuple[Transaction, int]:
    """Return the transaction at offset `start`, and the offset after it.

    Accepts what Bitcoin's UnserializeTransaction accepts, also no inputs and no outputs.
    Raises DecodeError.
    """
    try:
        return _read_transaction(data, start)
    except (IndexError, struct.error):
        raise DecodeError("truncated inside a transaction") from None


def _read_transaction(data: bytes, start: int) -> tuple[Transaction, int]:
    """Read without checks of the end: reading the lock time, the last field, fails after it.

    Raises DecodeError, IndexError and struct.error.
    """
    (version,) = _read_uint32(data, start)
    at = body_start = start + 4
    flags = 0
    if data[at] == 0:
        flags = data[at + 1]
        at = body_start = at + 2
    inputs: list[_Input] = []
    outputs: list[TxOut] = []
    outputs_start = outputs_end = at  # no inputs; the next byte counts outputs
    if flags or body_start == start + 4:
        inputs, at = _read_inputs(data, at)
        outputs, outputs_start, at = _read_outputs(data, at)
        outputs_end = at
    if flags:
        witnesses, at = _read_witnesses(data, at, len(inputs), flags)
        filled = [TxIn(*txin, witness) for txin, witness in zip(inputs, witnesses, strict=True)]
    else:
        filled = [TxIn(*txin) for txin in inputs]
    (lock_time,) = _read_uint32(data, at)
    end = at + 4
    transaction = Transaction(version, filled, outputs, lock_time)
    raw = data[start:end]
    base = raw if not flags else raw[:4] + data[body_start:outputs_end] + raw[-4:]
    transaction._raw = raw
    transaction._base_size = len(base)
    transaction._txid = sha256d(base)
    transaction._outputs_start = outputs_start - start
    transaction._outputs_end = outputs_end - start
    return transaction, end


_Input = tuple[OutPoint, bytes, int]  # a TxIn before its witness is read


def _read_inputs(data: bytes, at: int) -> tuple[list[_Input], int]:
    count, at = _read_count(data, at)
    inputs = []
    for _ in range(count):  # bounded by the data: each input takes 41 bytes or raises
        point, size, sequence = _read_input(data, at)
        script_sig = b""
        if size:
            script_sig, at = read_sized(data, at + 36)
            (sequence,) = _read_uint32(data, at)
            at += 4
        else:
            at += 41
        inputs.append((point, script_sig, sequence))
    return inputs, at


def _read_outputs(data: bytes, at: int) -> tuple[list[TxOut], int, int]:
    """Return the outputs, and the offsets of their start and end."""
    count, at = _read_count(data, at)
    start = at
    outputs = []
    for _ in range(count):
        value, size = _read_output(data, at)
        if size < _WIDE:
            at += 9
            outputs.append(TxOut(value, data[at : at + size]))
            at += size
        else:
            script, at = read_sized(data, at + 8)
            outputs.append(TxOut(value, script))
    return outputs, start, at


def _read_witnesses(
    data: bytes, at: int, inputs: int, flags: int
) -> tuple[list[tuple[bytes, ...]], int]:
    if flags != 1:
        raise DecodeError("unknown transaction optional data")
    witnesses = []
    for _ in range(inputs):
        count, at = _read_count(data, at)
        items = []
        for _ in range(count):
            size = data[at]
            if size < _WIDE:
                at += 1
                items.append(data[at : at + size])
                at += size
            else:
                item, at = read_sized(data, at)
                items.append(item)
        witnesses.append(tuple(items))
    if not any(witnesses):
        raise DecodeError("superfluous witness record")
    return witnesses, at


def _read_count(data: bytes, at: int) -> tuple[int, int]:
    count = data[at]
    return (count, at + 1) if count < _WIDE else read_compact_size(data, at)


def encode_witness(items: Sequence[bytes]) -> bytes:
    """Return the bytes of one input's witness: the count of its items, and each with its size."""
    return compact_size(len(items)) + b"".join(map(with_size, items))
