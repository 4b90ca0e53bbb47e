"""The data of the explorer's pages, from one snapshot."""

import re
from dataclasses import dataclass
from typing import Any, Final

from chain.consensus.entry import BlockTreeEntry
from chain.consensus.transaction import BLOCK_WEIGHT_MAX
from chain.node.policy import RATE_VBYTES
from chain.primitives.hashes import sha256
from chain.primitives.numbers import Hash32, id_text, outpoint, parse_id
from chain.primitives.script import witness_program
from chain.service.api.esplora_json import Tx, mempool_summary, tx_model
from chain.service.api.pages.charts import RATE_BLOCKS, charts, fee_bands, next_blocks, qr
from chain.service.api.pages.text import message
from chain.service.api.queries.block_pages import (
    TXS_PER_PAGE,
    block_summary,
    blocks_page,
    transactions_page,
)
from chain.service.api.queries.hash_rate import network_rate
from chain.service.api.queries.script_history import (
    CONFIRMED_PER_PAGE,
    confirmed_history,
    mempool_history,
    script_summary,
)
from chain.service.api.snapshot import FoundTx, NodeSnapshot
from chain.service.sync_words import SyncState

MEMPOOL_TXS_SHOWN: Final = 10
BLOCKS_SHOWN: Final = 50  # on the page of older blocks
POOL_SHOWN: Final = 100
IN_OUT_SHOWN_MAX: Final = 200  # inputs, and outputs, of one transaction
_HEIGHT: Final = re.compile("0|[1-9][0-9]{0,9}")  # one address for each block

Data = dict[str, Any]  # a template's variables


@dataclass(frozen=True, slots=True)
class ShownTx:
    """A transaction as a page shows it."""

    tx: Tx
    messages: list[str | None]  # of each output: the text in an OP_RETURN
    net: int = 0  # its effect on the balance of the page's address
    spends: list[str | None] | None = None  # of each output: the id of what spends it

    @property
    def rate(self) -> float:
        """Grains per vbyte."""
        return self.tx.fee / self.vsize

    @property
    def vsize(self) -> int:
        """Virtual bytes."""
        return -(-self.tx.weight // 4)

    @property
    def total(self) -> int:
        """The sum of the outputs."""
        return sum(out.value for out in self.tx.vout)


def home_data(snapshot: NodeSnapshot) -> Data:
    """Return the state of the node, and its newest blocks and transactions."""
    api, tip, pool = snapshot.api, snapshot.tip, snapshot.view.pool
    headers = max(snapshot.view.best_header.height, tip.height)
    return {
        "tip": tip,
        "headers": headers,
        "progress": tip.height / headers if headers else 1.0,
        "sync": _sync_state(snapshot),
        "peers": api.peers.connection_counts().total,
        "pool": pool,
        "mining": api.miner.info(),
        "network_rate": network_rate(tip, RATE_BLOCKS),  # the same span as the chart below it
        "charts": charts(tip),
        "blocks": blocks_page(snapshot, tip.height),
        "unconfirmed": pool.entries()[: -MEMPOOL_TXS_SHOWN - 1 : -1],
    }


def blocks_data(snapshot: NodeSnapshot, start: int) -> Data:
    """Return the best chain's blocks from a height down, or from the tip if it is lower."""
    first = min(start, snapshot.tip.height)
    return {
        "tip": snapshot.tip,
        "first": first,
        "blocks": blocks_page(snapshot, first, BLOCKS_SHOWN),
        "per_page": BLOCKS_SHOWN,
    }


def block_data(snapshot: NodeSnapshot, entry: BlockTreeEntry, first: int) -> Data:
    """Return a stored block and a page of its transactions, starting at position `first`."""
    summary = block_summary(snapshot, entry)
    is_best = snapshot.is_best(entry)
    first = first if first < summary.tx_count else 0
    following = snapshot.best(entry.height + 1) if is_best else None
    page = transactions_page(snapshot, entry, first)
    return {
        "block": summary,
        "is_best": is_best,
        "confirmations": snapshot.depth(entry) + 1 if is_best else 0,
        "next_id": None if following is None else id_text(following.id),
        "fullness": summary.weight / BLOCK_WEIGHT_MAX,
        "txs": [_shown(snapshot, one) for one in page],
        "first": first,
        "per_page": TXS_PER_PAGE,
    }


def tx_data(snapshot: NodeSnapshot, found: FoundTx) -> Data:
    """Return a transaction, and what spends its outputs."""
    points = (outpoint(found.tx.txid, i) for i in range(len(found.tx.outputs[:IN_OUT_SHOWN_MAX])))
    spent = (snapshot.spent(point) for point in points)
    spends = [None if one is None else id_text(one.txid) for one in spent]
    return {
        "shown": _shown(snapshot, found, spends=spends),
        "confirmations": 0 if found.block is None else snapshot.depth(found.block) + 1,
        "raw": found.tx.raw.hex(),
        "limit": IN_OUT_SHOWN_MAX,
    }


def address_data(snapshot: NodeSnapshot, address: str, script: bytes, after: Hash32 | None) -> Data:
    """Return an address's history; its confirmed transactions start after `after`."""
    script_hash = sha256(script)
    unconfirmed = mempool_history(snapshot, script_hash) if after is None else []
    confirmed = snapshot.read(confirmed_history(snapshot, script_hash, after))
    last = confirmed[-1] if len(confirmed) == CONFIRMED_PER_PAGE else None
    return {
        "address": address,
        "summary": script_summary(snapshot, script_hash, {"address": address}),
        "qr": qr(_qr_text(address, script)),
        "txs": [_shown(snapshot, one, script=script) for one in [*unconfirmed, *confirmed]],
        "next_after": None if last is None else id_text(last.tx.txid),
    }


def _qr_text(address: str, script: bytes) -> str:
    """Return an address in the case whose QR code has fewer modules; Base58 has only one case."""
    return address if witness_program(script) is None else address.upper()


def mempool_data(snapshot: NodeSnapshot) -> Data:
    """Return the mempool: totals, fees, and the newest transactions."""
    pool = snapshot.view.pool
    return {
        "summary": mempool_summary(pool),
        "next_blocks": next_blocks(pool),
        "bands": fee_bands(pool),
        "pool": pool,
        "rate_min": snapshot.feerate_min / RATE_VBYTES,
        "unconfirmed": pool.entries()[: -POOL_SHOWN - 1 : -1],
    }


def peers_data(snapshot: NodeSnapshot) -> Data:
    """Return the peers and the node's synchronization state."""
    return {
        "peers": sorted(snapshot.api.peers.connected(), key=lambda peer: peer.id),
        "tip": snapshot.tip,
        "headers": max(snapshot.view.best_header.height, snapshot.tip.height),
        "sync": _sync_state(snapshot),
    }


def _sync_state(snapshot: NodeSnapshot) -> SyncState:
    api = snapshot.api
    miner = api.miner.info()
    return SyncState(
        network=api.params.name,
        height=snapshot.tip.height,
        peers=api.peers.connection_counts().total,
        is_syncing=api.host.is_syncing(),
        is_mining=miner.threads > 0 and not miner.waits_for,
    )


def block_of(snapshot: NodeSnapshot, text: str) -> BlockTreeEntry | None:
    """Return the stored block of a height or an id."""
    if _HEIGHT.fullmatch(text):
        return snapshot.best(int(text))
    block_id = id_of(text)
    return None if block_id is None else snapshot.stored(block_id)


def id_of(text: str) -> Hash32 | None:
    """Return the id of 64 hex digits, or None."""
    try:
        return parse_id(text)
    except ValueError:
        return None


def _shown(
    snapshot: NodeSnapshot,
    found: FoundTx,
    *,
    script: bytes | None = None,
    spends: list[str | None] | None = None,
) -> ShownTx:
    tx = found.tx
    received = sum(out.value for out in tx.outputs if out.script == script)
    sent = sum(coin.value for coin in found.coins if coin is not None and coin.script == script)
    return ShownTx(
        tx=tx_model(tx, found.coins, found.block, snapshot.prefixes),
        messages=[message(out.script) for out in tx.outputs],
        net=received - sent,
        spends=spends,
    )
