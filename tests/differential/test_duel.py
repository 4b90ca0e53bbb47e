"""The duel itself: it must notice where the two sides differ, or the rest here says little."""

import pytest

from chain.consensus.entry import BlockTreeEntry
from chain.primitives.block import decode_block
from chain.primitives.numbers import Amount, id_text, outpoint
from chain.primitives.transaction import TxOut
from tests.differential.offer import ANY, Compare, Offer, bad, good, unknown
from tests.differential.world import COIN_MIN, FEE, base_blocks


def with_trailing_byte(world) -> bytes:
    """Return a block with a byte behind it: Core takes it, groat does not."""
    return world.block([world.payment()]).raw + b"\x00"


def test_both_start_with_the_same_base(arena):
    duel = arena.new("base")
    tip = id_text(base_blocks()[-1].id)
    for side in (duel.oracle, duel.subject):
        again = side.feed(base_blocks()[0].raw)
        assert (again.accepted, again.height, again.tip) == (True, 125, tip)


def test_a_block_that_only_one_side_takes_is_noticed(arena):
    duel = arena.new("one side")
    with pytest.raises(AssertionError, match="one accepts and the other refuses"):
        duel.offer(unknown(with_trailing_byte(duel.world)))


def test_a_block_that_only_core_takes_is_let_pass_where_declared(arena):
    duel = arena.new("declared")
    answer = duel.offer(Offer(with_trailing_byte(duel.world), ANY, Compare.ONE_WAY))
    assert answer.accepted
    duel.offer(good(duel.world.block([duel.world.payment()])))


def test_another_tip_is_noticed(arena):
    duel = arena.new("tips")
    duel.oracle.feed(duel.world.block().raw)
    with pytest.raises(AssertionError, match="the tips differ"):
        duel.offer(unknown(base_blocks()[0]))


def test_another_reason_is_noticed(arena):
    """The sides are brought to know different things about one invalid block."""
    duel = arena.new("reasons")
    block = duel.world.block(value=1 << 45)
    duel.oracle.feed(block.raw)
    with pytest.raises(AssertionError, match="the reasons differ"):
        duel.offer(unknown(block))


def test_a_mutation_that_does_not_do_what_it_says_is_noticed(arena):
    duel = arena.new("expected")
    with pytest.raises(AssertionError, match="expected of Core: None"):
        duel.offer(good(duel.world.block(value=1 << 45)))
    with pytest.raises(AssertionError, match="expected of Core: bad-cb-amount"):
        duel.offer(bad(duel.world.block(), "bad-cb-amount"))


def test_what_was_offered_can_be_imported_again(arena):
    """A failure leaves a block file: `groat import --verdicts` replays it."""
    duel = arena.new("transcript")
    with pytest.raises(AssertionError, match=r"offered\.dat"):
        duel.offer(bad(duel.world.block(), "bad-cb-amount"))
    data = (duel.folder / "offered.dat").read_bytes()
    size = int.from_bytes(data[4:8], "little")
    assert decode_block(data[8 : 8 + size]).id == base_blocks()[0].id


def test_a_refusal_for_an_earlier_block_has_no_reason_of_its_own(arena):
    """The oracle's reading of the kernel's log in a reorganisation that fails below the block."""
    duel = arena.new("branch")
    world, start = duel.world, duel.world.tip
    duel.offer(good(world.block([])))
    wrong = world.block(parent=start, value=1 << 45)
    duel.offer(good(wrong))
    last = world.block(parent=BlockTreeEntry(wrong.header, start))
    assert duel.oracle.feed(last.raw).reason is None
    assert duel.subject.feed(last.raw).reason == "bad-prevblk"


def test_coins_too_small_for_every_mutation_are_not_taken(arena):
    duel = arena.new("small coins")
    world = duel.world
    (point, coin) = world.take()[0]
    script = coin.script
    enough, small = (TxOut(Amount(COIN_MIN), script), TxOut(Amount(COIN_MIN - 1), script))
    rest = TxOut(Amount(coin.value - enough.value - small.value - FEE), script)
    funding = world.spend([(point, coin)], [enough, small, rest])
    duel.offer(good(world.block([funding])))
    made = [output for output, _ in world.spendable() if output[:32] == funding.txid]
    assert made == [outpoint(funding.txid, 0), outpoint(funding.txid, 2)]
