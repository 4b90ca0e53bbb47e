"""Esplora: blocks."""

from typing import Any, Final

from fastapi.responses import PlainTextResponse, Response

from chain.consensus.entry import BlockTreeEntry
from chain.primitives.compact import difficulty
from chain.primitives.numbers import id_text
from chain.service.api.esplora.replies import (
    CACHE_FINAL,
    CACHE_SHORT,
    FINAL_BLOCKS,
    Api,
    BytesResponse,
    EsploraError,
    esplora_router,
    hash_of,
    number_of,
    raw,
    shaped,
    text,
)
from chain.service.api.esplora.shapes import BlockStatus, BlockSummary, Tx, parent_text, tx_json
from chain.service.api.snapshot import NodeSnapshot, open_snapshot

BLOCKS_PER_PAGE: Final = 10
TXS_PER_PAGE: Final = 25

router = esplora_router("blocks")


@router.get("/blocks", response_model=list[BlockSummary])
def newest_blocks(api: Api) -> Response:
    """List the newest blocks."""
    with open_snapshot(api) as snapshot:
        return shaped(_page(snapshot, snapshot.tip.height))


@router.get("/blocks/tip/height", response_class=PlainTextResponse)
async def tip_height(api: Api) -> Response:
    """Give the best chain's height as text."""
    return text(api.node.view.tip.height)


@router.get("/blocks/tip/hash", response_class=PlainTextResponse)
async def tip_hash(api: Api) -> Response:
    """Give the id of the best chain's last block as text."""
    return text(id_text(api.node.view.tip.id))


@router.get("/blocks/{start_height}", response_model=list[BlockSummary])
def blocks_from(start_height: str, api: Api) -> Response:
    """List blocks from a height down; what is no number means the tip, as in electrs."""
    with open_snapshot(api) as snapshot:
        start = int(start_height[:10]) if start_height.isdecimal() else snapshot.tip.height
        if start > snapshot.tip.height:
            raise EsploraError(404, "Block not found")
        return shaped(_page(snapshot, start))


@router.get("/block-height/{height}", response_class=PlainTextResponse)
async def hash_at(height: str, api: Api) -> Response:
    """Give the id of the best chain's block at a height as text."""
    tip = api.node.view.tip
    wanted = number_of(height)
    if wanted > tip.height:
        raise EsploraError(404, "Block not found")
    return text(id_text(tip.ancestor(wanted).id), _cache(tip.height - wanted))


@router.get("/block/{block_hash}", response_model=BlockSummary)
def block(block_hash: str, api: Api) -> Response:
    """Describe one block of any branch."""
    with open_snapshot(api) as snapshot:
        entry = _stored(snapshot, block_hash)
        return shaped(summary(snapshot, entry), _cache_of(snapshot, entry))


@router.get("/block/{block_hash}/status", response_model=BlockStatus)
def block_status(block_hash: str, api: Api) -> Response:
    """Tell whether a block is in the best chain; one that nobody knows is not."""
    with open_snapshot(api) as snapshot:
        entry = snapshot.entry(hash_of(block_hash))
        if entry is None or not snapshot.is_best(entry):
            return shaped(BlockStatus(in_best_chain=False, next_best=None))
        following = snapshot.best(entry.height + 1)
        next_best = None if following is None else id_text(following.id)
        return shaped(BlockStatus(in_best_chain=True, height=entry.height, next_best=next_best))


@router.get("/block/{block_hash}/header", response_class=PlainTextResponse)
def block_header(block_hash: str, api: Api) -> Response:
    """Give a block's 80-byte header in hex."""
    with open_snapshot(api) as snapshot:
        entry = _stored(snapshot, block_hash)
        return text(entry.header.encode().hex(), CACHE_FINAL)


@router.get("/block/{block_hash}/raw", response_class=BytesResponse)
def block_raw(block_hash: str, api: Api) -> Response:
    """Give a block's bytes."""
    with open_snapshot(api) as snapshot:
        entry = _stored(snapshot, block_hash)
        snapshot.reserved.take(snapshot.facts(entry).size)
        return raw(snapshot.block_bytes(entry), CACHE_FINAL, snapshot.reserved)


@router.get("/block/{block_hash}/txids", response_model=list[str])
def block_txids(block_hash: str, api: Api) -> Response:
    """List the ids of a block's transactions."""
    with open_snapshot(api) as snapshot:
        entry = _stored(snapshot, block_hash)
        ids = [id_text(tx.txid) for tx in snapshot.block(entry).transactions]
        return shaped(ids, CACHE_FINAL)


@router.get("/block/{block_hash}/txid/{index}", response_class=PlainTextResponse)
def block_txid(block_hash: str, index: str, api: Api) -> Response:
    """Give the id of one transaction of a block as text."""
    with open_snapshot(api) as snapshot:
        transactions = snapshot.block(_stored(snapshot, block_hash)).transactions
        position = number_of(index)
        if position >= len(transactions):
            raise EsploraError(404, "tx index out of range")
        return text(id_text(transactions[position].txid), CACHE_FINAL)


@router.get("/block/{block_hash}/txs", response_model=list[Tx])
def block_txs(block_hash: str, api: Api) -> Response:
    """List a block's first transactions."""
    return block_txs_from(block_hash, "0", api)


@router.get("/block/{block_hash}/txs/{start}", response_model=list[Tx])
def block_txs_from(block_hash: str, start: str, api: Api) -> Response:
    """List a page of a block's transactions."""
    first = number_of(start)
    with open_snapshot(api) as snapshot:
        entry = _stored(snapshot, block_hash)
        if first >= snapshot.facts(entry).tx_count:
            raise EsploraError(404, "start index out of range")
        if first % TXS_PER_PAGE:
            raise EsploraError(400, f"start index must be a multipication of {TXS_PER_PAGE}")
        page = txs_page(snapshot, entry, first)
        return shaped(page, _cache_of(snapshot, entry), snapshot.reserved)


def summary(snapshot: NodeSnapshot, entry: BlockTreeEntry) -> BlockSummary:
    """Return the description of a stored block."""
    facts, header = snapshot.facts(entry), entry.header
    return BlockSummary(
        id=id_text(entry.id),
        height=entry.height,
        version=header.version,
        timestamp=header.time,
        tx_count=facts.tx_count,
        size=facts.size,
        weight=facts.weight,
        merkle_root=id_text(header.merkle_root),
        previousblockhash=parent_text(entry),
        mediantime=entry.median_time_past,
        nonce=header.nonce,
        bits=header.bits,
        difficulty=difficulty(header.bits),
    )


def txs_page(snapshot: NodeSnapshot, entry: BlockTreeEntry, first: int) -> list[dict[str, Any]]:
    """Return a page of a stored block's transactions; outside the best chain as unconfirmed."""
    block = entry if snapshot.is_best(entry) else None
    page = snapshot.transactions(entry, first, TXS_PER_PAGE)
    snapshot.reserved.take(sum(len(tx.raw) for tx, _ in page))
    return [tx_json(tx, coins, block, snapshot.prefix) for tx, coins in page]


def _page(snapshot: NodeSnapshot, start: int) -> list[BlockSummary]:
    last = max(start - BLOCKS_PER_PAGE, -1)
    return [summary(snapshot, snapshot.tip.ancestor(height)) for height in range(start, last, -1)]


def _stored(snapshot: NodeSnapshot, block_hash: str) -> BlockTreeEntry:
    entry = snapshot.stored(hash_of(block_hash))
    if entry is None:
        raise EsploraError(404, "Block not found")
    return entry


def _cache_of(snapshot: NodeSnapshot, entry: BlockTreeEntry) -> str:
    return _cache(snapshot.depth(entry)) if snapshot.is_best(entry) else CACHE_SHORT


def _cache(depth: int) -> str:
    return CACHE_FINAL if depth >= FINAL_BLOCKS else CACHE_SHORT
