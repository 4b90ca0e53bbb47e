"""Esplora: blocks."""

from fastapi.responses import PlainTextResponse, Response

from chain.consensus.entry import BlockTreeEntry
from chain.primitives.numbers import id_text
from chain.service.api.bounded_reads import read_bounded
from chain.service.api.dependencies import Api
from chain.service.api.esplora.replies import (
    CACHE_FINAL,
    CACHE_SHORT,
    FINAL_BLOCKS,
    BytesResponse,
    EsploraError,
    esplora_router,
    hash_of,
    json_reply,
    number_of,
    raw,
    rendered,
    text,
)
from chain.service.api.esplora_json import BlockStatus, BlockSummary, Tx
from chain.service.api.queries.block_pages import (
    TXS_PER_PAGE,
    block_summary,
    blocks_page,
    transactions_page,
)
from chain.service.api.snapshot import NodeSnapshot, open_snapshot
from chain.service.api.tx_text import tx_text

router = esplora_router("blocks")


@router.get("/blocks", response_model=list[BlockSummary])
async def newest_blocks(api: Api) -> Response:
    """List the newest blocks."""
    return await read_bounded(
        api, lambda snapshot: json_reply(blocks_page(snapshot, snapshot.tip.height))
    )


@router.get("/blocks/tip/height", response_class=PlainTextResponse)
async def tip_height(api: Api) -> Response:
    """Return the best chain's height as text."""
    return text(api.state.view.tip.height)


@router.get("/blocks/tip/hash", response_class=PlainTextResponse)
async def tip_hash(api: Api) -> Response:
    """Return the id of the best chain's last block as text."""
    return text(id_text(api.state.view.tip.id))


@router.get("/blocks/{start_height}", response_model=list[BlockSummary])
async def blocks_from(start_height: str, api: Api) -> Response:
    """List blocks from a height down; anything but a number means the tip (as in electrs)."""

    def read(snapshot: NodeSnapshot) -> Response:
        start = int(start_height[:10]) if start_height.isdecimal() else snapshot.tip.height
        if start > snapshot.tip.height:
            raise EsploraError(404, "Block not found")
        return json_reply(blocks_page(snapshot, start))

    return await read_bounded(api, read)


@router.get("/block-height/{height}", response_class=PlainTextResponse)
async def hash_at(height: str, api: Api) -> Response:
    """Return the id of the best chain's block at a height as text."""
    tip = api.state.view.tip
    wanted = number_of(height)
    if wanted > tip.height:
        raise EsploraError(404, "Block not found")
    return text(id_text(tip.ancestor(wanted).id), _cache(tip.height - wanted))


@router.get("/block/{block_hash}", response_model=BlockSummary)
async def block(block_hash: str, api: Api) -> Response:
    """Return one block of any branch."""

    def read(snapshot: NodeSnapshot) -> Response:
        entry = _stored(snapshot, block_hash)
        return json_reply(block_summary(snapshot, entry), _cache_of(snapshot, entry))

    return await read_bounded(api, read)


@router.get("/block/{block_hash}/status", response_model=BlockStatus)
async def block_status(block_hash: str, api: Api) -> Response:
    """Return whether a block is in the best chain; an unknown one is not."""

    def read(snapshot: NodeSnapshot) -> Response:
        entry = snapshot.entry(hash_of(block_hash))
        if entry is None or not snapshot.is_best(entry):
            return json_reply(BlockStatus(in_best_chain=False, next_best=None))
        following = snapshot.best(entry.height + 1)
        next_best = None if following is None else id_text(following.id)
        return json_reply(BlockStatus(in_best_chain=True, height=entry.height, next_best=next_best))

    return await read_bounded(api, read)


@router.get("/block/{block_hash}/header", response_class=PlainTextResponse)
async def block_header(block_hash: str, api: Api) -> Response:
    """Return a block's 80-byte header in hex."""

    def read(snapshot: NodeSnapshot) -> Response:
        entry = _stored(snapshot, block_hash)
        return text(entry.header.encode().hex(), CACHE_FINAL)

    return await read_bounded(api, read)


@router.get("/block/{block_hash}/raw", response_class=BytesResponse)
def block_raw(block_hash: str, api: Api) -> Response:
    """Return a block's bytes."""
    with open_snapshot(api) as snapshot:
        entry = _stored(snapshot, block_hash)
        snapshot.reserved.take(snapshot.facts(entry).size)
        return raw(snapshot.block_bytes(entry), CACHE_FINAL, snapshot.reserved)


@router.get("/block/{block_hash}/txids", response_model=list[str])
def block_txids(block_hash: str, api: Api) -> Response:
    """List the ids of a block's transactions."""
    with open_snapshot(api) as snapshot:
        entry = _stored(snapshot, block_hash)
        ids = [id_text(txid) for txid in snapshot.block(entry).txids]
        return json_reply(ids, CACHE_FINAL)


@router.get("/block/{block_hash}/txid/{index}", response_class=PlainTextResponse)
def block_txid(block_hash: str, index: str, api: Api) -> Response:
    """Return the id of one transaction of a block as text."""
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
        page = transactions_page(snapshot, entry, first)
        shown = [tx_text(one.tx, one.coins, one.block, snapshot.prefixes) for one in page]
        return rendered(f"[{','.join(shown)}]", _cache_of(snapshot, entry), snapshot.reserved)


def _stored(snapshot: NodeSnapshot, block_hash: str) -> BlockTreeEntry:
    entry = snapshot.stored(hash_of(block_hash))
    if entry is None:
        raise EsploraError(404, "Block not found")
    return entry


def _cache_of(snapshot: NodeSnapshot, entry: BlockTreeEntry) -> str:
    return _cache(snapshot.depth(entry)) if snapshot.is_best(entry) else CACHE_SHORT


def _cache(depth: int) -> str:
    return CACHE_FINAL if depth >= FINAL_BLOCKS else CACHE_SHORT
