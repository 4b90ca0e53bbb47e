"""Compact blocks between peers: requests, announcements, and who is punished (H22)."""

from dataclasses import replace

import pytest

from chain.gossip.actions import Priority, Send, ValidateBlocks
from chain.gossip.blocks.block_download import STALL_S_MIN
from chain.gossip.blocks.compact_download import (
    RESPONSE_ROUND_TRIPS,
    RESPONSE_S_MAX,
    RESPONSE_S_MIN,
    response_timeout_s,
)
from chain.gossip.blocks.compactrelay import COMPACT_DEPTH, PREFILLED_BYTES_MAX, TRANSACTIONS_DEPTH
from chain.gossip.config import config_for
from chain.gossip.events import Closed, LocalBlock
from chain.gossip.short_ids import ShortIds
from chain.gossip.wire.compact import (
    COMPACT_VERSION,
    BlockTransactions,
    CompactBlock,
    GetBlockTransactions,
    SendCompact,
)
from chain.gossip.wire.frames import encode_frame
from chain.gossip.wire.messages import (
    COMPACT_BLOCK,
    WITNESS_BLOCK,
    BlockMessage,
    GetData,
    Headers,
    Inventory,
)
from chain.primitives.block import Block
from chain.primitives.numbers import SECOND_US
from chain.primitives.transaction import Transaction
from chain.simulator.rules import SIMULATION
from tests.builders import ChainBuilder, pay, spend
from tests.gossip.blocks.test_blocks import overpaying, requested_ids, send_blocks
from tests.gossip.blocks.test_reconstruct import Colliding
from tests.gossip.rig import Rig, chain, closed, sent, sent_to

LOW, HIGH = SendCompact(False, COMPACT_VERSION), SendCompact(True, COMPACT_VERSION)


def compact(block: Block, *whole: int, short_ids: ShortIds | None = None) -> CompactBlock:
    return (short_ids or ShortIds()).compact_block(
        block.header, block.transactions, whole or (0,), 5
    )


def grow_rig(rig: Rig) -> tuple[ChainBuilder, list[Transaction]]:
    """Bring a rig to height 8; return the chain and valid transactions for the next block."""
    builder = chain()
    for block in builder.grow(8):
        rig.ledger._add_block(block.raw, block.header, rig.now.unix_s)
    coins = [builder.coinbase_coin(height) for height in range(1, 6)]
    return builder, [spend([coin], [pay(coin[1].value - 9000)]) for coin in coins]


def requested_kinds(actions, link=None):
    return [item.kind for message in sent(actions, GetData, link) for item in message.items]


def test_each_new_link_is_told_that_we_know_compact_blocks():
    rig = Rig()
    link = rig.accept()
    assert sent(rig.actions, SendCompact, link) == [LOW]


def test_a_pushed_compact_block_of_known_transactions_takes_no_question():
    rig = Rig()
    builder, txs = grow_rig(rig)
    for tx in txs[:3]:
        assert rig.ledger.submit(tx, rig.now.unix_s)
    link = rig.accept()
    block = builder.add(txs[:3], fees=27_000)
    actions = rig.say(link, compact(block))
    assert sent(actions, GetBlockTransactions) == []
    assert sent(actions, GetData) == []
    assert rig.ledger.tip.id == block.id


@pytest.mark.parametrize("how", [compact, lambda block: BlockMessage(block.raw)])
def test_a_block_pushed_on_a_branch_that_was_no_better_makes_us_ask_for_the_branch(how):
    rig = Rig()
    builder, _ = grow_rig(rig)
    link = rig.accept()
    rig.say_headers(link, [])
    branch = builder.fork(2)
    blocks = branch.grow(3, extra=b"branch")
    for block in blocks[:2]:
        assert requested_ids(rig.say_headers(link, [block])) == []
    assert requested_ids(rig.say(link, how(blocks[2]))) == [block.id for block in blocks[:2]]
    send_blocks(rig, link, *blocks[:2])
    assert rig.ledger.tip.id == blocks[2].id


def test_who_else_has_a_block_that_waits_for_its_branch_is_asked_for_the_branch():
    rig = Rig()
    builder, _ = grow_rig(rig)
    first, second = rig.accept(1), rig.dial(2)
    blocks = builder.fork(2).grow(3, extra=b"branch")
    for link in (first, second):
        rig.say_headers(link, [])
    for block in blocks[:2]:
        rig.say_headers(first, [block])
    rig.say(first, compact(blocks[2]))
    rig.handle(Closed(first, "gone"))
    actions = rig.say(second, compact(blocks[2]))
    assert requested_ids(actions, second) == [block.id for block in blocks[:2]]


def test_what_is_missing_is_asked_for_and_the_block_is_rebuilt():
    rig = Rig()
    builder, txs = grow_rig(rig)
    rig.ledger.submit(txs[0], rig.now.unix_s)
    link = rig.accept()
    block = builder.add(txs[:3], fees=27_000)
    question = sent(rig.say(link, compact(block)), GetBlockTransactions)
    assert question == [GetBlockTransactions(block.id, (2, 3))]
    rig.say(link, BlockTransactions(block.id, block.transactions[2:]))
    assert rig.ledger.tip.id == block.id
    assert rig.is_open(link)


def test_a_refused_transaction_is_still_there_when_a_miner_took_it():
    rig = Rig()
    builder, txs = grow_rig(rig)
    link = rig.accept()
    block = builder.add([txs[0]], fees=9000)
    rig.gossip._tx_download._extra_transactions.append(txs[0])
    assert sent(rig.say(link, compact(block)), GetBlockTransactions) == []
    assert rig.ledger.tip.id == block.id


def test_wrong_transactions_cost_the_link_and_the_ip_its_welcome():
    rig = Rig()
    builder, txs = grow_rig(rig)
    liar, honest = rig.accept(1), rig.accept(2)
    block = builder.add(txs[:1], fees=9000)
    rig.say(liar, compact(block))
    assert closed(rig.say(liar, BlockTransactions(block.id, (txs[1],)))) == [liar]
    assert len(rig.gossip._context.discouraged) == 1
    rig.say(honest, compact(block))
    rig.say(honest, BlockTransactions(block.id, (txs[0],)))
    assert rig.ledger.tip.id == block.id


def test_transactions_that_nobody_asked_for_change_nothing():
    rig = Rig()
    builder, txs = grow_rig(rig)
    link = rig.accept()
    block = builder.add(txs[:1], fees=9000)
    actions = rig.say(link, BlockTransactions(block.id, (txs[0],)))
    assert [a for a in actions if isinstance(a, Send | ValidateBlocks)] == []
    assert rig.is_open(link)


def test_a_collision_in_the_block_makes_us_ask_for_it_whole_and_blame_nobody():
    rig = Rig()
    builder, txs = grow_rig(rig)
    rig.gossip._context.short_ids = colliding = Colliding({txs[0].wtxid: txs[1].wtxid})
    link = rig.accept()
    block = builder.add(txs[:2], fees=18_000)
    actions = rig.say(link, compact(block, short_ids=colliding))
    assert requested_kinds(actions, link) == [WITNESS_BLOCK]
    send_blocks(rig, link, block)
    assert rig.ledger.tip.id == block.id
    assert rig.is_open(link)


def test_a_collision_with_the_pool_makes_us_ask_for_the_block_whole_and_blame_nobody():
    rig = Rig()
    builder, txs = grow_rig(rig)
    rig.gossip._context.short_ids = colliding = Colliding({txs[4].wtxid: txs[0].wtxid})
    rig.ledger.submit(txs[4], rig.now.unix_s)
    link = rig.accept()
    block = builder.add(txs[:1], fees=9000)
    actions = rig.say(link, compact(block, short_ids=colliding))
    assert requested_kinds(actions, link) == [WITNESS_BLOCK]
    send_blocks(rig, link, block)
    assert rig.ledger.tip.id == block.id
    assert rig.is_open(link)


def test_a_witness_of_ours_that_is_not_the_blocks_makes_us_ask_for_it_whole():
    rig = Rig()
    builder, txs = grow_rig(rig)
    link = rig.accept()
    block = builder.add(txs[:1], fees=9000)
    right = block.transactions[1]
    coin = builder.coinbase_coin(1)
    other = spend([coin], [pay(coin[1].value - 9000)])
    inputs = [type(right.inputs[0])(right.inputs[0].outpoint, witness=(b"x" * 71, b"y" * 33))]
    wrong = Transaction(right.version, inputs, right.outputs, right.lock_time)
    assert wrong.txid == right.txid == other.txid
    rig.gossip._context.short_ids = colliding = Colliding({wrong.wtxid: right.wtxid})
    rig.gossip._tx_download._extra_transactions.append(wrong)
    actions = rig.say(link, compact(block, short_ids=colliding))
    assert requested_kinds(actions, link) == [WITNESS_BLOCK]
    send_blocks(rig, link, block)
    assert rig.ledger.tip.id == block.id
    assert rig.is_open(link)


def test_who_does_not_answer_in_two_seconds_is_passed_over():
    rig = Rig()
    builder, txs = grow_rig(rig)
    slow, other = rig.accept(1), rig.accept(2)
    block = builder.add(txs[:1], fees=9000)
    rig.say(slow, compact(block))
    rig.say_headers(other, [block])
    assert requested_ids(rig.wait(RESPONSE_S_MIN - 0.1), other) == []
    assert requested_ids(rig.wait(0.2), other) == [block.id]
    send_blocks(rig, other, block)
    assert rig.ledger.tip.id == block.id
    assert rig.is_open(slow)


@pytest.mark.parametrize(
    ("round_trip_s", "wait_s"),
    [
        (None, RESPONSE_S_MIN),
        (0.1, RESPONSE_S_MIN),
        (RESPONSE_S_MIN, RESPONSE_S_MIN * RESPONSE_ROUND_TRIPS),
        (3600, RESPONSE_S_MAX),
    ],
)
def test_a_link_has_two_round_trips_to_answer_within_bounds(round_trip_s, wait_s):
    rig = Rig()
    link = rig.gossip._context.links[rig.accept()]
    link.ping_us = None if round_trip_s is None else int(round_trip_s * SECOND_US)
    assert response_timeout_s(link) == wait_s


def test_an_answer_from_far_away_is_waited_for():
    rig = Rig()
    builder, txs = grow_rig(rig)
    far, other = rig.accept(1), rig.accept(2)
    rig.gossip._context.links[far].ping_us = 3_000_000
    block = builder.add(txs[:1], fees=9000)
    rig.say(far, compact(block))
    rig.say_headers(other, [block])
    assert requested_ids(rig.wait(RESPONSE_ROUND_TRIPS * 3 - 0.1), other) == []
    rig.say(far, BlockTransactions(block.id, block.transactions[1:]))
    assert rig.ledger.tip.id == block.id


def test_when_who_was_asked_goes_another_is():
    rig = Rig()
    builder, txs = grow_rig(rig)
    slow, other = rig.accept(1), rig.accept(2)
    block = builder.add(txs[:1], fees=9000)
    rig.say(slow, compact(block))
    rig.say_headers(other, [block])
    rig.gossip._context.close(rig.gossip._context.links[slow], "test")
    assert requested_ids(rig.wait(0.1) + rig.say(other), other) == [block.id]


@pytest.mark.parametrize(("dialled", "asked"), [((), 2), ((0,), 3), ((3,), 3), ((0, 3), 3)])
def test_three_are_asked_for_a_block_at_a_time_and_one_of_them_is_our_choice(dialled, asked):
    rig = Rig()
    builder, txs = grow_rig(rig)
    links = [rig.dial(n + 1) if n in dialled else rig.accept(n + 1) for n in range(4)]
    block = builder.add(txs[:1], fees=9000)
    actions = [action for link in links for action in rig.say(link, compact(block))]
    assert len(sent_to(actions, GetBlockTransactions)) == asked
    assert len(sent_to(actions, GetBlockTransactions)) == len(
        dict.fromkeys(sent_to(actions, GetBlockTransactions))
    )


def test_a_block_that_is_invalid_after_it_was_pushed_costs_its_sender_nothing():
    rig = Rig()
    builder, _ = grow_rig(rig)
    link = rig.accept()
    bad = overpaying(builder)
    rig.say(link, compact(bad))
    assert rig.ledger.tip.height == 8
    assert rig.is_open(link)
    assert requested_ids(rig.wait(30)) == []


def test_a_pushed_header_without_work_costs_the_link():
    rig = Rig()
    builder, _ = grow_rig(rig)
    link = rig.accept()
    block = builder.add()
    header = type(block.header)(
        4, block.header.previous, block.header.merkle_root, 0, 0x1D00FFFF, 0
    )
    message = CompactBlock(header, 0, (1,), ())
    assert closed(rig.say(link, message)) == [link]


def test_a_pushed_block_of_too_little_work_is_not_even_looked_at():
    config = config_for(SIMULATION, agent="/t/", auto_dial=False)
    rig = Rig(config=type(config)(**{**vars_of(config), "chain_work_min": 1 << 80}))
    builder, txs = grow_rig(rig)
    link = rig.accept()
    actions = rig.say(link, compact(builder.add(txs[:1], fees=9000)))
    assert sent(actions, GetBlockTransactions) == []
    assert [a for a in actions if isinstance(a, ValidateBlocks)] == []
    assert rig.is_open(link)


def vars_of(config):
    return {name: getattr(config, name) for name in type(config).__slots__}


def test_news_of_a_peer_that_knows_them_is_fetched_as_compact_block():
    rig = Rig()
    builder, txs = grow_rig(rig)
    rig.ledger.submit(txs[0], rig.now.unix_s)
    link = rig.accept()
    rig.say(link, LOW)
    block = builder.add(txs[:1], fees=9000)
    assert requested_kinds(rig.say_headers(link, [block]), link) == [COMPACT_BLOCK]
    rig.say(link, compact(block))
    assert rig.ledger.tip.id == block.id
    assert closed(rig.wait(60)) == []


def test_several_blocks_are_fetched_whole():
    rig = Rig()
    builder, _ = grow_rig(rig)
    link = rig.accept()
    rig.say(link, LOW)
    assert requested_kinds(rig.say_headers(link, builder.grow(2)), link) == [WITNESS_BLOCK] * 2


def test_a_compact_block_that_does_not_come_is_asked_of_another():
    rig = Rig()
    builder, _ = grow_rig(rig)
    links = [rig.accept(1), rig.accept(2)]
    block = builder.add()
    for link in links:
        rig.say(link, LOW)
        rig.say_headers(link, [block])
    assert requested_ids(rig.wait(STALL_S_MIN / 2 + 1), links[1]) == [block.id]


def test_a_rebuilt_block_is_passed_on_before_it_is_validated():
    rig = Rig()
    builder, _ = grow_rig(rig)
    source, high, low = rig.accept(1), rig.accept(2), rig.accept(3)
    rig.say(high, HIGH)
    rig.say(low, LOW)
    rig.answers = False
    block = builder.add()
    actions = rig.say(source, compact(block))
    assert sent_to(actions, CompactBlock) == [high]
    assert [a.priority for a in actions if isinstance(a, Send)] == [Priority.BLOCK]
    actions = rig.handle(rig.ledger.handle(rig.requests[-1], rig.now.unix_s))
    assert sent_to(actions, CompactBlock) == []
    assert sent_to(actions, Headers) == [low]


def test_a_block_that_came_whole_is_passed_on_compact_once_it_is_valid():
    rig = Rig()
    builder, _ = grow_rig(rig)
    source, high = rig.accept(1), rig.accept(2)
    rig.say(high, HIGH)
    rig.say_headers(high, [builder.tip.header])
    actions = send_blocks(rig, source, builder.add())
    assert sent_to(actions, CompactBlock) == [high]
    assert sent_to(actions, Headers) == []


def test_a_block_of_our_own_goes_to_all_who_know_compact_blocks():
    rig = Rig()
    grow_rig(rig)
    links = [rig.accept(number) for number in range(1, 5)]
    for link in links[:3]:
        rig.say(link, LOW)
    block = rig.ledger.mine(b"\x00\x14" + bytes(20), 1, rig.now.unix_s)
    actions = rig.handle(LocalBlock(block))
    assert sent_to(actions, CompactBlock) == links[:3]
    assert sent_to(actions, BlockMessage) == links[3:]


def test_what_we_had_to_fetch_is_sent_along_while_it_is_small():
    rig = Rig()
    builder, txs = grow_rig(rig)
    rig.ledger.submit(txs[0], rig.now.unix_s)
    source, high = rig.accept(1), rig.accept(2)
    rig.say(high, HIGH)
    block = builder.add(txs[:3], fees=27_000)
    rig.say(source, compact(block))
    actions = rig.say(source, BlockTransactions(block.id, block.transactions[2:]))
    (message,) = sent(actions, CompactBlock, high)
    assert [position for position, _ in message.prefilled] == [0, 2, 3]
    assert sum(len(tx.raw) for _, tx in message.prefilled) <= PREFILLED_BYTES_MAX


def with_coinbase(builder: ChainBuilder, size: int) -> Block:
    """Return a block whose compact form has `size` bytes, nearly all of them its coinbase's."""
    block = builder.fork(0).add(script=bytes(size))
    return builder.add(script=bytes(2 * size - len(compact(block).encode())))


@pytest.mark.parametrize("excess", [0, 1])
def test_a_block_with_a_coinbase_over_the_cap_of_compact_blocks_goes_round_whole(excess):
    """A frame over its cap would end the node: whoever mines such a block could end them all."""
    rig = Rig()
    builder, _ = grow_rig(rig)
    source, high, low = rig.accept(1), rig.accept(2), rig.accept(3)
    rig.say(high, HIGH)
    rig.say(low, LOW)
    rig.say_headers(high, [builder.tip.header])
    block = with_coinbase(builder, CompactBlock.bytes_max + excess)
    assert len(compact(block).encode()) == CompactBlock.bytes_max + excess
    actions = send_blocks(rig, source, block)
    assert rig.ledger.tip.id == block.id
    actions += rig.say(high, GetData((Inventory(COMPACT_BLOCK, block.id),)))
    for action in actions:
        assert not isinstance(action, Send) or encode_frame(action.message)
    kinds = [type(a.message) for a in actions if isinstance(a, Send) and a.link == high]
    assert kinds == ([Headers, BlockMessage] if excess else [CompactBlock, CompactBlock])
    assert sent_to(actions, Headers) == ([high, low] if excess else [low])


def receive(rig, link, builder):
    """Bring the rig one block forward through a link."""
    block = builder.add()
    rig.say(link, compact(block))
    assert rig.ledger.tip.id == block.id


def test_the_last_three_who_gave_us_a_tip_push_the_next_one():
    rig = Rig()
    builder, _ = grow_rig(rig)
    links = [rig.dial(number) for number in range(1, 5)]
    for link in links:
        rig.say(link, LOW)
        receive(rig, link, builder)
    assert [sent(rig.actions, SendCompact, link) for link in links] == [
        [LOW, HIGH, LOW],
        [LOW, HIGH],
        [LOW, HIGH],
        [LOW, HIGH],
    ]


def test_the_only_pusher_that_we_chose_is_not_dropped_for_inbound_ones():
    rig = Rig()
    builder, _ = grow_rig(rig)
    links = [rig.dial(1), *[rig.accept(number) for number in range(2, 6)]]
    for link in links:
        rig.say(link, LOW)
        receive(rig, link, builder)
    assert links[0] in [link.id for link in rig.gossip._compact_relay._announcers]
    assert len(rig.gossip._compact_relay._announcers) == 3


def test_other_versions_than_ours_are_no_compact_blocks():
    rig = Rig()
    builder, _ = grow_rig(rig)
    link = rig.accept()
    rig.say(link, SendCompact(True, 1))
    assert requested_kinds(rig.say_headers(link, [builder.add()]), link) == [WITNESS_BLOCK]


@pytest.mark.parametrize(("depth", "whole"), [(0, False), (4, False), (5, True), (9, True)])
def test_compact_blocks_are_given_down_to_a_depth_and_deeper_ones_whole(depth, whole):
    assert COMPACT_DEPTH == 5
    rig = Rig()
    builder, _ = grow_rig(rig)
    source, link = rig.accept(1), rig.accept(2)
    for _ in range(10):
        receive(rig, source, builder)
    block_id = builder.blocks[-1 - depth].id
    actions = rig.say(link, GetData((Inventory(COMPACT_BLOCK, block_id),)))
    assert len(sent(actions, CompactBlock, link)) == (not whole)
    assert len(sent(actions, BlockMessage, link)) == whole


@pytest.mark.parametrize(("depth", "whole"), [(0, False), (9, False), (10, True)])
def test_transactions_of_blocks_are_given_down_to_a_depth_and_deeper_blocks_whole(depth, whole):
    assert TRANSACTIONS_DEPTH == 10
    rig = Rig()
    builder, _ = grow_rig(rig)
    source, link = rig.accept(1), rig.accept(2)
    for _ in range(12):
        receive(rig, source, builder)
    block = builder.blocks[-1 - depth]
    actions = rig.say(link, GetBlockTransactions(block.id, (0,)))
    given = [BlockTransactions(block.id, (block.transactions[0],))]
    assert sent(actions, BlockTransactions, link) == ([] if whole else given)
    assert len(sent(actions, BlockMessage, link)) == whole


@pytest.mark.parametrize(("position", "stays"), [(0, True), (1, False)])
def test_who_asks_behind_the_end_of_a_block_loses_the_link(position, stays):
    rig = Rig()
    builder, _ = grow_rig(rig)
    source, link = rig.accept(1), rig.accept(2)
    receive(rig, source, builder)
    rig.say(link, GetBlockTransactions(builder.blocks[-1].id, (position,)))
    assert rig.is_open(link) == stays


def test_who_pushed_what_we_have_is_known_to_have_it():
    rig = Rig()
    builder, _ = grow_rig(rig)
    one, two = rig.accept(1), rig.accept(2)
    rig.answers = False
    block = builder.add()
    rig.say(one, compact(block))
    rig.say(two, compact(block))
    rig.handle(rig.ledger.handle(rig.requests[-1], rig.now.unix_s))
    assert [peer.known_height for peer in rig.gossip.peers()] == [9, 9]


def test_a_link_that_announced_a_mutated_block_and_closed_is_asked_for_nothing():
    """A mutation costs no work: whoever sees a block first can pass it on with another witness."""
    rig = Rig()
    builder, _ = grow_rig(rig)
    liar, holder = rig.accept(1), rig.accept(2)
    block = builder.add()
    first = block.transactions[0]
    forged = replace(first.inputs[0], witness=(b"\x01" * 32,))
    coinbase = Transaction(first.version, [forged], first.outputs, first.lock_time)
    rig.answers = False
    rig.say(liar, BlockMessage(Block(block.header, [coinbase]).raw))
    rig.say(holder, compact(block))
    rig.handle(Closed(holder, "gone"))
    for number in range(3, 9):
        again = rig.accept(number)
        rig.say(again, compact(block))
        rig.handle(Closed(again, "gone"))
    [queued] = rig.gossip._block_queue._validating.values()
    assert queued[0].holders == [], "or who reconnects makes it grow"
    [question] = [action for action in rig.requests if isinstance(action, ValidateBlocks)]
    actions = rig.handle(rig.ledger.handle(question, rig.now.unix_s))
    assert closed(actions) == [liar]
