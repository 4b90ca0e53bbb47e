"""JSON-RPC: the chain."""

from typing import Final

from chain.consensus.entry import BlockTreeEntry
from chain.ledger.db.coins import HOT_COINS_BYTES
from chain.ledger.db.engine import WRITER_CACHE_BYTES
from chain.primitives.compact import difficulty
from chain.primitives.numbers import id_text, outpoint
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import CoinValue, Json
from chain.service.api.rpc.arguments import UInt32
from chain.service.api.rpc.core_json import (
    coinbase_json,
    header_json,
    script_json,
    target_text,
    tx_json,
)
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method
from chain.service.api.rpc.values import hash_argument
from chain.service.api.snapshot import NodeSnapshot
from chain.service.api.state.port import ChainView


def getblockchaininfo(snapshot: NodeSnapshot) -> Json:
    """Return the state of the chain and of its synchronization."""
    api, tip = snapshot.api, snapshot.tip
    known = max(snapshot.view.best_header.height, tip.height)
    return {
        "chain": api.params.name,
        "blocks": tip.height,
        "headers": known,
        "bestblockhash": id_text(tip.id),
        "bits": f"{tip.header.bits:08x}",
        "target": target_text(tip.header.bits),
        "difficulty": difficulty(tip.header.bits),
        "time": tip.header.time,
        "mediantime": tip.median_time_past,
        "verificationprogress": _progress(tip.height, known),
        "initialblockdownload": api.host.is_syncing(),
        "chainwork": f"{tip.chain_work:064x}",
        "size_on_disk": snapshot.disk_bytes(),
        "pruned": False,
        "warnings": [],
    }


def getchainstates(snapshot: NodeSnapshot) -> Json:
    """Return the node's only chain state."""
    tip = snapshot.tip
    known = max(snapshot.view.best_header.height, tip.height)
    state = {
        "blocks": tip.height,
        "bestblockhash": id_text(tip.id),
        "bits": f"{tip.header.bits:08x}",
        "target": target_text(tip.header.bits),
        "difficulty": difficulty(tip.header.bits),
        "verificationprogress": _progress(tip.height, known),
        "coins_db_cache_bytes": WRITER_CACHE_BYTES,
        "coins_tip_cache_bytes": HOT_COINS_BYTES,
        "validated": True,
    }
    return {"headers": known, "chainstates": [state]}


def getblockfilter(snapshot: NodeSnapshot, blockhash: str, filtertype: str = "basic") -> Json:  # noqa: ARG001 - there is no such index
    """Return an error: groat has no index of block filters (BIP158)."""
    hash_argument(blockhash)
    if filtertype != "basic":
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, "Unknown filtertype")
    raise RpcError(Code.MISC, "Index is not enabled for filtertype basic")


def getblockcount(view: ChainView) -> int:
    """Return the best chain's height."""
    return view.tip.height


def getbestblockhash(view: ChainView) -> str:
    """Return the id of the best chain's last block."""
    return id_text(view.tip.id)


def getdifficulty(view: ChainView) -> float:
    """Return the tip's difficulty as a multiple of the minimum of Bitcoin's main network."""
    return difficulty(view.tip.header.bits)


def getblockhash(view: ChainView, height: int) -> str:
    """Return the id of the best chain's block at a height."""
    if not 0 <= height <= view.tip.height:
        raise RpcError(Code.INVALID_PARAMETER, "Block height out of range")
    return id_text(view.tip.ancestor(height).id)


def getblockheader(snapshot: NodeSnapshot, blockhash: str, *, verbose: bool = True) -> Json:
    """Return a block's header as an object, or in hex."""
    entry = _stored(snapshot, blockhash, "hash")
    if not verbose:
        return entry.header.encode().hex()
    return header_json(entry, snapshot.tip, snapshot.facts(entry).tx_count)


def getblock(snapshot: NodeSnapshot, blockhash: str, *, verbosity: int | bool = 1) -> Json:
    """Return a block: 0 or less in hex, 1 with the ids of its transactions, 2 with all of them.

    3 also shows what they spend.
    """
    entry = _stored(snapshot, blockhash)
    if verbosity <= 0:
        return snapshot.block_bytes(entry).hex()
    facts = snapshot.facts(entry)
    shape = header_json(entry, snapshot.tip, facts.tx_count)
    shape["strippedsize"] = facts.base_size
    shape["size"] = facts.size
    shape["weight"] = facts.weight
    if verbosity == 1:
        transactions = snapshot.block(entry).transactions
        shape["coinbase_tx"] = coinbase_json(transactions[0])
        shape["tx"] = [id_text(tx.txid) for tx in transactions]
    else:
        page = snapshot.transactions(entry, 0, facts.tx_count)
        params, shows_prevouts = snapshot.api.params, verbosity > 2
        shape["coinbase_tx"] = coinbase_json(page[0][0])
        shape["tx"] = [
            {**tx_json(tx, params, coins, shows_prevouts=shows_prevouts), "hex": tx.raw.hex()}
            for tx, coins in page
        ]
    return shape


def gettxout(snapshot: NodeSnapshot, txid: str, n: UInt32, *, include_mempool: bool = True) -> Json:
    """Return an unspent output, or null."""
    point = outpoint(hash_argument(txid, "txid"), n)
    coin, pool = snapshot.ledger.coin(point), snapshot.view.pool
    if include_mempool and pool.spender(point) is not None:
        return None
    confirmations = 0
    if coin is not None:
        confirmations = snapshot.tip.height - coin.height + 1
    elif include_mempool:
        coin = pool.coin(point)
    if coin is None:
        return None
    return {
        "bestblock": id_text(snapshot.tip.id),
        "confirmations": confirmations,
        "value": CoinValue(coin.value),
        "scriptPubKey": script_json(coin.script, snapshot.api.params),
        "coinbase": coin.from_coinbase,
    }


def _progress(height: int, known: int) -> float:
    return height / known if known else 1.0


def _stored(snapshot: NodeSnapshot, blockhash: str, name: str = "blockhash") -> BlockTreeEntry:
    entry = snapshot.stored(hash_argument(blockhash, name))
    if entry is None:
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, "Block not found")
    return entry


METHODS: Final = (
    Method(getblockchaininfo, "Blockchain"),
    Method(getchainstates, "Blockchain"),
    Method(getblockfilter, "Blockchain"),
    Method(getblockcount, "Blockchain", takes_view=True),
    Method(getbestblockhash, "Blockchain", takes_view=True),
    Method(getdifficulty, "Blockchain", takes_view=True),
    Method(getblockhash, "Blockchain", takes_view=True),
    Method(getblockheader, "Blockchain", is_bounded=True),
    Method(getblock, "Blockchain"),
    Method(gettxout, "Blockchain", is_bounded=True),
)
