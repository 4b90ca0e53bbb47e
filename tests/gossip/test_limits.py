"""Limits on the cost of one peer."""

from dataclasses import replace

import pytest

from chain.gossip.actions import Pause, Resume, Trace
from chain.gossip.events import LinkId, WriteProgress
from chain.gossip.limits import (
    DISCOURAGED_MAX,
    DISCOURAGED_S,
    EXCESS_US,
    SIGNATURE_US,
    Bucket,
    Discouraged,
    LinkBudget,
    message_cost_us,
)
from chain.gossip.peers.links import CLOCK_OFF, QUEUED_BYTES_ALL_MAX, QUEUED_BYTES_MAX
from chain.gossip.wire.address import Address
from chain.gossip.wire.messages import (
    WTX,
    BlockMessage,
    GetAddresses,
    GetHeaders,
    Headers,
    Inv,
    Inventory,
    Ping,
    Pong,
    TxMessage,
)
from chain.primitives.hashes import sha256
from chain.primitives.numbers import NULL_OUTPOINT, SECOND_US, Amount
from chain.primitives.transaction import Transaction, TxIn, TxOut
from tests.gossip.rig import Rig, chain, closed, sent


def test_a_bucket_fills_at_its_rate_up_to_its_burst():
    bucket = Bucket(10, 5, 0)
    assert bucket.try_take(5, 0)
    assert not bucket.try_take(1, SECOND_US // 11)
    assert bucket.try_take(1, SECOND_US // 5)
    assert not bucket.try_take(6, 100 * SECOND_US)
    assert bucket.try_take(5, 100 * SECOND_US)


def test_a_debt_takes_its_time():
    bucket = Bucket(10, 5, 0)
    bucket.take(15, 0)
    wait_us = bucket.wait_us(0)
    assert SECOND_US <= wait_us <= SECOND_US + 2
    assert bucket.wait_us(wait_us) == 0


def test_messages_over_their_rate_cost_more_and_are_served():
    budget = LinkBudget(1, 0)
    for _ in range(10):
        budget.charge_unrequested(Ping(1), 13, 0)
    assert budget.wait_us(0) == 0
    for _ in range(5):
        budget.charge_unrequested(Ping(1), 13, 0)
    assert budget.wait_us(0) > 0, f"5 excess pings cost {5 * EXCESS_US} us"


@pytest.mark.parametrize("grows", [True, False])
def test_messages_about_blocks_may_be_as_many_as_the_chain_grows(grows):
    budget = LinkBudget(1, 0)
    for _ in range(200):
        budget.charge_unrequested(Headers(()), 13, 0)
        budget.blocks_connected(int(grows), 0)
    assert (budget.wait_us(0) == 0) is grows


@pytest.mark.parametrize("count", [1_000_000, -1])
def test_a_chain_that_jumps_allows_no_more_messages_than_one_burst(count):
    budget, usual = LinkBudget(1, 0), LinkBudget(1, 0)
    for used in (budget, usual):
        used.charge_unrequested(Headers(()), 13, 0)
    budget.blocks_connected(count, 0)
    for used in (budget, usual):
        used.charge_unrequested(Ping(1), 13, 0)
        for _ in range(40):
            used.charge_unrequested(Headers(()), 13, 0)
    assert 0 < budget.wait_us(0) <= usual.wait_us(0)


@pytest.mark.parametrize(("age_s", "is_paused"), [(0, False), (25 * 3600, True)])
def test_a_first_sync_of_old_blocks_does_not_lift_the_limits_of_messages(age_s, is_paused):
    rig = Rig(config=replace(Rig().config, rate_factor=1))
    rig.start_s += age_s
    link, other = rig.accept(1), rig.accept(2)
    actions = []
    for block in chain().grow(200):
        rig.say_headers(link, [block])
        rig.say(link, BlockMessage(block.raw))
        actions += rig.say(other, GetHeaders((), block.id))
    assert bool([a for a in actions if isinstance(a, Pause) and a.link == other]) is is_paused


def test_a_peer_whose_blocks_come_faster_than_its_rate_is_still_read():
    rig = Rig(config=replace(Rig().config, rate_factor=1))
    link = rig.accept()
    blocks = chain().grow(200)
    actions = rig.say_headers(link, [])
    for block in blocks:
        actions += rig.say_headers(link, [block])
        actions += rig.say(link, BlockMessage(block.raw))
    assert rig.ledger.tip.id == blocks[-1].id
    assert not [a for a in actions if isinstance(a, Pause)]


def test_where_signatures_take_longer_transactions_cost_more_and_headers_do_not():
    quick, slow = LinkBudget(1, 0), LinkBudget(1, 0, 100 * SIGNATURE_US)
    headers = Headers(tuple(block.header for block in chain().grow(100)))
    for budget in (quick, slow):
        for _ in range(20):
            budget.charge(headers, 0)
        assert budget.wait_us(0) == 0
    transaction = TxMessage(Transaction(2, [TxIn(NULL_OUTPOINT)] * 7, []))
    for budget in (quick, slow):
        budget.charge(transaction, 0)
    assert quick.wait_us(0) == 0
    assert slow.wait_us(0) > 0


@pytest.mark.parametrize(
    ("script_sig", "witness", "signatures"),
    [
        (b"", (), 1),
        (b"", (bytes(72), b"\x02" + bytes(32)), 1),
        (b"", (b"", b"\x52" + b"\x01\x02" * 20 + b"\x01\x14\xae"), 20),
        (b"", (b"\x6e\xac\x75" * 100,), 100),
        (b"", (b"\xac" * 3_601,), 1),  # refused before any script runs
        (b"", (bytes(950), b"\xc0" + bytes(32)), 1 + 983 // 50),
        (b"\x03\xac\xac\xac", (), 4),
        (b"\x03\xac\xac\xac", (b"\xac\xac",), 2),
    ],
)
def test_a_transaction_costs_what_its_scripts_may_verify(script_sig, witness, signatures):
    txin = TxIn(NULL_OUTPOINT, script_sig, witness=witness)
    costs = [
        message_cost_us(TxMessage(Transaction(2, [txin], [])), signature_us)
        for signature_us in (1_000, 2_000)
    ]
    assert costs[1] - costs[0] == 1_000 * signatures


def test_signatures_without_witness_cost_the_bytes_that_they_hash():
    small, large = (
        Transaction(2, [TxIn(NULL_OUTPOINT, b"\x03\xac\xac\xac")], [TxOut(Amount(1), bytes(size))])
        for size in (1_000, 51_000)
    )
    cost = message_cost_us(TxMessage(large)) - message_cost_us(TxMessage(small))
    assert 4 * 95 <= cost <= 4 * 105


@pytest.mark.parametrize(
    ("script_sig", "witness", "counted"),
    [
        (b"", (b"\xa6\xa7\xa8\xa9\xaa\xab\xa5",), 5),
        (b"", (b"\xa8" * 200,), 200),
        (b"", (b"\xa8" * 201,), 201),
        (b"", (b"\xa8" * 202,), 201),  # the next operation fails
        (b"", (b"\xa8" * 3_600,), 201),
        (b"", (b"\xa8" * 3_601,), 0),  # refused before any script runs
        (b"", (b"\xa8" * 202, b"\xc0" + bytes(32)), 202),  # tapscripts have no such limit
        (b"", (b"\xa8" * 202, bytes(202), b"\xc0" + bytes(32)), 0),  # an item is not run
        (b"\x03\xa8\xa9\xa5", (), 2),
    ],
)
def test_a_transaction_costs_what_its_scripts_may_hash(script_sig, witness, counted):
    costs = []
    for table in (bytes(256), bytes(range(256))):  # without and with the hash opcodes
        plain = [item if item[:1] == b"\xc0" else item.translate(table) for item in witness]
        redeem_script = script_sig[:1] + script_sig[1:].translate(table)
        txin = TxIn(NULL_OUTPOINT, redeem_script if script_sig else b"", witness=tuple(plain))
        costs.append(message_cost_us(TxMessage(Transaction(2, [txin], []))))
    assert costs[1] - costs[0] == 4 * counted


def test_longer_messages_cost_more():
    item = Inventory(WTX, sha256(b"x"))
    assert message_cost_us(Inv((item,) * 100)) > message_cost_us(Inv((item,)))
    assert message_cost_us(Headers(())) > 0


def test_a_link_over_its_budget_is_paused_and_resumed_not_closed():
    rig = Rig()
    link = rig.accept()
    rig.say_headers(link, [])
    actions = []
    for _ in range(50):
        actions += rig.say(link, GetAddresses())
    assert [a for a in actions if isinstance(a, Pause)] == [Pause(link)]
    later = rig.wait(60)
    assert [a for a in later if isinstance(a, Resume)] == [Resume(link)]
    assert rig.is_open(link)


def test_a_peer_that_does_not_read_is_closed():
    rig = Rig()
    link = rig.accept()
    assert closed(rig.handle(WriteProgress(link, QUEUED_BYTES_MAX))) == []
    assert closed(rig.handle(WriteProgress(link, QUEUED_BYTES_MAX + 1))) == [link]


def test_a_peer_that_stops_reading_is_closed():
    rig = Rig()
    reader, stuck = rig.accept(1), rig.accept(2)
    for link in (reader, stuck):
        rig.say_headers(link, [])
        rig.handle(WriteProgress(link, 10_000))
    rig.handle(WriteProgress(reader, 0))
    done = []
    for _ in range(12):
        actions = rig.wait(10)
        done += closed(actions)
        for link in (reader, stuck):
            rig.say(link, *[Pong(ping.nonce) for ping in sent(actions, Ping, link)], Ping(1))
    assert done == [stuck]


def test_the_memory_of_who_misbehaved_is_bounded():
    discouraged = Discouraged(bytes(32))
    for number in range(DISCOURAGED_MAX + 10):
        discouraged.add(Address(number.to_bytes(4, "big"), 1), 0)
    assert len(discouraged) == DISCOURAGED_MAX
    assert not discouraged.has(Address((0).to_bytes(4, "big"), 1), 0)
    assert discouraged.has(Address((DISCOURAGED_MAX).to_bytes(4, "big"), 1), 0)


@pytest.mark.parametrize(("later_s", "remembered"), [(-1, True), (0, False)])
def test_with_a_clock_set_back_who_misbehaved_is_remembered_for_a_day_from_then(
    later_s, remembered
):
    discouraged, address = Discouraged(bytes(32)), Address(bytes(4), 1)
    discouraged.add(address, 1_000_000)
    assert discouraged.has(address, 500_000)
    assert discouraged.has(address, 500_000 + DISCOURAGED_S + later_s) is remembered


def test_link_numbers_are_the_drivers():
    rig = Rig()
    assert isinstance(rig.accept(), int)
    assert rig.handle(WriteProgress(LinkId(404), 1 << 40)) == []


@pytest.mark.parametrize(("over", "gone"), [(0, 0), (1, 1)])
def test_many_slow_readers_together_lose_the_slowest(over, gone):
    rig = Rig()
    count = 32
    share = QUEUED_BYTES_ALL_MAX // count
    links = [rig.accept(number) for number in range(1, count + 1)]
    for link in links[1:]:
        assert closed(rig.handle(WriteProgress(link, share - 1))) == []
    rest = share + count - 1 + over
    assert rest <= QUEUED_BYTES_MAX
    assert closed(rig.handle(WriteProgress(links[0], rest))) == links[:gone]


@pytest.mark.parametrize(
    ("ahead_s", "told"),
    [
        ([601, 601], []),
        ([601, 601, 0], [601]),
        ([600, 600, 600], []),
        ([-601, -700, 9], [-601]),
        ([10**9, 0, 0], []),
    ],
)
def test_a_clock_that_most_peers_we_chose_contradict_is_told_of(ahead_s, told):
    """H17: only logged; one lying peer does not move the median."""
    rig = Rig()
    rig.accept(99, unix_s=rig.now.unix_s + 5000)
    for number, seconds in enumerate(ahead_s, 1):
        rig.dial(number, unix_s=rig.now.unix_s + seconds)
    traces = [a for a in rig.actions if isinstance(a, Trace) and a.kind == CLOCK_OFF]
    assert [trace.fields[0][1] for trace in traces] == told
