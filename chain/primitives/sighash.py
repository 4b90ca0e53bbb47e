"""BIP143: the hash that a signature over a P2WPKH input signs."""

from typing import Final

from chain.primitives.hashes import sha256d
from chain.primitives.numbers import NULL_HASH, Amount, Hash32
from chain.primitives.transaction import Transaction

SIGHASH_ALL: Final = 1
_NONE: Final = 2
_SINGLE: Final = 3
_ANYONE_CAN_PAY: Final = 0x80


class SignatureHasher:
    """Signature hashes of one transaction; hashes that all inputs share are computed once."""

    __slots__ = ("_outputs", "_prevouts", "_sequences", "_transaction")

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._prevouts: Hash32 | None = None
        self._sequences: Hash32 | None = None
        self._outputs: Hash32 | None = None

    def hash(self, index: int, key_hash: bytes, value: Amount, hash_type: int) -> Hash32:
        """Return the hash that input `index`, spending a P2WPKH coin of `value` grains, signs.

        `hash_type` is the signature's last byte, any of the 256 (Bitcoin: SignatureHash, v0).
        """
        transaction = self._transaction
        txin = transaction.inputs[index]
        base = hash_type & 0x1F
        alone = hash_type & _ANYONE_CAN_PAY
        every = base not in {_NONE, _SINGLE}
        return sha256d(
            b"".join(
                (
                    transaction.version.to_bytes(4, "little"),
                    NULL_HASH if alone else self._all_prevouts(),
                    self._all_sequences() if every and not alone else NULL_HASH,
                    txin.outpoint,
                    b"\x19\x76\xa9\x14" + key_hash + b"\x88\xac",  # BIP143's scriptCode, sized
                    value.to_bytes(8, "little", signed=True),
                    txin.sequence.to_bytes(4, "little"),
                    self._all_outputs() if every else self._one_output(index, base),
                    transaction.lock_time.to_bytes(4, "little"),
                    hash_type.to_bytes(4, "little"),
                )
            )
        )

    def _all_prevouts(self) -> Hash32:
        if self._prevouts is None:
            self._prevouts = sha256d(b"".join(txin.outpoint for txin in self._transaction.inputs))
        return self._prevouts

    def _all_sequences(self) -> Hash32:
        if self._sequences is None:
            inputs = self._transaction.inputs
            self._sequences = sha256d(b"".join(i.sequence.to_bytes(4, "little") for i in inputs))
        return self._sequences

    def _all_outputs(self) -> Hash32:
        if self._outputs is None:
            self._outputs = sha256d(b"".join(out.encode() for out in self._transaction.outputs))
        return self._outputs

    def _one_output(self, index: int, base: int) -> Hash32:
        outputs = self._transaction.outputs
        if base == _SINGLE and index < len(outputs):
            return sha256d(outputs[index].encode())
        return NULL_HASH
