"""JSON-RPC: PSBTs as JSON objects."""

from typing import Final

from btclib import base58

from chain.consensus.params import Params
from chain.primitives.encoding import DecodeError, read_compact_size, read_sized
from chain.primitives.key_origin import Origin
from chain.primitives.psbt import (
    Fields,
    Global,
    Input,
    Output,
    Psbt,
    origin_of,
    origins,
    signatures,
    witness_coin,
    witness_items,
)
from chain.primitives.transaction import TxOut, decode_transaction
from chain.service.api.exact_json import CoinValue, Json
from chain.service.api.rpc.core_json import script_json, script_text, tx_json
from chain.service.api.rpc.descriptor_info import described_script
from chain.service.api.rpc.method import Method
from chain.service.api.rpc.rawtransaction.psbt import decode
from chain.service.api.snapshot import NodeSnapshot

_PROPRIETARY: Final = 0xFC  # BIP174: a proprietary field
_PREIMAGES: Final = {0x0A: "ripemd160", 0x0B: "sha256", 0x0C: "hash160", 0x0D: "hash256"}
_SIGHASH_NAMES: Final = {  # Bitcoin: SighashToStr
    0: "DEFAULT",
    1: "ALL",
    2: "NONE",
    3: "SINGLE",
    0x81: "ALL|ANYONECANPAY",
    0x82: "NONE|ANYONECANPAY",
    0x83: "SINGLE|ANYONECANPAY",
}
_GLOBALS: Final = frozenset({*Global, _PROPRIETARY})
_INPUTS: Final = frozenset({*Input, *_PREIMAGES, _PROPRIETARY})
_OUTPUTS: Final = frozenset({*Output, _PROPRIETARY})


def decodepsbt(snapshot: NodeSnapshot, psbt: str) -> Json:
    """Return a PSBT's content as an object; fields that groat does not use are `unknown`."""
    given, params = decode(psbt), snapshot.api.params
    coins = [given.coin(index) for index in range(len(given.inputs))]
    result: dict[str, Json] = {
        "tx": tx_json(given.transaction, params),
        "global_xpubs": [
            {"xpub": base58.encode(key[1:]).decode("ascii"), **_origin(origin_of(value))}
            for key, value in given.fields.items()
            if key[0] == Global.XPUB
        ],
        "psbt_version": 0,
        "proprietary": _proprietary(given.fields),
        "unknown": _unknown(given.fields, _GLOBALS),
        "inputs": [_input(given, index, params) for index in range(len(given.inputs))],
        "outputs": [_output(fields, params) for fields in given.outputs],
    }
    fee = _fee(given, coins, params)
    return result if fee is None else {**result, "fee": CoinValue(fee)}


def _fee(psbt: Psbt, coins: list[TxOut | None], params: Params) -> int | None:
    """Return the fee, if all amounts are known and in range."""
    values = [coin.value for coin in coins if coin is not None]
    values += [out.value for out in psbt.transaction.outputs]
    is_known = len(values) == len(coins) + len(psbt.transaction.outputs)
    if not is_known or not all(0 <= value <= params.amount_max for value in values):
        return None
    return sum(values[: len(coins)]) - sum(values[len(coins) :])


def _input(psbt: Psbt, index: int, params: Params) -> Json:
    fields = psbt.inputs[index]
    result: dict[str, Json] = {}
    coin = witness_coin(fields)
    if coin is not None:
        script = described_script(coin.script, params)
        result["witness_utxo"] = {"amount": CoinValue(coin.value), "scriptPubKey": script}
    previous = fields.get(bytes([Input.NON_WITNESS_UTXO]))
    if previous is not None:
        result["non_witness_utxo"] = tx_json(decode_transaction(previous), params)
    signed = signatures(fields)
    if signed:
        result["partial_signatures"] = {key.hex(): value.hex() for key, value in signed.items()}
    hash_type = fields.get(bytes([Input.SIGHASH_TYPE]))
    if hash_type is not None:
        result["sighash"] = _SIGHASH_NAMES.get(int.from_bytes(hash_type, "little"), "")
    result |= _scripts(fields, Input.REDEEM_SCRIPT, Input.WITNESS_SCRIPT, params)
    result |= _derivations(fields, Input.BIP32_DERIVATION)
    final = fields.get(bytes([Input.FINAL_SCRIPTSIG]))
    if final is not None:
        result["final_scriptSig"] = {"asm": script_text(final), "hex": final.hex()}
    witness = fields.get(bytes([Input.FINAL_SCRIPTWITNESS]))
    if witness is not None:
        result["final_scriptwitness"] = [item.hex() for item in witness_items(witness)]
    for kind, name in _PREIMAGES.items():
        found = {key[1:].hex(): v.hex() for key, v in fields.items() if key[0] == kind}
        result |= {f"{name}_preimages": found} if found else {}
    return result | _others(fields, _INPUTS)


def _output(fields: Fields, params: Params) -> Json:
    result = _scripts(fields, Output.REDEEM_SCRIPT, Output.WITNESS_SCRIPT, params)
    result |= _derivations(fields, Output.BIP32_DERIVATION)
    return result | _others(fields, _OUTPUTS)


def _scripts(fields: Fields, redeem: int, witness: int, params: Params) -> dict[str, Json]:
    result: dict[str, Json] = {}
    for kind, name in ((redeem, "redeem_script"), (witness, "witness_script")):
        script = fields.get(bytes([kind]))
        if script is not None:
            full = script_json(script, params)
            result[name] = {part: full[part] for part in ("asm", "hex", "type")}
    return result


def _derivations(fields: Fields, kind: int) -> dict[str, Json]:
    found = [
        {"pubkey": key.hex(), **_origin(origin)} for key, origin in origins(fields, kind).items()
    ]
    return {"bip32_derivs": found} if found else {}


def _origin(origin: Origin) -> dict[str, Json]:
    return {"master_fingerprint": origin.fingerprint.hex(), "path": origin.path_text()}


def _others(fields: Fields, known: frozenset[int]) -> dict[str, Json]:
    """Return the fields of unknown types, if there are any."""
    result = {"proprietary": _proprietary(fields), "unknown": _unknown(fields, known)}
    return {name: value for name, value in result.items() if value}


def _unknown(fields: Fields, known: frozenset[int]) -> dict[str, str]:
    return {key.hex(): value.hex() for key, value in fields.items() if key[0] not in known}


def _proprietary(fields: Fields) -> list[Json]:
    """Return the proprietary fields: an identifier, a number, and their owner's data."""
    return [_own_field(key, value) for key, value in fields.items() if key[0] == _PROPRIETARY]


def _own_field(key: bytes, value: bytes) -> Json:
    try:
        identifier, at = read_sized(key, 1)
        subtype, at = read_compact_size(key, at)
    except DecodeError:  # not parsed, but preserved
        identifier, subtype, at = b"", 0, 1
    return {
        "identifier": identifier.hex(),
        "subtype": subtype,
        "key": key[at:].hex(),
        "value": value.hex(),
    }


METHODS: Final = (Method(decodepsbt, "Rawtransactions"),)
