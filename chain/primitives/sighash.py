"""BIP143: the hash that a signature over a P2WPKH input signs."""

import struct
from functools import lru_cache
from typing import Final

from chain.primitives.hashes import sha256d
from chain.primitives.numbers import NULL_HASH, Amount, Hash32
from chain.primitives.transaction import Transaction

SIGHASH_ALL: Final = 1
_NONE: Final = 2
_SINGLE: Final = 3
_ANYONE_CAN_PAY: Final = 0x80
_PREIMAGE: Final = struct.Struct("<I32s32s36s4s20s2sqI32sII")
_SCRIPT_START: Final = b"\x19\x76\xa9\x14"  # of BIP143's scriptCode, with its size
_SCRIPT_END: Final = b"\x88\xac"
_SEQUENCES_KEPT: Final = 256  # most transactions have one of a few sequence lists

_pack = _PREIMAGE.pack
_hash_sequences = lru_cache(maxsize=_SEQUENCES_KEPT)(sha256d)


class SignatureHasher:
    """Signature hashes of a transaction; the hashes shared by all inputs are computed once."""

    __slots__ = ("_outputs", "_prevouts", "_sequences", "_transaction")

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._prevouts: Hash32 | None = None
        self._sequences: Hash32 | None = None
        self._outputs: Hash32 | None = None

    def hash(self, index: int, key_hash: bytes, value: Amount, hash_type: int) -> Hash32:
        """Return the hash to sign for input `index`, which spends a P2WPKH coin of `value` grains.

        `key_hash` has 20 bytes; `hash_type` is the signature's last byte, any of the 256 (Bitcoin:
        SignatureHash, v0).
        """
        transaction = self._transaction
        txin = transaction.inputs[index]
        base = hash_type & 0x1F
        alone = hash_type & _ANYONE_CAN_PAY
        every = base not in {_NONE, _SINGLE}
        return sha256d(
            _pack(
                transaction.version,
                NULL_HASH if alone else self._prevouts or self._all_prevouts(),
                self._sequences or self._all_sequences() if every and not alone else NULL_HASH,
                txin.outpoint,
                _SCRIPT_START,
                key_hash,
                _SCRIPT_END,
                value,
                txin.sequence,
                self._outputs or self._all_outputs() if every else self._one_output(index, base),
                transaction.lock_time,
                hash_type,
            )
        )

    def _all_prevouts(self) -> Hash32:
        inputs = self._transaction.inputs
        self._prevouts = sha256d(
            inputs[0].outpoint if len(inputs) == 1 else b"".join([i.outpoint for i in inputs])
        )
        return self._prevouts

    def _all_sequences(self) -> Hash32:
        sequences = [txin.sequence.to_bytes(4, "little") for txin in self._transaction.inputs]
        self._sequences = _hash_sequences(b"".join(sequences))
        return self._sequences

    def _all_outputs(self) -> Hash32:
        self._outputs = sha256d(self._transaction.outputs_raw)
        return self._outputs

    def _one_output(self, index: int, base: int) -> Hash32:
        outputs = self._transaction.outputs
        if base == _SINGLE and index < len(outputs):
            return sha256d(outputs[index].encode())
        return NULL_HASH
