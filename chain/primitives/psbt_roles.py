"""BIP174's roles that need no private key: combiner, finalizer, extractor."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from chain.primitives.hashes import hash160
from chain.primitives.psbt import (
    Fields,
    Input,
    Psbt,
    PsbtError,
    decode_psbt,
    signatures,
    witness_items,
)
from chain.primitives.script import p2wpkh_key_hash
from chain.primitives.sighash import SIGHASH_ALL, SignatureHasher
from chain.primitives.signature import is_strict_der, verify
from chain.primitives.transaction import Transaction, encode_witness

SCRIPT_SIG: Final = bytes([Input.FINAL_SCRIPTSIG])
WITNESS: Final = bytes([Input.FINAL_SCRIPTWITNESS])
_COMPRESSED_KEY_BYTES: Final = 33
_WHILE_UNSIGNED: Final = frozenset(Input) - {
    Input.NON_WITNESS_UTXO,
    Input.WITNESS_UTXO,
    Input.FINAL_SCRIPTSIG,
    Input.FINAL_SCRIPTWITNESS,
}


class OtherTransactionError(PsbtError):
    """The PSBTs to combine are of different transactions."""


def combine(psbts: Sequence[Psbt]) -> Psbt:
    """Return the union of the PSBTs' fields; where they differ, the first one counts.

    Raises OtherTransactionError; PsbtError: they contradict each other about a coin.
    """
    first = psbts[0]
    if any(each.transaction != first.transaction for each in psbts):
        raise OtherTransactionError("these PSBTs are of different transactions")
    merged = Psbt(
        first.transaction,
        _merge([each.fields for each in psbts]),
        tuple(_merge(maps) for maps in zip(*(each.inputs for each in psbts), strict=True)),
        tuple(_merge(maps) for maps in zip(*(each.outputs for each in psbts), strict=True)),
    )
    return decode_psbt(merged.encode())


def is_final(psbt: Psbt, index: int) -> bool:
    """Return whether an input has a final script or witness, valid or not."""
    fields = psbt.inputs[index]
    return WITNESS in fields or bool(fields.get(SCRIPT_SIG))


def hash_type(psbt: Psbt, index: int) -> int:
    """Return the hash type that an input asks for; SIGHASH_ALL if it names none."""
    value = psbt.inputs[index].get(bytes([Input.SIGHASH_TYPE]))
    return SIGHASH_ALL if value is None else int.from_bytes(value, "little")


def good_witness(
    psbt: Psbt, index: int, hasher: SignatureHasher, wanted: int = SIGHASH_ALL
) -> tuple[bytes, bytes] | None:
    """Return an input's valid witness: the final one, or one from its signatures.

    None: the coin is not P2WPKH or not known, or no signature of hash type `wanted` verifies. A
    valid signature confirms the coin's amount, which it signs.
    """
    coin, fields = psbt.coin(index), psbt.inputs[index]
    key_hash = None if coin is None else p2wpkh_key_hash(coin.script)
    if coin is None or key_hash is None or fields.get(SCRIPT_SIG):
        return None
    for public, signature in _signed(fields):
        if (
            hash160(public) != key_hash
            or len(public) != _COMPRESSED_KEY_BYTES
            or not is_strict_der(signature[:-1])
        ):
            continue
        if signature[-1] == wanted or WITNESS in fields:
            digest = hasher.hash(index, key_hash, coin.value, signature[-1])
            if verify(public, signature[:-1], digest):
                return signature, public
    return None


def finalize_input(fields: Fields, witness: tuple[bytes, ...]) -> Fields:
    """Return an input's fields with the final witness, without fields for signers (BIP174)."""
    remaining = {key: value for key, value in fields.items() if key[0] not in _WHILE_UNSIGNED}
    return {**remaining, WITNESS: encode_witness(witness)}


def extract(psbt: Psbt) -> Transaction:
    """Return the transaction with the inputs' final scripts and witnesses, unverified."""
    unsigned = psbt.transaction
    inputs = [
        replace(
            txin,
            script_sig=fields.get(SCRIPT_SIG, b""),
            witness=witness_items(fields[WITNESS]) if WITNESS in fields else (),
        )
        for txin, fields in zip(unsigned.inputs, psbt.inputs, strict=True)
    ]
    return Transaction(unsigned.version, inputs, unsigned.outputs, unsigned.lock_time)


def _signed(fields: Fields) -> list[tuple[bytes, bytes]]:
    """Return the public keys and signatures of an input, or of its final witness if it has one."""
    if WITNESS not in fields:
        return list(signatures(fields).items())
    items = witness_items(fields[WITNESS])
    return [(items[1], items[0])] if len(items) == 2 else []


def _merge(maps: Sequence[Fields]) -> Fields:
    merged: dict[bytes, bytes] = {}
    for fields in maps:
        merged = {**fields, **merged}
    return merged
