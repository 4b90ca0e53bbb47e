"""A reader of an Esplora server's JSON; ids are checked, and thereby amounts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from chain.primitives.numbers import Amount, Hash32, Height, id_text, outpoint, parse_id
from chain.primitives.transaction import Transaction, TxIn, TxOut

NUMBER_MAX: Final = (1 << 32) - 1  # a block's time has 32 bits, and no height has more


@dataclass(frozen=True, slots=True)
class SeenTransaction:
    """A transaction as the server describes it; height and time are None while unconfirmed."""

    transaction: Transaction
    height: Height | None
    time: int | None
    position: int | None = None  # in its block, if known


@dataclass(frozen=True, slots=True)
class Counts:
    """A server's counts of a script's transactions."""

    confirmed: int
    unconfirmed: int  # in its mempool


def read_transaction(entry: Mapping[str, Any]) -> SeenTransaction:
    """Rebuild a transaction from an element of `/txs`.

    Raises ValueError, TypeError, KeyError, OverflowError, AttributeError: it is malformed, or its
    id is not the claimed one.
    """
    inputs = [_input(vin) for vin in entry["vin"]]
    outputs = [
        TxOut(Amount(_whole(vout["value"])), bytes.fromhex(vout["scriptpubkey"]))
        for vout in entry["vout"]
    ]
    if any(out.value < 0 for out in outputs):
        raise ValueError("an output is worth less than nothing")
    version, lock_time = _whole(entry["version"]) & 0xFFFFFFFF, _whole(entry["locktime"])
    transaction = Transaction(version, inputs, outputs, lock_time)
    if id_text(transaction.txid) != entry["txid"]:
        raise ValueError("the transaction has another id than it claims")
    status = entry["status"]
    if not status["confirmed"]:
        return SeenTransaction(transaction, None, None)
    height, block_time = _whole(status["block_height"]), _whole(status["block_time"])
    if not (0 <= height <= NUMBER_MAX and 0 <= block_time <= NUMBER_MAX):
        raise ValueError("a block has no such height or time")
    return SeenTransaction(transaction, Height(height), block_time)


def read_spenders(entries: object) -> list[Hash32]:
    """Return the ids of the spenders in an answer to `/tx/TXID/outspends`, each once.

    Raises KeyError, ValueError, TypeError, AttributeError: the answer is malformed.
    """
    if not isinstance(entries, list):
        raise TypeError("not a list")
    return list({parse_id(each["txid"]): None for each in entries if each["spent"]})


def read_counts(table: object) -> Counts | None:
    """Return the counts in an answer to `/scripthash/HASH`; None: it has no counts.

    Raises ValueError, TypeError: the counts are invalid.
    """
    if not isinstance(table, dict):
        raise TypeError("an object is expected")
    chain, mempool = table.get("chain_stats"), table.get("mempool_stats")
    if not (isinstance(chain, dict) and isinstance(mempool, dict)):
        return None
    counts = Counts(_whole(chain.get("tx_count")), _whole(mempool.get("tx_count")))
    if counts.confirmed < 0 or counts.unconfirmed < 0:
        raise ValueError("a count is less than nothing")
    return counts


def _input(vin: Mapping[str, Any]) -> TxIn:
    txid = parse_id(vin["txid"])
    witness = tuple(bytes.fromhex(item) for item in vin.get("witness", ()))
    script_sig = bytes.fromhex(vin["scriptsig"])
    return TxIn(outpoint(txid, _whole(vin["vout"])), script_sig, _whole(vin["sequence"]), witness)


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError("a whole number is expected")
    return value
