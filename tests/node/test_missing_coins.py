"""A transaction of thousands of coins that do not exist must not keep the ledger thread busy."""

from chain.consensus.coin import Coin
from chain.consensus.errors import Reason
from chain.consensus.params import REGTEST
from chain.ledger.ledger import Ledger
from chain.node.admission import MISSING_PARENTS_MAX, missing_parents
from chain.node.node import Node
from chain.node.policy import Policy
from chain.primitives.numbers import OutPoint
from chain.primitives.transaction import Transaction, TxIn
from tests.builders import ChainBuilder, pay, spend
from tests.consensus.checks import FAR_FUTURE, refused


class CountedCoins(dict):
    """Coins that count how often they were lookups for."""

    lookups = 0

    def get(self, point: OutPoint) -> Coin | None:
        self.lookups += 1
        return super().get(point)


def with_inputs(count: int) -> Transaction:
    points = [OutPoint(number.to_bytes(32, "big") + bytes(4)) for number in range(count)]
    return Transaction(2, [TxIn(point) for point in points], [pay(1000)])


def test_missing_parents_are_looked_for_only_as_far_as_anyone_waits():
    coins = CountedCoins()
    assert len(missing_parents(with_inputs(2400), coins)) == MISSING_PARENTS_MAX
    assert coins.lookups == MISSING_PARENTS_MAX


def test_the_first_missing_coin_ends_the_search():
    ledger = Ledger("sqlite://", REGTEST, verify_threads=1)
    for block in ChainBuilder().grow(1):
        ledger.add_block(block, FAR_FUTURE)
    node = Node(ledger, Policy())
    with refused(Reason.COIN_MISSING):
        node.submit_transaction(with_inputs(2400), FAR_FUTURE)
    ledger.close()


def test_signatures_seen_in_the_pool_are_remembered_for_the_block():
    ledger = Ledger("sqlite://", REGTEST, verify_threads=1)
    chain = ChainBuilder()
    chain.grow(101)
    for block in chain.blocks:
        ledger.add_block(block, FAR_FUTURE)
    node = Node(ledger, Policy())
    payment = spend([chain.coinbase_coin(1)], [pay(49 * 10**8)])
    node.submit_transaction(payment, FAR_FUTURE)
    assert payment.wtxid in ledger.verified
    other = chain.fork(1)
    for block in other.grow(2, extra=b"other"):
        ledger.add_block(block, FAR_FUTURE)
    assert ledger.tip.id == other.tip.id
    assert payment.wtxid not in ledger.verified, "at another height, another rule might hold"
    ledger.close()
