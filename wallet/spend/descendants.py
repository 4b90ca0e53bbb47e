"""What spends from an unconfirmed payment: a replacement drops it, and must pay its fees too."""

from typing import Final

from chain.primitives.numbers import Amount, Hash32, outpoint_txid
from wallet.errors import InputError, NodeError
from wallet.esplora import Esplora
from wallet.spend.ancestors import FetchedTransactions
from wallet.spend.replacement import Replaced

_MEMBERS_MAX: Final = 100  # Bitcoin: MAX_REPLACEMENT_CANDIDATES, with the transaction itself


def replaced_by_a_bump(txid: Hash32, esplora: Esplora) -> Replaced:
    """Return what a replacement of an unconfirmed transaction drops, with the fees of that.

    The fees are computed from the transactions themselves, as the server shows them: it could make
    some up, so they only raise a fee that is limited and that the user sees. Raises InputError: too
    many; NodeError.
    """
    known = FetchedTransactions(esplora)
    fee = 0
    found, unvisited = {txid}, [txid]
    while unvisited:
        parent_id = unvisited.pop()
        for child_id in esplora.spenders(parent_id):
            if child_id in found:
                continue
            child = known.fetch(child_id)
            if all(outpoint_txid(txin.outpoint) != parent_id for txin in child.inputs):
                raise NodeError("the node names a transaction as a spender that does not spend")
            fee += known.fee(child)
            found.add(child_id)
            unvisited.append(child_id)
            if len(found) > _MEMBERS_MAX:
                raise InputError(
                    f"over {_MEMBERS_MAX - 1} transactions spend from it: no node replaces so many"
                )
    return Replaced(txid, Amount(fee), len(found) - 1)
