"""A transaction submitted together with its parents, by JSON-RPC or Esplora (a package, BIP331)."""

from collections.abc import Sequence
from typing import Final

from chain.node.entry import PoolEntry
from chain.node.packages import descendants
from chain.node.replacement import conflicts
from chain.primitives.numbers import id_text, outpoint_txid
from chain.primitives.transaction import Transaction
from chain.service.api.context import ApiContext
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import CoinValue, Json
from chain.service.api.submit import (
    FEE_RATE_MAX,
    SubmitError,
    check_burnt,
    decode_hex,
    send_transaction,
)

PACKAGE_MAX: Final = 25  # Bitcoin: MAX_PACKAGE_COUNT
_TOPOLOGY: Final = (
    "package topology disallowed. not child-with-parents or parents depend on each other."
)


async def submit_package(
    api: ApiContext, texts: Sequence[str], fee_rate_max: int = FEE_RATE_MAX, burnt_max: int = 0
) -> Json:
    """Submit a transaction, the last in `texts`, with its parents, all in hex.

    `fee_rate_max` is in grains per kvB, `burnt_max` in grains. Returns the result of Core's
    submitpackage. Raises SubmitError: nothing was submitted.
    """
    transactions = decode_package(texts)
    for tx in transactions:
        check_burnt(tx, burnt_max)
    if not _is_child_with_parents(transactions):
        raise SubmitError(Code.VERIFY, _TOPOLOGY)
    if _has_conflict(transactions):
        raise SubmitError(Code.VERIFY, "conflict-in-package")
    replaced: dict[str, None] = {}
    results = {
        id_text(tx.wtxid): await _send(api, tx, fee_rate_max, replaced) for tx in transactions
    }
    failed = any("error" in result for result in results.values())
    return {
        "package_msg": "transaction failed" if failed else "success",
        "tx-results": results,
        "replaced-transactions": list(replaced),
    }


def decode_package(texts: Sequence[str]) -> list[Transaction]:
    """Return the transactions of a list of hex, PACKAGE_MAX at most. Raises SubmitError."""
    if not 1 <= len(texts) <= PACKAGE_MAX:
        problem = f"Array must contain between 1 and {PACKAGE_MAX} transactions."
        raise SubmitError(Code.INVALID_PARAMETER, problem)
    return [decode_hex(text) for text in texts]


def _is_child_with_parents(transactions: Sequence[Transaction]) -> bool:
    """Return whether all before the last are its parents, and none of them is another's.

    Bitcoin: IsChildWithParentsTree. A single transaction is a package too.
    """
    *parents, child = transactions
    ids = {tx.txid for tx in transactions}
    needed = {outpoint_txid(txin.outpoint) for txin in child.inputs}
    inner = (outpoint_txid(txin.outpoint) for tx in parents for txin in tx.inputs)
    is_each_once = len(ids) == len(transactions)
    return is_each_once and all(tx.txid in needed for tx in parents) and ids.isdisjoint(inner)


def _has_conflict(transactions: Sequence[Transaction]) -> bool:
    """Return whether two spend the same output, so that the later would replace the earlier."""
    spent = [point for tx in transactions for point in {txin.outpoint for txin in tx.inputs}]
    return len(set(spent)) < len(spent)


async def _send(
    api: ApiContext, tx: Transaction, fee_rate_max: int, replaced: dict[str, None]
) -> Json:
    """Submit one, and add the transactions that it replaces to `replaced`."""
    shape: dict[str, Json] = {"txid": id_text(tx.txid)}
    pool = api.node.view.pool
    known = pool.get(tx.txid)
    if known is not None:
        wtxid = known.transaction.wtxid
        if wtxid != tx.wtxid:
            return {**shape, "other-wtxid": id_text(wtxid)}
        return {**shape, **_paid(known, {})}
    replaced_entries = list(descendants(pool, conflicts(pool, tx).values()))
    try:
        await send_transaction(api, tx.raw, fee_rate_max)
    except SubmitError as error:
        return {**shape, "error": error.message}
    replaced.update(dict.fromkeys(map(id_text, replaced_entries)))
    entry = api.node.view.pool.get(tx.txid)
    if entry is None:  # a block arrived meanwhile
        return shape
    effective = {
        "effective-feerate": CoinValue(entry.alone.modified_feerate),
        "effective-includes": [id_text(tx.wtxid)],
    }
    return {**shape, **_paid(entry, effective)}


def _paid(entry: PoolEntry, effective: dict[str, Json]) -> dict[str, Json]:
    return {"vsize": entry.vsize, "fees": {"base": CoinValue(entry.fee), **effective}}
