"""Replacement by fee (BIP125 without signalling: full RBF)."""

from chain.node.entry import PoolEntry
from chain.node.packages import Entries, descendants
from chain.node.policy import Policy, PolicyError, PolicyReason, fee_at
from chain.node.pool import Pool
from chain.primitives.numbers import id_text, outpoint_txid
from chain.primitives.transaction import Transaction


def conflicts(pool: Pool, transaction: Transaction) -> Entries:
    """Return the pooled transactions that spend a coin which `transaction` spends, too."""
    found: Entries = {}
    for txin in transaction.inputs:
        spender = pool.spender(txin.outpoint)
        if spender is not None:
            found[spender.txid] = spender
    return found


def entries_replaced_by(pool: Pool, direct: Entries, policy: Policy) -> Entries:
    """Return the `direct` conflicts with all their descendants.

    Raises PolicyError: REPLACED_TOO_MANY (rule 5), before the search: shared descendants count
    twice.
    """
    count = sum(entry.descendants.count for entry in direct.values())
    if count > policy.replaced_max:
        detail = f"{count} > {policy.replaced_max}"
        raise PolicyError(PolicyReason.REPLACED_TOO_MANY, detail)
    return descendants(pool, direct.values())


def check_replacement(
    pool: Pool, entry: PoolEntry, direct: Entries, replaced: Entries, policy: Policy
) -> None:
    """Check that `entry` may replace all of `replaced`.

    Raises PolicyError: REPLACEMENT_NEW_PARENT (rule 2), REPLACEMENT_FEE: a fee rate no higher than
    that of a direct conflict (Bitcoin: PaysMoreThanConflicts), a fee below the sum of the replaced
    ones (rule 3), or not above it by the cost of its own relay (rule 4). Fees include deltas.
    """
    for conflict in direct.values():
        if entry.modified_fee * conflict.vsize <= conflict.modified_fee * entry.vsize:
            rates = (
                f"{entry.alone.modified_feerate} <= {conflict.alone.modified_feerate} grains/kvB"
            )
            raise PolicyError(PolicyReason.REPLACEMENT_FEE, f"new fee rate {rates}")
    _check_no_new_parent(pool, entry.transaction, direct)
    fee, replaced_fees = (
        entry.modified_fee,
        sum(replaced_entry.modified_fee for replaced_entry in replaced.values()),
    )
    if fee < replaced_fees:
        detail = f"less fees than what it replaces: {fee} < {replaced_fees}"
        raise PolicyError(PolicyReason.REPLACEMENT_FEE, detail)
    relay_fee = fee_at(policy.incremental_feerate, entry.vsize)
    if fee - replaced_fees < relay_fee:
        detail = f"not enough additional fees to relay: {fee - replaced_fees} < {relay_fee}"
        raise PolicyError(PolicyReason.REPLACEMENT_FEE, detail)


def _check_no_new_parent(pool: Pool, transaction: Transaction, direct: Entries) -> None:
    known_parents = {
        outpoint_txid(i.outpoint)
        for replaced_entry in direct.values()
        for i in replaced_entry.transaction.inputs
    }
    for parent in pool.parents(transaction):
        if parent.txid not in known_parents:
            raise PolicyError(PolicyReason.REPLACEMENT_NEW_PARENT, id_text(parent.txid))
