"""BIP143: the hash that a signature over a version 0 witness input signs."""

import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any, Final

from chain.primitives.encoding import with_size
from chain.primitives.hashes import sha256, sha256d
from chain.primitives.numbers import NULL_HASH, Amount, Hash32
from chain.primitives.transaction import Transaction

SIGHASH_DEFAULT: Final = 0  # BIP341: as ALL, by a signature without hash type
SIGHASH_ALL: Final = 1
SIGHASH_NONE: Final = 2
SIGHASH_SINGLE: Final = 3
SIGHASH_ANYONE_CAN_PAY: Final = 0x80
SIGHASH_OUTPUTS: Final = 0x1F  # the bits that say which outputs are signed; unknown ones: all
_PREIMAGE: Final = struct.Struct("<I32s32s36s4s20s2sqI32sII")
_SCRIPT_START: Final = b"\x19\x76\xa9\x14"  # of BIP143's scriptCode, with its size
_SCRIPT_END: Final = b"\x88\xac"
PREIMAGE_BYTES: Final = _PREIMAGE.size
_SEQUENCES_KEPT: Final = 256  # most transactions have one of a few sequence lists

_pack = _PREIMAGE.pack
_hash_sequences = lru_cache(maxsize=_SEQUENCES_KEPT)(sha256d)


def p2wpkh_preimages(
    transactions: Sequence[Iterable[Any]], inputs: Sequence[Iterable[Any]]
) -> Iterator[bytes]:
    """Yield SignatureHasher.p2wpkh_preimage of many inputs, all with SIGHASH_ALL.

    Both are columns with one item for each input. `transactions` are the versions, BIP143's
    hashPrevouts, hashSequence and hashOutputs, and the lock times; `inputs` are the outpoints, the
    key hashes, the values, and the sequences.
    """
    versions, prevouts, sequences_hashes, outputs, lock_times = transactions
    points, key_hashes, values, sequences = inputs
    code = repeat(_SCRIPT_START), key_hashes, repeat(_SCRIPT_END)
    last = values, sequences, outputs, lock_times, repeat(SIGHASH_ALL)
    return map(_pack, versions, prevouts, sequences_hashes, points, *code, *last)


class SignatureHasher:
    """Signature hashes of a transaction; the hashes shared by all inputs are computed once."""

    __slots__ = ("_outputs", "_prevouts", "_sequences", "_single", "_whole", "transaction")

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction
        self._prevouts: Hash32 | None = None
        self._sequences: Hash32 | None = None
        self._outputs: Hash32 | None = None
        self._single: tuple[int, Hash32] | None = None  # the last index, and its output's SHA-256
        self._whole = transaction.bip143_hashes  # for SIGHASH_ALL

    def hash(self, index: int, key_hash: bytes, value: Amount, hash_type: int) -> Hash32:
        """Return the hash to sign for input `index`, which spends a P2WPKH coin of `value` grains.

        `key_hash` has 20 bytes; `hash_type` is the signature's last byte, any of the 256 (Bitcoin:
        SignatureHash, v0).
        """
        return sha256d(self.p2wpkh_preimage(index, key_hash, value, hash_type))

    def p2wpkh_preimage(self, index: int, key_hash: bytes, value: Amount, hash_type: int) -> bytes:
        """Return the PREIMAGE_BYTES whose SHA-256d is `hash` of the same arguments."""
        transaction = self.transaction
        txin = transaction.inputs[index]
        if hash_type == SIGHASH_ALL:  # the usual case
            prevouts, sequences, outputs = self._whole or self._hash_whole()
        else:
            prevouts, sequences, outputs = self._covered(index, hash_type)
        return _pack(
            transaction.version,
            prevouts,
            sequences,
            txin.outpoint,
            _SCRIPT_START,
            key_hash,
            _SCRIPT_END,
            value,
            txin.sequence,
            outputs,
            transaction.lock_time,
            hash_type,
        )

    def preimage(self, index: int, script_code: bytes, value: Amount, hash_type: int) -> bytes:
        """Return what input `index` signs, without the four bytes of the hash type.

        The same for every `hash_type` that covers the same inputs and outputs.
        """
        transaction = self.transaction
        txin = transaction.inputs[index]
        prevouts, sequences, outputs = self._covered(index, hash_type)
        return b"".join(
            (
                transaction.version.to_bytes(4, "little"),
                prevouts,
                sequences,
                txin.outpoint,
                with_size(script_code),
                value.to_bytes(8, "little", signed=True),
                txin.sequence.to_bytes(4, "little"),
                outputs,
                transaction.lock_time.to_bytes(4, "little"),
            )
        )

    def sha_prevouts(self) -> Hash32:
        """Return SHA-256 of all inputs' outpoints (BIP341)."""
        if self._prevouts is None:
            self._prevouts = sha256(self._outpoints())
        return self._prevouts

    def sha_sequences(self) -> Hash32:
        """Return SHA-256 of all inputs' sequences (BIP341)."""
        if self._sequences is None:
            self._sequences = sha256(self._sequence_bytes())
        return self._sequences

    def sha_outputs(self) -> Hash32:
        """Return SHA-256 of all outputs (BIP341)."""
        if self._outputs is None:
            self._outputs = sha256(self.transaction.outputs_raw)
        return self._outputs

    def sha_output(self, index: int) -> Hash32:
        """Return SHA-256 of the output at `index`, which exists (BIP341).

        The last one is cached (Bitcoin: m_output_hash): otherwise a script with many signatures of
        SIGHASH_SINGLE would hash an output of a megabyte for each of them.
        """
        single = self._single
        if single is None or single[0] != index:
            single = self._single = index, sha256(self.transaction.outputs[index].encode())
        return single[1]

    def _covered(self, index: int, hash_type: int) -> tuple[Hash32, Hash32, Hash32]:
        """Return BIP143's hashPrevouts, hashSequence and hashOutputs for a hash type."""
        prevouts, sequences, outputs = self._whole or self._hash_whole()
        base = hash_type & SIGHASH_OUTPUTS
        if base in {SIGHASH_NONE, SIGHASH_SINGLE}:
            sequences = NULL_HASH
            outputs = self._one_output(index) if base == SIGHASH_SINGLE else NULL_HASH
        if hash_type & SIGHASH_ANYONE_CAN_PAY:
            prevouts = sequences = NULL_HASH
        return prevouts, sequences, outputs

    def _hash_whole(self) -> tuple[Hash32, Hash32, Hash32]:
        self._whole = (
            sha256d(self._outpoints()),
            _hash_sequences(self._sequence_bytes()),
            sha256d(self.transaction.outputs_raw),
        )
        return self._whole

    def _outpoints(self) -> bytes:
        inputs = self.transaction.inputs
        return inputs[0].outpoint if len(inputs) == 1 else b"".join([i.outpoint for i in inputs])

    def _sequence_bytes(self) -> bytes:
        inputs = self.transaction.inputs
        if len(inputs) == 1:  # the usual case
            return inputs[0].sequence.to_bytes(4, "little")
        return b"".join([i.sequence.to_bytes(4, "little") for i in inputs])

    def _one_output(self, index: int) -> Hash32:
        """Return BIP143's hashOutputs of SIGHASH_SINGLE."""
        exists = index < len(self.transaction.outputs)
        return sha256(self.sha_output(index)) if exists else NULL_HASH
