"""Transactions, blocks and scripts as Core's JSON objects."""

from typing import Final

from chain.consensus.coin import Coin
from chain.consensus.entry import BlockTreeEntry
from chain.consensus.params import Params
from chain.primitives.address import script_address
from chain.primitives.compact import difficulty, target_from_bits
from chain.primitives.numbers import NULL_HASH, id_text, outpoint_index, outpoint_txid
from chain.primitives.script import operations
from chain.primitives.script import script_text as rust_text
from chain.primitives.signature import is_strict_der
from chain.primitives.solver import output_type
from chain.primitives.transaction import Transaction, TxIn, TxOut
from chain.script.opcodes import op_name
from chain.service.api.exact_json import CoinValue, Json

_NUMBER_BYTES_MAX: Final = 4  # Bitcoin shows pushes up to here as script numbers
_HASH_TYPES: Final = {  # Bitcoin: mapSigHashTypes
    0x01: "ALL",
    0x02: "NONE",
    0x03: "SINGLE",
    0x81: "ALL|ANYONECANPAY",
    0x82: "NONE|ANYONECANPAY",
    0x83: "SINGLE|ANYONECANPAY",
}
_CUT_SHORT: Final = "<push past end>"


def header_json(entry: BlockTreeEntry, tip: BlockTreeEntry, tx_count: int) -> dict[str, Json]:
    """Return the fields that getblock and getblockheader share; `tip` is the best chain's."""
    is_best = entry.height <= tip.height and tip.ancestor(entry.height) == entry
    header = entry.header
    fields = {
        "hash": id_text(entry.id),
        "confirmations": tip.height - entry.height + 1 if is_best else -1,
        "height": entry.height,
        "version": header.version,
        "versionHex": f"{header.version & 0xFFFFFFFF:08x}",
        "merkleroot": id_text(header.merkle_root),
        "time": header.time,
        "mediantime": entry.median_time_past,
        "nonce": header.nonce,
        "bits": f"{header.bits:08x}",
        "target": target_text(header.bits),
        "difficulty": difficulty(header.bits),
        "chainwork": f"{entry.chain_work:064x}",
        "nTx": tx_count,
    }
    if header.previous != NULL_HASH:
        fields["previousblockhash"] = id_text(header.previous)
    if is_best and entry != tip:
        fields["nextblockhash"] = id_text(tip.ancestor(entry.height + 1).id)
    return fields


def coinbase_json(tx: Transaction) -> Json:
    """Return getblock's object for a coinbase (Bitcoin: coinbaseTxToJSON, since 31)."""
    txin = tx.inputs[0]
    fields = {
        "version": tx.version,
        "locktime": tx.lock_time,
        "sequence": txin.sequence,
        "coinbase": txin.script_sig.hex(),
    }
    if txin.witness:
        fields["witness"] = txin.witness[0].hex()
    return fields


def tx_json(
    tx: Transaction,
    params: Params,
    coins: tuple[Coin | None, ...] = (),
    *,
    shows_prevouts: bool = True,
) -> Json:
    """Return a transaction; given the `coins` that it spends, also its fee and prevouts."""
    unknown = (None,) * len(tx.inputs)
    known = coins or unknown
    shown = known if shows_prevouts else unknown
    fields = {
        "txid": id_text(tx.txid),
        "hash": id_text(tx.wtxid),
        "version": tx.version,
        "size": len(tx.raw),
        "vsize": tx.vsize,
        "weight": tx.weight,
        "locktime": tx.lock_time,
        "vin": [
            _input(txin, coin, tx, params) for txin, coin in zip(tx.inputs, shown, strict=True)
        ],
        "vout": [_output(out, index, params) for index, out in enumerate(tx.outputs)],
    }
    values = [coin.value for coin in known if coin is not None]
    if coins and len(values) == len(tx.inputs):
        fields["fee"] = CoinValue(sum(values) - tx.output_value)
    return fields


def script_json(script: bytes, params: Params) -> Json:
    """Return an output script."""
    fields = {"asm": script_text(script), "hex": script.hex()}
    address = script_address(script, params.address_prefixes)
    if address is not None:
        fields["address"] = address
    fields["type"] = output_type(script).value
    return fields


def script_text(script: bytes, *, is_script_sig: bool = False) -> str:
    """Return operations as Core prints them: small numbers in decimal, other pushes in hex.

    What looks like a signature in a scriptSig has its hash type as text (ScriptToAsmStr).
    """
    words = [
        _word(opcode, data) if not is_script_sig or data is None else _signature_text(data)
        for opcode, data in operations(script)
    ]
    if rust_text(script).endswith(_CUT_SHORT):
        words.append("[error]")
    return " ".join(words)


def target_text(bits: int) -> str:
    """Return the target of compact `bits`, in 64 hex digits."""
    return f"{target_from_bits(bits) or 0:064x}"


def _input(txin: TxIn, coin: Coin | None, tx: Transaction, params: Params) -> Json:
    fields: dict[str, Json] = {}
    if tx.is_coinbase:
        fields["coinbase"] = txin.script_sig.hex()
    else:
        fields["txid"] = id_text(outpoint_txid(txin.outpoint))
        fields["vout"] = outpoint_index(txin.outpoint)
        asm = script_text(txin.script_sig, is_script_sig=True)
        fields["scriptSig"] = {"asm": asm, "hex": txin.script_sig.hex()}
    if txin.witness:
        fields["txinwitness"] = [item.hex() for item in txin.witness]
    if coin is not None:
        fields["prevout"] = {
            "generated": coin.from_coinbase,
            "height": coin.height,
            "value": CoinValue(coin.value),
            "scriptPubKey": script_json(coin.script, params),
        }
    fields["sequence"] = txin.sequence
    return fields


def _output(out: TxOut, index: int, params: Params) -> Json:
    return {
        "value": CoinValue(out.value),
        "n": index,
        "scriptPubKey": script_json(out.script, params),
    }


def _word(opcode: int, data: bytes | None) -> str:
    return op_name(opcode) if data is None else _push_text(data)


def _push_text(data: bytes) -> str:
    return str(_number(data)) if len(data) <= _NUMBER_BYTES_MAX else data.hex()


def _signature_text(data: bytes) -> str:
    hash_type = _HASH_TYPES.get(data[-1]) if len(data) > _NUMBER_BYTES_MAX else None
    if hash_type is None or not is_strict_der(data[:-1]):
        return _push_text(data)
    return f"{data[:-1].hex()}[{hash_type}]"


def _number(data: bytes) -> int:
    """Return a script number: little-endian, the highest bit is the sign."""
    if not data:
        return 0
    value = int.from_bytes(data, "little")
    sign = 1 << (8 * len(data) - 1)
    return -(value ^ sign) if value & sign else value
