"""False blocks beside the true one displace neither it nor its peers (H22, H28).

Each has a header of real work and a body that never comes.
"""

import pytest

from chain.gossip.blocks.compact_download import LINK_PARTIAL_BLOCKS_MAX, PARTIAL_BLOCKS_MAX
from chain.gossip.blocks.compactrelay import CATCHING_UP_BLOCKS
from chain.gossip.wire.compact import (
    BlockTransactions,
    CompactBlock,
    GetBlockTransactions,
    SendCompact,
)
from chain.primitives.block import Header
from chain.primitives.numbers import Hash32
from chain.simulator.rules import SIMULATION
from chain.simulator.solve import solved_header
from tests.gossip.blocks.test_blocks import requested_ids
from tests.gossip.blocks.test_compact import HIGH, LOW, compact, grow_rig, receive
from tests.gossip.rig import Rig, closed, sent, sent_to


def false_headers(parent: Header, name: int, count: int = 1) -> list[Header]:
    """Return a chain of headers whose blocks do not exist."""
    headers: list[Header] = []
    for _ in range(count):
        root, bits = Hash32(name.to_bytes(32, "big")), SIMULATION.target_limit_bits
        header = Header(4, parent.id, root, parent.time + 1, bits, 0)
        headers.append(parent := solved_header(header, SIMULATION))
    return headers


def false_block(builder, name: int) -> CompactBlock:
    """Return a compact block on the tip that nobody can reconstruct."""
    return CompactBlock(false_headers(builder.tip.header, name)[0], 0, (name,), ())


def test_one_peer_has_two_blocks_rebuilt_at_a_time():
    rig = Rig()
    builder, _ = grow_rig(rig)
    link = rig.accept()
    actions = [rig.say(link, false_block(builder, name)) for name in range(4)]
    asked = [len(sent(after, GetBlockTransactions)) for after in actions]
    assert asked == [1] * LINK_PARTIAL_BLOCKS_MAX + [0, 0]


@pytest.mark.parametrize("is_dialled", [False, True])
def test_when_strangers_hold_all_places_only_who_we_chose_has_one(is_dialled):
    rig = Rig()
    builder, txs = grow_rig(rig)
    for name in range(PARTIAL_BLOCKS_MAX):
        rig.say(rig.accept(10 + name), false_block(builder, name))
    link = rig.dial(1) if is_dialled else rig.accept(1)
    block = builder.add(txs[:1], fees=9000)
    asked = sent_to(rig.say(link, compact(block)), GetBlockTransactions)
    assert asked == ([link] if is_dialled else [])


def test_a_block_that_found_no_place_is_asked_for_and_has_one_then():
    rig = Rig()
    builder, txs = grow_rig(rig)
    for name in range(PARTIAL_BLOCKS_MAX):
        rig.say(rig.accept(10 + name), false_block(builder, name))
    link = rig.accept(1)
    rig.say(link, LOW)
    block = builder.add(txs[:1], fees=9000)
    assert requested_ids(rig.say(link, compact(block)), link) == [block.id]
    rig.say(link, compact(block))
    rig.say(link, BlockTransactions(block.id, (txs[0],)))
    assert rig.ledger.tip.id == block.id


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_block_is_asked_for_beside_false_ones_of_as_much_work_or_more(count):
    rig = Rig()
    builder, _ = grow_rig(rig)
    liar, honest = rig.accept(1), rig.accept(2)
    rig.say_headers(liar, false_headers(builder.tip.header, 7, count))
    block = builder.add()
    assert requested_ids(rig.say_headers(honest, [block]), honest) == [block.id]
    rig.say(honest, compact(block))
    assert rig.ledger.tip.id == block.id


def test_a_block_that_is_on_its_way_is_asked_for_once():
    rig = Rig()
    builder, _ = grow_rig(rig)
    links = [rig.accept(number) for number in range(1, 4)]
    block = builder.add()
    asked = [requested_ids(rig.say_headers(link, [block]), link) for link in links]
    assert asked == [[block.id], [], []]


def test_a_false_block_is_asked_of_its_peer_once_and_the_peer_is_dropped():
    rig = Rig()
    builder, _ = grow_rig(rig)
    liar = rig.accept()
    (header,) = false_headers(builder.tip.header, 7)
    assert requested_ids(rig.say_headers(liar, [header])) == [header.id]
    assert requested_ids(rig.say_headers(liar, [header])) == []
    assert closed(rig.wait(60)) == [liar]


@pytest.mark.parametrize(
    ("ahead", "chosen"),
    [(1, True), (CATCHING_UP_BLOCKS + 1, True), (CATCHING_UP_BLOCKS + 2, False)],
)
def test_headers_without_blocks_keep_nobody_from_pushing_the_next_one(ahead, chosen):
    rig = Rig()
    builder, _ = grow_rig(rig)
    liar, honest = rig.accept(1), rig.accept(2)
    rig.say(honest, LOW)
    rig.say_headers(liar, false_headers(builder.tip.header, 7, ahead))
    receive(rig, honest, builder)
    assert sent(rig.actions, SendCompact, honest) == [LOW, HIGH] if chosen else [LOW]
