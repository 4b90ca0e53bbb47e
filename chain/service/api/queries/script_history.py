"""One script's history and totals, by its plain SHA-256, for Esplora and the explorer."""

from typing import Final

from chain.ledger.reader import TxLocation
from chain.node.entry import PoolEntry
from chain.primitives.hashes import sha256
from chain.primitives.numbers import Hash32
from chain.service.api.esplora_json import ScriptSummary, Stats
from chain.service.api.snapshot import FoundTx, NodeSnapshot

CONFIRMED_PER_PAGE: Final = 25
MEMPOOL_TXS_MAX: Final = 50


def script_summary(
    snapshot: NodeSnapshot, script_hash: Hash32, given: dict[str, str]
) -> ScriptSummary:
    """Return counts and sums of a script's transactions; `given` is the summary's first field."""
    stats = snapshot.ledger.script_stats(script_hash)
    return ScriptSummary(
        **given,
        chain_stats=Stats(
            tx_count=stats.tx_count,
            funded_txo_count=stats.funded_txo_count,
            funded_txo_sum=stats.funded_txo_sum,
            spent_txo_count=stats.spent_txo_count,
            spent_txo_sum=stats.spent_txo_sum,
        ),
        mempool_stats=_mempool_stats(snapshot, script_hash),
    )


def mempool_history(snapshot: NodeSnapshot, script_hash: Hash32) -> list[FoundTx]:
    """Return the mempool transactions of a script, newest first, MEMPOOL_TXS_MAX at most.

    Raises TooMuchInFlightError.
    """
    entries = snapshot.view.pool.by_script_hash(script_hash)
    newest = entries[: -MEMPOOL_TXS_MAX - 1 : -1]
    snapshot.reserved.take(sum(len(entry.transaction.raw) for entry in newest))
    return [snapshot.in_pool(entry) for entry in newest]


def confirmed_history(
    snapshot: NodeSnapshot, script_hash: Hash32, last_seen: Hash32 | None = None
) -> list[TxLocation]:
    """Return a page of the confirmed transactions of a script, newest first, after `last_seen`.

    It is empty if `last_seen` is unconfirmed, which some wallets request. Whoever asks reads them
    for a reply. Raises TooMuchInFlightError.
    """
    before = None
    if last_seen is not None:
        located = snapshot.ledger.find(last_seen)
        if located is None:
            return []
        before = (located.height, located.position)
    return snapshot.history(script_hash, before, CONFIRMED_PER_PAGE)


def outputs_to(entry: PoolEntry, script_hash: Hash32) -> list[tuple[int, int]]:
    """Return (index, value) of each output of a mempool transaction to a script."""
    outputs = enumerate(entry.transaction.outputs)
    return [(index, out.value) for index, out in outputs if sha256(out.script) == script_hash]


def _mempool_stats(snapshot: NodeSnapshot, script_hash: Hash32) -> Stats:
    """Return counts and sums of a script's mempool transactions."""
    entries = snapshot.view.pool.by_script_hash(script_hash)
    snapshot.reserved.check(sum(len(entry.transaction.raw) for entry in entries))
    funded = [value for entry in entries for _, value in outputs_to(entry, script_hash)]
    spent = [
        coin.value
        for entry in entries
        for coin in entry.coins
        if sha256(coin.script) == script_hash
    ]
    return Stats(
        tx_count=len(entries),
        funded_txo_count=len(funded),
        funded_txo_sum=sum(funded),
        spent_txo_count=len(spent),
        spent_txo_sum=sum(spent),
    )
