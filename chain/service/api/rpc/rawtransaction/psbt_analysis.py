"""JSON-RPC: a PSBT's missing parts and its fee (Bitcoin: AnalyzePSBT)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Final

from chain.consensus.params import Params
from chain.node.policy import RATE_VBYTES
from chain.primitives.hashes import hash160
from chain.primitives.psbt import Fields, Input, Psbt, origins, signatures
from chain.primitives.psbt_roles import (
    extract,
    finalize_input,
    good_witness,
    hash_type,
    is_final,
)
from chain.primitives.script import ScriptKind, is_unspendable, p2wpkh_key_hash, script_kind
from chain.primitives.sighash import SignatureHasher
from chain.primitives.transaction import TxOut
from chain.service.api.exact_json import CoinValue, Json
from chain.service.api.rpc.method import Method
from chain.service.api.rpc.rawtransaction.psbt import decode
from chain.service.api.snapshot import NodeSnapshot

_DUMMY_SIGNATURE: Final = bytes(71)  # of the usual size, hash type included


class Role(IntEnum):
    """The next role (BIP174); that of a PSBT is the lowest of its inputs."""

    CREATOR = 0
    UPDATER = 1
    SIGNER = 2
    FINALIZER = 3
    EXTRACTOR = 4


@dataclass(frozen=True, slots=True)
class _InputState:
    """One input's state, and the role that has to act on it."""

    has_utxo: bool
    is_final: bool
    next: Role
    missing: dict[str, Json] = field(default_factory=dict)


class _InvalidPsbtError(Exception):
    """The PSBT can never become a valid transaction; the message says why."""


def analyzepsbt(snapshot: NodeSnapshot, psbt: str) -> Json:
    """Return what each input of a PSBT lacks, the next role, and the fee if it is known.

    Inputs of types that groat cannot spend always need an updater.
    """
    given, params = decode(psbt), snapshot.api.params
    coins = [given.coin(index) for index in range(len(given.inputs))]
    try:
        paid = _paid(coins, params)
        fee = _fee(given, coins, paid, params)
    except _InvalidPsbtError as error:
        return {"next": Role.CREATOR.name.lower(), "error": f"PSBT is not valid. {error}"}
    hasher = SignatureHasher(given.transaction)
    states = [_state(given, index, coin, hasher) for index, coin in enumerate(coins)]
    shape: dict[str, Json] = {"inputs": list(map(_input_json, states))} if states else {}
    if fee is not None:
        size = _signed_vsize(given, coins)
        if size is not None:
            rate = fee * RATE_VBYTES // size
            shape |= {"estimated_vsize": size, "estimated_feerate": CoinValue(rate)}
        shape["fee"] = CoinValue(fee)
    last = min((state.next for state in states), default=Role.EXTRACTOR)
    return {**shape, "next": last.name.lower()}


def _paid(coins: Sequence[TxOut | None], params: Params) -> int:
    """Return the sum of the spent coins in the PSBT."""
    total = 0
    for index, coin in enumerate(coins):
        if coin is None:
            continue
        total += coin.value
        if not 0 <= coin.value <= params.amount_max or total > params.amount_max:
            raise _InvalidPsbtError(f"Input {index} has invalid value")
        if is_unspendable(coin.script):
            raise _InvalidPsbtError(f"Input {index} spends unspendable output")
    return total


def _fee(psbt: Psbt, coins: Sequence[TxOut | None], paid: int, params: Params) -> int | None:
    """Return the fee, if all spent coins are in the PSBT."""
    if any(coin is None for coin in coins):
        return None
    values = [out.value for out in psbt.transaction.outputs]
    if any(not 0 <= value <= params.amount_max for value in values) or (
        sum(values) > params.amount_max
    ):
        raise _InvalidPsbtError("Output amount invalid")
    return paid - sum(values)


def _state(psbt: Psbt, index: int, coin: TxOut | None, hasher: SignatureHasher) -> _InputState:
    if coin is None:
        return _InputState(has_utxo=False, is_final=False, next=Role.UPDATER)
    if good_witness(psbt, index, hasher, hash_type(psbt, index)) is not None:
        done = is_final(psbt, index)
        return _InputState(
            has_utxo=True, is_final=done, next=Role.EXTRACTOR if done else Role.FINALIZER
        )
    missing = _missing(psbt.inputs[index], coin)
    role = Role.SIGNER if "signatures" in missing else Role.UPDATER
    return _InputState(has_utxo=True, is_final=False, next=role, missing=missing)


def _missing(fields: Fields, coin: TxOut) -> dict[str, Json]:
    """Return what an input lacks to spend its kind of coin."""
    key_hash = p2wpkh_key_hash(coin.script)
    if key_hash is not None:
        what = "pubkeys" if _key_of(fields, key_hash) is None else "signatures"
        return {what: [key_hash.hex()]}
    kind = script_kind(coin.script)
    if kind is ScriptKind.P2SH and bytes([Input.REDEEM_SCRIPT]) not in fields:
        return {"redeemscript": coin.script[2:22].hex()}
    if kind is ScriptKind.P2WSH and bytes([Input.WITNESS_SCRIPT]) not in fields:
        return {"witnessscript": coin.script[2:].hex()}
    return {}


def _key_of(fields: Fields, key_hash: bytes) -> bytes | None:
    """Return the public key of this hash, if the input holds it."""
    known = (*origins(fields, Input.BIP32_DERIVATION), *signatures(fields))
    return next((key for key in known if hash160(key) == key_hash), None)


def _signed_vsize(psbt: Psbt, coins: Sequence[TxOut | None]) -> int | None:
    """Return the size of the signed transaction, if every key is known."""
    inputs: list[Fields] = []
    for index, (fields, coin) in enumerate(zip(psbt.inputs, coins, strict=True)):
        key_hash = None if coin is None else p2wpkh_key_hash(coin.script)
        key = None if key_hash is None else _key_of(fields, key_hash)
        if is_final(psbt, index):
            inputs.append(fields)
        elif key is not None:
            signature = signatures(fields).get(key, _DUMMY_SIGNATURE)
            inputs.append(finalize_input(fields, (signature, key)))
        else:
            return None
    return extract(replace(psbt, inputs=tuple(inputs))).vsize


def _input_json(state: _InputState) -> Json:
    shape: dict[str, Json] = {"has_utxo": state.has_utxo, "is_final": state.is_final}
    if state.missing:
        shape["missing"] = state.missing
    return {**shape, "next": state.next.name.lower()}


METHODS: Final = (Method(analyzepsbt, "Rawtransactions"),)
