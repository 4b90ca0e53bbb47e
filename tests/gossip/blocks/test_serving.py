"""Replies to requests for blocks and headers."""

import pytest

from chain.gossip.actions import ReadBlocks, Reply
from chain.gossip.blocks import serve as serve_module
from chain.gossip.blocks.serve import REPLY_BLOCKS_MAX
from chain.gossip.events import Requested, Token
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
    item = Inventory(WITNESS_BLOCK, Hash32(bytes(32)))
    for number in range(50):
        rig.handle(Requested(link, Token(1000 + number), GetData((item,)), 50))
    assert len([a for a in rig.actions if isinstance(a, ReadBlocks)]) == 1
    assert len(rig.gossip._serving._requests[link]) <= 40
    refused = [a for a in rig.actions if isinstance(a, Reply) and a.is_last]
    assert len(refused) == 10
