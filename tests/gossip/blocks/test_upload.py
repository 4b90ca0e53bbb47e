"""Old blocks: to whom they are sent, how many at a time, and within which daily limit."""

from dataclasses import replace

import pytest

from chain.gossip.actions import Close, Dial, ReadBlocks
from chain.gossip.blocks import serve as serve_module
from chain.gossip.blocks.serve import QUEUED_BYTES_MAX, WAIT_S
from chain.gossip.blocks.upload import (
    DAY_S,
    HISTORICAL_S,
    OLD_SHARE,
    RECENT_DEPTH,
    TURNS_MAX,
    UploadDay,
)
from chain.gossip.config import config_for
from chain.gossip.events import LinkId, Requested, Token, WriteProgress
from chain.gossip.wire.messages import WITNESS_BLOCK, BlockMessage, Bye, GetData, Inventory
from chain.primitives.numbers import SECOND_US
from chain.simulator.rules import SIMULATION
from tests.gossip.rig import Rig, chain, closed, peer_address, sent

LIMIT = 100_000_000
ENOUGH = int(LIMIT * OLD_SHARE)


def rig_with_old_blocks(count: int, *, limit: int = 0, answers: bool = True) -> tuple[Rig, list]:
    """Return a rig with a chain whose upper half is ten days younger than the lower."""
    config = config_for(SIMULATION, agent="/t/", auto_dial=False)
    rig = Rig(config=replace(config, upload_bytes_per_day=limit))
    builder = chain()
    builder.grow(count // 2)
    rig.start_s += HISTORICAL_S + DAY_S
    builder.add(time=rig.now.unix_s - 60 * count)
    builder.grow(count - len(builder.blocks))
    for block in builder.blocks:
        rig.ledger._add_block(block.raw, block.header, rig.now.unix_s)
    rig.answers = answers
    return rig, builder.blocks


def ask(rig: Rig, link: LinkId, *blocks: object) -> list:
    items = tuple(Inventory(WITNESS_BLOCK, block.id) for block in blocks)
    return rig.say(link, GetData(items))


def answer(rig: Rig) -> None:
    """Answer the core's present reads; those that it then makes stay open."""
    requests, rig.requests = rig.requests, []
    for question in requests:
        rig.handle(rig.ledger.handle(question, rig.now.unix_s))


def reads(rig: Rig) -> int:
    return sum(isinstance(question, ReadBlocks) for question in rig.requests)


def test_old_blocks_are_read_for_a_few_links_at_a_time_and_all_get_their_turn():
    rig, blocks = rig_with_old_blocks(20, answers=False)
    links = [rig.accept(number) for number in range(1, TURNS_MAX + 3)]
    rig.requests.clear()
    for link in links:
        ask(rig, link, blocks[0], blocks[1])
    assert reads(rig) == TURNS_MAX
    for _ in range(6):
        answer(rig)
        assert reads(rig) <= TURNS_MAX
    for link in links:
        assert len(sent(rig.actions, BlockMessage, link)) == 2


@pytest.mark.parametrize(("depth", "at_once"), [(RECENT_DEPTH - 1, True), (RECENT_DEPTH, False)])
def test_a_block_near_the_tip_waits_for_nobody(depth, at_once):
    rig, blocks = rig_with_old_blocks(20, answers=False)
    for number in range(1, TURNS_MAX + 1):
        ask(rig, rig.accept(number), blocks[0])
    late = rig.accept(100)
    rig.requests.clear()
    ask(rig, late, blocks[-1 - depth])
    assert reads(rig) == at_once


def test_who_goes_gives_its_turn_to_the_next():
    rig, blocks = rig_with_old_blocks(20, answers=False)
    links = [rig.accept(number) for number in range(1, TURNS_MAX + 2)]
    for link in links:
        ask(rig, link, blocks[0])
    rig.requests.clear()
    rig.gossip._context.close(rig.gossip._context.links[links[0]], "test")
    rig.say(links[1])
    assert reads(rig) == 1


def test_who_reads_slowly_gives_its_turn_to_the_next_and_has_another_later(monkeypatch):
    monkeypatch.setattr(serve_module, "RUN_BYTES_MAX", 1)  # as large blocks are read
    rig, blocks = rig_with_old_blocks(20, answers=False)
    links = [rig.accept(number) for number in range(1, TURNS_MAX + 2)]
    for link in links:
        ask(rig, link, blocks[0], blocks[1])
    for link in links[:TURNS_MAX]:
        rig.handle(WriteProgress(link, QUEUED_BYTES_MAX + 1))
    answer(rig)
    assert reads(rig) == 1, "the last one's"
    for link in links[:TURNS_MAX]:
        rig.handle(WriteProgress(link, 0))
    rig.wait(2 * WAIT_S)
    assert reads(rig) == TURNS_MAX
    for _ in range(6):
        answer(rig)
    assert all(len(sent(rig.actions, BlockMessage, link)) == 2 for link in links)


@pytest.mark.parametrize(("written", "is_given"), [(ENOUGH - 1, True), (ENOUGH, False)])
def test_after_most_of_the_days_bytes_nobody_is_given_historical_blocks(written, is_given):
    rig, blocks = rig_with_old_blocks(40, limit=LIMIT)
    link, other = rig.accept(1), rig.accept(2)
    rig.handle(WriteProgress(other, 0, written // 2))
    rig.handle(WriteProgress(link, 0, written - written // 2))
    assert sent(ask(rig, link, blocks[-15]), BlockMessage, link), "not historical"
    actions = ask(rig, link, blocks[0])
    assert len(sent(actions, BlockMessage, link)) == is_given
    assert (closed(actions) == []) is is_given


@pytest.mark.parametrize(
    ("written", "serves_historical_blocks"), [(ENOUGH - 1, True), (ENOUGH, False)]
)
def test_the_day_is_told_as_it_is(written, serves_historical_blocks):
    rig, _ = rig_with_old_blocks(40, limit=LIMIT)
    assert rig.gossip.upload.day(rig.now) == UploadDay(
        LIMIT, 0, DAY_S, serves_historical_blocks=True
    )
    rig.handle(WriteProgress(rig.accept(1), 0, written))
    assert rig.gossip.upload.day(rig.now) == UploadDay(
        LIMIT, written, DAY_S, serves_historical_blocks=serves_historical_blocks
    )
    rig.mono_us += (DAY_S - 1) * SECOND_US
    assert rig.gossip.upload.day(rig.now) == UploadDay(
        LIMIT, written, 1, serves_historical_blocks=serves_historical_blocks
    )
    rig.mono_us += SECOND_US
    assert rig.gossip.upload.day(rig.now) == UploadDay(
        LIMIT, 0, DAY_S, serves_historical_blocks=True
    )


def test_without_a_limit_old_blocks_are_always_given():
    rig, blocks = rig_with_old_blocks(40)
    link = rig.accept(1)
    rig.handle(WriteProgress(link, 0, 1 << 50))
    assert sent(ask(rig, link, blocks[0]), BlockMessage, link)


def test_peers_that_the_user_named_are_given_old_blocks_all_the_same():
    rig, blocks = rig_with_old_blocks(40, limit=LIMIT)
    link = rig.dial(1)
    rig.handle(WriteProgress(link, 0, LIMIT))
    assert sent(ask(rig, link, blocks[0]), BlockMessage, link)


def test_who_is_refused_is_told_when_the_day_is_over_and_then_given_blocks():
    rig, blocks = rig_with_old_blocks(40, limit=LIMIT)
    link = rig.accept(1)
    rig.handle(WriteProgress(link, 0, LIMIT))
    token = Token(5)
    wanted = GetData((Inventory(WITNESS_BLOCK, blocks[0].id),))
    actions = rig.handle(Requested(link, token, wanted, 100))
    close = next(action for action in actions if isinstance(action, Close))
    assert 0 < close.retry_after_s <= DAY_S + 1
    rig.wait(close.retry_after_s)
    again = rig.accept(1)
    assert sent(ask(rig, again, blocks[0]), BlockMessage, again)


@pytest.mark.parametrize("lived_min", [5, 15])
def test_who_ends_a_link_and_says_when_to_come_back_is_left_alone_so_long(lived_min):
    rig = Rig()
    link = rig.dial(1)
    rig.gossip._context.links[link].opened_us -= lived_min * 60 * SECOND_US
    rig.say(link, Bye(503, 3600))
    assert not [a for a in rig.wait(3600 * 0.69) if isinstance(a, Dial)]
    (dial,) = [a for a in rig.wait(3600 * 0.65) if isinstance(a, Dial)][:1]
    assert dial.address == peer_address(1)
