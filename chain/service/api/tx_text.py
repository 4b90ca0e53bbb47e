"""Esplora's JSON of a transaction, written at once.

A page of a script's history is mostly this. Dictionaries and then their JSON take twice as long,
the models that describe it six times; tests hold the text to those models, which are
chain/service/api/esplora_json.py's. Nothing here needs an escape: all texts are hex digits, names
of opcodes, and addresses.
"""

from functools import lru_cache
from typing import Final

from chain.consensus.coin import Coin
from chain.consensus.entry import BlockTreeEntry
from chain.primitives.address import AddressPrefixes, p2wpkh_address, script_address
from chain.primitives.numbers import NULL_OUTPOINT, Hash32, id_text, outpoint_index, outpoint_txid
from chain.primitives.script import is_p2wpkh, script_kind, script_text
from chain.primitives.transaction import Transaction, TxIn, TxOut

UNCONFIRMED: Final = '{"confirmed":false}'  # a status
_KEPT_SCRIPT_BYTES_MAX: Final = 42  # no longer script has an address
_KEPT_SCRIPTS_MAX: Final = 8_192  # about 4 MB: those of a page are often the same
_NETWORKS_MAX: Final = 4  # in one process


def tx_text(
    tx: Transaction,
    coins: tuple[Coin | None, ...],
    block: BlockTreeEntry | None,
    prefixes: AddressPrefixes,
) -> str:
    """Return the JSON of a transaction whose inputs spend `coins` (a coinbase's are empty).

    `prefixes` are the network's for addresses.
    """
    status = UNCONFIRMED
    if block is not None:
        status = confirmed_text(block.height, block.id, block.header.time)
    return tx_text_in(status, tx, coins, prefixes)


def tx_text_in(
    status: str,
    tx: Transaction,
    coins: tuple[Coin | None, ...],
    prefixes: AddressPrefixes,
) -> str:
    """Return the same with the JSON of its status."""
    texts = script_texts(prefixes)
    spent = coins or (None,) * len(tx.inputs)
    vin = ",".join([_input(txin, coin, texts) for txin, coin in zip(tx.inputs, spent, strict=True)])
    vout = ",".join([_output(out, texts) for out in tx.outputs])
    return (
        f'{{"txid":"{id_text(tx.txid)}","version":{signed_version(tx.version)},'
        f'"locktime":{tx.lock_time},"vin":[{vin}],"vout":[{vout}],"size":{len(tx.raw)},'
        f'"weight":{tx.weight},"fee":{fee_of(tx, coins)},"status":{status}}}'
    )


def fee_of(tx: Transaction, coins: tuple[Coin | None, ...]) -> int:
    """Return the inputs' sum minus the outputs'; 0 for a coinbase or an unknown coin."""
    known = [coin.value for coin in coins if coin is not None]
    return sum(known) - tx.output_value if known and len(known) == len(tx.inputs) else 0


def signed_version(version: int) -> int:
    """Return a transaction's unsigned version as the signed number that clients expect."""
    return version - (1 << 32) if version >> 31 else version


@lru_cache(maxsize=_NETWORKS_MAX)
def script_texts(prefixes: AddressPrefixes) -> "ScriptTexts":
    """Return the texts for a network's prefixes."""
    return ScriptTexts(prefixes)


class ScriptTexts(dict[bytes, str]):
    """The JSON of outputs up to their value, which ends it, by script: `texts[script]` makes it.

    That of a short script is kept, until there are too many.
    """

    def __init__(self, prefixes: AddressPrefixes) -> None:
        super().__init__()
        self._prefixes = prefixes

    def __missing__(self, script: bytes) -> str:
        text = self._p2wpkh(script[2:]) if is_p2wpkh(script) else self._any(script)
        if len(script) <= _KEPT_SCRIPT_BYTES_MAX:
            if len(self) >= _KEPT_SCRIPTS_MAX:
                self.clear()
            self[script] = text
        return text

    def _any(self, script: bytes) -> str:
        address = script_address(script, self._prefixes)
        member = "" if address is None else f'"scriptpubkey_address":"{address}",'
        return (
            f'{{"scriptpubkey":"{script.hex()}","scriptpubkey_asm":"{script_text(script)}",'
            f'"scriptpubkey_type":"{script_kind(script).value}",{member}"value":'
        )

    def _p2wpkh(self, key_hash: bytes) -> str:
        """Return the text of the usual script, which saves a quarter of the time."""
        digits, address = key_hash.hex(), p2wpkh_address(key_hash, self._prefixes.bech32)
        return (
            f'{{"scriptpubkey":"0014{digits}","scriptpubkey_asm":"OP_0 OP_PUSHBYTES_20 {digits}",'
            f'"scriptpubkey_type":"v0_p2wpkh","scriptpubkey_address":"{address}","value":'
        )


def confirmed_text(height: int, block_id: Hash32, time: int) -> str:
    """Return the JSON of the status of a transaction in a block of the best chain."""
    return (
        f'{{"confirmed":true,"block_height":{height},"block_hash":"{id_text(block_id)}",'
        f'"block_time":{time}}}'
    )


def _input(txin: TxIn, coin: Coin | None, texts: ScriptTexts) -> str:
    """Return an input that spends `coin` (None: a coinbase, or the coin is unknown)."""
    point, script_sig, witness = txin.outpoint, txin.script_sig, txin.witness
    prevout = "null" if coin is None else _output(coin, texts)
    asm = script_text(script_sig) if script_sig else ""
    items = '","'.join([item.hex() for item in witness])
    listed = f'"witness":["{items}"],' if witness else ""
    is_coinbase = "true" if point == NULL_OUTPOINT else "false"
    return (
        f'{{"txid":"{id_text(outpoint_txid(point))}","vout":{outpoint_index(point)},'
        f'"prevout":{prevout},"scriptsig":"{script_sig.hex()}","scriptsig_asm":"{asm}",'
        f'{listed}"is_coinbase":{is_coinbase},"sequence":{txin.sequence}}}'
    )


def _output(out: TxOut | Coin, texts: ScriptTexts) -> str:
    return f"{texts[out.script]}{out.value}}}"
