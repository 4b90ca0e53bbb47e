"""What signatures sign: the three signature hashes of Bitcoin, for one transaction and its coins.

Legacy (before segwit), version 0 witnesses (BIP143), and Taproot (BIP341, BIP342).
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from chain.primitives.encoding import compact_size, with_size
from chain.primitives.hashes import TaggedHash, sha256
from chain.primitives.numbers import Amount, Hash32
from chain.primitives.script import OP_PUSHDATA1, OP_PUSHDATA2, OP_PUSHDATA4, skip_operations
from chain.primitives.sighash import (
    SIGHASH_ALL,
    SIGHASH_ANYONE_CAN_PAY,
    SIGHASH_NONE,
    SIGHASH_OUTPUTS,
    SIGHASH_SINGLE,
    SignatureHasher,
)
from chain.primitives.transaction import Transaction

if TYPE_CHECKING:
    from hashlib import _Hash

_TAPROOT_HASH_TYPES: Final = frozenset({0, 1, 2, 3, 0x81, 0x82, 0x83})
_CODE_SEPARATOR: Final = 0xAB
_SEPARATORS: Final = bytes([_CODE_SEPARATOR])
_SIZE_BYTES: Final = {OP_PUSHDATA1: 1, OP_PUSHDATA2: 2, OP_PUSHDATA4: 4}
_ONE: Final = Hash32(b"\x01" + bytes(31))
_BLANK_INPUT_BYTES: Final = 41
_BLANK_OUTPUT: Final = b"\xff" * 8 + b"\x00"  # a value of -1 and no script

_Parts = tuple[bytes | memoryview, ...]

_tap_sighash = TaggedHash("TapSighash")


class SpentOutput(Protocol):
    """The part of a coin that signature hashes need."""

    @property
    def value(self) -> Amount:
        """The value in grains."""

    @property
    def script(self) -> bytes:
        """The output script."""


class TransactionHashes(SignatureHasher):
    """What the signature hashes of a transaction's inputs share, each computed when first needed.

    Bitcoin: PrecomputedTransactionData.
    """

    __slots__ = ("_amounts", "_blank_inputs", "_counted_outputs", "_scripts", "coins")

    def __init__(self, transaction: Transaction, coins: Sequence[SpentOutput]) -> None:
        """`coins` are those that the inputs spend, in input order."""
        assert len(coins) == len(transaction.inputs), "one coin for each input"
        super().__init__(transaction)
        self.coins = coins
        self._blank_inputs: dict[bool, memoryview] | None = None
        self._counted_outputs: bytes | None = None
        self._amounts: Hash32 | None = None
        self._scripts: Hash32 | None = None

    def sha_amounts(self) -> Hash32:
        """Return SHA-256 of all coins' values (BIP341)."""
        if self._amounts is None:
            values = [coin.value.to_bytes(8, "little", signed=True) for coin in self.coins]
            self._amounts = sha256(b"".join(values))
        return self._amounts

    def sha_scripts(self) -> Hash32:
        """Return SHA-256 of all coins' scripts, each with its size (BIP341)."""
        if self._scripts is None:
            self._scripts = sha256(b"".join([with_size(coin.script) for coin in self.coins]))
        return self._scripts

    def counted_outputs(self) -> bytes:
        """Return all outputs, preceded by their number, for legacy hashes."""
        if self._counted_outputs is None:
            count = compact_size(len(self.transaction.outputs))
            self._counted_outputs = count + self.transaction.outputs_raw
        return self._counted_outputs

    def blank_inputs(self, *, with_sequences: bool) -> memoryview:
        """Return all inputs without their scripts, 41 bytes each, for legacy hashes."""
        if self._blank_inputs is None:
            self._blank_inputs = {}
        if with_sequences not in self._blank_inputs:
            parts: list[bytes] = []
            for txin in self.transaction.inputs:
                sequence = txin.sequence if with_sequences else 0
                parts += (txin.outpoint, b"\x00", sequence.to_bytes(4, "little"))
            self._blank_inputs[with_sequences] = memoryview(b"".join(parts))
        return self._blank_inputs[with_sequences]


class InputHashes:
    """The signature hashes of one input.

    A script may need many that differ only in the unused bits of the hash type, at the end of the
    preimage. So the hash state before that is cached for each class of hash types, with its script
    code. No valid input is signed both with and without witness rules (Bitcoin: SigHashCache).
    """

    __slots__ = ("_cache", "_shared", "coin", "index", "transaction")

    def __init__(self, shared: TransactionHashes, index: int) -> None:
        self._shared = shared
        self.index = index
        self.transaction = shared.transaction
        self.coin = shared.coins[index]
        self._cache: dict[int, tuple[bytes, _Hash]] = {}

    def legacy(self, script_code: bytes, hash_type: int) -> Hash32:
        """Return the hash that signatures in scripts without witness sign.

        `script_code` is the script from the last code separator on, without the signature;
        `hash_type` has 32 bits; scripts set only eight. Bitcoin: SignatureHash, BASE.
        """
        is_single = hash_type & SIGHASH_OUTPUTS == SIGHASH_SINGLE
        if is_single and self.index >= len(self.transaction.outputs):
            return _ONE  # a bug of Bitcoin that became a rule
        return self._finished(script_code, hash_type, self._legacy_preimage)

    def witness_v0(self, script_code: bytes, hash_type: int) -> Hash32:
        """Return the hash that signatures in version 0 witness scripts sign (BIP143)."""
        return self._finished(script_code, hash_type, self._witness_v0_preimage)

    def taproot(
        self, hash_type: int, annex_hash: Hash32 | None, extension: bytes = b""
    ) -> Hash32 | None:
        """Return the hash that Schnorr signatures sign (BIP341), or None: no such `hash_type`.

        It is also None for SIGHASH_SINGLE without an output of that index. `extension` is empty for
        the key path; a tapscript's has leaf hash, key version and code separator (BIP342).
        """
        if hash_type not in _TAPROOT_HASH_TYPES:
            return None
        transaction, index = self.transaction, self.index
        base = hash_type & SIGHASH_SINGLE or SIGHASH_ALL
        parts = [
            bytes((0, hash_type)),  # the first byte is the epoch
            transaction.version.to_bytes(4, "little"),
            transaction.lock_time.to_bytes(4, "little"),
        ]
        if not hash_type & SIGHASH_ANYONE_CAN_PAY:
            parts += self._all_inputs()
        if base == SIGHASH_ALL:
            parts.append(self._shared.sha_outputs())
        parts.append(bytes([2 * bool(extension) + (annex_hash is not None)]))
        parts += self._this_input(hash_type)
        if annex_hash is not None:
            parts.append(annex_hash)
        if base == SIGHASH_SINGLE:
            if index >= len(transaction.outputs):
                return None
            parts.append(self._shared.sha_output(index))
        parts.append(extension)
        return _tap_sighash(b"".join(parts))

    def _all_inputs(self) -> tuple[Hash32, ...]:
        shared = self._shared
        amounts, scripts = shared.sha_amounts(), shared.sha_scripts()
        return shared.sha_prevouts(), amounts, scripts, shared.sha_sequences()

    def _this_input(self, hash_type: int) -> tuple[bytes, ...]:
        if not hash_type & SIGHASH_ANYONE_CAN_PAY:
            return (self.index.to_bytes(4, "little"),)
        txin, coin = self.transaction.inputs[self.index], self.coin
        value = coin.value.to_bytes(8, "little", signed=True)
        return txin.outpoint, value, with_size(coin.script), txin.sequence.to_bytes(4, "little")

    def _finished(
        self, script_code: bytes, hash_type: int, preimage: Callable[[bytes, int], _Parts]
    ) -> Hash32:
        base = hash_type & SIGHASH_OUTPUTS
        outputs = base if base in {SIGHASH_NONE, SIGHASH_SINGLE} else SIGHASH_ALL
        kind = hash_type & SIGHASH_ANYONE_CAN_PAY | outputs
        cached = self._cache.get(kind)
        if cached is None or cached[0] != script_code:
            state = hashlib.sha256()
            for part in preimage(script_code, hash_type):  # not joined: they may be large
                state.update(part)
            cached = self._cache[kind] = script_code, state
        state = cached[1].copy()
        state.update((hash_type & 0xFFFFFFFF).to_bytes(4, "little"))
        return sha256(state.digest())

    def _witness_v0_preimage(self, script_code: bytes, hash_type: int) -> _Parts:
        return (self._shared.preimage(self.index, script_code, self.coin.value, hash_type),)

    def _legacy_preimage(self, script_code: bytes, hash_type: int) -> _Parts:
        """Return the preimage without the hash type (Bitcoin: CTransactionSignatureSerializer).

        What all inputs share is neither copied nor made again: a block may need 20,000 hashes of a
        transaction of 1 MB.
        """
        transaction, index = self.transaction, self.index
        txin = transaction.inputs[index]
        base = hash_type & SIGHASH_OUTPUTS
        own = txin.outpoint + without_separators(script_code) + txin.sequence.to_bytes(4, "little")
        if hash_type & SIGHASH_ANYONE_CAN_PAY:
            inputs: _Parts = (b"\x01", own)
        else:
            is_all = base not in {SIGHASH_NONE, SIGHASH_SINGLE}
            blank = self._shared.blank_inputs(with_sequences=is_all)
            at = index * _BLANK_INPUT_BYTES
            before, after = blank[:at], blank[at + _BLANK_INPUT_BYTES :]
            inputs = (compact_size(len(transaction.inputs)), before, own, after)
        if base == SIGHASH_NONE:
            outputs = b"\x00"
        elif base == SIGHASH_SINGLE:
            this = transaction.outputs[index].encode()
            outputs = compact_size(index + 1) + _BLANK_OUTPUT * index + this
        else:
            outputs = self._shared.counted_outputs()
        version, lock_time = transaction.version, transaction.lock_time
        return version.to_bytes(4, "little"), *inputs, outputs, lock_time.to_bytes(4, "little")


def without_separators(script_code: bytes) -> bytes:
    """Return a script code without its OP_CODESEPARATORs, preceded by its size.

    The data of a push that the script's end truncates is counted but left out, as in Bitcoin
    (SerializeScriptCode). Such a script fails, but the signatures before that push determine the
    error.
    """
    parts, start, at, end = [], 0, 0, len(script_code)
    while (at := skip_operations(script_code, at, end, _SEPARATORS)) < end:
        if script_code[at] != _CODE_SEPARATOR:  # a truncated push
            width = _SIZE_BYTES.get(script_code[at], 0)
            end = at + 1 + (width if at + 1 + width <= end else 0)
            break
        parts.append(script_code[start:at])
        start = at = at + 1
    size = compact_size(len(script_code) - len(parts))
    return size + b"".join(parts) + script_code[start:end]
