"""Blocks connected before their signatures are verified: the result is as if each were awaited.

The results of an import are compared with those of one that verifies block by block.
"""

import random
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event

from chain.consensus.errors import InvalidError, Reason
from chain.ledger import chain_tip as chain_tip_module
from chain.ledger import pipeline as pipeline_module
from chain.ledger.ledger import Ledger
from chain.ledger.offline.importing import import_blocks
from chain.primitives.block import decode_block
from tests.builders import pay, spend
from tests.ledger.chains import (
    FEE,
    KEYS,
    NOW,
    QUICK,
    TRUNK,
    bad_spend,
    coins_after,
    grow_busy,
    quick_chain,
    quick_ledger,
    tables,
    url_of,
)
from tests.ledger.offline.test_importing import clock, file_of


def import_both(blocks, monkeypatch):
    """Import with and without the pipeline; return both results (without times) and ledgers.

    The pipelined import is repeated on disk, where another thread writes.
    """
    with tempfile.TemporaryDirectory() as folder:
        on_disk = Ledger(url_of(Path(folder)), QUICK, verify_threads=2)
        written_aside = _import(on_disk, blocks)
    early = _import(quick_ledger(threads=2), blocks)
    assert written_aside == early
    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "add_blocks", add_one_by_one)
        plain = _import(quick_ledger(threads=2), blocks)
    return early, plain


def add_one_by_one(ledger, blocks, now, *, add_blocks=Ledger.add_blocks, **_):
    """The verdicts of a ledger that receives each block after the verdict on the previous one."""
    return add_blocks(ledger, blocks, now, pipelined=False)


def _import(opened, blocks):
    with closing(opened) as ledger:
        result = import_blocks(ledger, file_of(blocks), clock)
        refused = [_refusal(ledger, block) for block in blocks]
        said = (result.blocks, result.transactions, result.refused, result.first_refusal)
        where = (result.orphaned, result.tip, result.height, len(ledger.tree))
        return said, where, refused, tables(ledger)


def _refusal(ledger, block):
    """Return the ledger's verdict on a block that is added again."""
    try:
        ledger.add_block(block, NOW)
    except InvalidError as error:
        return error.reject_reason
    return None


@pytest.fixture(scope="module")
def chain():
    """A trunk, then 12 blocks with payments."""
    builder = quick_chain()
    grow_busy(builder, 12, seed=5)
    return builder


@pytest.fixture(params=[1, 3, 64])
def unverified_max(request, monkeypatch):
    monkeypatch.setattr(pipeline_module, "UNVERIFIED_BLOCKS_MAX", request.param)


@pytest.fixture(params=[10, 10**6])
def batch_rows(request, monkeypatch):
    monkeypatch.setattr(chain_tip_module, "BATCH_ROWS_MAX", request.param)


def with_bad_block(chain, after, follow):
    """Busy blocks up to number `after`, one with a wrong signature, and `follow` blocks on top."""
    fork = chain.fork(12 - after)
    just_mature = (
        fork.tip.height + 1 - QUICK.coinbase_maturity_blocks
    )  # nobody can have spent it yet
    bad = fork.add([bad_spend(fork, just_mature)], fees=0, extra=b"bad")
    later = [fork.add(extra=b"later") for _ in range(follow)]
    return [*fork.blocks[: TRUNK + after], bad, *later]


@pytest.mark.usefixtures("unverified_max", "batch_rows")
@pytest.mark.parametrize("after", [0, 5])
@pytest.mark.parametrize("follow", [0, 1, 2, 12])
def test_a_wrong_signature_ends_as_without_going_ahead(chain, monkeypatch, after, follow):
    blocks = with_bad_block(chain, after, follow)
    early, plain = import_both(blocks, monkeypatch)
    assert early == plain
    bad_id = blocks[TRUNK + after].id[::-1].hex()
    assert early[0][3].startswith(f"{bad_id}: block-script-verify-flag-failed")


@pytest.mark.parametrize("remembered", [0, 1])
def test_successors_of_a_bad_block_push_no_bad_block_out_of_memory(chain, monkeypatch, remembered):
    monkeypatch.setattr("chain.ledger.tree.INVALID_MAX", remembered)
    early, plain = import_both(with_bad_block(chain, 3, 12), monkeypatch)
    assert early == plain


@pytest.mark.usefixtures("unverified_max")
def test_the_good_branch_behind_a_bad_one_is_followed(chain, monkeypatch):
    blocks = [*with_bad_block(chain, 4, 6), *chain.blocks[TRUNK + 4 :]]
    early, plain = import_both(blocks, monkeypatch)
    assert early == plain
    assert early[1][1] == chain.tip.id


@pytest.mark.usefixtures("unverified_max", "batch_rows")
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


def test_a_wrong_signature_is_that_blocks_verdict_and_the_ledger_is_as_before_it(chain):
    blocks = with_bad_block(chain, 3, 2)
    with closing(quick_ledger(threads=2)) as ledger:
        verdicts = list(ledger.add_blocks(blocks, NOW))
        assert [verdict.block for verdict in verdicts] == blocks
        assert [verdict.added is None for verdict in verdicts] == [False] * (TRUNK + 3) + [True] * 3
        reasons = [verdict.error.reason for verdict in verdicts[TRUNK + 3 :]]
        assert reasons == [Reason.SCRIPT, Reason.PARENT_INVALID, Reason.PARENT_MISSING]
        assert ledger.tip.id == blocks[TRUNK + 2].id
        with pytest.raises(InvalidError) as refused:
            ledger.add_block(blocks[TRUNK + 4], NOW)
        assert refused.value.reason is Reason.PARENT_INVALID
        assert {row[0] for row in tables(ledger)["coins"]} == set(coins_after(blocks[: TRUNK + 3]))


def test_a_verdict_is_out_only_once_the_signatures_are_verified(chain):
    blocks = with_bad_block(chain, 3, 2)
    seen = []
    with closing(quick_ledger(threads=2)) as ledger:
        for verdict in ledger.add_blocks(blocks, NOW):
            seen.append((verdict.block.id, verdict.error is None))
            assert not ledger.tree.is_invalid(verdict.block.id) or verdict.error is not None
    assert seen == [(block.id, at < TRUNK + 3) for at, block in enumerate(blocks)]


@pytest.mark.usefixtures("batch_rows")
@pytest.mark.parametrize("wanted", [0, 1, TRUNK - 1, TRUNK + 4])
def test_a_stream_that_is_closed_early_keeps_what_was_right_and_goes_on(tmp_path, chain, wanted):
    blocks = with_bad_block(chain, 3, 2)
    with closing(Ledger(url_of(tmp_path), QUICK, verify_threads=2)) as ledger:
        verdicts = ledger.add_blocks(blocks, NOW)
        given = [next(verdicts) for _ in range(wanted)]
        verdicts.close()
        assert ledger.is_usable
        right = [verdict.block for verdict in given if verdict.error is None]
        assert [b.id for b in right] == [b.id for b in blocks[: min(wanted, TRUNK + 3)]]
        assert len(right) <= ledger.tip.height <= TRUNK + 3, (
            "no block with a wrong signature is kept"
        )
        assert {row[0] for row in tables(ledger)["coins"]} == set(
            coins_after(blocks[: ledger.tip.height])
        )
        again = list(ledger.add_blocks(chain.blocks, NOW))
        assert [verdict.error for verdict in again] == [None] * len(chain.blocks)
        assert ledger.tip.id == chain.tip.id


def test_blocks_that_end_in_an_error_are_committed_up_to_it(tmp_path, chain):
    blocks = with_bad_block(chain, 3, 2)

    def failing():
        yield from blocks
        raise LookupError("the file ended")

    with closing(Ledger(url_of(tmp_path), QUICK, verify_threads=2)) as ledger:
        with pytest.raises(LookupError, match="the file ended"):
            list(ledger.add_blocks(failing(), NOW))
        assert ledger.tip.id == blocks[TRUNK + 2].id
    with closing(Ledger(url_of(tmp_path), QUICK, verify_threads=2)) as ledger:
        assert ledger.tip.id == blocks[TRUNK + 2].id
        assert ledger.tree.is_invalid(blocks[TRUNK + 3].id)


@pytest.mark.parametrize("unverified", [2, 8, 64])
def test_no_more_blocks_are_asked_for_than_may_be_unverified(chain, monkeypatch, unverified):
    monkeypatch.setattr(pipeline_module, "UNVERIFIED_BLOCKS_MAX", unverified)
    asked = []

    def blocks():
        for block in chain.blocks:
            asked.append(block)
            yield block

    with closing(quick_ledger(threads=2)) as ledger:
        for count, _ in enumerate(ledger.add_blocks(blocks(), NOW), 1):
            assert len(asked) <= count + unverified
    asked.clear()
    with closing(quick_ledger(threads=2)) as ledger:
        for count, _ in enumerate(ledger.add_blocks(blocks(), NOW, pipelined=False), 1):
            assert len(asked) == count


def test_after_a_block_that_does_not_lead_on_no_other_is_asked_for_until_its_verdict(chain):
    side = chain.fork(2).add(extra=b"side")
    order = [*chain.blocks, side, chain.fork(0).add()]
    asked, when = [], {}

    def blocks():
        for block in order:
            asked.append(block)
            yield block

    with closing(quick_ledger(threads=2)) as ledger:
        for verdict in ledger.add_blocks(blocks(), NOW):
            when[verdict.block.id] = len(asked)
    assert when[side.id] == order.index(side) + 1


def test_a_clock_is_read_for_each_block(chain):
    times = iter([NOW] * 5 + [0])
    with closing(quick_ledger()) as ledger:
        verdicts = list(ledger.add_blocks(chain.blocks[:6], lambda: next(times)))
        assert [verdict.error for verdict in verdicts[:5]] == [None] * 5
        assert verdicts[5].error.reason is Reason.TIME_TOO_NEW


def test_a_refused_block_does_not_close_the_ledger_and_costs_no_commit(tmp_path, chain):
    blocks = with_bad_block(chain, 0, 1)
    mutated = decode_block(blocks[-1].raw[:-1] + b"\x01")  # an hour that its block's id has not
    with closing(Ledger(url_of(tmp_path), QUICK, verify_threads=2)) as ledger:
        list(ledger.add_blocks(blocks[:TRUNK], NOW))
        commits = []
        event.listen(ledger._connection.engine, "commit", commits.append)
        for refused, reason in [
            (mutated, Reason.MERKLE_ROOT),
            (blocks[TRUNK], Reason.SCRIPT),
            (blocks[TRUNK], Reason.KNOWN_INVALID),
            (blocks[TRUNK + 1], Reason.PARENT_INVALID),
        ]:
            with pytest.raises(InvalidError) as caught:
                ledger.add_block(refused, NOW)
            assert caught.value.reason is reason
            assert ledger.is_usable
            if reason in {Reason.MERKLE_ROOT, Reason.KNOWN_INVALID}:
                assert not commits
            commits.clear()
        assert ledger.add_block(chain.blocks[TRUNK], NOW).is_connected
