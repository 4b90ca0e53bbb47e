"""Blocks added together have the same result as one by one, with known headers or without."""

import random
from contextlib import closing

import pytest

from chain.consensus.errors import InvalidError, Reason
from chain.ledger.ledger import Ledger
from chain.node.node import Node
from chain.node.policy import Policy
from tests.ledger.chains import (
    NOW,
    QUICK,
    TRUNK,
    bad_spend,
    feed,
    grow_busy,
    quick_chain,
    tables,
    url_of,
)

BUSY = 12


@pytest.fixture(scope="module")
def chain():
    """A trunk, then some blocks with payments."""
    builder = quick_chain()
    grow_busy(builder, BUSY, seed=5)
    return builder


def with_bad_block(chain, after, follow):
    """Busy blocks up to number `after`, one with a wrong signature, and `follow` blocks on top."""
    fork = chain.fork(BUSY - after)
    just_mature = fork.tip.height + 1 - QUICK.coinbase_maturity_blocks
    bad = fork.add([bad_spend(fork, just_mature)], fees=0, extra=b"bad")
    later = [fork.add(extra=b"later") for _ in range(follow)]
    return [*fork.blocks[TRUNK : TRUNK + after], bad, *later]


def run(folder, chain, blocks, *, together, headers_first):
    """Submit the blocks to a node; return its refusals, its ledger's content, and its events."""
    changes = []
    folder.mkdir()
    with closing(Ledger(url_of(folder), QUICK, verify_threads=2)) as ledger:
        feed(ledger, chain.blocks[:TRUNK])
        node = Node(ledger, Policy())
        node.listeners.append(changes.append)
        if headers_first:
            node.submit_headers([block.header for block in blocks], NOW)
        if together:
            refusals = node.submit_blocks(blocks, NOW)
        else:
            refusals = [_submit(node, block) for block in blocks]
        reasons = [None if error is None else error.reason for error in refusals]
        assert node.view.tip == ledger.tip
        told = [block.id for change in changes for block in change.connected]
        invalid = [ledger.tree.is_invalid(block.id) for block in blocks]
        return reasons, told, invalid, ledger.tree.best_header.id, tables(ledger)


def _submit(node, block):
    try:
        node.submit_block(block, NOW)
    except InvalidError as error:
        return error
    return None


@pytest.mark.parametrize("headers_first", [False, True])
@pytest.mark.parametrize(("after", "follow"), [(0, 0), (0, 3), (5, 0), (5, 4), (11, 12)])
def test_a_wrong_signature_among_blocks_ends_as_if_they_came_singly(
    tmp_path, chain, after, follow, headers_first
):
    blocks = with_bad_block(chain, after, follow)
    one, both = (
        run(tmp_path / name, chain, blocks, together=together, headers_first=headers_first)
        for name, together in (("one", False), ("both", True))
    )
    assert both == one
    assert one[0][after] is Reason.SCRIPT


@pytest.mark.parametrize("seed", range(8))
def test_branches_with_bad_blocks_in_some_order_end_as_if_they_came_singly(tmp_path, chain, seed):
    source = random.Random(seed)
    branches = [with_bad_block(chain, source.randrange(BUSY), source.randrange(5)) for _ in "ab"]
    blocks = list(dict.fromkeys(block for branch in branches for block in branch))
    for _ in range(source.randrange(6)):
        one, other = sorted(source.sample(range(len(blocks)), 2))
        blocks[one], blocks[other] = blocks[other], blocks[one]
    single, together = (
        run(tmp_path / name, chain, blocks, together=together, headers_first=False)
        for name, together in (("one", False), ("both", True))
    )
    assert together == single, f"seed {seed}"


def test_a_block_for_which_others_waited_brings_them_along(tmp_path, chain):
    first, second, third, fourth = chain.blocks[TRUNK : TRUNK + 4]
    with closing(Ledger(url_of(tmp_path), QUICK, verify_threads=2)) as ledger:
        feed(ledger, chain.blocks[:TRUNK])
        ledger.add_headers([block.header for block in chain.blocks[TRUNK:]], NOW)
        feed(ledger, [third, fourth])
        verdicts = list(ledger.add_blocks([first, second], NOW))
        assert [verdict.error for verdict in verdicts] == [None, None]
        connected = [block.id for verdict in verdicts for block in verdict.added.connected]
        assert connected == [block.id for block in (first, second, third, fourth)]
        assert ledger.tip.id == fourth.id


def rivals(chain, length):
    """One payment block on the mature chain and, on it, a block and a branch of `length`."""
    stem = chain.fork(BUSY - 1)
    here, there = stem.fork(0), stem.fork(0)
    here.add(extra=b"here")
    for _ in range(length):
        there.add(extra=b"there")
    return stem.blocks[TRUNK], here.blocks[TRUNK + 1], there.blocks[TRUNK + 1 :]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_branch_that_overtakes_what_had_waited_reorganises(tmp_path, chain, length):
    first, waited, branch = rivals(chain, length)
    given = [first, *branch]
    ends = []
    for name in ("one", "both"):
        (tmp_path / name).mkdir()
        with closing(Ledger(url_of(tmp_path / name), QUICK, verify_threads=2)) as ledger:
            feed(ledger, chain.blocks[:TRUNK])
            node = Node(ledger, Policy())
            node.submit_headers([block.header for block in (first, waited)], NOW)
            node.submit_headers([block.header for block in branch], NOW)
            node.submit_block(waited, NOW)
            if name == "one":
                assert [_submit(node, block) for block in given] == [None] * len(given)
            else:
                assert node.submit_blocks(given, NOW) == [None] * len(given)
            assert node.view.tip == ledger.tip
            ends.append(tables(ledger))
            assert ledger.tip.id == (waited if length == 1 else branch[-1]).id
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("order", "published"),
    [([0, 1, 2], [3]), ([1, 0], [0, 2]), ([0, 2, 1], [1, 0, 2]), ([0, 1, 1, 2], [2, 0, 1])],
)
def test_what_leads_on_from_the_tip_is_published_together(tmp_path, chain, order, published):
    blocks = [chain.blocks[TRUNK + at] for at in order]
    with closing(Ledger(url_of(tmp_path), QUICK, verify_threads=1)) as ledger:
        feed(ledger, chain.blocks[:TRUNK])
        ledger.add_headers([block.header for block in chain.blocks[TRUNK:]], NOW)
        node = Node(ledger, Policy())
        changes = []
        node.listeners.append(lambda change: changes.append(len(change.connected)))
        assert node.submit_blocks(blocks, NOW) == [None] * len(blocks)
        assert changes == [count for count in published if count]
        assert node.view.tip == ledger.tip
