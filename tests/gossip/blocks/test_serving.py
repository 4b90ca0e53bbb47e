"""Replies to requests for blocks and headers."""

import pytest

from chain.gossip.actions import ReadBlocks, Reply
from chain.gossip.blocks import serve as serve_module
from chain.gossip.blocks.serve import REPLY_BLOCKS_MAX
from chain.gossip.blocks.upload import TURNS_MAX
from chain.gossip.events import RequestAbandoned, Requested, Token, WriteProgress
from chain.gossip.wire.messages import (
    WITNESS_BLOCK,
    BlockMessage,
    GetData,
    GetHeaders,
    Headers,
    Inventory,
    NotFound,
)
from chain.primitives.block import decode_block
from chain.primitives.numbers import NULL_HASH, Hash32
from tests.gossip.blocks.test_headersync import feed
from tests.gossip.rig import Rig, chain, closed, sent


def test_getdata_is_answered_with_blocks_and_notfound():
    rig = Rig()
    builder = chain()
    builder.grow(3)
    feed(rig, builder.blocks)
    link = rig.accept()
    unknown = Hash32(bytes(32))
    items = [Inventory(WITNESS_BLOCK, block.id) for block in builder.blocks[:2]]
    actions = rig.say(link, GetData((*items, Inventory(WITNESS_BLOCK, unknown))))
    assert [m.raw for m in sent(actions, BlockMessage)] == [b.raw for b in builder.blocks[:2]]
    assert sent(actions, NotFound) == [NotFound((Inventory(WITNESS_BLOCK, unknown),))]


def test_getheaders_is_answered_from_the_fork_on():
    rig = Rig()
    builder = chain()
    builder.grow(5)
    feed(rig, builder.blocks)
    link = rig.accept()
    before = len(sent(rig.actions, Headers))
    actions = rig.say(link, GetHeaders((builder.blocks[1].id,), NULL_HASH))
    answer = sent(actions, Headers)[-1]
    assert [header.id for header in answer.headers] == [b.id for b in builder.blocks[2:]]
    assert before <= 1


def test_a_request_is_answered_by_replies_of_which_the_last_says_so():
    rig = Rig()
    builder = chain()
    builder.grow(4)
    feed(rig, builder.blocks)
    link = rig.accept()
    items = tuple(Inventory(WITNESS_BLOCK, block.id) for block in builder.blocks)
    actions = rig.handle(Requested(link, Token(77), GetData(items), 150))
    replies = [a for a in actions if isinstance(a, Reply)]
    assert [decode_block(r.message.raw).id for r in replies] == [b.id for b in builder.blocks]
    assert [r.is_last for r in replies] == [False, False, False, True]
    assert {r.token for r in replies} == {77}
    question = GetHeaders((builder.blocks[0].id,), NULL_HASH)
    actions = rig.handle(Requested(link, Token(78), question, 70))
    replies = [a for a in actions if isinstance(a, Reply)]
    assert [(len(r.message.headers), r.is_last) for r in replies] == [(3, True)]


@pytest.mark.parametrize("items", [0, 16, REPLY_BLOCKS_MAX, REPLY_BLOCKS_MAX + 1])
def test_every_request_gets_an_end(items):
    rig = Rig()
    link = rig.accept()
    asked = tuple(Inventory(WITNESS_BLOCK, Hash32(n.to_bytes(32))) for n in range(items))
    actions = rig.handle(Requested(link, Token(1), GetData(asked), 150))
    ended = [a.is_last for a in actions if isinstance(a, Reply)]
    assert (ended and ended[-1]) or closed(actions) == [link]


def request(link, token, blocks):
    items = tuple(Inventory(WITNESS_BLOCK, block.id) for block in blocks)
    return Requested(link, Token(token), GetData(items), 36 * len(blocks))


def test_nothing_more_is_read_for_a_request_that_was_abandoned(monkeypatch):
    monkeypatch.setattr(serve_module, "RUN_BYTES_MAX", 1)
    rig = Rig(answers=False)
    stored = chain().grow(6)
    feed(rig, stored)
    link = rig.accept()
    for token in (1, 2, 3):
        rig.handle(request(link, token, stored[2 * token - 2 :]))
    rig.handle(RequestAbandoned(link, Token(1)), RequestAbandoned(link, Token(2)))
    rig.answers = True
    actions = rig.handle(rig.ledger.handle(rig.requests.pop(), rig.now.unix_s))
    read = [a.block_ids[0] for a in actions if isinstance(a, ReadBlocks)]
    assert read == [stored[4].id, stored[5].id]
    assert [(a.token, a.is_last) for a in actions if isinstance(a, Reply)] == [
        (3, False),
        (3, True),
    ]


def test_a_request_that_was_abandoned_gives_its_turn_to_the_next_link():
    rig = Rig(answers=False)
    stored = chain().grow(40)
    feed(rig, stored)
    links = [rig.accept(number) for number in range(1, TURNS_MAX + 2)]
    for number, link in enumerate(links):
        rig.handle(WriteProgress(link, 0), request(link, number, stored[:3]))
    assert len(rig.requests) == TURNS_MAX, "the last one waits"
    actions = rig.handle(
        RequestAbandoned(links[0], Token(0)),
        rig.ledger.handle(rig.requests[0], rig.now.unix_s),
    )
    assert len([a for a in actions if isinstance(a, ReadBlocks)]) == 1


def test_a_link_that_does_not_read_is_looked_at_by_one_timer_however_much_it_asks():
    rig = Rig()
    stored = chain().grow(3)
    feed(rig, stored)
    link = rig.accept()
    rig.handle(WriteProgress(link, serve_module.QUEUED_BYTES_MAX + 1))
    before = len(rig.gossip._context._timers)
    for token in range(30):
        rig.handle(request(link, token, stored), RequestAbandoned(link, Token(token)))
        rig.say(link, GetData((Inventory(WITNESS_BLOCK, stored[0].id),)))
    rig.wait(1)
    assert len(rig.gossip._context._timers) == before + 1


def test_the_ledger_is_not_asked_for_blocks_that_are_not_stored():
    rig = Rig()
    stored = chain().grow(3)
    feed(rig, stored)
    unknown = [Inventory(WITNESS_BLOCK, Hash32(n.to_bytes(32))) for n in range(1, 7)]
    known = [Inventory(WITNESS_BLOCK, block.id) for block in stored]
    asked = (*unknown[:2], *known[:2], *unknown[2:4], known[2], *unknown[4:])
    actions = rig.handle(Requested(rig.accept(), Token(1), GetData(asked), 150))
    read = [a.block_ids for a in actions if isinstance(a, ReadBlocks)]
    assert read == [tuple(block.id for block in stored)]
    replies = [a for a in actions if isinstance(a, Reply)]
    assert replies[0].message == NotFound(tuple(unknown))
    assert [r.message.raw for r in replies[1:]] == [block.raw for block in stored]
    assert [r.is_last for r in replies] == [False] * 3 + [True]


def test_unknown_blocks_between_stored_ones_do_not_cost_the_ledger_a_call_for_each():
    rig = Rig()
    stored = chain().grow(6)
    feed(rig, stored)
    items = []
    for number, block in enumerate(stored):
        items += [Inventory(WITNESS_BLOCK, block.id)]
        items += [Inventory(WITNESS_BLOCK, Hash32(number.to_bytes(32)))]
    actions = rig.say(rig.accept(), GetData(tuple(items)))
    assert len([a for a in actions if isinstance(a, ReadBlocks)]) == 2
    assert [m.raw for m in sent(actions, BlockMessage)] == [block.raw for block in stored]
    assert [m.items for m in sent(actions, NotFound)] == [tuple(items[1::2])]


@pytest.mark.parametrize(("bytes_max", "reads"), [(1, 6), (1_000_000, 1)])
def test_blocks_in_a_row_are_read_together_as_many_as_fit(monkeypatch, bytes_max, reads):
    monkeypatch.setattr(serve_module, "RUN_BYTES_MAX", bytes_max)
    rig = Rig()
    builder = chain()
    builder.grow(20)
    feed(rig, builder.blocks)
    link = rig.accept()
    actions = rig.handle(request(link, 1, builder.blocks[:6]))
    assert len([a for a in actions if isinstance(a, ReadBlocks)]) == reads
    replies = [a for a in actions if isinstance(a, Reply)]
    assert [r.message.raw for r in replies] == [b.raw for b in builder.blocks[:6]]
    assert [r.is_last for r in replies] == [False] * 5 + [True]


def test_a_reply_ends_early_when_it_has_enough_bytes_and_nobody_is_to_blame(monkeypatch):
    builder = chain()
    blocks = builder.grow(20)
    monkeypatch.setattr(serve_module, "REPLY_BYTES_MAX", sum(len(b.raw) for b in blocks[:3]))
    rig = Rig()
    feed(rig, blocks)
    link = rig.accept()
    replies = [a for a in rig.handle(request(link, 1, blocks[:6])) if isinstance(a, Reply)]
    assert [r.message.raw for r in replies] == [b.raw for b in blocks[:3]]
    assert [r.is_last for r in replies] == [False, False, True]
    assert rig.is_open(link)


def test_questions_of_one_link_are_bounded():
    rig = Rig(answers=False)
    link = rig.accept()
    item = Inventory(WITNESS_BLOCK, rig.ledger.chain.tip.id)
    for number in range(50):
        rig.handle(Requested(link, Token(1000 + number), GetData((item,)), 50))
    assert len([a for a in rig.actions if isinstance(a, ReadBlocks)]) == 1
    assert len(rig.gossip._serving._requests[link]) <= 40
    refused = [a for a in rig.actions if isinstance(a, Reply) and a.is_last]
    assert len(refused) == 10
