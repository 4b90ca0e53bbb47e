"""Blocks that the user prefers to others of the same work (preciousblock)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.consensus.params import REGTEST
from chain.ledger import tree
from chain.ledger.ledger import Ledger
from chain.ledger.offline.checking import check_ledger
from tests.builders import ChainBuilder
from tests.ledger.chains import (
    NOW,
    bad_spend,
    entry_of,
    feed,
    grow_busy,
    mature_chain,
    memory_ledger,
    tables,
    url_of,
)


@pytest.fixture
def pair(ledger):
    """The ledger's chain, and a later branch with the same work."""
    chain = mature_chain(101)
    side = chain.fork(0)
    grow_busy(chain, 2, seed=1)
    grow_busy(side, 2, seed=2)
    feed(ledger, [*chain.blocks, *side.blocks[101:]])
    assert ledger.tip.id == chain.tip.id
    return chain, side


def mark_precious(ledger, chain):
    return ledger.mark_precious(entry_of(ledger, chain.blocks[-1]))


def test_a_preferred_block_of_the_same_work_becomes_the_tip_and_back(ledger, pair):
    chain, side = pair
    before = tables(ledger)
    moved = mark_precious(ledger, side)
    assert [b.id for b in moved.disconnected] == [b.id for b in reversed(chain.blocks[101:])]
    assert [b.id for b in moved.connected] == [b.id for b in side.blocks[101:]]
    assert ledger.tip.id == side.tip.id
    moved = mark_precious(ledger, side)
    assert not moved.disconnected
    assert not moved.connected
    mark_precious(ledger, chain)
    assert tables(ledger) == before


def test_more_work_wins_and_a_block_with_less_is_left_as_it_is(ledger, pair):
    chain, side = pair
    mark_precious(ledger, side)
    feed(ledger, [chain.add()])
    assert ledger.tip.id == chain.tip.id
    mark_precious(ledger, side)
    assert ledger.tip.id == chain.tip.id
    feed(ledger, [side.add()])
    assert ledger.tip.id == chain.tip.id


def test_a_preferred_block_wins_again_after_a_block_with_more_work_is_left_out(ledger, pair):
    chain, side = pair
    mark_precious(ledger, side)
    longer = chain.add()
    feed(ledger, [longer])
    ledger.invalidate(entry_of(ledger, longer))
    assert ledger.tip.id == side.tip.id


def test_a_preferred_block_that_breaks_a_rule_is_not_followed(ledger):
    chain = mature_chain(104)
    bad = chain.fork(1)
    bad.add([bad_spend(bad)], fees=0)
    feed(ledger, [*chain.blocks, bad.blocks[-1]])
    before = tables(ledger)
    moved = mark_precious(ledger, bad)
    assert not moved.disconnected
    assert not moved.connected
    assert tables(ledger) == before
    assert ledger.tree.is_invalid(bad.tip.id)


def test_a_header_whose_block_is_not_here_cannot_be_preferred(ledger, pair):
    chain, _ = pair
    other = chain.fork(1)
    parent, child = other.grow(2, extra=b"other")
    ledger.add_headers([parent.header, child.header], NOW)
    ledger.mark_precious(entry_of(ledger, parent))
    feed(ledger, [child])
    ledger.mark_precious(entry_of(ledger, child))
    assert ledger.tip.id == chain.tip.id
    feed(ledger, [parent])
    assert ledger.tip.id == other.tip.id


def test_a_restart_keeps_the_tip_and_forgets_why_and_a_check_finds_no_damage(tmp_path):
    chain = mature_chain(3)
    side = chain.fork(0)
    chain.grow(2)
    side.grow(2, extra=b"side")
    ledger = Ledger(url_of(tmp_path), REGTEST, verify_threads=1)
    feed(ledger, [*chain.blocks, *side.blocks[3:]])
    mark_precious(ledger, side)
    ledger.close()
    assert check_ledger(url_of(tmp_path), REGTEST, verify_threads=1).problems == []
    ledger = Ledger(url_of(tmp_path), REGTEST, verify_threads=1)
    assert ledger.tip.id == side.tip.id
    longer = side.add()
    feed(ledger, [longer])
    ledger.invalidate(entry_of(ledger, longer))
    assert ledger.tip.id == chain.tip.id
    ledger.close()


def test_only_so_many_preferences_are_remembered(ledger, pair, monkeypatch):
    monkeypatch.setattr(tree, "PRECIOUS_MAX", 1)
    chain, side = pair
    for preferred in (chain, side, chain, side):
        mark_precious(ledger, preferred)
        assert ledger.tip.id == preferred.tip.id
    assert len(ledger.tree._precious) == 1


BLOCKS = 8
STEP = st.tuples(st.sampled_from("AAAPPIR"), st.integers(0, 99))


def _grown(parents: list[int]) -> list:
    """Return blocks, each on the one of that number before it; 0 is genesis."""
    builders = [ChainBuilder()]
    for number, at in enumerate(parents):
        builder = builders[at % len(builders)].fork(0)
        builder.add(extra=b"%d" % number)
        builders.append(builder)
    return [builder.blocks[-1] for builder in builders[1:]]


class Model:
    """Bitcoin Core's order: most work, then the lowest sequence, which a preference lowers."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.sequences = {ledger.tree.genesis: 0}
        self.out: list = []

    def tip(self):
        valid = [e for e in self.sequences if not any(r.is_ancestor_of(e) for r in self.out)]
        return max(valid, key=lambda e: (e.chain_work, -self.sequences[e]))


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 99), min_size=BLOCKS, max_size=BLOCKS),
    st.lists(STEP, min_size=5, max_size=40),
)
def test_the_tip_is_always_cores(parents, steps):
    ledger = memory_ledger()
    model = Model(ledger)
    coming = _grown(parents)
    for number, (what, choice) in enumerate(steps, 1):
        known = [e for e in model.sequences if e.parent is not None]
        if what == "A" and coming:
            block = coming.pop(0)
            parent = ledger.tree.get(block.header.previous)
            if parent is None or any(r.is_ancestor_of(parent) for r in model.out):
                continue  # it is refused, and so is what builds on it
            feed(ledger, [block])
            model.sequences[entry_of(ledger, block)] = number
        elif what != "A" and known:
            entry = known[choice % len(known)]
            if what == "P":
                if entry.chain_work >= model.tip().chain_work:
                    model.sequences[entry] = -number
                ledger.mark_precious(entry)
            elif what == "I":
                ledger.invalidate(entry)
                model.out.append(entry)
            else:
                ledger.reconsider(entry)
                model.out = [
                    r for r in model.out if not (r.is_ancestor_of(entry) or entry.is_ancestor_of(r))
                ]
        assert ledger.tip == model.tip()
    ledger.close()
