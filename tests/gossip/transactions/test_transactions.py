"""Transactions from their announcement to the mempool, and on to other peers."""

from dataclasses import replace

import pytest

from chain.gossip.actions import Pause, ValidateTx
from chain.gossip.config import config_for
from chain.gossip.events import Closed, LocalTx, TxOutcome, TxVerdict
from chain.gossip.transactions.orphans import (
    ORPHAN_AGE_S_MAX,
    ORPHAN_BYTES_MAX,
    ORPHANS_MAX,
    ORPHANS_PER_LINK_MAX,
    Orphan,
    Orphans,
)
from chain.gossip.transactions.txrequest import REQUEST_TIMEOUT_S
from chain.gossip.wire.messages import (
    WITNESS_TX,
    WTX,
    FeeFilter,
    GetData,
    Inv,
    Inventory,
    NotFound,
    Ping,
    TxMessage,
)
from chain.primitives.hashes import sha256
from chain.primitives.numbers import NULL_OUTPOINT, SECOND_US, Amount, Hash32, OutPoint
from chain.primitives.transaction import Transaction, TxIn, TxOut
from chain.simulator.rules import SIMULATION
from tests.builders import output_of, pay, spend
from tests.gossip.blocks.test_headersync import feed
from tests.gossip.rig import Rig, chain, sent, sent_to

DELAY_S = config_for(SIMULATION, agent="").request_delay_s


class Funded(Rig):
    """A rig whose chain has coins to spend."""

    def __init__(self, **how: object) -> None:
        super().__init__(**how)  # type: ignore[arg-type]
        self.builder = chain()
        self.builder.grow(10)
        feed(self, self.builder.blocks)

    def tx(self, height: int = 1, fee: int = 1000) -> Transaction:
        """Return a valid transaction that spends the coinbase of a block."""
        point, coin = self.builder.coinbase_coin(height)
        return spend([(point, coin)], [pay(coin.value - fee)])

    def child(self, parent: Transaction, fee: int = 1000) -> Transaction:
        _, coin = self.builder.coinbase_coin(1)
        value = parent.outputs[0].value
        return spend([(output_of(parent), replace(coin, value=value))], [pay(value - fee)])


def wtx(tx: Transaction) -> Inventory:
    return Inventory(WTX, tx.wtxid)


def tx_items(actions, link=None):
    return [
        item
        for message in sent(actions, GetData, link)
        for item in message.items
        if item.kind in (WTX, WITNESS_TX)
    ]


def announce(rig, link, *txs):
    return rig.say(link, Inv(tuple(wtx(tx) for tx in txs)))


def test_an_announced_transaction_is_asked_for_validated_and_passed_on():
    rig = Funded()
    source, other = rig.dial(1), rig.accept(2)
    tx = rig.tx()
    assert tx_items(announce(rig, source, tx), source) == [wtx(tx)]
    rig.say(source, TxMessage(tx))
    assert rig.ledger.pool.by_wtxid(tx.wtxid) is not None
    actions = rig.wait(60)
    assert [message.items for message in sent(actions, Inv, other)] == [(wtx(tx),)]
    assert sent(actions, Inv, source) == []


def test_outbound_peers_are_asked_at_once_and_inbound_ones_after_a_while():
    rig = Funded()
    inbound, outbound = rig.accept(1), rig.dial(2)
    tx = rig.tx()
    assert tx_items(announce(rig, inbound, tx)) == []
    assert tx_items(announce(rig, outbound, tx), outbound) == [wtx(tx)]
    other = rig.tx(2)
    announce(rig, inbound, other)
    assert tx_items(rig.wait(DELAY_S - 0.1)) == []
    assert tx_items(rig.wait(0.2), inbound) == [wtx(other)]


def test_one_request_is_in_flight_and_the_next_peer_is_asked_after_a_timeout():
    rig = Funded()
    links = [rig.dial(number) for number in range(1, 4)]
    tx = rig.tx()
    actions = []
    for link in links:
        actions += announce(rig, link, tx)
    assert tx_items(actions) == [wtx(tx)]
    for _ in range(2):
        rig.wait(REQUEST_TIMEOUT_S - 1)
        actions += rig.wait(1.1)
        assert rig.gossip._tx_download.requests.in_flight(wtx(tx)) == 1
    asked = sent_to(actions, GetData)
    assert len(tx_items(actions)) == 3
    assert set(links) <= set(asked), "each peer is asked once"
    rig.wait(REQUEST_TIMEOUT_S + 1)
    assert len(rig.gossip._tx_download.requests) == 0


def test_notfound_or_a_closed_link_lets_the_next_peer_be_asked_at_once():
    rig = Funded()
    links = [rig.dial(number) for number in range(1, 4)]
    tx = rig.tx()
    actions = []
    for link in links:
        actions += announce(rig, link, tx)
    first = sent_to([a for a in actions if tx_items([a])], GetData)[0]
    actions = rig.say(first, NotFound((wtx(tx),)))
    second = sent_to([a for a in actions if tx_items([a])], GetData)[0]
    actions = rig.handle(Closed(second, "gone"))
    third = sent_to([a for a in actions if tx_items([a])], GetData)[0]
    assert {first, second, third} == set(links)


def test_a_transaction_that_nobody_asked_for_is_dropped():
    rig = Funded()
    link = rig.dial()
    actions = rig.say(link, TxMessage(rig.tx()))
    assert not [a for a in actions if isinstance(a, ValidateTx)]


def test_a_peer_that_announces_too_many_is_tracked_no_further():
    rig = Funded()
    link = rig.accept()
    limit = rig.config.tracked_per_link
    for start in range(0, limit + 2000, 1000):
        items = (Inventory(WTX, sha256(str(start + n).encode())) for n in range(1000))
        rig.say(link, Inv(tuple(items)))
    assert len(rig.gossip._tx_download.requests) == limit


def test_what_was_refused_is_not_asked_for_again_until_the_next_block():
    rig = Funded(answers=False)
    link = rig.dial()
    tx = rig.tx()
    announce(rig, link, tx)
    rig.say(link, TxMessage(tx))
    asked = next(q for q in rig.requests if isinstance(q, ValidateTx))
    rig.handle(TxVerdict(asked.token, TxOutcome.REFUSED, "min relay fee not met"))
    assert tx_items(announce(rig, link, tx)) == []
    rig.builder.grow(1)
    feed(rig, rig.builder.blocks)
    rig.wait(1)
    rig.say_headers(link, [])
    assert tx_items(announce(rig, link, tx)) == [wtx(tx)]


def test_what_was_in_the_pool_is_not_asked_for_again_when_it_is_confirmed():
    rig = Funded()
    link = rig.dial()
    tx = rig.tx()
    announce(rig, link, tx)
    rig.say(link, TxMessage(tx))
    block = rig.ledger.mine(b"\x00\x14" + bytes(20), 1, rig.now.unix_s)
    assert len(block.transactions) == 2
    assert tx_items(announce(rig, link, tx)) == []


def test_what_a_reorganisation_took_out_is_asked_for_again():
    rig = Funded()
    link = rig.dial()
    tx = rig.tx()
    announce(rig, link, tx)
    rig.say(link, TxMessage(tx))
    rig.ledger.restart()  # the pool is lost, as if the reorganisation could not bring it back
    assert tx_items(announce(rig, link, tx)) == []
    other = rig.builder.fork(2)
    other.grow(3, extra=b"other")
    feed(rig, other.blocks)
    rig.wait(1)
    rig.say_headers(link, [])
    assert tx_items(announce(rig, link, tx)) == [wtx(tx)]


def test_an_orphans_parent_is_asked_for_and_both_are_taken():
    rig = Funded()
    link = rig.dial()
    parent = rig.tx()
    child = rig.child(parent)
    announce(rig, link, child)
    actions = rig.say(link, TxMessage(child))
    assert tx_items(actions, link) == [Inventory(WITNESS_TX, parent.txid)]
    rig.say(link, TxMessage(parent))
    assert rig.ledger.pool.by_txid(child.txid) is not None
    assert len(rig.gossip._tx_download.orphans) == 0


def test_orphans_of_a_link_go_with_it():
    rig = Funded()
    link = rig.dial()
    child = rig.child(rig.tx())
    announce(rig, link, child)
    rig.say(link, TxMessage(child))
    assert len(rig.gossip._tx_download.orphans) == 1
    rig.handle(Closed(link, "gone"))
    assert len(rig.gossip._tx_download.orphans) == 0


def test_parents_are_announced_before_their_children():
    rig = Funded()
    link = rig.accept()
    parent = rig.tx()
    child = rig.child(parent)
    for tx in (parent, child):
        rig.ledger.submit(tx, 0)
        rig.handle(LocalTx(tx))
    items = [item for message in sent(rig.wait(60), Inv, link) for item in message.items]
    assert items == [wtx(parent), wtx(child)]


def test_what_the_pool_holds_is_announced_to_a_new_link():
    rig = Funded()
    tx = rig.tx()
    rig.ledger.submit(tx, 0)
    for link in (rig.dial(1), rig.accept(2)):
        rig.say_headers(link, [])
    actions = rig.wait(59)
    assert len(sent(actions, Inv)) == 2


def test_a_link_that_wants_no_transactions_is_told_of_none():
    rig = Funded()
    rig.accept(1, flags=0)
    tx = rig.tx()
    rig.ledger.submit(tx, 0)
    rig.handle(LocalTx(tx))
    assert sent(rig.wait(30), Inv) == []


@pytest.mark.parametrize(("floor", "told"), [(0, True), (1000, True), (100_000_000, False)])
def test_a_fee_filter_is_kept_to(floor, told):
    rig = Funded()
    link = rig.accept()
    rig.say(link, FeeFilter(floor))
    tx = rig.tx(fee=tx_fee(1000))
    rig.ledger.submit(tx, 0)
    rig.handle(LocalTx(tx))
    assert bool(sent(rig.wait(30), Inv)) is told


def tx_fee(grains_per_kvb: int) -> int:
    return 110 * grains_per_kvb // 1000  # a transaction of one input and one output has 110 vB


def test_only_what_was_announced_to_a_link_is_sent_to_it():
    rig = Funded()
    link = rig.accept()
    rig.say_headers(link, [])
    tx = rig.tx()
    rig.ledger.submit(tx, 0)
    rig.handle(LocalTx(tx))
    actions = rig.say(link, GetData((wtx(tx),)))
    assert sent(actions, TxMessage) == []
    assert sent(actions, NotFound) == [NotFound((wtx(tx),))]
    assert sent(rig.wait(60), Inv, link)
    assert sent(rig.say(link, GetData((wtx(tx),))), TxMessage) == [TxMessage(tx)]


def test_inbound_links_are_told_at_one_time():
    rig = Funded()
    links = [rig.accept(number) for number in range(1, 6)]
    tx = rig.tx()
    rig.ledger.submit(tx, 0)
    rig.handle(LocalTx(tx))
    for _ in range(600):
        actions = rig.wait(0.1)
        if sent(actions, Inv):
            assert sent_to(actions, Inv) == links
            return
    raise AssertionError("no link was told")


def orphan(number: int, link: int, size: int = 0, at_us: int = 0) -> Orphan:
    script = bytes(size)
    tx = Transaction(2, [TxIn(NULL_OUTPOINT)], [TxOut(Amount(number), script)])
    return Orphan(tx, link, (Hash32(number.to_bytes(32, "big")),), at_us)  # type: ignore[arg-type]


def test_orphans_are_bounded_in_number_and_bytes_and_by_link():
    """H13: bounded for any number of announcements and peers."""
    orphans = Orphans()
    for number in range(50):
        orphans.add(orphan(number, 1))
    assert len(orphans) == ORPHANS_PER_LINK_MAX
    for number in range(100, 300):
        orphans.add(orphan(number, number))
    assert len(orphans) == ORPHANS_MAX
    for number in range(300, 310):
        orphans.add(orphan(number, number, size=300_000))
    assert orphans.size <= ORPHAN_BYTES_MAX


def test_one_greedy_link_does_not_push_out_the_orphans_of_others():
    orphans = Orphans()
    honest = orphan(1, 1)
    orphans.add(honest)
    for number in range(2, 500):
        orphans.add(orphan(number, 2 + number % 6))
    assert orphans.has(honest.transaction.wtxid)


@pytest.mark.parametrize(("age_s", "kept"), [(ORPHAN_AGE_S_MAX, 2), (ORPHAN_AGE_S_MAX + 1, 1)])
def test_orphans_expire(age_s, kept):
    orphans = Orphans()
    orphans.add(orphan(1, 1))
    orphans.add(orphan(2, 1, at_us=age_s * SECOND_US))
    assert len(orphans) == kept


def test_an_orphan_is_found_by_each_of_its_parents():
    orphans = Orphans()
    one = orphan(1, 1)
    two = Orphan(one.transaction, one.link, (Hash32(b"a" * 32), Hash32(b"b" * 32)), 0)
    orphans.add(two)
    assert orphans.take_children(Hash32(b"b" * 32)) == [two]
    assert orphans.take_children(Hash32(b"a" * 32)) == []
    assert len(orphans) == orphans.size == 0


def test_who_sends_invalid_transactions_is_soon_read_no_more():
    """H15: each costs its sender time, even a peer that we chose."""
    rig = Funded(answers=False)
    link = rig.dial(1)
    for number in range(10_000):
        tx = unknown_spend(number)
        announce(rig, link, tx)
        actions = rig.say(link, TxMessage(tx))
        token = next(a.token for a in actions if isinstance(a, ValidateTx))
        rig.handle(TxVerdict(token, TxOutcome.INVALID, "bad signature"))
        if Pause(link) in rig.actions[-20:]:
            return
    raise AssertionError("10,000 invalid transactions and it is still read")


@pytest.mark.parametrize("outcome", [TxOutcome.REFUSED, TxOutcome.INVALID])
@pytest.mark.parametrize(("failed_input", "is_paused"), [(None, False), (0, False), (1, True)])
def test_scripts_that_fail_are_charged_for_both_runs(outcome, failed_input, is_paused):
    rig = Funded(answers=False)
    link = rig.accept(1)
    points = [OutPoint(sha256(b"nowhere") + bytes([number, 0, 0, 0])) for number in range(2)]
    inputs = [TxIn(points[0]), TxIn(points[1], witness=(b"\xac" * 400,))]  # 60 of 100 ms
    tx = Transaction(2, inputs, [TxOut(Amount(1000), b"\x51")])
    announce(rig, link, tx)
    rig.wait(DELAY_S)
    said = rig.say(link, TxMessage(tx))
    token = next(a.token for a in said if isinstance(a, ValidateTx))
    rig.handle(TxVerdict(token, outcome, "", failed_input=failed_input))
    rig.say(link, Ping(1))
    assert Pause(link) not in said
    assert (Pause(link) in rig.actions) is is_paused


def test_a_refused_transaction_is_not_judged_again_and_its_good_copy_is():
    """H15: another witness is another wtxid, so a broken copy does not block the valid one."""
    rig = Funded(answers=False)
    link = rig.accept(1)
    good = rig.tx()
    broken = Transaction(
        good.version, [replace(good.inputs[0], witness=(b"x",))], good.outputs, good.lock_time
    )
    assert (broken.txid, broken.wtxid != good.wtxid) == (good.txid, True)
    assert verdicts(rig, link, broken, TxOutcome.INVALID) == [broken]
    assert verdicts(rig, link, broken, TxOutcome.INVALID) == []
    assert verdicts(rig, link, good, TxOutcome.ACCEPTED) == [good]


def unknown_spend(number):
    point = OutPoint(sha256(b"nowhere %d" % number) + bytes(4))
    return Transaction(2, [TxIn(point, witness=(b"forged",))], [TxOut(Amount(1000), b"\x51")])


def verdicts(rig, link, tx, outcome):
    """Send a transaction, answer with this verdict, and return what the mempool validated."""
    announce(rig, link, tx)
    rig.wait(DELAY_S)
    asked = [a for a in rig.say(link, TxMessage(tx)) if isinstance(a, ValidateTx)]
    for action in asked:
        rig.handle(TxVerdict(action.token, outcome, ""))
    return [action.transaction for action in asked]
