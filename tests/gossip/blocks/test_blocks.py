"""Download and announcement of blocks."""

from dataclasses import replace

import pytest

from chain.gossip.actions import Priority, Send, ValidateBlocks
from chain.gossip.blocks import block_download as block_download_module
from chain.gossip.blocks import block_queue as block_queue_module
from chain.gossip.blocks.block_download import (
    BYTES_PER_S_START,
    COPIES_MAX,
    OLD_REQUEST_BLOCKS_MAX,
    REQUEST_BLOCKS_MAX,
    REQUEST_TIMEOUT_S,
    REQUESTS_PER_LINK,
    STALL_S_MIN,
)
from chain.gossip.blocks.blockrelay import LOCAL_PUSH_BYTES_MAX
from chain.gossip.blocks.headersync import AHEAD_S, AHEAD_S_MAX
from chain.gossip.events import Closed, LocalBlock, RequestFinished, Tick
from chain.gossip.wire.hello import SERVICE_FULL_NODE, SERVICES
from chain.gossip.wire.messages import (
    HEADERS_MAX,
    WITNESS_BLOCK,
    BlockMessage,
    GetData,
    GetHeaders,
    Headers,
    Inventory,
    NotFound,
)
from chain.primitives.block import Block
from chain.primitives.numbers import SECOND_US
from chain.primitives.transaction import Transaction
from tests.builders import assemble, coinbase, commit
from tests.gossip.blocks.test_headersync import feed
from tests.gossip.rig import Rig, chain, closed, sent, sent_to

SMALL_BYTES = 400  # of a block with a coinbase and half a payment


def requested_ids(actions, link=None):
    return [item.id for message in sent(actions, GetData, link) for item in message.items]


def send_blocks(rig, link, *blocks):
    return rig.say(link, *(BlockMessage(block.raw) for block in blocks))


def mutated(block):
    """Return the block's bytes with another witness nonce: the same id, but invalid."""
    first = block.transactions[0]
    inputs = [replace(first.inputs[0], witness=(b"\x01" * 32,))]
    changed = Transaction(first.version, inputs, first.outputs, first.lock_time)
    return Block(block.header, [changed, *block.transactions[1:]])


def overpaying(builder):
    """Return a block whose coinbase pays more than allowed."""
    height = builder.tip.height + 1
    first = coinbase(height, 1 << 40)
    block = assemble(builder.tip, commit([first]), params=builder.params)
    builder.append(block)
    return block


def test_blocks_are_validated_parents_first_in_whatever_order_they_come():
    rig = Rig()
    link = rig.accept()
    blocks = chain().grow(6)
    rig.say_headers(link, blocks)
    actions = send_blocks(rig, link, *reversed(blocks))
    runs = [action.blocks for action in actions if isinstance(action, ValidateBlocks)]
    validated = [block.block_id for run in runs for block in run]
    assert validated == [block.id for block in blocks]
    assert rig.ledger.tip.id == blocks[-1].id


def test_several_blocks_are_with_the_ledger_at_a_time_and_parents_come_first():
    rig = Rig()
    link = rig.accept()
    blocks = chain().grow(6)
    rig.say_headers(link, blocks)
    rig.answers = False
    send_blocks(rig, link, *blocks[1:])
    assert rig.requests == []
    send_blocks(rig, link, blocks[0])
    validated = [block.block_id for request in rig.requests for block in request.blocks]
    assert validated == [block.id for block in blocks]


def test_no_more_blocks_are_with_the_ledger_than_its_share_and_all_get_their_turn(monkeypatch):
    monkeypatch.setattr(block_queue_module, "VALIDATING_MAX", 40)
    rig = Rig()
    builder = chain()
    link = rig.accept()
    rig.say_headers(link, builder.grow(49))
    rig.answers = False
    for block in builder.blocks:
        rig.gossip._block_queue.add(BlockMessage(block.raw), rig.gossip._context.links[link])
    rig.handle(Tick())
    assert sum(len(request.blocks) for request in rig.requests) == 40
    while rig.requests:
        rig.handle(rig.ledger.handle(rig.requests.pop(0), rig.now.unix_s))
    assert rig.ledger.tip.height == 49


def test_when_a_mutated_block_is_refused_its_child_on_the_way_is_not_lost():
    rig = Rig()
    first, second = chain().grow(2)
    liar, honest = rig.accept(1), rig.accept(2)
    rig.say_headers(liar, [first, second])
    rig.say_headers(honest, [first, second])
    rig.answers = False
    send_blocks(rig, liar, mutated(first), second)
    assert len(rig.requests) == 2
    rig.answers = True
    rig.handle(*[rig.ledger.handle(q, rig.now.unix_s) for q in rig.requests])
    assert not rig.is_open(liar)
    send_blocks(rig, honest, first)
    assert rig.ledger.tip.id == second.id
    assert rig.is_open(honest)


def test_a_mutated_child_of_a_mutated_block_is_not_kept_for_the_right_one():
    rig = Rig()
    first, second = chain().grow(2)
    liar = rig.accept(1)
    rig.say_headers(liar, [first, second])
    rig.answers = False
    send_blocks(rig, liar, mutated(first), mutated(second))
    rig.answers = True
    rig.handle(*[rig.ledger.handle(q, rig.now.unix_s) for q in rig.requests])
    assert not rig.ledger.chain.has_block(second.id)


def test_a_block_that_is_missing_below_one_that_is_here_is_asked_for():
    rig = Rig()
    first, second = chain().grow(2)
    liar = rig.accept(1)
    rig.say_headers(liar, [first, second])
    rig.answers = False
    send_blocks(rig, liar, mutated(first), second)
    rig.answers = True
    rig.handle(*[rig.ledger.handle(q, rig.now.unix_s) for q in rig.requests])
    honest = rig.accept(2)
    assert requested_ids(rig.say_headers(honest, [first, second])) == [first.id]
    send_blocks(rig, honest, first)
    assert rig.ledger.tip.id == second.id


def test_large_blocks_from_a_slow_peer_are_no_stall_before_their_time():
    rig = Rig()
    blocks = chain().grow(2)
    slow, other = rig.accept(1), rig.accept(2)
    rig.gossip._block_queue._expected_bytes = 4 * BYTES_PER_S_START
    rig.say_headers(slow, blocks[:1])
    rig.say_headers(other, blocks)
    assert requested_ids(rig.wait(4 + STALL_S_MIN / 2 - 0.5), other) == []
    assert requested_ids(rig.wait(1.5), other) == [blocks[0].id]


@pytest.mark.parametrize(("size", "count"), [(4_000_000, 16), (8_000_000, 8), (1, 100)])
def test_no_more_is_asked_for_than_the_window_has_room_for(size, count):
    rig = Rig()
    builder = chain()
    builder.grow(100)
    rig.gossip._block_queue._expected_bytes = size
    links = [rig.accept(number) for number in range(1, 8)]
    for link in links:
        rig.say_headers(link, builder.blocks)
    assert len(requested_ids(rig.actions)) == count


def rig_of_small_blocks():
    """Return a rig that has lately received small blocks."""
    rig = Rig()
    rig.gossip._block_queue._expected_bytes = SMALL_BYTES
    return rig


@pytest.mark.parametrize(
    ("services", "request_max"),
    [(SERVICE_FULL_NODE, OLD_REQUEST_BLOCKS_MAX), (SERVICES, REQUEST_BLOCKS_MAX)],
)
def test_a_peer_is_asked_for_as_many_small_blocks_at_once_as_it_says_that_it_serves(
    services, request_max
):
    rig = rig_of_small_blocks()
    link = rig.dial(services=services)
    rig.say_headers(link, chain().grow(REQUESTS_PER_LINK * request_max + 20))
    asked = sent(rig.actions, GetData, link)
    assert [len(request.items) for request in asked] == [request_max] * REQUESTS_PER_LINK


def test_a_peer_that_dialled_us_cannot_end_a_reply_early_and_is_asked_for_few_blocks_at_once():
    rig = rig_of_small_blocks()
    link = rig.accept(services=SERVICES)
    rig.say_headers(link, chain().grow(100))
    asked = sent(rig.actions, GetData, link)
    assert [len(request.items) for request in asked] == [OLD_REQUEST_BLOCKS_MAX] * REQUESTS_PER_LINK


def test_a_block_on_our_tip_is_requested_whatever_else_is_in_flight():
    rig = rig_of_small_blocks()
    withheld, real = chain().grow(1), chain().grow(2, extra=b"real")
    one, two = rig.dial(1), rig.dial(2)
    rig.say_headers(one, withheld)
    assert set(requested_ids(rig.say_headers(two, real), two)) == {block.id for block in real}


def test_blocks_wait_for_the_headers_of_a_first_sync_while_these_come_fast():
    rig = rig_of_small_blocks()
    link = rig.dial()
    blocks = chain().grow(HEADERS_MAX + 10)
    assert requested_ids(rig.say_headers(link, blocks[:HEADERS_MAX])) == []
    assert requested_ids(rig.say_headers(link, blocks[HEADERS_MAX:]))[0] == blocks[0].id


def test_blocks_do_not_wait_for_headers_that_come_slowly():
    rig = rig_of_small_blocks()
    link = rig.dial()
    blocks = chain().grow(HEADERS_MAX)
    assert requested_ids(rig.say_headers(link, blocks)) == []
    assert requested_ids(rig.wait(AHEAD_S + 0.1))[0] == blocks[0].id


def test_blocks_wait_for_headers_only_for_a_limited_time(monkeypatch):
    monkeypatch.setattr("chain.gossip.blocks.headersync.HEADERS_MAX", 5)
    rig = rig_of_small_blocks()
    link = rig.dial()
    blocks = chain().grow(200)
    began_us, asked = rig.mono_us, []
    for start in range(0, 200, 5):
        asked += requested_ids(rig.say_headers(link, blocks[start : start + 5]))
        asked += requested_ids(rig.wait(AHEAD_S / 2))
        if asked:
            break
    assert rig.mono_us - began_us <= (AHEAD_S_MAX + 2 * AHEAD_S) * SECOND_US


def test_many_peers_share_a_download_within_their_bounds():
    rig = rig_of_small_blocks()
    at_most = REQUESTS_PER_LINK * OLD_REQUEST_BLOCKS_MAX
    builder = chain()
    builder.grow(4 * at_most + 20)
    feed(rig, [])
    links = [rig.accept(number) for number in range(1, 5)]
    for link in links:
        rig.say_headers(link, builder.blocks)
    by_link = {link: requested_ids(rig.actions, link) for link in links}
    asked = [block_id for ids in by_link.values() for block_id in ids]
    assert len(asked) == len(set(asked)) == 4 * at_most
    assert all(len(ids) == at_most for ids in by_link.values())


def test_small_blocks_are_shared_among_the_links_that_are_free():
    rig = rig_of_small_blocks()
    blocks = chain().grow(90)
    first, *others = [rig.dial(number) for number in range(1, 5)]
    for link in (first, *others):
        rig.say_headers(link, blocks)
    assert len(requested_ids(rig.actions, first)) == 90
    actions = rig.handle(Closed(first, "gone"))
    assert [len(requested_ids(actions, link)) for link in others] == [30, 30, 30]


def test_a_peer_is_only_asked_for_what_it_showed_to_have():
    rig = Rig()
    blocks = chain().grow(10)
    short, long = rig.accept(1), rig.accept(2)
    rig.say_headers(short, blocks[:3])
    rig.say_headers(long, blocks)
    assert set(requested_ids(rig.actions, short)) <= {block.id for block in blocks[:3]}
    assert requested_ids(rig.actions, long)[-1] == blocks[-1].id


def test_when_a_peer_goes_another_is_asked():
    rig = Rig()
    blocks = chain().grow(3)
    first, second = rig.accept(1), rig.accept(2)
    rig.say_headers(first, blocks)
    rig.say_headers(second, blocks)
    assert requested_ids(rig.actions, first) == [block.id for block in blocks]
    actions = rig.handle(Closed(first, "gone"))
    assert requested_ids(actions, second) == [block.id for block in blocks]


def test_a_slow_block_is_asked_of_a_second_peer_soon():
    rig = Rig()
    blocks = chain().grow(1)
    first, second = rig.accept(1), rig.accept(2)
    rig.say_headers(first, blocks)
    rig.say_headers(second, blocks)
    assert requested_ids(rig.wait(STALL_S_MIN / 2 + 1), second) == [blocks[0].id]
    send_blocks(rig, second, *blocks)
    assert rig.ledger.tip.id == blocks[0].id
    assert closed(send_blocks(rig, first, *blocks)) == []


def test_all_that_a_slow_peer_owes_of_the_lowest_blocks_is_asked_of_a_second_peer_at_once():
    rig = rig_of_small_blocks()
    blocks = chain().grow(REQUEST_BLOCKS_MAX + 2)
    first, second = rig.dial(1), rig.dial(2)
    rig.say_headers(first, blocks)
    rig.say_headers(second, blocks)
    assert requested_ids(rig.actions, first) == [block.id for block in blocks]
    again = requested_ids(rig.wait(STALL_S_MIN / 2 + 1), second)
    assert again == [block.id for block in blocks[:REQUEST_BLOCKS_MAX]]
    assert max(rig.gossip._block_download._requested_from.values()) <= COPIES_MAX


def test_what_others_delivered_is_no_reason_to_wait_for_a_slow_peer():
    rig = rig_of_small_blocks()
    blocks = chain().grow(2 * REQUEST_BLOCKS_MAX)
    slow, other = rig.dial(1), rig.dial(2)
    rig.say_headers(slow, blocks)
    rig.say_headers(other, blocks)
    download = rig.gossip._block_download
    download._fetches[slow].bytes_per_s = 1  # REQUEST_BLOCKS_MAX blocks of SMALL_BYTES take 12 s
    first = requested_ids(rig.wait(STALL_S_MIN / 2 + 1), other)
    assert first == [block.id for block in blocks[:REQUEST_BLOCKS_MAX]]
    asked = requested_ids(send_blocks(rig, other, *blocks[:REQUEST_BLOCKS_MAX]), other)
    asked += requested_ids(rig.wait(1), other)
    assert asked == [block.id for block in blocks[REQUEST_BLOCKS_MAX:]]
    assert rig.is_open(slow)


def test_a_peer_that_never_delivers_is_closed():
    rig = Rig()
    link = rig.accept()
    rig.say_headers(link, chain().grow(1))
    assert closed(rig.wait(REQUEST_TIMEOUT_S + 5)) == [link]


def test_a_peer_that_stalls_a_full_window_is_closed_and_not_the_others(monkeypatch):
    monkeypatch.setattr(block_download_module, "WINDOW_BLOCKS", 1024)
    rig = Rig()
    builder = chain()
    builder.grow(1200)
    staller = rig.accept(1)
    rig.say_headers(staller, builder.blocks)
    others = [rig.accept(number) for number in range(2, 5)]
    for link in others:
        rig.say_headers(link, builder.blocks)
    by_id = {block.id: block for block in builder.blocks}
    for _ in range(60):
        for link in others:
            fetch = rig.gossip._block_download._fetches.get(link)
            if fetch is not None:
                send_blocks(rig, link, *[by_id[block_id] for block_id in list(fetch.flights)])
        rig.wait(0.2)
        if rig.ledger.tip.height == 1200:
            break
    assert rig.ledger.tip.height == 1200
    assert all(rig.is_open(link) for link in others)
    assert not rig.is_open(staller)


def test_a_peer_that_is_slow_at_the_end_of_a_chain_keeps_its_link():
    rig = Rig()
    blocks = chain().grow(45)
    link = rig.accept()
    rig.say_headers(link, blocks)
    by_id = {block.id: block for block in blocks}
    for _ in range(3):
        rig.wait(REQUEST_TIMEOUT_S - 1)
        rig.say_headers(link, [])
        flights = list(rig.gossip._block_download._fetches[link].flights)
        send_blocks(rig, link, *[by_id[block_id] for block_id in reversed(flights)])
    assert rig.ledger.tip.id == blocks[-1].id


def test_blocks_are_asked_for_many_at_a_time():
    rig = Rig()
    link = rig.accept()
    blocks = chain().grow(100)
    rig.say_headers(link, blocks)
    by_id = {block.id: block for block in blocks}
    while rig.ledger.tip.height < 100:
        for block_id in list(rig.gossip._block_download._fetches[link].flights)[:1]:
            send_blocks(rig, link, by_id[block_id])
    assert len(sent(rig.actions, GetData)) <= 100 / 8 + 1


def test_a_pushed_block_from_the_future_is_asked_about_later_and_nobody_punished():
    rig = Rig()
    link = rig.accept()
    rig.say_headers(link, [])
    early = chain().add(time=rig.now.unix_s + rig.params.header_ahead_s_max + 10)
    assert closed(send_blocks(rig, link, early)) == []
    assert sent_to(rig.wait(6), GetHeaders) == [link]
    rig.wait(5)
    assert requested_ids(rig.say_headers(link, [early])) == [early.id]


def test_a_mutated_block_costs_its_sender_the_link_and_the_block_nothing():
    rig = Rig()
    block = chain().add()
    liar, honest = rig.accept(1), rig.accept(2)
    rig.say_headers(liar, [block])
    rig.say_headers(honest, [block])
    actions = send_blocks(rig, liar, mutated(block))
    assert closed(actions) == [liar]
    assert requested_ids(actions, honest) == [block.id]
    send_blocks(rig, honest, block)
    assert rig.ledger.tip.id == block.id


@pytest.mark.parametrize("junk", ["mutated", "no block"])
def test_a_junk_copy_pushed_first_does_not_hide_the_real_block(junk):
    """H21: the honest copy arrives while the junk is still in validation, and is not repeated."""
    rig = Rig()
    block = chain().add()
    liar, honest = rig.accept(1), rig.accept(2)
    rig.say_headers(liar, [])
    rig.say_headers(honest, [])
    rig.answers = False
    copy = mutated(block) if junk == "mutated" else None
    rig.say(liar, BlockMessage(copy.raw if copy else block.raw[:80] + b"\x01junk"))
    rig.say(honest, BlockMessage(block.raw))
    assert len(rig.requests) == 1
    rig.answers = True
    actions = rig.handle(rig.ledger.handle(rig.requests.pop(0), rig.now.unix_s))
    assert not rig.is_open(liar)
    assert sent_to(actions, GetHeaders) == [honest]
    assert requested_ids(rig.say_headers(honest, [block]), honest) == [block.id]
    send_blocks(rig, honest, block)
    assert rig.ledger.tip.id == block.id


def test_bytes_that_are_no_block_cost_their_sender_the_link():
    rig = Rig()
    block = chain().add()
    liar, honest = rig.accept(1), rig.accept(2)
    rig.say_headers(liar, [block])
    rig.say_headers(honest, [block])
    actions = rig.say(liar, BlockMessage(block.raw[:-1]))
    assert closed(actions) == [liar]
    send_blocks(rig, honest, block)
    assert rig.ledger.tip.id == block.id


def test_after_an_invalid_block_its_descendants_are_not_fetched():
    rig = Rig()
    builder = chain()
    good = builder.grow(2)
    bad = overpaying(builder)
    later = builder.grow(3)
    one, two = rig.accept(1), rig.accept(2)
    rig.say_headers(one, [*good, bad, *later])
    rig.say_headers(two, [*good, bad, *later])
    send_blocks(rig, one, *good)
    actions = send_blocks(rig, one, bad)
    assert closed(actions) == [one]
    assert requested_ids(actions) == []
    assert rig.ledger.tip.id == good[-1].id
    assert requested_ids(rig.wait(30)) == []
    third = rig.accept(3)
    assert requested_ids(rig.say_headers(third, [later[0]])) == []


def test_after_an_invalid_block_the_best_valid_chain_is_fetched():
    """H27: a chain with an invalid block in its middle, headers first."""
    rig = Rig()
    builder = chain()
    good = builder.grow(2)
    other = builder.fork(0)
    bad = overpaying(builder)
    builder.grow(3)
    right = other.grow(2, extra=b"right")
    liar, honest = rig.accept(1), rig.accept(2)
    rig.say_headers(liar, builder.blocks)
    rig.say_headers(honest, [*good, *right])
    send_blocks(rig, liar, *good)
    actions = send_blocks(rig, liar, bad)
    assert closed(actions) == [liar]
    assert set(requested_ids(actions, honest)) == {block.id for block in right}
    send_blocks(rig, honest, *right)
    assert rig.ledger.tip.id == right[-1].id


def test_notfound_makes_us_ask_another():
    rig = Rig()
    block = chain().add()
    first, second = rig.accept(1), rig.accept(2)
    rig.say_headers(first, [block])
    rig.say_headers(second, [block])
    actions = rig.say(first, NotFound((Inventory(WITNESS_BLOCK, block.id),)))
    assert requested_ids(actions, second) == [block.id]


def test_a_request_that_stopped_early_is_continued():
    rig = Rig()
    link = rig.dial()
    blocks = chain().grow(4)
    question = sent(rig.say_headers(link, blocks), GetData)[0]
    send_blocks(rig, link, *blocks[:2])
    actions = rig.handle(RequestFinished(link, question, failed=False))
    assert requested_ids(actions, link) == [block.id for block in blocks[2:]]


def test_a_request_that_brings_nothing_is_not_repeated_at_once_for_ever():
    rig = Rig()
    link = rig.dial()
    actions = rig.say_headers(link, chain().grow(1))
    asked = 0
    for _ in range(20):
        for question in sent(actions, GetData):
            asked += 1
            rig.handle(RequestFinished(link, question, failed=True))
        actions = rig.wait(10)
    assert asked == 6
    assert not rig.is_open(link)


def test_a_pushed_block_is_taken():
    rig = Rig()
    link = rig.accept()
    block = chain().add()
    send_blocks(rig, link, block)
    assert rig.ledger.tip.id == block.id


def test_a_pushed_block_of_unknown_parent_makes_us_ask_for_headers():
    rig = Rig()
    link = rig.accept()
    rig.say_headers(link, [])
    blocks = chain().grow(3)
    actions = send_blocks(rig, link, blocks[2])
    assert sent_to(actions, GetHeaders) == [link]
    assert not [a for a in actions if isinstance(a, ValidateBlocks)]


def test_blocks_on_old_forks_that_nobody_asked_for_cost_nothing():
    """H12: neither requested nor stored."""
    rig = Rig()
    ours = chain()
    ours.grow(10)
    feed(rig, ours.blocks)
    link = rig.accept()
    old = chain().add(extra=b"old")
    assert not [a for a in send_blocks(rig, link, old) if isinstance(a, ValidateBlocks)]
    assert rig.is_open(link)


def test_our_own_block_is_pushed_whole_to_all_links_at_once():
    rig = Rig()
    links = [rig.accept(1), rig.dial(2), rig.accept(3)]
    block = rig.ledger.mine(b"\x00\x14" + bytes(20), 1, rig.now.unix_s)
    actions = rig.handle(LocalBlock(block))
    pushes = [a for a in actions if isinstance(a, Send) and isinstance(a.message, BlockMessage)]
    assert [push.link for push in pushes] == links
    assert all(push.priority is Priority.BLOCK for push in pushes)
    assert len(block.raw) < LOCAL_PUSH_BYTES_MAX
    assert sent(actions, Headers) == []


def test_a_new_tip_is_announced_by_headers_to_those_who_lack_it():
    rig = Rig()
    giver, other = rig.accept(1), rig.accept(2)
    blocks = chain().grow(3)
    rig.say_headers(giver, blocks)
    actions = send_blocks(rig, giver, *blocks)
    told = sent(actions, Headers, other)
    assert [header.id for message in told for header in message.headers] == [b.id for b in blocks]
    assert sent(actions, Headers, giver) == []


def test_a_long_way_to_the_tip_is_announced_by_the_tip_alone():
    rig = Rig()
    builder = chain()
    builder.grow(30)
    feed(rig, builder.blocks)
    link = rig.accept()
    told = sent(rig.actions, Headers, link)
    assert [len(message.headers) for message in told] == [1]
    assert told[0].headers[0].id == builder.tip.id


def test_blocks_on_the_way_to_the_best_header_are_not_announced():
    rig = Rig()
    giver, other = rig.accept(1), rig.accept(2)
    builder = chain()
    builder.grow(50)
    rig.say_headers(giver, builder.blocks)
    assert sent(send_blocks(rig, giver, *builder.blocks[:10]), Headers, other) == []


def test_the_peers_view_shows_what_it_has():
    rig = Rig()
    link = rig.accept()
    rig.say_headers(link, chain().grow(4))
    assert rig.gossip.peers()[0].known_height == 4
