"""The fees of an unconfirmed transaction and its unconfirmed ancestors, checked by ids."""

from typing import Final

from chain.primitives.numbers import Amount, Hash32, id_text, outpoint_index, outpoint_txid
from chain.primitives.transaction import Transaction
from wallet.errors import InputError, NodeError
from wallet.esplora import Esplora
from wallet.spend.replacement import AncestorPackage

_MEMBERS_MAX: Final = 25  # Bitcoin: DEFAULT_ANCESTOR_LIMIT
_TRANSACTIONS_MAX: Final = 2_000


def package_of(txid: Hash32, esplora: Esplora) -> AncestorPackage:
    """Return the package of an unconfirmed transaction.

    The fees are computed from the transactions themselves, so a server can lie only about which of
    them are confirmed. Raises InputError: unknown or confirmed; NodeError.
    """
    if esplora.transaction(txid) is None:
        raise InputError(f"the node knows no transaction {id_text(txid)}")
    if esplora.is_confirmed(txid):
        raise InputError(f"{id_text(txid)} is confirmed already")
    return _Walk(esplora).package(txid)


class FetchedTransactions:
    """Transactions of the chain and the mempool, each requested once."""

    def __init__(self, esplora: Esplora) -> None:
        self._esplora = esplora
        self._known: dict[Hash32, Transaction] = {}

    def fee(self, transaction: Transaction) -> Amount:
        """Return a transaction's fee, from the outputs that it spends. Raises NodeError."""
        spent = sum(
            self._value(outpoint_txid(txin.outpoint), outpoint_index(txin.outpoint))
            for txin in transaction.inputs
        )
        return Amount(spent - transaction.output_value)

    def fetch(self, txid: Hash32) -> Transaction:
        """Return a transaction. Raises NodeError: the node lacks it, or there are too many."""
        if txid not in self._known:
            if len(self._known) >= _TRANSACTIONS_MAX:
                raise NodeError(f"there are over {_TRANSACTIONS_MAX} parents")
            found = self._esplora.transaction(txid)
            if found is None:
                raise NodeError(f"the node does not show transaction {id_text(txid)}")
            self._known[txid] = found
        return self._known[txid]

    def _value(self, txid: Hash32, index: int) -> Amount:
        outputs = self.fetch(txid).outputs
        if index >= len(outputs):
            raise NodeError("the node shows a transaction that spends a nonexistent output")
        return outputs[index].value


class _Walk:
    def __init__(self, esplora: Esplora) -> None:
        self._esplora = esplora
        self._known = FetchedTransactions(esplora)
        self._confirmed: dict[Hash32, bool] = {}

    def package(self, txid: Hash32) -> AncestorPackage:
        fee = vsize = 0
        members, unvisited = {txid}, [txid]
        while unvisited:
            transaction = self._known.fetch(unvisited.pop())
            vsize += transaction.vsize
            fee += self._known.fee(transaction)
            for txin in transaction.inputs:
                parent_id = outpoint_txid(txin.outpoint)
                if parent_id not in members and not self._is_confirmed(parent_id):
                    members.add(parent_id)
                    unvisited.append(parent_id)
            if len(members) > _MEMBERS_MAX:
                raise NodeError(f"it has over {_MEMBERS_MAX} unconfirmed ancestors")
        return AncestorPackage(Amount(fee), vsize)

    def _is_confirmed(self, txid: Hash32) -> bool:
        if txid not in self._confirmed:
            self._confirmed[txid] = self._esplora.is_confirmed(txid)
        return self._confirmed[txid]
