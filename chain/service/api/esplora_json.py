"""Esplora's JSON objects, which the pages show too. Unset fields are left out; None is null."""

from functools import lru_cache
from typing import Any, Final, TypeAlias

from pydantic import BaseModel, TypeAdapter

from chain.consensus.coin import Coin
from chain.consensus.entry import BlockTreeEntry
from chain.node.entry import PoolEntry
from chain.node.fees import fee_histogram
from chain.node.policy import RATE_VBYTES
from chain.node.pool import Pool
from chain.primitives.address import AddressPrefixes, script_address
from chain.primitives.numbers import (
    NULL_HASH,
    NULL_OUTPOINT,
    id_text,
    outpoint_index,
    outpoint_txid,
)
from chain.primitives.script import script_kind, script_text
from chain.primitives.transaction import Transaction, TxIn, TxOut

Models: TypeAlias = Any  # models, lists of them, or plain JSON values
_SHOWN_SCRIPTS_MAX: Final = 8_192  # cached, about 6 MB: those of a page are often the same
_SHOWN_SCRIPT_BYTES_MAX: Final = 42  # of a cached script; no longer one has an address
_ANYTHING: Final[TypeAdapter[Any]] = TypeAdapter(Any)


class Status(BaseModel):
    """A transaction's confirmation; the three block fields are set only if it is confirmed."""

    confirmed: bool
    block_height: int | None = None
    block_hash: str | None = None
    block_time: int | None = None


class Vout(BaseModel):
    """One output; the address is set only if the script has one."""

    scriptpubkey: str
    scriptpubkey_asm: str
    scriptpubkey_type: str
    scriptpubkey_address: str | None = None
    value: int


class Vin(BaseModel):
    """One input; a coinbase's `prevout` is null; `witness` is set only if there is one."""

    txid: str
    vout: int
    prevout: Vout | None
    scriptsig: str
    scriptsig_asm: str
    witness: list[str] | None = None
    is_coinbase: bool
    sequence: int


class Tx(BaseModel):
    """One transaction; sizes in bytes and weight units, fee in grains (0 for a coinbase)."""

    txid: str
    version: int
    locktime: int
    vin: list[Vin]
    vout: list[Vout]
    size: int
    weight: int
    fee: int
    status: Status


class BlockSummary(BaseModel):
    """One block, without its transactions."""

    id: str
    height: int
    version: int
    timestamp: int
    tx_count: int
    size: int
    weight: int
    merkle_root: str
    previousblockhash: str | None
    mediantime: int
    nonce: int
    bits: int
    difficulty: float


class BlockStatus(BaseModel):
    """Whether a block is in the best chain."""

    in_best_chain: bool
    height: int | None = None
    next_best: str | None = None


class Outspend(BaseModel):
    """Whether an output is spent, and if so by which input of which transaction."""

    spent: bool
    txid: str | None = None
    vin: int | None = None
    status: Status | None = None


class Stats(BaseModel):
    """Counts and sums of one script's transactions."""

    tx_count: int
    funded_txo_count: int
    funded_txo_sum: int
    spent_txo_count: int
    spent_txo_sum: int


class ScriptSummary(BaseModel):
    """One script's statistics; `address` or `scripthash` is set, as requested."""

    address: str | None = None
    scripthash: str | None = None
    chain_stats: Stats
    mempool_stats: Stats


class Unspent(BaseModel):
    """One unspent output."""

    txid: str
    vout: int
    value: int
    status: Status


class MerkleProof(BaseModel):
    """The siblings from a transaction up to its block's Merkle root."""

    block_height: int
    merkle: list[str]
    pos: int


class MempoolSummary(BaseModel):
    """The mempool: `fee_histogram` holds [grains per vbyte, vbytes], highest rate first."""

    count: int
    vsize: int
    total_fee: int
    fee_histogram: list[tuple[float, int]]


class RecentTx(BaseModel):
    """A recent mempool transaction; `value` is the sum of its outputs."""

    txid: str
    fee: int
    vsize: int
    value: int


UNCONFIRMED: Final = Status(confirmed=False)


def status_of(block: BlockTreeEntry | None) -> Status:
    """Return the status of a transaction in `block` of the best chain, or unconfirmed."""
    return UNCONFIRMED if block is None else Status(**_status(block))


def tx_model(
    tx: Transaction,
    coins: tuple[Coin | None, ...],
    block: BlockTreeEntry | None,
    prefixes: AddressPrefixes,
) -> Tx:
    """Return a transaction whose inputs spend `coins` (a coinbase's are empty)."""
    return Tx(**tx_json(tx, coins, block, prefixes))


def tx_json(
    tx: Transaction,
    coins: tuple[Coin | None, ...],
    block: BlockTreeEntry | None,
    prefixes: AddressPrefixes,
) -> dict[str, Any]:
    """Return `tx_model`'s JSON object; without the models, in a third of the time.

    `prefixes` are the network's for addresses.
    """
    spent = coins or (None,) * len(tx.inputs)
    return {
        "txid": id_text(tx.txid),
        "version": signed_version(tx.version),
        "locktime": tx.lock_time,
        "vin": [_input(i, coin, prefixes) for i, coin in zip(tx.inputs, spent, strict=True)],
        "vout": [_output(out, prefixes) for out in tx.outputs],
        "size": len(tx.raw),
        "weight": tx.weight,
        "fee": fee_of(tx, coins),
        "status": _status(block),
    }


def _status(block: BlockTreeEntry | None) -> dict[str, Any]:
    if block is None:
        return {"confirmed": False}
    return {
        "confirmed": True,
        "block_height": block.height,
        "block_hash": id_text(block.id),
        "block_time": block.header.time,
    }


def _input(txin: TxIn, coin: Coin | None, prefixes: AddressPrefixes) -> dict[str, Any]:
    """Return an input that spends `coin` (None: a coinbase, or the coin is unknown)."""
    point, script_sig, witness = txin.outpoint, txin.script_sig, txin.witness
    shown = {
        "txid": id_text(outpoint_txid(point)),
        "vout": outpoint_index(point),
        "prevout": None if coin is None else _output(coin, prefixes),
        "scriptsig": script_sig.hex(),
        "scriptsig_asm": script_text(script_sig) if script_sig else "",
    }
    if witness:
        shown["witness"] = [item.hex() for item in witness]
    shown["is_coinbase"] = point == NULL_OUTPOINT
    shown["sequence"] = txin.sequence
    return shown


def _output(out: TxOut | Coin, prefixes: AddressPrefixes) -> dict[str, Any]:
    script = out.script
    shown = _script if len(script) <= _SHOWN_SCRIPT_BYTES_MAX else _script.__wrapped__
    return {**shown(script, prefixes), "value": out.value}


@lru_cache(maxsize=_SHOWN_SCRIPTS_MAX)
def _script(script: bytes, prefixes: AddressPrefixes) -> dict[str, str]:
    """Return the fields that do not depend on an output's value; not to be changed."""
    shown = {
        "scriptpubkey": script.hex(),
        "scriptpubkey_asm": script_text(script),
        "scriptpubkey_type": script_kind(script).value,
    }
    address = script_address(script, prefixes)
    if address is not None:
        shown["scriptpubkey_address"] = address
    return shown


def fee_of(tx: Transaction, coins: tuple[Coin | None, ...]) -> int:
    """Return the inputs' sum minus the outputs'; 0 for a coinbase or an unknown coin."""
    known = [coin.value for coin in coins if coin is not None]
    return sum(known) - tx.output_value if known and len(known) == len(tx.inputs) else 0


def signed_version(version: int) -> int:
    """Return a transaction's unsigned version as the signed number that clients expect."""
    return version - (1 << 32) if version >> 31 else version


def parent_text(entry: BlockTreeEntry) -> str | None:
    """Return the parent's id, or None for genesis."""
    previous = entry.header.previous
    return None if previous == NULL_HASH else id_text(previous)


def mempool_summary(pool: Pool) -> MempoolSummary:
    """Return totals and the histogram of fee rates."""
    bins = [(rate / RATE_VBYTES, vsize) for rate, vsize in fee_histogram(pool)]
    return MempoolSummary(
        count=pool.count, vsize=pool.vsize, total_fee=pool.fees, fee_histogram=bins
    )


def recent_model(entry: PoolEntry) -> RecentTx:
    """Return Esplora's object for a recent mempool transaction."""
    return RecentTx(
        txid=id_text(entry.txid),
        fee=entry.fee,
        vsize=entry.vsize,
        value=entry.transaction.output_value,
    )


def to_json(value: Models) -> bytes:
    """Return models as JSON; unset fields are left out."""
    return _ANYTHING.dump_json(value, exclude_unset=True)
