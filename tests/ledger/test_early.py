"""Blocks connected before their signatures are verified: the end is as if each had been waited for.

What an import says of a file is compared with what it says when it never goes ahead.
"""

import random
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from chain.consensus.errors import InvalidError, Reason
from chain.consensus.params import REGTEST
from chain.ledger import ledger as ledger_module
from chain.ledger.importing import import_blocks
from chain.ledger.ledger import Ledger
from chain.ledger.outcomes import TakenBackError
from tests.builders import pay, spend
from tests.ledger.chains import (
    FEE,
    KEYS,
    NOW,
    bad_spend,
    coins_after,
    grow_busy,
    mature_chain,
    memory_ledger,
    tables,
    url_of,
)
from tests.ledger.test_importing import clock, file_of


def import_both(blocks, monkeypatch):
    """Import going ahead and not; return both results, without times, and both ledgers' content.

    Going ahead, a ledger on disk, writing on a thread of its own, does as one in memory.
    """
    with tempfile.TemporaryDirectory() as folder:
        on_disk = Ledger(url_of(Path(folder)), REGTEST, verify_threads=2)
        written_aside = _import(on_disk, blocks)
    early = _import(memory_ledger(threads=2), blocks)
    assert written_aside == early
    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "add_block_early", Ledger.add_block)
        plain = _import(memory_ledger(threads=2), blocks)
    return early, plain


def _import(opened, blocks):
    with closing(opened) as ledger:
        result = import_blocks(ledger, file_of(blocks), clock)
        refused = [_refusal(ledger, block) for block in blocks]
        said = (result.blocks, result.transactions, result.refused, result.first_refusal)
        where = (result.waiting, result.tip, result.height, len(ledger.tree))
        return said, where, refused, tables(ledger)


def _refusal(ledger, block):
    """Return what the ledger says to a block that is offered once more."""
    try:
        ledger.add_block(block, NOW)
    except InvalidError as error:
        return error.reject_reason
    return None


@pytest.fixture(scope="module")
def chain():
    """101 blocks, then 12 with payments."""
    builder = mature_chain(101)
    grow_busy(builder, 12, seed=5)
    return builder


@pytest.fixture(params=[1, 3, 8])
def unsettled_max(request, monkeypatch):
    monkeypatch.setattr(ledger_module, "UNSETTLED_BLOCKS_MAX", request.param)
    monkeypatch.setattr("chain.ledger.importing.UNSETTLED_BLOCKS_MAX", request.param)


@pytest.fixture(params=[10, 10**6])
def batch_rows(request, monkeypatch):
    monkeypatch.setattr(ledger_module, "BATCH_ROWS_MAX", request.param)


def with_bad_block(chain, after, follow):
    """Blocks up to `after` of the busy ones, one with a wrong signature, and `follow` upon it."""
    fork = chain.fork(12 - after)
    just_mature = fork.tip.height + 1 - 100  # nobody can have spent it yet
    bad = fork.add([bad_spend(fork, just_mature)], fees=0, extra=b"bad")
    later = [fork.add(extra=b"later") for _ in range(follow)]
    return [*fork.blocks[: 101 + after], bad, *later]


@pytest.mark.usefixtures("unsettled_max", "batch_rows")
@pytest.mark.parametrize("after", [0, 5])
@pytest.mark.parametrize("follow", [0, 1, 2, 12])
def test_a_wrong_signature_ends_as_without_going_ahead(chain, monkeypatch, after, follow):
    blocks = with_bad_block(chain, after, follow)
    early, plain = import_both(blocks, monkeypatch)
    assert early == plain
    bad_id = blocks[101 + after].id[::-1].hex()
    assert early[0][3].startswith(f"{bad_id}: block-script-verify-flag-failed")


@pytest.mark.parametrize("remembered", [0, 1])
def test_successors_of_a_bad_block_push_no_bad_block_out_of_memory(chain, monkeypatch, remembered):
    monkeypatch.setattr("chain.ledger.tree.INVALID_MAX", remembered)
    early, plain = import_both(with_bad_block(chain, 3, 12), monkeypatch)
    assert early == plain


@pytest.mark.usefixtures("unsettled_max")
def test_the_good_branch_behind_a_bad_one_is_followed(chain, monkeypatch):
    blocks = [*with_bad_block(chain, 4, 6), *chain.blocks[105:]]
    early, plain = import_both(blocks, monkeypatch)
    assert early == plain
    assert early[1][1] == chain.tip.id


@pytest.mark.usefixtures("unsettled_max", "batch_rows")
@pytest.mark.parametrize("seed", range(6))
def test_files_of_branches_with_bad_blocks_in_some_order(chain, monkeypatch, seed):
    source = random.Random(seed)
    branches = [with_bad_block(chain, source.randrange(12), source.randrange(5)) for _ in range(3)]
    blocks = list(dict.fromkeys(block for branch in branches for block in branch))
    late = [block for block in blocks if block.transactions[1:] or source.random() < 0.2]
    rest = [block for block in blocks if block not in late] + late
    for _ in range(source.randrange(8)):
        one, other = sorted(source.sample(range(len(rest)), 2))
        rest[one], rest[other] = rest[other], rest[one]
    early, plain = import_both(rest, monkeypatch)
    assert early == plain


def test_a_block_that_spends_from_a_bad_one_is_not_blamed_for_what_it_lacks(chain, monkeypatch):
    fork = chain.fork(0)
    point, coin = next(
        (point, coin)
        for point, coin in coins_after(fork.blocks).items()
        if coin.script in KEYS and not coin.from_coinbase and coin.value > 4 * FEE
    )
    paid = spend([(point, coin)], [pay(coin.value - FEE)], key=KEYS[coin.script])
    forged = type(paid)(paid.version, paid.inputs, [pay(coin.value - 2 * FEE)], paid.lock_time)
    bad = fork.add([forged], fees=0)
    again = fork.add([paid], fees=0)  # spends what the bad block took
    early, plain = import_both([*chain.blocks, bad, again], monkeypatch)
    assert early == plain
    assert early[2][-2:] == [Reason.KNOWN_INVALID, Reason.PARENT_INVALID]


def test_going_ahead_raises_once_and_leaves_the_ledger_before_the_bad_block(chain):
    blocks = with_bad_block(chain, 3, 2)
    with closing(memory_ledger(threads=2)) as ledger:
        with ledger.batch():
            for block in blocks:
                ledger.add_block_early(block, NOW)
            with pytest.raises(TakenBackError) as caught:
                ledger.settle()
            assert caught.value.entry.id == blocks[104].id
            assert caught.value.cause.reason is Reason.SCRIPT
            assert ledger.tip.id == blocks[103].id
            ledger.settle()
            with pytest.raises(InvalidError) as refused:
                ledger.add_block_early(blocks[105], NOW)
            assert refused.value.reason is Reason.PARENT_INVALID
        assert {row[0] for row in tables(ledger)["coins"]} == set(coins_after(blocks[:104]))


def test_a_batch_that_ends_unsettled_takes_the_bad_block_back_and_says_so(chain):
    blocks = with_bad_block(chain, 3, 2)
    with closing(memory_ledger(threads=2)) as ledger:
        with ExitStack() as batch:
            batch.enter_context(ledger.batch())
            for block in blocks:
                ledger.add_block_early(block, NOW)
            with pytest.raises(TakenBackError):
                batch.close()
        assert ledger.tip.id == blocks[103].id
