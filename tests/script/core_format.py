"""Bitcoin Core's vectors as values: scripts written as text, flags by name, spends made up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import pytest

from chain.primitives.encoding import with_size
from chain.primitives.numbers import NULL_OUTPOINT, Amount, outpoint
from chain.primitives.script import push
from chain.primitives.signature import ORDER, verify, verify_schnorr
from chain.primitives.transaction import Transaction, TxIn, TxOut, decode_transaction
from chain.script.errors import ScriptVerifyError
from chain.script.flags import VerifyFlags
from chain.script.hashes import TransactionHashes
from chain.script.number import encode_number
from chain.script.opcodes import Op
from chain.script.spend import verify_spend
from chain.script.taproot import leaf_hash, tweak

ALL_FLAGS = VerifyFlags((1 << 21) - 1)
NUMS_H = bytes.fromhex("50929b74c1a04954b78b4b6035e97a5e078a5a0f28ec96d547bfee9ace803ac0")  # BIP341
_NAMED = {op.name.removeprefix("OP_"): op for op in Op if op >= Op.OP_NOP or op == Op.OP_RESERVED}


def parse_script(text: str) -> bytes:
    """Return the script that a text of Core's vectors is (its ParseScript)."""
    return b"".join(_parse_word(word) for word in text.split())


def _parse_word(word: str) -> bytes:
    if word.lstrip("-").isdigit():
        return push_int(int(word))
    if word.startswith("0x"):
        return bytes.fromhex(word[2:])
    if word.startswith("'"):
        return push(word[1:-1].encode())
    return bytes([_NAMED[word.removeprefix("OP_")]])


def push_int(number: int) -> bytes:
    """Return what Core's `CScript() << number` is."""
    if number == -1 or 1 <= number <= 16:
        return bytes([Op.OP_1 - 1 + number])
    return push(encode_number(number))


def parse_flags(text: str) -> VerifyFlags:
    flags = VerifyFlags(0)
    for name in text.split(","):
        if name not in {"", "NONE"}:
            flags |= VerifyFlags[name]
    return flags


def filled(flags: VerifyFlags) -> VerifyFlags:
    """Return the flags with those that they need."""
    if flags & VerifyFlags.CLEANSTACK:
        flags |= VerifyFlags.WITNESS
    return flags | VerifyFlags.P2SH if flags & VerifyFlags.WITNESS else flags


def trimmed(flags: VerifyFlags) -> VerifyFlags:
    """Return the flags without those that need one that is not there."""
    if not flags & VerifyFlags.P2SH:
        flags &= ~VerifyFlags.WITNESS
    return flags if flags & VerifyFlags.WITNESS else flags & ~VerifyFlags.CLEANSTACK


def made_up_spend(
    script: bytes, script_sig: bytes = b"", witness: Sequence[bytes] = (), value: int = 0
) -> TransactionHashes:
    """Return the transaction by which Core's script_tests spend a made-up output."""
    made = TxOut(Amount(value), script)
    credit = Transaction(1, [TxIn(NULL_OUTPOINT, b"\x00\x00")], [made])
    spending = TxIn(outpoint(credit.txid, 0), script_sig, witness=tuple(witness))
    return TransactionHashes(Transaction(1, [spending], [TxOut(Amount(value), b"")]), [made])


def shown(tx: Transaction, index: int, script_sig: bytes, witness: Sequence[bytes]) -> Transaction:
    """Return `tx` with other bytes to unlock input `index`."""
    inputs = list(tx.inputs)
    inputs[index] = replace(inputs[index], script_sig=script_sig, witness=tuple(witness))
    return Transaction(tx.version, inputs, tx.outputs, tx.lock_time)


def script_test(row: list) -> tuple[TransactionHashes, VerifyFlags]:
    """Return the spend of a row of script_tests, and its flags."""
    *items, amount = row[0] if isinstance(row[0], list) else [0]
    script_sig, script, flags = row[1:4] if isinstance(row[0], list) else row[0:3]
    output_key, witness = b"", []
    for item in items:
        if item.startswith("#SCRIPT#"):
            witness.append(parse_script(item.removeprefix("#SCRIPT#")))
        elif item == "#CONTROLBLOCK#":
            output_key, parity = tweaked_key(NUMS_H, leaf_hash(0xC0, witness[-1]))
            witness.append(bytes([0xC0 | parity]) + NUMS_H)
        else:
            witness.append(bytes.fromhex(item))
    script = script.replace("#TAPROOTOUTPUT#", "0x" + output_key.hex())
    value = round(amount * 100_000_000)
    hashes = made_up_spend(parse_script(script), parse_script(script_sig), witness, value)
    return hashes, filled(parse_flags(flags))


def tweaked_key(internal_key: bytes, root: bytes) -> tuple[bytes, int]:
    xonly = pytest.importorskip("btclib_secp256k1.xonly")
    return xonly.tweak_add(internal_key, tweak(internal_key, root))


def dumped_spend(row: dict, name: str) -> TransactionHashes:
    """Return the spend of a row of feature_taproot's dump: `success` or `failure`."""
    coins = []
    for raw in row["prevouts"]:
        data = bytes.fromhex(raw)
        coins.append(TxOut(Amount(int.from_bytes(data[:8], "little")), b""))
        for width in (1, 3, 5):  # of the size in front of the script
            if with_size(data[8 + width :]) == data[8:]:
                coins[-1] = TxOut(coins[-1].value, data[8 + width :])
    tx = decode_transaction(bytes.fromhex(row["tx"]))
    witness = [bytes.fromhex(item) for item in row[name]["witness"]]
    script_sig = bytes.fromhex(row[name]["scriptSig"])
    return TransactionHashes(shown(tx, row["index"], script_sig, witness), coins)


class VectorChecker:
    """Verifies signatures in any DER that Bitcoin took before BIP66, and remembers them."""

    def ecdsa(self, key: bytes, signature: bytes, digest: bytes, *, is_decisive: bool) -> bool:
        return _verify_lax(key, signature, digest)

    def schnorr(self, key: bytes, signature: bytes, digest: bytes) -> bool:
        return _verify_schnorr(key, signature, digest)


def outcome(hashes: TransactionHashes, index: int, flags: VerifyFlags) -> str:
    """Run one spend, and return OK or the error's name."""
    try:
        verify_spend(hashes, index, flags, VectorChecker())
    except ScriptVerifyError as error:
        return error.error.name
    return "OK"


_verify_schnorr = lru_cache(maxsize=256)(verify_schnorr)


@lru_cache(maxsize=256)
def _verify_lax(key: bytes, signature: bytes, digest: bytes) -> bool:
    try:
        r, s = _read_lax_der(signature)
    except IndexError:
        return False
    if not (0 < r < ORDER and 0 < s < ORDER):
        return False
    numbers = b"".join(_der_number(value) for value in (r, s))
    return verify(key, bytes([0x30, len(numbers)]) + numbers, digest)


def _der_number(value: int) -> bytes:
    size = value.bit_length() // 8 + 1
    return bytes([2, size]) + value.to_bytes(size, "big")


def _read_lax_der(data: bytes) -> tuple[int, int]:
    """Return r and s, read as ecdsa_signature_parse_der_lax reads; IndexError: no signature."""
    at = 0
    if data[at] != 0x30:
        raise IndexError
    at += 1
    length = data[at]
    at += 1
    if length & 0x80:
        at += length - 0x80
    numbers = []
    for _ in range(2):
        if data[at] != 2:
            raise IndexError
        size, at = _read_lax_size(data, at + 1)
        if at + size > len(data):
            raise IndexError
        numbers.append(int.from_bytes(data[at : at + size], "big"))
        at += size
    return numbers[0], numbers[1]


def _read_lax_size(data: bytes, at: int) -> tuple[int, int]:
    size = data[at]
    at += 1
    if size & 0x80:
        width = size - 0x80
        if at + width > len(data):
            raise IndexError
        size = int.from_bytes(data[at : at + width], "big")
        at += width
    return size, at
